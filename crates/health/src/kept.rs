//! The connection that one endpoint's checks leave to each other.
//!
//! A new connection costs four times what an answer over a kept one costs, and with TLS ten times
//! or more. But an endpoint that no longer accepts connections can go on answering over those
//! it has, so every so often a check connects anew even though it need not.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::{Resource, getrlimit};

/// One check in so many connects anew: often enough to find out who stopped accepting, and at this
/// rate a tenth of what checks cost.
const CHECKS_MAX: u32 = 32;
/// But not later than this, at long intervals: connecting also measures the round trip, and what
/// the board knows of answers is of the last minute too ([`tidegate_core::RegionCell::latency`]).
const LASTS: Duration = Duration::from_secs(60);

/// One part in so many of the files that the process may open: requests need them more.
const SHARE_OF_FILES: u64 = 4;

/// At most one connection, and for how many more checks.
#[derive(Debug)]
pub(crate) struct Kept<L> {
    link: Option<(L, Place)>,
    left: u32,
    every: u32,
}

/// How many connections all endpoints together may keep. Who finds no place connects for every check.
#[derive(Debug)]
pub(crate) struct Places {
    /// Referred to once for each place that is taken.
    taken: Arc<()>,
    max: usize,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "counts by being there")] Arc<()>);

impl Places {
    /// A quarter of the files that this process may have open.
    pub(crate) fn of_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::new(usize::try_from(files / SHARE_OF_FILES).unwrap_or(usize::MAX))
    }

    fn new(max: usize) -> Self {
        let taken = Arc::new(());
        Self { taken, max }
    }

    fn take(&self) -> Option<Place> {
        (Arc::strong_count(&self.taken) <= self.max).then(|| Place(self.taken.clone()))
    }
}

impl<L> Kept<L> {
    /// Nothing yet, for checks `interval` apart. When the first of them connects anew is drawn:
    /// the many that start together should not do so together.
    pub(crate) fn new(interval: Duration, rng: &mut Rng) -> Self {
        let every = LASTS.as_nanos() / interval.as_nanos().max(1);
        let every = (every as u32).clamp(1, CHECKS_MAX);
        Self {
            link: None,
            left: rng.u32(..every),
            every,
        }
    }

    /// What the next check may use, unless it has to connect anew.
    pub(crate) fn take(&mut self) -> Option<L> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                self.left = self.every - 1;
                self.link = None;
            }
        }
        self.link.take().map(|(link, _place)| link)
    }

    /// Keeps what a check left, if the next one may use it and there is a place, instead of what
    /// was kept.
    pub(crate) fn put(&mut self, link: Option<L>, places: &Places) {
        self.link = None;
        let link = link.filter(|_| self.left > 0);
        self.link = link.and_then(|link| Some((link, places.take()?)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `checks` checks had a connection to use, each leaving one.
    fn used(interval: Duration, checks: usize, seed: u64) -> Vec<bool> {
        let mut kept = Kept::new(interval, &mut Rng::with_seed(seed));
        let places = Places::new(1);
        let check = |_| {
            let used = kept.take().is_some();
            kept.put(Some(()), &places);
            used
        };
        (0..checks).map(check).collect()
    }

    #[test]
    fn some_checks_connect_anew() {
        let check = |millis, every: usize| {
            let used = used(Duration::from_millis(millis), 10 * every, 7);
            let anew: Vec<usize> = (0..used.len()).filter(|&at| !used[at]).collect();
            let (first, later) = (anew[0], &anew[1..]);
            assert_eq!(first, 0, "there is nothing to begin with");
            assert!(later.first().is_none_or(|at| *at <= every));
            let apart = later.windows(2).all(|pair| pair[1] - pair[0] == every);
            assert!(apart, "{millis} ms: {anew:?}");
        };
        check(0, 32);
        check(100, 32);
        check(2_000, 30);
        check(10_000, 6);
        check(60_000, 1);
        check(3_600_000, 1);
    }

    #[test]
    fn endpoints_that_start_together_do_not_connect_anew_together() {
        let second = |seed| {
            let used = used(Duration::from_secs(2), 40, seed);
            used.iter().skip(1).position(|used| !used)
        };
        let moments: std::collections::HashSet<_> = (0..100).map(second).collect();
        assert!(moments.len() > 20, "{moments:?}");
    }

    #[test]
    fn nothing_is_kept_that_nobody_will_use() {
        let mut kept = Kept::new(Duration::from_secs(60), &mut Rng::new());
        kept.put(Some(()), &Places::new(1));
        assert!(kept.link.is_none());
    }

    #[test]
    fn places_are_taken_and_given_back() {
        let places = Places::new(2);
        let endpoint = || Kept {
            link: None,
            left: 9,
            every: 9,
        };
        let [mut one, mut two, mut three] = [endpoint(), endpoint(), endpoint()];
        let mut keeps = |kept: &mut Kept<()>| {
            kept.put(Some(()), &places);
            kept.link.is_some()
        };
        assert_eq!(
            [&mut one, &mut two, &mut three].map(&mut keeps),
            [true, true, false]
        );
        assert!(keeps(&mut two), "again, at its own place");
        assert!(one.take().is_some());
        assert!(keeps(&mut three));
        drop(two);
        assert!(keeps(&mut one));
        assert!(Places::of_process().max > 0);
    }
}
