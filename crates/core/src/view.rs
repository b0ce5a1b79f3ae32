//! Plain rows out of what is wanted and what is observed, for one upstream at one moment.
//!
//! This runs for every attempt, so it reads only what steering needs: a few atomics per region, and
//! of the endpoints only as many as it takes to find one that may be used.

use arrayvec::ArrayVec;

use crate::choose::TriedEndpoints;
use crate::decision::{RegionRow, View};
use crate::handle::{LiveRegion, LiveUpstream};
use crate::plan::{Steering, Upstream, UpstreamRegion};

impl<'a> View<'a> {
    /// The rows of `upstream`, in the plan's order. `live` is its binding.
    pub fn of(upstream: &'a Upstream, live: &LiveUpstream, tried: &TriedEndpoints) -> Self {
        let mut view = Self {
            steering: &upstream.steering,
            rows: ArrayVec::new(),
        };
        view.fill(upstream, live, tried);
        view
    }

    /// Adds the rows of `upstream` to a view that has none, in its place: there is room for many,
    /// and moving a view copies all of it. Only steering by latency looks at latencies.
    pub fn fill(&mut self, upstream: &Upstream, live: &LiveUpstream, tried: &TriedEndpoints) {
        let by_latency = matches!(self.steering, Steering::Latency { .. });
        let regions = upstream.regions.iter().zip(&live.regions).enumerate();
        for (position, (wanted, observed)) in regions {
            let mut row = row(position as u8, wanted, observed, tried);
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
) -> RegionRow {
    RegionRow {
        region: wanted.region,
        position,
        health: observed.cell.health(),
        draining: observed.cell.draining(),
        endpoints: u32::from(any_open(position, observed, tried)),
        latency: None,
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
