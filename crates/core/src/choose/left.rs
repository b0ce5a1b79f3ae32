//! What is left for a request after an attempt failed, or while one waits.
//!
//! The same gate that decisions pass is asked here, so that nobody is sent on to a place where the next
//! decision would not let him in. Ranks are left out: who is full or dialed down still serves when
//! nobody better does, so no attempt is lost for it.

use super::{Ask, TriedEndpoints};
use crate::cell::{Drain, RegionCell};
use crate::decision::{Eligibility, Exclusion, View};
use crate::handle::LiveUpstream;
use crate::health::Health;
use crate::ids::RegionSet;
use crate::limits::Turn;
use crate::plan::Upstream;
use crate::retry::Reach;
use crate::standing::{Dial, Standing};
use crate::steer::{self, Gate};
use crate::view::Look;

/// What is left to try after an attempt failed in the region at `position`. In another region,
/// endpoints that were tried (by a hedge) may be tried again: a region is left for good, an endpoint
/// only for its neighbours. What is left out because the time is too short depends on `ask.now` and
/// `ask.deadline`: they have to be of this moment.
pub fn reach(upstream: (&Upstream, &LiveUpstream), ask: &Ask, position: u8) -> Reach {
    let (wanted, observed) = upstream;
    let region = wanted.regions[usize::from(position)].region;
    let eligibility = ask.confined(ask.eligibility_of_retry(wanted, observed), region);
    let look = |tried: &TriedEndpoints, turn, eligibility| {
        let look = Look {
            tried,
            turn,
            ..Look::of(ask)
        };
        Sides::of(&View::by(wanted, observed, &look), eligibility, position)
    };
    let fresh = look(&ask.tried_endpoints, Turn::Retry, &eligibility);
    let none = TriedEndpoints::default();
    let mut all = look(&none, Turn::Retry, &eligibility);
    let forgiving = Eligibility {
        tried: RegionSet::EMPTY,
        ..eligibility
    };
    if !all.elsewhere && !ask.tried_regions.is_empty() {
        let forgiven = look(&none, Turn::Retry, &forgiving);
        all.elsewhere = forgiven.elsewhere;
        all.trusted_elsewhere = forgiven.trusted_elsewhere;
    }
    let mut reach = Reach {
        here: fresh.here,
        again: all.here,
        elsewhere: all.elsewhere,
        moved: !ask.tried_regions.is_empty(),
        doubted: comes_and_goes(observed.regions[usize::from(position)].cell.standing()),
        doubted_elsewhere: !all.trusted_elsewhere,
        full: false,
        full_elsewhere: all.full_elsewhere,
        late: false,
    };
    if !reach.again && !reach.elsewhere {
        let anything = |turn, eligibility| {
            let sides = look(&none, turn, eligibility);
            sides.here || sides.elsewhere
        };
        reach.full = anything(Turn::First, &forgiving);
        let patient = Eligibility {
            too_slow: RegionSet::EMPTY,
            ..forgiving
        };
        reach.late = anything(Turn::Retry, &patient);
    }
    reach
}

/// What is open in the region of an attempt, and in the others.
struct Sides {
    here: bool,
    elsewhere: bool,
    /// Of what is open elsewhere, something that nothing speaks against.
    trusted_elsewhere: bool,
    /// Something elsewhere would be open, were it not full.
    full_elsewhere: bool,
}

impl Sides {
    fn of(view: &View<'_>, eligibility: &Eligibility, position: u8) -> Self {
        let mut sides = Self {
            here: false,
            elsewhere: false,
            trusted_elsewhere: false,
            full_elsewhere: false,
        };
        let gate = Gate::new(view, eligibility);
        for row in &view.rows {
            match gate.exclusion(row) {
                Some(why) => {
                    sides.full_elsewhere |= why == Exclusion::Full && row.position != position;
                }
                None if row.position == position => sides.here = true,
                None => {
                    sides.elsewhere = true;
                    sides.trusted_elsewhere |= !doubted(row.standing) && row.endpoints > 0;
                }
            }
        }
        sides
    }
}

/// Whether a region is no place to stay after a failure as long as there is another: it is doubted, or
/// does not take its whole share yet.
fn comes_and_goes(standing: Standing) -> bool {
    doubted(standing) || standing.dial != Dial::FULL
}

/// Whether a region is no place to go to after a failure: it is out, silent, or only being tried.
fn doubted(standing: Standing) -> bool {
    standing.suspected || standing.probation || !standing.health.usable()
}

/// Whether an attempt that waits in the region at `position` is to be given up now: the region is
/// down, has fallen silent or is drained at once ([`Drain::Now`]), and another one that `ask` may go to
/// is not, and has room. A few loads as long as its region is well.
///
/// Where everything else is full, the attempt waits on, and whoever asks has to ask again: that is
/// what paces re-dispatch.
///
/// It says nothing about the request: [`retry::leave`](crate::retry::leave) does, with
/// [`Failure::RegionDown`](crate::retry::Failure::RegionDown), and has to be asked before the attempt
/// is cancelled. What must not be done twice waits on.
pub fn should_leave(upstream: (&Upstream, &LiveUpstream), ask: &Ask, position: u8) -> bool {
    let (wanted, observed) = upstream;
    if !in_trouble(&observed.regions[usize::from(position)].cell) {
        return false;
    }
    let region = wanted.regions[usize::from(position)].region;
    let eligibility = ask.confined(ask.eligibility_of_retry(wanted, observed), region);
    let view = View::of(wanted, observed, &TriedEndpoints::default(), Turn::Retry);
    let mut others = view.rows.iter().filter(|row| row.position != position);
    others.any(|row| !row.standing.suspected && steer::exclusion(row, &eligibility).is_none())
}

fn in_trouble(region: &RegionCell) -> bool {
    let standing = region.standing();
    standing.suspected || standing.health == Health::Unhealthy || region.drain() == Drain::Now
}
