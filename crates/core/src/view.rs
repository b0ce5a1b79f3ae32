//! Plain rows out of what is wanted and what is observed, for one upstream at one moment.
//!
//! This runs for every attempt, so it reads only what steering needs: a few atomics per region, and
//! of the endpoints only as many as it takes to find one that may be used.

use arrayvec::ArrayVec;

use crate::balance::Barred;
use crate::choose::TriedEndpoints;
use crate::decision::{RegionRow, View};
use crate::handle::{LiveRegion, LiveUpstream};
use crate::limits::{Bounds, Room, Turn};
use crate::plan::{Policy, Upstream, UpstreamRegion};

impl<'a> View<'a> {
    /// The rows of `upstream`, in the plan's order, for an attempt on its `turn`. `live` is the
    /// upstream's binding.
    pub fn of(
        upstream: &'a Upstream,
        live: &LiveUpstream,
        tried: &TriedEndpoints,
        turn: Turn,
    ) -> Self {
        let mut view = Self {
            steering: &upstream.steering,
            rows: ArrayVec::new(),
        };
        view.fill(upstream, live, tried, turn);
        view
    }

    /// Adds the rows of `upstream` to a view that has none, in its place: there is room for many,
    /// and moving a view copies all of it. Only steering by latency looks at latencies.
    pub fn fill(
        &mut self,
        upstream: &Upstream,
        live: &LiveUpstream,
        tried: &TriedEndpoints,
        turn: Turn,
    ) {
        let bounds = Bounds::of(&upstream.circuit_breaker, turn);
        let by_latency = matches!(self.steering.policy, Policy::Latency { .. });
        let regions = upstream.regions.iter().zip(&live.regions).enumerate();
        for (position, (wanted, observed)) in regions {
            let mut row = row(position as u8, wanted, observed, tried, &bounds);
            if by_latency {
                row.latency = observed.cell.latency();
            }
            self.rows.push(row);
        }
    }
}

fn row(
    position: u8,
    wanted: &UpstreamRegion,
    observed: &LiveRegion,
    tried: &TriedEndpoints,
    bounds: &Bounds,
) -> RegionRow {
    let room = room(position, observed, tried, bounds);
    RegionRow {
        standing: observed.cell.standing(),
        draining: observed.cell.draining(),
        endpoints: u32::from(room == Room::Open),
        full: room == Room::Full,
        distance_km: observed.distance_km,
        weight: wanted.weight,
        tier: wanted.tier,
        ..RegionRow::new(wanted.region, position)
    }
}

fn room(position: u8, observed: &LiveRegion, tried: &TriedEndpoints, bounds: &Bounds) -> Room {
    let set = observed.endpoints.load();
    let barred = Barred {
        tried: tried.within(position, set.version),
        bound: bounds.endpoint,
        any_health: false,
    };
    let mut best = Room::Closed;
    for at in 0..set.endpoints.len() {
        best = best.max(set.room(at, &barred));
        if best == Room::Open {
            break;
        }
    }
    match best {
        Room::Open if bounds.region.fills_region(&observed.cell) => Room::Full,
        room => room,
    }
}
