//! Where the next attempt goes after a verdict of "again": the same region, another one, or nowhere.
//!
//! Staying is quick and keeps a user's data and caches near; leaving is what saves a request when a
//! whole region fails. The rule is data in, data out; what is left to try is found by
//! [`choose::reach`](crate::choose::reach), and the purses decide which way can be afforded.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use fastrand::Rng;
use serde::Serialize;

use super::{Failure, Scope, Situation, Verdict, WhyNot, verdict};
use crate::budget::{Budget, Purse};
use crate::plan::RetryPolicy;

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
    /// Whether the region is no place to stay: it is out, silent, or has yet to come back wholly.
    pub doubted: bool,
    /// Whether every other eligible region is no place to go to: out, silent, or only being tried.
    pub doubted_elsewhere: bool,
    /// Whether there is nothing only because as many retries are under way as `circuit_breaker` allows.
    pub full: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextTries {
    ways: ArrayVec<NextTry, 2>,
    /// What failed put no load on any upstream, so that nothing has to be paid for the next.
    free: bool,
    /// Why there is none, if there is none.
    none: WhyNot,
}

/// The base of backoff: the first retry waits below this.
pub const BACKOFF_BASE: Duration = Duration::from_millis(25);
/// No backoff is longer.
pub const BACKOFF_MAX: Duration = Duration::from_millis(250);

impl NextTries {
    /// The ways, best first.
    pub fn as_slice(&self) -> &[NextTry] {
        &self.ways
    }

