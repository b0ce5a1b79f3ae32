//! How often anything has changed at the endpoints of a region.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes of some endpoints' health, ejection or part of their weight. The endpoints of a
/// region share one, so that whoever keeps what follows from all of them asks one number.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<AtomicU64>);

impl Changes {
    /// How many there were. Whoever sees the number sees the changes.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Enters a change that was made.
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Whether both are one counter.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody else has it any more.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
