//! How many a second, averaged over a while.

use std::time::Duration;

/// What is seen at first counts as at least this part of the whole, the rest as nothing: one burst in
/// a moment is no rate.
const SEEN_LEAST: f64 = 0.2;
/// What came lately is averaged over this part of the time.
const RECENT: u32 = 4;
/// A step is more than so many standard deviations.
const STRAYS: f64 = 5.0;
/// And more than this part of the rate: real arrivals come in bunches.
const STEP: f64 = 0.25;

/// An average weighted by time, of which half is as old as 0.7 time constants. However often it is
/// looked at, it is the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    sum: f64,
    /// The weight of what was seen; 1 in the end.
    seen: f64,
}

impl Rate {
    /// Enters that `count` came in the time that `passed`, which is above 0.
    pub(super) fn enter(&mut self, count: u64, passed: Duration, constant: Duration) {
        let passed = passed.as_secs_f64();
        let keep = (-passed / constant.as_secs_f64()).exp();
        self.sum = self.sum * keep + count as f64 / passed * (1.0 - keep);
        self.seen = self.seen * keep + (1.0 - keep);
    }

    /// A second; 0 before anything was seen.
    pub(super) fn get(&self) -> f64 {
        self.sum / self.seen.max(SEEN_LEAST)
    }

    /// Forgets what was seen before `recent`, an average over less time.
    fn restart(&mut self, recent: &Self) {
        self.seen = self.seen.min(SEEN_LEAST);
        self.sum = recent.get() * self.seen;
    }
}

/// A rate that is averaged until it changes by a step: then what was before tells nothing any more, and
/// the average begins anew. So a region that takes over from a dead one is not overrun for as long as
/// an average needs to find that out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SteppedRate {
    rate: Rate,
    recent: Rate,
}

impl SteppedRate {
    /// Enters that `count` came in the time that `passed`, which is above 0.
    pub(super) fn enter(&mut self, count: u64, passed: Duration, constant: Duration) {
        let short = constant / RECENT;
        self.rate.enter(count, passed, constant);
        self.recent.enter(count, passed, short);
        if self.has_stepped(short) {
            self.rate.restart(&self.recent);
        }
    }

    /// A second; 0 before anything was seen.
    pub(super) fn get(&self) -> f64 {
        self.rate.get()
    }

    /// Whether what came lately cannot be chance: the variance of an average of independent arrivals is
    /// the rate over twice its time constant.
    fn has_stepped(&self, short: Duration) -> bool {
        let (rate, recent) = (self.rate.get(), self.recent.get());
        let stray = (rate / (2.0 * short.as_secs_f64())).sqrt();
        (recent - rate).abs() > (STRAYS * stray).max(rate * STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// `a_second` for `seconds`, looked at `looks` times a second.
    fn run(rate: &mut Rate, a_second: u64, seconds: u64, looks: u64) -> f64 {
        for _ in 0..seconds * looks {
            rate.enter(a_second / looks, SECOND / looks as u32, 2 * SECOND);
        }
        rate.get()
    }

    fn near(actual: f64, expected: f64) {
        assert!(
            (actual - expected).abs() < expected * 1e-9 + 1e-9,
            "{actual}, not {expected}"
        );
    }

    #[test]
    fn a_steady_rate_is_found_at_once_and_kept() {
        near(Rate::default().get(), 0.0);
        for looks in [1, 4, 20, 100] {
            let mut rate = Rate::default();
            near(run(&mut rate, 1_000, 1, looks), 1_000.0);
            near(run(&mut rate, 1_000, 60, looks), 1_000.0);
            near(run(&mut rate, 0, 2, looks), 1_000.0 * (-1.0f64).exp());
        }
    }

    /// Of a rate that steps, at 20 looks a second: what is found after some seconds.
    fn stepped(before: u64, after: u64, seconds: f64) -> f64 {
        let (mut rate, look) = (SteppedRate::default(), SECOND / 20);
        let mut run = |a_second: u64, looks: u64| {
            (0..looks).for_each(|_| rate.enter(a_second / 20, look, 2 * SECOND));
        };
        run(before, 600);
        run(after, (seconds * 20.0) as u64);
        rate.get()
    }

    #[test]
    fn a_step_is_found_sooner_than_an_average_would() {
        let found = |after, seconds| stepped(1_000, after, seconds) / after as f64;
        assert!(
            (0.8..1.01).contains(&found(2_000, 0.5)),
            "{}",
            found(2_000, 0.5)
        );
        assert!(
            (0.93..1.01).contains(&found(2_000, 1.5)),
            "{}",
            found(2_000, 1.5)
        );
        assert!(
            (0.99..1.2).contains(&found(500, 1.0)),
            "{}",
            found(500, 1.0)
        );
        let small = stepped(1_000, 1_200, 1.0);
        let average = 1_000.0 + 200.0 * (1.0 - (-0.5f64).exp());
        assert!((small - average).abs() < 0.01, "{small}");
    }

    #[test]
    fn chance_is_no_step() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut rate, mut plain) = (SteppedRate::default(), Rate::default());
        for _ in 0..20_000 {
            let count = (0..100).filter(|_| random.f64() < 0.1).count() as u64;
            rate.enter(count, SECOND / 20, 2 * SECOND);
            plain.enter(count, SECOND / 20, 2 * SECOND);
        }
        near(rate.get(), plain.get());
    }

    #[test]
    fn one_burst_is_no_rate() {
        let mut rate = Rate::default();
        rate.enter(10, SECOND / 1_000, 2 * SECOND);
        assert!(rate.get() < 26.0, "{rate:?}");
        let mut unsmoothed = Rate::default();
        unsmoothed.enter(10, SECOND, Duration::ZERO);
        near(unsmoothed.get(), 10.0);
    }
}
