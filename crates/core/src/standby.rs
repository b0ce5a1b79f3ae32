//! When a region that stands by cold has to be started.
//!
//! Starting takes minutes and costs money, waiting costs users. So what counts is not whether a
//! region failed but how much of what serves before the cold one is usable, by size. Nothing here
//! starts anything or remembers that somebody did.

use crate::cell::RegionCell;
use crate::handle::{LiveRegion, LiveUpstream};
use crate::health::Health;
use crate::plan::{ColdStart, Standby, Upstream, UpstreamRegion};
use crate::standing::Dial;

/// How the region at `position` has to be started now; none if it need not be: it is not cold, it is
/// healthy already, an operator keeps it out (drained, dialed to 0), or enough of what serves before
/// it is usable ([`usable_before`]).
///
/// `wanted` and `live` are of the same upstream of the same plan. That it was asked to start already
/// is for the caller to know.
pub fn due<'a>(
    wanted: &'a Upstream,
    live: &LiveUpstream,
    position: usize,
) -> Option<&'a ColdStart> {
    let (region, observed) = (wanted.regions.get(position)?, live.regions.get(position)?);
    let Standby::Cold(start) = &region.standby else {
        return None;
    };
    let wanted_out = observed.cell.draining() || dial(region, &observed.cell) == Dial::NONE;
    let there = observed.cell.health() == Health::Healthy;
    let due = !wanted_out && !there && usable_before(wanted, live) < start.below;
    due.then_some(start.as_ref())
}

/// The usable part, 0 to 1, of what serves before any cold region: of all that are hot or warm, by
/// capacity if all of them told theirs, else by weight if there are any, else each alike. 0 if there
/// are none.
///
/// A region that is down, drained or dialed to 0 is not usable at all, one that is dialed down or
/// comes back only as far as it takes part, and any other as far as its endpoints are.
pub fn usable_before(wanted: &Upstream, live: &LiveUpstream) -> f64 {
    let pairs = wanted.regions.iter().zip(&live.regions);
    let before =
        || (pairs.clone()).filter(|(region, _)| !matches!(region.standby, Standby::Cold(_)));
    let told = before().all(|(region, _)| region.capacity().is_some());
    let weighed = before().any(|(region, _)| region.weight > 0);
    let size = |region: &UpstreamRegion| match region.capacity() {
        Some(capacity) if told => capacity,
        _ if weighed => f64::from(region.weight),
        _ => 1.0,
    };
    let all: f64 = before().map(|(region, _)| size(region)).sum();
    let usable: f64 = before()
        .map(|(region, observed)| size(region) * usable(region, observed))
        .sum();
    if all > 0.0 { usable / all } else { 0.0 }
}

/// The part of one region that takes part now, 0 to 1.
fn usable(region: &UpstreamRegion, observed: &LiveRegion) -> f64 {
    let (cell, standing) = (&observed.cell, observed.cell.standing());
    if !standing.health.usable() || cell.draining() {
        return 0.0;
    }
    let allotment = cell.allotment();
    let endpoints = (allotment.healthy.share() + allotment.degraded.share()).min(1.0);
    endpoints * standing.dial.share() * dial(region, cell).share()
}

/// The dial in force: an operator's, else the plan's.
pub(crate) fn dial(region: &UpstreamRegion, cell: &RegionCell) -> Dial {
    cell.dial().unwrap_or(region.dial)
}
