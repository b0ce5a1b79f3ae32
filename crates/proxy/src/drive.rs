//! Drives one exchange up to the answer's head.
//!
//! The timer runs for whoever is slow: while the client uploads it has the idle limit, while the
//! upstream does not take what is there, or owes its head, the per-try limit.

use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use tidegate_core::Termination;
use tidegate_core::retry::{Failure, Phase};

use crate::attempt::{Attempt, EndedBy, Fault};
use crate::clock::now;
use crate::exchange::{Exchange, HeadEvent};
use crate::head::ResponseHead;
use crate::hedge::{Event, Hedge};
use crate::leave::{Trouble, given_up};
use crate::pipeline::{Client, Serving};

/// An upstream may say so often that its answer is still to come: interim heads wait in memory for
/// a client that does not read.
const INTERIMS_MAX: u32 = 100;

/// Drives one exchange, and a hedge beside it, up to the answer's head.
pub(crate) struct Drive<'s> {
    serving: &'s mut Serving,
    attempt: &'s mut Attempt,
    hedge: Option<Box<Hedge>>,
    /// The exchange has failed or was given up, and the attempt is a hedge that still connects.
    over: bool,
    uploaded: bool,
    moved: (u64, bool),
    interims: u32,
}

type Headed = Result<ResponseHead, EndedBy>;

impl<'s> Drive<'s> {
    /// Sends `attempt`'s request and waits for its head.
    pub(crate) fn new(serving: &'s mut Serving, attempt: &'s mut Attempt) -> Self {
        Self {
            serving,
            attempt,
            hedge: None,
            over: false,
            uploaded: false,
            moved: (u64::MAX, false),
            interims: 0,
        }
    }

    /// Ready with the final head, or with who ended the attempt. Attempt and exchange are then those
    /// of whoever won.
    pub(crate) fn poll<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Poll<Headed> {
        loop {
            match ready!(self.poll_once(cx, exchange, client)) {
                Ok(head) => return Poll::Ready(Ok(head)),
                Err(ended) => self.survive(ended, exchange)?,
            }
        }
    }

    /// Closes the books of a hedge that nobody waits for any more.
    pub(crate) fn end(mut self) {
        if let Some(attempt) = self.hedge.take().and_then(|hedge| hedge.attempt) {
            self.serving.finish.turn_to(attempt.nth);
            self.serving.finish.attempt_abandoned(now());
            self.serving.finish.turn_to(self.attempt.nth);
        }
    }

