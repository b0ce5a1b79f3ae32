//! One thread's part of the series of a route and region, and of an upstream and region.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::shard::{Counts, Gauge, Histogram, Shards, add, mine};
use crate::labels::{
    AffinityResult, AttemptOutcome, HedgeCause, HedgeResult, Label, Limit, MirrorResult,
    ProbeResult, RetryScope, StatusClass,
};

/// The requests of one route that one region answered.
///
/// In this order, so that what a fast answer counts on is the first cache line and no other: classes,
/// and of the durations their sum and the first bucket.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Series {
    pub(super) classes: Counts<StatusClass, { StatusClass::ALL.len() }>,
    pub(super) duration: Histogram,
}

/// The attempts at, connections to and probes of one region of one upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamSeries {
    pub(super) attempts: Counts<AttemptOutcome, { AttemptOutcome::ALL.len() }>,
    pub(super) retries: Counts<RetryScope, { RetryScope::ALL.len() }>,
    pub(super) probes: Counts<ProbeResult, { ProbeResult::ALL.len() }>,
    pub(super) refused: Counts<Limit, { Limit::ALL.len() }>,
    pub(super) connect: Histogram,
    pub(super) rescue_added: Histogram,
    /// By cause.
    pub(super) hedges: [Counts<HedgeResult, { HedgeResult::ALL.len() }>; HedgeCause::ALL.len()],
    redispatched: AtomicU64,
    shed: AtomicU64,
    idle: Gauge,
    open: Gauge,
}

/// What is counted of one upstream as a whole.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServiceSeries {
    pub(super) mirrored: Counts<MirrorResult, { MirrorResult::ALL.len() }>,
    pub(super) affinity: Counts<AffinityResult, { AffinityResult::ALL.len() }>,
    misreported: AtomicU64,
}

/// An [`UpstreamSeries`] to keep: it leads every thread to its own part.
#[derive(Clone, Debug)]
pub struct UpstreamHandle(Shards<UpstreamSeries>);

impl Series {
    /// Enters one request: the status that the client got (none if it got no answer) and the time
    /// from its head to the end of its answer.
    pub fn record(&self, status: Option<StatusCode>, took: Duration) {
        self.classes.add(status.into());
        self.duration.record(took);
    }

    /// Has its first cache line brought near. Changes nothing.
    pub(super) fn approach(&self) {
        black_box(self.classes.get(StatusClass::Success));
    }
}

impl ServiceSeries {
    /// Counts a request of which a copy was due to this upstream. Once for each, when that is over.
    pub fn mirrored(&self, result: MirrorResult) {
        self.mirrored.add(result);
    }

    /// Counts what affinity did for a request. Once for each.
    pub fn bound(&self, result: AffinityResult) {
        self.affinity.add(result);
    }

    /// Counts an answer whose report of load is none.
    pub fn misreported(&self) {
        add(&self.misreported, 1);
    }

    pub(super) fn misreported_total(shards: &[Self]) -> u64 {
        let parts = shards.iter().map(|shard| &shard.misreported);
        parts.map(|part| part.load(Ordering::Relaxed)).sum()
    }
}

impl UpstreamSeries {
    /// Enters the end of one attempt.
    pub fn attempted(&self, outcome: AttemptOutcome) {
        self.attempts.add(outcome);
    }

    /// Counts an attempt after the first of its request, made here.
    pub fn retried(&self, scope: RetryScope) {
        self.retries.add(scope);
    }

    /// Enters the rescue of a request that was answered here: the time from the begin of its first
    /// attempt to the begin of the one that answered.
    pub fn rescue_added(&self, added: Duration) {
        self.rescue_added.record(added);
    }

    /// Counts an attempt here that was given up for one elsewhere, because of what became of its
    /// region. The account of a request calls it.
    pub fn redispatched(&self) {
        add(&self.redispatched, 1);
    }

    /// Counts an attempt that went elsewhere, or came here only for lack of something better, because
    /// it was beyond the region's capacity.
    pub fn shed(&self) {
        add(&self.shed, 1);
    }

    /// Counts a hedge that was sent here, once its request is over. The account of a request calls it.
    pub fn hedged(&self, why: HedgeCause, result: HedgeResult) {
        self.hedges[why.index()].add(result);
    }

    /// Counts a connection that was opened, and the time that took, TLS included.
    pub fn connected(&self, took: Duration) {
        self.connect.record(took);
    }

    /// A connection is being opened. Each call is matched by one of [`closed`](Self::closed), as
    /// with [`idle_began`](Self::idle_began).
    pub fn opening(&self) {
        self.open.step(1);
    }

    /// A connection was closed, or could not be opened.
    pub fn closed(&self) {
        self.open.step(-1);
    }

    /// Counts an attempt that a bound of `circuit_breaker` kept away.
    pub fn refused(&self, limit: Limit) {
        self.refused.add(limit);
    }

    /// A connection became idle. Each call is matched by one of [`idle_ended`](Self::idle_ended),
    /// on whatever thread, through a handle of the same upstream and region.
    pub fn idle_began(&self) {
        self.idle.step(1);
    }

    /// An idle connection was taken, or closed.
    pub fn idle_ended(&self) {
        self.idle.step(-1);
    }

    /// Counts one active probe.
    pub fn probed(&self, result: ProbeResult) {
        self.probes.add(result);
    }

    pub(super) fn redispatched_total(shards: &[Self]) -> u64 {
        count(shards, |shard| &shard.redispatched)
    }

    pub(super) fn shed_total(shards: &[Self]) -> u64 {
        count(shards, |shard| &shard.shed)
    }

    pub(super) fn idle_total(shards: &[Self]) -> i64 {
        sum(shards, |shard| &shard.idle)
    }

    pub(super) fn open_total(shards: &[Self]) -> i64 {
        sum(shards, |shard| &shard.open)
    }
}

fn count(shards: &[UpstreamSeries], counter: fn(&UpstreamSeries) -> &AtomicU64) -> u64 {
    let parts = shards.iter().map(counter);
    parts.map(|part| part.load(Ordering::Relaxed)).sum()
}

fn sum(shards: &[UpstreamSeries], gauge: fn(&UpstreamSeries) -> &Gauge) -> i64 {
    shards.iter().map(gauge).map(Gauge::get).sum()
}

impl UpstreamHandle {
    pub(super) fn new(shards: Shards<UpstreamSeries>) -> Self {
        Self(shards)
    }
}

impl AsRef<Self> for UpstreamHandle {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Deref for UpstreamHandle {
    type Target = UpstreamSeries;

    fn deref(&self) -> &UpstreamSeries {
        mine(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// The line that [`Series::approach`] brings near: the histogram begins with its sum and the bucket of
    /// what is fast.
    #[test]
    fn a_fast_answer_counts_on_one_cache_line() {
        assert!(offset_of!(Series, duration) + 2 * size_of::<AtomicU64>() <= 64);
    }
}
