//! Whether errors have become more frequent: Page's CUSUM over the log-likelihood ratio of Wald's
//! sequential test.
//!
//! A share over a window needs the window to fill, and a bound that is safe for every service. A
//! sequential test needs as many attempts as the difference is worth: a third of requests failing
//! where one in a hundred did shows after some 30. E. S. Page, "Continuous inspection schemes",
//! Biometrika 41 (1954); A. Wald, "Sequential tests of statistical hypotheses", Ann. Math. Stat. 16
//! (1945).

use std::time::{Duration, Instant};

/// Alarm level: by Page's bound, one false alarm in e^23 (ten billion) independent attempts.
const ALARM: f64 = 23.0;
/// Above this there is doubt: nothing is learned, and probes hurry.
const DOUBT: f64 = 8.0;
/// One look adds at most so much: errors come in bursts, and a burst is one event.
const STEP_MAX: f64 = ALARM / 4.0;
/// What a share is at least taken to be usually.
const USUAL_MIN: f64 = 0.01;
/// The rise that is looked for, at least; otherwise the usual share once more.
const RISE_MIN: f64 = 0.10;

/// What is significant need not matter: one bad route or client among ten is no reason to move all
/// traffic. So much more than usual must fail,
const RISE_MATTERS: f64 = 0.15;
/// with so many standard deviations to spare.
const SPARE: f64 = 2.0;
/// The share is that of so many attempts, about, so that what was long ago does not dilute it.
const REMEMBERED: f64 = 400.0;

/// The evidence that the share of errors has risen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cusum {
    sum: f64,
    since: Option<Instant>,
    usual: f64,
    /// Since then, of late.
    failed: f64,
    ended: f64,
}

impl Cusum {
    /// Enters what ended since the last look, where `usual` (0 to 1) fails.
    pub(super) fn enter(&mut self, failed: u64, ended: u64, usual: f64, now: Instant) {
        let before = usual.clamp(USUAL_MIN, 0.8);
        let after = (before + before.max(RISE_MIN)).min(0.95);
        let well = (ended - failed) as f64;
        let ratio =
            failed as f64 * (after / before).ln() + well * ((1.0 - after) / (1.0 - before)).ln();
        self.sum = (self.sum + ratio.min(STEP_MAX)).clamp(0.0, 2.0 * ALARM);
        if self.sum == 0.0 {
            return self.reset();
        }
        self.since.get_or_insert(now);
        let keep = if self.ended > REMEMBERED { 0.5 } else { 1.0 };
        self.failed = self.failed * keep + failed as f64;
        self.ended = self.ended * keep + ended as f64;
        self.usual = usual;
    }

    /// Whether the share has risen beyond doubt, and that for `at_least`.
    pub(super) fn alarm(&self, at_least: Duration, now: Instant) -> bool {
        let lasted = self.since.map(|at| now.saturating_duration_since(at));
        self.sum >= ALARM && lasted >= Some(at_least) && self.matters()
    }

    fn matters(&self) -> bool {
        let share = self.failed / self.ended.max(1.0);
        let deviation = (share * (1.0 - share) / self.ended.max(1.0)).sqrt();
        share - SPARE * deviation >= self.usual + RISE_MATTERS
    }

    /// Whether it may have risen.
    pub(super) fn doubtful(&self) -> bool {
        self.sum >= DOUBT
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    const LOOK: Duration = Duration::from_millis(50);

    /// After how many looks of `per_look` attempts, of which `share` fail, the alarm comes.
    fn looks(usual: f64, share: f64, per_look: u64, most: u32, seed: u64) -> Option<u32> {
        let (mut rng, mut cusum, start) = (Rng::with_seed(seed), Cusum::default(), Instant::now());
        (1..=most).find(|look| {
            let failed = (0..per_look).filter(|_| rng.f64() < share).count() as u64;
            cusum.enter(failed, per_look, usual, start + LOOK * *look);
            cusum.alarm(Duration::ZERO, start + LOOK * *look)
        })
    }

    #[test]
    fn a_third_failing_shows_within_a_second() {
        for seed in 0..200 {
            let at_50 = looks(0.001, 0.3, 3, 400, seed).expect("found");
            assert!((4..=80).contains(&at_50), "seed {seed}: {at_50}");
            let at_1000 = looks(0.001, 0.3, 50, 100, seed).expect("found");
            assert!((4..=12).contains(&at_1000), "seed {seed}: {at_1000}");
        }
    }

    #[test]
    fn what_is_usual_never_shows() {
        for (usual, share) in [
            (0.001, 0.001),
            (0.005, 0.005),
            (0.05, 0.05),
            (0.3, 0.3),
            (0.01, 0.1),
        ] {
            for seed in 0..3 {
                assert_eq!(looks(usual, share, 10, 200_000, seed), None, "{share}");
            }
        }
    }

    #[test]
    fn one_burst_is_no_rise() {
        let (mut cusum, now) = (Cusum::default(), Instant::now());
        cusum.enter(500, 500, 0.001, now);
        assert!(!cusum.alarm(Duration::ZERO, now));
        cusum.enter(0, 500, 0.001, now + LOOK);
        assert!(!cusum.doubtful());
    }

    #[test]
    fn a_rise_must_last() {
        let (mut cusum, start) = (Cusum::default(), Instant::now());
        for look in 1..=10 {
            cusum.enter(5, 5, 0.001, start + LOOK * look);
        }
        let at = |look| start + LOOK * look;
        assert!(!cusum.alarm(LOOK * 20, at(20)) && cusum.alarm(LOOK * 20, at(21)));
    }
}
