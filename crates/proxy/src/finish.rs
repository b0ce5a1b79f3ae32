//! What is remembered of a request while it runs, and what is done at its end: one termination
//! reason, one metrics update, one record in the access log, every attempt on it. Attempts are entered
//! in `attempts`, kept in `tries`, and closed with the rest in `end`.
//!
//! A `Finish` that is dropped without having been ended counts as a client that went away: whatever
//! cancels a request's future, nothing stays in flight and nothing goes uncounted.

mod attempts;
mod end;
mod noted;
mod tries;

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use tidegate_core::pins::Hold;
use tidegate_core::record::Then;
use tidegate_core::retry::{Destination, Idempotency, Phase, WhyNot};
use tidegate_core::{Decision, InFlight, Lot, Termination};
use tidegate_telemetry::labels::{AttemptOutcome, FaultKind, Label, ReplayLost};

use crate::admit::Admitted;
use crate::attempt::Place;
use crate::clock::{now, span};
use crate::context::Context;
use crate::head::RequestHead;
use crate::held::{HeldRoute, HeldUpstream};
use crate::orca;
use crate::record::Record;
use crate::recorder::{First, Notes};
use crate::request_id::RequestId;
use crate::said::Ears;

use tries::Tries;

pub(crate) use tries::{Made, Try};

/// The account of one request. Boxed, because it is handed on.
pub(crate) struct Finish {
    context: Rc<Context>,
    id: RequestId,
    /// What chance gave it.
    lot: Lot,
    route: Option<Rc<HeldRoute>>,
    upstream: Option<Rc<HeldUpstream>>,
    /// What its generation counts it as, while it counts it.
    hold: Option<Hold>,
    started: Instant,
    first_byte: Option<Instant>,
    status: Option<StatusCode>,
    reason: Option<Termination>,
    tries: Tries,
    /// Where the next attempt goes, seen from the last, and what it is made for.
    next_to: Option<Destination>,
    next_made: Made,
    /// How often the answer was continued after it had broken.
    resumes: u8,
    /// Why no other attempt was made.
    why_not: Option<&'static str>,
    /// What a person needs to know, if the fault is the client's.
    said: Option<String>,
    received: u64,
    sent: u64,
    in_flight: Option<InFlight>,
    /// What only the access log wants; none while it is off.
    record: Option<Box<Record>>,
    /// What is noted of its decisions, to be recorded.
    notes: Option<Box<Notes>>,
    /// Its first decision, while nothing is noted.
    first: Option<First>,
    /// The state of chance before the last decision that was not noted.
    seed: u64,
    /// It is that of a copy: its attempts count, and nothing else of it does.
    is_copy: bool,
    ended: bool,
}

impl Finish {
    /// Opens the account of a request whose head has arrived.
    pub(crate) fn begin(context: &Rc<Context>, head: &RequestHead, id: &RequestId) -> Box<Self> {
        Self::open(context, id, || Record::of(head))
    }

    /// Opens the account of something that was no request.
    pub(crate) fn unparsed(context: &Rc<Context>, id: &RequestId) -> Box<Self> {
        Self::open(context, id, Record::unparsed)
    }

    fn open(context: &Rc<Context>, id: &RequestId, record: impl FnOnce() -> Record) -> Box<Self> {
        let record = context.worker.logs().then(|| Box::new(record()));
        let lot = Lot::draw(&mut context.worker.rng.borrow_mut());
        Self::with(context, (id.clone(), lot), record)
    }

    fn with(
        context: &Rc<Context>,
        (id, lot): (RequestId, Lot),
        record: Option<Box<Record>>,
    ) -> Box<Self> {
        Box::new(Self {
            context: context.clone(),
            id,
            lot,
            route: None,
            upstream: None,
            hold: None,
            started: now(),
            first_byte: None,
            status: None,
            reason: None,
            tries: Tries::default(),
            next_to: None,
            next_made: Made::Alone,
            resumes: 0,
            why_not: None,
            said: None,
            received: 0,
            sent: 0,
            in_flight: None,
            record,
            notes: None,
            first: None,
            seed: 0,
            is_copy: false,
            ended: false,
        })
    }

