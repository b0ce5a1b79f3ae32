//! The counters of one process, and how they are recorded.
//!
//! Whoever serves requests holds a [`PlanSeries`]: the plan's indices lead to counters without a
//! name, a lock or an allocation (only the first request of a route and region looks its names
//! up). Series belong to names, so a new plan goes on counting where the last one stopped. What
//! the board or the plan knows already is not counted again: a scrape reads it there.

mod arriving;
mod collect;
mod listener;
mod plan_series;
mod rare;
mod registry;
mod replay;
mod series;
mod shard;
mod totals;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidegate_core::retry::WhyNot;
use tidegate_core::{Live, Stage, Termination};

use crate::labels::{
    AttemptOutcome, Cause, FaultKind, Label, RegionTurn, ReloadResult, ReplayLost, ReplayStore,
    ResumeResult, RollbackCause, StartResult,
};

pub use arriving::Arriving;
pub use listener::{ListenerSeries, OpenConnection};
pub use plan_series::{PlanSeries, RouteSeries, UpstreamRow};
pub use series::{Series, ServiceSeries, UpstreamHandle, UpstreamSeries};
pub use shard::{BOUNDS, OwnShards, own};
pub use totals::Totals;

use plan_series::Table;
use rare::Rare;
use registry::Registry;
use replay::Replay;
use shard::{Counts, Padded, Shards};

type Name = Arc<str>;
/// Route and region.
type RouteKey = (Name, Name);

/// The label value for what is beyond a bound.
pub const OTHER: &str = "other";
/// The label value for a route or region that a request never had.
pub const NONE: &str = "none";
/// Pairs of regions and words that rescues and resumes are counted by, before the rest is `other`.
const MAX_RESCUE_SERIES: usize = 4_096;
/// Regions and reasons that changes of health are counted by, before the rest is `other`.
const MAX_HEALTH_SERIES: usize = 4_096;

/// The store of counters. One per process.
#[derive(Debug)]
pub struct Metrics {
    routes: Registry<RouteKey, Series>,
    /// What series of routes held that are forgotten.
    forgotten: Mutex<Totals>,
    upstreams: Registry<(Name, Name), UpstreamSeries>,
    services: Registry<Name, ServiceSeries>,
    rescued: Registry<(Name, Name, &'static str), Padded<AtomicU64>>,
    /// From, to, result.
    resumes: Rare<(Name, Name, &'static str)>,
    /// Upstream, region, what became of it, why.
    turns: Rare<(Name, Name, &'static str, &'static str)>,
    /// Upstream, region, why.
    ejections: Rare<(Name, Name, &'static str)>,
    /// Upstream, region, result.
    starts: Rare<(Name, Name, &'static str)>,
    listeners: Registry<Name, listener::Shard>,
    global: Shards<Global>,
    reloads: Counts<ReloadResult, { ReloadResult::ALL.len() }>,
    rollbacks: Counts<RollbackCause, { RollbackCause::ALL.len() }>,
    geo_reloads: Counts<ReloadResult, { ReloadResult::ALL.len() }>,
    state_problems: AtomicU64,
    access_log_dropped: AtomicU64,
    certificates: Mutex<Vec<(String, i64)>>,
    /// Those of the plans that are alive.
    tables: Mutex<Vec<Weak<Table>>>,
}

/// What is counted without names.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Global {
    terminations: Counts<Termination, { Termination::ALL.len() }>,
    refused: Counts<WhyNot, { WhyNot::ALL.len() }>,
    faults: Counts<FaultKind, { FaultKind::ALL.len() }>,
    replay: Replay,
}

impl Metrics {
    /// A store in which everything is zero.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            routes: Registry::default(),
            forgotten: Mutex::default(),
            upstreams: Registry::default(),
            services: Registry::default(),
            rescued: Registry::default(),
            resumes: Rare::default(),
            turns: Rare::default(),
            ejections: Rare::default(),
            starts: Rare::default(),
            listeners: Registry::default(),
            global: shard::fresh(),
            reloads: Counts::default(),
            rollbacks: Counts::default(),
            geo_reloads: Counts::default(),
            state_problems: AtomicU64::new(0),
            access_log_dropped: AtomicU64::new(0),
            certificates: Mutex::default(),
            tables: Mutex::default(),
        })
    }

    /// The series of one region of one upstream by name, to keep beyond a plan: for probes and
    /// for connections, which outlive plans.
    pub fn upstream(&self, upstream: &str, region: &str) -> UpstreamHandle {
        UpstreamHandle::new(self.upstreams.get((upstream.into(), region.into())))
    }

    /// The series of one listener.
    pub fn listener(&self, name: &str) -> ListenerSeries {
        ListenerSeries::new(self.listeners.get(name.into()))
    }

