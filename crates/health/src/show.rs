//! What an endpoint sent, as words in an event: short, and without harm.

/// So many characters are shown.
const SHOWN: usize = 60;

/// The beginning of `bytes` in backquotes, control characters escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    // A character has at most four bytes, so what is cut off would not have been shown.
    let start = &bytes[..bytes.len().min(4 * SHOWN)];
    let text = String::from_utf8_lossy(start);
    let mut out: String = text.chars().take(SHOWN).collect();
    let cut = out.len() < text.len() || start.len() < bytes.len();
    out = out.escape_debug().to_string();
    format!("`{out}{}`", if cut { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(shown(bytes), expected);
        check(b"", "``");
        check(b"down", "`down`");
        check(b"a\r\n\x1b[2J\xff", "`a\\r\\n\\u{1b}[2J\u{fffd}`");
        check(&[b'x'; 61], &format!("`{}...`", "x".repeat(60)));
        let long = "\u{1f600}".repeat(100_000);
        check(long.as_bytes(), &format!("`{}...`", "\u{1f600}".repeat(60)));
    }
}
