//! An attempt waits in a region that falls silent or goes down: what is done about it, in stages.
//!
//! Silence may be a false alarm, and giving up an attempt throws away its connection and the work
//! that was under way. So what is safe is first asked in another region *as well* (`hedge`), and only
//! when the region is declared down, or an operator wants it emptied now, an attempt is given up and
//! made elsewhere at once. An attempt is never given up before the next one is chosen, has room and is
//! paid for: what finds none stays, and asks again soon. What may have been processed and must not be
//! done twice waits on, or fails, as `on_unknown_outcome` says.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tidegate_core::cell::Drain;
use tidegate_core::choose::{Choice, should_leave};
use tidegate_core::plan::UnknownOutcome;
use tidegate_core::retry::{
    self, Destination, Failure, NextTry, Phase, Scope, Situation, Verdict, WhyNot, verdict,
};
use tidegate_core::{Decision, Health};

use crate::attempt::{EndedBy, Fault, Place};
use crate::clock::now;
use crate::patience::Patience;
use crate::pipeline::Serving;

/// What has become of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// It has fallen silent.
    Silent,
    /// It is declared down, or to be emptied.
    Out,
}

/// What an attempt that waits in trouble does about it.
pub(crate) enum Leave {
    /// It is given up.
    Now(EndedBy),
    /// It stays, and asks again soon.
    Later,
    /// It stays.
    Never,
}

/// What becomes of an attempt whose own time is over.
pub(crate) enum Overdue {
    /// It is given up for this one.
    Next(NextTry),
    /// It has all the time of its request: it would be given up for nothing.
    Stay,
    /// It ends.
    End,
}

impl Serving {
    /// Whether something has become of some region since `heard`, which is brought up to date.
    pub(crate) fn hears_news(&self, heard: &mut u64) -> bool {
        let news = self.context.worker.news();
        std::mem::replace(heard, news) != news
    }

    /// What has become of the region of an attempt that waits.
    pub(crate) fn trouble(&self, place: Place) -> Trouble {
        self.trouble_at(usize::from(place.position))
    }

    fn trouble_at(&self, position: usize) -> Trouble {
        let cell = &self.upstream().1.regions[position].cell;
        let standing = cell.standing();
        match () {
            () if standing.health == Health::Unhealthy => Trouble::Out,
            () if cell.drain() == Drain::Now => Trouble::Out,
            () if standing.suspected => Trouble::Silent,
            () => Trouble::None,
        }
    }

    fn is_down(&self, place: Place) -> bool {
        let cell = &self.upstream().1.regions[usize::from(place.position)].cell;
        cell.health() == Health::Unhealthy
    }

    /// Whether an attempt that waits there could wait in a better place.
    pub(crate) fn has_better(&self, place: Place) -> bool {
        should_leave(self.upstream(), &self.ask, place.position)
    }

    /// What an attempt does that waits there in this phase.
    pub(crate) fn leave(&mut self, place: Place, phase: Phase) -> Leave {
        if self.trouble(place) == Trouble::None {
            return Leave::Never;
        }
        let situation = self.situation(Failure::RegionDown, phase);
        match verdict(&self.upstream().0.retry, &situation) {
            Verdict::Retry(Scope::Global) => self.leave_if_there_is_room(place, phase),
            Verdict::Retry(Scope::Region) => {
                self.end_if_unknown(place, &situation, WhyNot::NoCandidate)
            }
            Verdict::Stop(why) => self.end_if_unknown(place, &situation, why),
        }
    }

    fn leave_if_there_is_room(&mut self, place: Place, phase: Phase) -> Leave {
        // A purse that is shut never pays: nothing is worth asking for again and again.
        if self.upstream().0.retry.cross_region_budget <= 0.0 {
            return Leave::Never;
        }
        if !self.has_better(place) {
            // Of a better place everybody hears; of room nobody does.
            return match self.reach(place).full_elsewhere {
                true => Leave::Later,
                false => Leave::Never,
            };
        }
        let Some((next, choice)) = self.move_from(place, phase) else {
            return Leave::Later;
        };
        self.chosen = Some(choice);
        self.cancelled = phase > Phase::Connecting;
        Leave::Now(EndedBy::GivenUp {
            fault: given_up(phase),
            next: Ok(next),
        })
    }

