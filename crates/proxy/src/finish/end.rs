//! The end of a request: what is open is closed, and everything is counted and logged once.

use std::time::Instant;

use tidegate_core::cell::ErrorClass;
use tidegate_core::retry::WhyNot;
use tidegate_core::{Generation, Termination};
use tidegate_telemetry::labels::{AttemptOutcome, Label};

use super::Finish;
use super::tries::Try;
use crate::clock::{now, span};
use crate::record::Ended;

impl Finish {
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
        self.close_attempts(reason, at);
        self.in_flight = None;
        if let (Some(route), Some(hold)) = (&self.route, self.hold.take()) {
            route.pins.end(hold);
        }
        if self.is_copy {
            return;
        }
        let metrics = &self.context.worker.shared.metrics;
        metrics.terminated(reason);
        self.count(reason, at);
        if self.context.worker.shared.plan.is_staged() {
            self.count_stage(reason, at);
        }
        self.count_hedges();
        self.log(reason, at);
        self.record(reason, at);
    }

    /// Ends every attempt that has not ended: the one that answered, and those that nobody waits for.
    fn close_attempts(&mut self, reason: Termination, at: Instant) {
        for nth in 0..self.tries.all().len() {
            let outcome = last_outcome(&self.tries.all()[nth], reason);
            let Some(attempt) = self.tries.close_nth(nth, outcome, at) else {
                continue;
            };
            let place = attempt.place;
            self.count_end(Some(place), outcome);
            if let (AttemptOutcome::Truncated, Some(in_flight)) = (outcome, &mut self.in_flight) {
                in_flight.failed(ErrorClass::Reset, at);
            }
        }
    }

    fn count(&self, reason: Termination, at: Instant) {
        let took = span(self.started, at);
        let Some(route) = &self.route else {
            if let Some(bound) = self.context.worker.bound() {
                bound.series.unrouted().record(self.status, took);
            }
            return;
        };
        let region = self.tries.answered().map(|attempt| attempt.place.region);
        route.series.get(region).record(self.status, took);
        if let Some((from, to)) = self.rescue(reason) {
            let why = from.outcome.unwrap_or(AttemptOutcome::Abandoned);
            route
                .series
                .rescued(from.place.region, to.place.region, why);
            if let Some(series) = self.series(to.place) {
                series.rescue_added(span(from.began, to.began));
            }
        }
    }

    /// Counts the request for the comparison of the plan that serves a part with the other one.
    #[cold]
    fn count_stage(&self, reason: Termination, at: Instant) {
        let context = &self.context;
        let stage = context.worker.shared.plan.stage();
        let Some(stage) = &*stage else { return };
        let by_connection = || match stage.takes_connection(context.facts.key()) {
            true => stage.generation(),
            false => Generation::default(),
        };
        let route = self.route.as_ref();
        let under = route.map_or_else(by_connection, |route| route.generation);
        let failed = self.status.is_some_and(|status| status.is_server_error());
        let failed = failed || reason.lost() || reason == Termination::NoRoute;
        stage.count(under, failed, span(self.started, at));
    }

    fn count_hedges(&self) {
        for (attempt, why, result) in self.tries.hedges() {
            if let Some(series) = self.series(attempt.place) {
                series.hedged(why, result);
            }
        }
    }

    /// The first attempt, which failed, and the one that answered, if the client got the answer whole.
    pub(super) fn rescue(&self, reason: Termination) -> Option<(&Try, &Try)> {
        let delivered = matches!(
            reason,
            Termination::Completed | Termination::Tunnelled | Termination::DrainedHome
        );
        self.tries.rescue().filter(|_| delivered)
    }

    fn log(&mut self, reason: Termination, at: Instant) {
        let Some(record) = self.record.take() else {
            return;
        };
        self.tries.share_bytes(self.sent);
        record.write(
            &self.context,
            &Ended {
                id: &self.id,
                route: self.route.as_deref(),
                upstream: self.upstream.as_deref(),
                status: self.status,
                reason,
                received: self.received,
                sent: self.sent,
                took: span(self.started, at),
                first_byte: self.first_byte.map(|at| span(self.started, at)),
                rescued: self.rescue(reason).is_some(),
                resumes: self.resumes,
                why_not: self.why_not.or_else(|| self.why_not_after_head(reason)),
                tries: self.tries.all(),
            },
        );
    }

    /// After its head nothing is tried again, unless the answer can be continued.
    pub(super) fn why_not_after_head(&self, reason: Termination) -> Option<&'static str> {
        let broke = matches!(
            reason,
            Termination::UpstreamTruncated | Termination::BadResponse | Termination::IdleTimeout
        );
        let committed = broke && self.tries.answered().is_some();
        committed.then(|| WhyNot::Committed.word())
    }
}

/// How an attempt ended that was open when its request ended for this reason.
fn last_outcome(attempt: &Try, reason: Termination) -> AttemptOutcome {
    match (attempt.outcome, reason) {
        (None, _) => AttemptOutcome::Abandoned,
        (Some(_), Termination::UpstreamTruncated | Termination::BadResponse) => {
            AttemptOutcome::Truncated
        }
        (Some(_), Termination::StatusPassed) => attempt.declared(),
        (Some(outcome), _) => outcome,
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
