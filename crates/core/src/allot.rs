//! What steering needs to know of an upstream's regions and no decision could find out in passing:
//! how much each was offered lately and what part of that it can take, which latency counts, how much
//! of it is usable.
//!
//! An [`Allotter`] looks at the cells of all regions whenever the judge does, and leaves an
//! [`Allotment`] in each. Decisions read those and remember nothing; if nobody looks any more, the
//! last ones stay in force. What is found depends on what was offered to a region, never on what it
//! took: so no figure feeds on itself, and nothing swings. It keeps no clock, does no I/O, allocates
//! nothing while regions stay, and remembers by cell, so that a reload changes nothing of what it
//! knows.

mod ease;
mod held;
mod rate;
mod take;
mod usable;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::ease::Ease;
use self::held::Held;
use self::rate::{Rate, SteppedRate};
use self::take::Load;
use self::usable::Usable;
use crate::cell::{Allotment, Demand, RegionCell};
use crate::handle::{LiveRegion, LiveUpstream};
use crate::plan::{Policy, Spill, Steering, Tolerance, Upstream, UpstreamRegion};
use crate::standby::dial;
use crate::standing::Dial;

/// What changes slowly is averaged over so many times what is configured.
const SLOW: u32 = 8;
/// No region with a capacity counts as having less to spare than this part of it: where next to
/// nothing is left, regions that share do so by capacity and not by what noise leaves.
const SPARE_LEAST: f64 = 0.05;

/// Looks after the regions of one upstream. One per upstream; survives reloads of the plan.
#[derive(Debug, Default)]
pub struct Allotter {
    regions: Vec<Seat>,
    looked: Option<Instant>,
}

/// What is remembered of one region.
#[derive(Debug)]
struct Seat {
    cell: Arc<RegionCell>,
    before: Demand,
    offered: SteppedRate,
    bound: SteppedRate,
    /// The same as `offered` over a longer time.
    usual: Rate,
    /// What was made there.
    taken: Rate,
    /// What of it is usable, and so many requests a second it could serve, if it tells.
    found: Usable,
    whole: Option<f64>,
    take: f64,
    ease: Ease,
    latency: Held,
}

impl Allotter {
    /// Looks at the cells of one upstream and puts an allotment in each region's.
    ///
    /// `wanted` and `live` are of the same upstream of the same plan. A region that is seen for the
    /// first time starts without a load. Two looks at one moment are one.
    pub fn look(&mut self, wanted: &Upstream, live: &LiveUpstream, now: Instant) {
        self.follow(live);
        let before = self.looked.replace(now);
        let passed = before.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let pairs = wanted.regions.iter().zip(&live.regions);
        for (seat, (region, observed)) in self.regions.iter_mut().zip(pairs) {
            seat.count(wanted.steering.spill.smoothing, passed);
            seat.see(region, observed, passed);
        }
        let missing = self.missing(wanted.steering.spill.at);
        for seat in &mut self.regions {
            let allotment = seat.allot(&wanted.steering, missing, passed);
            seat.cell.set_allotment(allotment);
        }
    }

    /// The part, 0 to 1, of what regions are relieved of that the others have no room for: so much they
    /// take all the same, or whoever works worse than it should would take the others with it. 0 unless
    /// all tell their capacities.
    fn missing(&self, at: f64) -> f64 {
        let (mut demand, mut room, mut relieved) = (0.0, 0.0, 0.0);
        for seat in &self.regions {
            let Some(whole) = seat.whole else {
                return 0.0;
            };
            demand += seat.taken.get();
            if seat.cell.draining() {
                continue;
            }
            room += whole * at * seat.ease.part();
            relieved += whole * at * (1.0 - seat.ease.part());
        }
        match relieved > 0.0 {
            true => ((demand - room) / relieved).clamp(0.0, 1.0),
            false => 0.0,
        }
    }

