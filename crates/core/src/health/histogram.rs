//! How long answers usually take: counts by bucket that fade as new ones come.

use std::time::{Duration, Instant};

use crate::cell::LatencyCounts;

/// Counts of answers by the time they took, of which half are forgotten within `half_life`. Time in
/// which nothing came does not count: a quiet night forgets nothing.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [f32; LatencyCounts::BUCKETS],
    total: f64,
    at: Instant,
    half_life: Duration,
}

/// Between two entries, at most so much time passes for the purpose of forgetting.
const IDLE: Duration = Duration::from_secs(2);

impl Histogram {
    pub(super) fn new(now: Instant, half_life: Duration) -> Self {
        Self {
            counts: [0.0; LatencyCounts::BUCKETS],
            total: 0.0,
            at: now,
            half_life,
        }
    }

    /// Enters answers.
    pub(super) fn enter(&mut self, now: Instant, answers: &LatencyCounts) {
        let since = now.saturating_duration_since(self.at).min(IDLE);
        self.at = now;
        if answers.0.iter().all(|count| *count == 0) {
            return;
        }
        let keep = fade(since, self.half_life) as f32;
        for (count, more) in self.counts.iter_mut().zip(answers.0) {
            *count = *count * keep + more as f32;
        }
        self.total = self.counts.iter().map(|count| f64::from(*count)).sum();
    }

    /// How many answers it knows, faded ones in part.
    pub(super) fn answers(&self) -> f64 {
        self.total
    }

    /// The time within which the part `q` of the answers came; none without answers.
    pub(super) fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = self.total * q;
        let mut seen = 0.0;
        let bucket = self.counts.iter().position(|count| {
            seen += f64::from(*count);
            *count > 0.0 && seen >= rank
        });
        bucket.map(LatencyCounts::upper)
    }

    /// The part of the answers that took longer than `limit`, never quite 0: one more answer than
    /// is known might.
    pub(super) fn slower_than(&self, limit: Duration) -> f64 {
        let above = LatencyCounts::bucket(limit) + 1;
        let slower: f64 = self.counts[above..].iter().map(|n| f64::from(*n)).sum();
        (slower + 1.0) / (self.total + 1.0)
    }
}

/// The part that is left after `since` when half is gone after `half_life`.
pub(super) fn fade(since: Duration, half_life: Duration) -> f64 {
    (-since.as_secs_f64() / half_life.as_secs_f64()).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(ms: u64, count: u32) -> LatencyCounts {
        let mut answers = LatencyCounts::default();
        answers.0[LatencyCounts::bucket(Duration::from_millis(ms))] = count;
        answers
    }

    #[test]
    fn what_comes_later_counts_for_more_and_idle_time_for_nothing() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut known = Histogram::new(start, Duration::from_secs(2));
        assert_eq!(known.quantile(0.5), None);
        known.enter(at(1), &answers(10, 100));
        known.enter(at(5_000), &LatencyCounts::default());
        let ms = |known: &Histogram, q| known.quantile(q).expect("answers").as_millis();
        assert!((known.answers() - 100.0).abs() < 1e-3);
        known.enter(at(9_000), &answers(500, 30));
        assert!((known.answers() - 80.0).abs() < 1e-3);
        assert!((10..=12).contains(&ms(&known, 0.5)) && (500..=625).contains(&ms(&known, 0.9)));
        let slower = known.slower_than(Duration::from_millis(100));
        assert!((slower - 31.0 / 81.0).abs() < 1e-6);
        assert!(known.slower_than(Duration::from_secs(900)) > 0.0);
    }
}
