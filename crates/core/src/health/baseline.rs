//! What is usual for a region: the share of attempts that fail, and how long answers take.
//!
//! Learned over minutes, and not while there is doubt: a fault must not become what is usual
//! because it lasts. What is met waits for two seconds before it is learned, and is forgotten if
//! doubt comes up meanwhile, so that neither does a fault's beginning.

use std::time::{Duration, Instant};

use super::histogram::{Histogram, fade};
use super::window::Counts;
use crate::cell::{ErrorClass, LatencyCounts};

/// Half of what is known is forgotten within this time of traffic.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// What is met becomes usual once so much time has passed without doubt.
const QUARANTINE: Duration = Duration::from_secs(2);
/// Before anything is known a share of 5 % is usual, with the weight of so many attempts: a service
/// that always answers a few with 5xx must not look ill before it is known.
const PRIOR_ATTEMPTS: f64 = 40.0;
const PRIOR_SHARE: f64 = 0.05;
/// Answers from which the usual time is taken to be known, and the time that it takes at least: the
/// first to be answered are those that are answered soon.
const KNOWN_ANSWERS: f64 = 100.0;
const KNOWN_TIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Baseline {
    failed: [f64; ErrorClass::COUNT],
    ended: f64,
    latency: Histogram,
    at: Instant,
    /// Time of traffic from which it was learned.
    learned: Duration,
    /// What waits to be learned, since when.
    fresh: Counts,
    fresh_latency: LatencyCounts,
    fresh_since: Instant,
}

impl Baseline {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            failed: [0.0; ErrorClass::COUNT],
            ended: 0.0,
            latency: Histogram::new(now, HALF_LIFE),
            at: now,
            learned: Duration::ZERO,
            fresh: Counts::default(),
            fresh_latency: LatencyCounts::default(),
            fresh_since: now,
        }
    }

    /// Enters what was met since the last look.
    pub(super) fn enter(&mut self, now: Instant, met: &Counts, latency: &LatencyCounts) {
        self.fresh.add(met);
        for (fresh, more) in self.fresh_latency.0.iter_mut().zip(latency.0) {
            *fresh = fresh.wrapping_add(more);
        }
        if now.saturating_duration_since(self.fresh_since) >= QUARANTINE {
            let (met, latency) = (self.fresh, self.fresh_latency.clone());
            self.learn(now, &met, &latency);
            self.hold(now);
        }
    }

    /// There is doubt: what waits is forgotten.
    pub(super) fn hold(&mut self, now: Instant) {
        self.fresh = Counts::default();
        self.fresh_latency = LatencyCounts::default();
        self.fresh_since = now;
    }

    pub(super) fn learn(&mut self, now: Instant, met: &Counts, latency: &LatencyCounts) {
        self.latency.enter(now, latency);
        let since = now.saturating_duration_since(self.at);
        self.at = now;
        if met.ended() == 0 {
            return;
        }
        let since = since.min(QUARANTINE);
        self.learned = self.learned.saturating_add(since);
        let keep = fade(since, HALF_LIFE);
        for (failed, more) in self.failed.iter_mut().zip(met.errors) {
            *failed = *failed * keep + more as f64;
        }
        self.ended = self.ended * keep + met.ended() as f64;
    }

    /// The share of attempts that usually fails.
    pub(super) fn share(&self) -> f64 {
        let failed: f64 = self.failed.iter().sum();
        (failed + PRIOR_SHARE * PRIOR_ATTEMPTS) / (self.ended + PRIOR_ATTEMPTS)
    }

    /// The time in which the part `q` of the answers usually comes; none while that is not known.
    pub(super) fn quantile(&self, q: f64) -> Option<Duration> {
        let known = self.latency.answers() >= KNOWN_ANSWERS && self.learned >= KNOWN_TIME;
        known.then(|| self.latency.quantile(q)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_precedes_a_doubt_is_not_learned() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut usual, latency) = (Baseline::new(start), LatencyCounts::default());
        let met = |answered, resets| {
            let mut errors = [0; ErrorClass::COUNT];
            errors[ErrorClass::Reset as usize] = resets;
            Counts { answered, errors }
        };
        usual.enter(at(50), &met(0, 50), &latency);
        usual.hold(at(1_900));
        usual.enter(at(2_100), &met(1_000, 0), &latency);
        assert_eq!(usual.share(), PRIOR_SHARE);
        usual.enter(at(4_000), &met(0, 0), &latency);
        assert!(usual.share() < PRIOR_SHARE / 20.0, "{}", usual.share());
    }

    #[test]
    fn what_is_usual_is_learned_slowly() {
        let start = Instant::now();
        let mut usual = Baseline::new(start);
        assert_eq!(usual.share(), PRIOR_SHARE);
        let mut latency = LatencyCounts::default();
        latency.0[LatencyCounts::bucket(Duration::from_millis(20))] = 50;
        let mut errors = [0; ErrorClass::COUNT];
        let mut learn = |usual: &mut Baseline, from: u64, to: u64, failed: u64| {
            errors[ErrorClass::ServerError as usize] = failed;
            let answered = 50 - failed;
            for second in from..to {
                let now = start + Duration::from_secs(second);
                usual.learn(now, &Counts { answered, errors }, &latency);
            }
        };
        learn(&mut usual, 1, 59, 0);
        assert_eq!(usual.quantile(0.5), None);
        learn(&mut usual, 59, 600, 0);
        assert_eq!(usual.quantile(0.5).map(|p50| p50.as_millis()), Some(20));
        assert!(usual.share() < 0.000_2, "{}", usual.share());
        learn(&mut usual, 600, 660, 25);
        assert!((0.06..0.10).contains(&usual.share()), "{}", usual.share());
        learn(&mut usual, 660, 3_000, 25);
        assert!(usual.share() > 0.45, "{}", usual.share());
    }
}
