//! What hedging of one route needs to know: how long its answers take, and what it may still spend.
//!
//! "The Tail at Scale" (Dean and Barroso, 2013): a second request sent once the first is slower than
//! 95 % of them costs 5 % more and cuts the tail. What keeps it from feeding a fire: the route's purse
//! (a part of its requests in the last ten seconds, and one hedge a second besides), the purses of
//! its upstream, which a hedge pays from as well and leaves half full for failures, the bounds of
//! `circuit_breaker`, and the percentile itself, which moves up when everything becomes slow.
//!
//! Counts in buckets, by many threads and without a lock: samples of the instant in which a window
//! begins may be lost.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::budget::{Allowance, Budget, Deposits, Purse, WINDOW_S};
use crate::cell::LatencyCounts;
use crate::plan::{Hedge, HedgeAfter};

/// A percentile is known only from so many answers on.
pub const MIN_SAMPLES: u64 = 100;
/// No percentile counts as less: below it, timers and the scheduling of both sides decide more than
/// the upstream does.
pub const FLOOR: Duration = Duration::from_millis(5);
/// Hedges in one window beyond the route's share of its requests: without them a quiet route could
/// never hedge.
pub const HEDGE_RESERVE: u32 = WINDOW_S;
/// From this use of an upstream's purse on, what is left of it is for failures.
pub const BUSY: f64 = 0.5;

/// The times of one window.
const SPAN: Duration = Duration::from_secs(10);
/// A percentile is worked out anew after so long.
const TICK: Duration = Duration::from_millis(100);

/// What is observed for the hedges of one route. It belongs to the route's name, so a reload carries
/// it over.
#[derive(Debug)]
pub struct HedgeCell {
    origin: Instant,
    requests: Deposits,
    purse: Allowance,
    /// The current window and the one before, each at the place of its number's lowest bit.
    times: [Times; 2],
    /// A percentile's microseconds (`f32`; 0 for none) above the tick in which it was worked out.
    known: AtomicU64,
}

/// Answers by the time they took.
#[derive(Debug)]
#[repr(align(128))]
struct Times {
    /// The number of the window, counted from 1; 0 before the first.
    window: AtomicU32,
    counts: [AtomicU32; LatencyCounts::BUCKETS],
}

