//! The judge of one upstream: looks at the cells, puts regions' standings in place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::change::{Change, Stage};
use super::evidence::Evidence;
use super::{Health, roll_up};
use crate::cell::RegionCell;
use crate::handle::{LiveRegion, LiveUpstream};
use crate::plan::Upstream;
use crate::standing::Standing;

/// How long until the next look when something is going on.
pub const LOOK_BUSY: Duration = Duration::from_millis(50);
/// The same when nothing is.
pub const LOOK_CALM: Duration = Duration::from_millis(250);

/// Judges the regions and endpoints of one upstream. One per upstream; survives reloads of the plan.
#[derive(Debug, Default)]
pub struct Judge {
    regions: Vec<Watched>,
    calm: bool,
}

#[derive(Debug)]
struct Watched {
    cell: Arc<RegionCell>,
    stage: Stage,
}

impl Judge {
    /// Looks at the cells of one upstream and puts regions' standings and endpoints' ejections and
    /// shares in place. Returns what changed, in order.
    pub fn look(&mut self, wanted: &Upstream, live: &LiveUpstream, now: Instant) -> Vec<Change> {
        self.follow(live);
        let mut changes = Vec::new();
        let mut calm = true;
        for (position, (region, watched)) in live.regions.iter().zip(&self.regions).enumerate() {
            region.cell.expire_said(now);
            let (to, evidence) = conclude(region, wanted.health.region.min_healthy, now);
            let from = region.cell.health();
            calm &= region.cell.in_flight() == 0 && from == to;
            if region.cell.set_standing(Standing::full(to)) {
                changes.push(Change {
                    position: position as u8,
                    endpoint: None,
                    from,
                    to,
                    stage: watched.stage,
                    evidence,
                });
            }
        }
        self.calm = calm;
        changes
    }

    /// After how long the next look is due: 50 ms while anything is under way or in doubt, 250 ms
    /// when calm.
    pub fn next_look(&self) -> Duration {
        if self.calm { LOOK_CALM } else { LOOK_BUSY }
    }

    /// Whether the region at this position is in doubt, so that its endpoints should be probed at
    /// once, at the fast interval, over new connections.
    pub fn in_doubt(&self, position: u8) -> bool {
        self.stage(position) == Stage::Suspected
    }

    /// What the region at this position goes through; `Serving` for one that was never looked at.
    pub fn stage(&self, position: u8) -> Stage {
        let watched = self.regions.get(usize::from(position));
        watched.map_or(Stage::Serving, |watched| watched.stage)
    }

    fn follow(&mut self, live: &LiveUpstream) {
        let same = self.regions.len() == live.regions.len()
            && (self.regions.iter().zip(&live.regions))
                .all(|(watched, region)| Arc::ptr_eq(&watched.cell, &region.cell));
        if !same {
            let watch = |region: &LiveRegion| Watched {
                cell: region.cell.clone(),
                stage: Stage::Serving,
            };
            self.regions = live.regions.iter().map(watch).collect();
        }
    }
}

fn conclude(region: &LiveRegion, needed: f64, now: Instant) -> (Health, Evidence) {
    let said = region.cell.said();
    if matches!(said, Health::Unhealthy | Health::Draining) {
        return (said, Evidence::Said { health: said });
    }
    let set = region.endpoints.load();
    let (mut usable, total) = (0, set.endpoints.len() as u32);
    let healths = set.endpoints.iter().map(|endpoint| {
        endpoint.cell.expire_said(now);
        let health = endpoint.cell.health();
        usable += u32::from(health.usable());
        health
    });
    let health = roll_up(healths, needed);
    (
        health,
        Evidence::Endpoints {
            usable,
            total,
            needed,
        },
    )
}
