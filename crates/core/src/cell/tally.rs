//! What attempts met, counted for whoever judges.
//!
//! Counters only grow, so that a judge takes differences between two looks and nobody has to reset
//! anything. An attempt costs a handful of relaxed additions; whatever needs arithmetic happens in
//! the judge, a few times a second.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// What an attempt that failed met, as evidence about the place where it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ErrorClass {
    /// No connection: refused, unreachable, not within the connect limit, name not found.
    Connect = 0,
    /// A connection, but no TLS.
    Tls = 1,
    /// The connection ended before the answer was whole.
    Reset = 2,
    /// No answer within the limit.
    Timeout = 3,
    /// A status of 500 or above, or an answer that is not valid HTTP.
    ServerError = 4,
    /// The upstream said of itself that it should not be asked.
    Declared = 5,
}

impl ErrorClass {
    /// How many there are.
    pub const COUNT: usize = 6;
    /// Every class; a class' position is its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Connect,
        Self::Tls,
        Self::Reset,
        Self::Timeout,
        Self::ServerError,
        Self::Declared,
    ];

    /// The word for logs, metrics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ServerError => "server_error",
            Self::Declared => "declared",
        }
    }

    /// Whether this side of the wire saw it, rather than an answer saying it (Envoy's
    /// "locally originated").
    pub fn is_local_origin(self) -> bool {
        matches!(
            self,
            Self::Connect | Self::Tls | Self::Reset | Self::Timeout
        )
    }
}

/// What a region's attempts met since its cell was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// What was handed over whole and waits, or waited, for a sign of life: requests, and before them
    /// connections that had to be made.
    pub sent: u64,
    /// Those of them that no longer wait, for whatever reason.
    pub settled: u64,
    /// Attempts that failed, by [`ErrorClass`].
    pub errors: [u64; ErrorClass::COUNT],
    /// Answers that are no errors, by the time to their head.
    pub latency: LatencyCounts,
    /// Active probes of its endpoints that were well, and that were not.
    pub probes: [u64; 2],
    /// When a byte last came from any connection to the region, since the cell's origin.
    pub heard: Option<Duration>,
}

impl Tally {
    /// Attempts that wait for an answer to what they sent.
    pub fn waiting(&self) -> u64 {
        self.sent.saturating_sub(self.settled)
    }

    /// Attempts that ended well or badly. Counts of answers wrap, so take it of differences only.
    pub fn attempts(&self) -> u64 {
        self.latency.total() + self.errors.iter().sum::<u64>()
    }

    /// What was counted since `before`; `heard`, and so the moment, is that of now.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            settled: self.settled - before.settled,
            errors: array::from_fn(|at| self.errors[at] - before.errors[at]),
            probes: array::from_fn(|at| self.probes[at] - before.probes[at]),
            latency: self.latency.since(&before.latency),
            heard: self.heard,
        }
    }
}

/// Octaves below this count as one: 2^6 = 64 microseconds.
const FIRST_OCTAVE: u32 = 6;
/// Each octave has so many buckets, so that a bound is off by at most a quarter.
const PER_OCTAVE: u32 = 4;
/// Up to 2^27 microseconds: 134 seconds.
const OCTAVES: u32 = 21;

/// How many answers took how long, in buckets a quarter of an octave wide. Counts wrap.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyCounts(pub [u32; Self::BUCKETS]);

impl Default for LatencyCounts {
    fn default() -> Self {
        Self([0; Self::BUCKETS])
    }
}

impl LatencyCounts {
    /// How many buckets there are.
    pub const BUCKETS: usize = (OCTAVES * PER_OCTAVE) as usize + 1;

    /// The bucket that counts `took`.
    pub fn bucket(took: Duration) -> usize {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let us = us.clamp(1 << FIRST_OCTAVE, (1 << (FIRST_OCTAVE + OCTAVES)) - 1);
        let octave = us.ilog2();
        let quarter = (us >> (octave - 2)) & u64::from(PER_OCTAVE - 1);
        ((octave - FIRST_OCTAVE) * PER_OCTAVE) as usize + quarter as usize
    }

    /// The longest time that the bucket counts.
    pub fn upper(bucket: usize) -> Duration {
        let (octave, quarter) = (bucket as u32 / PER_OCTAVE, bucket as u32 % PER_OCTAVE);
        let base = 1u64 << (octave + FIRST_OCTAVE);
        Duration::from_micros(base + (u64::from(quarter) + 1) * (base >> 2) - 1)
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self(array::from_fn(|at| self.0[at].wrapping_sub(before.0[at])))
    }

