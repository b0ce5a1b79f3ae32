//! The progress line: what is measured now, over itself on a terminal, absent elsewhere.

use std::io::{IsTerminal, Write, stderr};

/// A line on standard error that goes away.
pub(crate) struct Progress {
    done: usize,
    of: usize,
    shown: bool,
}

impl Progress {
    /// For `of` steps.
    pub(crate) fn new(of: usize) -> Self {
        let shown = stderr().is_terminal();
        Self { done: 0, of, shown }
    }

    /// The next step begins.
    pub(crate) fn step(&mut self, what: &str) {
        self.done += 1;
        self.say(what);
    }

    /// The same step, and what it does now.
    pub(crate) fn say(&self, what: &str) {
        if self.shown {
            self.write(&format!("\r\x1b[K[{}/{}] {what}", self.done, self.of));
        }
    }

    /// Makes room for a line of the result.
    pub(crate) fn clear(&self) {
        if self.shown {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut line = stderr().lock();
        // A terminal that is gone needs no progress.
        let _ = line.write_all(text.as_bytes()).and_then(|()| line.flush());
    }
}
