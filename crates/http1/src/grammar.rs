//! The character classes and the list syntax of RFC 9110 section 5.6.

const TCHAR: u8 = 1;
const VISIBLE: u8 = 2;
const VALUE: u8 = 4;
const HOST: u8 = 8;

/// One row per byte: which of the classes above it belongs to.
static CLASSES: [u8; 256] = classes();

/// `token` (RFC 9110 section 5.6.2): method names, field names, list options. Never empty.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let all = |class, b: &u8| class & CLASSES[usize::from(*b)];
    !bytes.is_empty() && bytes.iter().fold(TCHAR, all) != 0
}

pub(crate) fn is_tchar(b: u8) -> bool {
    has(b, TCHAR)
}

/// Nothing but 0x21 to 0x7E. The empty string is.
pub(crate) fn is_visible(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| has(b, VISIBLE))
}

/// May stand in a field value or a reason phrase: HTAB, SP, visible, obs-text (RFC 9110 5.5).
pub(crate) fn is_value_byte(b: u8) -> bool {
    has(b, VALUE)
}

/// May stand in a registered name or an IPv4 address, apart from `%` (RFC 3986 section 3.2.2).
pub(crate) fn is_host_byte(b: u8) -> bool {
    has(b, HOST)
}

pub(crate) fn is_ows(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// `value` without the spaces and tabs around it.
pub(crate) fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_ows(*first)
    {
        value = rest;
    }
    trim_ows_end(value)
}

/// `value` without the spaces and tabs after it.
#[inline]
pub(crate) fn trim_ows_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., last] = value
        && is_ows(*last)
    {
        value = rest;
    }
    value
}

/// The members of a comma-separated list without the whitespace around them, empty members left
/// out (RFC 9110 section 5.6.1). Knows no quoted strings: for lists of tokens only.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(trim_ows)
        .filter(|member| !member.is_empty())
}

fn has(b: u8, class: u8) -> bool {
    CLASSES[usize::from(b)] & class != 0
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        table[at] = classes_of(at as u8);
        at += 1;
    }
    table
}

const fn classes_of(b: u8) -> u8 {
    let visible = if b.is_ascii_graphic() {
        VISIBLE | VALUE
    } else {
        0
    };
    let value = if matches!(b, b' ' | b'\t' | 0x80..) {
        VALUE
    } else {
        0
    };
    let letter = if b.is_ascii_alphanumeric() {
        TCHAR | HOST
    } else {
        0
    };
    let host = match b {
        b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' => HOST,
        b'*' | b'+' | b',' | b';' | b'=' => HOST,
        _ => 0,
    };
    let token = match b {
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' => TCHAR,
        b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => TCHAR,
        _ => 0,
    };
    visible | value | letter | host | token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_skip_whitespace_and_empty_members() {
        let check = |value: &str, expected: &[&str]| {
            let members: Vec<_> = list_members(value.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|m| m.as_bytes()).collect();
            assert_eq!(members, expected, "{value:?}");
        };
        check("", &[]);
        check(" , ,", &[]);
        check("close", &["close"]);
        check("a,b ,\tc", &["a", "b", "c"]);
        check("a b", &["a b"]);
    }

    #[test]
    fn classes_are_those_of_the_rfc() {
        let all = |class: fn(u8) -> bool| (0..=255_u8).filter(|&b| class(b)).count();
        assert_eq!(all(is_tchar), 15 + 10 + 52);
        assert_eq!(all(|b| is_visible(&[b])), 94);
        assert_eq!(all(is_value_byte), 94 + 2 + 128);
        assert_eq!(all(is_host_byte), 62 + 4 + 11);
        assert!(!is_token(b"") && !is_token(b"a b") && is_token(b"a'b"));
    }
}
