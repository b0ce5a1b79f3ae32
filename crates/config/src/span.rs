//! Where in the text something stands: bytes, because every excerpt is cut by bytes. Lines and
//! columns are worked out only for what is shown.

/// A range of bytes of the configuration's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Length in bytes; 0 points between two characters.
    pub len: usize,
}

/// A place as people count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`.
    pub fn between(start: usize, end: usize) -> Self {
        Self {
            start,
            len: end.saturating_sub(start),
        }
    }

    /// One past the last byte.
    pub fn end(self) -> usize {
        self.start + self.len
    }

    /// The same range cut to lie within `text` and on character boundaries.
    pub fn within(self, text: &str) -> Self {
        let start = text.floor_char_boundary(self.start.min(text.len()));
        let end = text.ceil_char_boundary(self.end().min(text.len()));
        Self::between(start, end)
    }

    /// Line and column of the first byte.
    pub fn position(self, text: &str) -> Position {
        let before = &text[..self.within(text).start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let check = |text: &str, start, line, column| {
            let position = Span { start, len: 1 }.position(text);
            assert_eq!(position, Position { line, column }, "{text:?} at {start}");
        };
        check("", 0, 1, 1);
        check("a\nbc", 3, 2, 2);
        check("é: x", 4, 1, 4);
        check("ab", 99, 1, 3);
        check("é", 1, 1, 1);
    }
}