    /// Matches what is known to the regions of the plan, by their cells.
    fn follow(&mut self, live: &LiveUpstream) {
        let pairs = self.regions.iter().zip(&live.regions);
        let mut same = self.regions.len() == live.regions.len();
        same &= pairs.fold(true, |same, (have, want)| {
            same & Arc::ptr_eq(&have.cell, &want.cell)
        });
        if same {
            return;
        }
        let mut known = std::mem::take(&mut self.regions);
        let seat = |want: &LiveRegion| {
            let mut known_at = known.iter();
            let at = known_at.position(|have| Arc::ptr_eq(&have.cell, &want.cell));
            at.map_or_else(|| Seat::new(&want.cell), |at| known.swap_remove(at))
        };
        self.regions = live.regions.iter().map(seat).collect();
    }
}

impl Seat {
    fn new(cell: &Arc<RegionCell>) -> Self {
        Self {
            cell: cell.clone(),
            before: cell.demand(),
            offered: SteppedRate::default(),
            bound: SteppedRate::default(),
            usual: Rate::default(),
            taken: Rate::default(),
            found: Usable::default(),
            whole: None,
            take: 1.0,
            ease: Ease::default(),
            latency: Held::default(),
        }
    }

    /// Counts what was offered since the last look.
    fn count(&mut self, smoothing: Duration, passed: Duration) {
        if passed.is_zero() {
            return;
        }
        let demand = self.cell.demand();
        let since = demand.since(&self.before);
        self.before = demand;
        self.offered.enter(since.offered(), passed, smoothing);
        self.bound.enter(since.bound, passed, smoothing);
        self.usual.enter(since.offered(), passed, smoothing * SLOW);
        self.taken.enter(since.begun, passed, smoothing);
    }

    /// Sees what of the region is usable, and how it works.
    fn see(&mut self, region: &UpstreamRegion, observed: &LiveRegion, passed: Duration) {
        self.found = Usable::of(observed);
        self.ease.look(self.found.ails(observed), passed);
        let part = self.found.part() * dial(region, &self.cell).share();
        self.whole = region.capacity().map(|all| all * part);
    }

    /// `missing`: the part of what regions are relieved of that the others have no room for.
    fn allot(&mut self, steering: &Steering, missing: f64, passed: Duration) -> Allotment {
        let ease = self.ease.part();
        let ease = ease + (1.0 - ease) * missing;
        let usable = self.found.eased(ease);
        let capacity = self.whole.map(|whole| whole * ease);
        self.take = match capacity.filter(|_| sheds(&steering.policy)) {
            Some(_) if ease == 0.0 => 0.0,
            Some(capacity) => self
                .load()
                .take(self.take, &steering.spill, capacity, passed),
            None if sheds(&steering.policy) => usable.carries().min(ease),
            None => 1.0,
        };
        let latency = self.cell.latency();
        Allotment {
            take: Dial::new(self.take),
            spare: capacity.map(|capacity| self.spare(&steering.spill, capacity) as f32),
            latency: self.latency.hold(latency, hysteresis(&steering.policy)),
            healthy: Dial::new(usable.healthy),
            degraded: Dial::new(usable.degraded),
            offered: self.offered.get() as f32,
        }
    }

    fn load(&self) -> Load {
        Load {
            offered: self.offered.get(),
            bound: self.bound.get(),
        }
    }

    /// Averaged over a longer time than what it takes: what is spare decides what is offered, so this
    /// one figure does feed on itself, and must move slowly to come to rest.
    fn spare(&self, spill: &Spill, capacity: f64) -> f64 {
        (capacity * spill.at - self.usual.get()).max(capacity * SPARE_LEAST)
    }
}

/// Whether regions shed what is beyond their capacity: where steering follows something else than
/// tiers, which shed by health, and load, which evens itself out.
fn sheds(policy: &Policy) -> bool {
    !matches!(policy, Policy::Priority { .. } | Policy::LeastLoad)
}

/// The hysteresis of whatever orders regions by latency, if only in the second place.
fn hysteresis(policy: &Policy) -> Tolerance {
    match policy {
        Policy::Latency { hysteresis, .. } => *hysteresis,
        _ => Tolerance::HYSTERESIS,
    }
}
