//! Drives one exchange up to the answer's head, and a hedge beside it: the first good head wins.
//!
//! What ends waiting is `patience`'s to say, what becomes of a region in trouble `leave`'s. An answer
//! whose status `retry.on` lists is laid aside while the other attempt may still give a better one; if
//! that fails too, the better of the two answers is what the client gets when nothing else is tried.

use std::task::{Context as TaskContext, Poll, ready};

use tidegate_core::Termination;
use tidegate_core::retry::{Idempotency, Phase};
use tidegate_telemetry::labels::HedgeCause;

use crate::attempt::{Attempt, EndedBy, Fault, Head};
use crate::body::UploadError;
use crate::clock::now;
use crate::exchange::{Exchange, HeadEvent};
use crate::head::ResponseHead;
use crate::hedge::{Event, Hedge, Taken};
use crate::leave::{Leave, Overdue, Trouble, given_up};
use crate::patience::{Due, End, Patience};
use crate::pipeline::{Client, Serving};

/// An upstream may say so often that its answer is still to come: interim heads wait in memory for
/// a client that does not read.
const INTERIMS_MAX: u32 = 100;

/// Drives one exchange, and a hedge beside it, up to the answer's head.
pub(crate) struct Drive<'s> {
    serving: &'s mut Serving,
    attempt: &'s mut Attempt,
    hedge: Option<Box<Hedge>>,
    first: First,
    uploaded: bool,
    moved: Option<Moved>,
    interims: u32,
    patience: Patience,
}

/// What became of the exchange that was begun first, or of the one that took its place.
enum First {
    /// Its head is waited for.
    Running,
    /// It was answered with a status that is no end as long as a hedge may still be answered.
    Answered(Head),
    /// It has failed or was given up, and the attempt is a hedge that still connects.
    Over,
}

/// Bytes that the upstream has taken and that the client has sent, and whether the upstream holds
/// the others up.
type Moved = (u64, u64, bool);

type Headed = Result<Head, EndedBy>;

impl<'s> Drive<'s> {
    /// Sends `attempt`'s request and waits for its head.
    pub(crate) fn new(serving: &'s mut Serving, attempt: &'s mut Attempt) -> Self {
        Self {
            serving,
            attempt,
            hedge: None,
            first: First::Running,
            uploaded: false,
            moved: None,
            interims: 0,
            patience: Patience::default(),
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
            let headed = match ready!(self.poll_once(cx, exchange, client)) {
                Some(Err(EndedBy::Upstream(fault))) => self.survive(fault, exchange),
                other => other,
            };
            if let Some(headed) = headed {
                // What the client itself broke is answered with that.
                if let Err(EndedBy::Client(_) | EndedBy::Upload(UploadError::Unreadable(_))) =
                    headed
                {
                    let phase = self.phase(exchange);
                    self.serving.finish.got_to(phase);
                }
                return Poll::Ready(headed);
            }
        }
    }

    /// Closes the books of a hedge that nobody waits for any more.
    pub(crate) fn end(mut self) {
        self.lose_hedge(None);
    }

