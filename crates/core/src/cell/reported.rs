//! The load that a region's endpoints report with their answers, averaged.

use std::time::{Duration, Instant};

use crate::ewma::AtomicEwma;

/// A report counts for so long (gRFC A58, `weight_expiration_period`).
const EXPIRES: Duration = Duration::from_secs(180);
/// No report counts for more: who says that it does a hundred times what it can has lost count.
const MOST: f32 = 100.0;

/// An average of reported utilizations; a utilization of 1 is kept as a second.
#[derive(Debug, Default)]
pub(super) struct Reported(AtomicEwma);

impl Reported {
    /// Enters one report. What is negative or no number is not believed.
    pub(super) fn enter(&self, utilization: f32, origin: Instant, now: Instant) {
        if utilization >= 0.0 {
            let kept = Duration::from_secs_f32(utilization.min(MOST));
            self.0.observe(kept, origin, now);
        }
    }

    /// The average; none without a report in the last 180 s.
    pub(super) fn get(&self, origin: Instant, now: Instant) -> Option<f32> {
        let kept = self.0.lately(EXPIRES, origin, now)?;
        Some(kept.as_secs_f32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_averaged_and_expire() {
        let (origin, reported) = (Instant::now(), Reported::default());
        let at = |seconds| origin + Duration::from_secs(seconds);
        let get = |seconds| reported.get(origin, at(seconds));
        assert_eq!(get(0), None);
        for odd in [f32::NAN, -0.1, f32::NEG_INFINITY] {
            reported.enter(odd, origin, at(0));
            assert_eq!(get(0), None, "{odd}");
        }
        reported.enter(0.5, origin, at(1));
        reported.enter(1.0, origin, at(11));
        let average = get(11).expect("reports");
        let expected = 1.0 - 0.5 * (-1.0f32).exp();
        assert!((average - expected).abs() < 1e-3, "{average}");
        assert!(get(191).is_some() && get(192).is_none());
        reported.enter(0.0, origin, at(300));
        assert!(get(300).is_some_and(|idle| idle < 1e-3));
        reported.enter(f32::INFINITY, origin, at(900));
        assert!(get(900).is_some_and(|most| (most - MOST).abs() < 1e-3));
    }
}
