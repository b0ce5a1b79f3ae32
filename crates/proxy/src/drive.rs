//! Drives one exchange up to the answer's head.
//!
//! The timer runs for whoever is slow: while the client uploads it has the idle limit, while the
//! upstream does not take what is there, or owes its head, the per-try limit.

use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use tidegate_core::Termination;
use tidegate_core::retry::Failure;

use crate::attempt::{Attempt, EndedBy, Fault};
use crate::clock::now;
use crate::exchange::{Exchange, HeadEvent};
use crate::head::ResponseHead;
use crate::pipeline::{Client, Serving};

/// An upstream may say so often that its answer is still to come: interim heads wait in memory for
/// a client that does not read.
const INTERIMS_MAX: u32 = 100;

/// Drives one exchange up to the answer's head.
pub(crate) struct Drive<'s, 'a> {
    serving: &'s mut Serving<'a>,
    attempt: &'s mut Attempt,
    uploaded: bool,
    moved: (u64, bool),
    interims: u32,
}

impl<'s, 'a> Drive<'s, 'a> {
    /// Sends `attempt`'s request and waits for its head.
    pub(crate) fn new(serving: &'s mut Serving<'a>, attempt: &'s mut Attempt) -> Self {
        Self {
            serving,
            attempt,
            uploaded: false,
            moved: (u64::MAX, false),
            interims: 0,
        }
    }

    /// Ready with the final head, or with who ended the attempt.
    pub(crate) fn poll<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Poll<Result<ResponseHead, EndedBy>> {
        loop {
            self.poll_upload(cx, exchange)?;
            match exchange.poll_head(cx)? {
                Poll::Ready(HeadEvent::Final(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(HeadEvent::Interim(head)) => self.interim(&head, client)?,
                Poll::Pending => {
                    client.poll_flush(cx);
                    if client.poll_gone(cx).is_ready() {
                        return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
                    }
                    return self.poll_limit(cx, exchange).map(Err);
                }
            }
        }
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
        let timeout = self.serving.route().timeout;
        let deadline = *self.serving.deadline.get_or_insert(at + timeout);
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
        self.serving.timer.set(now() + limit);
    }

    fn poll_limit(&mut self, cx: &mut TaskContext<'_>, exchange: &Exchange) -> Poll<EndedBy> {
        self.serving
            .timer
            .poll_expired(cx)
            .map(|()| self.limit_reached(exchange, now()))
    }

    fn limit_reached(&self, exchange: &Exchange, at: Instant) -> EndedBy {
        if !self.uploaded && !exchange.is_blocked() {
            return EndedBy::Client(Termination::ClientTimeout);
        }
        let late = self.serving.deadline.is_some_and(|deadline| at >= deadline);
        let detail = if late {
            "the request's deadline passed"
        } else {
            "no answer within per_try"
        };
        let mut fault = Fault::of(Failure::Timeout, exchange.phase(), detail.to_owned());
        if late && !self.serving.is_first_attempt() {
            // What earlier attempts left of the time is no measure of this place.
            fault.says = None;
        }
        fault.into()
    }
}
