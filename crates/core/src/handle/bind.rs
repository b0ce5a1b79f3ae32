//! Names become pointers, once for each plan.
//!
//! A plan that serves is bound so that it changes what is shared: sets of endpoints, purses. One that is
//! only tried, or serves a part, is bound beside: cells are shared by identity, so it sees what is observed
//! and its requests count, but nothing that the serving plan looks at becomes another. What it wants
//! otherwise takes effect when it takes over.

use std::sync::Arc;

use super::{Live, LiveRegion, LiveUpstream};
use crate::balance::Preference;
use crate::board::Board;
use crate::endpoint::EndpointSlot;
use crate::geo::{Direction, distance_km};
use crate::hash::xxh64;
use crate::hedge::HedgeCell;
use crate::ids::Generation;
use crate::plan::{Plan, Route, Upstream, UpstreamRegion};

/// A region of an upstream, by what it is known.
struct Named<'a> {
    upstream: &'a Upstream,
    spec: &'a UpstreamRegion,
    region: &'a str,
}

impl Live {
    /// Binds `plan` to `board` under the number `generation`: what it wants holds at once, for plans bound
    /// before as well.
    pub fn bind(plan: Arc<Plan>, board: &Board, generation: Generation) -> Self {
        let live = Self::with(plan, board, generation, slot);
        live.configure(board);
        live
    }

    /// Binds `plan` beside those that serve: nothing changes for them. A region whose endpoints are not
    /// those that serve gets a slot of its own. Purses stay as they are; new ones are as the plan wants
    /// them.
    pub fn beside(plan: Arc<Plan>, board: &Board, generation: Generation) -> Self {
        Self::with(plan, board, generation, slot_beside)
    }

    /// What was bound beside serves everything from now on: its slots are those of their regions, its
    /// purses as it wants them.
    pub(super) fn take_over(&self, board: &Board) {
        for (wanted, observed) in self.plan.upstreams.iter().zip(&self.upstreams) {
            for (spec, region) in wanted.regions.iter().zip(&observed.regions) {
                let name = &self.plan.region(spec.region).name;
                board.put_slot(&wanted.name, name, region.endpoints.clone());
            }
        }
        self.configure(board);
    }

    fn with(
        plan: Arc<Plan>,
        board: &Board,
        generation: Generation,
        slot: impl Fn(&Named<'_>, &Board) -> Arc<EndpointSlot>,
    ) -> Self {
        let upstreams = plan.upstreams.iter();
        let upstreams = upstreams.map(|upstream| LiveUpstream {
            regions: regions(&plan, upstream, board, &slot),
            budget: board.budget_with(&upstream.name, shares(upstream)),
        });
        Self {
            generation,
            upstreams: upstreams.map(Arc::new).collect(),
            hedges: hedges(&plan, board),
            holders: Arc::default(),
            plan,
        }
    }

    fn configure(&self, board: &Board) {
        for (wanted, observed) in self.plan.upstreams.iter().zip(&self.upstreams) {
            let (in_region, cross_region) = shares(wanted);
            observed.budget.configure(in_region, cross_region);
        }
        for route in &self.plan.routes {
            if let Some(wanted) = route.hedge {
                board.hedge(&route.name).configure(wanted.budget);
            }
        }
    }
}

impl LiveUpstream {
    /// One upstream of `plan` bound to a `board` of its own: for decisions that are made again and touch
    /// nothing that serves.
    pub fn alone(plan: &Plan, upstream: &Upstream, board: &Board) -> Self {
        Self {
            regions: regions(plan, upstream, board, slot),
            budget: board.budget_with(&upstream.name, shares(upstream)),
        }
    }
}

fn hedges(plan: &Plan, board: &Board) -> Box<[Option<Arc<HedgeCell>>]> {
    let routes = || plan.routes.iter();
    match routes().any(|route| route.hedge.is_some()) {
        true => routes().map(|route| hedge(route, board)).collect(),
        false => Box::default(),
    }
}

fn hedge(route: &Route, board: &Board) -> Option<Arc<HedgeCell>> {
    let wanted = route.hedge?;
    Some(board.hedge_with(&route.name, wanted.budget))
}

/// The parts of its requests that may be retried.
fn shares(upstream: &Upstream) -> (f64, f64) {
    (upstream.retry.budget, upstream.retry.cross_region_budget)
}

fn regions(
    plan: &Plan,
    upstream: &Upstream,
    board: &Board,
    slot: impl Fn(&Named<'_>, &Board) -> Arc<EndpointSlot>,
) -> Box<[LiveRegion]> {
    let bound = upstream.regions.iter().map(|spec| {
        let region = plan.region(spec.region);
        let named = Named {
            upstream,
            spec,
            region: &region.name,
        };
        let places = plan.pop.location.zip(region.location);
        LiveRegion {
            cell: board.region(&upstream.name, &region.name),
            endpoints: slot(&named, board),
            distance_km: places.map(|(pop, region)| distance_km(pop, region)),
            direction: region.location.map(Direction::from),
            key: xxh64(0, region.name.as_bytes()),
        }
    });
    bound.collect()
}

impl Named<'_> {
    fn preference(&self) -> Preference {
        Preference {
            balance: self.upstream.balance.clone(),
            zones: self.spec.zones.clone(),
        }
    }

    fn fill(&self, slot: &EndpointSlot, board: &Board) {
        let (upstream, specs) = (&self.upstream.name, &self.spec.endpoints);
        slot.replace_with(upstream, self.region, specs, self.preference(), board);
    }
}

/// The region's slot, with what is wanted there.
fn slot(named: &Named<'_>, board: &Board) -> Arc<EndpointSlot> {
    let slot = board.slot(&named.upstream.name, named.region);
    named.fill(&slot, board);
    slot
}

/// The region's slot if it has what is wanted there, else another.
fn slot_beside(named: &Named<'_>, board: &Board) -> Arc<EndpointSlot> {
    let same = |slot: &Arc<EndpointSlot>| slot.holds(&named.spec.endpoints, &named.preference());
    let slot = board.find_slot(&named.upstream.name, named.region);
    slot.filter(same).unwrap_or_else(|| {
        let own = EndpointSlot::default();
        named.fill(&own, board);
        Arc::new(own)
    })
}
