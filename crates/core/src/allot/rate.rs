//! How many a second, averaged over a while.

use std::time::Duration;

/// What is seen at first counts as at least this part of the whole, the rest as nothing: one burst in
/// a moment is no rate.
const SEEN_LEAST: f64 = 0.2;

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
