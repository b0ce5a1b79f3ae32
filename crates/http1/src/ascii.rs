//! A piece of a head that is known to be visible ASCII, as text without a copy.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::grammar;

/// Visible ASCII (0x21 to 0x7E) that shares the memory of the head it came from. May be empty.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Ascii(Bytes);

impl Ascii {
    /// Takes `bytes` if all of them are visible ASCII.
    pub fn new(bytes: Bytes) -> Option<Self> {
        grammar::is_visible(&bytes).then_some(Self(bytes))
    }

    /// Takes bytes that were found to be visible ASCII.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        debug_assert!(grammar::is_visible(&bytes));
        Self(bytes)
    }

    pub(crate) fn from_static(text: &'static str) -> Self {
        Self::trusted(Bytes::from_static(text.as_bytes()))
    }

    /// The bytes, still sharing the head's memory.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        // Known since construction; the fallback keeps this total without `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for Ascii {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for Ascii {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Ascii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
