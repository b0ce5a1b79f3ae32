//! A second attempt beside one whose region has fallen silent; the first head wins.
//!
//! Only what is safe (RFC 9110 section 9.2.1) and has no body is hedged, once a request at most, and
//! the cross-region purse pays. The loser is cancelled on the wire. A hedge that fails leaves the
//! first as it was; a first that fails, or whose region goes down, leaves the request to the hedge.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use tidegate_core::Endpoint;
use tidegate_core::retry::{Failure, Idempotency, Phase};

use crate::attempt::{Attempt, EndedBy, Fault};
use crate::clock::now;
use crate::exchange::{Exchange, HeadEvent};
use crate::head::ResponseHead;
use crate::outbound;
use crate::pipeline::Serving;
use crate::upstream::connect::ConnectError;
use crate::upstream::pool::{self, Checked};

type Connect = Pin<Box<dyn Future<Output = Result<Checked, ConnectError>>>>;

/// An attempt that runs beside another.
pub(crate) struct Hedge {
    /// None once it has taken the first one's place while it still connects.
    pub(crate) attempt: Option<Attempt>,
    state: State,
}

enum State {
    Connecting(Connect),
    Waiting { exchange: Exchange, sent: bool },
    Over,
}

/// What a hedge has come to.
pub(crate) enum Event {
    /// It has its connection, and its exchange is under way.
    Connected,
    /// Its answer has begun.
    Head(ResponseHead),
}

impl Hedge {
    /// Begins a hedge for an attempt that waits in a silent region. None if there is no reason, no
    /// right or no place for one.
    pub(crate) fn begin(serving: &mut Serving, first: &Attempt) -> Option<Box<Self>> {
        if serving.hedged || !is_hedgeable(serving) {
            return None;
        }
        let next = serving.pay_to_leave(first.place, Phase::Sent)?;
        serving.hedged = true;
        let before = serving.ask.clone();
        serving
            .ask
            .follow(&next, first.place.region, first.place.position);
        let Ok(choice) = serving.choose() else {
            serving.ask = before;
            return None;
        };
        serving.finish.retried(&next);
        let (attempt, endpoint) = serving.begin(choice);
        serving.finish.turn_to(first.nth);
        let state = State::Connecting(connect(serving, &attempt, endpoint));
        Some(Box::new(Self {
            attempt: Some(attempt),
            state,
        }))
    }

    /// Ready when something has come of it. `first` stands for its attempt once it has taken that
    /// one's place.
    pub(crate) fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        serving: &mut Serving,
        first: &mut Attempt,
    ) -> Poll<Result<Event, EndedBy>> {
        let first_nth = first.nth;
        let attempt = self.attempt.as_mut().unwrap_or(first);
        match &mut self.state {
            State::Connecting(connect) => {
                let Poll::Ready(checked) = connect.as_mut().poll(cx) else {
                    attempt.in_flight.connecting();
                    return Poll::Pending;
                };
                let checked = checked?;
                serving.finish.turn_to(attempt.nth);
                serving.connected(attempt, &checked);
                serving.finish.turn_to(first_nth);
                let exchange = outbound::begin(serving, checked)?;
                self.state = State::Waiting {
                    exchange,
                    sent: false,
                };
                Poll::Ready(Ok(Event::Connected))
            }
            State::Waiting { exchange, sent } => {
                if !*sent {
                    ready!(exchange.poll_upload(cx, &mut serving.body))?;
                    *sent = true;
                    attempt.in_flight.sent();
                    serving.finish.turn_to(attempt.nth);
                    serving.finish.sent_upstream(now());
                    serving.finish.turn_to(first_nth);
                }
                let head = ready!(poll_head(cx, exchange, attempt))?;
                let status = head.status().as_u16();
                if serving.upstream().0.retry.on.lists(status) {
                    let detail = format!("answered with status {status}");
                    let failure = Failure::Status(status);
                    return Poll::Ready(
                        Err(Fault::of(failure, Phase::HeadReceived, detail).into()),
                    );
                }
                Poll::Ready(Ok(Event::Head(head)))
            }
            State::Over => Poll::Pending,
        }
    }

    /// Its exchange, once it is connected.
    pub(crate) fn take_exchange(&mut self) -> Option<Exchange> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting { exchange, .. } => Some(exchange),
            other => {
                self.state = other;
                None
            }
        }
    }
}

fn is_hedgeable(serving: &Serving) -> bool {
    serving.admitted.idempotency == Idempotency::Safe
        && serving.body.is_empty()
        && serving.head.upgrade().is_none()
}

/// Owns what it needs, because it is polled beside the first attempt.
fn connect(serving: &Serving, attempt: &Attempt, endpoint: Endpoint) -> Connect {
    let (context, bound) = (serving.context.clone(), serving.bound.clone());
    let (upstream, position) = (serving.route().upstream, attempt.place.position);
    let freshness = serving.freshness();
    Box::pin(async move {
        let target = bound.target(upstream, position, &endpoint);
        pool::checkout(&context.worker, &target, freshness).await
    })
}

/// The final head. Interim ones are a sign of life and nothing more: they are the winner's to give.
fn poll_head(
    cx: &mut TaskContext<'_>,
    exchange: &mut Exchange,
    attempt: &Attempt,
) -> Poll<Result<ResponseHead, EndedBy>> {
    loop {
        match ready!(exchange.poll_head(cx))? {
            HeadEvent::Final(head) => return Poll::Ready(Ok(head)),
            HeadEvent::Interim(_) => attempt.in_flight.heard(now()),
        }
    }
}
