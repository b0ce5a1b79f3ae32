//! Answers that take much longer than they usually do here.

use std::time::{Duration, Instant};

use super::baseline::Baseline;
use super::evidence::Evidence;
use crate::cell::LatencyCounts;

/// Where p90 has risen as configured, p50 must have risen by so much at least: a slow route makes
/// p90 rise alone.
const P50_WITH_P90: f64 = 1.5;
/// And by so much in any case: three times a millisecond is still fast.
const RISE_MIN: Duration = Duration::from_millis(10);

/// Standard deviations by which a quantile of few answers may be above the usual one by chance.
const CHANCE: f64 = 4.0;

/// How long answers have been slow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slow {
    since: Option<Instant>,
    /// Whether the last look had enough answers to see it.
    seen: bool,
}

/// Times of answers, now and usually.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    p50: [Duration; 2],
    p90: [Duration; 2],
    /// Up to where p50 and p90 of so few answers may be by chance: where some answers always take
    /// much longer, the middle of a few is now with these, now with those.
    chance: [Duration; 2],
    answers: u64,
}

impl Times {
    /// None while it is not known what is usual, or with fewer than `min` answers.
    pub(super) fn of(now: &LatencyCounts, usual: &Baseline, min: u64) -> Option<Self> {
        let answers = now.total();
        let both = |q| Some([now.quantile(q)?, usual.quantile(q)?]);
        let by_chance = |q: f64| {
            let deviation = (q * (1.0 - q) / answers.max(1) as f64).sqrt();
            usual.quantile((q + CHANCE * deviation).min(0.995))
        };
        (answers >= min.max(1)).then_some(Self {
            p50: both(0.5)?,
            p90: both(0.9)?,
            chance: [by_chance(0.5)?, by_chance(0.9)?],
            answers,
        })
    }

    /// How many times the usual half of the answers take.
    pub(super) fn ratio(&self) -> f64 {
        ratio(self.p50)
    }

    /// Whether they are slow: `times` the usual, in the middle or, if the middle rose too, above.
    pub(super) fn slow(&self, times: f64) -> bool {
        let rose = |[now, usual]: [Duration; 2]| now >= usual + RISE_MIN;
        let slow = |both, chance| ratio(both) >= times && rose(both) && both[0] > chance;
        let [middle, upper] = self.chance;
        let above = slow(self.p90, upper) && ratio(self.p50) >= P50_WITH_P90;
        slow(self.p50, middle) || above
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence::Slow {
            p50: self.p50[0],
            usual_p50: self.p50[1],
            p90: self.p90[0],
            usual_p90: self.p90[1],
            answers: self.answers,
        }
    }
}

fn ratio([now, usual]: [Duration; 2]) -> f64 {
    now.as_secs_f64() / usual.as_secs_f64().max(1e-6)
}

impl Slow {
    /// Enters whether answers are slow; without enough of them, what was believed stands.
    pub(super) fn enter(&mut self, slow: Option<bool>, now: Instant) {
        self.seen = slow == Some(true);
        match slow {
            Some(true) => {
                self.since.get_or_insert(now);
            }
            Some(false) => self.since = None,
            None => {}
        }
    }

    /// Whether they are, and have been for `at_least`.
    pub(super) fn alarm(&self, at_least: Duration, now: Instant) -> bool {
        let lasted = self.since.map(|at| now.saturating_duration_since(at));
        self.seen && lasted >= Some(at_least)
    }

    /// Since when.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    pub(super) fn doubtful(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::window::Counts;

    fn counts(answers: &[(u64, u32)]) -> LatencyCounts {
        let mut counts = LatencyCounts::default();
        for (ms, count) in answers {
            counts.0[LatencyCounts::bucket(Duration::from_millis(*ms))] += count;
        }
        counts
    }

    fn check(usual: &[(u64, u32)], now: &[(u64, u32)], slow: Option<bool>) {
        let start = Instant::now();
        let mut baseline = Baseline::new(start);
        baseline.learn(start, &Counts::default(), &counts(usual));
        let met = Counts {
            answered: 1,
            ..Counts::default()
        };
        for step in 1..=30 {
            let now = start + Duration::from_secs(2) * step;
            baseline.learn(now, &met, &LatencyCounts::default());
        }
        let times = Times::of(&counts(now), &baseline, 20);
        assert_eq!(
            times.map(|times| times.slow(3.0)),
            slow,
            "{usual:?} {now:?}"
        );
    }

    #[test]
    fn three_times_the_usual_is_slow() {
        check(&[(20, 100)], &[(20, 50)], Some(false));
        check(&[(20, 100)], &[(40, 50)], Some(false));
        check(&[(20, 100)], &[(80, 50)], Some(true));
        check(&[(20, 100)], &[(80, 19)], None);
        check(&[(20, 99)], &[(80, 50)], None);
        // A slow route alone is not the region.
        check(&[(20, 100)], &[(20, 80), (900, 20)], Some(false));
        check(&[(20, 100)], &[(35, 80), (900, 20)], Some(true));
        check(
            &[(20, 85), (5_000, 15)],
            &[(20, 80), (5_000, 20)],
            Some(false),
        );
        // The middle of a few falls on either side by chance.
        check(
            &[(20, 55), (5_000, 45)],
            &[(20, 12), (5_000, 13)],
            Some(false),
        );
        check(
            &[(20, 55), (5_000, 45)],
            &[(20, 12), (40_000, 30)],
            Some(true),
        );
        // Three times very little is little.
        check(&[(1, 100)], &[(4, 50)], Some(false));
    }

    #[test]
    fn slowness_must_last_and_be_seen() {
        let (mut slow, start) = (Slow::default(), Instant::now());
        let second = Duration::from_secs(1);
        let mut check = |at: u32, entered, alarm| {
            slow.enter(entered, start + second * at);
            assert_eq!(slow.alarm(second * 2, start + second * at), alarm, "{at}");
        };
        check(0, Some(true), false);
        check(1, Some(true), false);
        check(3, None, false);
        check(4, Some(true), true);
        check(5, Some(false), false);
        check(6, Some(true), false);
    }
}
