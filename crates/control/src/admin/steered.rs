//! How traffic is steered to a region of an upstream, for the documents: dials, and what the last look
//! left for decisions.

use std::time::Instant;

use serde::Serialize;
use tidegate_core::plan::{Standby, UpstreamRegion};
use tidegate_core::{Dial, RegionCell};

use super::status::micros;

/// The dials of a region: what is wanted, by whom, and what holds.
#[derive(Serialize)]
pub(super) struct Dials {
    plan: Dial,
    /// None while no operator dials it.
    operator: Option<Dial>,
    /// `operator` or `plan`.
    by: &'static str,
    effective: Dial,
}

/// What the last look left for decisions.
#[derive(Serialize)]
pub(super) struct Steered {
    /// The part of what is offered that it takes; it sheds the rest.
    take: Dial,
    /// Requests a second that it could still take; none without a capacity.
    spare_per_second: Option<f32>,
    /// The part of its endpoints' weight that is usable and not degraded.
    healthy: Dial,
    /// The part that is usable, but degraded.
    degraded: Dial,
    /// The latency that regions are compared by, held steady.
    latency_us: Option<u64>,
    /// What its endpoints report of their own load, 0 to 1 and above; none lately.
    utilization: Option<f32>,
}

impl Dials {
    pub(super) fn of(spec: &UpstreamRegion, cell: &RegionCell) -> Self {
        let operator = cell.dial();
        Self {
            plan: spec.dial,
            operator,
            by: operator.map_or("plan", |_| "operator"),
            effective: operator.unwrap_or(spec.dial),
        }
    }
}

impl Steered {
    pub(super) fn of(cell: &RegionCell, now: Instant) -> Self {
        let allotment = cell.allotment();
        Self {
            take: allotment.take,
            spare_per_second: allotment.spare,
            healthy: allotment.healthy,
            degraded: allotment.degraded,
            latency_us: micros(allotment.latency),
            utilization: cell.utilization(now),
        }
    }
}

/// What the region is while others serve.
pub(super) fn standby(spec: &UpstreamRegion) -> &'static str {
    match spec.standby {
        Standby::Hot => "hot",
        Standby::Warm => "warm",
        Standby::Cold(_) => "cold",
    }
}

/// The place in an operator's order of the regions, from 1.
pub(super) fn place(cell: &RegionCell) -> Option<u8> {
    cell.place().map(|place| place.saturating_add(1))
}
