//! The client's figures as plain data: outcomes, latencies, seconds, incidents.
//!
//! `sent` and `in_flight` are counted on their own, when a request starts, and outcomes when it ends; that the two
//! agree is a check and not a definition.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The right status and the right body.
    Ok,
    /// Another status than the one expected.
    WrongStatus(u16),
    /// The right status and a body that is not the right one.
    WrongBody(WrongBody),
    /// No complete answer, because something broke.
    Transport(Fault),
    /// No complete answer in time.
    TimedOut,
    /// The client went away, as it was told to: neither right nor failed.
    Left,
}

/// What is wrong with a body that ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WrongBody {
    /// A byte or the hash is not the right one.
    Differs,
    /// It ended early.
    Short,
    /// It went on too long.
    Long,
}

/// Where something broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// TCP could not connect.
    Connect,
    /// The TLS handshake failed, the certificate included.
    Tls,
    /// The server did not agree on the protocol (ALPN, or the HTTP/2 preface).
    Negotiation,
    /// Connections kept closing before anything of the request was written.
    Unsent,
    /// The connection was closed before the head of the answer.
    Closed,
    /// The connection or the stream was reset before the head of the answer.
    Reset,
    /// What came was not HTTP.
    Protocol,
    /// The body broke off.
    Body,
    /// Anything else.
    Other,
}

/// A request worth a second look: failed, or right but slow.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its number; [`Client::id_of`](super::Client::id_of) makes the id.
    pub number: u64,
    /// Intended time of sending, since the client's start.
    pub at: Duration,
    /// From the intended time to the end.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Who answered, if anybody did.
    pub region: Option<String>,
    /// Offset of the first wrong byte of a wrong body.
    pub wrong_at: Option<u64>,
    /// With a wrong status: the `type` of its problem (RFC 9457), if it has one.
    pub problem: Option<String>,
}

impl Incident {
    /// When it was over, since the client's start.
    #[must_use]
    pub fn finished_at(&self) -> Duration {
        self.at + self.latency
    }
}

/// One second of the run, by time of finishing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Requests that went right.
    pub ok: u64,
    /// Requests that did not.
    pub failed: u64,
    /// Slowest request that ended in this second, in microseconds.
    pub latency_us_max: u64,
}

/// Everything counted until now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Time since the client's start.
    pub elapsed: Duration,
    /// Requests started.
    pub sent: u64,
    /// Requests started and not ended.
    pub in_flight: u64,
    /// Ended requests by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Ended requests by the region that answered; at most 64 names, then `other`.
    pub regions: BTreeMap<String, u64>,
    /// Latency of right answers in microseconds, from the intended time of sending.
    pub latency: Histogram<u64>,
    /// The same for the others: how long a user waited for nothing.
    pub latency_failed: Histogram<u64>,
    /// One entry a second since the start; at most a day of them.
    pub seconds: Vec<Second>,
    /// Failed and slow requests, in order of ending; at most 100,000.
    pub incidents: Vec<Incident>,
    /// Incidents beyond that number.
    pub incidents_dropped: u64,
    /// Connections opened.
    pub connections: u64,
}

/// The books do not balance.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("sent {sent} is not ok {ok} + failed {failed} + left {left} + in flight {in_flight}")]
pub struct Imbalance {
    /// Requests started.
    pub sent: u64,
    /// Right ones.
    pub ok: u64,
    /// Wrong ones.
    pub failed: u64,
    /// Those that the client itself gave up.
    pub left: u64,
    /// Not ended.
    pub in_flight: u64,
}

