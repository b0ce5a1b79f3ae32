//! Whether a failed attempt may be made again, decided from data alone: failure x phase x
//! idempotency x body x deadline x budget. Every no has a reason.
//!
//! The rule behind it (RFC 9110 section 9.2.2): what certainly was not processed may be sent again
//! whatever it is; what may have been processed only if doing it twice is the same as once.

mod beside;
mod next;
mod pace;
mod unknown;

use std::time::Duration;

use http::Method;
use serde::Serialize;

use crate::plan::{ReplayScope, RetryPolicy};

pub use beside::beside;
pub use next::{Destination, NextTries, NextTry, Reach, leave, next_try};
pub use pace::{RETRY_AFTER_MAX, backoff};
pub use unknown::{leaves_unknown, outlasts};

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
    /// A call of gRPC ended with this code before its first message.
    Grpc(u8),
    /// HTTP/2 REFUSED_STREAM, or a stream above GOAWAY's last: certainly not processed.
    Refused,
    /// Given up while it waited, because its region went down or fell silent.
    RegionDown,
    /// No connection, because as many are open there as `circuit_breaker` allows: the place may be
    /// well, and nothing of the request left this process.
    Full,
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
    /// PUT, DELETE, and what its route declares to be so: twice is the same as once.
    Idempotent,
    /// Made so by an `Idempotency-Key`, which another region usually has not seen.
    Keyed,
    /// Must not be sent twice.
    No,
}

impl Idempotency {
    /// Whether it can be known only by the answer if it was done, and asking again is no way to find
    /// out. A key is one only where it was seen.
    pub fn is_once(self) -> bool {
        matches!(self, Self::Keyed | Self::No)
    }
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
    /// Where it may go once it may have been processed: see [`replay_scope`].
    pub scope: Scope,
    /// How long the place that failed asked not to be asked again (`Retry-After`). None: it did not.
    pub retry_after: Option<Duration>,
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
    /// What is left has as many retries under way as `circuit_breaker` allows.
    RetriesFull,
}

/// What doing a request with this method twice would mean. `declared`: its route says that twice is
/// the same as once; `keyed`: its route accepts its `Idempotency-Key`.
pub fn idempotency(method: &Method, declared: bool, keyed: bool) -> Idempotency {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Idempotency::Safe,
        Method::PUT | Method::DELETE => Idempotency::Idempotent,
        Method::CONNECT => Idempotency::No,
        _ if declared => Idempotency::Idempotent,
        _ if keyed => Idempotency::Keyed,
        _ => Idempotency::No,
    }
}

/// Where a request may go again once it may have been processed.
pub fn replay_scope(scope: ReplayScope, idempotency: Idempotency) -> Scope {
    match (scope, idempotency) {
        (ReplayScope::Region, _) | (ReplayScope::Auto, Idempotency::Keyed) => Scope::Region,
        (ReplayScope::Global | ReplayScope::Auto, _) => Scope::Global,
    }
}

