//! The attempts of one request, in the order in which they began.
//!
//! Each is closed exactly once, with its outcome: whoever closes it counts it, and what is open at the
//! request's end is closed then. So what began adds up with what ended, whatever happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use smallvec::SmallVec;
use tidegate_core::retry::{Failure, Phase};
use tidegate_telemetry::labels::{AttemptOutcome, HedgeCause, HedgeResult};

use crate::attempt::Place;
use crate::clock::span;

/// The account of one attempt.
pub(crate) struct Try {
    pub(crate) place: Place,
    pub(crate) endpoint: Arc<str>,
    pub(crate) began: Instant,
    pub(crate) connect: Option<Duration>,
    pub(crate) reused: bool,
    pub(crate) sent_at: Option<Instant>,
    pub(crate) status: Option<StatusCode>,
    /// The code of gRPC that it ended with, if that was a failure.
    pub(crate) grpc: Option<u8>,
    /// None while it waits for its head.
    pub(crate) outcome: Option<AttemptOutcome>,
    pub(crate) phase: Phase,
    /// When its head arrived, or it failed; when it began, while neither is so.
    until: Instant,
    /// What a person needs to know of its failure.
    pub(crate) detail: Option<String>,
    pub(crate) made: Made,
    /// Bytes of content that the client has from it; none if they are all of the answer's.
    pub(crate) bytes: Option<u64>,
    closed: bool,
}

/// What an attempt was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Made {
    /// To be the only one.
    #[default]
    Alone,
    /// To run beside another.
    Beside(HedgeCause),
    /// To continue an answer that broke.
    ToResume,
}

/// All of them, and which is which.
#[derive(Default)]
pub(super) struct Tries {
    all: SmallVec<[Try; 1]>,
    /// The attempt that is told of: the last, unless a hedge runs beside it or lost.
    current: usize,
    /// The attempt whose answer the client gets; the last of them if it was continued.
    answered: Option<usize>,
}

impl Try {
    /// One that begins now.
    pub(super) fn begin(place: Place, endpoint: &Arc<str>, began: Instant, made: Made) -> Self {
        Self {
            place,
            endpoint: endpoint.clone(),
            began,
            connect: None,
            reused: false,
            sent_at: None,
            status: None,
            grpc: None,
            outcome: None,
            phase: Phase::Connecting,
            until: began,
            detail: None,
            made,
            bytes: None,
            closed: false,
        }
    }

    /// Enters the head of its answer; says how long the endpoint took for it, from when it had the
    /// whole request.
    pub(super) fn head(&mut self, status: StatusCode, at: Instant) -> Duration {
        self.status = Some(status);
        self.phase = Phase::HeadReceived;
        self.outcome = Some(AttemptOutcome::Answered);
        self.until = at;
        let connected = match self.connect {
            Some(took) => self.began + took,
            None => self.began,
        };
        span(
            self.sent_at.map_or(connected, |sent| sent.max(connected)),
            at,
        )
    }

    /// How long it took until its head arrived or it failed.
    pub(crate) fn took(&self) -> Duration {
        span(self.began, self.until)
    }

    /// Enters what went wrong with it.
    pub(super) fn fault(&mut self, failure: Failure, phase: Phase, detail: String) {
        self.phase = phase;
        self.detail = Some(detail);
        match failure {
            Failure::Status(status) => self.status = StatusCode::from_u16(status).ok(),
            Failure::Grpc(code) => self.grpc = Some(code),
            _ => {}
        }
    }

    /// Its outcome, if the answer that it gave is a failure.
    pub(super) fn declared(&self) -> AttemptOutcome {
        match self.grpc {
            Some(_) => AttemptOutcome::GrpcStatus,
            None => AttemptOutcome::Status,
        }
    }

    /// Ends it; false if it had ended.
    fn close(&mut self, outcome: AttemptOutcome, at: Instant) -> bool {
        if std::mem::replace(&mut self.closed, true) {
            return false;
        }
        // The body's time is no measure of the attempt.
        if self.status.is_none() {
            self.until = at;
        }
        self.outcome = Some(outcome);
        true
    }

