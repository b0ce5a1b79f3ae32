//! An attempt waits in a region that falls silent or goes down: what is done about it, in stages.
//!
//! Silence may be a false alarm, and giving up an attempt throws away its connection and the work
//! that was under way. So what is safe is first asked in another region *as well* (`hedge`), and only
//! when the region is out an attempt is given up and made elsewhere at once. What may have been
//! processed and must not be done twice waits on. An attempt is never given up before the next one
//! is decided and paid for: better late than lost.

use tidegate_core::Health;
use tidegate_core::choose::should_leave;
use tidegate_core::retry::{self, Failure, NextTry, Phase};

use crate::attempt::{EndedBy, Fault, Place};
use crate::clock::now;
use crate::pipeline::Serving;

/// What has become of the region of an attempt that waits, if it could wait elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing, or there is no better place.
    None,
    /// It has fallen silent.
    Silent,
    /// It is out.
    Out,
}

impl Serving {
    /// Whether something has become of some region since `heard`, which is brought up to date.
    pub(crate) fn hears_news(&self, heard: &mut u64) -> bool {
        let news = self.context.worker.news();
        std::mem::replace(heard, news) != news
    }

    /// What has become of the region of an attempt that waits.
    pub(crate) fn trouble(&self, place: Place) -> Trouble {
        let upstream = self.route().upstream;
        if !should_leave(&self.bound.live, upstream, &self.ask, place.position) {
            return Trouble::None;
        }
        let region = &self.upstream().1.regions[usize::from(place.position)];
        match region.cell.health() {
            Health::Unhealthy => Trouble::Out,
            _ => Trouble::Silent,
        }
    }

    /// Pays for an attempt elsewhere, beside or instead of one that waits. None if it has to wait on.
    pub(crate) fn pay_to_leave(&self, place: Place, phase: Phase) -> Option<NextTry> {
        let (upstream, live) = self.upstream();
        let situation = self.situation(Failure::RegionDown, phase);
        let reach = self.reach(place);
        retry::leave(&upstream.retry, &situation, reach, &live.budget, now()).ok()
    }

    /// Gives up an attempt that waits in trouble, if it may be made elsewhere.
    pub(crate) fn leave(&self, place: Place, phase: Phase) -> Option<EndedBy> {
        let next = match self.trouble(place) {
            Trouble::None => return None,
            Trouble::Silent | Trouble::Out => self.pay_to_leave(place, phase)?,
        };
        let fault = given_up(phase);
        Some(EndedBy::Left { next, fault })
    }
}

/// What is noted of an attempt that was given up.
pub(crate) fn given_up(phase: Phase) -> Fault {
    let detail = "its region went down while it waited".to_owned();
    Fault::of(Failure::RegionDown, phase, detail)
}
