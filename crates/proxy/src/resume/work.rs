//! The attempts that are made for the rest of an answer.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidegate_core::choose::TriedEndpoints;
use tidegate_core::limits::Turn;
use tidegate_core::resume::{self, Misfit, Representation, Span};
use tidegate_core::retry::{Destination, Failure, NextTry, Phase, WhyNot};
use tidegate_core::{Ask, RegionIdx, RegionSet, Termination};
use tidegate_telemetry::labels::{Label, ResumeResult};

use super::facts;
use crate::attempt::{Answered, Ended, Failed, Place};
use crate::clock::now;
use crate::head::ResponseHead;
use crate::pipeline::{Client, Serving};

/// Who finds no token asks again after so long, more or less.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Where a request lies that was lent.
pub(super) type Slot = Rc<Cell<Option<Box<Serving>>>>;

/// A request, lent to work that may be dropped at any time: it goes back to its slot by itself.
pub(super) struct Loan {
    slot: Slot,
    serving: Option<Box<Serving>>,
}

/// How attempts begin.
#[derive(Clone, Copy)]
pub(super) enum First {
    /// By this way, which is paid for and entered.
    By(NextTry),
    /// After this failure at this place, as soon as a way can be paid.
    Once(Failure, Place),
}

/// No place goes on with the answer.
pub(super) struct GaveUp {
    pub(super) result: ResumeResult,
    /// The word for logs.
    pub(super) why: &'static str,
    pub(super) ends: Termination,
}

impl Loan {
    pub(super) fn new(serving: Box<Serving>, slot: &Slot) -> Self {
        Self {
            slot: slot.clone(),
            serving: Some(serving),
        }
    }

    /// See [`Serving::resume`].
    pub(super) async fn resume(
        &mut self,
        what: &Representation,
        span: Span,
        first: First,
    ) -> Result<Answered, GaveUp> {
        match &mut self.serving {
            Some(serving) => serving.resume(what, span, first).await,
            None => Err(GaveUp::failed(WhyNot::NoCandidate.word())),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.slot.set(self.serving.take());
    }
}

impl GaveUp {
    fn failed(why: &'static str) -> Self {
        Self {
            result: ResumeResult::Failed,
            why,
            ends: Termination::UpstreamTruncated,
        }
    }
}

impl Serving {
    /// Counts attempts from one again: there was progress. Regions that this answer has left stay behind
    /// those that it has not: two sick ones must not pass it to and fro beside a well one.
    pub(super) fn count_anew(&mut self, at: Instant) {
        self.attempts = 1;
        self.ask = Ask {
            within: self.ask.within,
            tried_regions: self.ask.tried_regions,
            left: self.ask.left,
            turn: Turn::Retry,
            hash: self.ask.hash,
            isolation: self.ask.isolation,
            pin: self.ask.pin,
            sticky: self.ask.sticky,
            prefer: self.ask.prefer,
            origin: self.ask.origin,
            ..Ask::new(self.ask.allowed, at)
        };
    }

    /// A download may outlive the plan under which it began: what the newest one has taken from its route,
    /// or has no more, is no place for the rest. A route that is no more forbids nothing.
    pub(super) fn heed_newest_plan(&mut self) {
        let Some(newest) = self.context.worker.bound() else {
            return;
        };
        let (began, newest) = (&self.admitted.route, &newest.live);
        if began.generation == newest.generation {
            return;
        }
        let (newest, name) = (&newest.plan, &self.route().name);
        let Some(route) = newest.routes.iter().find(|route| route.name == *name) else {
            return;
        };
        let allowed = newest
            .regions
            .iter()
            .zip(0..)
            .filter(|(_, at)| route.allowed.contains(RegionIdx(*at)));
        let allowed: Vec<_> = allowed.map(|(region, _)| &region.name).collect();
        let own = began
            .regions
            .iter()
            .zip(0..)
            .filter(|(own, _)| allowed.contains(&&own.name));
        let own = own.map(|(_, at)| RegionIdx(at));
        self.ask.allowed = RegionSet::from_iter(own.filter(|own| self.ask.allowed.contains(*own)));
    }

