//! A latency that counts as changed only once it has changed by more than it wavers.

use std::time::Duration;

use crate::plan::Tolerance;

/// A part of next to nothing is less than what scheduling adds: regions in one town would change places
/// all day.
const LEAST: Duration = Duration::from_micros(500);

/// The latency that steering compares. It is one that was measured, and stays until a measurement
/// differs from it by more than the hysteresis: so measurements that lie within the hysteresis of
/// each other change nothing at all, and it changes at most as often as measurements have gone the
/// hysteresis up or down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held(Option<Duration>);

impl Held {
    /// The latency that counts now that `measured` was measured; none while nothing was.
    pub(super) fn hold(
        &mut self,
        measured: Option<Duration>,
        hysteresis: Tolerance,
    ) -> Option<Duration> {
        let (Some(held), Some(latency)) = (self.0, measured) else {
            self.0 = measured;
            return self.0;
        };
        if held.abs_diff(latency) > width(held, hysteresis) {
            self.0 = measured;
        }
        self.0
    }
}

fn width(held: Duration, hysteresis: Tolerance) -> Duration {
    match hysteresis {
        Tolerance::Absolute(width) => width,
        Tolerance::Relative(0.0) => Duration::ZERO,
        Tolerance::Relative(part) => held.mul_f64(part.clamp(0.0, 1.0)).max(LEAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measurements in microseconds, and what is held after each.
    fn check(hysteresis: Tolerance, measured: &[u64], expected: &[u64]) {
        let mut held = Held::default();
        let held = measured.iter().map(|us| {
            let latency = held.hold(Some(Duration::from_micros(*us)), hysteresis);
            latency.map_or(0, |latency| latency.as_micros() as u64)
        });
        assert_eq!(held.collect::<Vec<_>>(), expected, "{measured:?}");
    }

    #[test]
    fn only_what_differs_by_more_than_the_hysteresis_counts() {
        let relative = Tolerance::Relative(0.05);
        check(
            relative,
            &[10_000, 10_500, 9_500, 10_501],
            &[10_000, 10_000, 10_000, 10_501],
        );
        check(relative, &[10_000, 9_499, 9_900], &[10_000, 9_499, 9_499]);
        let absolute = Tolerance::Absolute(Duration::from_micros(300));
        check(
            absolute,
            &[1_000, 1_300, 1_301, 1_001],
            &[1_000, 1_000, 1_301, 1_301],
        );
        check(Tolerance::Relative(0.0), &[7, 8, 7], &[7, 8, 7]);
        check(relative, &[100, 600, 601, 102], &[100, 100, 601, 601]);
    }

    #[test]
    fn what_is_not_measured_is_not_held() {
        let mut held = Held::default();
        assert_eq!(held.hold(None, Tolerance::HYSTERESIS), None);
        let some = Some(Duration::from_millis(3));
        assert_eq!(held.hold(some, Tolerance::HYSTERESIS), some);
    }
}
