//! From a plan's indices to counters.
//!
//! One table per plan, shared by all threads. An entry is resolved when it is first used, so that
//! a reload of 100,000 routes costs nothing here, and the bound on series goes to routes that are
//! in use.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tidegate_core::plan::Route;
use tidegate_core::{Plan, RegionIdx, RegionSet, RouteIdx, UpstreamIdx};

use super::shard::{Padded, Shards, mine};
use super::{Metrics, NONE, Name, Series, ServiceSeries, UpstreamHandle, UpstreamSeries};
use crate::labels::{AttemptOutcome, Label, ResumeResult};

type Lazy<T> = OnceLock<T>;

/// The series of one plan.
#[derive(Clone)]
pub struct PlanSeries {
    metrics: Arc<Metrics>,
    table: Arc<Table>,
}

/// The entries of one plan, resolved or not.
pub(super) struct Table {
    plan: Arc<Plan>,
    unrouted: Lazy<Shards<Series>>,
    /// The regions that may answer for each route.
    regions: Box<[RegionSet]>,
    routes: Rows<Shards<Series>>,
    upstreams: Rows<UpstreamHandle>,
    services: Box<[Lazy<Shards<ServiceSeries>>]>,
    rescued: Box<[Lazy<Shards<Padded<AtomicU64>>>]>,
}

/// Rows of unequal length in one piece of memory.
struct Rows<T> {
    starts: Box<[usize]>,
    cells: Box<[Lazy<T>]>,
}

impl<T> Rows<T> {
    fn new(lengths: impl Iterator<Item = usize>) -> Self {
        let mut end = 0;
        let start = |length| {
            let start = end;
            end += length;
            start
        };
        let starts = lengths.map(start).collect();
        Self {
            starts,
            cells: unresolved(end),
        }
    }

    fn cell(&self, row: usize, position: usize) -> &Lazy<T> {
        &self.cells[self.starts[row] + position]
    }
}

fn unresolved<T>(count: usize) -> Box<[Lazy<T>]> {
    (0..count).map(|_| Lazy::new()).collect()
}

impl Table {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        let regions: Box<_> = plan
            .routes
            .iter()
            .map(|route| regions_of(&plan, route))
            .collect();
        let routes = Rows::new(regions.iter().map(|regions| regions.len() + 1));
        let upstreams = Rows::new(plan.upstreams.iter().map(|upstream| upstream.regions.len()));
        let pairs = plan.regions.len() * plan.regions.len();
        Self {
            unrouted: Lazy::new(),
            regions,
            routes,
            upstreams,
            services: unresolved(plan.upstreams.len()),
            rescued: unresolved(pairs * AttemptOutcome::ALL.len()),
            plan,
        }
    }

    pub(super) fn is_for(&self, plan: &Arc<Plan>) -> bool {
        Arc::ptr_eq(&self.plan, plan)
    }

    fn region_name(&self, upstream: UpstreamIdx, position: u8) -> &Name {
        let spec = &self.plan.upstream(upstream).regions[usize::from(position)];
        &self.plan.region(spec.region).name
    }
}

/// The regions of the route's upstream, and of those that it is split between.
fn regions_of(plan: &Plan, route: &Route) -> RegionSet {
    let upstreams = route.upstreams();
    let regions = upstreams.flat_map(|upstream| &*plan.upstream(upstream).regions);
    regions.map(|spec| spec.region).collect()
}

impl PlanSeries {
    pub(super) fn new(metrics: Arc<Metrics>, table: Arc<Table>) -> Self {
        Self { metrics, table }
    }

    /// The series of requests of `route` answered by `region`, which is one of those of its upstream or
    /// of those that it is split between; no region: answered here. No route: the request matched none.
    pub fn get(&self, route: Option<RouteIdx>, region: Option<RegionIdx>) -> &Series {
        let shards = match route {
            Some(route) => self.routed(route, region),
            None => self
                .table
                .unrouted
                .get_or_init(|| self.resolve(&NONE.into(), None)),
        };
        mine(shards)
    }

    fn routed(&self, route: RouteIdx, region: Option<RegionIdx>) -> &Shards<Series> {
        let regions = self.table.regions[route.get()];
        let column = region.map_or(0, |region| regions.rank(region) + 1);
        self.table.routes.cell(route.get(), column).get_or_init(|| {
            let plan = &self.table.plan;
            let region = region.map(|region| &plan.region(region).name);
            self.resolve(&plan.route(route).name, region)
        })
    }

    fn resolve(&self, route: &Name, region: Option<&Name>) -> Shards<Series> {
        let none = NONE.into();
        let max_series = self.table.plan.metrics.max_series;
        self.metrics
            .route(route, region.unwrap_or(&none), max_series)
    }

    /// The series of the region at `position` among those of `upstream`.
    pub fn upstream(&self, upstream: UpstreamIdx, position: u8) -> &UpstreamSeries {
        self.upstream_handle(upstream, position)
    }

    /// The same as [`upstream`](Self::upstream); a clone can be kept beyond the plan.
    pub fn upstream_handle(&self, upstream: UpstreamIdx, position: u8) -> &UpstreamHandle {
        let cell = self
            .table
            .upstreams
            .cell(upstream.get(), usize::from(position));
        cell.get_or_init(|| {
            let region = self.table.region_name(upstream, position).clone();
            let name = self.table.plan.upstream(upstream).name.clone();
            UpstreamHandle::new(self.metrics.upstreams.get((name, region)))
        })
    }

    /// The series of `upstream` as a whole.
    pub fn service(&self, upstream: UpstreamIdx) -> &ServiceSeries {
        mine(self.table.services[upstream.get()].get_or_init(|| {
            let name = self.table.plan.upstream(upstream).name.clone();
            self.metrics.services.get(name)
        }))
    }

    /// Counts a request that was answered because of a later attempt: `from` is the region of the
    /// first attempt that failed, `why` what that attempt met, `to` the region that answered.
    pub fn rescued(&self, from: RegionIdx, to: RegionIdx, why: AttemptOutcome) {
        let pair = from.get() * self.table.plan.regions.len() + to.get();
        let cell = &self.table.rescued[pair * AttemptOutcome::ALL.len() + why.index()];
        let shards = cell.get_or_init(|| {
            let name = |region| &self.table.plan.region(region).name;
            self.metrics.rescue(name(from), name(to), why)
        });
        mine(shards).0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that broke within its body in region `from`, and what came of its
    /// continuation from `to`; where no place could be asked, both are the same.
    pub fn resumed(&self, from: RegionIdx, to: RegionIdx, result: ResumeResult) {
        let name = |region| &self.table.plan.region(region).name;
        self.metrics.resumed(name(from), name(to), result);
    }
}

impl fmt::Debug for PlanSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanSeries")
            .field("plan", &self.table.plan.content_hash)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("plan", &self.plan.content_hash)
            .finish_non_exhaustive()
    }
}
