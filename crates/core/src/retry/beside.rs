//! Where a hedge goes that is sent because an attempt is slow, not because anything failed.

use std::time::Instant;

use super::next::{Destination, NextTries, NextTry, Reach};
use super::{BodyState, Idempotency, Scope, Situation, WhyNot};
use crate::budget::Budget;
use crate::hedge::HedgeCell;
use crate::plan::{HedgeTo, RetryPolicy};

impl NextTries {
    /// Takes the tokens for the best way of a hedge that can be paid: one of the route's purse and one
    /// of the upstream's ([`HedgeCell::pay`]).
    ///
    /// # Errors
    /// As [`pay`](Self::pay).
    pub fn pay_beside(
        &self,
        cell: &HedgeCell,
        budget: &Budget,
        now: Instant,
    ) -> Result<NextTry, WhyNot> {
        self.first(|way| cell.pay(budget, way.purse(), now))
    }
}

/// The ways for a second attempt beside one that is slow, best first: as `to` says, and never to what
/// is doubted, tried, full, or usually slower than the time that is left. The endpoint of the first
/// attempt has to be entered as tried before `reach` is asked.
///
/// Empty, with the reason, for a request that is not safe (RFC 9110 section 9.2.1) or has a body that
/// was touched, and when attempts or time are used up.
pub fn beside(policy: &RetryPolicy, to: HedgeTo, situation: &Situation, reach: Reach) -> NextTries {
    if let Some(why) = refusal(policy, situation) {
        return NextTries::none(why);
    }
    let near = (reach.here && !reach.doubted, Destination::OtherEndpoint);
    let abroad = situation.scope == Scope::Global && reach.elsewhere && !reach.doubted_elsewhere;
    let far = (abroad, Destination::OtherRegion);
    let order = match to {
        HedgeTo::Endpoint => [near, far],
        HedgeTo::Region => [far, near],
    };
    let open = order.into_iter().filter(|(open, _)| *open);
    NextTries::of(
        open.map(|(_, to)| NextTry::at_once(to, situation.scope)),
        reach.why_nothing(),
    )
}

fn refusal(policy: &RetryPolicy, situation: &Situation) -> Option<WhyNot> {
    match () {
        () if situation.idempotency != Idempotency::Safe => Some(WhyNot::NotIdempotent),
        () if situation.body != BodyState::Untouched => Some(WhyNot::BodyLost),
        () if situation.attempts >= policy.attempts => Some(WhyNot::Attempts),
        () if situation.left.is_zero() => Some(WhyNot::Deadline),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::tests::{EVERYWHERE, SITUATION, policy};
    use Destination::{OtherEndpoint, OtherRegion};
    use std::time::Duration;

    fn check(
        to: HedgeTo,
        change: fn(&mut Situation, &mut Reach),
        expected: Result<&[Destination], WhyNot>,
    ) {
        let (mut situation, mut reach) = (SITUATION, EVERYWHERE);
        change(&mut situation, &mut reach);
        let tries = beside(&policy(), to, &situation, reach);
        let ways: Vec<_> = tries.as_slice().iter().map(|way| way.to).collect();
        assert!(tries.as_slice().iter().all(|way| way.backoff.is_zero()));
        match expected {
            Ok(expected) => assert_eq!(ways, expected, "{situation:?} {reach:?}"),
            Err(why) => {
                let (cell, budget, now) = purses(0.05, 1.0);
                assert_eq!(tries.pay_beside(&cell, &budget, now), Err(why));
            }
        }
    }

    fn purses(route: f64, upstream: f64) -> (HedgeCell, Budget, Instant) {
        let now = Instant::now();
        let (cell, budget) = (HedgeCell::new(now), Budget::new(now));
        cell.configure(route);
        budget.configure(upstream, upstream);
        (cell, budget, now)
    }

    #[test]
    fn a_hedge_goes_where_it_is_wanted_and_never_to_what_is_in_doubt() {
        let (near, far) = (HedgeTo::Endpoint, HedgeTo::Region);
        check(near, |_, _| {}, Ok(&[OtherEndpoint, OtherRegion]));
        check(far, |_, _| {}, Ok(&[OtherRegion, OtherEndpoint]));
        check(near, |_, r| r.here = false, Ok(&[OtherRegion]));
        check(far, |_, r| r.elsewhere = false, Ok(&[OtherEndpoint]));
        check(near, |_, r| r.doubted = true, Ok(&[OtherRegion]));
        check(far, |_, r| r.doubted_elsewhere = true, Ok(&[OtherEndpoint]));
        check(far, |s, _| s.scope = Scope::Region, Ok(&[OtherEndpoint]));
    }

    #[test]
    fn what_is_not_safe_or_has_nowhere_to_go_is_not_hedged() {
        let to = HedgeTo::Endpoint;
        for idempotency in [
            |s: &mut Situation, _: &mut Reach| s.idempotency = Idempotency::Idempotent,
            |s: &mut Situation, _: &mut Reach| s.idempotency = Idempotency::Keyed,
            |s: &mut Situation, _: &mut Reach| s.idempotency = Idempotency::No,
        ] {
            check(to, idempotency, Err(WhyNot::NotIdempotent));
        }
        check(to, |s, _| s.body = BodyState::Kept, Err(WhyNot::BodyLost));
        check(to, |s, _| s.attempts = 3, Err(WhyNot::Attempts));
        check(to, |s, _| s.left = Duration::ZERO, Err(WhyNot::Deadline));
        let nowhere: fn(&mut Situation, &mut Reach) = |_, r| (r.here, r.elsewhere) = (false, false);
        check(to, nowhere, Err(WhyNot::NoCandidate));
    }

    #[test]
    fn both_purses_pay_or_none() {
        let paid = |route, upstream| {
            let (cell, budget, now) = purses(route, upstream);
            let tries = beside(&policy(), HedgeTo::Region, &SITUATION, EVERYWHERE);
            tries.pay_beside(&cell, &budget, now).map(|way| way.to)
        };
        assert_eq!(paid(0.05, 1.0), Ok(OtherRegion));
        assert_eq!(paid(0.0, 1.0), Err(WhyNot::Budget));
        assert_eq!(paid(0.05, 0.0), Err(WhyNot::Budget));
    }
}
