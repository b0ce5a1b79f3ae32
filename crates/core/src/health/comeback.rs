//! How long a region stays out, and how its share grows back.
//!
//! A region that goes out again soon after it came back stays out twice as long each time, so that
//! one that flaps troubles its users ever less. Its share grows by equal factors in equal times:
//! each step is as safe as the one before it was.

use std::time::{Duration, Instant};

use crate::plan::Failback;

/// A share never grows by more than this factor within a second. Below two: chance has its part in
/// what a second brings.
const GROWTH_PER_SECOND: f64 = 1.8;
/// Going out again within this time (or `hold_max`, if longer) after it came back is a relapse.
const CALM_MIN: Duration = Duration::from_secs(60);
/// Between two steps, at most so much time counts: a pause of the judge must not become a jump.
const STEP_MAX: Duration = Duration::from_millis(500);
/// The least share that is tried.
const SHARE_MIN: f64 = 1e-4;

/// How often a region went out again after it came back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Comeback {
    relapses: u32,
    back: Option<Instant>,
    been_out: bool,
}

impl Comeback {
    /// It goes out.
    pub(super) fn out(&mut self, failback: &Failback, now: Instant) {
        let calm = failback.hold_max.max(CALM_MIN);
        let soon = |back| now.saturating_duration_since(back) < calm;
        self.relapses = match self.back {
            Some(back) if soon(back) => self.relapses.saturating_add(1),
            _ => 0,
        };
        self.back = None;
        self.been_out = true;
    }

    /// It comes back, if only for a trial.
    pub(super) fn back(&mut self, now: Instant) {
        self.back = Some(now);
    }

    /// It serves whole; after a long calm, what was is forgotten when it goes out again.
    pub(super) fn serves(&mut self, now: Instant) {
        if self.been_out {
            self.back = Some(now);
        }
    }

    pub(super) fn relapses(&self) -> u32 {
        self.relapses
    }

    /// How long it stays out.
    pub(super) fn hold(&self, failback: &Failback) -> Duration {
        let doubled = failback.hold.saturating_mul(1 << self.relapses.min(20));
        doubled.min(failback.hold_max.max(failback.hold))
    }
}

/// The share that is tried first.
pub(super) fn first_share(failback: &Failback) -> f64 {
    failback.probation.clamp(SHARE_MIN, 1.0)
}

/// The share that follows `share` after `since`.
pub(super) fn grown(share: f64, failback: &Failback, since: Duration) -> f64 {
    if failback.ramp.is_zero() {
        return 1.0;
    }
    let whole = (1.0 / first_share(failback)).ln();
    let rate = (whole / failback.ramp.as_secs_f64()).min(GROWTH_PER_SECOND.ln());
    let grown = share * (rate * since.min(STEP_MAX).as_secs_f64()).exp();
    if rate <= 0.0 { 1.0 } else { grown.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failback(ramp: u64) -> Failback {
        Failback {
            hold: Duration::from_secs(10),
            hold_max: Duration::from_secs(60),
            probation: 0.01,
            ramp: Duration::from_secs(ramp),
            ..Failback::default()
        }
    }

    #[test]
    fn the_hold_doubles_with_relapses_and_forgets_after_a_calm() {
        let (policy, start) = (failback(60), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let mut comeback = Comeback::default();
        let mut holds = Vec::new();
        for (out, back) in [
            (0, 10),
            (12, 32),
            (33, 80),
            (90, 150),
            (155, 300),
            (361, 400),
        ] {
            comeback.out(&policy, at(out));
            holds.push(comeback.hold(&policy).as_secs());
            comeback.back(at(back));
        }
        assert_eq!(holds, [10, 20, 40, 60, 60, 10]);
        assert_eq!(comeback.relapses(), 0);
    }

    /// Seconds until the whole share, in looks of 50 ms.
    fn check(policy: &Failback, expected: f64) {
        let (mut share, mut looks, step) = (first_share(policy), 0, Duration::from_millis(50));
        let mut history = vec![share];
        while share < 1.0 {
            share = grown(share, policy, step);
            history.push(share);
            looks += 1;
        }
        let took = f64::from(looks) * 0.05;
        assert!((took - expected).abs() < 0.1, "{took}");
        if !policy.ramp.is_zero() {
            assert!(history.windows(21).all(|w| w[20] <= w[0] * 1.81));
        }
    }

    #[test]
    fn the_share_grows_evenly_and_never_doubles_within_a_second() {
        check(&failback(60), 60.0);
        check(&failback(1), 100f64.ln() / GROWTH_PER_SECOND.ln());
        check(&failback(0), 0.05);
        let whole = Failback {
            probation: 1.0,
            ..failback(60)
        };
        check(&whole, 0.0);
    }

    #[test]
    fn a_pause_of_the_judge_is_no_jump() {
        let policy = failback(1);
        assert!(grown(0.1, &policy, Duration::from_secs(60)) < 0.14);
    }
}
