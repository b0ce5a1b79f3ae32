//! Just enough of a JSON writer: objects and arrays of numbers, words and untrusted text, straight
//! into a byte buffer (RFC 8259).
//!
//! Text from outside is bounded and always becomes valid UTF-8: invalid sequences turn into
//! U+FFFD, what is cut is marked by an ellipsis. C0 and C1 controls are escaped, so that a line
//! shown on a terminal does nothing to it, and never breaks in two.

/// The start of a member of this name, which needs no escapes: its value is what is written next.
macro_rules! key {
    ($json:expr, $name:literal) => {
        $json.member(concat!(",\"", $name, "\":"))
    };
}

/// A member of this name whose value is a word of ours, which needs no escapes.
macro_rules! word {
    ($json:expr, $name:literal, $word:expr) => {
        $json
            .member(concat!(",\"", $name, "\":\""))
            .rest_of_word($word)
    };
}

/// A member of this name whose value is text from outside, at most `limit` bytes of it.
macro_rules! text {
    ($json:expr, $name:literal, $text:expr, $limit:expr) => {
        $json
            .member(concat!(",\"", $name, "\":\""))
            .rest_of_text($text.as_ref(), $limit)
    };
}
pub(super) use {key, text, word};

/// Writes into `buffer`; remembers whether a comma is due.
pub(crate) struct Json<'a> {
    buffer: &'a mut Vec<u8>,
    comma: bool,
}