impl HedgeCell {
    /// A cell that has seen nothing, with an empty purse; `origin` is the moment from which it counts
    /// time.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            requests: Deposits::new(origin),
            purse: Allowance::new(HEDGE_RESERVE),
            times: [Times::new(), Times::new()],
            known: AtomicU64::new(0),
        }
    }

    /// Sets the part of the route's requests that may be hedged (0.05 for 5 %). What is not a positive
    /// number counts as 0, and nothing is hedged.
    pub fn configure(&self, share: f64) {
        self.purse.configure(share);
    }

    /// Enters one request of the route.
    pub fn deposit(&self, now: Instant) {
        self.requests.enter(now);
    }

    /// Enters how long a request's first attempt took from its begin to its answer's head, or, when
    /// it was given up because a hedge answered first, how long it had been waited for: were those left
    /// out, the percentile would sink with every hedge that wins.
    pub fn observe(&self, took: Duration, now: Instant) {
        let window = self.window(now);
        self.times[place(window)].enter(took, window);
    }

    /// How long to wait for an answer before a hedge is sent. None: never, because too few answers
    /// came lately ([`MIN_SAMPLES`] in the last 10 to 20 seconds) to know the percentile.
    ///
    /// A percentile is never too short: it is the upper end of a bucket, a quarter above the true one
    /// at most, as of a tenth of a second ago at most, and not below [`FLOOR`].
    pub fn delay(&self, hedge: &Hedge, now: Instant) -> Option<Duration> {
        match hedge.after {
            HedgeAfter::Fixed(after) => Some(after),
            HedgeAfter::Percentile(q) => self.percentile(q, now),
        }
    }

    /// Takes a token of the route's own purse; false when there is none. [`pay`](Self::pay) asks the
    /// upstream's as well.
    pub fn withdraw(&self, now: Instant) -> bool {
        self.purse.withdraw(&self.requests, now)
    }

    /// Pays for a hedge from the route's purse and from the upstream's, from both or from none. Nothing
    /// is to be had from a purse of which [`BUSY`] is used: somebody fails, and the rest is for that.
    pub fn pay(&self, budget: &Budget, purse: Purse, now: Instant) -> bool {
        if budget.used(purse, now) >= BUSY || !self.withdraw(now) {
            return false;
        }
        let paid = budget.withdraw(purse, now);
        if !paid {
            self.purse.give_back(&self.requests, now);
        }
        paid
    }

    fn percentile(&self, q: f64, now: Instant) -> Option<Duration> {
        let tick = (self.since(now).as_millis() / TICK.as_millis()) as u32 + 1;
        let known = self.known.load(Ordering::Relaxed);
        let us = match known as u32 == tick {
            true => f32::from_bits((known >> 32) as u32),
            false => self.work_out(q, now, tick),
        };
        let after = Duration::from_secs_f32(us / 1e6);
        (us > 0.0).then(|| after.max(FLOOR))
    }

    fn work_out(&self, q: f64, now: Instant, tick: u32) -> f32 {
        let counts = self.counts(now);
        let enough = counts.total() >= MIN_SAMPLES;
        let found = counts.quantile(q).filter(|_| enough);
        let us = found.map_or(0.0, |found| found.as_secs_f32() * 1e6);
        let word = u64::from(us.to_bits()) << 32 | u64::from(tick);
        self.known.store(word, Ordering::Relaxed);
        us
    }

    /// What was counted in this window and the one before.
    fn counts(&self, now: Instant) -> LatencyCounts {
        let window = self.window(now);
        let mut sum = LatencyCounts::default();
        for times in &self.times {
            times.add_to(&mut sum, window);
        }
        sum
    }

    fn window(&self, now: Instant) -> u32 {
        (self.since(now).as_secs() / SPAN.as_secs()) as u32 + 1
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

impl Times {
    fn new() -> Self {
        Self {
            window: AtomicU32::new(0),
            counts: array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    fn enter(&self, took: Duration, window: u32) {
        let held = self.window.load(Ordering::Acquire);
        if held > window {
            return;
        }
        if held < window && self.begin(held, window) {
            for count in &self.counts {
                count.store(0, Ordering::Relaxed);
            }
        }
        self.counts[LatencyCounts::bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it falls to this thread to clear what is there.
    fn begin(&self, held: u32, window: u32) -> bool {
        self.window
            .compare_exchange(held, window, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn add_to(&self, sum: &mut LatencyCounts, window: u32) {
        let held = self.window.load(Ordering::Acquire);
        if held == 0 || held.abs_diff(window) > 1 {
            return;
        }
        for (sum, count) in sum.0.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

fn place(window: u32) -> usize {
    window as usize % 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::HedgeTo;

    const P95: Hedge = Hedge {
        after: HedgeAfter::Percentile(0.95),
        budget: 0.05,
        to: HedgeTo::Endpoint,
    };

    /// A cell with hedges for 5 % of its requests, and a clock of seconds since it was made.
    fn cell() -> (HedgeCell, impl Fn(f64) -> Instant) {
        let origin = Instant::now();
        let cell = HedgeCell::new(origin);
        cell.configure(P95.budget);
        (cell, move |after| origin + Duration::from_secs_f64(after))
    }

    fn observe(cell: &HedgeCell, ms: u64, times: u32, now: Instant) {
        (0..times).for_each(|_| cell.observe(Duration::from_millis(ms), now));
    }

    /// The 95th percentile after so many answers of so many milliseconds, in milliseconds.
    fn check(answers: &[(u64, u32)], expected: Option<std::ops::RangeInclusive<u128>>) {
        let (cell, at) = cell();
        for (ms, times) in answers {
            observe(&cell, *ms, *times, at(1.0));
        }
        let delay = cell.delay(&P95, at(1.5)).map(|delay| delay.as_millis());
        let fits = match (&expected, delay) {
            (Some(range), Some(delay)) => range.contains(&delay),
            (expected, delay) => expected.is_none() && delay.is_none(),
        };
        assert!(fits, "{answers:?}: {delay:?}, not {expected:?}");
    }

    #[test]
    fn a_percentile_is_a_quarter_too_long_at_most_and_needs_samples() {
        check(&[], None);
        check(&[(20, 99)], None);
        check(&[(20, 100)], Some(20..=25));
        check(&[(20, 95), (400, 5)], Some(20..=25));
        check(&[(20, 94), (400, 6)], Some(400..=500));
        check(&[(0, 100)], Some(5..=5));
        check(&[(1, 100)], Some(5..=5));
    }

    #[test]
    fn a_fixed_delay_needs_nothing() {
        let (cell, at) = cell();
        let after = Duration::from_millis(1);
        let fixed = Hedge {
            after: HedgeAfter::Fixed(after),
            ..P95
        };
        assert_eq!(cell.delay(&fixed, at(0.0)), Some(after));
    }

    #[test]
    fn what_is_older_than_two_windows_is_forgotten() {
        let (cell, at) = cell();
        let ms = |after| cell.delay(&P95, at(after)).map(|delay| delay.as_millis());
        observe(&cell, 400, 1_000, at(9.0));
        assert!((400..=500).contains(&ms(9.5).expect("known")));
        observe(&cell, 20, 1_000, at(11.0));
        assert!((400..=500).contains(&ms(11.5).expect("both windows count")));
        observe(&cell, 20, 1, at(21.0));
        assert!((20..=25).contains(&ms(21.5).expect("the first is gone")));
        assert!(ms(29.9).is_some());
        assert_eq!(ms(30.0), None, "one answer in two windows is too few");
        assert_eq!(ms(500.0), None);
    }

    #[test]
    fn a_sample_of_an_older_window_is_left_out() {
        let (cell, at) = cell();
        observe(&cell, 20, 100, at(21.0));
        observe(&cell, 900, 100, at(1.0));
        let delay = cell.delay(&P95, at(21.0)).expect("known");
        assert!(delay <= Duration::from_millis(25), "{delay:?}");
    }

    #[test]
    fn the_purse_holds_a_share_of_the_requests_and_one_a_second() {
        let (cell, at) = cell();
        let granted = |now| (0..1_000).filter(|_| cell.withdraw(now)).count() as u32;
        assert_eq!(granted(at(0.0)), HEDGE_RESERVE);
        (0..1_000).for_each(|_| cell.deposit(at(1.0)));
        assert_eq!(granted(at(2.0)), 50);
        assert_eq!(granted(at(30.0)), HEDGE_RESERVE);
        cell.configure(0.0);
        assert_eq!(granted(at(60.0)), 0);
    }

    #[test]
    fn a_hedge_pays_twice_or_not_at_all_and_leaves_half_for_failures() {
        let (cell, at) = cell();
        let now = at(0.0);
        let budget = Budget::new(now);
        let pay = || cell.pay(&budget, Purse::CrossRegion, now);
        assert!(!pay(), "the upstream's purse is shut");
        budget.configure(0.2, 1.0);
        let paid = (0..1_000).filter(|_| pay()).count() as u32;
        assert_eq!(paid, HEDGE_RESERVE, "what was refused was given back");
        (0..1_000).for_each(|_| cell.deposit(now));
        let rest = (0..1_000).filter(|_| pay()).count();
        assert_eq!(rest, 40, "half of the upstream's reserve of 100, less ten");
        assert!(budget.withdraw(Purse::CrossRegion, now), "the other half");
    }

    #[test]
    fn many_threads_begin_a_window_as_one_does() {
        let (cell, at) = cell();
        observe(&cell, 900, 5_000, at(1.0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| observe(&cell, 20, 5_000, at(21.0)));
            }
        });
        let counts = cell.counts(at(21.0));
        let slow = counts.0[LatencyCounts::bucket(Duration::from_millis(900))];
        assert_eq!(slow, 0, "the old window was cleared");
        observe(&cell, 20, 100, at(21.0));
        let delay = cell.delay(&P95, at(21.0)).expect("known");
        assert!(delay <= Duration::from_millis(25), "{delay:?}");
    }
}
