//! The life of a request, top to bottom: admit, choose, attempt, judge, commit.
//!
//! Every attempt is chosen anew from the board of that moment, so residency, health and drain hold
//! for the last try as for the first. Whether there is another try is decided by data alone
//! (`core::retry`); this file only carries out what was decided.

mod commit;

use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use tidegate_core::choose::{Ask, Choice, choose_into, reach};
use tidegate_core::decision::Decision;
use tidegate_core::plan::{Route, Upstream};
use tidegate_core::retry::{
    Failure, NextTry, Phase, Reach, Situation, Verdict, WhyNot, next_try, replay_scope, verdict,
};
use tidegate_core::{LiveUpstream, Termination};

use crate::action;
use crate::admit::{Admitted, Turned, admit};
use crate::affinity::Brought;
use crate::answer::Answer;
use crate::attempt::{Answered, Ended, Failed, Place};
use crate::body::{ReplayBody, Upload};
use crate::clock::now;
use crate::context::Context;
use crate::deadline::Allowance;
use crate::finish::Finish;
use crate::gather::replay_body;
use crate::head::{RequestHead, ResponseHead};
use crate::keys;
use crate::mirror;
use crate::problem;
use crate::request_id::RequestId;
use crate::resume::Part;
use crate::tap;
use crate::wheel::Timer;
use crate::worker::Bound;

/// A request as the protocol modules hand it over.
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) upload: Upload,
    /// Whether a body follows the head.
    pub(crate) has_body: bool,
}

/// The client while it waits for its answer.
pub(crate) trait Client {
    /// Passes an interim (1xx) head on.
    fn interim(&mut self, head: &ResponseHead);

    /// Says `100 Continue` in our own name.
    fn send_continue(&mut self);

    /// Moves on what was passed on. Failures show in `poll_gone`.
    fn poll_flush(&mut self, cx: &mut TaskContext<'_>);

    /// Ready once the client is known to have gone away.
    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()>;
}

/// Serves one request. Whatever happens there is an answer; whoever writes it ends its `finish`.
pub(crate) async fn serve<C: Client>(
    context: &Rc<Context>,
    request: Request,
    client: &mut C,
) -> Box<Answer> {
    let id = request_id(context, &request.head);
    let mut finish = Finish::begin(context, &request.head, &id);
    let admitted = admit(context, &request, finish.lot());
    if context.worker.shared.tap.is_open() {
        tap::show(context, &request.head, &admitted);
    }
    match admitted {
        Ok((admitted, bound)) => {
            Serving::new(context, (admitted, bound), request, id, finish)
                .run(client)
                .await
        }
        Err(Turned::Refused(refusal, met)) => {
            finish.refused(Some(&request.head), &refusal, met);
            problem::answer(context, id, finish, refusal)
        }
        Err(Turned::Replied(replied)) => {
            let head = &request.head;
            action::answer(
                context,
                &keys::Parts { context, head },
                id,
                finish,
                &replied,
            )
        }
    }
}

fn request_id(context: &Context, head: &RequestHead) -> RequestId {
    let given = || {
        let name = http::HeaderName::from_static("x-request-id");
        RequestId::given(head.field(tidegate_http1::Known::XRequestId, &name)?)
    };
    let given = if context.words.trusted() {
        given()
    } else {
        None
    };
    given.unwrap_or_else(|| RequestId::make(&mut context.worker.rng.borrow_mut()))
}

/// A request between admission and commit. Boxed, because it is handed on.
pub(crate) struct Serving {
    pub(crate) context: Rc<Context>,
    pub(crate) admitted: Admitted,
    pub(crate) head: RequestHead,
    pub(crate) body: ReplayBody,
    pub(crate) id: RequestId,
    pub(crate) finish: Box<Finish>,
    pub(crate) timer: Timer,
    /// When the answer's head must be there. The route's own time counts once the body is read: a
    /// slow client's time is not the upstream's.
    pub(crate) deadline: Option<Instant>,
    /// What the deadline is made of.
    pub(crate) allowance: Allowance,
    /// Whether the client was told to continue.
    pub(crate) continued: bool,
    /// Whether the last failure was that of an old idle connection.
    pub(crate) stale: bool,
    /// Whether a hedge was sent for it.
    pub(crate) hedged: bool,
    /// Where the next attempt goes, if that was chosen before the last one was given up.
    pub(crate) chosen: Option<Choice>,
    /// Whether an attempt was given up whose cancellation must be on its way before the next is sent.
    pub(crate) cancelled: bool,
    pub(crate) ask: Ask,
    /// What it brought of the cookie that keeps clients at their places.
    pub(crate) brought: Brought,
    /// What is asked for instead of what the client asked for, once an answer has broken off.
    pub(crate) part: Option<Box<Part>>,
    pub(crate) attempts: u8,
}

impl Serving {
    fn new(
        context: &Rc<Context>,
        (admitted, bound): (Admitted, Rc<Bound>),
        request: Request,
        id: RequestId,
        mut finish: Box<Finish>,
    ) -> Box<Self> {
        let at = now();
        finish.admitted(&admitted);
        finish.sample(context, &request.head);
        let route = &admitted.route.route;
        let framing = request.head.framing(request.has_body);
        let mut body = replay_body(context, &admitted, request.upload, framing);
        let of = (&id, finish.lot());
        mirror::begin(context, (&admitted, &bound), &request.head, of, &mut body);
        drop(bound);
        let trusted = context.words.trusted();
        let allowance = Allowance::new(&request.head, admitted.dialect, route, trusted, at);
        let mut serving = Box::new(Self {
            // First, because it looks at what is moved below; in its place, because it is large.
            ask: keys::ask(context, &request.head, &admitted, at),
            timer: context.worker.wheel.timer_in_region(),
            context: context.clone(),
            admitted,
            head: request.head,
            body,
            id,
            finish,
            deadline: allowance.head_by(),
            allowance,
            continued: false,
            stale: false,
            hedged: false,
            chosen: None,
            cancelled: false,
            brought: Brought::Nothing,
            part: None,
            attempts: 0,
        });
        if let Some(bonds) = &serving.admitted.upstream.bonds {
            serving.brought = bonds.read(&serving.head, &mut serving.ask);
        }
        if serving.body.is_read() {
            serving.time_runs(at);
        }
        serving
    }

