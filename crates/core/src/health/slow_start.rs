//! How an endpoint that comes up takes its share: little at first, all of it after a while.

use std::time::Duration;

use crate::plan::SlowStart;

/// The part of its weight that an endpoint takes `since` it came up, 0 to 1 (ALGORITHMS 5.8, Envoy's
/// slow start): `max(min_weight, (max(t, 1 s) / window)^(1 / aggression))`. A window of zero: all.
pub(super) fn share(policy: &SlowStart, since: Duration) -> f64 {
    let window = policy.window.as_secs_f64();
    if since >= policy.window || window <= 0.0 {
        return 1.0;
    }
    let part = (since.as_secs_f64().max(1.0) / window).min(1.0);
    let aggression = policy.aggression.max(1e-3);
    part.powf(1.0 / aggression).max(policy.min_weight).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(aggression: f64, seconds: f64, expected: f64) {
        let policy = SlowStart {
            window: Duration::from_secs(60),
            aggression,
            min_weight: 0.1,
        };
        let actual = share(&policy, Duration::from_secs_f64(seconds));
        assert!(
            (actual - expected).abs() < 5e-4,
            "{aggression} {seconds}: {actual}"
        );
    }

    #[test]
    fn shares_are_those_of_envoy() {
        check(1.0, 15.0, 0.25);
        check(1.0, 30.0, 0.5);
        check(2.0, 6.0, 0.316);
        check(2.0, 15.0, 0.5);
        check(2.0, 30.0, 0.707);
        check(1.0, 0.0, 0.1);
        check(2.0, 0.1, 0.129);
        check(1.0, 60.0, 1.0);
        check(1.0, 900.0, 1.0);
    }

    #[test]
    fn a_window_of_nothing_is_no_slow_start() {
        let policy = SlowStart {
            window: Duration::ZERO,
            aggression: 1.0,
            min_weight: 0.1,
        };
        assert_eq!(share(&policy, Duration::ZERO), 1.0);
    }
}
