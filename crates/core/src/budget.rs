//! Retry budgets: attempts <= requests x (1 + in-region budget + cross-region budget).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The tokens of one upstream. Every request deposits, every retry withdraws.
#[derive(Debug)]
pub struct Budget {
    _origin: Instant,
    in_region: AtomicU64,
    cross_region: AtomicU64,
}

/// Which bucket a retry draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// Another endpoint of the same region.
    InRegion,
    /// Another region.
    CrossRegion,
}

impl Budget {
    /// An empty budget.
    pub fn new(origin: Instant) -> Self {
        Self {
            _origin: origin,
            in_region: AtomicU64::new(0),
            cross_region: AtomicU64::new(0),
        }
    }

    /// Sets the parts of requests that may be retried (0.2 for 20 %).
    pub fn configure(&self, in_region: f64, cross_region: f64) {
        self.in_region.store(in_region.to_bits(), Ordering::Relaxed);
        self.cross_region
            .store(cross_region.to_bits(), Ordering::Relaxed);
    }

    /// Enters one request.
    pub fn deposit(&self, _now: Instant) {}

    /// Takes a token for a retry; false when there is none.
    pub fn withdraw(&self, _purse: Purse, _now: Instant) -> bool {
        true
    }
}