    /// The time for a resume runs from now: as long as a head may take, or a body may stand still.
    pub(super) fn run_anew(&mut self, at: Instant) {
        let route = self.route();
        let by = at + route.timeout.min(route.idle_timeout);
        self.allowance = self.allowance.for_the_rest(by);
        self.deadline = self.allowance.head_by();
    }

    /// The endpoint there is not asked again while there are others.
    pub(crate) fn enter_place(&mut self, place: Place) {
        enter(&mut self.ask.tried_endpoints, place);
    }

    /// Chooses another place for the rest of a body that has stopped at `place`, and pays for it; only
    /// then anything is entered. None if there is none, no room there, or no token: what has stopped
    /// may still come.
    pub(super) fn leave_body(&mut self, place: Place) -> Option<NextTry> {
        let (upstream, live) = self.upstream();
        let situation = self.situation(Failure::Timeout, Phase::BodyUnderWay);
        let ways = resume::ways(&upstream.retry, &situation, self.reach(place)).ok()?;
        let budget = live.budget.clone();
        let other = |way: &&NextTry| way.to != Destination::SameEndpoint;
        let mut ways = ways.as_slice().iter().filter(other);
        let (next, choice) = ways
            .find_map(|way| self.try_way(way, place, |_, _| budget.withdraw(way.purse(), now())))?;
        self.chosen = Some(choice);
        self.cancelled = true;
        Some(NextTry {
            backoff: Duration::ZERO,
            ..next
        })
    }

    /// How attempts begin after a failure at `place`.
    pub(super) fn first_resume(&mut self, failure: Failure, place: Place) -> Result<First, WhyNot> {
        match self.next_resume(failure, place) {
            Ok(next) => Ok(First::By(next)),
            Err(why) if self.is_worth_waiting(failure, place, why) => {
                Ok(First::Once(failure, place))
            }
            Err(why) => Err(why),
        }
    }

    /// A region that dies under many long downloads asks for more tokens at once than the requests of
    /// the last seconds have left. Those who find none wait: late is better than lost.
    async fn next_once_paid(&mut self, failure: Failure, place: Place) -> Result<NextTry, WhyNot> {
        let mut missing = None;
        loop {
            match self.next_resume(failure, place) {
                Err(WhyNot::Deadline) => return Err(missing.unwrap_or(WhyNot::Deadline)),
                Err(why) if self.is_worth_waiting(failure, place, why) => missing = Some(why),
                next => return next,
            }
            let part = self.context.worker.rng.borrow_mut().f64();
            let wait = ASK_AGAIN.mul_f64(0.5 + part);
            let left = self.deadline.map(|by| by.saturating_duration_since(now()));
            self.back_off(left.map_or(wait, |left| left.min(wait)))
                .await;
        }
    }

    fn is_worth_waiting(&self, failure: Failure, place: Place, why: WhyNot) -> bool {
        let policy = &self.upstream().0.retry;
        let situation = self.situation(failure, Phase::BodyUnderWay);
        resume::is_worth_waiting(policy, &situation, self.reach(place), why)
    }

    /// Where the rest is asked for after a failure at `place`, paid for and entered.
    fn next_resume(&mut self, failure: Failure, place: Place) -> Result<NextTry, WhyNot> {
        let (upstream, live) = self.upstream();
        let situation = self.situation(failure, Phase::BodyUnderWay);
        let reach = self.reach(place);
        let next = resume::next(&upstream.retry, &situation, reach, &live.budget, now())?;
        self.ask.follow(&next, place.region, place.position);
        Ok(next)
    }

