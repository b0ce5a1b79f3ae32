//! Plain rows out of what is wanted and what is observed, for one upstream at one moment.
//!
//! This runs for every attempt, so it reads only what steering needs: a few atomics per region, and
//! of the endpoints only as many as it takes to find one that may be used.

use arrayvec::ArrayVec;

use crate::choose::TriedEndpoints;
use crate::decision::{RegionRow, View};
use crate::handle::{LiveRegion, LiveUpstream};
use crate::plan::{Upstream, UpstreamRegion};

impl<'a> View<'a> {
    /// The rows of `upstream`, in the plan's order. `live` is its binding.
    pub fn of(upstream: &'a Upstream, live: &LiveUpstream, tried: &TriedEndpoints) -> Self {
        // Filled in its place: it has room for many rows, and moving it would copy all of it.
        let mut view = Self {
            steering: &upstream.steering,
            rows: ArrayVec::new(),
        };
        for (position, (wanted, observed)) in upstream.regions.iter().zip(&live.regions).enumerate()
        {
            view.rows.push(row(position as u8, wanted, observed, tried));
        }
        view
    }
}

fn row(
    position: u8,
    wanted: &UpstreamRegion,
    observed: &LiveRegion,
    tried: &TriedEndpoints,
) -> RegionRow {
    RegionRow {
        region: wanted.region,
        position,
        health: observed.cell.health(),
        draining: observed.cell.draining(),
        endpoints: u32::from(any_open(position, observed, tried)),
        latency: observed.cell.latency(),
        distance_km: observed.distance_km,
        weight: wanted.weight,
        tier: wanted.tier,
    }
}

fn any_open(position: u8, observed: &LiveRegion, tried: &TriedEndpoints) -> bool {
    let set = observed.endpoints.load();
    let tried = tried.within(position, set.version);
    (0..set.endpoints.len()).any(|at| set.open(at, tried))
}