    fn waits(&self) -> bool {
        self.outcome.is_none()
    }
}

impl Tries {
    /// Enters one, which is told of from now on. Returns its number.
    pub(super) fn push(&mut self, attempt: Try) -> usize {
        self.all.push(attempt);
        self.current = self.all.len() - 1;
        self.current
    }

    pub(super) fn turn_to(&mut self, nth: usize) {
        self.current = nth;
    }

    /// The number of the attempt that is told of.
    pub(super) fn number(&self) -> usize {
        self.current
    }

    pub(super) fn all(&self) -> &[Try] {
        &self.all
    }

    pub(super) fn current(&self) -> Option<&Try> {
        self.all.get(self.current)
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut Try> {
        self.all.get_mut(self.current)
    }

    /// The client gets the current one's answer from now on.
    pub(super) fn answers(&mut self) {
        self.answered = Some(self.current);
        if let Some(attempt) = self.current_mut() {
            attempt.phase = Phase::BodyUnderWay;
        }
    }

    /// The attempt whose answer the client gets, or got; none if the answer is one of our own.
    pub(super) fn answered(&self) -> Option<&Try> {
        self.all.get(self.answered?)
    }

    pub(super) fn answered_mut(&mut self) -> Option<&mut Try> {
        self.all.get_mut(self.answered?)
    }

    /// Ends the current one; none if it had ended.
    pub(super) fn close(&mut self, outcome: AttemptOutcome, at: Instant) -> Option<&Try> {
        self.close_nth(self.current, outcome, at)
    }

    /// Ends the one that answered; none if it had ended.
    pub(super) fn close_answered(&mut self, outcome: AttemptOutcome, at: Instant) -> Option<&Try> {
        self.close_nth(self.answered?, outcome, at)
    }

    /// Ends one; none if it had ended.
    pub(super) fn close_nth(
        &mut self,
        nth: usize,
        outcome: AttemptOutcome,
        at: Instant,
    ) -> Option<&Try> {
        let attempt = self.all.get_mut(nth)?;
        attempt.close(outcome, at).then_some(attempt)
    }

    /// Whether another one than the current waits for its head.
    pub(super) fn another_waits(&self) -> bool {
        let others = self.all.iter().enumerate();
        let others = others.filter(|(nth, _)| *nth != self.current);
        others.map(|(_, attempt)| attempt).any(Try::waits)
    }

    /// The first attempt, which failed, and the one whose answer the client got instead.
    pub(super) fn rescue(&self) -> Option<(&Try, &Try)> {
        let (first, answered) = (self.all.first()?, self.answered()?);
        (self.answered? > 0).then_some((first, answered))
    }

    /// What came of the hedges. All attempts must have ended.
    pub(super) fn hedges(&self) -> impl Iterator<Item = (&Try, HedgeCause, HedgeResult)> {
        self.all
            .iter()
            .enumerate()
            .filter_map(|(nth, attempt)| match attempt.made {
                Made::Beside(cause) => Some((attempt, cause, self.hedge_result(nth, attempt))),
                Made::Alone | Made::ToResume => None,
            })
    }

    fn hedge_result(&self, nth: usize, attempt: &Try) -> HedgeResult {
        use AttemptOutcome as Outcome;
        match attempt.outcome {
            _ if self.answered == Some(nth) => HedgeResult::Won,
            Some(Outcome::Truncated) => HedgeResult::Won,
            None | Some(Outcome::Abandoned | Outcome::Answered | Outcome::Hedged) => {
                HedgeResult::Lost
            }
            Some(_) => HedgeResult::Failed,
        }
    }

    /// Shares what the client got among those that sent it, if an answer was continued.
    pub(super) fn share_bytes(&mut self, sent: u64) {
        let earlier: u64 = self.all.iter().filter_map(|attempt| attempt.bytes).sum();
        if let Some(last) = self.answered_mut()
            && last.made == Made::ToResume
            && last.bytes.is_none()
        {
            last.bytes = Some(sent.saturating_sub(earlier));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::RegionIdx;
    use tidegate_core::decision::Because;

    const PLACE: Place = Place {
        region: RegionIdx(0),
        position: 0,
        because: Because::Nearest,
        at: 0,
        set_version: 1,
        bind: false,
    };

    fn tries(made: &[Made], began: Instant) -> Tries {
        let mut tries = Tries::default();
        for made in made {
            tries.push(Try::begin(PLACE, &"a:1".into(), began, *made));
        }
        tries
    }

    #[test]
    fn what_has_ended_ends_no_second_time() {
        let began = Instant::now();
        let late = began + Duration::from_secs(1);
        let mut tries = tries(&[Made::Alone], began);
        assert!(tries.close(AttemptOutcome::Reset, began).is_some());
        assert!(tries.close(AttemptOutcome::Abandoned, late).is_none());
        assert!(tries.close_nth(0, AttemptOutcome::Answered, late).is_none());
        assert_eq!(tries.all()[0].outcome, Some(AttemptOutcome::Reset));
        assert_eq!(tries.all()[0].took(), Duration::ZERO);
    }

    #[test]
    fn an_attempt_takes_until_its_head_or_its_failure() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut tries = tries(&[Made::Alone, Made::Alone], began);
        tries.current_mut().unwrap().head(StatusCode::OK, at(2));
        tries.close_nth(1, AttemptOutcome::Truncated, at(5));
        tries.close_nth(0, AttemptOutcome::Timeout, at(5));
        let took: Vec<_> = tries.all().iter().map(|one| one.took().as_secs()).collect();
        assert_eq!(took, [5, 2]);
    }

    #[test]
    fn a_rescue_is_an_answer_of_a_later_attempt() {
        let check = |answered: Option<usize>, expected: bool| {
            let mut tries = tries(&[Made::Alone, Made::Alone], Instant::now());
            if let Some(nth) = answered {
                tries.turn_to(nth);
                tries.answers();
            }
            assert_eq!(tries.rescue().is_some(), expected, "{answered:?}");
        };
        check(None, false);
        check(Some(0), false);
        check(Some(1), true);
    }

    #[test]
    fn a_hedge_wins_loses_or_fails() {
        let now = Instant::now();
        let check = |outcome: AttemptOutcome, answered: Option<usize>, expected: HedgeResult| {
            let mut tries = tries(&[Made::Alone, Made::Beside(HedgeCause::Slow)], now);
            if let Some(nth) = answered {
                tries.turn_to(nth);
                tries.answers();
            }
            tries.close_nth(1, outcome, now);
            let found: Vec<_> = tries
                .hedges()
                .map(|(_, cause, result)| (cause, result))
                .collect();
            assert_eq!(
                found,
                [(HedgeCause::Slow, expected)],
                "{outcome:?} {answered:?}"
            );
        };
        check(AttemptOutcome::Answered, Some(1), HedgeResult::Won);
        check(AttemptOutcome::Status, Some(1), HedgeResult::Won);
        check(AttemptOutcome::Truncated, None, HedgeResult::Won);
        check(AttemptOutcome::Abandoned, Some(0), HedgeResult::Lost);
        check(AttemptOutcome::Abandoned, None, HedgeResult::Lost);
        check(AttemptOutcome::Status, Some(0), HedgeResult::Failed);
        check(AttemptOutcome::Reset, Some(0), HedgeResult::Failed);
        check(AttemptOutcome::RegionDown, None, HedgeResult::Failed);
    }

    #[test]
    fn bytes_are_shared_among_those_that_sent_them() {
        let now = Instant::now();
        let mut tries = tries(&[Made::Alone, Made::ToResume, Made::ToResume], now);
        tries.all[0].bytes = Some(1_000);
        tries.answers();
        tries.share_bytes(5_000);
        let bytes: Vec<_> = tries.all().iter().map(|one| one.bytes).collect();
        assert_eq!(bytes, [Some(1_000), None, Some(4_000)]);
    }

    #[test]
    fn an_answer_that_was_not_continued_has_no_parts() {
        let mut tries = tries(&[Made::Alone], Instant::now());
        tries.answers();
        tries.share_bytes(5_000);
        assert_eq!(tries.all()[0].bytes, None);
    }
}
