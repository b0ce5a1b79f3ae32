//! A second attempt beside one that waits; the first head wins.
//!
//! Two causes: the first one's region has fallen silent, or its answer takes longer than the route's
//! `hedge.after`. Only what is safe (RFC 9110 section 9.2.1) and has no body is hedged, once a request
//! at most, within `retry.attempts`. The upstream's purses pay, and the route's own besides if the
//! cause is slowness. A head whose status `retry.on` lists does not win while the other may still
//! answer. The loser is cancelled on the wire. A hedge that fails leaves the first as it was; a first
//! that fails, or whose region goes down, leaves the request to the hedge.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use tidegate_core::Endpoint;
use tidegate_core::choose::Choice;
use tidegate_core::hedge::HedgeCell;
use tidegate_core::retry::{Destination, Failure, Idempotency, NextTries, NextTry, Phase, beside};
use tidegate_telemetry::labels::HedgeCause;

use crate::attempt::{Attempt, EndedBy, Head, Place};
use crate::clock::now;
use crate::exchange::{Exchange, HeadEvent};
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
    Waiting(Exchange),
    Answered(Exchange, Head),
    Over,
}

/// What a hedge has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It has its connection, and its exchange is under way.
    Connected,
    /// Its answer has begun.
    Answered,
}

/// How far a hedge had got when it was taken over.
pub(crate) enum Taken {
    /// It still connects, and goes on doing so.
    Connecting,
    /// Its answer has yet to begin.
    Waiting(Exchange),
    /// Its answer has begun.
    Answered(Exchange, Head),
}

impl Hedge {
    /// Begins a hedge for an attempt that waits. None if there is no right to one, no place with room,
    /// or no token.
    pub(crate) fn begin(
        serving: &mut Serving,
        first: &Attempt,
        cause: HedgeCause,
    ) -> Option<Box<Self>> {
        if serving.hedged || !serving.is_hedgeable() {
            return None;
        }
        let (next, mut choice) = match cause {
            HedgeCause::Silent => serving.move_from(first.place, Phase::Sent)?,
            HedgeCause::Slow => serving.hedge_way(first)?,
        };
        // Who is only slow is not gone: his clients stay bound to him.
        choice.bind &= cause == HedgeCause::Silent || first.place.bind;
        serving.hedged = true;
        serving.finish.hedging(next.to, cause);
        let attempt = serving.begin(&choice);
        serving.finish.turn_to(first.nth);
        let state = State::Connecting(connect(serving, &attempt, choice.endpoint().clone()));
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
                let exchange = outbound::begin(serving, checked);
                serving.finish.turn_to(first_nth);
                self.state = State::Waiting(exchange?);
                Poll::Ready(Ok(Event::Connected))
            }
            State::Waiting(exchange) => {
                if attempt.sent.is_none() {
                    ready!(exchange.poll_upload(cx, &mut serving.body))?;
                    serving.finish.turn_to(attempt.nth);
                    serving.sent(attempt);
                    serving.finish.turn_to(first_nth);
                }
                let head = ready!(poll_head(cx, exchange, attempt))?;
                self.answered(head);
                Poll::Ready(Ok(Event::Answered))
            }
            State::Answered(..) | State::Over => Poll::Pending,
        }
    }

    fn answered(&mut self, head: Head) {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(exchange) => State::Answered(exchange, head),
            other => other,
        };
    }

    /// The head that it was answered with, once it was.
    pub(crate) fn head(&self) -> Option<&Head> {
        match &self.state {
            State::Answered(_, head) => Some(head),
            _ => None,
        }
    }

    /// Where it is made; none once it has taken the first one's place.
    pub(crate) fn place(&self) -> Option<Place> {
        self.attempt.as_ref().map(|attempt| attempt.place)
    }

    /// What it has come to, for whoever goes on with it.
    pub(crate) fn take(&mut self) -> Taken {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(exchange) => Taken::Waiting(exchange),
            State::Answered(exchange, head) => Taken::Answered(exchange, head),
            connecting => {
                self.state = connecting;
                Taken::Connecting
            }
        }
    }
}

impl Serving {
    /// Enters a request in what retries and hedges are parts of.
    pub(crate) fn deposit(&self) {
        let at = now();
        self.upstream().1.budget.deposit(at);
        if let Some(cell) = self.hedge_cell() {
            cell.deposit(at);
        }
    }

