//! What the path of a request held where its route's match has names: for rewriting.

use arrayvec::ArrayVec;

/// Most captures of one match.
pub const CAPTURES_MAX: usize = 16;

/// The captures of a match, in the order in which they are written, numbered from 1. Nothing is
/// allocated: the values are parts of the path, as the client wrote them (nothing is decoded).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures<'a> {
    list: ArrayVec<(Option<&'a str>, &'a str), CAPTURES_MAX>,
}

impl<'a> Captures<'a> {
    /// What the capture of this name or number holds: `id`, `1`. None: there is no such capture.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        match key.parse() {
            Ok(number) => self.number(number),
            Err(_) => self.named(key),
        }
    }

    /// What the capture of this number holds, from 1.
    pub fn number(&self, number: usize) -> Option<&'a str> {
        let (_, value) = self.list.get(number.checked_sub(1)?)?;
        Some(value)
    }

    /// What the capture of this name holds.
    pub fn named(&self, name: &str) -> Option<&'a str> {
        let found = self.list.iter().find(|(is, _)| *is == Some(name));
        found.map(|(_, value)| *value)
    }

    /// All of them: name, if it has one, and value.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&'a str>, &'a str)> + '_ {
        self.list.iter().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One more. What is more than [`CAPTURES_MAX`] is left out; no match has more.
    pub(super) fn push(&mut self, name: Option<&'a str>, value: &'a str) {
        // Templates and patterns with more are refused when they are made.
        let _ = self.list.try_push((name, value));
    }
}