    /// Nobody will learn what became of the request, if its region is down: with
    /// `on_unknown_outcome: fail` nobody waits for that.
    fn end_if_unknown(&self, place: Place, situation: &Situation, why: WhyNot) -> Leave {
        let policy = &self.upstream().0.retry;
        let fails = policy.on_unknown_outcome == UnknownOutcome::Fail;
        match fails && retry::leaves_unknown(situation, why) && self.is_down(place) {
            true => Leave::Now(EndedBy::GivenUp {
                fault: given_up(situation.phase),
                next: Err(why),
            }),
            false => Leave::Never,
        }
    }

    /// What follows an attempt whose own time is over: another one that is decided and paid for, or
    /// more time. In a region that is down, what may be asked again by its client ends.
    pub(crate) fn time_is_over(&mut self, place: Place, phase: Phase) -> Overdue {
        self.enter_place(place);
        let situation = self.situation(Failure::Timeout, phase);
        match self.pay_next(place, &situation) {
            Ok(next) => {
                self.cancelled = true;
                Overdue::Next(next)
            }
            Err(why) if self.stays(place, &situation, why) => Overdue::Stay,
            Err(_) => Overdue::End,
        }
    }

    /// Whether an attempt stays that has run out of its own time, if nothing follows it for this reason.
    fn stays(&self, place: Place, situation: &Situation, why: WhyNot) -> bool {
        let outlasts = |situation: &Situation| {
            retry::outlasts(&self.upstream().0.retry, situation, self.reach(place))
        };
        match self.is_down(place) {
            true => outlasts(&Situation {
                failure: Failure::RegionDown,
                ..*situation
            }),
            false => matches!(why, WhyNot::Budget | WhyNot::RetriesFull) || outlasts(situation),
        }
    }

    /// An attempt that found no room elsewhere asks again soon.
    pub(crate) fn ask_again(&self, patience: &mut Patience) {
        let draw = self.context.worker.rng.borrow_mut().f64();
        patience.again(draw, &self.timer);
    }

    /// Chooses and pays for an attempt in another region, beside or instead of one that waits in
    /// trouble; only then anything is entered. None if there is no better place, no room there, or no
    /// token.
    pub(crate) fn move_from(&mut self, place: Place, phase: Phase) -> Option<(NextTry, Choice)> {
        if !self.has_better(place) {
            return None;
        }
        let (situation, reach) = (
            self.situation(Failure::RegionDown, phase),
            self.reach(place),
        );
        let elsewhere = NextTry::at_once(Destination::OtherRegion, Scope::Global);
        self.try_way(&elsewhere, place, |serving, _| {
            let (upstream, live) = serving.upstream();
            retry::leave(&upstream.retry, &situation, reach, &live.budget, now()).is_ok()
        })
    }

    /// Enters that the next attempt goes the way `next` after or beside one at `place`, if there is an
    /// endpoint with room and `pays` says so of it. Else nothing has changed.
    pub(crate) fn try_way(
        &mut self,
        next: &NextTry,
        place: Place,
        pays: impl FnOnce(&Self, &Choice) -> bool,
    ) -> Option<(NextTry, Choice)> {
        self.take_notes();
        let before = self.ask.clone();
        self.ask.follow(next, place.region, place.position);
        let mut decision = Decision::default();
        let choice = self.look(&mut decision);
        match choice.filter(|choice| self.has_room(choice) && pays(self, choice)) {
            Some(choice) => {
                self.decided(decision);
                Some((*next, choice))
            }
            None => {
                self.ask = before;
                None
            }
        }
    }

    fn has_room(&self, choice: &Choice) -> bool {
        let upstream = &self.admitted.upstream;
        let target = upstream.target(choice.position, choice.endpoint());
        self.context.worker.pool.has_room(&target)
    }

    /// The wait before another attempt, which ends early if the region where that was to be made is no
    /// place any more.
    pub(crate) async fn back_off(&self, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        let mut heard = self.context.worker.news();
        self.timer.set(now() + wait);
        poll_fn(|cx| {
            if self.hears_news(&mut heard) && self.stays_in_trouble() {
                return Poll::Ready(());
            }
            self.timer.poll_expired(cx)
        })
        .await;
    }

    fn stays_in_trouble(&self) -> bool {
        let mut regions = self.upstream().0.regions.iter();
        let Some(stay) = self.ask.stay else {
            return false;
        };
        let position = regions.position(|spec| spec.region == stay);
        position.is_some_and(|position| self.trouble_at(position) != Trouble::None)
    }
}

/// What is noted of an attempt that was given up.
pub(crate) fn given_up(phase: Phase) -> Fault {
    let detail = "its region went down while it waited".to_owned();
    Fault::of(Failure::RegionDown, phase, detail)
}
