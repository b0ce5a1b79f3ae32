//! Whether a failed attempt may be made again, decided from data alone: failure x phase x
//! idempotency x body x deadline x budget. Every no has a reason.
//!
//! The rule behind it (RFC 9110 section 9.2.2): what certainly was not processed may be sent again
//! whatever it is; what may have been processed only if doing it twice is the same as once.

use std::time::Duration;

use http::Method;
use serde::Serialize;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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

/// What doing a request with this method twice would mean; `keyed` says that the route accepts its
/// `Idempotency-Key`.
pub fn idempotency(method: &Method, keyed: bool) -> Idempotency {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Idempotency::Safe,
        Method::PUT | Method::DELETE => Idempotency::Idempotent,
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
        (twice && situation.idempotency == Idempotency::No, WhyNot::NotIdempotent),
        (situation.body == BodyState::Lost, WhyNot::BodyLost),
        (situation.attempts >= policy.attempts, WhyNot::Attempts),
        (situation.left.is_zero(), WhyNot::Deadline),
    ]
    .into_iter()
    .find_map(|(holds, why)| holds.then_some(why))
}

fn possibly_processed(situation: &Situation) -> bool {
    situation.failure != Failure::Refused && situation.phase >= Phase::Sent
}

fn listed(policy: &RetryPolicy, situation: &Situation) -> bool {
    let on = &policy.on;
    match situation.failure {
        Failure::Connect | Failure::ConnectTimeout => on.connect,
        Failure::Refused => on.connect || on.reset,
        Failure::Reset => on.reset,
        Failure::Timeout => on.timeout,
        Failure::BadResponse => on.bad_response,
        Failure::Status(status) => on.statuses.binary_search(&status).is_ok(),
    }
}

impl PartialOrd for Phase {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}
