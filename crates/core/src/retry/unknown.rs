//! Attempts that would be given up for nothing.

use super::next::{Reach, next_try};
use super::{Failure, Phase, Situation, Verdict, WhyNot, possibly_processed, verdict};
use crate::plan::{RetryPolicy, UnknownOutcome};

/// Whether an attempt that was sent is better kept than given up, now that its `per_try` or
/// `first_byte` has ended ([`Failure::Timeout`]) or its region went down ([`Failure::RegionDown`]).
///
/// Its own limit ends an attempt for the sake of the next one: where none may follow, it stays until
/// the deadline, because a slow answer is better than none, and a path that is frozen may thaw. Its
/// region's death ends what is safe to ask again by its client; what may have been processed and will
/// not be sent again stays, unless `on_unknown_outcome` is `fail`. Never after the deadline, and never
/// once the client has the head. That a region is drained is no failure: there, nobody asks.
pub fn outlasts(policy: &RetryPolicy, situation: &Situation, reach: Reach) -> bool {
    let sent = possibly_processed(situation) && situation.phase != Phase::BodyUnderWay;
    sent && !situation.left.is_zero()
        && match situation.failure {
            Failure::Timeout => follows(policy, situation, reach).is_err(),
            Failure::RegionDown if policy.on_unknown_outcome == UnknownOutcome::Wait => {
                let none = follows(policy, situation, reach);
                none.is_err_and(|why| leaves_unknown(situation, why))
            }
            _ => false,
        }
}

/// Whether nobody would learn what became of a request whose attempt ends without an answer and is
/// the last for this reason: it may have been processed, and its client must not just ask again.
pub fn leaves_unknown(situation: &Situation, why: WhyNot) -> bool {
    let once = situation.idempotency.is_once();
    possibly_processed(situation) && (once || why == WhyNot::BodyLost)
}

/// Whether there is another attempt to be made, or why not.
fn follows(policy: &RetryPolicy, situation: &Situation, reach: Reach) -> Result<(), WhyNot> {
    match verdict(policy, situation) {
        Verdict::Stop(why) => Err(why),
        Verdict::Retry(scope) if next_try(policy, situation, scope, reach).is_empty() => {
            Err(WhyNot::NoCandidate)
        }
        Verdict::Retry(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RetryOn;
    use crate::retry::tests::{EVERYWHERE, SITUATION, policy};
    use crate::retry::{BodyState, Idempotency, Scope};
    use std::time::Duration;

    const NOWHERE: Reach = Reach {
        here: false,
        again: false,
        elsewhere: true,
        ..EVERYWHERE
    };

    const NOTHING: Reach = Reach {
        elsewhere: false,
        ..NOWHERE
    };

    /// A POST that was sent and has run out of its per-try limit, but for a change.
    fn check(change: fn(&mut Situation), reach: Reach, expected: bool) {
        let mut situation = Situation {
            failure: Failure::Timeout,
            idempotency: Idempotency::No,
            ..SITUATION
        };
        change(&mut situation);
        let is = outlasts(&policy(), &situation, reach);
        assert_eq!(is, expected, "{situation:?} {reach:?}");
        let fail = RetryPolicy {
            on_unknown_outcome: UnknownOutcome::Fail,
            ..policy()
        };
        let fails = expected && situation.failure == Failure::Timeout;
        assert_eq!(outlasts(&fail, &situation, reach), fails, "{situation:?}");
    }

    #[test]
    fn what_may_have_been_done_and_is_not_sent_again_is_waited_for() {
        check(|_| {}, EVERYWHERE, true);
        check(|s| s.failure = Failure::RegionDown, EVERYWHERE, true);
        check(|s| s.attempts = 3, EVERYWHERE, true);
        check(|s| s.phase = Phase::HeadReceived, EVERYWHERE, true);
        for idempotency in [Idempotency::Safe, Idempotency::Idempotent] {
            let check = |failure, body, reach, expected| {
                let situation = Situation {
                    failure,
                    idempotency,
                    body,
                    ..SITUATION
                };
                assert_eq!(
                    outlasts(&policy(), &situation, reach),
                    expected,
                    "{situation:?}"
                );
            };
            let (kept, lost) = (BodyState::Untouched, BodyState::Lost);
            check(Failure::Timeout, kept, EVERYWHERE, false);
            check(Failure::Timeout, kept, NOTHING, true);
            check(Failure::Timeout, lost, EVERYWHERE, true);
            check(Failure::RegionDown, kept, NOTHING, false);
            check(Failure::RegionDown, lost, NOTHING, true);
        }
    }

    #[test]
    fn the_last_attempt_has_all_the_time_that_is_left() {
        let last = Situation {
            failure: Failure::Timeout,
            attempts: policy().attempts,
            ..SITUATION
        };
        assert!(outlasts(&policy(), &last, EVERYWHERE));
    }

    #[test]
    fn a_key_holds_in_its_region_only() {
        let keyed: fn(&mut Situation) =
            |s| (s.idempotency, s.scope) = (Idempotency::Keyed, Scope::Region);
        check(keyed, EVERYWHERE, false);
        check(keyed, NOWHERE, true);
        let anywhere: fn(&mut Situation) = |s| s.idempotency = Idempotency::Keyed;
        check(anywhere, NOWHERE, false);
    }

    #[test]
    fn nothing_else_is_waited_for() {
        check(|s| s.failure = Failure::Reset, EVERYWHERE, false);
        check(|s| s.phase = Phase::NothingSent, EVERYWHERE, false);
        check(|s| s.phase = Phase::BodyUnderWay, EVERYWHERE, false);
        check(|s| s.left = Duration::ZERO, EVERYWHERE, false);
    }

    #[test]
    fn what_a_policy_does_not_list_is_waited_for_as_well() {
        let policy = RetryPolicy {
            on: RetryOn::default(),
            ..policy()
        };
        let situation = Situation {
            failure: Failure::Timeout,
            idempotency: Idempotency::No,
            ..SITUATION
        };
        assert!(outlasts(&policy, &situation, EVERYWHERE));
    }
}
