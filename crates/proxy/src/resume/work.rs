//! The attempts that are made for the rest of an answer.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidegate_core::limits::Turn;
use tidegate_core::resume::{self, Misfit, Representation, Span};
use tidegate_core::retry::{Destination, Failure, NextTry, Phase, WhyNot};
use tidegate_core::{Ask, RegionSet, Termination};
use tidegate_telemetry::labels::{Label, ResumeResult};

use super::facts;
use crate::attempt::{Answered, Ended, Failed, Place};
use crate::clock::now;
use crate::head::ResponseHead;
use crate::pipeline::{Client, Serving};

/// Where a request lies that was lent.
pub(super) type Slot = Rc<Cell<Option<Box<Serving>>>>;

/// A request, lent to work that may be dropped at any time: it goes back to its slot by itself.
pub(super) struct Loan {
    slot: Slot,
    serving: Option<Box<Serving>>,
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
        next: NextTry,
    ) -> Result<Answered, GaveUp> {
        match &mut self.serving {
            Some(serving) => serving.resume(what, span, next).await,
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
    /// Counts attempts from one again, as if nothing had been tried: there was progress.
    pub(super) fn count_anew(&mut self, at: Instant) {
        self.attempts = 1;
        self.ask = Ask {
            within: self.ask.within,
            turn: Turn::Retry,
            ..Ask::new(self.ask.allowed, at)
        };
    }

    /// The time for a resume runs from now: as long as a head may take, or a body may stand still.
    pub(super) fn run_anew(&mut self, at: Instant) {
        let route = self.route();
        let by = at + route.timeout.min(route.idle_timeout);
        self.allowance = self.allowance.for_the_rest(by);
        self.deadline = self.allowance.head_by();
    }

    /// The endpoint there is not asked again while there are others.
    pub(super) fn enter_place(&mut self, place: Place) {
        self.ask
            .tried_endpoints
            .insert(place.position, place.set_version, place.at);
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

    /// Where the rest is asked for after a failure at `place`, paid for and entered.
    pub(super) fn next_resume(
        &mut self,
        failure: Failure,
        place: Place,
    ) -> Result<NextTry, WhyNot> {
        let (upstream, live) = self.upstream();
        let situation = self.situation(failure, Phase::BodyUnderWay);
        let reach = self.reach(place);
        let next = resume::next(&upstream.retry, &situation, reach, &live.budget, now())?;
        self.ask.follow(&next, place.region, place.position);
        Ok(next)
    }

    /// Makes attempts until one has exactly `span` of `what`, the first by the way `next`.
    async fn resume(
        &mut self,
        what: &Representation,
        span: Span,
        mut next: NextTry,
    ) -> Result<Answered, GaveUp> {
        let mut gave_up = GaveUp::failed("");
        loop {
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
                        let next = self.mismatched(answered, misfit);
                        next.map_err(|_| misfit.word())
                    }
                },
                Err(Ended::Failed(failed)) => self.next_after(&failed).map_err(Label::word),
                Err(Ended::Client(termination)) => {
                    return Err(gave_up.because(termination.as_str()));
                }
            };
            next = after.map_err(|why| gave_up.because(why))?;
        }
    }

    fn next_after(&mut self, failed: &Failed) -> Result<NextTry, WhyNot> {
        self.enter_try(failed);
        match failed.decided {
            // What was given up for it goes there at once, and has been entered.
            Some(decided) => decided.map(|next| NextTry {
                backoff: Duration::ZERO,
                ..next
            }),
            None => self.next_resume(failed.failure, failed.place),
        }
    }

    /// The answer is none that goes on: a place that has something else is not asked again.
    fn mismatched(&mut self, mut answered: Answered, misfit: Misfit) -> Result<NextTry, WhyNot> {
        let place = answered.place;
        tracing::debug!(%misfit, region = self.finish.region().as_deref(), "no resume here");
        answered.exchange.cancel();
        self.finish.attempt_mismatched(now());
        self.enter_place(place);
        if misfit.is_lasting() {
            let others = self.ask.allowed.iter();
            self.ask.allowed =
                RegionSet::from_iter(others.filter(|region| *region != place.region));
        }
        let status = answered.head.status().as_u16();
        self.next_resume(Failure::Status(status), place)
    }
}

impl GaveUp {
    fn because(&self, why: &'static str) -> Self {
        Self { why, ..*self }
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
