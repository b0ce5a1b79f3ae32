//! Retry budgets: what keeps a failing upstream from being hit by its own users' retries.
//!
//! Two purses, one for retries within a region and one for moves to another. Requests fill both,
//! and every deposit expires after ten seconds, so that quiet hours do not save up for a storm.
//! Retries, re-dispatches, hedges and resumes all pay. Counted back one such window from any of them,
//! its purse has given no more than its share of the window's requests and the reserve. So whatever
//! fails, while requests come evenly:
//!
//! `attempts <= requests x (1 + in-region share + cross-region share) + reserve`
//!
//! and in any window at all, when those of the window before are counted with the requests that pay.
//! The reserve is 10 retries a second in each purse, 100 in a window: without it the very first
//! request of an idle process could not be retried. A share of 0 shuts its purse, reserve included.
//! Counts sit in one slot a second; a retry is entered first and taken back if it was one too many,
//! so that racing threads can only err to the strict side.

mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use window::Window;

/// Full seconds that a deposit counts, after the one in which it was made.
pub const WINDOW_S: u32 = 10;
/// Retries that each purse allows in one window beyond its share of the requests.
pub const RESERVE: u32 = 10 * WINDOW_S;

/// The purses of one upstream. Every request deposits, every retry withdraws.
#[derive(Debug)]
pub struct Budget {
    requests: Deposits,
    purses: [Allowance; 2],
}

/// Which bucket a retry draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purse {
    /// Another endpoint of the same region.
    InRegion,
    /// Another region.
    CrossRegion,
}

/// The requests of the last window, of which allowances are parts.
#[derive(Debug)]
pub(crate) struct Deposits {
    origin: Instant,
    entered: Window,
}

/// What may be spent: a share of the deposits, and a reserve.
#[derive(Debug)]
pub(crate) struct Allowance {
    share: AtomicU64,
    reserve: u32,
    spent: Window,
}

impl Purse {
    /// Both.
    pub const ALL: [Self; 2] = [Self::InRegion, Self::CrossRegion];
}

impl Budget {
    /// An empty budget whose purses are shut until [`Budget::configure`]; time counts from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            requests: Deposits::new(origin),
            purses: [Allowance::new(RESERVE), Allowance::new(RESERVE)],
        }
    }

    /// Sets the parts of requests that may be retried (0.2 for 20 %). What is not a positive number
    /// counts as 0.
    pub fn configure(&self, in_region: f64, cross_region: f64) {
        for (purse, share) in self.purses.iter().zip([in_region, cross_region]) {
            purse.configure(share);
        }
    }

    /// Enters one request: its first attempt, not its retries.
    pub fn deposit(&self, now: Instant) {
        self.requests.enter(now);
    }

    /// Takes a token for a retry; false when there is none.
    pub fn withdraw(&self, purse: Purse, now: Instant) -> bool {
        self.purses[purse as usize].withdraw(&self.requests, now)
    }

    /// The part of the purse that the last window has used, 0 to 1; 0 for one that is shut.
    pub fn used(&self, purse: Purse, now: Instant) -> f64 {
        self.purses[purse as usize].used(&self.requests, now)
    }
}

impl Deposits {
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            entered: Window::new(),
        }
    }

    pub(crate) fn enter(&self, now: Instant) {
        self.entered.enter(self.second(now));
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.origin).as_secs() as u32
    }
}

impl Allowance {
    /// One that is shut until it is configured.
    pub(crate) fn new(reserve: u32) -> Self {
        Self {
            share: AtomicU64::default(),
            reserve,
            spent: Window::new(),
        }
    }

    /// Sets the share; what is not a positive number shuts it.
    pub(crate) fn configure(&self, share: f64) {
        let share = share.max(0.0).to_bits();
        self.share.store(share, Ordering::Relaxed);
    }

    pub(crate) fn withdraw(&self, requests: &Deposits, now: Instant) -> bool {
        let second = requests.second(now);
        let limit = self.limit(requests, second);
        if limit == 0.0 || !self.spent.enter(second) {
            return false;
        }
        let within = self.spent.total(second) as f64 <= limit;
        if !within {
            self.spent.take_back(second);
        }
        within
    }

