//! What all requests met so far, without names: for whoever compares one time with another.
//!
//! Summed from the series that are counted anyway, when somebody asks.

use std::time::Duration;

use tidegate_core::Termination;

use super::shard::{BOUNDS, Distribution, total};
use super::{Metrics, NONE};
use crate::labels::StatusClass;

/// Requests since the start of the process, by what became of them. What ended before it had a route,
/// like what was no valid request, is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those that ended.
    pub requests: u64,
    /// Those of them whose answer was of 5xx, or broke off for a reason that is not the client's.
    pub failed: u64,
    /// By the time that they took, in the buckets of [`BOUNDS`]; the last is beyond them.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Metrics {
    /// What all requests met so far. Takes as long as there are routes in use; no request waits for
    /// it.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut times = Distribution::default();
        for ((route, _), shards) in self.routes.sorted() {
            if *route == *NONE {
                continue;
            }
            times.add(&Distribution::of(&shards, |shard| &shard.duration));
            totals.failed += total(&shards, |shard| &shard.classes, StatusClass::ServerError);
        }
        // Their heads promised something else.
        for broken in [Termination::UpstreamTruncated, Termination::IdleTimeout] {
            totals.failed += total(&self.global, |shard| &shard.terminations, broken);
        }
        totals.requests = times.counts.iter().sum();
        totals.counts = times.counts;
        totals.sum = times.sum;
        totals
    }
}

impl Totals {
    /// What came after `earlier`, which was counted by the same process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = std::array::from_fn(|at| self.counts[at].saturating_sub(earlier.counts[at]));
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            counts: pairs,
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            counts: std::array::from_fn(|at| self.counts[at] + other.counts[at]),
            sum: self.sum + other.sum,
        }
    }

    /// Enters `requests` that took so long.
    pub fn record(&mut self, requests: u64, took: Duration) {
        let bucket = BOUNDS.iter().filter(|bound| took > **bound).count();
        self.requests += requests;
        self.counts[bucket] += requests;
        self.sum += took * u32::try_from(requests).unwrap_or(u32::MAX);
    }

    /// The mean time of a request; zero without any.
    pub fn mean(&self) -> Duration {
        match self.requests {
            0 => Duration::ZERO,
            requests => self.sum.div_f64(requests as f64),
        }
    }

    /// The bucket that holds the quantile `at` (0 to 1), from 0; 0 without requests.
    pub fn bucket_of(&self, at: f64) -> usize {
        let wanted = (self.requests as f64 * at).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        self.counts.iter().position(reached).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_fall_into_buckets() {
        let mut totals = Totals::default();
        assert_eq!((totals.bucket_of(0.5), totals.mean()), (0, Duration::ZERO));
        totals.record(98, Duration::from_micros(400));
        totals.record(2, Duration::from_secs(61));
        assert_eq!((totals.bucket_of(0.5), totals.bucket_of(0.98)), (0, 0));
        assert_eq!(totals.bucket_of(0.99), BOUNDS.len());
    }

    #[test]
    fn what_came_after_is_what_was_added() {
        let mut early = Totals::default();
        early.record(3, Duration::from_millis(2));
        let mut more = Totals::default();
        more.record(5, Duration::from_millis(7));
        more.failed = 2;
        assert_eq!(early.plus(&more).since(&early), more);
        assert_eq!(more.mean(), Duration::from_millis(7));
    }
}