    pub(crate) fn route(&self) -> &Route {
        &self.admitted.route.route
    }

    pub(crate) fn upstream(&self) -> (&Upstream, &LiveUpstream) {
        self.admitted.upstream.parts()
    }

    async fn run<C: Client>(mut self: Box<Self>, client: &mut C) -> Box<Answer> {
        if self.admitted.acts.is_some()
            && let Some(early) = self.inject(client).await
        {
            return self.end_early(early);
        }
        self.deposit();
        if self.is_gathered()
            && let Err(termination) = self.gather(client).await
        {
            return self.fail(termination);
        }
        loop {
            let choice = match self.choose() {
                Ok(choice) => choice,
                Err(termination) => return self.fail(termination),
            };
            let failed = match self.attempt(choice, client).await {
                Ok(answered) => match self.failure_of(&answered) {
                    None => return self.commit(answered, None),
                    Some(failure) => Failed::by_answer(failure, answered),
                },
                Err(Ended::Failed(failed)) => failed,
                Err(Ended::Client(termination)) => return self.fail(termination),
            };
            if let Err(why) = self.move_on(&failed).await {
                return self.stop(failed, why);
            }
        }
    }

    /// The endpoint for the next attempt, or why there is none.
    pub(crate) fn choose(&mut self) -> Result<Choice, Termination> {
        if self.is_late() {
            return Err(Termination::DeadlineExceeded);
        }
        if let Some(choice) = self.chosen.take() {
            return Ok(choice);
        }
        let mut decision = Decision::default();
        let choice = self.look(&mut decision);
        let chosen = choice.ok_or_else(|| decision.termination());
        self.decided(decision);
        chosen
    }

    /// What the next attempt would be, with the decision in its place. No attempt follows of it until it is
    /// [`decided`](Self::decided).
    #[inline(always)]
    pub(crate) fn look(&mut self, decision: &mut Decision) -> Option<Choice> {
        self.ask.now = now();
        self.ask.deadline = self.deadline;
        self.ask.repeatable = self.is_repeatable();
        if self.finish.is_noted() {
            return self.look_noting(decision);
        }
        let mut rng = self.context.worker.rng.borrow_mut();
        let seed = rng.get_seed();
        let sets = &self.admitted.upstream.sets;
        let chosen = choose_into(decision, self.upstream(), sets, &self.ask, &mut rng);
        drop(rng);
        if chosen.is_none() && self.finish.may_note() {
            // What nobody may take is always told in full: it is looked at once more.
            self.take_notes();
            return self.look_noting(decision);
        }
        self.finish.drew(seed);
        chosen
    }

