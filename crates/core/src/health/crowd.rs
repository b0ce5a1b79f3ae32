//! How many of those who wait are usually answered soon.
//!
//! When a region falls silent under clients that ask again only once they are answered, nobody new
//! asks: whoever waits has waited since before the last byte, and how long each of them has cannot be
//! seen. But the answers before tell how many wait at a time for quick ones: their rate times the
//! time they took (J. D. C. Little, "A proof for the queuing formula L = λW", Operations Research 9,
//! 1961). Long polls and slow routes are not among them.

use std::time::{Duration, Instant};

use crate::cell::LatencyCounts;

/// Answers are counted over one to two times so long.
const SPAN: Duration = Duration::from_millis(500);

/// The answers of late, over two spans of time.
#[derive(Debug)]
pub(super) struct Crowd {
    now: LatencyCounts,
    before: LatencyCounts,
    since: Instant,
    last: Instant,
    lasted: Duration,
}

impl Crowd {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now: LatencyCounts::default(),
            before: LatencyCounts::default(),
            since: now,
            last: now,
            lasted: Duration::ZERO,
        }
    }

    /// Enters answers; nothing moves while none come.
    pub(super) fn enter(&mut self, answers: &LatencyCounts, now: Instant) {
        if answers.total() == 0 {
            return;
        }
        if self.last.saturating_duration_since(self.since) >= SPAN {
            self.before = std::mem::take(&mut self.now);
            self.lasted = self.last.saturating_duration_since(self.since);
            self.since = self.last;
        }
        self.last = now;
        for (count, more) in self.now.0.iter_mut().zip(answers.0) {
            *count = count.saturating_add(more);
        }
    }

    /// How many waited at a time for answers that came within `limit`, on average.
    pub(super) fn within(&self, limit: Duration) -> f64 {
        let spans = self.lasted + self.last.saturating_duration_since(self.since);
        if spans < SPAN {
            return 0.0;
        }
        let waited = |counts: &LatencyCounts| {
            let quick = counts.0.iter().enumerate();
            let quick = quick.take(LatencyCounts::bucket(limit));
            let seconds =
                |(at, n): (usize, &u32)| f64::from(*n) * LatencyCounts::upper(at).as_secs_f64();
            quick.map(seconds).sum::<f64>()
        };
        (waited(&self.before) + waited(&self.now)) / spans.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `clients` ask again as soon as they are answered after `ms`, for three seconds.
    fn check(clients: u32, ms: u64, limit: u64, expected: std::ops::Range<f64>) {
        let start = Instant::now();
        let mut crowd = Crowd::new(start);
        let (mut answered, mut told) = (0, 0);
        for look in 1..=60 {
            let at = look * 50;
            answered += u64::from(clients) * (at / ms - (at - 50) / ms);
            let mut answers = LatencyCounts::default();
            let bucket = LatencyCounts::bucket(Duration::from_millis(ms));
            answers.0[bucket] = (answered - told) as u32;
            told = answered;
            crowd.enter(&answers, start + Duration::from_millis(at));
        }
        let found = crowd.within(Duration::from_millis(limit));
        assert!(expected.contains(&found), "{clients} x {ms} ms: {found}");
    }

    #[test]
    fn those_who_wait_for_quick_answers_are_counted() {
        check(40, 4, 300, 38.0..55.0);
        check(1, 20, 300, 0.9..1.4);
        check(40, 200, 900, 38.0..60.0);
        check(40, 1_000, 300, 0.0..0.1);
        assert_eq!(Crowd::new(Instant::now()).within(SPAN), 0.0);
    }
}
