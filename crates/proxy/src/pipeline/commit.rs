//! What a request comes to: the upstream's answer is handed on, or a problem takes its place.
//!
//! From here on nothing is tried again. What the answer still needs of the request goes with its body,
//! and the account of it with whoever writes it, so that a request under way holds no more than it uses.

use std::sync::Arc;

use tidegate_core::Termination;
use tidegate_core::pins::Hold;
use tidegate_core::plan::Fallback;
use tidegate_core::resume::Transfer;
use tidegate_core::retry::{Failure, Phase, WhyNot};

use super::Serving;
use crate::action::fields::{AnswerEdits, Words};
use crate::answer::{Answer, AnswerHead, AnswerWords};
use crate::attempt::{Answered, Failed, Place};
use crate::download::{Download, Flow};
use crate::exchange::Exchange;
use crate::finish::Finish;
use crate::head::ResponseHead;
use crate::hold::Ahead;
use crate::homing::Homing;
use crate::problem;
use crate::resume::{self, Resumable};
use crate::tunnel::Tunnel;

impl Serving {
    /// The answer's head goes to the client: from here on nothing is tried again, but an answer that
    /// breaks off may be continued.
    pub(super) fn commit(
        mut self: Box<Self>,
        answered: Answered,
        passed: Option<Termination>,
    ) -> Box<Answer> {
        let status = answered.head.status();
        let transfer = resume::transfer(&self, &answered);
        self.settle_body();
        self.finish.committed(status, passed, answered.in_flight);
        self.finish.holds(match (&answered.tunnel, &transfer) {
            (Some(_), _) => Hold::Tunnel,
            (None, Some(_)) => Hold::Resumable,
            (None, None) => Hold::Answer,
        });
        let mut words = self.words();
        let place = answered.place;
        words.set_cookie = self.bind(place, &answered.head, passed);
        let (tunnel, body, finish) = match answered.tunnel {
            Some(upstream) => {
                let homing = Homing::begin(&self, place, None);
                let protocol = self.head.upgrade().unwrap_or_default();
                let tunnel = Tunnel {
                    upstream,
                    homing,
                    ends: self.allowance.ends(),
                    websocket: protocol.eq_ignore_ascii_case("websocket"),
                };
                (Some(tunnel), Download::empty(), self.finish)
            }
            None => {
                let homing = self.homing(place, &answered.head);
                let (ends, call) = (self.allowance.ends(), self.call(&answered.head));
                let (ahead, exchange) = (answered.ahead, answered.exchange);
                let (mut body, finish) = self.download(place, ahead, exchange, transfer);
                body.ends_by(homing, ends);
                body.answers(call);
                (None, body, finish)
            }
        };
        Box::new(Answer {
            status,
            head: AnswerHead::Upstream(answered.head),
            body,
            tunnel,
            words,
            finish,
        })
    }

    /// The body of an answer, beside which the request is kept if it can be continued; and the account.
    fn download(
        mut self: Box<Self>,
        place: Place,
        ahead: Ahead,
        exchange: Exchange,
        transfer: Option<Transfer>,
    ) -> (Download, Box<Finish>) {
        let idle = self.route().idle_timeout;
        let upstream = self.admitted.upstream.clone();
        let region = &upstream.live.regions[usize::from(place.position)].cell;
        let Some(transfer) = transfer else {
            let body = Download::relay(ahead, exchange, self.body, self.timer, idle, region);
            return (body, self.finish);
        };
        let flow = Flow::new(ahead, exchange, region);
        let timer = self.context.worker.wheel.timer();
        let closed = Finish::closed(&self.context);
        let finish = std::mem::replace(&mut self.finish, closed);
        let body = Resumable::new(self, place, flow, transfer);
        (Download::resumable(body, timer, idle), finish)
    }

    /// A body whose end is not in sight may have to go home before it.
    fn homing(&self, place: Place, head: &ResponseHead) -> Option<Box<Homing>> {
        match head.announced_length() {
            None => Homing::begin(self, place, Some(head)),
            Some(_) => None,
        }
    }

    pub(crate) fn fail(mut self: Box<Self>, termination: Termination) -> Box<Answer> {
        if termination.lost() {
            self.take_notes();
        }
        self.settle_body();
        let refusal = problem::Refusal::new(termination, self.finish.detail());
        let refusal =
            refusal.outcome_unknown(self.finish.outcome_unknown(self.admitted.idempotency));
        let refusal = refusal.spoken(self.admitted.dialect);
        let refusal = refusal.or_fallback(self.fallback());
        self.finish.failed(termination);
        self.count_lost(termination);
        let words = self.words();
        problem::local(refusal, words, self.finish)
    }

    /// What is answered when no region serves. Who wants to switch protocols would take it for consent.
    fn fallback(&self) -> Option<&Arc<Fallback>> {
        let fallback = self.upstream().0.steering.panic.fallback.as_ref();
        fallback.filter(|_| !self.admitted.upgrade)
    }

    pub(crate) fn words(&mut self) -> AnswerWords {
        let reveal = self.route().reveal;
        let region = || self.finish.region();
        AnswerWords {
            request_id: self.id.clone(),
            pop: self.admitted.route.pop.clone(),
            region: reveal.region.then(region).flatten(),
            attempts: reveal.attempts.then_some(self.attempts),
            server_timing: reveal.server_timing.then(|| self.finish.server_timing()),
            set_cookie: None,
            edits: self.answer_edits(),
        }
    }

    /// What is edited of the answer, if anything is.
    fn answer_edits(&self) -> Option<Box<AnswerEdits>> {
        self.admitted.acts.as_ref()?;
        let region = self.finish.answered_from();
        self.field_words(region).of_answer()
    }

    /// What values of fields can hold.
    pub(crate) fn field_words<'a>(&'a self, region: Option<&'a str>) -> Words<'a> {
        Words {
            context: &self.context,
            head: &self.head,
            id: &self.id,
            route: &self.admitted.route,
            upstream: Some(&self.admitted.upstream),
            region,
        }
    }
}

impl Failed {
    /// The reason for which the request ends when this failure is the last.
    pub(super) fn termination(&self, why: WhyNot) -> Termination {
        match (why, self.failure) {
            (WhyNot::Budget, _) if self.answered.is_none() => Termination::BudgetExhausted,
            (WhyNot::Deadline, _) if self.answered.is_none() => Termination::DeadlineExceeded,
            (_, Failure::Connect | Failure::ConnectTimeout | Failure::Refused) => {
                Termination::ConnectFailed
            }
            (_, Failure::Full) => Termination::UpstreamFull,
            (_, Failure::Reset) => Termination::UpstreamReset,
            (_, Failure::Timeout) => Termination::UpstreamTimeout,
            (_, Failure::RegionDown) if self.phase < Phase::Sent => Termination::NoHealthyRegion,
            // It was sent, and no answer came: nobody knows.
            (_, Failure::RegionDown) => Termination::UpstreamTimeout,
            (_, Failure::BadResponse) => Termination::BadResponse,
            (_, Failure::Status(_) | Failure::Grpc(_)) => Termination::StatusPassed,
        }
    }
}
