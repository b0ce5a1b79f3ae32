//! Whether a failed attempt may be made again, decided from data alone: failure x phase x
//! idempotency x body x deadline x budget. Every no has a reason.
//!
//! The rule behind it (RFC 9110 section 9.2.2): what certainly was not processed may be sent again
//! whatever it is; what may have been processed only if doing it twice is the same as once.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use fastrand::Rng;
use http::Method;
use serde::Serialize;

use crate::budget::{Budget, Purse};
use crate::plan::RetryPolicy;

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection: refused, unreachable, name not found, TLS failed.
    Connect,
    /// No connection within the connect limit.
    ConnectTimeout,
    /// The connection ended before the response's head.
    Reset,
    /// The per-try limit passed before the response's head.
    Timeout,
    /// The answer was not valid HTTP.
    BadResponse,
    /// The answer carries this status.
    Status(u16),
    /// HTTP/2 REFUSED_STREAM, or a stream above GOAWAY's last: certainly not processed.
    Refused,
}

/// How far the attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No connection yet: nothing can have been processed.
    Connecting,
    /// Connected; not one byte of the request was written.
    NothingSent,
    /// Something was written, or it cannot be known. What is ambiguous counts as sent.
    Sent,
    /// The response's head arrived.
    HeadReceived,
    /// The head was passed on to the client.
    BodyUnderWay,
}

/// What doing the request twice would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// GET, HEAD, OPTIONS, TRACE: changes nothing (RFC 9110 section 9.2.1).
    Safe,
    /// PUT, DELETE: twice is the same as once.
    Idempotent,
    /// Made so by an `Idempotency-Key`, which another region usually has not seen.
    Keyed,
    /// Must not be sent twice.
    No,
}

/// Whether the request's body can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyState {
    /// There is none, or nothing of it has been read yet.
    Untouched,
    /// All that was read is still kept.
    Kept,
    /// More was read than was kept.
    Lost,
}

/// Everything that a verdict depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// What went wrong.
    pub failure: Failure,
    /// How far the attempt got.
    pub phase: Phase,
    /// What doing it twice would mean.
    pub idempotency: Idempotency,
    /// Whether the body can be sent again.
    pub body: BodyState,
    /// Attempts made so far, at least 1.
    pub attempts: u8,
    /// Time left until the request's deadline.
    pub left: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make another attempt.
    Retry(Scope),
    /// Stop, for this reason.
    Stop(WhyNot),
}

/// Where another attempt may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Anywhere eligible.
    Global,
    /// Only within the region that failed.
    Region,
}

/// Why no other attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// `retry.on` does not list the failure.
    NotListed,
    /// It may have been processed and must not be done twice.
    NotIdempotent,
    /// The body is no longer there to be sent again.
    BodyLost,
    /// The client has the head already.
    Committed,
    /// `retry.attempts` are used up.
    Attempts,
    /// The deadline leaves no time.
    Deadline,
    /// The budget is empty.
    Budget,
    /// No eligible region or endpoint is left.
    NoCandidate,
}

/// What is left to try after a failed attempt, as [`choose::reach`](crate::choose::reach) finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// An endpoint of the same region that this request has not tried.
    pub here: bool,
    /// An endpoint of the same region, tried or not.
    pub again: bool,
    /// Another eligible region.
    pub elsewhere: bool,
    /// Whether the request has changed its region before.
    pub moved: bool,
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Another region: a failover.
    OtherRegion,
    /// Another endpoint of the same region.
    OtherEndpoint,
    /// An endpoint that was tried already: nothing else is left.
    SameEndpoint,
}

/// One way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTry {
    /// Where to.
    pub to: Destination,
    /// Whether the request may leave the region from now on.
    pub scope: Scope,
    /// Wait for a time drawn uniformly below this. Zero: at once.
    pub backoff: Duration,
}

/// The ways to go on, best first. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextTries(ArrayVec<NextTry, 2>);

/// What doing a request with this method twice would mean; `keyed` says that the route accepts its
/// `Idempotency-Key`.
pub fn idempotency(method: &Method, keyed: bool) -> Idempotency {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Idempotency::Safe,
        Method::PUT | Method::DELETE => Idempotency::Idempotent,
        Method::CONNECT => Idempotency::No,
        _ if keyed => Idempotency::Keyed,
        _ => Idempotency::No,
    }
}

/// The verdict for one failed attempt. The budget and the candidates are asked afterwards, because
/// asking them takes something.
pub fn verdict(policy: &RetryPolicy, situation: &Situation) -> Verdict {
    match refusal(policy, situation) {
        Some(why) => Verdict::Stop(why),
        None if situation.idempotency == Idempotency::Keyed && possibly_processed(situation) => {
            Verdict::Retry(Scope::Region)
        }
        None => Verdict::Retry(Scope::Global),
    }
}

