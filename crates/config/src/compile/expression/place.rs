//! From a place in an expression to the place in the file. YAML may have written the expression with
//! quotation marks, escapes or over several lines, so both texts are walked side by side.

use std::ops::Range;

use crate::span::Span;

/// Where the bytes of one expression are in the file.
pub(super) struct Places {
    /// The value's own place, for what cannot be told more exactly.
    whole: Option<Span>,
    /// What each byte of the expression is written as; empty if the two texts do not go together.
    bytes: Vec<Range<usize>>,
}

/// How YAML wrote it.
#[derive(Clone, Copy)]
enum Style {
    Single,
    Double,
    /// Without quotation marks: plain, folded or literal.
    Bare,
}

impl Places {
    /// `file` is the whole text, `whole` the value's place in it, `text` the value.
    pub(super) fn new(file: &str, whole: Option<Span>, text: &str) -> Self {
        let bytes = whole.and_then(|span| aligned(file, span.start, text));
        Self {
            whole,
            bytes: bytes.unwrap_or_default(),
        }
    }

    /// The place of the bytes from `start` up to `end`; of none, where they would be.
    pub(super) fn span(&self, start: usize, end: usize) -> Option<Span> {
        let end_of = |at: usize| self.bytes.get(at).map(|byte| byte.end);
        if start < end
            && let (Some(first), Some(end)) = (self.bytes.get(start), end_of(end - 1))
        {
            return Some(Span::between(first.start, end));
        }
        let before = start.checked_sub(1).and_then(end_of);
        before.map(|at| Span::between(at, at)).or(self.whole)
    }
}

/// What each byte of `text` is written as in the file, from `start` on.
fn aligned(file: &str, start: usize, text: &str) -> Option<Vec<Range<usize>>> {
    let written = file.get(start..)?;
    let (skipped, style) = match written.chars().next()? {
        '\'' => (1, Style::Single),
        '"' => (1, Style::Double),
        '|' | '>' => (written.find('\n')?, Style::Bare),
        _ => (0, Style::Bare),
    };
    let mut at = start + skipped;
    let mut bytes = Vec::with_capacity(text.len());
    let mut in_gap = true;
    for expected in text.chars() {
        if expected.is_whitespace() {
            // However long a gap is in the file, it begins where the last sign ended.
            bytes.extend(std::iter::repeat_n(at..at + 1, expected.len_utf8()));
            in_gap = true;
            continue;
        }
        let rest = file.get(at..)?;
        let skipped = match in_gap {
            true => rest.find(|c: char| !c.is_whitespace())?,
            false => 0,
        };
        in_gap = false;
        at += skipped;
        let width = width(style, expected, rest.get(skipped..)?)?;
        bytes.extend(std::iter::repeat_n(at..at + width, expected.len_utf8()));
        at += width;
    }
    Some(bytes)
}

/// How many bytes at the start of `rest` write `expected`; none if they do not.
fn width(style: Style, expected: char, rest: &str) -> Option<usize> {
    let mut found = rest.chars();
    match (style, found.next()?, expected) {
        (Style::Single, '\'', '\'') => (found.next() == Some('\'')).then_some(2),
        (Style::Double, '\\', _) => {
            (found.next() == Some(expected)).then(|| 1 + expected.len_utf8())
        }
        (_, found, _) => (found == expected).then(|| expected.len_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[` and `]` in the file are where the place of `part` in `text` must be.
    fn check(marked: &str, text: &str, part: &str, expected: &str) {
        let file = format!("key: {marked}");
        let whole = Span {
            start: 5,
            len: marked.len(),
        };
        let places = Places::new(&file, Some(whole), text);
        let start = text.find(part).unwrap();
        let span = places.span(start, start + part.len()).unwrap();
        assert_eq!(&file[span.start..span.end()], expected, "{marked}");
    }

    #[test]
    fn a_place_is_found_however_yaml_writes_it() {
        let text = r#"a == "x" && b"#;
        check(r#"a == "x" && b"#, text, "\"x\"", "\"x\"");
        check(r#"'a == "x" && b'"#, text, "b", "b");
        check(r#""a == \"x\" && b""#, text, "\"x\"", r#"\"x\""#);
        check(
            "|\n    a == \"x\"\n      && b\n",
            "a == \"x\"\n  && b\n",
            "b",
            "b",
        );
        check(">-\n    a == \"x\"\n    && b\n", text, "&& b", "&& b");
        check("'a == ''x'' && b'", "a == 'x' && b", "'x'", "''x''");
        check("a ==\n    ü && b", "a == ü && b", "ü && b", "ü && b");
    }

    #[test]
    fn what_does_not_go_together_is_shown_whole() {
        check("\"\\x61 == b\"", "a == b", "b", "\"\\x61 == b\"");
        check("${WHEN}", "a == b", "b", "${WHEN}");
    }
}
