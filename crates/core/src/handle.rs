//! The plan that serves, bound to what is observed.
//!
//! [`PlanHandle`] is where `control` puts a new plan and where the data plane takes it: one swap,
//! one load per request. [`Live`] is a plan with its names replaced by pointers: to the slots of
//! endpoints, to the cells of the board, to the budgets, to what is known for hedges.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};

use crate::balance::Preference;
use crate::board::Board;
use crate::budget::Budget;
use crate::cell::RegionCell;
use crate::endpoint::EndpointSlot;
use crate::geo::{Direction, distance_km};
use crate::hash::xxh64;
use crate::hedge::HedgeCell;
use crate::ids::{Generation, RouteIdx, UpstreamIdx};
use crate::plan::{Plan, Route, Upstream};

/// An activated plan.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub generation: Generation,
    /// What is wanted.
    pub plan: Arc<Plan>,
    /// Per upstream of the plan, in the plan's order.
    pub upstreams: Box<[LiveUpstream]>,
    /// Per route of the plan, in the plan's order.
    hedges: Box<[Option<Arc<HedgeCell>>]>,
}

/// An upstream's pointers to what is observed.
#[derive(Debug)]
pub struct LiveUpstream {
    /// Per region of the upstream, in the plan's order.
    pub regions: Box<[LiveRegion]>,
    /// Tokens for retries within a region and across regions.
    pub budget: Arc<Budget>,
}

/// The pointers of one region of one upstream.
#[derive(Debug)]
pub struct LiveRegion {
    /// What is observed of the region.
    pub cell: Arc<RegionCell>,
    /// Who is there.
    pub endpoints: Arc<EndpointSlot>,
    /// Great-circle distance from this PoP in kilometres, if both locations are known.
    pub distance_km: Option<f64>,
    /// Where it is, if that was told.
    pub direction: Option<Direction>,
    /// XXH64 of its name: what draws for requests that stay together know it by.
    pub key: u64,
}

impl Live {
    /// Binds `plan` to `board` under the number `generation`.
    pub fn bind(plan: Arc<Plan>, board: &Board, generation: Generation) -> Self {
        let upstreams = plan
            .upstreams
            .iter()
            .map(|upstream| bind_upstream(&plan, upstream, board))
            .collect();
        let hedges = plan
            .routes
            .iter()
            .map(|route| bind_hedge(route, board))
            .collect();
        Self {
            generation,
            plan,
            upstreams,
            hedges,
        }
    }

    /// The upstream's record and its pointers.
    pub fn upstream(&self, upstream: UpstreamIdx) -> (&Upstream, &LiveUpstream) {
        (
            self.plan.upstream(upstream),
            &self.upstreams[upstream.get()],
        )
    }

    /// What is observed for the hedges of a route; none if it has no `hedge`.
    pub fn hedge(&self, route: RouteIdx) -> Option<&HedgeCell> {
        self.hedges[route.get()].as_deref()
    }
}

fn bind_hedge(route: &Route, board: &Board) -> Option<Arc<HedgeCell>> {
    let hedge = route.hedge?;
    let cell = board.hedge(&route.name);
    cell.configure(hedge.budget);
    Some(cell)
}

fn bind_upstream(plan: &Plan, upstream: &Upstream, board: &Board) -> LiveUpstream {
    let regions = upstream
        .regions
        .iter()
        .map(|spec| {
            let region = plan.region(spec.region);
            let endpoints = board.slot(&upstream.name, &region.name);
            let preference = Preference {
                balance: upstream.balance.clone(),
                zones: spec.zones.clone(),
            };
            endpoints.replace_with(
                &upstream.name,
                &region.name,
                &spec.endpoints,
                preference,
                board,
            );
            let distance_km = plan
                .pop
                .location
                .zip(region.location)
                .map(|(a, b)| distance_km(a, b));
            LiveRegion {
                cell: board.region(&upstream.name, &region.name),
                endpoints,
                distance_km,
                direction: region.location.map(Direction::from),
                key: xxh64(0, region.name.as_bytes()),
            }
        })
        .collect();
    let budget = board.budget(&upstream.name);
    budget.configure(upstream.retry.budget, upstream.retry.cross_region_budget);
    LiveUpstream { regions, budget }
}

/// Where the serving plan is kept. Empty until the first activation.
#[derive(Debug, Default)]
pub struct PlanHandle {
    live: ArcSwapOption<Live>,
    /// The last number given out; held while a plan is put in place, so that the newest serves.
    last: Mutex<u64>,
}

impl PlanHandle {
    /// A handle that serves nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The plan for a connection or request with this key. With one plan alive the key decides
    /// nothing; a staged activation will choose by it. None before the first activation.
    pub fn load(&self, _key: u64) -> Guard<Option<Arc<Live>>> {
        self.live.load()
    }

    /// The newest plan, to keep. None before the first activation.
    pub fn newest(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Binds `plan` to `board`, makes it serve from the next load on, and returns it.
    pub fn activate(&self, plan: Plan, board: &Board) -> Arc<Live> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let live = Arc::new(Live::bind(Arc::new(plan), board, Generation(*last)));
        self.live.store(Some(live.clone()));
        live
    }
}
