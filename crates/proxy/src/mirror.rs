//! Copies of some of a route's requests for another upstream, whose answers nobody sees.
//!
//! A copy is made while the original's body is read and is sent once that is whole, by a task of its
//! own: the original waits for nothing and hears nothing of it. It is a request like any other from
//! there on (choice, residency, connections, board), but that it is attempted once and that only the
//! metrics tell of it. What copies cost is bounded for each worker, in number and in bytes of bodies,
//! apart from what is kept for replay; what is beyond is skipped and counted. Each has the route's
//! `timeout` for everything, and ends with the worker. What is itself a copy is never copied: two
//! mirrors that point at each other make no storm.
//!
//! Cookies and credentials go along: who mirrors to an upstream trusts it with them.

mod draft;
mod room;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use http::HeaderName;
use tidegate_core::Lot;
use tidegate_core::plan::Mirror;
use tidegate_core::retry::Idempotency;
use tidegate_http1::{Framing, Known};
use tidegate_telemetry::labels::MirrorResult;

use crate::admit::Admitted;
use crate::affinity::Brought;
use crate::attempt::Answered;
use crate::body::{Caps, CopiedBody, Piece, ReplayBody, Upload};
use crate::clock::now;
use crate::context::Context;
use crate::deadline::Allowance;
use crate::download;
use crate::finish::Finish;
use crate::head::{RequestHead, ResponseHead};
use crate::hold::Ahead;
use crate::keys;
use crate::pipeline::{Client, Serving};
use crate::request_id::RequestId;
use crate::worker::Bound;

pub(crate) use draft::Draft;
pub(crate) use room::Copies;
use room::{Due, Place};

/// The field by which a copy says whose it is: the route's name.
pub(crate) const FIELD: HeaderName = HeaderName::from_static("tidegate-mirror");

/// So many bytes of an answer are read, so that its connection can be used again. Longer ones are cut.
const ANSWER_BYTES: u64 = 4 << 20;

/// Begins the copy of a request whose route is mirrored, if one is due.
pub(crate) fn begin(
    context: &Rc<Context>,
    (admitted, bound): (&Admitted, &Bound),
    head: &RequestHead,
    (id, lot): (&RequestId, Lot),
    body: &mut ReplayBody,
) {
    let Some(mirror) = &admitted.route.route.mirror else {
        return;
    };
    if may_be_copied(head)
        && mirror.share.passes(lot.mirror())
        && let Some(draft) = draft(context, (admitted, bound), head, id, mirror, body)
    {
        body.copy_to(draft);
    }
}

/// Tunnels have no copies: neither side of theirs is a message. Nor have copies.
pub(crate) fn may_be_copied(head: &RequestHead) -> bool {
    head.upgrade().is_none() && head.field(Known::TidegateMirror, &FIELD).is_none()
}

fn draft(
    context: &Rc<Context>,
    (admitted, bound): (&Admitted, &Bound),
    head: &RequestHead,
    id: &RequestId,
    mirror: &Mirror,
    body: &ReplayBody,
) -> Option<Box<Draft>> {
    let upstream = bound.upstream(mirror.upstream);
    let mut due = Due::new(upstream);
    if matches!(body.framing(), Framing::Length(length) if length > mirror.max_body) {
        return None;
    }
    let copies = &context.worker.copies;
    if copies.are_full() {
        due.becomes(MirrorResult::SkippedBusy);
        return None;
    }
    let original = Original {
        context: context.clone(),
        admitted: Admitted {
            route: admitted.route.clone(),
            upstream: upstream.clone(),
            served_by: Some(admitted.upstream.clone()),
            origin: keys::origin(context, head, &bound.live.plan, &upstream.wanted),
            // It is attempted once.
            idempotency: Idempotency::No,
            named: None,
            acts: admitted.acts.clone(),
            is_copy: true,
            ..*admitted
        },
        head: head.clone(),
        id: id.clone(),
        framing: body.framing(),
    };
    let body = CopiedBody::new(body.fills_buffers());
    let room = copies.room();
    Some(Draft::new(original, body, mirror.max_body, room, due))
}

/// What is copied, but for its body.
struct Original {
    context: Rc<Context>,
    /// As the copy is: to its own upstream.
    admitted: Admitted,
    head: RequestHead,
    id: RequestId,
    framing: Framing,
}

