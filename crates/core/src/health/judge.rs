//! The judge of one upstream.
//!
//! The data plane only counts. A few times a second the judge looks at the counters of all regions
//! of an upstream together, because what one region shows means little without its siblings, and
//! writes what follows where decisions read it: a region's standing, an endpoint's ejection and
//! share. It keeps no clock, does no I/O, allocates nothing while nothing changes, and remembers by
//! cell, so that a reload changes nothing of what it knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Health;
use super::change::{Change, Stage};
use super::evidence::Evidence;
use super::region::{Look, Move, Region, State};
use super::roster::EndpointChange;
use super::siblings::{Fall, Siblings};
use crate::handle::LiveUpstream;
use crate::plan::Upstream;

/// After how long the next look is due when something is going on.
pub const LOOK_BUSY: Duration = Duration::from_millis(50);
/// The same when nothing is.
pub const LOOK_CALM: Duration = Duration::from_millis(250);
/// That all regions fare alike is told again when it was not so for this long.
const SHARED_TOLD: Duration = Duration::from_secs(10);

/// Judges the regions and endpoints of one upstream. One per upstream; survives reloads of the plan.
#[derive(Debug, Default)]
pub struct Judge {
    regions: Vec<Region>,
    shared: Option<Instant>,
    busy: bool,
}

impl Judge {
    /// Looks at the cells of one upstream and puts regions' standings and endpoints' ejections and
    /// shares in place. Returns what changed, in order.
    ///
    /// `wanted` and `live` are of the same upstream of the same plan. A region that this judge sees
    /// for the first time starts whole: neither trial nor ramp.
    pub fn look(&mut self, wanted: &Upstream, live: &LiveUpstream, now: Instant) -> Vec<Change> {
        let (look, mut changes) = (Look { wanted, now }, Vec::new());
        self.follow(live, now);
        self.observe(live, &look, &mut changes);
        for at in 0..self.regions.len() {
            self.judge(at, &look, &mut changes);
        }
        self.settle(&look, &mut changes);
        self.busy = self.regions.iter().any(Region::busy);
        changes
    }

    /// After how long the next look is due: 50 ms while anything is under way or in doubt, 250 ms
    /// when calm.
    pub fn next_look(&self) -> Duration {
        if self.busy { LOOK_BUSY } else { LOOK_CALM }
    }

    /// Whether the region at this position is in doubt, so that its endpoints should be probed at
    /// once, at the fast interval, over new connections.
    pub fn in_doubt(&self, position: u8) -> bool {
        let region = self.regions.get(usize::from(position));
        region.is_some_and(Region::in_doubt)
    }

    /// What the region at this position goes through; `Serving` for one that was never looked at.
    pub fn stage(&self, position: u8) -> Stage {
        let region = self.regions.get(usize::from(position));
        region.map_or(Stage::Serving, Region::stage)
    }

    /// Matches what is known to the regions of the plan, by their cells.
    fn follow(&mut self, live: &LiveUpstream, now: Instant) {
        let pairs = self.regions.iter().zip(&live.regions);
        let same = self.regions.len() == live.regions.len()
            && pairs
                .into_iter()
                .all(|(have, want)| Arc::ptr_eq(&have.cell, &want.cell));
        if same {
            return;
        }
        let mut known = std::mem::take(&mut self.regions);
        let region = |want: &crate::LiveRegion| {
            let at = known
                .iter()
                .position(|have| Arc::ptr_eq(&have.cell, &want.cell));
            at.map_or_else(|| Region::new(want, now), |at| known.swap_remove(at))
        };
        self.regions = live.regions.iter().map(region).collect();
    }

    fn observe(&mut self, live: &LiveUpstream, look: &Look<'_>, changes: &mut Vec<Change>) {
        for (at, region) in live.regions.iter().enumerate() {
            let alone = !self.siblings(at, look.now).any_takes_over();
            let observed = &mut self.regions[at];
            observed.observe(region, look, !alone, &mut |change| {
                changes.push(endpoint_change(at, change));
            });
        }
        for at in 0..self.regions.len() {
            let window = look.wanted.health.region.window;
            let least = self.siblings(at, look.now).least_share(window);
            self.regions[at].compare(least, look);
        }
    }

    fn siblings(&self, me: usize, now: Instant) -> Siblings<'_> {
        Siblings {
            all: &self.regions,
            me,
            now,
        }
    }

    fn judge(&mut self, at: usize, look: &Look<'_>, changes: &mut Vec<Change>) {
        let next = self.regions[at].next(self.siblings(at, look.now), look);
        match next {
            None => self.enter(at, None, look, changes),
            Some(Move::To(state, why, fall)) => {
                self.enter(at, Some((state, fall, why)), look, changes);
            }
            Some(Move::Shared(why, shown)) => self.share(at, (why, shown), look, changes),
        }
    }

    /// Enters a state, if there is a new one, and tells what changed by it.
    fn enter(
        &mut self,
        at: usize,
        to: Option<(State, Option<Fall>, Evidence)>,
        look: &Look<'_>,
        changes: &mut Vec<Change>,
    ) {
        let region = &mut self.regions[at];
        let (stage, from) = (region.stage(), region.cell.health());
        let moved = to.map(|(state, fall, why)| {
            region.go(state, fall, look);
            why
        });
        let standing = region.standing(look);
        region.cell.set_standing(standing);
        if moved.is_some() || from != standing.health || stage != region.stage() {
            let evidence = moved.unwrap_or_else(|| region.ground());
            changes.push(region_change(at, from, region, evidence));
        }
    }

    /// All regions fare alike: tells so once, and takes back who fell for it.
    fn share(
        &mut self,
        at: usize,
        (why, shown): (Evidence, Fall),
        look: &Look<'_>,
        changes: &mut Vec<Change>,
    ) {
        let now = look.now;
        let told =
            (self.shared).is_some_and(|told| now.saturating_duration_since(told) < SHARED_TOLD);
        self.shared = Some(now);
        self.enter(at, None, look, changes);
        if !told {
            let (region, why) = (&self.regions[at], Box::new(why));
            let from = region.cell.health();
            changes.push(region_change(at, from, region, Evidence::Shared { why }));
        }
        for at in 0..self.regions.len() {
            let region = &mut self.regions[at];
            let from = region.cell.health();
            if let Some(evidence) = region.spare(&shown, look) {
                region.cell.set_standing(region.standing(look));
                changes.push(region_change(at, from, region, evidence));
            }
        }
    }

    fn settle(&mut self, look: &Look<'_>, changes: &mut Vec<Change>) {
        for at in 0..self.regions.len() {
            let alone = !self.siblings(at, look.now).any_up();
            let region = &mut self.regions[at];
            region.settle(alone, look, &mut |change| {
                changes.push(endpoint_change(at, change));
            });
            region.cell.set_standing(region.standing(look));
        }
    }
}

fn region_change(at: usize, from: Health, region: &Region, evidence: Evidence) -> Change {
    Change {
        position: at as u8,
        endpoint: None,
        from,
        to: region.cell.health(),
        stage: region.stage(),
        evidence,
    }
}

fn endpoint_change(at: usize, (address, from, to, evidence): EndpointChange) -> Change {
    let stage = match evidence {
        Evidence::EjectionOver { .. } | Evidence::NoOther => Stage::Probation,
        Evidence::Tried { .. } => Stage::Serving,
        _ => Stage::Out,
    };
    Change {
        position: at as u8,
        endpoint: Some(address),
        from,
        to,
        stage,
        evidence,
    }
}
