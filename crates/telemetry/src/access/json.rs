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
pub(crate) use key;

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

    /// A member's name, made by [`key!`]; its value is what is written next.
    pub(crate) fn member(&mut self, start: &'static str) -> &mut Self {
        let comma = std::mem::take(&mut self.comma);
        let start = if comma { start } else { &start[1..] };
        self.buffer.extend_from_slice(start.as_bytes());
        self
    }

    /// A word of ours, which needs no escapes.
    pub(crate) fn word(&mut self, word: &str) {
        self.separate();
        self.quoted(word.as_bytes());
    }

    fn quoted(&mut self, bytes: &[u8]) {
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(bytes);
        self.buffer.push(b'"');
    }

    /// Text from outside, at most `limit` bytes of it.
    pub(crate) fn text(&mut self, text: &[u8], limit: usize) {
        self.separate();
        self.buffer.push(b'"');
        let kept = &text[..text.len().min(limit)];
        // Without a way out at the first odd byte, which is rare, eight are looked at together.
        if kept
            .iter()
            .fold(true, |plain, byte| plain & is_plain(*byte))
        {
            self.buffer.extend_from_slice(kept);
        } else {
            self.escaped(kept);
        }
        if text.len() > limit {
            self.buffer.extend_from_slice("…".as_bytes());
        }
        self.buffer.push(b'"');
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
    pub(crate) fn number(&mut self, mut number: u64) {
        self.separate();
        // 20 digits hold every u64.
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[start..]);
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

fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], limit: usize) -> String {
        let mut buffer = Vec::new();
        Json::new(&mut buffer).text(bytes, limit);
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
