//! An answer that breaks off is continued from another place, when that provably has the same bytes.
//!
//! `core::resume` knows which answers can be continued and compares what overlaps; this file does the
//! waiting. It keeps the request beside its answer's body, notices that the body is dead (it broke
//! off, or stopped for longer than its own pace explains), closes the attempt's books, cancels it on
//! the wire, and makes another attempt as the pipeline would: chosen anew, with residency and health
//! of that moment, paid for, within the attempts and the time of its route. Nothing is given up that
//! may still come before the next attempt is decided and paid for.
//!
//! An answer that can be continued costs 16 KiB, and less than 4 for its request, while it runs; what
//! is whole when its head is passed on, and what has no validator, costs one look at the head. What
//! does not fit ends the client's stream visibly: there is no way from here to a spliced body.

mod facts;
mod part;
mod watch;
mod work;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Buf;
use tidegate_core::cell::ErrorClass;
use tidegate_core::resume::{PROGRESS_BYTES, RESUMES_MAX, Representation, Span, Spliced, Transfer};
use tidegate_core::retry::{Failure, Phase, WhyNot};
use tidegate_core::{InFlight, Termination};
use tidegate_telemetry::labels::{Label, ResumeResult};

use crate::attempt::{Answered, Place};
use crate::body::Piece;
use crate::clock::now;
use crate::download::{Flow, termination};
use crate::exchange::ExchangeError;
use crate::finish::Finish;
use crate::pipeline::Serving;

pub(crate) use facts::transfer;
pub(crate) use part::{Part, Unconditional};
use watch::Watch;
use work::{First, GaveUp, Loan, Slot};

/// The body of an answer, and the request that can be made again for the rest of it.
pub(crate) struct Resumable {
    flow: Flow,
    /// Where it comes from.
    place: Place,
    transfer: Transfer,
    watch: Watch,
    /// Bytes passed on when attempts were last counted anew.
    mark: u64,
    /// Bytes passed on before the attempt that is under way.
    before: u64,
    resumes: u32,
    /// The attempt that goes on, until its bytes have proved to be the same.
    unproved: Option<InFlight>,
    state: State,
}

enum State {
    /// The body flows, or should.
    Flowing(Box<Serving>),
    /// Another place is asked for the rest. The request is lent to that work, with the account.
    Resuming { slot: Slot, work: Work },
    /// It has failed for good.
    Over,
}

type Work = Pin<Box<dyn Future<Output = Result<Answered, GaveUp>>>>;

/// What a piece, or the want of one, means.
enum Step {
    /// It is the client's, or the end.
    Pass(Option<Piece>),
    /// The client has it.
    Known,
    /// The exchange has died.
    Died(Death),
    /// It must not go on.
    Spliced(Spliced),
}

/// How an exchange died within its body.
struct Death {
    failure: Failure,
    detail: String,
    /// The reason for which the request ends, if it is not continued.
    ends: Termination,
}

impl Resumable {
    /// The body that `flow` brings from `place`, promised as `transfer`; `serving` is its request.
    pub(crate) fn new(
        serving: Box<Serving>,
        place: Place,
        flow: Flow,
        transfer: Transfer,
    ) -> Box<Self> {
        Box::new(Self {
            flow,
            place,
            transfer,
            watch: Watch::new(&serving, place),
            mark: 0,
            before: 0,
            resumes: 0,
            unproved: None,
            state: State::Flowing(serving),
        })
    }

    /// Whether another place is being asked for the rest.
    pub(crate) fn is_resuming(&self) -> bool {
        matches!(self.state, State::Resuming { .. })
    }

    /// Whether nothing (more) will come.
    pub(crate) fn is_ended(&self) -> bool {
        let flows = matches!(self.state, State::Flowing(_));
        flows && self.flow.is_ended() && self.transfer.is_whole()
    }

    /// The client takes nothing: nothing is expected, and what comes is left lying.
    pub(crate) fn leave_unread(&mut self) {
        self.watch.rest();
        self.flow.leave_unread();
    }