    /// Takes a token for the best way that can be paid. A full purse for the other way keeps a
    /// request alive when the first is empty: a region that fails as a whole soon empties the
    /// in-region purse, and its requests move on at once.
    ///
    /// # Errors
    /// [`WhyNot::NoCandidate`] or [`WhyNot::RetriesFull`] when there is no way, [`WhyNot::Budget`] when
    /// none can be paid.
    pub fn pay(&self, budget: &Budget, now: Instant) -> Result<NextTry, WhyNot> {
        let payable = self
            .ways
            .iter()
            .find(|next| self.free || budget.withdraw(next.purse(), now));
        payable.copied().ok_or(match self.ways.is_empty() {
            true => self.none,
            false => WhyNot::Budget,
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

/// Where to go after a verdict of `Retry(scope)`, best first.
///
/// A silent region (timeouts) is left at once, and so is one that is out, suspected or only being
/// tried, whatever else it has to offer, as long as there is another that is not. What one endpoint may have caused alone (refused,
/// reset, a status) is tried at another endpoint of the region first, while at least two attempts
/// are left: the last attempt always leaves the region, so that a region that is down as a whole
/// cannot use up a request. Only where neither is possible, the same endpoint is asked again, unless
/// it is full. What is full is left at once and for free.
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
        () if !reach.here && !elsewhere => {
            let again = reach.again && situation.failure != Failure::Full;
            [(again, Destination::SameEndpoint), leave]
        }
        () if reach.doubted && !reach.doubted_elsewhere => [leave, stay],
        () if reach.doubted_elsewhere && !reach.doubted => [stay, leave],
        () if one_endpoint_may_be_the_cause(situation.failure) && left >= 2 => [stay, leave],
        () => [leave, stay],
    };
    let open = order.into_iter().filter(|(open, _)| *open);
    let ways = open.map(|(_, to)| NextTry {
        to,
        scope,
        backoff: backoff_for(to, situation, reach),
    });
    NextTries {
        ways: ways.collect(),
        free: situation.failure == Failure::Full,
        none: match reach.full {
            true => WhyNot::RetriesFull,
            false => WhyNot::NoCandidate,
        },
    }
}

/// Whether an attempt that still waits may be given up for another one elsewhere, because its region
/// went down or fell silent ([`choose::should_leave`](crate::choose::should_leave) tells when to ask).
/// The way is always to another region, and paid for.
///
/// # Errors
/// The attempt has to wait on: for the verdict's reason (what may have been processed must not be
/// done twice, no attempt is left), because the request may not leave its region or there is no other
/// ([`WhyNot::NoCandidate`]), or for want of budget.
pub fn leave(
    policy: &RetryPolicy,
    situation: &Situation,
    reach: Reach,
    budget: &Budget,
    now: Instant,
) -> Result<NextTry, WhyNot> {
    let situation = Situation {
        failure: Failure::RegionDown,
        ..*situation
    };
    let scope = match verdict(policy, &situation) {
        Verdict::Retry(scope) => scope,
        Verdict::Stop(why) => return Err(why),
    };
    let mut tries = next_try(policy, &situation, scope, reach);
    tries.ways.retain(|way| way.to == Destination::OtherRegion);
    tries.pay(budget, now)
}

fn one_endpoint_may_be_the_cause(failure: Failure) -> bool {
    !matches!(
        failure,
        Failure::Timeout | Failure::ConnectTimeout | Failure::RegionDown
    )
}

fn backoff_for(to: Destination, situation: &Situation, reach: Reach) -> Duration {
    if situation.failure == Failure::Full || (to == Destination::OtherRegion && !reach.moved) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RetryOn;
    use crate::retry::{BodyState, Idempotency, Phase};

    fn policy() -> RetryPolicy {
        let on = RetryOn::default();
        RetryPolicy {
            attempts: 3,
            on,
            per_try: None,
            budget: 0.2,
            cross_region_budget: 1.0,
            ..RetryPolicy::default()
        }
    }

    const SITUATION: Situation = Situation {
        failure: Failure::Reset,
        phase: Phase::Sent,
        idempotency: Idempotency::Safe,
        body: BodyState::Untouched,
        scope: Scope::Global,
        retry_after: None,
        attempts: 1,
        left: Duration::from_secs(5),
    };

    const EVERYWHERE: Reach = Reach {
        here: true,
        again: true,
        elsewhere: true,
        moved: false,
        doubted: false,
        doubted_elsewhere: false,
        full: false,
    };

    fn check_next(
        failure: Failure,
        attempts: u8,
        scope: Scope,
        reach: Reach,
        expected: &[Destination],
    ) {
        let situation = Situation {
            failure,
            attempts,
            ..SITUATION
        };
        let tries = next_try(&policy(), &situation, scope, reach);
        let to: Vec<_> = tries.as_slice().iter().map(|next| next.to).collect();
        assert_eq!(to, expected, "{failure:?} {attempts} {scope:?} {reach:?}");
        assert!(tries.as_slice().iter().all(|next| next.scope == scope));
    }

    #[test]
    fn a_silent_region_is_left_and_one_bad_endpoint_is_gone_around() {
        use Destination::{OtherEndpoint, OtherRegion};
        for failure in [
            Failure::Timeout,
            Failure::ConnectTimeout,
            Failure::RegionDown,
        ] {
            check_next(
                failure,
                1,
                Scope::Global,
                EVERYWHERE,
                &[OtherRegion, OtherEndpoint],
            );
        }
        for failure in [
            Failure::Connect,
            Failure::Reset,
            Failure::Refused,
            Failure::BadResponse,
            Failure::Status(503),
        ] {
            check_next(
                failure,
                1,
                Scope::Global,
                EVERYWHERE,
                &[OtherEndpoint, OtherRegion],
            );
            check_next(
                failure,
                2,
                Scope::Global,
                EVERYWHERE,
                &[OtherRegion, OtherEndpoint],
            );
        }
    }

    #[test]
    fn where_leaving_is_impossible_the_request_stays() {
        use Destination::{OtherEndpoint, OtherRegion, SameEndpoint};
        let stuck = Reach {
            elsewhere: false,
            ..EVERYWHERE
        };
        let single = Reach {
            here: false,
            ..stuck
        };
        let nothing = Reach {
            again: false,
            ..single
        };
        let abroad = Reach {
            here: false,
            ..EVERYWHERE
        };
        for attempts in [1, 2] {
            for failure in [Failure::Connect, Failure::Timeout] {
                check_next(failure, attempts, Scope::Global, stuck, &[OtherEndpoint]);
                check_next(
                    failure,
                    attempts,
                    Scope::Region,
                    EVERYWHERE,
                    &[OtherEndpoint],
                );
                check_next(failure, attempts, Scope::Global, single, &[SameEndpoint]);
                check_next(failure, attempts, Scope::Region, abroad, &[SameEndpoint]);
                check_next(failure, attempts, Scope::Global, abroad, &[OtherRegion]);
                check_next(failure, attempts, Scope::Global, nothing, &[]);
                check_next(failure, attempts, Scope::Region, nothing, &[]);
            }
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let expected = [0, 25, 75, 175, 250, 250, 250];
        for (retry, ms) in expected.into_iter().enumerate() {
            assert_eq!(
                backoff(retry as u8),
                Duration::from_millis(ms),
                "retry {retry}"
            );
        }
        assert_eq!(backoff(u8::MAX), BACKOFF_MAX);
    }

    #[test]
    fn the_first_move_abroad_waits_for_nothing() {
        let backoffs = |attempts, left, reach| {
            let left = Duration::from_millis(left);
            let situation = Situation {
                failure: Failure::Timeout,
                attempts,
                left,
                ..SITUATION
            };
            let tries = next_try(&policy(), &situation, Scope::Global, reach);
            tries
                .as_slice()
                .iter()
                .map(|next| next.backoff.as_millis())
                .collect::<Vec<_>>()
        };
        let moved = Reach {
            moved: true,
            ..EVERYWHERE
        };
        assert_eq!(backoffs(1, 5_000, EVERYWHERE), [0, 25]);
        assert_eq!(backoffs(2, 5_000, EVERYWHERE), [0, 75]);
        assert_eq!(backoffs(2, 5_000, moved), [75, 75]);
        assert_eq!(backoffs(2, 40, moved), [20, 20]);
    }

    #[test]
    fn what_is_full_is_left_at_once_and_for_free() {
        let now = Instant::now();
        let budget = Budget::new(now);
        budget.configure(0.0, 0.0);
        let check = |attempts, reach, expected: &[Destination]| {
            let situation = Situation {
                failure: Failure::Full,
                attempts,
                ..SITUATION
            };
            let tries = next_try(&policy(), &situation, Scope::Global, reach);
            let to: Vec<_> = tries.as_slice().iter().map(|next| next.to).collect();
            assert_eq!(to, expected);
            let at_once = |next: &NextTry| next.backoff.is_zero();
            assert!(tries.as_slice().iter().all(at_once));
            let paid = tries.pay(&budget, now).map(|next| next.to);
            assert_eq!(paid.ok(), expected.first().copied());
        };
        let (here, abroad) = (Destination::OtherEndpoint, Destination::OtherRegion);
        check(1, EVERYWHERE, &[here, abroad]);
        check(2, EVERYWHERE, &[abroad, here]);
        let alone = Reach {
            again: true,
            ..Reach::default()
        };
        check(1, alone, &[]);
    }

    #[test]
    fn waits_are_drawn_below_the_backoff() {
        let backoff = Duration::from_millis(75);
        let next = NextTry {
            to: Destination::OtherEndpoint,
            scope: Scope::Global,
            backoff,
        };
        let mut rng = Rng::with_seed(5);
        let waits: Vec<_> = (0..1_000).map(|_| next.wait(&mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait < backoff));
        assert!(waits.iter().any(|wait| *wait < backoff / 10));
        assert!(waits.iter().any(|wait| *wait > backoff * 9 / 10));
    }

    #[test]
    fn a_try_is_paid_from_its_purse_or_the_next_ones() {
        let now = Instant::now();
        let pay = |in_region, cross_region, reach| {
            let budget = Budget::new(now);
            budget.configure(in_region, cross_region);
            let tries = next_try(&policy(), &SITUATION, Scope::Global, reach);
            tries.pay(&budget, now).map(|next| next.to)
        };
        assert_eq!(pay(0.2, 1.0, EVERYWHERE), Ok(Destination::OtherEndpoint));
        assert_eq!(pay(0.0, 1.0, EVERYWHERE), Ok(Destination::OtherRegion));
        assert_eq!(pay(0.0, 0.0, EVERYWHERE), Err(WhyNot::Budget));
        assert_eq!(pay(0.2, 1.0, Reach::default()), Err(WhyNot::NoCandidate));
        let full = Reach {
            full: true,
            ..Reach::default()
        };
        assert_eq!(pay(0.2, 1.0, full), Err(WhyNot::RetriesFull));
        assert_eq!(
            pay(0.2, 1.0, doubted(true, false)),
            Ok(Destination::OtherRegion)
        );
    }

    fn doubted(doubted: bool, doubted_elsewhere: bool) -> Reach {
        Reach {
            doubted,
            doubted_elsewhere,
            ..EVERYWHERE
        }
    }

    #[test]
    fn a_doubted_region_is_left_and_not_moved_to() {
        use Destination::{OtherEndpoint, OtherRegion};
        let (leave, stay) = ([OtherRegion, OtherEndpoint], [OtherEndpoint, OtherRegion]);
        for attempts in [1, 2] {
            for failure in [Failure::Connect, Failure::Status(503), Failure::Timeout] {
                let check = |reach, expected: &[Destination]| {
                    check_next(failure, attempts, Scope::Global, reach, expected);
                };
                check(doubted(true, false), &leave);
                check(doubted(false, true), &stay);
            }
        }
        check_next(
            Failure::Connect,
            1,
            Scope::Global,
            doubted(true, true),
            &stay,
        );
        check_next(
            Failure::Timeout,
            1,
            Scope::Global,
            doubted(true, true),
            &leave,
        );
        let only = Reach {
            here: false,
            ..doubted(false, true)
        };
        check_next(Failure::Connect, 1, Scope::Global, only, &[OtherRegion]);
        check_next(
            Failure::Connect,
            1,
            Scope::Region,
            doubted(true, false),
            &[OtherEndpoint],
        );
    }

    #[test]
    fn a_waiting_attempt_is_given_up_only_for_another_region_and_only_if_it_may_be_repeated() {
        let now = Instant::now();
        let policy = RetryPolicy {
            on: RetryOn {
                timeout: true,
                ..RetryOn::default()
            },
            ..policy()
        };
        let check = |change: fn(&mut Situation, &mut Reach), share, expected| {
            let budget = Budget::new(now);
            budget.configure(share, share);
            let (mut situation, mut reach) = (SITUATION, doubted(true, false));
            change(&mut situation, &mut reach);
            let left = leave(&policy, &situation, reach, &budget, now).map(|next| next.to);
            assert_eq!(left, expected, "{situation:?} {reach:?}");
        };
        let other = Ok(Destination::OtherRegion);
        check(|_, _| {}, 0.2, other);
        check(|_, _| {}, 0.0, Err(WhyNot::Budget));
        let once: fn(&mut Situation, &mut Reach) = |s, _| s.idempotency = Idempotency::No;
        check(once, 0.2, Err(WhyNot::NotIdempotent));
        check(
            |s, _| (s.idempotency, s.phase) = (Idempotency::No, Phase::Connecting),
            0.2,
            other,
        );
        check(
            |s, _| (s.idempotency, s.scope) = (Idempotency::Keyed, Scope::Region),
            0.2,
            Err(WhyNot::NoCandidate),
        );
        check(|s, _| s.attempts = 3, 0.2, Err(WhyNot::Attempts));
        check(|s, _| s.body = BodyState::Lost, 0.2, Err(WhyNot::BodyLost));
        check(|_, r| r.elsewhere = false, 0.2, Err(WhyNot::NoCandidate));
    }
}
