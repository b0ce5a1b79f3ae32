//! What all requests met so far: for whoever compares one time with another.
//!
//! Summed from the series that are counted anyway, when somebody asks. No sum is ever less than it was:
//! what series held that had to make room for others is kept here. Only failures are told apart by route,
//! and only where there are any, so that a process with many routes can keep many of these.

use std::collections::{BTreeMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::{Plan, Termination};

use super::series::Series;
use super::shard::{BOUNDS, Distribution, Shards, total};
use super::{Metrics, NONE, Name, OTHER, RouteKey};
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
    /// Of `failed`, the answers of 5xx by route; without those that have none.
    by_route: BTreeMap<Name, u64>,
}

impl Metrics {
    /// What all requests met so far. Takes as long as there are routes in use; no request waits for
    /// it.
    pub fn totals(&self) -> Totals {
        // Held meanwhile: a series is either still there or forgotten.
        let forgotten = self.forgotten();
        let mut totals = forgotten.clone();
        for ((route, _), shards) in self.routes.sorted() {
            totals.add(&route, &shards);
        }
        drop(forgotten);
        // Their heads promised something else.
        for broken in [Termination::UpstreamTruncated, Termination::IdleTimeout] {
            totals.failed += total(&self.global, |shard| &shard.terminations, broken);
        }
        totals
    }

    /// The series of routes that `plan` does not have.
    pub(super) fn gone(&self, plan: &Plan) -> Vec<RouteKey> {
        let named: HashSet<&str> = plan.routes.iter().map(|route| &*route.name).collect();
        let stays = |route: &Name| named.contains(&**route) || **route == *OTHER;
        self.routes.keys(|(route, _)| !stays(route))
    }

    /// Forgets series of routes, but for what they add to the totals.
    pub(super) fn forget_routes(&self, gone: &[RouteKey]) {
        let mut forgotten = self.forgotten();
        for key in gone {
            if let Some(shards) = self.routes.remove(key) {
                forgotten.add(&key.0, &shards);
            }
        }
        // Names that are gone from everywhere else are not kept here: they could grow without end.
        forgotten.by_route.clear();
    }

    fn forgotten(&self) -> MutexGuard<'_, Totals> {
        self.forgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn add(&mut self, route: &Name, shards: &Shards<Series>) {
        if **route == *NONE {
            return;
        }
        let times = Distribution::of(shards, |shard| &shard.duration);
        for (sum, count) in self.counts.iter_mut().zip(times.counts) {
            *sum += count;
            self.requests += count;
        }
        self.sum += times.sum;
        let failed = total(shards, |shard| &shard.classes, StatusClass::ServerError);
        self.fail(route, failed);
    }

    /// Enters that of the requests of `route` so many failed.
    pub fn fail(&mut self, route: &Name, failed: u64) {
        if failed > 0 {
            self.failed += failed;
            *self.by_route.entry(route.clone()).or_default() += failed;
        }
    }

    /// Those that failed on a route that is not `excused`. Of answers that broke off nobody knows the
    /// route: they are not among them. What is beyond the bound on series is of the route [`OTHER`].
    pub fn failed_but(&self, excused: impl Fn(&str) -> bool) -> u64 {
        let blamed = self.by_route.iter().filter(|(route, _)| !excused(route));
        blamed.map(|(_, failed)| failed).sum()
    }

    /// What came after `earlier`, which was counted by the same process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = std::array::from_fn(|at| self.counts[at].saturating_sub(earlier.counts[at]));
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            counts: pairs,
            sum: self.sum.saturating_sub(earlier.sum),
            by_route: self.failures_since(earlier),
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
            by_route: {
                let mut both = self.by_route.clone();
                for (route, failed) in &other.by_route {
                    *both.entry(route.clone()).or_default() += failed;
                }
                both
            },
        }
    }

    fn failures_since(&self, earlier: &Self) -> BTreeMap<Name, u64> {
        let more = self.by_route.iter().map(|(route, failed)| {
            let before = earlier.by_route.get(route).copied().unwrap_or(0);
            // A series that was forgotten and came again starts anew.
            let more = if before > *failed {
                *failed
            } else {
                failed - before
            };
            (route.clone(), more)
        });
        more.filter(|(_, more)| *more > 0).collect()
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
    fn failures_are_told_apart_by_route() {
        let name = |text: &str| Name::from(text);
        let mut early = Totals::default();
        early.fail(&name("a"), 3);
        let mut late = early.clone();
        late.fail(&name("a"), 2);
        late.fail(&name("b"), 5);
        late.failed += 7;
        let since = late.since(&early);
        assert_eq!(since.failed, 14, "seven broke off");
        assert_eq!(since.failed_but(|_| false), 7);
        assert_eq!(since.failed_but(|route| route == "b"), 2);
        assert_eq!(early.plus(&since), late);
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
