//! The client's books: what is written when a request starts and when it ends.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::exchange::Answer;
use super::snapshot::{Incident, Outcome, Second, Snapshot};
use crate::sync::locked;

const REGIONS_MAX: usize = 64;
const INCIDENTS_MAX: usize = 100_000;
const SECONDS_MAX: usize = 86_400;
/// Ten minutes; anything slower counts as that.
const LATENCY_US_MAX: u64 = 600_000_000;

/// A request that has ended.
pub(super) struct Finished {
    pub(super) number: u64,
    pub(super) intended: Instant,
    pub(super) finished: Instant,
    pub(super) answer: Answer,
}

pub(super) struct Tally {
    started: Instant,
    slow_after: Duration,
    books: Mutex<Snapshot>,
}

impl Tally {
    pub(super) fn new(started: Instant, slow_after: Duration) -> Self {
        let books = Snapshot {
            elapsed: Duration::ZERO,
            sent: 0,
            in_flight: 0,
            outcomes: BTreeMap::new(),
            regions: BTreeMap::new(),
            latency: histogram(),
            latency_failed: histogram(),
            seconds: Vec::new(),
            incidents: Vec::new(),
            incidents_dropped: 0,
            connections: 0,
        };
        Self {
            started,
            slow_after,
            books: Mutex::new(books),
        }
    }

    pub(super) fn begin(&self) {
        let mut books = locked(&self.books);
        books.sent += 1;
        books.in_flight += 1;
    }

    pub(super) fn end(&self, finished: Finished) {
        let latency = finished
            .finished
            .saturating_duration_since(finished.intended);
        let outcome = finished.answer.outcome;
        let second = finished
            .finished
            .saturating_duration_since(self.started)
            .as_secs();
        let mut books = locked(&self.books);
        books.in_flight -= 1;
        *books.outcomes.entry(outcome).or_default() += 1;
        books.note_latency(outcome, latency, second);
        if let Some(region) = &finished.answer.region {
            books.note_region(region);
        }
        let slow = latency > self.slow_after;
        if outcome != Outcome::Left && (outcome != Outcome::Ok || slow) {
            books.note_incident(Incident {
                number: finished.number,
                at: finished.intended.saturating_duration_since(self.started),
                latency,
                outcome,
                region: finished.answer.region,
                wrong_at: finished.answer.wrong_at,
                problem: finished.answer.problem,
            });
        }
    }

    pub(super) fn snapshot(&self, connections: u64) -> Snapshot {
        let mut copy = locked(&self.books).clone();
        copy.elapsed = self.started.elapsed();
        copy.connections = connections;
        copy
    }
}

impl Snapshot {
    fn note_latency(&mut self, outcome: Outcome, latency: Duration, second: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if outcome == Outcome::Left {
            return;
        }
        let ok = outcome == Outcome::Ok;
        let histogram = if ok {
            &mut self.latency
        } else {
            &mut self.latency_failed
        };
        histogram.saturating_record(micros);
        let index = usize::try_from(second)
            .unwrap_or(usize::MAX)
            .min(SECONDS_MAX - 1);
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        let second = &mut self.seconds[index];
        second.ok += u64::from(ok);
        second.failed += u64::from(!ok);
        second.latency_us_max = second.latency_us_max.max(micros);
    }

    fn note_region(&mut self, region: &str) {
        let known = self.regions.contains_key(region) || self.regions.len() < REGIONS_MAX;
        let name = if known { region } else { "other" };
        *self.regions.entry(name.to_owned()).or_default() += 1;
    }

    fn note_incident(&mut self, incident: Incident) {
        if self.incidents.len() < INCIDENTS_MAX {
            self.incidents.push(incident);
        } else {
            self.incidents_dropped += 1;
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Fault, WrongBody};

    const MS: Duration = Duration::from_millis(1);

    fn tally() -> Tally {
        Tally::new(Instant::now(), 100 * MS)
    }

    /// Starts and ends a request that was meant for `at` and took `latency` from then.
    fn run(tally: &Tally, outcome: Outcome, at: Duration, latency: Duration) {
        let intended = tally.started + at;
        let region = Some("eu".to_owned());
        let answer = Answer {
            outcome,
            region,
            wrong_at: None,
            problem: None,
        };
        tally.begin();
        tally.end(Finished {
            number: 0,
            intended,
            finished: intended + latency,
            answer,
        });
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_is_in_the_books() {
        let tally = tally();
        run(&tally, Outcome::Ok, MS, 10 * MS);
        run(&tally, Outcome::Ok, MS, 200 * MS);
        run(&tally, Outcome::WrongStatus(503), 999 * MS, 2 * MS);
        run(&tally, Outcome::WrongBody(WrongBody::Short), 3_000 * MS, MS);
        run(&tally, Outcome::Transport(Fault::Reset), 3_000 * MS, MS);
        tally.begin();
        let books = tally.snapshot(3);
        assert_eq!(
            (books.sent, books.ok(), books.failed(), books.in_flight),
            (6, 2, 3, 1)
        );
        assert_eq!(books.check_balance(), Ok(()));
        assert_eq!(
            books.incidents.len(),
            4,
            "three failures and one slow answer"
        );
        let seconds: Vec<_> = books.seconds.iter().map(|s| (s.ok, s.failed)).collect();
        assert_eq!(seconds, [(2, 0), (0, 1), (0, 0), (0, 2)]);
        assert_eq!(books.regions["eu"], 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_imbalance_is_told_in_numbers() {
        let tally = tally();
        run(&tally, Outcome::Ok, MS, MS);
        let mut books = tally.snapshot(0);
        books.sent = 3;
        let text = books.check_balance().unwrap_err().to_string();
        assert_eq!(text, "sent 3 is not ok 1 + failed 0 + left 0 + in flight 0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_is_the_difference_of_two_snapshots() {
        let tally = tally();
        run(&tally, Outcome::Ok, MS, 10 * MS);
        run(&tally, Outcome::TimedOut, MS, 900 * MS);
        let before = tally.snapshot(1);
        run(&tally, Outcome::Ok, 1_000 * MS, 50 * MS);
        let phase = tally.snapshot(2).since(&before);
        assert_eq!((phase.sent, phase.ok(), phase.failed()), (1, 1, 0));
        assert_eq!(
            (
                phase.latency.len(),
                phase.incidents.len(),
                phase.connections
            ),
            (1, 0, 1)
        );
        assert!(phase.latency_at(0.5) >= 49 * MS);
        assert!(!phase.outcomes.contains_key(&Outcome::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn region_names_are_bounded() {
        let tally = tally();
        for index in 0..100 {
            locked(&tally.books).note_region(&format!("r{index}"));
        }
        let regions = tally.snapshot(0).regions;
        assert_eq!((regions.len(), regions["other"]), (65, 36));
    }
}