    /// The next piece; `None` after the last. An error is the reason why the request ends, whose
    /// account is `finish`: it is lent to the attempts that are made for the rest, so that there is
    /// one for all.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        finish: &mut Finish,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        loop {
            ready!(self.poll_resumed(cx, finish))?;
            let step = match self.flow.poll_piece(cx) {
                Poll::Ready(piece) => {
                    self.watch.came();
                    self.enter(piece)
                }
                Poll::Pending => {
                    ready!(self.poll_stopped(cx, finish));
                    continue;
                }
            };
            if self.unproved.is_some() && self.transfer.is_proved() {
                self.prove(finish);
            }
            match step {
                Step::Pass(piece) => return Poll::Ready(piece.map(Ok)),
                Step::Known => {}
                Step::Died(death) => self.broke_off(death, finish)?,
                Step::Spliced(spliced) => {
                    return Poll::Ready(Some(Err(self.refuse(spliced, finish))));
                }
            }
        }
    }

    /// Nobody pulls any more: what is lent of the account goes back to `finish`.
    pub(crate) fn settle(&mut self, finish: &mut Finish) {
        self.take_back(finish);
    }

    fn enter(&mut self, piece: Option<Result<Piece, ExchangeError>>) -> Step {
        match piece {
            Some(Ok(Piece::Data(mut data))) => match self.transfer.take(&data) {
                Err(spliced) => Step::Spliced(spliced),
                Ok(known) if known == data.len() => Step::Known,
                Ok(known) => {
                    data.advance(known);
                    Step::Pass(Some(Piece::Data(data)))
                }
            },
            Some(Err(error)) => Step::Died(Death::of(error)),
            end if !self.transfer.is_whole() => {
                drop(end);
                Step::Died(Death::early())
            }
            Some(Ok(trailers)) => Step::Pass(Some(trailers)),
            None => Step::Pass(None),
        }
    }

    /// Ready when it is not the exchange that is to be polled any more.
    fn poll_stopped(&mut self, cx: &mut Context<'_>, finish: &mut Finish) -> Poll<()> {
        loop {
            let State::Flowing(serving) = &mut self.state else {
                return Poll::Ready(());
            };
            ready!(self.watch.poll(cx, serving, self.place, &self.flow));
            if !self.flow.is_held_up() && self.leave(finish) {
                return Poll::Ready(());
            }
        }
    }

    /// Gives up an exchange that has stopped, if another place is there, has room and is paid for.
    fn leave(&mut self, finish: &mut Finish) -> bool {
        let State::Flowing(mut serving) = std::mem::replace(&mut self.state, State::Over) else {
            return false;
        };
        let at = now();
        std::mem::swap(&mut *serving.finish, finish);
        let next = match self.prepare(&mut serving, at) {
            Ok(()) => serving.leave_body(self.place),
            Err(_) => None,
        };
        std::mem::swap(&mut *serving.finish, finish);
        let Some(next) = next else {
            self.state = State::Flowing(serving);
            return false;
        };
        self.flow.cancel();
        self.close_books(&Death::stopped(), at, finish);
        self.begin(serving, First::By(next), finish);
        true
    }

    /// The exchange has died: another attempt begins, or the request ends.
    fn broke_off(&mut self, death: Death, finish: &mut Finish) -> Result<(), Termination> {
        let at = now();
        let State::Flowing(mut serving) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(death.ends);
        };
        self.flow.cancel();
        let tried = self.unproved.is_some();
        let first = self.prepare(&mut serving, at);
        let first = first.and_then(|()| serving.first_resume(death.failure, self.place));
        self.close_books(&death, at, finish);
        match first {
            Ok(first) => {
                self.begin(serving, first, finish);
                Ok(())
            }
            Err(why) if tried => {
                finish.not_resumed(ResumeResult::Failed, why.word());
                Err(death.ends)
            }
            Err(why) => {
                finish.not_resumable(why.word());
                Err(death.ends)
            }
        }
    }

    /// Prepares `serving` for attempts for the rest: they count anew after progress, and so does time, and
    /// residency holds as it is now.
    fn prepare(&mut self, serving: &mut Serving, at: Instant) -> Result<(), WhyNot> {
        if self.resumes >= RESUMES_MAX {
            return Err(WhyNot::Attempts);
        }
        if self.unproved.is_none() {
            let progress = self.transfer.passed() - self.mark;
            if self.resumes == 0 || progress >= PROGRESS_BYTES {
                self.mark = self.transfer.passed();
                serving.count_anew(at);
            }
            serving.run_anew(at);
        }
        serving.heed_newest_plan();
        serving.enter_place(self.place);
        Ok(())
    }

    /// Closes the books of the exchange that died.
    fn close_books(&mut self, death: &Death, at: Instant, finish: &mut Finish) {
        let class = death.class();
        match self.unproved.take() {
            Some(mut in_flight) => {
                in_flight.failed(class, at);
                let detail = death.detail.clone();
                finish.attempt_failed(death.failure, Phase::BodyUnderWay, detail, at);
            }
            None => {
                let bytes = self.transfer.passed() - self.before;
                finish.attempt_truncated(class, death.detail.clone(), at, bytes);
            }
        }
    }

    /// Attempts begin.
    fn begin(&mut self, mut serving: Box<Serving>, first: First, finish: &mut Finish) {
        let what: Representation = self.transfer.representation().clone();
        let span: Span = self.transfer.span();
        serving.part = Some(Part::of(&what, span));
        std::mem::swap(&mut *serving.finish, finish);
        let slot = Slot::default();
        let mut loan = Loan::new(serving, &slot);
        let work = async move { loan.resume(&what, span, first).await };
        self.state = State::Resuming {
            slot,
            work: Box::pin(work),
        };
    }

    /// Ready once no other place is being asked; an error says that none goes on.
    fn poll_resumed(
        &mut self,
        cx: &mut Context<'_>,
        finish: &mut Finish,
    ) -> Poll<Result<(), Termination>> {
        let State::Resuming { work, .. } = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        let outcome = ready!(work.as_mut().poll(cx));
        self.take_back(finish);
        Poll::Ready(match outcome {
            Ok(answered) => self.go_on(answered, finish),
            Err(gave_up) => {
                self.state = State::Over;
                finish.not_resumed(gave_up.result, gave_up.why);
                Err(gave_up.ends)
            }
        })
    }

    /// Ends the work, if there is some, and takes back what was lent to it.
    fn take_back(&mut self, finish: &mut Finish) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Resuming { slot, work } => {
                drop(work);
                if let Some(mut serving) = slot.take() {
                    std::mem::swap(&mut *serving.finish, finish);
                    self.state = State::Flowing(serving);
                }
            }
            state => self.state = state,
        }
    }

    /// The answer fits; its first bytes have to prove it.
    fn go_on(&mut self, answered: Answered, finish: &mut Finish) -> Result<(), Termination> {
        let State::Flowing(serving) = &self.state else {
            return Err(Termination::UpstreamTruncated);
        };
        let fits = facts::of(&answered.head, false).map(|facts| self.transfer.accept(&facts));
        if !matches!(fits, Some(Ok(()))) {
            // The work that brought it has looked at the same head.
            return Err(Termination::UpstreamTruncated);
        }
        let region = &serving.upstream().1.regions[usize::from(answered.place.position)].cell;
        self.flow = Flow::new(answered.ahead, answered.exchange, region);
        self.place = answered.place;
        self.watch.begin_anew(serving, self.place);
        self.resumes += 1;
        self.unproved = Some(answered.in_flight);
        if self.transfer.is_proved() {
            self.prove(finish);
        }
        Ok(())
    }

    /// The attempt has shown the same bytes: the answer is its from here on.
    fn prove(&mut self, finish: &mut Finish) {
        if let Some(in_flight) = self.unproved.take() {
            self.before = self.transfer.passed();
            finish.resumed_by(in_flight);
        }
    }

    /// What came is not what was announced: the client's stream ends here.
    fn refuse(&mut self, spliced: Spliced, finish: &mut Finish) -> Termination {
        self.flow.cancel();
        self.state = State::Over;
        if self.unproved.take().is_none() {
            return Termination::BadResponse;
        }
        tracing::warn!(%spliced, region = finish.region().as_deref(), "no resume here");
        finish.attempt_mismatched(spliced.to_string(), now());
        finish.not_resumed(ResumeResult::Refused, spliced.word());
        Termination::UpstreamTruncated
    }
}

impl Death {
    fn of(error: ExchangeError) -> Self {
        let ends = termination(&error);
        match error {
            ExchangeError::Upstream {
                failure, detail, ..
            } => Self {
                failure,
                detail,
                ends,
            },
            ExchangeError::Client(error) => Self {
                failure: Failure::Reset,
                detail: error.to_string(),
                ends,
            },
        }
    }

    fn early() -> Self {
        Self {
            failure: Failure::Reset,
            detail: "the body ended before its announced length".to_owned(),
            ends: Termination::UpstreamTruncated,
        }
    }

    fn stopped() -> Self {
        Self {
            failure: Failure::Timeout,
            detail: "the body stopped for longer than its pace explains".to_owned(),
            ends: Termination::UpstreamTruncated,
        }
    }

    fn class(&self) -> ErrorClass {
        match self.failure {
            Failure::Timeout => ErrorClass::Timeout,
            _ => ErrorClass::Reset,
        }
    }
}
