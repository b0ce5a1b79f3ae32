//! From a plan's indices to counters.
//!
//! One table per plan, shared by all threads. An entry is resolved when it is first used, so that
//! a reload of 100,000 routes costs nothing here, and the bound on series goes to routes that are
//! in use. What a request needs of it is a row or two ([`RouteSeries`], [`UpstreamRow`]), which know
//! nothing of the table: a stream that outlives its plan keeps those and nothing else.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use tidegate_core::plan::{Region, Route, Upstream};
use tidegate_core::{LazyTable, Plan, RegionIdx, RegionSet, RouteIdx, UpstreamIdx};

use super::shard::{Padded, Shards, add, mine};
use super::{Metrics, NONE, Name, Series, ServiceSeries, UpstreamHandle};
use crate::labels::{AttemptOutcome, ResumeResult};

type Lazy<T> = OnceLock<T>;

/// So many series of a route are held by its [`RouteSeries`] itself.
const NEAR: usize = 2;

/// The series of one plan.
#[derive(Clone)]
pub struct PlanSeries {
    metrics: Arc<Metrics>,
    table: Arc<Table>,
}

/// The series of one route, by region, for one thread. It outlives its plan.
///
/// Whoever keeps it is one step away from the counters of the regions that mostly answer: with thousands
/// of routes each step is a look into memory that nobody has near. What is seldom needed comes last.
#[repr(C)]
pub struct RouteSeries {
    /// The regions that may answer for the route.
    regions: RegionSet,
    /// The column that was asked for last.
    last: Cell<u8>,
    /// The first columns, once they were asked for.
    near: [OnceCell<Shards<Series>>; NEAR],
    row: Arc<RouteRow>,
}

/// The series of one upstream, by region and as a whole. It outlives its plan, and a clone is cheap.
#[derive(Clone)]
pub struct UpstreamRow(Arc<Regions>);

/// The rows of one plan, resolved or not.
pub(super) struct Table {
    plan: Arc<Plan>,
    unrouted: Lazy<Shards<Series>>,
    routes: LazyTable<Arc<RouteRow>>,
    upstreams: Box<[Lazy<UpstreamRow>]>,
}

struct RouteRow {
    metrics: Arc<Metrics>,
    route: Name,
    /// All of the plan's: positions lead to names.
    names: Arc<[Region]>,
    max_series: usize,
    /// The regions that may answer for the route.
    regions: RegionSet,
    /// For each of `regions`, then for answers of our own.
    cells: Box<[Lazy<Shards<Series>>]>,
}

struct Regions {
    metrics: Arc<Metrics>,
    upstream: Name,
    /// Per region of the upstream: its name, and its series.
    regions: Box<[(Name, Lazy<UpstreamHandle>)]>,
    service: Lazy<Shards<ServiceSeries>>,
}

impl Table {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            unrouted: Lazy::new(),
            routes: LazyTable::new(plan.routes.len()),
            upstreams: unresolved(plan.upstreams.len()),
            plan,
        }
    }

    pub(super) fn is_for(&self, plan: &Arc<Plan>) -> bool {
        Arc::ptr_eq(&self.plan, plan)
    }
}

fn unresolved<T>(count: usize) -> Box<[Lazy<T>]> {
    (0..count).map(|_| Lazy::new()).collect()
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

    pub(super) fn plan(&self) -> &Plan {
        &self.table.plan
    }

    /// Whether somebody else holds the same table.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.table) > 1
    }

    /// The series of requests that matched no route.
    pub fn unrouted(&self) -> &Series {
        let max_series = self.table.plan.metrics.max_series as usize;
        let none = || Name::from(NONE);
        mine(
            self.table
                .unrouted
                .get_or_init(|| self.metrics.route(&none(), &none(), max_series)),
        )
    }

    /// The series of one route, for the calling thread to keep.
    pub fn route(&self, route: RouteIdx) -> RouteSeries {
        let make = || RouteRow::new(&self.metrics, &self.table.plan, route);
        let row = self.table.routes.get_or_init(route.get(), make);
        RouteSeries::new(row.clone())
    }

    /// The series of one upstream.
    pub fn upstream(&self, upstream: UpstreamIdx) -> &UpstreamRow {
        self.table.upstreams[upstream.get()].get_or_init(|| {
            UpstreamRow::new(
                &self.metrics,
                &self.table.plan,
                self.table.plan.upstream(upstream),
            )
        })
    }
}

