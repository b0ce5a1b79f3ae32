//! Where the next attempt goes after a verdict of "again": the same region, another one, or nowhere.
//!
//! Staying is quick and keeps a user's data and caches near; leaving is what saves a request when a
//! whole region fails. The rule is data in, data out; what is left to try is found by
//! [`choose::reach`](crate::choose::reach), and the purses decide which way can be afforded.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use fastrand::Rng;
use serde::Serialize;

use super::pace::{backoff, may_ask_again};
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
    /// Whether another region would be open, were it not at a bound of `circuit_breaker`.
    pub full_elsewhere: bool,
    /// Whether there is nothing only because answers usually take longer than the time that is left.
    pub late: bool,
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
    /// Wait for so long besides, because the endpoint asked for it (`Retry-After`).
    pub at_least: Duration,
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

impl NextTries {
    /// The ways, best first.
    pub fn as_slice(&self) -> &[NextTry] {
        &self.ways
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// Takes a token for the best way that can be paid. A full purse for the other way keeps a
    /// request alive when the first is empty: a region that fails as a whole soon empties the
    /// in-region purse, and its requests move on at once.
    ///
    /// # Errors
    /// [`WhyNot::NoCandidate`], [`WhyNot::RetriesFull`] or [`WhyNot::Deadline`] when there is no way,
    /// [`WhyNot::Budget`] when none can be paid.
    pub fn pay(&self, budget: &Budget, now: Instant) -> Result<NextTry, WhyNot> {
        self.first(|way| self.free || budget.withdraw(way.purse(), now))
    }

    /// These ways; `none` says why there is none, if there is none.
    pub(super) fn of(ways: impl IntoIterator<Item = NextTry>, none: WhyNot) -> Self {
        Self {
            ways: ways.into_iter().collect(),
            free: false,
            none,
        }
    }

    /// No way, for this reason.
    pub(super) fn none(why: WhyNot) -> Self {
        Self::of([], why)
    }

    /// The first way for which `paid` says that it is paid.
    pub(super) fn first(&self, paid: impl FnMut(&&NextTry) -> bool) -> Result<NextTry, WhyNot> {
        self.ways
            .iter()
            .find(paid)
            .copied()
            .ok_or(match self.is_empty() {
                true => self.none,
                false => WhyNot::Budget,
            })
    }
}

impl NextTry {
    /// An attempt that waits for nothing.
    pub fn at_once(to: Destination, scope: Scope) -> Self {
        Self {
            to,
            scope,
            backoff: Duration::ZERO,
            at_least: Duration::ZERO,
        }
    }

    /// The purse that pays for it.
    pub fn purse(&self) -> Purse {
        match self.to {
            Destination::OtherRegion => Purse::CrossRegion,
            Destination::OtherEndpoint | Destination::SameEndpoint => Purse::InRegion,
        }
    }

    /// How long to wait: `at_least`, and a time drawn uniformly from zero to `backoff`.
    pub fn wait(&self, rng: &mut Rng) -> Duration {
        self.at_least + self.backoff.mul_f64(rng.f64())
    }
}

impl Reach {
    /// Why there is nothing to try, if there is nothing.
    pub(super) fn why_nothing(&self) -> WhyNot {
        match () {
            () if self.full => WhyNot::RetriesFull,
            () if self.late => WhyNot::Deadline,
            () => WhyNot::NoCandidate,
        }
    }
}

/// Where to go after a verdict of `Retry(scope)`, best first.
///
/// A silent region (timeouts) is left at once, and so is one that is out, suspected or only being
/// tried, whatever else it has to offer, as long as there is another that is not. What one endpoint may have caused alone (refused,
/// reset, a status) is tried at another endpoint of the region first, while at least two attempts
/// are left: the last attempt always leaves the region, so that a region that is down as a whole
/// cannot use up a request. Only where neither is possible, the same endpoint is asked again, unless
/// it is full, after the time for which it asked (`Retry-After`); if that is longer than what is left,
/// or than [`RETRY_AFTER_MAX`](super::RETRY_AFTER_MAX), it is not. What is full is left at once and for
/// free.
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
    let may_again = situation.failure != Failure::Full && may_ask_again(situation);
    let order = match () {
        () if !reach.here && !elsewhere => {
            [(reach.again && may_again, Destination::SameEndpoint), leave]
        }
        () if reach.doubted && !reach.doubted_elsewhere => [leave, stay],
        () if reach.doubted_elsewhere && !reach.doubted => [stay, leave],
        () if one_endpoint_may_be_the_cause(situation.failure) && left >= 2 => [stay, leave],
        () => [leave, stay],
    };
    let open = order.into_iter().filter(|(open, _)| *open);
    let ways = open.map(|(_, to)| way(to, scope, policy, situation, reach));
    let too_late = reach.again && situation.retry_after >= Some(situation.left);
    NextTries {
        free: situation.failure == Failure::Full,
        ..NextTries::of(
            ways,
            match too_late {
                true => WhyNot::Deadline,
                false => reach.why_nothing(),
            },
        )
    }
}

/// Whether an attempt that still waits may be given up for another one elsewhere, because its region
/// went down, fell silent or is drained at once ([`choose::should_leave`](crate::choose::should_leave) tells when to ask).
/// The way is always to another region, and paid for.
///
/// # Errors
/// The attempt has to wait on: for the verdict's reason (what may have been processed must not be
/// done twice, no attempt is left), because the request may not leave its region or there is no other
/// ([`WhyNot::NoCandidate`]), because the others usually take longer than what is left
/// ([`WhyNot::Deadline`]), because there is no room in them now ([`WhyNot::RetriesFull`]) or for want of
/// budget. After the last two it is worth asking again.
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
    if reach.full_elsewhere && scope == Scope::Global {
        tries.none = WhyNot::RetriesFull;
    }
    tries.pay(budget, now)
}