    /// Counts the end of one request: once for each, whatever happened to it. Losses
    /// ([`Termination::lost`]) are the part of these that the service is to blame for.
    pub fn terminated(&self, reason: Termination) {
        shard::mine(&self.global).terminations.add(reason);
    }

    /// Counts a failed attempt after which no other was made.
    pub fn retry_refused(&self, why: WhyNot) {
        shard::mine(&self.global).refused.add(why);
    }

    /// Counts a fault that was injected into a request.
    pub fn fault_injected(&self, kind: FaultKind) {
        shard::mine(&self.global).faults.add(kind);
    }

    /// So many bytes more (or less, if negative) are kept of requests' bodies. What was added must be
    /// taken away again, on whatever thread.
    pub fn replay_kept(&self, store: ReplayStore, delta: i64) {
        shard::mine(&self.global).replay.kept(store, delta);
    }

    /// Counts bytes of requests' bodies that were written to disk.
    pub fn spooled(&self, bytes: u64) {
        shard::mine(&self.global).replay.spooled(bytes);
    }

    /// Counts a request's body that is no longer kept, so that it cannot be sent again. Once for each
    /// request.
    pub fn replay_lost(&self, why: ReplayLost) {
        shard::mine(&self.global).replay.lost.add(why);
    }

    /// Counts a request whose body was read whole before it was sent.
    pub fn gathered(&self) {
        shard::mine(&self.global).replay.gathered();
    }

    /// Counts a change of a region's health or stage.
    pub fn region_turned(&self, upstream: &Name, region: &Name, to: RegionTurn, why: Cause) {
        let key = (upstream.clone(), region.clone(), to.word(), why.word());
        let other = || (OTHER.into(), OTHER.into(), OTHER, OTHER);
        self.turns.add(key, MAX_HEALTH_SERIES, other);
    }

    /// Counts the ejection of an endpoint of a region.
    pub fn endpoint_ejected(&self, upstream: &Name, region: &Name, why: Cause) {
        let key = (upstream.clone(), region.clone(), why.word());
        let other = || (OTHER.into(), OTHER.into(), OTHER);
        self.ejections.add(key, MAX_HEALTH_SERIES, other);
    }

    /// Counts the start of a cold region, once it has ended.
    pub fn standby_started(&self, upstream: &Name, region: &Name, result: StartResult) {
        let key = (upstream.clone(), region.clone(), result.word());
        let other = || (OTHER.into(), OTHER.into(), result.word());
        self.starts.add(key, MAX_HEALTH_SERIES, other);
    }

    /// Counts one attempt to reload.
    pub fn reloaded(&self, result: ReloadResult) {
        self.reloads.add(result);
    }

    /// Counts one rollback.
    pub fn rolled_back(&self, why: RollbackCause) {
        self.rollbacks.add(why);
    }

    /// Counts one problem of the state directory.
    pub fn state_problem(&self) {
        self.state_problems.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one attempt to reload the database of clients' places.
    pub fn geo_reloaded(&self, result: ReloadResult) {
        self.geo_reloads.add(result);
    }

    /// Replaces what is told of certificates: name and the Unix time of expiry in seconds.
    pub fn set_certificates(&self, certificates: Vec<(String, i64)>) {
        *self.certificates() = certificates;
    }

    /// Counts access records that were given up.
    pub fn access_log_dropped(&self, records: u64) {
        self.access_log_dropped
            .fetch_add(records, Ordering::Relaxed);
    }

    /// Everything in the Prometheus text format (0.0.4); gauges of regions, endpoints and the plan
    /// are read from `live`, and absent without it.
    pub fn render(&self, live: Option<&Live>) -> String {
        collect::render(self, live, None)
    }

    /// The same while another plan serves a part.
    pub fn render_staged(&self, live: Option<&Live>, stage: Option<&Stage>) -> String {
        collect::render(self, live, stage)
    }

    fn route(&self, route: &Name, region: &Name, max_series: usize) -> Shards<Series> {
        let other = || (OTHER.into(), OTHER.into());
        self.routes
            .get_within((route.clone(), region.clone()), max_series, other)
    }

    fn rescue(&self, from: &Name, to: &Name, why: AttemptOutcome) -> Shards<Padded<AtomicU64>> {
        let key = (from.clone(), to.clone(), why.word());
        let other = || (OTHER.into(), OTHER.into(), why.word());
        self.rescued.get_within(key, MAX_RESCUE_SERIES, other)
    }

    fn resumed(&self, from: &Name, to: &Name, result: ResumeResult) {
        let key = (from.clone(), to.clone(), result.word());
        let other = || (OTHER.into(), OTHER.into(), result.word());
        self.resumes.add(key, MAX_RESCUE_SERIES, other);
    }

    fn certificates(&self) -> MutexGuard<'_, Vec<(String, i64)>> {
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
