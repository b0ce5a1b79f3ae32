//! Retry budgets: what keeps a failing upstream from being hit by its own users' retries.
//!
//! Two purses, one for retries within a region and one for moves to another. Requests fill both,
//! and every deposit expires after ten seconds, so that quiet hours do not save up for a storm.
//! Counted back one such window from any retry, and whatever fails:
//!
//! `attempts <= requests x (1 + in-region share + cross-region share) + reserve`
//!
//! The reserve is 10 retries a second in each purse, 100 in a window: without it the very first
//! request of an idle process could not be retried. A share of 0 shuts its purse, reserve included.
//! Counts sit in one slot a second; a retry is entered first and taken back if it was one too many,
//! so that racing threads can only err to the strict side.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Full seconds that a deposit counts, after the one in which it was made.
pub const WINDOW_S: u32 = 10;
/// Retries that each purse allows in one window beyond its share of the requests.
pub const RESERVE: u32 = 10 * WINDOW_S;

/// The purses of one upstream. Every request deposits, every retry withdraws.
#[derive(Debug)]
pub struct Budget {
    origin: Instant,
    shares: [AtomicU64; 2],
    requests: Window,
    retries: [Window; 2],
}

/// Which bucket a retry draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// Another endpoint of the same region.
    InRegion,
    /// Another region.
    CrossRegion,
}

/// Events per second over the last seconds. More slots than the window needs, so that threads
/// whose clocks differ a little do not fight over one.
#[derive(Debug)]
#[repr(align(128))]
struct Window([AtomicU64; SLOTS]);

const SLOTS: usize = 16;

impl Budget {
    /// An empty budget whose purses are shut until [`Budget::configure`]; time counts from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            shares: Default::default(),
            requests: Window::new(),
            retries: [Window::new(), Window::new()],
        }
    }

    /// Sets the parts of requests that may be retried (0.2 for 20 %). What is not a positive number
    /// counts as 0.
    pub fn configure(&self, in_region: f64, cross_region: f64) {
        for (share, value) in self.shares.iter().zip([in_region, cross_region]) {
            share.store(value.max(0.0).to_bits(), Ordering::Relaxed);
        }
    }

    /// Enters one request: its first attempt, not its retries.
    pub fn deposit(&self, now: Instant) {
        self.requests.enter(self.second(now));
    }

    /// Takes a token for a retry; false when there is none.
    pub fn withdraw(&self, purse: Purse, now: Instant) -> bool {
        let (second, retries) = (self.second(now), &self.retries[purse as usize]);
        let share = f64::from_bits(self.shares[purse as usize].load(Ordering::Relaxed));
        if share == 0.0 || !retries.enter(second) {
            return false;
        }
        let limit = share * self.requests.total(second) as f64 + f64::from(RESERVE);
        let within = retries.total(second) as f64 <= limit;
        if !within {
            retries.take_back(second);
        }
        within
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.origin).as_secs() as u32
    }
}

impl Window {
    fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Counts one event; false when the slot belongs to a later second already.
    fn enter(&self, second: u32) -> bool {
        let slot = self.slot(second);
        if second_of(slot.load(Ordering::SeqCst)) == second {
            slot.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let step = |word| match second_of(word) {
            held if held > second => None,
            held if held == second => Some(word + 1),
            _ => Some(u64::from(second) << 32 | 1),
        };
        slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step)
            .is_ok()
    }

    fn take_back(&self, second: u32) {
        self.slot(second).fetch_sub(1, Ordering::SeqCst);
    }

    /// Events of the window that ends with `second`; those of threads a little ahead included.
    fn total(&self, second: u32) -> u64 {
        let words = self.0.iter().map(|slot| slot.load(Ordering::SeqCst));
        words
            .filter(|word| second_of(*word) + WINDOW_S >= second)
            .map(|word| word & 0xffff_ffff)
            .sum()
    }

    fn slot(&self, second: u32) -> &AtomicU64 {
        &self.0[second as usize % SLOTS]
    }
}

fn second_of(word: u64) -> u32 {
    (word >> 32) as u32
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