    /// Makes attempts until one has exactly `span` of `what`.
    async fn resume(
        &mut self,
        what: &Representation,
        span: Span,
        first: First,
    ) -> Result<Answered, GaveUp> {
        let mut gave_up = GaveUp::failed("");
        let next = match first {
            First::By(next) => Ok(next),
            First::Once(failure, place) => self.next_once_paid(failure, place).await,
        };
        let mut next = next.map_err(|why| gave_up.because(why.word()))?;
        loop {
            self.take_notes();
            self.finish.resuming(&next);
            let wait = next.wait(&mut self.context.worker.rng.borrow_mut());
            self.back_off(wait).await;
            let choice = match self.choose() {
                Ok(choice) => choice,
                Err(termination) => return Err(gave_up.because(termination.as_str())),
            };
            let after = match self.attempt(choice, &mut Downstream).await {
                Ok(answered) => match misfit(what, span, &answered.head) {
                    None => return Ok(answered),
                    Some(misfit) => {
                        gave_up.result = ResumeResult::Refused;
                        let next = self.mismatched(answered, misfit).await;
                        next.map_err(|_| misfit.word())
                    }
                },
                Err(Ended::Failed(failed)) => self.next_after(&failed).await.map_err(Label::word),
                Err(Ended::Client(termination)) => {
                    return Err(gave_up.because(termination.as_str()));
                }
            };
            next = after.map_err(|why| gave_up.because(why))?;
        }
    }

    async fn next_after(&mut self, failed: &Failed) -> Result<NextTry, WhyNot> {
        self.enter_try(failed);
        match failed.decided {
            // What was given up for it goes there at once, and has been entered.
            Some(decided) => decided.map(|next| NextTry {
                backoff: Duration::ZERO,
                ..next
            }),
            None => self.next_once_paid(failed.failure, failed.place).await,
        }
    }

    /// The answer is none that goes on: a place that has something else is not asked again.
    async fn mismatched(
        &mut self,
        mut answered: Answered,
        misfit: Misfit,
    ) -> Result<NextTry, WhyNot> {
        let place = answered.place;
        tracing::debug!(%misfit, region = self.finish.region().as_deref(), "no resume here");
        answered.exchange.cancel();
        self.finish.attempt_mismatched(misfit.to_string(), now());
        self.enter_place(place);
        if misfit.is_lasting() {
            // Not of what is allowed: logs would then say that residency forbids it.
            let others = self.ask.within.iter();
            self.ask.within = RegionSet::from_iter(others.filter(|region| *region != place.region));
        }
        let failure = Failure::Status(answered.head.status().as_u16());
        // Its connection and its place among what is under way are free while the next is waited for.
        drop(answered);
        self.next_once_paid(failure, place).await
    }
}

impl GaveUp {
    fn because(&self, why: &'static str) -> Self {
        Self { why, ..*self }
    }
}

/// Enters a place once: a body that has stopped is looked at again and again, and there is room for so
/// many only.
fn enter(tried: &mut TriedEndpoints, place: Place) {
    let known = tried.within(place.position, place.set_version);
    if !known.contains(place.at) {
        tried.insert(place.position, place.set_version, place.at);
    }
}

fn misfit(what: &Representation, span: Span, head: &ResponseHead) -> Option<Misfit> {
    match facts::of(head, false) {
        Some(facts) => what.continues(span, &facts).err(),
        None => Some(Misfit::Range),
    }
}

/// The client of an answer that breaks off: it has its head, and whoever writes to it notices that it
/// goes away.
struct Downstream;

impl Client for Downstream {
    fn interim(&mut self, _head: &ResponseHead) {}

    fn send_continue(&mut self) {}

    fn poll_flush(&mut self, _cx: &mut Context<'_>) {}

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::RegionIdx;
    use tidegate_core::choose::MAX_ATTEMPTS;
    use tidegate_core::decision::Because;

    use super::*;

    #[test]
    fn however_often_a_body_stops_its_place_is_entered_once() {
        let place = |at| Place {
            region: RegionIdx(0),
            position: 0,
            because: Because::Nearest,
            at,
            set_version: 1,
            bind: false,
        };
        let mut tried = TriedEndpoints::default();
        (0..2 * MAX_ATTEMPTS).for_each(|_| enter(&mut tried, place(3)));
        enter(&mut tried, place(4));
        let tried = tried.within(0, 1);
        assert!(tried.contains(3) && tried.contains(4) && !tried.contains(5));
    }
}