impl Snapshot {
    /// Requests that went right.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.count(|outcome| *outcome == Outcome::Ok)
    }

    /// Requests that ended in any other way, but for those that the client itself gave up.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.count(|outcome| !matches!(outcome, Outcome::Ok | Outcome::Left))
    }

    /// Requests that the client itself gave up.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.count(|outcome| *outcome == Outcome::Left)
    }

    /// Requests with a wrong body: the one thing that is worse than an error.
    #[must_use]
    pub fn wrong_bodies(&self) -> u64 {
        self.count(|outcome| matches!(outcome, Outcome::WrongBody(_)))
    }

    /// Ended requests whose outcome `matches`.
    #[must_use]
    pub fn count(&self, matches: impl Fn(&Outcome) -> bool) -> u64 {
        self.outcomes
            .iter()
            .filter(|(outcome, _)| matches(outcome))
            .map(|(_, n)| n)
            .sum()
    }

    /// Checks that every request started is accounted for: `sent == ok + failed + left + in flight`.
    ///
    /// # Errors
    /// [`Imbalance`] with the numbers.
    pub fn check_balance(&self) -> Result<(), Imbalance> {
        let (sent, in_flight) = (self.sent, self.in_flight);
        let (ok, failed, left) = (self.ok(), self.failed(), self.left());
        if sent == ok + failed + left + in_flight {
            return Ok(());
        }
        Err(Imbalance {
            sent,
            ok,
            failed,
            left,
            in_flight,
        })
    }

    /// Latency of right answers at `quantile` (0 to 1); zero when there is none.
    #[must_use]
    pub fn latency_at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    /// What happened since `earlier`, a snapshot of the same client. Requests count where they ended; `sent` and
    /// `in_flight` are as of now, so the balance holds only for snapshots since the start.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut part = self.clone();
        part.elapsed = self.elapsed.saturating_sub(earlier.elapsed);
        part.sent = self.sent.saturating_sub(earlier.sent);
        part.connections = self.connections.saturating_sub(earlier.connections);
        subtract(&mut part.outcomes, &earlier.outcomes);
        subtract(&mut part.regions, &earlier.regions);
        // Fails only for values out of range, and one client's histograms have one range.
        let _ = part.latency.subtract(&earlier.latency);
        let _ = part.latency_failed.subtract(&earlier.latency_failed);
        part.seconds.drain(
            ..earlier
                .seconds
                .len()
                .saturating_sub(1)
                .min(self.seconds.len()),
        );
        part.incidents
            .drain(..earlier.incidents.len().min(self.incidents.len()));
        part.incidents_dropped = self
            .incidents_dropped
            .saturating_sub(earlier.incidents_dropped);
        part
    }

    /// The figures that fit a line of a table or a JSON file.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let micros = |quantile| self.latency.value_at_quantile(quantile);
        Summary {
            seconds: self.elapsed.as_secs_f64(),
            sent: self.sent,
            ok: self.ok(),
            wrong_status: self.count(|outcome| matches!(outcome, Outcome::WrongStatus(_))),
            wrong_body: self.wrong_bodies(),
            transport: self.count(|outcome| matches!(outcome, Outcome::Transport(_))),
            timed_out: self.count(|outcome| *outcome == Outcome::TimedOut),
            in_flight: self.in_flight,
            latency_us_p50: micros(0.5),
            latency_us_p99: micros(0.99),
            latency_us_p999: micros(0.999),
            latency_us_max: self.latency.max(),
            regions: self.regions.clone(),
        }
    }
}

fn subtract<K: Ord>(from: &mut BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) {
    for (key, count) in from.iter_mut() {
        *count = count.saturating_sub(earlier.get(key).copied().unwrap_or(0));
    }
    from.retain(|_, count| *count > 0);
}

/// The main figures of a [`Snapshot`]. Latencies are of right answers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Length of the run.
    pub seconds: f64,
    /// Requests started.
    pub sent: u64,
    /// Right answers.
    pub ok: u64,
    /// Answers with another status.
    pub wrong_status: u64,
    /// Answers with a wrong body.
    pub wrong_body: u64,
    /// Requests without a complete answer.
    pub transport: u64,
    /// Requests without a complete answer in time.
    pub timed_out: u64,
    /// Requests not ended.
    pub in_flight: u64,
    /// Median.
    pub latency_us_p50: u64,
    /// 99th percentile.
    pub latency_us_p99: u64,
    /// 99.9th percentile.
    pub latency_us_p999: u64,
    /// Slowest.
    pub latency_us_max: u64,
    /// Answers by region.
    pub regions: BTreeMap<String, u64>,
}