    /// Opens the account of the copy of a request.
    pub(crate) fn of_copy(context: &Rc<Context>, admitted: &Admitted) -> Box<Self> {
        let mut finish = Self::with(context, (RequestId::NONE, Lot::default()), None);
        finish.is_copy = true;
        finish.admitted(admitted);
        finish
    }

    /// An account that is closed already and counts nothing: it stands where another one is while that is
    /// elsewhere.
    pub(crate) fn closed(context: &Rc<Context>) -> Box<Self> {
        let mut finish = Self::with(context, (RequestId::NONE, Lot::default()), None);
        finish.ended = true;
        finish
    }

    /// What chance gave the request.
    pub(crate) fn lot(&self) -> Lot {
        self.lot
    }

    /// The request takes its route, to its upstream.
    #[inline]
    pub(crate) fn admitted(&mut self, admitted: &Admitted) {
        let hold = match self.is_copy {
            true => Hold::Copy,
            false => Hold::Request,
        };
        self.holds_route(&admitted.route, hold);
        self.upstream = Some(admitted.upstream.clone());
        let rewritten = admitted.acts.as_ref().and_then(|acts| acts.target());
        if let (Some(record), Some(target)) = (&mut self.record, rewritten) {
            record.rewritten(target);
        }
    }

    /// The request takes a route that answers by itself.
    pub(crate) fn takes(&mut self, route: &Rc<HeldRoute>) {
        self.holds_route(route, Hold::Request);
    }

    fn holds_route(&mut self, route: &Rc<HeldRoute>, hold: Hold) {
        route.pins.begin(hold);
        self.hold = Some(hold);
        self.route = Some(route.clone());
    }

    /// A fault was injected.
    pub(crate) fn injected(&mut self, kind: FaultKind) {
        if let Some(record) = &mut self.record {
            record.injected(kind);
        }
    }

    /// What it is from now on, to its generation.
    pub(crate) fn holds(&mut self, hold: Hold) {
        if let (Some(route), Some(before)) = (&self.route, &mut self.hold) {
            route.pins.turn(std::mem::replace(before, hold), hold);
        }
    }

    /// A decision fell.
    #[inline(always)]
    pub(crate) fn decided(&mut self, decision: Decision) {
        if let Some(record) = &mut self.record {
            record.decided(&decision);
        }
        self.note_decided(decision);
    }

    /// No other attempt is made.
    pub(crate) fn refused_retry(&mut self, why: WhyNot) {
        self.why_not = Some(why.word());
        self.note_then(Then::Stop(why));
        self.context.worker.shared.metrics.retry_refused(why);
    }

    /// The head goes to the client. `passed` is the reason if the answer is an error that nothing
    /// else could be tried for.
    pub(crate) fn committed(
        &mut self,
        status: StatusCode,
        passed: Option<Termination>,
        in_flight: InFlight,
    ) {
        self.first_byte = Some(now());
        self.status = Some(status);
        self.reason = passed;
        self.tries.answers();
        self.in_flight = Some(in_flight);
    }

    /// The request fails for this reason.
    pub(crate) fn failed(&mut self, termination: Termination) {
        self.reason = Some(termination);
    }

    /// The answer is one of our own.
    pub(crate) fn answered_locally(&mut self, status: StatusCode) {
        self.first_byte = Some(now());
        self.status = Some(status);
    }

    /// The request's body is no longer kept, for this reason. Counts nothing.
    pub(crate) fn replay_lost(&mut self, why: ReplayLost) {
        if let Some(record) = &mut self.record {
            record.replay_lost(why);
        }
    }

    /// The request's body was read whole before it was sent. Counts nothing.
    pub(crate) fn gathered(&mut self) {
        if let Some(record) = &mut self.record {
            record.gathered();
        }
    }