fn refusal(policy: &RetryPolicy, situation: &Situation) -> Option<WhyNot> {
    let twice = possibly_processed(situation);
    [
        (situation.phase == Phase::BodyUnderWay, WhyNot::Committed),
        (!listed(policy, situation), WhyNot::NotListed),
        (
            twice && situation.idempotency == Idempotency::No,
            WhyNot::NotIdempotent,
        ),
        (situation.body == BodyState::Lost, WhyNot::BodyLost),
        (situation.attempts >= policy.attempts, WhyNot::Attempts),
        (situation.left.is_zero(), WhyNot::Deadline),
    ]
    .into_iter()
    .find_map(|(holds, why)| holds.then_some(why))
}

/// The base of backoff: the first retry waits below this.
pub const BACKOFF_BASE: Duration = Duration::from_millis(25);
/// No backoff is longer.
pub const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Where to go after a verdict of `Retry(scope)`, best first.
///
/// A silent region (timeouts) is left at once. What one endpoint may have caused alone (refused,
/// reset, a status) is tried at another endpoint of the region first, while at least two attempts
/// are left: the last attempt always leaves the region, so that a region that is down as a whole
/// cannot use up a request. Only where neither is possible, the same endpoint is asked again.
pub fn next_try(
    policy: &RetryPolicy,
    situation: &Situation,
    scope: Scope,
    reach: Reach,
) -> NextTries {
    let elsewhere = reach.elsewhere && scope == Scope::Global;
    let left = policy.attempts.saturating_sub(situation.attempts);
    let stay = (reach.here, Destination::OtherEndpoint);
    let leave = (elsewhere, Destination::OtherRegion);
    let order = match () {
        () if !reach.here && !elsewhere => [(reach.again, Destination::SameEndpoint), leave],
        () if one_endpoint_may_be_the_cause(situation.failure) && left >= 2 => [stay, leave],
        () => [leave, stay],
    };
    let open = order.into_iter().filter(|(open, _)| *open);
    NextTries(
        open.map(|(_, to)| NextTry {
            to,
            scope,
            backoff: backoff_for(to, situation, reach),
        })
        .collect(),
    )
}

fn one_endpoint_may_be_the_cause(failure: Failure) -> bool {
    !matches!(failure, Failure::Timeout | Failure::ConnectTimeout)
}

fn backoff_for(to: Destination, situation: &Situation, reach: Reach) -> Duration {
    if to == Destination::OtherRegion && !reach.moved {
        return Duration::ZERO;
    }
    backoff(situation.attempts).min(situation.left / 2)
}

/// The upper end of the wait before retry number `retry`, counted from 1: `(2^retry - 1) x` 25 ms,
/// at most 250 ms. Drawing uniformly below it ("full jitter") keeps retries from marching in step.
pub fn backoff(retry: u8) -> Duration {
    let steps = 2u32.saturating_pow(retry.into()).saturating_sub(1);
    BACKOFF_BASE.saturating_mul(steps).min(BACKOFF_MAX)
}

impl NextTries {
    /// The ways, best first.
    pub fn as_slice(&self) -> &[NextTry] {
        &self.0
    }

    /// Takes a token for the best way that can be paid. A full purse for the other way keeps a
    /// request alive when the first is empty: a region that fails as a whole soon empties the
    /// in-region purse, and its requests move on at once.
    ///
    /// # Errors
    /// [`WhyNot::NoCandidate`] when there is no way, [`WhyNot::Budget`] when none can be paid.
    pub fn pay(&self, budget: &Budget, now: Instant) -> Result<NextTry, WhyNot> {
        let payable = self
            .0
            .iter()
            .find(|next| budget.withdraw(next.purse(), now));
        payable.copied().ok_or(if self.0.is_empty() {
            WhyNot::NoCandidate
        } else {
            WhyNot::Budget
        })
    }
}

impl NextTry {
    /// The purse that pays for it.
    pub fn purse(&self) -> Purse {
        match self.to {
            Destination::OtherRegion => Purse::CrossRegion,
            Destination::OtherEndpoint | Destination::SameEndpoint => Purse::InRegion,
        }
    }

    /// How long to wait: drawn uniformly from zero to `backoff`.
    pub fn wait(&self, rng: &mut Rng) -> Duration {
        self.backoff.mul_f64(rng.f64())
    }
}

fn possibly_processed(situation: &Situation) -> bool {
    situation.failure != Failure::Refused && situation.phase >= Phase::Sent
}

fn listed(policy: &RetryPolicy, situation: &Situation) -> bool {
    let on = &policy.on;
    match situation.failure {
        Failure::Connect | Failure::ConnectTimeout => on.connect,
        Failure::Refused => on.connect || on.reset,
        Failure::Reset if situation.phase < Phase::Sent => on.connect || on.reset,
        Failure::Reset => on.reset,
        Failure::Timeout => on.timeout,
        Failure::BadResponse => on.bad_response,
        Failure::Status(status) => on.statuses.binary_search(&status).is_ok(),
    }
}