/// Nobody waits for a copy's answer.
struct Nobody;

impl Client for Nobody {
    fn interim(&mut self, _: &ResponseHead) {}

    fn send_continue(&mut self) {}

    fn poll_flush(&mut self, _: &mut TaskContext<'_>) {}

    fn poll_gone(&mut self, _: &mut TaskContext<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Original {
    /// Sends the copy, and reads its answer for nothing. `place` is what it takes up meanwhile.
    async fn send(self, body: CopiedBody, mut due: Due, place: Place) {
        due.becomes(MirrorResult::Failed);
        if self.serving(body).copy().await {
            due.becomes(MirrorResult::Sent);
        }
        drop(place);
    }

    fn serving(self, body: CopiedBody) -> Box<Serving> {
        let Self {
            context,
            admitted,
            head,
            id,
            framing,
        } = self;
        let at = now();
        let route = admitted.route.clone();
        let (dialect, trusted) = (admitted.dialect, context.words.trusted());
        let upload = match framing {
            Framing::None => Upload::Empty,
            _ => Upload::Copied(Box::new(body)),
        };
        let ledger = &context.worker.replay;
        let mut ask = keys::ask(&context, &head, &admitted, at);
        let brought = match &admitted.served_by().bonds {
            Some(bonds) => bonds.read(&head, &mut ask),
            None => Brought::Nothing,
        };
        // Where its client is bound to is its original's place.
        ask.pin = None;
        let mut serving = Box::new(Serving {
            timer: context.worker.wheel.timer_in_region(),
            finish: Finish::of_copy(&context, &admitted),
            body: ReplayBody::new(upload, framing, Caps::default(), u64::MAX, ledger),
            allowance: Allowance::new(&head, dialect, &route.route, trusted, at),
            deadline: None,
            // Its body is here: it asks for no permission to send it.
            continued: true,
            stale: false,
            hedged: false,
            chosen: None,
            cancelled: false,
            brought,
            part: None,
            attempts: 0,
            ask,
            admitted,
            head,
            id,
            context,
        });
        serving.time_runs(at);
        serving
    }
}

impl Serving {
    /// Makes the one attempt of a copy; whether an answer came.
    async fn copy(mut self: Box<Self>) -> bool {
        let ends = now() + self.route().timeout;
        let Ok(choice) = self.choose() else {
            return false;
        };
        match self.attempt(choice, &mut Nobody).await {
            Ok(answered) => {
                self.discard(answered, ends).await;
                true
            }
            Err(_) => false,
        }
    }

    /// Reads the answer's body for nothing, up to a length and until then.
    async fn discard(&mut self, answered: Answered, ends: Instant) {
        let status = answered.head.status();
        self.finish.committed(status, None, answered.in_flight);
        let (ahead, mut exchange) = (answered.ahead, answered.exchange);
        let mut left = ANSWER_BYTES.saturating_sub(length(&ahead));
        self.timer.set(ends);
        poll_fn(|cx| {
            while left > 0 && !exchange.is_ended() {
                let _told_by_the_answer = exchange.poll_upload(cx, &mut self.body);
                match exchange.poll_body(cx) {
                    Poll::Ready(Some(Ok(piece))) => {
                        left = left.saturating_sub(piece_length(&piece))
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.finish.broke(download::termination(&error));
                        return Poll::Ready(());
                    }
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => {
                        ready!(self.timer.poll_expired(cx));
                        return Poll::Ready(());
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

fn length(ahead: &Ahead) -> u64 {
    ahead.iter().map(piece_length).sum()
}

fn piece_length(piece: &Piece) -> u64 {
    match piece {
        Piece::Data(data) => data.len() as u64,
        Piece::Trailers(_) => 0,
    }
}

/// The value of the field that marks a copy: the route's name, what cannot stand in a field replaced.
pub(crate) fn mark(route: &str) -> String {
    let visible = |byte: u8| match byte {
        b'!'..=b'~' => char::from(byte),
        _ => '?',
    };
    route.bytes().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_field_value_whatever_the_route_is_called() {
        let check = |route: &str, expected: &str| assert_eq!(mark(route), expected);
        check("shop.example.com/api/**", "shop.example.com/api/**");
        check("a b\r\nx: y", "a?b??x:?y");
        check("ü", "??");
    }
}
