//! What is remembered of a request while it runs, and what is done at its end: one termination
//! reason, one metrics update, one record in the access log, every attempt on it.
//!
//! A `Finish` that is dropped without having been ended counts as a client that went away: whatever
//! cancels a request's future, nothing stays in flight and nothing goes uncounted.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use smallvec::SmallVec;
use tidegate_core::cell::ErrorClass;
use tidegate_core::retry::{Failure, Idempotency, NextTry, Phase, WhyNot};
use tidegate_core::{Decision, InFlight, RouteIdx, Termination};
use tidegate_telemetry::labels::{AttemptOutcome, Label, RetryScope};

use crate::attempt::Place;
use crate::clock::now;
use crate::context::Context;
use crate::head::RequestHead;
use crate::record::{Ended, Record};
use crate::request_id::RequestId;
use crate::worker::Bound;

/// The account of one request.
pub(crate) struct Finish {
    context: Rc<Context>,
    bound: Option<Rc<Bound>>,
    route: Option<RouteIdx>,
    started: Instant,
    first_byte: Option<Duration>,
    status: Option<StatusCode>,
    /// Whether the answer is an upstream's.
    relayed: bool,
    reason: Option<Termination>,
    tries: SmallVec<[Try; 1]>,
    /// The attempt that is told of: the last, unless a hedge runs beside it or lost.
    current: usize,
    next_scope: Option<RetryScope>,
    why_not: Option<WhyNot>,
    /// What a person needs to know, if the fault is the client's.
    said: Option<String>,
    received: u64,
    sent: u64,
    in_flight: Option<InFlight>,
    /// What only the access log wants; none while it is off.
    record: Option<Box<Record>>,
    ended: bool,
}

/// The account of one attempt.
pub(crate) struct Try {
    pub(crate) place: Place,
    pub(crate) endpoint: Arc<str>,
    pub(crate) began: Instant,
    pub(crate) connect: Option<Duration>,
    pub(crate) reused: bool,
    pub(crate) sent_at: Option<Instant>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: Option<AttemptOutcome>,
    pub(crate) phase: Phase,
    pub(crate) took: Duration,
    pub(crate) detail: Option<String>,
}

impl Finish {
    /// Opens the account of a request whose head has arrived.
    pub(crate) fn begin(context: &Rc<Context>, head: &RequestHead, id: &RequestId) -> Self {
        Self::open(context, || Record::of(head, id))
    }

    /// Opens the account of something that was no request.
    pub(crate) fn unparsed(context: &Rc<Context>, id: &RequestId) -> Self {
        Self::open(context, || Record::unparsed(id))
    }

    fn open(context: &Rc<Context>, record: impl FnOnce() -> Record) -> Self {
        Self {
            context: context.clone(),
            bound: None,
            route: None,
            started: now(),
            first_byte: None,
            status: None,
            relayed: false,
            reason: None,
            tries: SmallVec::new(),
            current: 0,
            next_scope: None,
            why_not: None,
            said: None,
            received: 0,
            sent: 0,
            in_flight: None,
            record: context.worker.logs().then(|| Box::new(record())),
            ended: false,
        }
    }

    /// The request takes this route.
    pub(crate) fn admitted(&mut self, bound: &Rc<Bound>, route: RouteIdx) {
        self.bound = Some(bound.clone());
        self.route = Some(route);
    }