    fn hedge_cell(&self) -> Option<&HedgeCell> {
        self.admitted.route.hedge.as_deref()
    }

    fn is_hedgeable(&self) -> bool {
        self.admitted.idempotency == Idempotency::Safe
            && self.body.is_empty()
            && !self.admitted.upgrade
            // Nor the rest of an answer that broke off.
            && self.part.is_none()
    }

    /// When a hedge is due for an attempt that waits. None: never.
    pub(crate) fn hedge_due(&self, attempt: &Attempt) -> Option<Instant> {
        let (cell, hedge) = self.hedge_cell().zip(self.route().hedge.as_ref())?;
        if self.hedged || !self.is_hedgeable() {
            return None;
        }
        Some(attempt.began + cell.delay(hedge, now())?)
    }

    /// Enters how long an attempt was waited for until an answer came, from wherever. Only the first of
    /// a request tells how long its route's answers take.
    pub(crate) fn observe_wait(&self, attempt: &Attempt, until: Instant) {
        let Some(cell) = self.hedge_cell() else {
            return;
        };
        if attempt.nth == 0 && self.is_hedgeable() {
            cell.observe(until.saturating_duration_since(attempt.began), until);
        }
    }

    /// Chooses and pays for a hedge of an attempt that is slow.
    fn hedge_way(&mut self, first: &Attempt) -> Option<(NextTry, Choice)> {
        let place = first.place;
        let before = self.ask.clone();
        self.ask
            .tried_endpoints
            .insert(place.position, place.set_version, place.at);
        let found = self.hedge_ways(first).as_slice().iter().find_map(|way| {
            self.try_way(way, place, |serving, choice| {
                serving.is_hedge(way.to, first, choice) && serving.pays_hedge(way)
            })
        });
        if found.is_none() {
            self.ask = before;
        }
        found
    }

    fn hedge_ways(&self, first: &Attempt) -> NextTries {
        let to = self.route().hedge.map(|hedge| hedge.to).unwrap_or_default();
        let situation = self.situation(Failure::Timeout, Phase::Sent);
        let reach = self.reach(first.place);
        beside(&self.upstream().0.retry, to, &situation, reach)
    }

    /// Whether what was chosen is where a hedge is to go: never the endpoint that it doubts, nor a
    /// region that is silent or being tried.
    fn is_hedge(&self, to: Destination, first: &Attempt, choice: &Choice) -> bool {
        let doubted = first.in_flight.endpoint();
        let stays = choice.region == first.place.region;
        stays == (to == Destination::OtherEndpoint)
            && !std::ptr::eq(&*choice.endpoint().cell, doubted)
            && self.is_trusted(choice)
    }

    fn is_trusted(&self, choice: &Choice) -> bool {
        let region = &self.upstream().1.regions[usize::from(choice.position)];
        let standing = region.cell.standing();
        !standing.probation && !standing.suspected && standing.health.usable()
    }

    fn pays_hedge(&self, next: &NextTry) -> bool {
        let budget = &self.upstream().1.budget;
        let paid = |cell: &HedgeCell| cell.pay(budget, next.purse(), now());
        self.hedge_cell().is_some_and(paid)
    }
}

/// Owns what it needs, because it is polled beside the first attempt.
fn connect(serving: &Serving, attempt: &Attempt, endpoint: Endpoint) -> Connect {
    let (context, upstream) = (serving.context.clone(), serving.admitted.upstream.clone());
    let position = attempt.place.position;
    let freshness = serving.freshness();
    Box::pin(async move {
        let target = upstream.target(position, &endpoint);
        pool::checkout(&context.worker, &target, freshness).await
    })
}

/// The final head. Interim ones are a sign of life and nothing more: they are the winner's to give.
fn poll_head(
    cx: &mut TaskContext<'_>,
    exchange: &mut Exchange,
    attempt: &Attempt,
) -> Poll<Result<Head, EndedBy>> {
    loop {
        match ready!(exchange.poll_head(cx))? {
            HeadEvent::Final(head) => return Poll::Ready(Ok(Head { head, at: now() })),
            HeadEvent::Interim(_) => attempt.in_flight.heard(now()),
        }
    }
}
