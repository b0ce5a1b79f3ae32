//! Requests whose outcome nobody would ever learn.

use super::next::{Reach, next_try};
use super::{Failure, Idempotency, Phase, Situation, Verdict, WhyNot, possibly_processed, verdict};
use crate::plan::{RetryPolicy, UnknownOutcome};

/// Whether an attempt is better kept than given up, now that its `per_try` or `first_byte` has ended
/// ([`Failure::Timeout`]) or its region went down ([`Failure::RegionDown`]): the request may have been
/// processed, it will not be sent again, and `on_unknown_outcome` is `wait`. A path that is frozen may
/// thaw and deliver the answer, and until the deadline nothing is gained by not listening.
///
/// That is so for what must not be sent twice, for what is made replayable by its key alone and has
/// nowhere to go in its region, and for what has lost its body. What changes nothing or may be sent
/// again by its client gets its error at the limit that was set for it. Never after the deadline, and
/// never once the client has the head. That a region is drained is no failure: there, nobody asks.
pub fn outlasts(policy: &RetryPolicy, situation: &Situation, reach: Reach) -> bool {
    let ours = matches!(situation.failure, Failure::Timeout | Failure::RegionDown);
    let unknown = possibly_processed(situation) && situation.phase != Phase::BodyUnderWay;
    let waits = policy.on_unknown_outcome == UnknownOutcome::Wait && !situation.left.is_zero();
    let once = matches!(situation.idempotency, Idempotency::No | Idempotency::Keyed);
    ours && unknown
        && waits
        && match verdict(policy, situation) {
            Verdict::Stop(why) => once || why == WhyNot::BodyLost,
            Verdict::Retry(scope) => once && next_try(policy, situation, scope, reach).is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RetryOn;
    use crate::retry::tests::{EVERYWHERE, SITUATION, policy};
    use crate::retry::{BodyState, Scope};
    use std::time::Duration;

    const NOWHERE: Reach = Reach {
        here: false,
        again: false,
        elsewhere: true,
        ..EVERYWHERE
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
        assert!(!outlasts(&fail, &situation, reach), "{situation:?}");
    }

    #[test]
    fn what_may_have_been_done_and_is_not_sent_again_is_waited_for() {
        check(|_| {}, EVERYWHERE, true);
        check(|s| s.failure = Failure::RegionDown, EVERYWHERE, true);
        check(|s| s.attempts = 3, EVERYWHERE, true);
        check(|s| s.phase = Phase::HeadReceived, EVERYWHERE, true);
        for idempotency in [Idempotency::Safe, Idempotency::Idempotent] {
            let mut situation = Situation {
                failure: Failure::Timeout,
                idempotency,
                ..SITUATION
            };
            assert!(!outlasts(&policy(), &situation, NOWHERE), "{idempotency:?}");
            situation.body = BodyState::Lost;
            assert!(outlasts(&policy(), &situation, NOWHERE), "{idempotency:?}");
        }
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
