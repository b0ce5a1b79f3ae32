//! Whether an operator empties a region, and how fast.

use std::sync::atomic::{AtomicU8, Ordering};

/// How a region is drained, from not at all to at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Drain {
    /// It is not drained.
    #[default]
    No = 0,
    /// It gets no new attempts; those that it has may end there.
    Soft = 1,
    /// Besides, the attempts that wait there are made elsewhere, if they may be made again.
    Now = 2,
}

/// A [`Drain`] that threads share.
#[derive(Debug, Default)]
pub(super) struct AtomicDrain(AtomicU8);

impl Drain {
    fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::No,
            1 => Self::Soft,
            _ => Self::Now,
        }
    }
}

impl AtomicDrain {
    pub(super) fn load(&self) -> Drain {
        Drain::from_u8(self.0.load(Ordering::Relaxed))
    }

    /// Puts `drain` in place; says whether that changed anything.
    pub(super) fn set(&self, drain: Drain) -> bool {
        self.0.swap(drain as u8, Ordering::Relaxed) != drain as u8
    }

    /// Drains at least so fast; says whether that changed anything.
    pub(super) fn raise(&self, drain: Drain) -> bool {
        self.0.fetch_max(drain as u8, Ordering::Relaxed) < drain as u8
    }
}