    /// Ready with nothing if something has changed, so that everything is to be asked again.
    fn poll_once<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Poll<Option<Headed>> {
        if matches!(self.first, First::Running)
            && let Poll::Ready(head) = self.poll_first(cx, exchange, client)
        {
            return Poll::Ready(match head {
                Ok(head) => self.first_answered(head, exchange).map(Ok),
                Err(ended) => Some(Err(ended)),
            });
        }
        if self.serving.hears_news(&mut self.attempt.heard) {
            return Poll::Ready(self.hear(exchange).transpose());
        }
        if let Poll::Ready(headed) = self.poll_hedge(cx, exchange) {
            return Poll::Ready(headed);
        }
        client.poll_flush(cx);
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Some(Err(EndedBy::Client(Termination::ClientGone))));
        }
        self.poll_due(cx, exchange)
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
                HeadEvent::Final(head) => return Poll::Ready(Ok(Head { head, at: now() })),
                HeadEvent::Interim(head) => self.interim(&head, client)?,
            }
        }
    }

    /// The first has its head: the end, unless that is an error and the hedge may do better.
    fn first_answered(&mut self, head: Head, exchange: &mut Exchange) -> Option<Head> {
        let hedge = self.hedge.as_ref().filter(|_| self.serving.lists(&head));
        let Some(hedge) = hedge else {
            return Some(head);
        };
        match hedge.head() {
            Some(other) if other.status() < head.status() => {
                self.serving.declared(self.attempt, &head);
                self.fall_back(exchange)
            }
            Some(_) => Some(head),
            None => {
                let attempt = hedge.attempt.as_ref().unwrap_or(self.attempt);
                let sent = attempt.sent.unwrap_or_else(now);
                let until = self.serving.limit_of_head(attempt, sent);
                self.patience.until(until, &self.serving.timer);
                self.first = First::Answered(head);
                None
            }
        }
    }

    /// Something has become of a region, perhaps of this one.
    fn hear(&mut self, exchange: &mut Exchange) -> Result<Option<Head>, EndedBy> {
        self.hear_for_hedge();
        if matches!(self.first, First::Answered(_)) {
            return Ok(self.take_aside());
        }
        let place = self.attempt.place;
        match self.serving.trouble(place) {
            Trouble::None => {}
            Trouble::Silent if self.is_over() => self.leave(exchange)?,
            Trouble::Silent => {
                if self.uploaded && self.hedge.is_none() && self.serving.has_better(place) {
                    self.hedge = Hedge::begin(self.serving, self.attempt, HedgeCause::Silent);
                }
            }
            Trouble::Out if self.hedge_is_sound() => {
                let phase = self.phase(exchange);
                self.serving.note(self.attempt, given_up(phase));
                return Ok(self.fall_back(exchange));
            }
            Trouble::Out => self.leave(exchange)?,
        }
        Ok(None)
    }

    /// A hedge whose own region is out is of no use, unless the first is no better off.
    fn hear_for_hedge(&mut self) {
        let first_is_out = || {
            let running = matches!(self.first, First::Running);
            running && self.serving.trouble(self.attempt.place) == Trouble::Out
        };
        let place = self.hedge.as_ref().and_then(|hedge| hedge.place());
        if place.is_some_and(|place| self.serving.trouble(place) == Trouble::Out) && !first_is_out()
        {
            self.lose_hedge(Some(given_up(Phase::Sent)));
        }
    }

    /// Whether a hedge runs beside the first, in a region that is not out.
    fn hedge_is_sound(&self) -> bool {
        let place = self.hedge.as_ref().and_then(|hedge| hedge.place());
        !self.is_over() && place.is_some_and(|place| self.serving.trouble(place) != Trouble::Out)
    }

    fn leave(&mut self, exchange: &Exchange) -> Result<(), EndedBy> {
        let phase = self.phase(exchange);
        match self.serving.leave(self.attempt.place, phase) {
            Leave::Now(ended) => return Err(ended),
            Leave::Later => self.serving.ask_again(&mut self.patience),
            Leave::Never => {}
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        matches!(self.first, First::Over)
    }

    fn phase(&self, exchange: &Exchange) -> Phase {
        match self.first {
            First::Running => exchange.phase(),
            // What is waited for is the hedge.
            First::Answered(_) => Phase::Sent,
            First::Over => Phase::Connecting,
        }
    }

    /// One of the two has failed, or its time is over: with the other the request goes on.
    fn survive(&mut self, fault: Fault, exchange: &mut Exchange) -> Option<Headed> {
        match &self.first {
            First::Running if self.hedge.is_some() => {
                self.serving.note(self.attempt, fault);
                self.fall_back(exchange).map(Ok)
            }
            First::Answered(_) => {
                self.lose_hedge(Some(fault));
                self.take_aside().map(Ok)
            }
            First::Running | First::Over => Some(Err(fault.into())),
        }
    }

    /// The answer that was laid aside, once there is no hedge to wait for.
    fn take_aside(&mut self) -> Option<Head> {
        if self.hedge.is_some() {
            return None;
        }
        match std::mem::replace(&mut self.first, First::Running) {
            First::Answered(head) => Some(head),
            other => {
                self.first = other;
                None
            }
        }
    }

    /// The hedge takes the first one's place, whose books are closed. Some if it was answered already.
    fn fall_back(&mut self, exchange: &mut Exchange) -> Option<Head> {
        let mut hedge = self.hedge.take()?;
        if let Some(attempt) = hedge.attempt.take() {
            *self.attempt = attempt;
        }
        self.serving.finish.turn_to(self.attempt.nth);
        match hedge.take() {
            Taken::Answered(second, head) => {
                self.replace(exchange, second);
                return Some(head);
            }
            Taken::Waiting(second) => self.replace(exchange, second),
            Taken::Connecting => {
                exchange.cancel();
                self.first = First::Over;
                self.hedge = Some(hedge);
                let limit = self.serving.limit_of_connect(self.attempt);
                self.patience.until(Some(limit), &self.serving.timer);
            }
        }
        None
    }

    /// The hedge's exchange is the only one from now on, with its own time limits. The other is
    /// cancelled by its drop.
    fn replace(&mut self, exchange: &mut Exchange, second: Exchange) {
        *exchange = second;
        self.hedge = None;
        self.first = First::Running;
        self.uploaded = false;
        self.moved = None;
    }

    fn poll_hedge(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Option<Headed>> {
        let Some(hedge) = &mut self.hedge else {
            return Poll::Pending;
        };
        let over = matches!(self.first, First::Over);
        Poll::Ready(match ready!(hedge.poll(cx, self.serving, self.attempt)) {
            Ok(Event::Answered) => self.hedge_answered(exchange).map(Ok),
            Ok(Event::Connected) => {
                if over && let Taken::Waiting(second) = hedge.take() {
                    self.replace(exchange, second);
                }
                None
            }
            Err(ended) if over => Some(Err(ended)),
            Err(ended) => {
                self.lose_hedge(ended.fault());
                self.take_aside().map(Ok)
            }
        })
    }

    /// The hedge has its head: the end, unless that is an error and the first may do better, or did.
    fn hedge_answered(&mut self, exchange: &mut Exchange) -> Option<Head> {
        let head = self.hedge.as_ref().and_then(|hedge| hedge.head())?;
        let listed = self.serving.lists(head);
        match &self.first {
            First::Running if listed => None,
            First::Answered(first) if listed && first.status() <= head.status() => {
                self.lose_hedge(None);
                self.take_aside()
            }
            First::Answered(_) => {
                if let First::Answered(first) = std::mem::replace(&mut self.first, First::Running) {
                    self.serving.declared(self.attempt, &first);
                }
                self.fall_back(exchange)
            }
            First::Running | First::Over => {
                let at = now();
                self.serving.observe_wait(self.attempt, at);
                self.serving.finish.attempt_hedged(at);
                self.fall_back(exchange)
            }
        }
    }

    /// Nobody waits for the hedge any more, or it has failed: the first is alone again, and what has
    /// become of its region is asked anew.
    fn lose_hedge(&mut self, fault: Option<Fault>) {
        let Some(mut hedge) = self.hedge.take() else {
            return;
        };
        let Some(mut attempt) = hedge.attempt.take() else {
            return;
        };
        self.serving.finish.turn_to(attempt.nth);
        match (fault, hedge.head()) {
            (Some(fault), _) => {
                let failed = self.serving.note(&mut attempt, fault);
                self.serving.enter_try(&failed);
                self.serving.stale = false;
            }
            (None, Some(head)) => {
                let failed = self.serving.declared(&mut attempt, head);
                self.serving.enter_try(&failed);
            }
            (None, None) => self.serving.finish.attempt_abandoned(now()),
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
        let uploaded = exchange.poll_upload(cx, &mut self.serving.body)?;
        self.keep_no_more(exchange);
        if uploaded.is_ready() {
            self.uploaded = true;
            self.serving.sent(self.attempt);
            self.wait_for_head();
        } else {
            self.wait_for_upload(exchange);
        }
        Ok(())
    }

    /// Once some of it is out, the body of a request that must not be sent twice is of use only where an
    /// upstream can still refuse it as a whole.
    fn keep_no_more(&mut self, exchange: &Exchange) {
        let Serving { admitted, body, .. } = &mut *self.serving;
        let once = admitted.idempotency == Idempotency::No;
        if once && body.is_kept() && !exchange.is_refusable() && exchange.phase() >= Phase::Sent {
            body.settle();
        }
    }

    /// The request is out: the upstream owes its head.
    fn wait_for_head(&mut self) {
        let sent = self.attempt.sent.unwrap_or_else(now);
        let until = self.serving.limit_of_head(self.attempt, sent);
        self.patience.until(until, &self.serving.timer);
        if let Some(at) = self.serving.hedge_due(self.attempt) {
            self.patience.hedge_at(Some(at), &self.serving.timer);
        }
    }

    /// Bytes are still to move: whoever holds them up has so long.
    fn wait_for_upload(&mut self, exchange: &Exchange) {
        let blocked = exchange.is_blocked();
        let moved = (exchange.taken(), self.serving.body.read_bytes(), blocked);
        if self.moved.replace(moved) != Some(moved) {
            let until = self.serving.limit_of_upload(self.attempt, blocked);
            self.patience.until(Some(until), &self.serving.timer);
        }
    }

    fn poll_due(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Option<Headed>> {
        Poll::Ready(match ready!(self.patience.poll(cx, &self.serving.timer)) {
            Due::Hedge => {
                if matches!(self.first, First::Running) && self.hedge.is_none() {
                    self.hedge = Hedge::begin(self.serving, self.attempt, HedgeCause::Slow);
                }
                None
            }
            Due::Again => self.hear(exchange).transpose(),
            Due::Limit(end) => self.limit_reached(exchange, end).map(Err),
        })
    }

    /// None if the attempt is waited for all the same.
    fn limit_reached(&mut self, exchange: &Exchange, end: End) -> Option<EndedBy> {
        let phase = self.phase(exchange);
        let for_client = matches!(self.first, First::Running) && !self.uploaded;
        match end {
            End::Client => return Some(EndedBy::Client(Termination::ClientTimeout)),
            End::Deadline if for_client && !exchange.is_blocked() => {
                return Some(EndedBy::Client(Termination::DeadlineExceeded));
            }
            _ if self.is_over() => return Some(EndedBy::no_connection(end, true)),
            End::PerTry | End::FirstByte if self.hedge.is_none() => {
                match self.serving.time_is_over(self.attempt.place, phase) {
                    Overdue::Next(next) => {
                        return Some(EndedBy::GivenUp {
                            fault: self.serving.overdue(self.attempt, end, phase),
                            next: Ok(next),
                        });
                    }
                    Overdue::Stay => {
                        self.outlast(exchange);
                        return None;
                    }
                    Overdue::End => {}
                }
            }
            _ => {}
        }
        Some(self.serving.overdue(self.attempt, end, phase).into())
    }

    /// The place hears that its time is over, once; the attempt stays until the request's own is.
    fn outlast(&mut self, exchange: &Exchange) {
        self.serving.timed_out(self.attempt);
        if self.uploaded {
            self.wait_for_head();
        } else {
            self.moved = None;
            self.wait_for_upload(exchange);
        }
    }
}