/// The verdict for one failed attempt. The budget and the candidates are asked afterwards, because
/// asking them takes something.
pub fn verdict(policy: &RetryPolicy, situation: &Situation) -> Verdict {
    match refusal(policy, situation) {
        Some(why) => Verdict::Stop(why),
        None if possibly_processed(situation) => Verdict::Retry(situation.scope),
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

/// Whoever refuses what it has begun to answer contradicts itself, and is not believed.
fn possibly_processed(situation: &Situation) -> bool {
    match situation.failure {
        Failure::Refused => situation.phase > Phase::Sent,
        _ => situation.phase >= Phase::Sent,
    }
}

fn listed(policy: &RetryPolicy, situation: &Situation) -> bool {
    let on = &policy.on;
    match situation.failure {
        Failure::Connect | Failure::ConnectTimeout => on.connect,
        Failure::Refused => on.connect || on.reset,
        Failure::Reset if situation.phase < Phase::Sent => on.connect || on.reset,
        Failure::Reset => on.reset,
        Failure::RegionDown if situation.phase < Phase::Sent => {
            on.connect || on.reset || on.timeout
        }
        Failure::RegionDown => on.reset || on.timeout,
        Failure::Timeout => on.timeout,
        Failure::BadResponse => on.bad_response,
        Failure::Status(status) => on.lists(status),
        Failure::Grpc(code) => on.lists_grpc(code),
        // It is no error of the upstream's that a policy could want to see.
        Failure::Full => true,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::RetryOn;

    /// Everything is left to try, and nothing speaks against it.
    pub(super) const EVERYWHERE: Reach = Reach {
        here: true,
        again: true,
        elsewhere: true,
        moved: false,
        doubted: false,
        doubted_elsewhere: false,
        full: false,
        full_elsewhere: false,
        late: false,
    };

    const ALL_KINDS: [Idempotency; 4] = [
        Idempotency::Safe,
        Idempotency::Idempotent,
        Idempotency::Keyed,
        Idempotency::No,
    ];
    const ALL_PHASES: [Phase; 5] = [
        Phase::Connecting,
        Phase::NothingSent,
        Phase::Sent,
        Phase::HeadReceived,
        Phase::BodyUnderWay,
    ];

    /// Three attempts, for nearly everything.
    pub(super) fn policy() -> RetryPolicy {
        let on = RetryOn {
            connect: true,
            reset: true,
            timeout: true,
            bad_response: true,
            statuses: [502, 503].into(),
            grpc: [8, 14].into(),
        };
        RetryPolicy {
            attempts: 3,
            on,
            per_try: None,
            budget: 0.2,
            cross_region_budget: 1.0,
            ..RetryPolicy::default()
        }
    }

    /// The first attempt at a GET was sent, and its connection ended.
    pub(crate) const SITUATION: Situation = Situation {
        failure: Failure::Reset,
        phase: Phase::Sent,
        idempotency: Idempotency::Safe,
        body: BodyState::Untouched,
        scope: Scope::Global,
        retry_after: None,
        attempts: 1,
        left: Duration::from_secs(5),
    };

    fn check(failure: Failure, phase: Phase, idempotency: Idempotency, expected: Verdict) {
        let situation = Situation {
            failure,
            phase,
            idempotency,
            scope: replay_scope(ReplayScope::Auto, idempotency),
            ..SITUATION
        };
        assert_eq!(verdict(&policy(), &situation), expected, "{situation:?}");
    }

    #[test]
    fn what_was_not_processed_is_made_again_whatever_it_is() {
        for idempotency in ALL_KINDS {
            let retry = Verdict::Retry(Scope::Global);
            check(Failure::Connect, Phase::Connecting, idempotency, retry);
            check(
                Failure::ConnectTimeout,
                Phase::Connecting,
                idempotency,
                retry,
            );
            check(Failure::Timeout, Phase::Connecting, idempotency, retry);
            check(Failure::RegionDown, Phase::Connecting, idempotency, retry);
            check(Failure::RegionDown, Phase::NothingSent, idempotency, retry);
            check(Failure::Reset, Phase::NothingSent, idempotency, retry);
            check(Failure::Refused, Phase::Sent, idempotency, retry);
        }
    }

    #[test]
    fn what_may_have_been_processed_depends_on_what_it_is() {
        let sent = [
            (Failure::Reset, Phase::Sent),
            (Failure::Timeout, Phase::Sent),
            (Failure::RegionDown, Phase::Sent),
            (Failure::BadResponse, Phase::HeadReceived),
            (Failure::Refused, Phase::HeadReceived),
            (Failure::Status(503), Phase::HeadReceived),
            (Failure::Grpc(14), Phase::HeadReceived),
            (Failure::Grpc(8), Phase::Sent),
        ];
        for (failure, phase) in sent {
            check(
                failure,
                phase,
                Idempotency::Safe,
                Verdict::Retry(Scope::Global),
            );
            check(
                failure,
                phase,
                Idempotency::Idempotent,
                Verdict::Retry(Scope::Global),
            );
            check(
                failure,
                phase,
                Idempotency::Keyed,
                Verdict::Retry(Scope::Region),
            );
            check(
                failure,
                phase,
                Idempotency::No,
                Verdict::Stop(WhyNot::NotIdempotent),
            );
        }
    }

    #[test]
    fn nothing_is_made_again_once_the_client_has_the_head() {
        for idempotency in ALL_KINDS {
            check(
                Failure::Reset,
                Phase::BodyUnderWay,
                idempotency,
                Verdict::Stop(WhyNot::Committed),
            );
        }
    }

    #[test]
    fn only_listed_failures_are_made_again() {
        let on = [
            (
                Failure::Connect,
                RetryOn {
                    connect: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::ConnectTimeout,
                RetryOn {
                    connect: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::Reset,
                RetryOn {
                    reset: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::Timeout,
                RetryOn {
                    timeout: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::BadResponse,
                RetryOn {
                    bad_response: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::Status(418),
                RetryOn {
                    statuses: [418].into(),
                    ..RetryOn::default()
                },
            ),
            (
                Failure::Grpc(16),
                RetryOn {
                    grpc: [14, 16].into(),
                    ..RetryOn::default()
                },
            ),
            (
                Failure::Refused,
                RetryOn {
                    reset: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::RegionDown,
                RetryOn {
                    reset: true,
                    ..RetryOn::default()
                },
            ),
            (
                Failure::RegionDown,
                RetryOn {
                    timeout: true,
                    ..RetryOn::default()
                },
            ),
        ];
        for (failure, on) in on {
            let situation = Situation {
                failure,
                ..SITUATION
            };
            let with = |on| verdict(&RetryPolicy { on, ..policy() }, &situation);
            assert_eq!(with(on), Verdict::Retry(Scope::Global), "{failure:?}");
            assert_eq!(
                with(RetryOn::default()),
                Verdict::Stop(WhyNot::NotListed),
                "{failure:?}"
            );
        }
        for failure in [Failure::Status(500), Failure::Grpc(13), Failure::Grpc(0)] {
            let not = Verdict::Stop(WhyNot::NotListed);
            check(failure, Phase::HeadReceived, Idempotency::Safe, not);
        }
    }

    #[test]
    fn a_reset_before_anything_was_sent_counts_as_no_connection() {
        let on = RetryOn {
            connect: true,
            ..RetryOn::default()
        };
        let policy = RetryPolicy { on, ..policy() };
        for (phase, expected) in [
            (Phase::Connecting, Verdict::Retry(Scope::Global)),
            (Phase::NothingSent, Verdict::Retry(Scope::Global)),
            (Phase::Sent, Verdict::Stop(WhyNot::NotListed)),
        ] {
            for failure in [Failure::Reset, Failure::RegionDown] {
                let situation = Situation {
                    failure,
                    phase,
                    ..SITUATION
                };
                assert_eq!(verdict(&policy, &situation), expected, "{situation:?}");
            }
        }
    }

    #[test]
    fn body_attempts_and_deadline_bound_it() {
        let check = |change: fn(&mut Situation), expected| {
            let mut situation = SITUATION;
            change(&mut situation);
            assert_eq!(verdict(&policy(), &situation), expected, "{situation:?}");
        };
        let stop = |why| Verdict::Stop(why);
        check(|s| s.body = BodyState::Kept, Verdict::Retry(Scope::Global));
        check(|s| s.body = BodyState::Lost, stop(WhyNot::BodyLost));
        check(|s| s.attempts = 2, Verdict::Retry(Scope::Global));
        check(|s| s.attempts = 3, stop(WhyNot::Attempts));
        check(|s| s.attempts = u8::MAX, stop(WhyNot::Attempts));
        check(|s| s.left = Duration::ZERO, stop(WhyNot::Deadline));
    }

    #[test]
    fn what_found_no_room_is_made_again_whatever_the_policy_lists() {
        let policy = RetryPolicy {
            on: RetryOn::default(),
            ..policy()
        };
        for idempotency in ALL_KINDS {
            let situation = Situation {
                failure: Failure::Full,
                phase: Phase::Connecting,
                idempotency,
                ..SITUATION
            };
            assert_eq!(verdict(&policy, &situation), Verdict::Retry(Scope::Global));
        }
    }

    #[test]
    fn phases_are_in_order() {
        assert!(ALL_PHASES.is_sorted());
    }

    #[test]
    fn a_replay_has_its_scope() {
        use Idempotency::{Idempotent, Keyed, No, Safe};
        use ReplayScope::{Auto, Global, Region};
        let check = |scope, kinds: &[Idempotency], expected| {
            for &idempotency in kinds {
                let is = replay_scope(scope, idempotency);
                assert_eq!(is, expected, "{scope:?} {idempotency:?}");
            }
        };
        check(Auto, &[Safe, Idempotent, No], Scope::Global);
        check(Auto, &[Keyed], Scope::Region);
        check(Global, &ALL_KINDS, Scope::Global);
        check(Region, &ALL_KINDS, Scope::Region);
    }

    #[test]
    fn the_scope_binds_only_what_may_have_been_processed() {
        for idempotency in [Idempotency::Safe, Idempotency::Keyed] {
            let situation = |phase| Situation {
                phase,
                idempotency,
                scope: Scope::Region,
                ..SITUATION
            };
            for (phase, expected) in [
                (Phase::Connecting, Scope::Global),
                (Phase::NothingSent, Scope::Global),
                (Phase::Sent, Scope::Region),
                (Phase::HeadReceived, Scope::Region),
            ] {
                let verdict = verdict(&policy(), &situation(phase));
                assert_eq!(verdict, Verdict::Retry(expected), "{phase:?}");
            }
        }
    }

    #[test]
    fn methods_have_their_idempotency() {
        for (method, expected) in [
            (Method::POST, Idempotency::Idempotent),
            (Method::PATCH, Idempotency::Idempotent),
            (Method::GET, Idempotency::Safe),
            (Method::CONNECT, Idempotency::No),
        ] {
            assert_eq!(idempotency(&method, true, true), expected, "{method}");
        }
        for (method, keyed, expected) in [
            (Method::GET, false, Idempotency::Safe),
            (Method::HEAD, true, Idempotency::Safe),
            (Method::OPTIONS, false, Idempotency::Safe),
            (Method::TRACE, false, Idempotency::Safe),
            (Method::PUT, true, Idempotency::Idempotent),
            (Method::DELETE, false, Idempotency::Idempotent),
            (Method::POST, false, Idempotency::No),
            (Method::POST, true, Idempotency::Keyed),
            (Method::PATCH, true, Idempotency::Keyed),
            (Method::CONNECT, true, Idempotency::No),
        ] {
            assert_eq!(
                idempotency(&method, false, keyed),
                expected,
                "{method} {keyed}"
            );
        }
    }
}
