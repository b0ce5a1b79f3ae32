//! What becomes of a request's attempts, entered as it happens.
//!
//! Retries, re-dispatches and resumes are counted when they happen, the ends of attempts when they
//! end; `end` closes and counts what was left open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tidegate_core::InFlight;
use tidegate_core::cell::ErrorClass;
use tidegate_core::retry::{Destination, Failure, NextTry, Phase};
use tidegate_telemetry::labels::{AttemptOutcome, HedgeCause, ResumeResult};
use tidegate_telemetry::metrics::UpstreamSeries;

use super::Finish;
use super::tries::{Made, Try};
use crate::attempt::Place;
use crate::clock::now;

impl Finish {
    /// An attempt begins, and is what is told of. Returns its number.
    pub(crate) fn attempt_begins(&mut self, place: Place, endpoint: &Arc<str>) -> usize {
        if let Some(to) = self.next_to.take()
            && let Some(series) = self.series(place)
        {
            series.retried(to.into());
        }
        let made = std::mem::take(&mut self.next_made);
        if !matches!(made, Made::Beside(_)) {
            self.count_redispatch();
        }
        let nth = self.tries.push(Try::begin(place, endpoint, now(), made));
        if let Some(notes) = &mut self.notes {
            notes.begins(nth);
        }
        nth
    }

    /// What follows is told of the attempt with this number.
    pub(crate) fn turn_to(&mut self, nth: usize) {
        self.tries.turn_to(nth);
    }

    /// The attempt has a connection.
    pub(crate) fn connected(&mut self, reused: bool, connect: Option<Duration>) {
        if let Some(attempt) = self.tries.current_mut() {
            attempt.reused = reused;
            attempt.connect = connect;
            attempt.phase = Phase::NothingSent;
        }
    }

    /// The whole request was handed to the attempt.
    pub(crate) fn sent_upstream(&mut self, at: Instant) {
        if let Some(attempt) = self.tries.current_mut() {
            attempt.sent_at = Some(at);
            attempt.phase = Phase::Sent;
        }
    }

    /// The attempt is given up by the client or for its sake, and got so far: a part of the request may
    /// have been processed.
    pub(crate) fn got_to(&mut self, phase: Phase) {
        if let Some(attempt) = self.tries.current_mut() {
            attempt.phase = attempt.phase.max(phase);
        }
    }

    /// The attempt's answer has begun; says how long the endpoint took for it, from when it had
    /// the whole request.
    pub(crate) fn head_received(&mut self, status: StatusCode, at: Instant) -> Duration {
        match self.tries.current_mut() {
            Some(attempt) => attempt.head(status, at),
            None => Duration::ZERO,
        }
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
        if let Some(attempt) = self.tries.current_mut() {
            tracing::debug!(
                client = %self.context.facts.client, region = region.as_deref(),
                endpoint = %attempt.endpoint, ?failure, ?phase, detail, "attempt failed"
            );
            attempt.fault(failure, phase, detail);
        }
        self.attempt_ends(failure.into(), at);
        if self.tries.another_waits() {
            self.count_redispatch();
        }
    }

    /// The current attempt is about to be replaced by another: by the next, or by a hedge that waits.
    fn count_redispatch(&self) {
        let given_up = |attempt: &&Try| attempt.outcome == Some(AttemptOutcome::RegionDown);
        if let Some(left) = self.tries.current().filter(given_up)
            && let Some(series) = self.series(left.place)
        {
            series.redispatched();
        }
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
        let place = self.tries.close(outcome, at).map(|attempt| attempt.place);
        self.count_end(place, outcome);
    }

    /// Counts the end of an attempt there.
    pub(super) fn count_end(&self, place: Option<Place>, outcome: AttemptOutcome) {
        if let Some(series) = place.and_then(|place| self.series(place)) {
            series.attempted(outcome);
        }
    }