    /// A decision fell.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        if let Some(record) = &mut self.record {
            record.decided(decision);
        }
    }

    /// An attempt begins, and is what is told of. Returns its number.
    pub(crate) fn attempt_begins(&mut self, place: Place, endpoint: &Arc<str>) -> usize {
        if let (Some(scope), Some((bound, upstream))) = (self.next_scope.take(), self.upstream()) {
            bound
                .series
                .upstream(upstream, place.position)
                .retried(scope);
        }
        self.tries.push(Try {
            place,
            endpoint: endpoint.clone(),
            began: now(),
            connect: None,
            reused: false,
            sent_at: None,
            status: None,
            outcome: None,
            phase: Phase::Connecting,
            took: Duration::ZERO,
            detail: None,
        });
        self.current = self.tries.len() - 1;
        self.current
    }

    /// What follows is told of the attempt with this number.
    pub(crate) fn turn_to(&mut self, nth: usize) {
        self.current = nth;
    }

    fn current(&self) -> Option<&Try> {
        self.tries.get(self.current)
    }

    /// The attempt has a connection.
    pub(crate) fn connected(&mut self, reused: bool, connect: Option<Duration>) {
        let Some(attempt) = self.tries.get_mut(self.current) else {
            return;
        };
        attempt.reused = reused;
        attempt.connect = connect;
        attempt.phase = Phase::NothingSent;
    }

    /// The whole request was handed to the attempt.
    pub(crate) fn sent_upstream(&mut self, at: Instant) {
        if let Some(attempt) = self.tries.get_mut(self.current) {
            attempt.sent_at = Some(at);
            attempt.phase = Phase::Sent;
        }
    }

    /// The attempt's answer has begun; says how long the endpoint took for it, from when it had
    /// the whole request.
    pub(crate) fn head_received(&mut self, status: StatusCode, at: Instant) -> Duration {
        let Some(attempt) = self.tries.get_mut(self.current) else {
            return Duration::ZERO;
        };
        attempt.status = Some(status);
        attempt.phase = Phase::HeadReceived;
        attempt.outcome = Some(AttemptOutcome::Answered);
        attempt.took = at.saturating_duration_since(attempt.began);
        let connected = attempt.began + attempt.connect.unwrap_or_default();
        at.saturating_duration_since(attempt.sent_at.unwrap_or(connected).max(connected))
    }

    /// The attempt failed.
    pub(crate) fn attempt_failed(
        &mut self,
        failure: Failure,
        phase: Phase,
        detail: String,
        at: Instant,
    ) {
        let region = self.region();
        let context = self.context.clone();
        if let Some(attempt) = self.tries.get_mut(self.current) {
            attempt.phase = phase;
            attempt.detail = Some(detail);
            tracing::debug!(
                client = context.client(), region = region.as_deref(), endpoint = %attempt.endpoint,
                ?failure, ?phase, detail = attempt.detail, "attempt failed"
            );
        }
        self.attempt_ends(failure.into(), at);
    }

    /// A hedge answered first.
    pub(crate) fn attempt_hedged(&mut self, at: Instant) {
        self.attempt_ends(AttemptOutcome::Hedged, at);
    }

    /// Nobody waits for the attempt any more.
    pub(crate) fn attempt_abandoned(&mut self, at: Instant) {
        self.attempt_ends(AttemptOutcome::Abandoned, at);
    }

    fn attempt_ends(&mut self, outcome: AttemptOutcome, at: Instant) {
        let upstream = self
            .upstream()
            .map(|(bound, upstream)| (bound.clone(), upstream));
        let Some(attempt) = self.tries.get_mut(self.current) else {
            return;
        };
        attempt.outcome = Some(outcome);
        attempt.took = at.saturating_duration_since(attempt.began);
        if let Some((bound, upstream)) = upstream {
            bound
                .series
                .upstream(upstream, attempt.place.position)
                .attempted(outcome);
        }
    }

    /// The answer's status was a failure, and another attempt follows.
    pub(crate) fn retried(&mut self, next: &NextTry) {
        self.next_scope = Some(next.to.into());
        if self
            .current()
            .is_some_and(|attempt| attempt.outcome == Some(AttemptOutcome::Answered))
        {
            self.attempt_ends(AttemptOutcome::Status, now());
        }
    }

    /// No other attempt is made.
    pub(crate) fn refused_retry(&mut self, why: WhyNot) {
        self.why_not = Some(why);
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
        self.first_byte = Some(self.started.elapsed_until(now()));
        self.status = Some(status);
        self.relayed = true;
        self.reason = passed;
        self.in_flight = Some(in_flight);
    }

    /// The request fails for this reason.
    pub(crate) fn failed(&mut self, termination: Termination) {
        self.reason = Some(termination);
    }

    /// The answer is one of our own.
    pub(crate) fn answered_locally(&mut self, status: StatusCode) {
        self.first_byte = Some(self.started.elapsed_until(now()));
        self.status = Some(status);
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
            let _infallible = write!(text, "; not tried again: {}", why.word());
        }
        Some(text)
    }

    /// Whether a request that must not be done twice was sent and never answered.
    pub(crate) fn outcome_unknown(&self, idempotency: Idempotency) -> bool {
        let not_twice = matches!(idempotency, Idempotency::No | Idempotency::Keyed);
        let unanswered = |attempt: &Try| attempt.phase == Phase::Sent && attempt.status.is_none();
        not_twice && self.tries.iter().any(unanswered)
    }

    /// The region of the last attempt.
    pub(crate) fn region(&self) -> Option<Arc<str>> {
        self.region_name(self.current()?.place).cloned()
    }

    fn region_name(&self, place: Place) -> Option<&Arc<str>> {
        Some(&self.bound.as_ref()?.live.plan.region(place.region).name)
    }

    /// Metrics for `Server-Timing`: connect and time to the head of the last attempt, and the whole
    /// so far, in milliseconds.
    pub(crate) fn server_timing(&self) -> String {
        let mut text = String::new();
        let milliseconds = |span: Duration| span.as_secs_f64() * 1e3;
        if let Some(last) = self.current() {
            let _infallible = write!(
                text,
                "connect;dur={:.1}, upstream;dur={:.1}, ",
                milliseconds(last.connect.unwrap_or_default()),
                milliseconds(last.took),
            );
        }
        let _infallible = write!(
            text,
            "proxy;dur={:.1}",
            milliseconds(self.started.elapsed_until(now()))
        );
        text
    }

    /// Closes the account.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let at = now();
        let reason = self.reason.unwrap_or(match self.status {
            Some(_) => Termination::Completed,
            None => Termination::ClientGone,
        });
        self.end_last_attempt(reason, at);
        self.in_flight = None;
        let metrics = &self.context.worker.shared.metrics;
        metrics.terminated(reason);
        self.count(reason, at);
        self.log(reason, at);
    }

    fn end_last_attempt(&mut self, reason: Termination, at: Instant) {
        let truncated = matches!(
            reason,
            Termination::UpstreamTruncated | Termination::BadResponse
        );
        if !self
            .current()
            .is_some_and(|attempt| attempt.outcome == Some(AttemptOutcome::Answered))
        {
            return;
        }
        let took = self
            .current()
            .map_or(Duration::ZERO, |attempt| attempt.took);
        let outcome = match (reason, truncated) {
            (_, true) => AttemptOutcome::Truncated,
            (Termination::StatusPassed, _) => AttemptOutcome::Status,
            _ => AttemptOutcome::Answered,
        };
        self.attempt_ends(outcome, at);
        if let Some(attempt) = self.tries.get_mut(self.current) {
            attempt.took = took;
        }
        if let (true, Some(in_flight)) = (truncated, &mut self.in_flight) {
            in_flight.failed(ErrorClass::Reset, at);
        }
    }

    fn count(&self, reason: Termination, at: Instant) {
        let Some(bound) = self.bound.clone().or_else(|| self.context.worker.bound()) else {
            return;
        };
        let position = self.answered_by().map(|attempt| attempt.place.position);
        bound
            .series
            .get(self.route, position)
            .record(self.status, self.started.elapsed_until(at));
        if let Some((from, to)) = self.rescue(reason) {
            let why = from.outcome.unwrap_or(AttemptOutcome::Abandoned);
            bound
                .series
                .rescued(from.place.region, to.place.region, why);
        }
    }

    /// The attempt whose answer the client got, unless the answer was one of our own.
    fn answered_by(&self) -> Option<&Try> {
        self.current().filter(|_| self.relayed)
    }

    /// The first attempt, which failed, and the one that answered: a rescue.
    fn rescue(&self, reason: Termination) -> Option<(&Try, &Try)> {
        let delivered = matches!(
            reason,
            Termination::Completed | Termination::Tunnelled | Termination::DrainedHome
        );
        let pair = (self.tries.first()?, self.answered_by()?);
        (delivered && self.current > 0).then_some(pair)
    }

    fn log(&mut self, reason: Termination, at: Instant) {
        let Some(record) = self.record.take() else {
            return;
        };
        record.write(
            &self.context,
            &Ended {
                bound: self.bound.as_deref(),
                route: self.route,
                status: self.status,
                reason,
                received: self.received,
                sent: self.sent,
                took: self.started.elapsed_until(at),
                first_byte: self.first_byte,
                rescued: self.rescue(reason).is_some(),
                tries: &self.tries,
            },
        );
    }

    fn upstream(&self) -> Option<(&Rc<Bound>, tidegate_core::UpstreamIdx)> {
        let bound = self.bound.as_ref()?;
        Some((bound, bound.live.plan.route(self.route?).upstream))
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if !self.ended {
            self.reason.get_or_insert(Termination::ClientGone);
            self.end();
        }
    }
}

/// Spans between two readings of our own clock.
trait ElapsedUntil {
    fn elapsed_until(self, at: Instant) -> Duration;
}

impl ElapsedUntil for Instant {
    fn elapsed_until(self, at: Instant) -> Duration {
        at.saturating_duration_since(self)
    }
}