    /// Enters a decision; an attempt follows if it has a candidate.
    #[inline(always)]
    pub(crate) fn decided(&mut self, decision: Decision) {
        self.count_passed_over(&decision);
        let attempts = u8::from(!decision.candidates.is_empty());
        self.finish.decided(decision);
        self.attempts = self.attempts.saturating_add(attempts);
    }

    /// Whether the next attempt, should it fail, can be made again in another region.
    fn is_repeatable(&self) -> bool {
        let twice = !self.admitted.idempotency.is_once();
        let left = self.upstream().0.retry.attempts > self.attempts.saturating_add(1);
        twice && left && self.body.stays_kept()
    }

    /// An answer whose status, or code of gRPC, the policy counts as a failure is one.
    fn failure_of(&mut self, answered: &Answered) -> Option<Failure> {
        let status = answered.head.status().as_u16();
        if self.upstream().0.retry.on.lists(status) {
            return Some(Failure::Status(status));
        }
        let code = self.failed_code(answered)?;
        self.finish.grpc_failed(code);
        Some(Failure::Grpc(code))
    }

    /// Prepares another attempt: verdict, budget, backoff. An error says why there is none.
    async fn move_on(&mut self, failed: &Failed) -> Result<(), WhyNot> {
        self.take_notes();
        let next = match failed.decided {
            Some(Ok(next)) => {
                self.enter_try(failed);
                next
            }
            Some(Err(why)) => return Err(why),
            None => self.pay(failed)?,
        };
        self.ask
            .follow(&next, failed.place.region, failed.place.position);
        self.finish.retried(&next);
        self.body.rewind();
        let wait = next.wait(&mut self.context.worker.rng.borrow_mut());
        self.back_off(wait).await;
        Ok(())
    }

    fn pay(&mut self, failed: &Failed) -> Result<NextTry, WhyNot> {
        let situation = Situation {
            retry_after: failed.retry_after(),
            ..self.situation(failed.failure, failed.phase)
        };
        self.enter_try(failed);
        self.pay_next(failed.place, &situation)
    }

    /// The attempt that follows one at `place`, where the request stands so, and the token for it.
    pub(crate) fn pay_next(&self, place: Place, situation: &Situation) -> Result<NextTry, WhyNot> {
        let (upstream, live) = self.upstream();
        match verdict(&upstream.retry, situation) {
            Verdict::Retry(scope) => {
                let reach = self.reach(place);
                next_try(&upstream.retry, situation, scope, reach).pay(&live.budget, now())
            }
            Verdict::Stop(why) => Err(why),
        }
    }

    /// What is left to try after an attempt there.
    pub(crate) fn reach(&self, place: Place) -> Reach {
        let ask = Ask {
            now: now(),
            deadline: self.deadline,
            ..self.ask.clone()
        };
        reach(self.upstream(), &ask, place.position)
    }

    /// An endpoint that failed is not asked again, unless only an old idle connection of it did.
    pub(crate) fn enter_try(&mut self, failed: &Failed) {
        self.stale = failed.stale;
        if !failed.stale {
            self.enter_place(failed.place);
        }
    }

    /// Where the request stands if its attempt ends so.
    pub(crate) fn situation(&self, failure: Failure, phase: Phase) -> Situation {
        let at = now();
        let left = self.deadline.map_or(self.route().timeout, |deadline| {
            deadline.saturating_duration_since(at)
        });
        Situation {
            failure,
            phase,
            idempotency: self.admitted.idempotency,
            body: self.body.state(),
            scope: replay_scope(self.route().replay_scope, self.admitted.idempotency),
            retry_after: None,
            attempts: self.attempts,
            left,
        }
    }

    /// No other attempt: the upstream's own answer if it gave one, else a problem document.
    fn stop(mut self: Box<Self>, failed: Failed, why: WhyNot) -> Box<Answer> {
        self.take_notes();
        self.finish.refused_retry(why);
        let termination = match self.is_out_of_time() {
            true if failed.answered.is_none() => Termination::DeadlineExceeded,
            _ => failed.termination(why),
        };
        match failed.answered {
            Some(answered) => self.commit(*answered, Some(termination)),
            None => self.fail(termination),
        }
    }
}