    /// Another attempt follows. If this one gave an answer, that was a failure: by its status, or by
    /// its code of gRPC if one was entered.
    pub(crate) fn retried(&mut self, next: &NextTry) {
        self.next_to = Some(next.to);
        self.note_next(next);
        let answered = |attempt: &&Try| attempt.outcome == Some(AttemptOutcome::Answered);
        if let Some(outcome) = self.tries.current().filter(answered).map(Try::declared) {
            self.attempt_ends(outcome, now());
        }
    }

    /// The attempt that begins next is a hedge, and goes there.
    pub(crate) fn hedging(&mut self, to: Destination, why: HedgeCause) {
        self.next_to = Some(to);
        self.next_made = Made::Beside(why);
    }

    /// The answer of the attempt is the failure of a call of gRPC, with this code.
    pub(crate) fn grpc_failed(&mut self, code: u8) {
        if let Some(attempt) = self.tries.current_mut() {
            attempt.grpc = Some(code);
        }
    }

    /// The attempt whose answer the client gets broke within its body, of which the client has `bytes`
    /// from it, for the reason that `detail` tells. Its books are closed, also those of the cells; what
    /// begins next may continue it.
    pub(crate) fn attempt_truncated(
        &mut self,
        class: ErrorClass,
        detail: String,
        at: Instant,
        bytes: u64,
    ) {
        if let Some(attempt) = self.tries.answered_mut() {
            attempt.bytes = Some(bytes);
            attempt.detail = Some(detail);
        }
        if let Some(mut in_flight) = self.in_flight.take() {
            in_flight.failed(class, at);
        }
        let outcome = AttemptOutcome::Truncated;
        let closed = self.tries.close_answered(outcome, at);
        let place = closed.map(|attempt| attempt.place);
        self.count_end(place, outcome);
    }

    /// The attempt that begins next is to continue the answer, and goes there.
    pub(crate) fn resuming(&mut self, next: &NextTry) {
        self.next_to = Some(next.to);
        self.note_next(next);
        self.next_made = Made::ToResume;
    }

    /// The attempt answered, but not with what continues the answer: `misfit` says what does not fit.
    pub(crate) fn attempt_mismatched(&mut self, misfit: String, at: Instant) {
        let failed = |status: StatusCode| status.is_server_error();
        if let Some(attempt) = self.tries.current_mut() {
            attempt.detail = Some(misfit);
        }
        let current = self.tries.current().and_then(|attempt| attempt.status);
        self.attempt_ends(
            match current.is_some_and(failed) {
                true => AttemptOutcome::Status,
                false => AttemptOutcome::Mismatch,
            },
            at,
        );
    }

    /// The attempt goes on with the answer that broke.
    pub(crate) fn resumed_by(&mut self, in_flight: InFlight) {
        self.count_resume(ResumeResult::Resumed);
        self.resumes = self.resumes.saturating_add(1);
        self.in_flight = Some(in_flight);
        self.tries.answers();
    }

    /// It was tried to continue the answer that broke, in vain: once for each break.
    pub(crate) fn not_resumed(&mut self, result: ResumeResult, why: &'static str) {
        self.count_resume(result);
        self.why_not = Some(why);
    }

    /// The answer that broke cannot be continued, for this reason, and that was not tried.
    pub(crate) fn not_resumable(&mut self, why: &'static str) {
        self.why_not = Some(why);
    }

    fn count_resume(&self, result: ResumeResult) {
        let pair = (self.tries.answered(), self.tries.current());
        if let (Some(route), (Some(broke), Some(last))) = (&self.route, pair) {
            let series = &route.series;
            series.resumed(broke.place.region, last.place.region, result);
        }
    }

    /// The series of the region of the request's upstream at `place`.
    pub(super) fn series(&self, place: Place) -> Option<&UpstreamSeries> {
        let upstream = self.upstream.as_ref()?;
        Some(upstream.series.region(place.position))
    }
}