impl<'a> Json<'a> {
    /// A writer that appends to `buffer`.
    pub(crate) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self {
            buffer,
            comma: false,
        }
    }

    /// A writer of further members of an object that has some already.
    pub(crate) fn inside(buffer: &'a mut Vec<u8>) -> Self {
        Self {
            buffer,
            comma: true,
        }
    }

    /// An object, filled by `fill`.
    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.nested(b'{', b'}', fill);
    }

    /// An array, filled by `fill`.
    pub(crate) fn array(&mut self, fill: impl FnOnce(&mut Self)) {
        self.nested(b'[', b']', fill);
    }

    fn nested(&mut self, open: u8, close: u8, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.buffer.push(open);
        self.comma = false;
        fill(self);
        self.buffer.push(close);
        self.comma = true;
    }

    /// A member's name, made by [`key!`]; its value is what is written next. Inline, as the length of
    /// what is written is then known: it takes a few stores and no call.
    #[inline(always)]
    pub(crate) fn member(&mut self, start: &'static str) -> &mut Self {
        if std::mem::take(&mut self.comma) {
            self.buffer.extend_from_slice(start.as_bytes());
        } else {
            self.buffer.extend_from_slice(&start.as_bytes()[1..]);
        }
        self
    }

    /// Members that were written before, each with its comma.
    pub(crate) fn members(&mut self, written: &[u8]) {
        self.buffer.extend_from_slice(written);
    }

    /// A word of ours, which needs no escapes.
    pub(crate) fn word(&mut self, word: &str) {
        self.separate();
        self.buffer.push(b'"');
        self.rest_of_word(word);
    }

    /// A word of ours, after its first quote.
    #[inline]
    pub(crate) fn rest_of_word(&mut self, word: impl AsRef<[u8]>) {
        self.buffer.extend_from_slice(word.as_ref());
        self.buffer.push(b'"');
        self.comma = true;
    }

    /// Text from outside, after its first quote; at most `limit` bytes of it.
    pub(crate) fn rest_of_text(&mut self, text: &[u8], limit: usize) {
        if text.len() <= limit && is_plain(text) {
            self.buffer.extend_from_slice(text);
        } else {
            self.odd(text, limit);
        }
        self.buffer.push(b'"');
        self.comma = true;
    }

    /// What has to be cut or escaped, which is rare.
    #[cold]
    fn odd(&mut self, text: &[u8], limit: usize) {
        self.escaped(&text[..text.len().min(limit)]);
        if text.len() > limit {
            self.buffer.extend_from_slice("…".as_bytes());
        }
    }

    fn escaped(&mut self, text: &[u8]) {
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.character(character);
            }
            if !chunk.invalid().is_empty() {
                self.character(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    fn character(&mut self, character: char) {
        match character {
            '"' => self.buffer.extend_from_slice(b"\\\""),
            '\\' => self.buffer.extend_from_slice(b"\\\\"),
            control if control.is_control() => {
                let code = control as u32;
                let digit = |shift: u32| b"0123456789abcdef"[(code >> shift) as usize & 0xf];
                let escape = [b'\\', b'u', b'0', b'0', digit(4), digit(0)];
                self.buffer.extend_from_slice(&escape);
            }
            other => {
                let mut utf8 = [0; 4];
                self.buffer
                    .extend_from_slice(other.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }

    /// A whole number.
    pub(crate) fn number(&mut self, number: u64) {
        self.separate();
        let mut digits = itoa::Buffer::new();
        self.buffer
            .extend_from_slice(digits.format(number).as_bytes());
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.separate();
        self.buffer
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.comma, true) {
            self.buffer.push(b',');
        }
    }
}

/// One in every byte of a number.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of every byte.
const HIGHEST: u64 = ONES << 7;

/// Whether nothing of `text` needs an escape: all of it is visible ASCII or spaces, and there are no quotes
/// and no backslashes. Eight bytes are looked at together.
fn is_plain(text: &[u8]) -> bool {
    // The last eight may have been seen before, in part or all.
    let last = text
        .last_chunk()
        .map_or_else(|| widened(text), |last| u64::from_le_bytes(*last));
    let (eights, _) = text.as_chunks();
    let marks = eights.iter().fold(marks(last), |seen, eight| {
        seen | marks(u64::from_le_bytes(*eight))
    });
    marks & HIGHEST == 0
}

/// The highest bit of at least one byte if any of the eight needs an escape, else of none. A byte that
/// needs none borrows nothing from its neighbour and carries nothing to it.
fn marks(eight: u64) -> u64 {
    let below = |bound: u8, bytes: u64| bytes.wrapping_sub(ONES * u64::from(bound));
    let is = |byte: u8| below(1, eight ^ (ONES * u64::from(byte)));
    let beyond_tilde = eight.wrapping_add(ONES);
    eight | beyond_tilde | below(b' ', eight) | is(b'"') | is(b'\\')
}

/// Less than eight bytes as eight: some of them twice, or with spaces.
fn widened(text: &[u8]) -> u64 {
    let spaces = ONES * u64::from(b' ');
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => text
            .iter()
            .fold(spaces, |bytes, byte| bytes << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], limit: usize) -> String {
        let mut buffer = Vec::new();
        buffer.push(b'"');
        Json::new(&mut buffer).rest_of_text(bytes, limit);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn text_is_escaped_and_bounded() {
        let check = |bytes: &[u8], limit, expected: &str| assert_eq!(text(bytes, limit), expected);
        check(b"/plain path", 99, "\"/plain path\"");
        check(b"", 99, "\"\"");
        check(b"a\"b\\c", 99, r#""a\"b\\c""#);
        check(
            b"\r\n\t\x00\x1f\x7f",
            99,
            r#""\u000d\u000a\u0009\u0000\u001f\u007f""#,
        );
        check("\u{85}\u{9b}".as_bytes(), 99, r#""\u0085\u009b""#);
        check("größe ☂".as_bytes(), 99, "\"größe ☂\"");
        check(b"a\xffb\xc3", 99, "\"a\u{fffd}b\u{fffd}\"");
        check(b"abcdef", 6, "\"abcdef\"");
        check(b"abcdefg", 6, "\"abcdef…\"");
        check("ab☂".as_bytes(), 4, "\"ab\u{fffd}…\"");
    }

    /// Every byte, at every place of texts of every length up to three times eight.
    #[test]
    fn one_byte_that_needs_an_escape_is_found_wherever_it_stands() {
        let is_plain_byte = |byte| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
        for length in 0..=24 {
            for (around, at) in [b' ', b'#', b'[', b'~']
                .into_iter()
                .flat_map(|around| (0..length).map(move |at| (around, at)))
            {
                let mut text = vec![around; length];
                assert!(is_plain(&text), "{text:?}");
                for byte in 0..=u8::MAX {
                    text[at] = byte;
                    assert_eq!(is_plain(&text), is_plain_byte(byte), "{text:?}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn structure_has_its_commas() {
        let mut buffer = Vec::new();
        Json::new(&mut buffer).object(|json| {
            key!(json, "n").number(0);
            key!(json, "max").number(u64::MAX);
            key!(json, "none").array(|_| {});
            key!(json, "rows").array(|json| {
                json.object(|json| key!(json, "a").boolean(true));
                json.object(|_| {});
                json.word("w");
            });
        });
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            r#"{"n":0,"max":18446744073709551615,"none":[],"rows":[{"a":true},{},"w"]}"#
        );
    }
}
