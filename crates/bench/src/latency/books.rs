//! What an open loop owes and what it has: when requests are due, and how long after that their
//! answers were there.
//!
//! A request's time starts when it was due, not when it was sent, so that a proxy that stalls is
//! charged for everyone who would have come meanwhile (no "coordinated omission"). Times are since
//! the start of the run and given by the caller: nothing here reads a clock.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart; a longer one counts as this.
const NANOS_MAX: u64 = 60_000_000_000;

/// Three significant digits.
const DIGITS: u8 = 3;

/// The times at which requests are due: a Poisson process, that is what many clients who do not know
/// of each other make.
pub(super) struct Arrivals {
    random: fastrand::Rng,
    mean_nanos: f64,
    last_nanos: f64,
    left: u64,
}

impl Arrivals {
    /// `count` arrivals, `per_second` (above 0) of them in a second; the same for the same seed.
    pub(super) fn new(per_second: f64, count: u64, seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            mean_nanos: 1e9 / per_second,
            last_nanos: 0.0,
            left: count,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        // One minus it is never 0, whose logarithm there is not.
        self.last_nanos -= self.mean_nanos * (1.0 - self.random.f64()).ln();
        Some(Duration::from_nanos(self.last_nanos as u64))
    }
}

/// The books of a run.
pub(super) struct Books {
    arrivals: Peekable<Arrivals>,
    /// Requests that are due and not sent, oldest first.
    waiting: VecDeque<Duration>,
    /// Requests that are due before this only warm up.
    measured_from: Duration,
    sent: u64,
    answered: u64,
    last_answer: Duration,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Findings {
    /// Requests that were answered, those that warmed up included.
    pub(crate) answered: u64,
    /// Answers a second, from the first that is due and measured to the last answer.
    pub(crate) per_second: f64,
    /// Median from due to the last byte, in microseconds.
    pub(crate) p50_us: f64,
    /// The same, 99th percentile.
    pub(crate) p99_us: f64,
    /// How late the generator saw that a request was due, 99th percentile, in microseconds.
    pub(crate) late_us: f64,
}

impl Books {
    /// For these arrivals.
    pub(super) fn new(arrivals: Arrivals, measured_from: Duration) -> Self {
        let histogram = || {
            let new = Histogram::new_with_bounds(1, NANOS_MAX, DIGITS);
            new.expect("the bounds are constants that it takes")
        };
        Self {
            arrivals: arrivals.peekable(),
            waiting: VecDeque::new(),
            measured_from,
            sent: 0,
            answered: 0,
            last_answer: measured_from,
            latency: histogram(),
            lateness: histogram(),
        }
    }

    /// Takes over whatever is due at `now`.
    pub(super) fn arrive(&mut self, now: Duration) {
        while let Some(due) = self.arrivals.next_if(|due| *due <= now) {
            if due >= self.measured_from {
                record(&mut self.lateness, now - due);
            }
            self.waiting.push_back(due);
        }
    }

    /// The request to send next, by when it was due; it counts as sent.
    pub(super) fn send(&mut self) -> Option<Duration> {
        let due = self.waiting.pop_front()?;
        self.sent += 1;
        Some(due)
    }

    /// The request that was due at `due` is answered in full.
    pub(super) fn answer(&mut self, due: Duration, now: Duration) {
        self.answered += 1;
        if due >= self.measured_from {
            record(&mut self.latency, now.saturating_sub(due));
            self.last_answer = self.last_answer.max(now);
        }
    }

    /// Requests that are sent and not answered.
    pub(super) fn open(&self) -> u64 {
        self.sent - self.answered
    }

    /// Whether everything that will ever be due is answered.
    pub(super) fn is_done(&mut self) -> bool {
        self.arrivals.peek().is_none() && self.waiting.is_empty() && self.open() == 0
    }

    /// What came of it so far.
    pub(super) fn findings(&self) -> Findings {
        let took = (self.last_answer - self.measured_from).as_secs_f64();
        let us = |histogram: &Histogram<u64>, quantile| {
            histogram.value_at_quantile(quantile) as f64 / 1e3
        };
        Findings {
            answered: self.answered,
            per_second: self.latency.len() as f64 / took.max(f64::MIN_POSITIVE),
            p50_us: us(&self.latency, 0.5),
            p99_us: us(&self.latency, 0.99),
            late_us: us(&self.lateness, 0.99),
        }
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_nanos().min(u128::from(NANOS_MAX)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn arrivals_are_poisson_and_repeat() {
        let all: Vec<_> = Arrivals::new(1000.0, 100_000, 7).collect();
        let again: Vec<_> = Arrivals::new(1000.0, 100_000, 7).collect();
        assert_eq!(all, again);
        assert_ne!(
            all[0],
            Arrivals::new(1000.0, 1, 8).next().unwrap_or_default()
        );
        assert!(all.is_sorted());
        let seconds = all[99_999].as_secs_f64();
        assert!((98.0..102.0).contains(&seconds), "{seconds}");
        // Of a Poisson process, 1/e of the gaps are longer than the mean.
        let long = all.windows(2).filter(|pair| pair[1] - pair[0] > MS).count();
        assert!((36_000..37_600).contains(&long), "{long}");
    }

    /// All arrive, one after the other takes ten milliseconds.
    fn stalled() -> (Books, Vec<Duration>) {
        let due: Vec<_> = Arrivals::new(1000.0, 3, 1).collect();
        let mut books = Books::new(Arrivals::new(1000.0, 3, 1), due[1]);
        let mut now = due[2];
        books.arrive(now);
        while let Some(due) = books.send() {
            now += 10 * MS;
            books.answer(due, now);
        }
        (books, due)
    }

    #[test]
    fn waiting_for_a_free_connection_counts() {
        let (mut books, due) = stalled();
        assert!(books.is_done());
        let found = books.findings();
        // The second is answered after 20 ms and the third after 30; the first only warms up.
        let second = (due[2] + 20 * MS - due[1]).as_secs_f64() * 1e6;
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.002;
        assert!(near(found.p50_us, second), "{found:?}");
        assert!(near(found.p99_us, 30_000.0), "{found:?}");
        assert!(
            near(found.late_us, (due[2] - due[1]).as_secs_f64() * 1e6),
            "{found:?}"
        );
        assert_eq!(found.answered, 3);
    }

    #[test]
    fn nothing_is_done_before_the_last_answer() {
        let mut books = Books::new(Arrivals::new(1000.0, 1, 1), Duration::ZERO);
        assert!(!books.is_done() && books.send().is_none());
        books.arrive(Duration::from_secs(1));
        assert!(!books.is_done());
        let due = books.send().expect("it is due");
        assert!(!books.is_done() && books.open() == 1);
        books.answer(due, due);
        assert!(books.is_done());
    }
}
