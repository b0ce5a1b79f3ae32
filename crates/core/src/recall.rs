//! Decisions that a thread recalls as long as nothing has changed of what they were made of.
//!
//! Most attempts are like the one before: no region has changed, nothing is drawn, the request asks for nothing
//! special. To decide anew is to look at every region, and comes to the same. So a thread keeps its last
//! decision for an upstream, with counts of the changes of everything that it read, and asks for those counts
//! alone. What nobody counts (load, latency that no look has held steady, attempts under way against a bound,
//! chance, what a request has behind it) is decided anew for every attempt.

use std::cell::RefCell;

use arrayvec::ArrayVec;

use crate::choose::Ask;
use crate::decision::{Decision, Eligibility};
use crate::handle::{LiveRegion, LiveUpstream};
use crate::ids::{MAX_REGIONS, RegionSet};
use crate::limits::{Bounds, Turn};
use crate::plan::{Policy, Spread, Upstream};
use crate::sets::Sets;
use crate::view::compares_latency;

/// The last decisions of one thread for one upstream of one plan: for attempts that cannot be made again, and
/// for those that can.
#[derive(Debug, Default)]
pub struct Recall([RefCell<Option<Box<Kept>>>; 2]);

#[derive(Debug)]
struct Kept {
    /// What the attempt was allowed; in all else it was a usual one.
    allowed: RegionSet,
    marks: Marks,
    decision: Decision,
}

/// How often what a decision reads of each region has changed. Taken before it is read, so that a change in
/// between shows.
#[derive(Debug)]
pub(crate) struct Marks(ArrayVec<Mark, MAX_REGIONS>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    region: u64,
    set: u64,
    endpoints: u64,
}

/// Whether an attempt is decided by nothing but the plan and what is counted, apart from the regions that it is
/// allowed and from whether it can be made again.
#[inline]
pub(crate) fn is_usual(wanted: &Upstream, ask: &Ask) -> bool {
    let unconfined = Eligibility {
        allowed: ask.allowed,
        repeatable: ask.repeatable,
        ..Eligibility::ANY
    };
    let first = ask.turn == Turn::First && ask.tried_endpoints.is_empty() && ask.stay.is_none();
    let like_others = ask.prefer.is_none() && ask.origin.is_none();
    let counted = !draws_or_weighs(&wanted.steering.policy)
        && Bounds::of(&wanted.circuit_breaker, Turn::First) == Bounds::default();
    first && like_others && ask.eligibility() == unconfined && counted
}

/// Whether the policy goes by chance or by load for every attempt.
fn draws_or_weighs(policy: &Policy) -> bool {
    matches!(
        policy,
        Policy::LeastLoad
            | Policy::Weighted { .. }
            | Policy::Capacity {
                spread: Spread::Spray
            }
    )
}

impl Recall {
    /// Whether a decision is kept that holds for such an attempt.
    pub fn holds(&self, observed: &LiveUpstream, ask: &Ask, sets: &impl Sets) -> bool {
        let kept = self.of(ask).borrow();
        kept.as_ref()
            .is_some_and(|kept| kept.holds(observed, ask, sets))
    }

    /// Puts the decision that holds for such an attempt into `decision`; whether there is one.
    #[inline]
    pub(crate) fn get(
        &self,
        observed: &LiveUpstream,
        ask: &Ask,
        sets: &impl Sets,
        decision: &mut Decision,
    ) -> bool {
        let kept = self.of(ask).borrow();
        let Some(kept) = kept.as_ref().filter(|kept| kept.holds(observed, ask, sets)) else {
            return false;
        };
        decision.candidates.clone_from(&kept.decision.candidates);
        decision.excluded.clone_from(&kept.decision.excluded);
        decision.panic = kept.decision.panic;
        true
    }

    /// Keeps what was decided for such an attempt without a draw, `marks` taken before.
    #[cold]
    pub(crate) fn keep(
        &self,
        (wanted, observed): (&Upstream, &LiveUpstream),
        ask: &Ask,
        marks: Marks,
        decision: &Decision,
    ) {
        let steady = |region: &LiveRegion| region.cell.allotment().latency.is_some();
        let measured = compares_latency(&wanted.steering.policy);
        let counted = !measured || observed.regions.iter().all(steady);
        let mut place = self.of(ask).borrow_mut();
        if !counted {
            *place = None;
            return;
        }
        let kept = Kept {
            allowed: ask.allowed,
            marks,
            decision: decision.clone(),
        };
        match &mut *place {
            Some(before) => **before = kept,
            None => *place = Some(Box::new(kept)),
        }
    }

    fn of(&self, ask: &Ask) -> &RefCell<Option<Box<Kept>>> {
        &self.0[usize::from(ask.repeatable)]
    }
}

impl Kept {
    #[inline]
    fn holds(&self, observed: &LiveUpstream, ask: &Ask, sets: &impl Sets) -> bool {
        let mut regions = self.marks.0.iter().zip(&observed.regions).enumerate();
        self.allowed == ask.allowed
            && regions.all(|(at, (mark, region))| *mark == Mark::of(at, region, sets))
    }
}

impl Marks {
    /// Those of this moment.
    pub(crate) fn of(observed: &LiveUpstream, sets: &impl Sets) -> Self {
        let regions = observed.regions.iter().enumerate();
        Self(
            regions
                .map(|(at, region)| Mark::of(at, region, sets))
                .collect(),
        )
    }
}

impl Mark {
    #[inline]
    fn of(position: usize, region: &LiveRegion, sets: &impl Sets) -> Self {
        let of_set = |set: &crate::EndpointSet| (set.version, set.changes());
        let (set, endpoints) = sets.look(position, &region.endpoints, of_set);
        Self {
            region: region.cell.version(),
            set,
            endpoints,
        }
    }
}