impl RouteSeries {
    fn new(row: Arc<RouteRow>) -> Self {
        Self {
            regions: row.regions,
            last: Cell::new(0),
            near: Default::default(),
            row,
        }
    }

    /// The series of requests answered by `region`, which is one of those of the route's upstream or of
    /// those that it is split between; no region: answered here.
    pub fn get(&self, region: Option<RegionIdx>) -> &Series {
        let here = self.regions.len();
        let column = region.map_or(here, |region| self.regions.rank(region));
        self.last.set(column as u8);
        mine(match self.near.get(column) {
            Some(near) => near.get_or_init(|| self.row.column(column, region).clone()),
            None => self.row.column(column, region),
        })
    }

    /// Has the counters brought near that were counted on last, which are likely those of the next
    /// request: whoever calls this early does not wait for them at its end. Costs a few instructions and
    /// changes nothing.
    #[inline]
    pub fn approach(&self) {
        let near = self.near.get(usize::from(self.last.get()));
        if let Some(shards) = near.and_then(OnceCell::get) {
            mine(shards).approach();
        }
    }

    /// Counts a request that was answered because of a later attempt: `from` is the region of the
    /// first attempt that failed, `why` what that attempt met, `to` the region that answered. Looks
    /// names up: a rescue is rare.
    pub fn rescued(&self, from: RegionIdx, to: RegionIdx, why: AttemptOutcome) {
        let row = &*self.row;
        let shards: Shards<Padded<AtomicU64>> =
            row.metrics.rescue(row.name(from), row.name(to), why);
        add(&mine(&shards).0, 1);
    }

    /// Counts an answer that broke within its body in region `from`, and what came of its
    /// continuation from `to`; where no place could be asked, both are the same.
    pub fn resumed(&self, from: RegionIdx, to: RegionIdx, result: ResumeResult) {
        let row = &*self.row;
        row.metrics.resumed(row.name(from), row.name(to), result);
    }
}

impl RouteRow {
    fn new(metrics: &Arc<Metrics>, plan: &Plan, route: RouteIdx) -> Arc<Self> {
        let route = plan.route(route);
        let regions = regions_of(plan, route);
        Arc::new(Self {
            metrics: metrics.clone(),
            route: route.name.clone(),
            names: plan.regions.clone(),
            max_series: plan.metrics.max_series as usize,
            regions,
            cells: unresolved(regions.len() + 1),
        })
    }

    /// The series in this column, which is that of `region`.
    fn column(&self, column: usize, region: Option<RegionIdx>) -> &Shards<Series> {
        self.cells[column].get_or_init(|| {
            let none = Name::from(NONE);
            let region = region.map_or(&none, |region| self.name(region));
            self.metrics.route(&self.route, region, self.max_series)
        })
    }

    fn name(&self, region: RegionIdx) -> &Name {
        &self.names[region.get()].name
    }
}

impl UpstreamRow {
    fn new(metrics: &Arc<Metrics>, plan: &Plan, upstream: &Upstream) -> Self {
        let name = |region| plan.region(region).name.clone();
        let regions = upstream.regions.iter();
        Self(Arc::new(Regions {
            metrics: metrics.clone(),
            upstream: upstream.name.clone(),
            regions: regions
                .map(|spec| (name(spec.region), Lazy::new()))
                .collect(),
            service: Lazy::new(),
        }))
    }

    /// The series of the region at `position` among the upstream's; a clone can be kept beyond the
    /// plan.
    pub fn region(&self, position: u8) -> &UpstreamHandle {
        let row = &*self.0;
        let (region, cell) = &row.regions[usize::from(position)];
        cell.get_or_init(|| {
            let key = (row.upstream.clone(), region.clone());
            UpstreamHandle::new(row.metrics.upstreams.get(key))
        })
    }

    /// The series of the upstream as a whole.
    pub fn service(&self) -> &ServiceSeries {
        let row = &*self.0;
        let fresh = || row.metrics.services.get(row.upstream.clone());
        mine(row.service.get_or_init(fresh))
    }
}

impl fmt::Debug for PlanSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanSeries")
            .field("plan", &self.plan.content_hash)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RouteSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteSeries").field(&self.row.route).finish()
    }
}

impl fmt::Debug for UpstreamRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamRow")
            .field(&self.0.upstream)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// Whoever keeps it counts on that: the rest may lie on another cache line.
    #[test]
    fn what_leads_to_counters_takes_40_bytes() {
        assert_eq!(offset_of!(RouteSeries, row), 40);
    }
}
