//! What a region was offered, counted so that nobody has to guess it.
//!
//! What a region takes says little about what it was offered once it sheds, and to divide the one by
//! the part that it lets in would make the answer depend on the answer before: the figure would swing
//! where few clients that stay together make up the load. So the data plane steps one more counter
//! for each attempt that a region shed. Like all counters here it is relaxed and only grows.

use std::sync::atomic::{AtomicU64, Ordering};

/// Attempts that a region was offered since its cell was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Those that were made there.
    pub begun: u64,
    /// Those of them that could not be shed: they were bound to the region.
    pub bound: u64,
    /// Those that it shed, and that were made elsewhere.
    pub shed: u64,
}

impl Demand {
    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            begun: self.begun.saturating_sub(before.begun),
            bound: self.bound.saturating_sub(before.bound),
            shed: self.shed.saturating_sub(before.shed),
        }
    }

    /// Everything.
    pub fn offered(&self) -> u64 {
        self.begun.saturating_add(self.shed)
    }
}

/// The counters behind a [`Demand`].
#[derive(Debug, Default)]
pub(super) struct DemandCounters {
    pub(super) begun: AtomicU64,
    pub(super) bound: AtomicU64,
    pub(super) shed: AtomicU64,
}

impl DemandCounters {
    pub(super) fn read(&self) -> Demand {
        // Bound ones are read first: what is counted there was begun before.
        let bound = self.bound.load(Ordering::Acquire);
        Demand {
            bound,
            begun: self.begun.load(Ordering::Acquire),
            shed: self.shed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_of_what_came_since() {
        let counters = DemandCounters::default();
        counters.begun.fetch_add(7, Ordering::Release);
        let before = counters.read();
        counters.begun.fetch_add(3, Ordering::Release);
        counters.bound.fetch_add(1, Ordering::Release);
        counters.shed.fetch_add(2, Ordering::Relaxed);
        let since = counters.read().since(&before);
        assert_eq!((since.begun, since.bound, since.shed), (3, 1, 2));
        assert_eq!(since.offered(), 5);
        assert_eq!(before.since(&counters.read()), Demand::default());
    }
}