    fn poll_once<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Poll<Headed> {
        if !self.over
            && let Poll::Ready(headed) = self.poll_first(cx, exchange, client)
        {
            return Poll::Ready(headed);
        }
        if self.serving.hears_news(&mut self.attempt.heard) {
            self.hear(cx, exchange)?;
        }
        if self.hedge.is_some()
            && let Poll::Ready(headed) = self.poll_hedge(cx, exchange)
        {
            return Poll::Ready(headed);
        }
        client.poll_flush(cx);
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
        }
        self.poll_limit(cx, exchange).map(Err)
    }

    fn poll_first<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Poll<Headed> {
        loop {
            self.poll_upload(cx, exchange)?;
            match ready!(exchange.poll_head(cx))? {
                HeadEvent::Final(head) => return Poll::Ready(Ok(head)),
                HeadEvent::Interim(head) => self.interim(&head, client)?,
            }
        }
    }

    /// Something has become of a region, perhaps of this one.
    fn hear(&mut self, cx: &mut TaskContext<'_>, exchange: &mut Exchange) -> Result<(), EndedBy> {
        let place = self.attempt.place;
        let phase = self.phase(exchange);
        match self.serving.trouble(place) {
            Trouble::None => Ok(()),
            Trouble::Silent => {
                if self.uploaded && self.hedge.is_none() {
                    self.hedge = Hedge::begin(self.serving, self.attempt);
                }
                Ok(())
            }
            Trouble::Out if self.hedge.is_some() && !self.over => {
                self.serving.note(self.attempt, given_up(phase));
                self.fall_back(exchange);
                cx.waker().wake_by_ref();
                Ok(())
            }
            Trouble::Out => self.serving.leave(place, phase).map_or(Ok(()), Err),
        }
    }

    fn phase(&self, exchange: &Exchange) -> Phase {
        if self.over {
            Phase::Connecting
        } else {
            exchange.phase()
        }
    }

    /// The first has ended: with a hedge beside it the request goes on.
    fn survive(&mut self, ended: EndedBy, exchange: &mut Exchange) -> Result<(), EndedBy> {
        match ended {
            EndedBy::Upstream(fault) if self.hedge.is_some() && !self.over => {
                self.serving.note(self.attempt, fault);
                self.fall_back(exchange);
                Ok(())
            }
            ended => Err(ended),
        }
    }

    /// The hedge takes the first one's place, whose books are closed.
    fn fall_back(&mut self, exchange: &mut Exchange) {
        let Some(hedge) = &mut self.hedge else {
            return;
        };
        if let Some(attempt) = hedge.attempt.take() {
            *self.attempt = attempt;
        }
        self.serving.finish.turn_to(self.attempt.nth);
        match hedge.take_exchange() {
            Some(second) => self.replace(exchange, second),
            None => {
                exchange.cancel();
                self.over = true;
                // Connecting has limits of its own.
                match self.serving.deadline {
                    Some(deadline) => self.serving.timer.set(deadline),
                    None => self.serving.timer.clear(),
                }
            }
        }
    }

    /// The hedge's exchange is the only one from now on, with its own time limits.
    fn replace(&mut self, exchange: &mut Exchange, second: Exchange) {
        *exchange = second;
        self.hedge = None;
        self.over = false;
        self.uploaded = false;
    }

    fn poll_hedge(&mut self, cx: &mut TaskContext<'_>, exchange: &mut Exchange) -> Poll<Headed> {
        loop {
            let Some(hedge) = &mut self.hedge else {
                return Poll::Pending;
            };
            match ready!(hedge.poll(cx, self.serving, self.attempt)) {
                Ok(Event::Connected) if !self.over => {}
                Ok(Event::Connected) => {
                    if let Some(second) = hedge.take_exchange() {
                        self.replace(exchange, second);
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Event::Head(head)) => {
                    self.serving.finish.attempt_hedged(now());
                    self.fall_back(exchange);
                    return Poll::Ready(Ok(head));
                }
                Err(ended) if self.over => return Poll::Ready(Err(ended)),
                Err(ended) => {
                    self.lose_hedge(ended);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// The hedge has failed: the first is alone again, and what has become of its region is asked
    /// anew.
    fn lose_hedge(&mut self, ended: EndedBy) {
        let Some(mut attempt) = self.hedge.take().and_then(|hedge| hedge.attempt) else {
            return;
        };
        self.serving.finish.turn_to(attempt.nth);
        match ended {
            EndedBy::Upstream(fault) => {
                let failed = self.serving.note(&mut attempt, fault);
                self.serving.enter_try(&failed);
                self.serving.stale = false;
            }
            _ => self.serving.finish.attempt_abandoned(now()),
        }
        self.serving.finish.turn_to(self.attempt.nth);
        self.attempt.heard = self.attempt.heard.wrapping_sub(1);
    }

    fn interim<C: Client>(&mut self, head: &ResponseHead, client: &mut C) -> Result<(), EndedBy> {
        // HTTP/2 has no 101 (RFC 9113 section 8.6); an HTTP/1.1 client would take it for a switch.
        if head.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(EndedBy::bad("switch_unasked"));
        }
        self.attempt.in_flight.heard(now());
        self.interims += 1;
        if self.interims > INTERIMS_MAX {
            return Err(EndedBy::bad("interims_too_many"));
        }
        let continues = head.status() == http::StatusCode::CONTINUE;
        if !(continues && self.serving.continued) {
            client.interim(head);
        }
        self.serving.continued |= continues;
        Ok(())
    }

    fn poll_upload(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), EndedBy> {
        if self.uploaded {
            return Ok(());
        }
        if exchange.poll_upload(cx, &mut self.serving.body)?.is_ready() {
            self.uploaded = true;
            self.arm_for_head();
        } else {
            self.arm_for_upload(exchange);
        }
        Ok(())
    }

    /// The request is out: the upstream owes its head.
    fn arm_for_head(&mut self) {
        let at = now();
        let deadline = self.serving.time_runs(at);
        let per_try = self.serving.upstream().0.retry.per_try;
        self.serving.finish.sent_upstream(at);
        self.attempt.in_flight.sent();
        self.serving
            .timer
            .set(per_try.map_or(deadline, |limit| deadline.min(at + limit)));
    }

    /// Bytes are still to move: whoever holds them up has so long.
    fn arm_for_upload(&mut self, exchange: &Exchange) {
        let moved = (self.serving.body.read_bytes(), exchange.is_blocked());
        if moved == self.moved {
            return;
        }
        self.moved = moved;
        let idle = self.serving.route().idle_timeout;
        let per_try = self.serving.upstream().0.retry.per_try;
        let limit = if moved.1 {
            per_try.unwrap_or(idle).min(idle)
        } else {
            idle
        };
        self.serving.timer.set(self.serving.no_later(now() + limit));
    }

    fn poll_limit(&mut self, cx: &mut TaskContext<'_>, exchange: &Exchange) -> Poll<EndedBy> {
        self.serving
            .timer
            .poll_expired(cx)
            .map(|()| self.limit_reached(exchange, now()))
    }

    fn limit_reached(&self, exchange: &Exchange, at: Instant) -> EndedBy {
        let late = self.serving.deadline.is_some_and(|deadline| at >= deadline);
        if !self.over && !self.uploaded && !exchange.is_blocked() {
            return EndedBy::Client(match late {
                true => Termination::DeadlineExceeded,
                false => Termination::ClientTimeout,
            });
        }
        let detail = if late {
            "the request's deadline passed"
        } else {
            "no answer within per_try"
        };
        let mut fault = Fault::of(Failure::Timeout, self.phase(exchange), detail.to_owned());
        let short = self.serving.is_out_of_time() || !self.serving.is_first_attempt();
        if self.over || (late && short) {
            // What the client gives, or earlier attempts left of the time, is no measure of a place.
            fault.says = None;
        }
        fault.into()
    }
}