    /// Bytes of content that the client sent.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.received = bytes;
    }

    /// Bytes of content that went to the client.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The exchange broke after the head.
    pub(crate) fn broke(&mut self, termination: Termination) {
        self.reason = Some(termination);
    }

    /// The client was told of the switch in its own protocol's words.
    pub(crate) fn switched(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// An answer had a report of load that is none.
    pub(crate) fn misreported(&self) {
        tracing::debug!(
            region = self.region().as_deref(),
            "malformed report of load"
        );
        if let Some(upstream) = &self.upstream {
            upstream.series.service().misreported();
        }
    }

    /// The answer's trailers have come: what they report of its place's load is entered and taken out.
    pub(crate) fn trailed(&self, trailers: &mut HeaderMap) {
        let Some((report, upstream)) = orca::take(trailers).zip(self.upstream.as_ref()) else {
            return;
        };
        let Some(from) = &self.in_flight else {
            return;
        };
        let ears = Ears::of(&upstream.wanted);
        if !ears.are_shut() && ears.hear_load(report, from, now()).is_err() {
            self.misreported();
        }
    }

    /// A byte came from the region that answered.
    pub(crate) fn heard(&self, at: Instant) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.heard(at);
        }
    }

    /// A tunnel has ended for this reason, having moved so much.
    pub(crate) fn tunnelled(&mut self, reason: Termination, up: u64, down: u64) {
        self.received = up;
        self.sent = down;
        self.reason = Some(reason);
    }

    /// The client's request is at fault, in these words.
    pub(crate) fn explain(&mut self, said: String) {
        self.said = Some(said);
    }

    /// What a person needs to know of the last failure, and why it was the last.
    pub(crate) fn detail(&self) -> Option<String> {
        if self.said.is_some() {
            return self.said.clone();
        }
        let last = self
            .tries
            .all()
            .iter()
            .rev()
            .find(|attempt| attempt.detail.is_some())?;
        let mut text = format!(
            "{} ({}): {}",
            self.region_name(last.place)?,
            last.endpoint,
            last.detail.as_deref()?
        );
        if let Some(why) = self.why_not {
            let _infallible = write!(text, "; not tried again: {why}");
        }
        Some(text)
    }

    /// Whether a request that must not be done twice was sent and never answered.
    pub(crate) fn outcome_unknown(&self, idempotency: Idempotency) -> bool {
        let refused = |attempt: &Try| attempt.outcome == Some(AttemptOutcome::Refused);
        let unanswered = |attempt: &Try| {
            attempt.phase >= Phase::Sent && attempt.status.is_none() && !refused(attempt)
        };
        idempotency.is_once() && self.tries.all().iter().any(unanswered)
    }

    /// The address of the endpoint that answers.
    pub(crate) fn answering(&self) -> Option<&str> {
        self.tries.answered().map(|attempt| &*attempt.endpoint)
    }

    /// The address of the endpoint that the attempt goes to at which the books are open.
    pub(crate) fn attempted(&self) -> Option<&str> {
        self.tries.current().map(|attempt| &*attempt.endpoint)
    }

    /// The region that answers.
    pub(crate) fn answered_from(&self) -> Option<&str> {
        let place = self.tries.answered()?.place;
        self.region_name(place).map(|name| &**name)
    }

    /// The region of the last attempt.
    pub(crate) fn region(&self) -> Option<Arc<str>> {
        self.region_name(self.tries.current()?.place).cloned()
    }

    fn region_name(&self, place: Place) -> Option<&Arc<str>> {
        Some(self.route.as_ref()?.region(place.region))
    }

    /// Metrics for `Server-Timing`: connect and time to the head of the last attempt, and the whole
    /// so far, in milliseconds.
    pub(crate) fn server_timing(&self) -> String {
        let mut text = String::new();
        let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
        if let Some(last) = self.tries.current() {
            let _infallible = write!(
                text,
                "connect;dur={:.1}, upstream;dur={:.1}, ",
                milliseconds(last.connect.unwrap_or_default()),
                milliseconds(last.took()),
            );
        }
        let _infallible = write!(
            text,
            "proxy;dur={:.1}",
            milliseconds(span(self.started, now()))
        );
        text
    }
}