    /// Gives a token back that was withdrawn at the same `now`.
    pub(crate) fn give_back(&self, requests: &Deposits, now: Instant) {
        self.spent.take_back(requests.second(now));
    }

    fn used(&self, requests: &Deposits, now: Instant) -> f64 {
        let second = requests.second(now);
        match self.limit(requests, second) {
            0.0 => 0.0,
            limit => (self.spent.total(second) as f64 / limit).min(1.0),
        }
    }

    /// Tokens in a window that ends with `second`; 0 when it is shut.
    fn limit(&self, requests: &Deposits, second: u32) -> f64 {
        match f64::from_bits(self.share.load(Ordering::Relaxed)) {
            0.0 => 0.0,
            share => share * requests.entered.total(second) as f64 + f64::from(self.reserve),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn budget(in_region: f64, cross_region: f64) -> (Budget, Instant) {
        let origin = Instant::now();
        let budget = Budget::new(origin);
        budget.configure(in_region, cross_region);
        (budget, origin)
    }

    fn granted(budget: &Budget, purse: Purse, asked: u32, now: Instant) -> u32 {
        (0..asked)
            .map(|_| u32::from(budget.withdraw(purse, now)))
            .sum()
    }

    /// `requests` at once, then as many retries as are granted `after` seconds later.
    fn check(share: f64, requests: u32, after: u64, expected: u32) {
        let (budget, origin) = budget(share, 0.0);
        (0..requests).for_each(|_| budget.deposit(origin));
        let now = origin + Duration::from_secs(after);
        let actual = granted(&budget, Purse::InRegion, 10_000, now);
        assert_eq!(
            actual, expected,
            "share {share}, {requests} requests, {after} s"
        );
        assert_eq!(
            granted(&budget, Purse::CrossRegion, 1, now),
            0,
            "the other purse is shut"
        );
    }

    #[test]
    fn a_purse_holds_its_share_and_the_reserve() {
        check(0.2, 0, 0, RESERVE);
        check(0.2, 1, 0, RESERVE);
        check(0.2, 1_000, 0, RESERVE + 200);
        check(1.0, 1_000, 0, RESERVE + 1_000);
        check(1.0, 1_000, 10, RESERVE + 1_000);
        check(1.0, 1_000, 11, RESERVE);
        check(1.0, 1_000, 1_000, RESERVE);
        check(0.0, 1_000, 0, 0);
        check(-1.0, 1_000, 0, 0);
        check(f64::NAN, 1_000, 0, 0);
    }

    #[test]
    fn the_reserve_comes_back_after_the_window() {
        let (budget, origin) = budget(0.2, 0.2);
        assert_eq!(granted(&budget, Purse::InRegion, 500, origin), RESERVE);
        for (after, expected) in [(10, 0), (11, RESERVE), (21, 0), (22, RESERVE)] {
            let now = origin + Duration::from_secs(after);
            assert_eq!(
                granted(&budget, Purse::InRegion, 500, now),
                expected,
                "after {after} s"
            );
        }
    }

    #[test]
    fn what_is_used_is_told() {
        let (budget, origin) = budget(0.2, 0.0);
        let used = |after| budget.used(Purse::InRegion, origin + Duration::from_secs(after));
        assert_eq!(used(0), 0.0);
        (0..500).for_each(|_| budget.deposit(origin));
        assert_eq!(granted(&budget, Purse::InRegion, 50, origin), 50);
        assert_eq!((used(0), used(10), used(11)), (0.25, 0.25, 0.0));
        assert_eq!(granted(&budget, Purse::InRegion, 500, origin), RESERVE + 50);
        assert_eq!(used(3), 1.0);
        assert_eq!(budget.used(Purse::CrossRegion, origin), 0.0, "it is shut");
        budget.configure(0.01, 0.0);
        assert_eq!(used(3), 1.0, "never above 1");
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let (budget, origin) = budget(0.2, 0.2);
        (0..500).for_each(|_| budget.deposit(origin));
        let granted: u32 = std::thread::scope(|scope| {
            let take = || granted(&budget, Purse::InRegion, 1_000, origin);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!(granted <= RESERVE + 100, "{granted}");
        assert!(granted > 0);
    }
}