    /// How many answers are counted.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The time within which the part `q` (0 to 1) of the answers came, to a quarter of an octave;
    /// none without answers.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.total();
        let rank = ((total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        bucket.filter(|_| total > 0).map(Self::upper)
    }
}

/// The counters behind a [`Tally`].
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) settled: AtomicU64,
    errors: [AtomicU64; ErrorClass::COUNT],
    probes: [AtomicU64; 2],
    latency: [AtomicU32; LatencyCounts::BUCKETS],
    /// Milliseconds since the origin, plus one; 0 is never.
    heard: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sent: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            errors: Default::default(),
            probes: Default::default(),
            latency: array::from_fn(|_| AtomicU32::new(0)),
            heard: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub(super) fn failed(&self, class: ErrorClass) {
        self.errors[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn probed(&self, success: bool) {
        self.probes[usize::from(!success)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, took: Duration) {
        self.latency[LatencyCounts::bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// A store a millisecond at most: every byte of every connection comes by here.
    pub(super) fn heard(&self, since_origin: Duration) {
        let at = since_origin.as_millis() as u64 + 1;
        if self.heard.load(Ordering::Relaxed) < at {
            self.heard.store(at, Ordering::Relaxed);
        }
    }

    pub(super) fn tally(&self) -> Tally {
        // What was settled is read first: an attempt that is counted as settled was sent before.
        let settled = self.settled.load(Ordering::Acquire);
        let heard = self.heard.load(Ordering::Relaxed);
        Tally {
            settled,
            sent: self.sent.load(Ordering::Acquire),
            errors: array::from_fn(|at| self.errors[at].load(Ordering::Relaxed)),
            probes: array::from_fn(|at| self.probes[at].load(Ordering::Relaxed)),
            latency: LatencyCounts(array::from_fn(|at| {
                self.latency[at].load(Ordering::Relaxed)
            })),
            heard: heard.checked_sub(1).map(Duration::from_millis),
        }
    }
}

/// What an endpoint's attempts met: totals since its cell was made, and what came in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointTally {
    /// Attempts with an outcome.
    pub attempts: u64,
    /// Answers with a status of 500 or above, or not valid.
    pub server_errors: u64,
    /// Attempts that failed on this side of the wire.
    pub local_errors: u64,
    /// In a row now.
    pub rows: Rows,
}

/// Errors in a row, as Envoy's outlier detection counts them, with local-origin errors apart and not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Errors of any origin.
    pub any: u32,
    /// 502, 503, 504 and errors of local origin.
    pub gateway: u32,
    /// Answers of 500 and above, whatever local-origin errors came between.
    pub external: u32,
    /// Answers of 502, 503 and 504, whatever local-origin errors came between.
    pub external_gateway: u32,
    /// Local-origin errors; an answer of any status ends the row.
    pub local: u32,
}

#[derive(Debug, Default)]
pub(super) struct RowCounters {
    any: AtomicU32,
    gateway: AtomicU32,
    external: AtomicU32,
    external_gateway: AtomicU32,
    local: AtomicU32,
}

impl RowCounters {
    /// An answer without an error: every row ends. One load while there is none.
    pub(super) fn succeeded(&self) {
        if self.any.load(Ordering::Relaxed) == 0 {
            return;
        }
        for row in [
            &self.any,
            &self.gateway,
            &self.external,
            &self.external_gateway,
            &self.local,
        ] {
            row.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self, class: ErrorClass, gateway: bool) {
        let local = class.is_local_origin();
        step(&self.any, true);
        step(&self.gateway, gateway || local);
        if local {
            step(&self.local, true);
        } else {
            step(&self.local, false);
            step(&self.external, true);
            step(&self.external_gateway, gateway);
        }
    }

    pub(super) fn read(&self) -> Rows {
        Rows {
            any: self.any.load(Ordering::Relaxed),
            gateway: self.gateway.load(Ordering::Relaxed),
            external: self.external.load(Ordering::Relaxed),
            external_gateway: self.external_gateway.load(Ordering::Relaxed),
            local: self.local.load(Ordering::Relaxed),
        }
    }
}

fn step(row: &AtomicU32, goes_on: bool) {
    if goes_on {
        row.fetch_add(1, Ordering::Relaxed);
    } else {
        row.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_bucket_that_holds_it() {
        let check = |us: u64| {
            let bucket = LatencyCounts::bucket(Duration::from_micros(us));
            let upper = LatencyCounts::upper(bucket).as_micros() as u64;
            assert!(upper >= us && upper <= us + us / 4 + 1, "{us}: {upper}");
            if bucket > 0 {
                let below = LatencyCounts::upper(bucket - 1).as_micros() as u64;
                assert!(below < us, "{us}: {below}");
            }
        };
        (64..100_000).step_by(7).for_each(check);
        (100_000..134_000_000).step_by(99_991).for_each(check);
        assert_eq!(LatencyCounts::bucket(Duration::ZERO), 0);
        let last = LatencyCounts::bucket(Duration::MAX);
        assert_eq!(last, LatencyCounts::BUCKETS - 2);
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let counters = Counters::default();
        let took = |ms| counters.answered(Duration::from_millis(ms));
        (0..50).for_each(|_| took(1_000));
        let before = counters.tally().latency;
        (0..99).for_each(|_| took(10));
        took(500);
        let since = counters.tally().latency.since(&before);
        assert_eq!(since.total(), 100);
        let ms = |q| since.quantile(q).expect("answers").as_millis();
        assert!((10..=12).contains(&ms(0.5)) && (10..=12).contains(&ms(0.99)));
        assert!((500..=625).contains(&ms(1.0)));
        assert_eq!(LatencyCounts::default().quantile(0.5), None);
    }

    #[test]
    fn rows_are_counted_as_envoy_counts_them() {
        let rows = RowCounters::default();
        rows.failed(ErrorClass::ServerError, true);
        rows.failed(ErrorClass::Reset, false);
        rows.failed(ErrorClass::ServerError, false);
        let expected = Rows {
            any: 3,
            gateway: 0,
            external: 2,
            external_gateway: 0,
            local: 0,
        };
        assert_eq!(rows.read(), expected);
        rows.failed(ErrorClass::Timeout, false);
        assert_eq!((rows.read().local, rows.read().gateway), (1, 1));
        rows.succeeded();
        assert_eq!(rows.read(), Rows::default());
    }

    #[test]
    fn what_was_heard_last_counts() {
        let counters = Counters::default();
        assert_eq!(counters.tally().heard, None);
        for ms in [0, 7, 3] {
            counters.heard(Duration::from_millis(ms));
        }
        assert_eq!(counters.tally().heard, Some(Duration::from_millis(7)));
    }
}
