//! Room for the few texts that an evaluation makes itself: an address, a host in lower case, two texts
//! put together. It lies on the stack of whoever evaluates, so nothing is allocated, and it ends.

use std::io::Write;
use std::mem;

use super::value::Fault;

/// Bytes that one evaluation may write.
pub(super) const SCRATCH: usize = 1024;

/// What is left of the room.
pub(super) struct Scratch<'a>(&'a mut [u8]);

impl<'a> Scratch<'a> {
    pub(super) fn new(room: &'a mut [u8]) -> Self {
        Self(room)
    }

    /// The same room for a while: what is written meanwhile is forgotten then.
    pub(super) fn lent(&mut self) -> Scratch<'_> {
        Scratch(&mut *self.0)
    }

    /// Writes a text, and gives it for as long as the room is there.
    pub(super) fn write(&mut self, text: std::fmt::Arguments<'_>) -> Result<&'a str, Fault> {
        let room = self.0.len();
        let mut rest = &mut *self.0;
        rest.write_fmt(text).map_err(|_| Fault::TooLong)?;
        let written = room - rest.len();
        let (text, rest) = mem::take(&mut self.0).split_at_mut(written);
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Fault::NotText)
    }

    /// Writes a text in lower case (of ASCII).
    pub(super) fn write_lower(&mut self, text: &[u8]) -> Result<&'a str, Fault> {
        if text.len() > self.0.len() {
            return Err(Fault::TooLong);
        }
        let (copy, rest) = mem::take(&mut self.0).split_at_mut(text.len());
        self.0 = rest;
        copy.copy_from_slice(text);
        copy.make_ascii_lowercase();
        std::str::from_utf8(copy).map_err(|_| Fault::NotText)
    }
}
