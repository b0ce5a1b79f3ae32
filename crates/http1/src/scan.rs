//! Finds the end of a head that arrives in pieces, looking at every byte once.
//!
//! It only walks from LF to LF, so it also is the place that refuses a bare LF, in the order of
//! the bytes: how the head was split into reads cannot change the verdict.

use memchr::memchr;

use crate::error::FieldError;

/// Progress through one head or trailer section. The bytes seen must stay where they are until
/// the end is found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanner {
    /// Bytes already searched for LF.
    seen: usize,
    /// Where the line that is being read starts.
    line_start: usize,
    /// One past the LF of the first line.
    first_line_end: Option<usize>,
}

impl Scanner {
    /// A scanner for a head whose first line starts at `start`, after tolerated empty lines.
    pub(crate) const fn starting_at(start: usize) -> Self {
        Self {
            seen: start,
            line_start: start,
            first_line_end: None,
        }
    }

    /// One past the LF of the first line, once that has arrived.
    pub(crate) const fn first_line_end(&self) -> Option<usize> {
        self.first_line_end
    }

    /// Looks at what is new in `window`; `Some(end)` is one past the empty line.
    pub(crate) fn advance(&mut self, window: &[u8]) -> Result<Option<usize>, FieldError> {
        while let Some(offset) = window
            .get(self.seen..)
            .and_then(|fresh| memchr(b'\n', fresh))
        {
            let lf = self.seen + offset;
            if lf == self.line_start || window[lf - 1] != b'\r' {
                return Err(FieldError::BareLf);
            }
            let empty = lf == self.line_start + 1;
            self.seen = lf + 1;
            self.line_start = lf + 1;
            self.first_line_end.get_or_insert(lf + 1);
            if empty {
                return Ok(Some(lf + 1));
            }
        }
        self.seen = self.seen.max(window.len());
        Ok(None)
    }
}