fn one_endpoint_may_be_the_cause(failure: Failure) -> bool {
    !matches!(
        failure,
        Failure::Timeout | Failure::ConnectTimeout | Failure::RegionDown
    )
}

fn way(
    to: Destination,
    scope: Scope,
    policy: &RetryPolicy,
    situation: &Situation,
    reach: Reach,
) -> NextTry {
    let first_move = to == Destination::OtherRegion && !reach.moved;
    let asked = situation.retry_after.unwrap_or_default();
    let at_least = match to {
        Destination::SameEndpoint => asked,
        Destination::OtherEndpoint | Destination::OtherRegion => Duration::ZERO,
    };
    let backoff = match situation.failure == Failure::Full || first_move {
        true => Duration::ZERO,
        false => backoff(&policy.backoff, situation.attempts),
    };
    NextTry {
        backoff: backoff.min(situation.left.saturating_sub(at_least) / 2),
        at_least,
        ..NextTry::at_once(to, scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RetryOn;
    use crate::retry::tests::{EVERYWHERE, SITUATION, policy};
    use crate::retry::{BodyState, Idempotency, Phase, RETRY_AFTER_MAX};

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
            backoff,
            ..NextTry::at_once(Destination::OtherEndpoint, Scope::Global)
        };
        let mut rng = Rng::with_seed(5);
        let after_all = NextTry {
            at_least: Duration::from_secs(1),
            ..next
        };
        let wait = after_all.wait(&mut rng);
        assert!(wait >= after_all.at_least && wait < after_all.at_least + backoff);
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

    /// What is left to try after an endpoint asked for `asked` milliseconds, of which 3,000 are left.
    fn check_retry_after(reach: Reach, asked: u64, expected: Result<(Destination, u64), WhyNot>) {
        let situation = Situation {
            failure: Failure::Status(503),
            phase: Phase::HeadReceived,
            retry_after: Some(Duration::from_millis(asked)),
            left: Duration::from_millis(3_000),
            ..SITUATION
        };
        let now = Instant::now();
        let budget = Budget::new(now);
        budget.configure(0.2, 1.0);
        let tries = next_try(&policy(), &situation, Scope::Global, reach);
        let next = tries.pay(&budget, now);
        let paid = next.map(|next| (next.to, next.at_least.as_millis() as u64));
        assert_eq!(paid, expected, "{reach:?} {asked}");
        assert!(
            next.is_ok_and(|next| next.backoff + next.at_least < situation.left) || paid.is_err()
        );
    }

    #[test]
    fn an_endpoint_that_asks_for_time_gets_it_or_is_not_asked_again() {
        let alone = Reach {
            again: true,
            ..Reach::default()
        };
        check_retry_after(EVERYWHERE, 60_000, Ok((Destination::OtherEndpoint, 0)));
        let abroad = Reach {
            here: false,
            ..EVERYWHERE
        };
        check_retry_after(abroad, 60_000, Ok((Destination::OtherRegion, 0)));
        check_retry_after(alone, 0, Ok((Destination::SameEndpoint, 0)));
        check_retry_after(alone, 2_999, Ok((Destination::SameEndpoint, 2_999)));
        check_retry_after(alone, 3_000, Err(WhyNot::Deadline));
        let late = RETRY_AFTER_MAX.as_millis() as u64 + 1;
        check_retry_after(alone, late, Err(WhyNot::Deadline));
        let situation = Situation {
            failure: Failure::Status(503),
            retry_after: Some(RETRY_AFTER_MAX + Duration::from_millis(1)),
            left: Duration::from_secs(60),
            ..SITUATION
        };
        let tries = next_try(&policy(), &situation, Scope::Global, alone);
        assert_eq!(tries, NextTries::none(WhyNot::NoCandidate));
    }

    #[test]
    fn why_there_is_nothing_is_told() {
        let check = |change: fn(&mut Reach), expected| {
            let mut reach = Reach::default();
            change(&mut reach);
            let tries = next_try(&policy(), &SITUATION, Scope::Global, reach);
            assert_eq!(tries, NextTries::none(expected));
        };
        check(|_| {}, WhyNot::NoCandidate);
        check(|r| r.late = true, WhyNot::Deadline);
        check(|r| r.full = true, WhyNot::RetriesFull);
        check(|r| (r.full, r.late) = (true, true), WhyNot::RetriesFull);
        check(|r| r.full_elsewhere = true, WhyNot::NoCandidate);
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
        let full: fn(&mut Situation, &mut Reach) =
            |_, r| (r.elsewhere, r.full_elsewhere) = (false, true);
        check(full, 0.2, Err(WhyNot::RetriesFull));
        let at_home: fn(&mut Situation, &mut Reach) =
            |s, r| (s.scope, r.full_elsewhere) = (Scope::Region, true);
        check(at_home, 0.2, Err(WhyNot::NoCandidate));
        let one_is_full: fn(&mut Situation, &mut Reach) = |_, r| r.full_elsewhere = true;
        check(one_is_full, 0.2, other);
        check(one_is_full, 0.0, Err(WhyNot::Budget));
    }
}
