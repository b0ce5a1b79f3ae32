//! Whatever fails and whoever asks, attempts stay within the one formula: retries, re-dispatches,
//! resumes and hedges together.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::HedgeCell;
use tidegate_core::budget::{Budget, Purse, RESERVE, WINDOW_S};
use tidegate_core::hedge::HEDGE_RESERVE;
use tidegate_core::plan::{HedgeTo, RetryOn, RetryPolicy, UnknownOutcome};
use tidegate_core::resume;
use tidegate_core::retry::{
    BodyState, Failure, Idempotency, NextTry, Phase, Reach, Scope, Situation, Verdict, WhyNot,
    beside, leave, next_try, outlasts, verdict,
};

/// Whom the data plane asks after a failure or a wait.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Retry,
    Leave,
    Hedge,
    Resume,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Requests(u16),
    Ask(Asks, Situation, Reach, u16),
    Wait(u64),
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(Failure::Connect),
        Just(Failure::ConnectTimeout),
        Just(Failure::Reset),
        Just(Failure::Timeout),
        Just(Failure::BadResponse),
        Just(Failure::Status(503)),
        Just(Failure::Grpc(14)),
        Just(Failure::Refused),
        Just(Failure::RegionDown),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Connecting),
        Just(Phase::NothingSent),
        Just(Phase::Sent),
        Just(Phase::HeadReceived),
        Just(Phase::BodyUnderWay),
    ]
}

fn idempotency() -> impl Strategy<Value = Idempotency> {
    prop_oneof![
        Just(Idempotency::Safe),
        Just(Idempotency::Idempotent),
        Just(Idempotency::Keyed),
        Just(Idempotency::No),
    ]
}

fn situation() -> impl Strategy<Value = Situation> {
    let body = prop_oneof![
        Just(BodyState::Untouched),
        Just(BodyState::Kept),
        Just(BodyState::Lost)
    ];
    let scope = prop_oneof![Just(Scope::Global), Just(Scope::Region)];
    let retry_after = proptest::option::of((0..8_000u64).prop_map(Duration::from_millis));
    let numbers = (retry_after, 1..5u8, 0..10_000u64);
    (failure(), phase(), idempotency(), body, scope, numbers).prop_map(
        |(failure, phase, idempotency, body, scope, (retry_after, attempts, left))| Situation {
            failure,
            phase,
            idempotency,
            body,
            scope,
            retry_after,
            attempts,
            left: Duration::from_millis(left),
        },
    )
}

fn reach() -> impl Strategy<Value = Reach> {
    any::<[bool; 9]>().prop_map(|is| Reach {
        here: is[0],
        again: is[0] || is[1],
        elsewhere: is[2],
        moved: is[3],
        doubted: is[4],
        doubted_elsewhere: is[5],
        full: is[6],
        full_elsewhere: is[7],
        late: is[8],
    })
}

fn step() -> impl Strategy<Value = Step> {
    let asks = prop_oneof![
        Just(Asks::Retry),
        Just(Asks::Leave),
        Just(Asks::Hedge),
        Just(Asks::Resume)
    ];
    prop_oneof![
        (0..400u16).prop_map(Step::Requests),
        (asks, situation(), reach(), 0..400u16).prop_map(|(a, s, r, n)| Step::Ask(a, s, r, n)),
        (0..4_000u64).prop_map(Step::Wait),
        (0..40_000u64).prop_map(Step::Wait),
    ]
}

fn policy(shares: (f64, f64)) -> RetryPolicy {
    let on = RetryOn {
        connect: true,
        reset: true,
        timeout: true,
        bad_response: true,
        statuses: [503].into(),
        grpc: [14].into(),
    };
    RetryPolicy {
        on,
        budget: shares.0,
        cross_region_budget: shares.1,
        ..RetryPolicy::default()
    }
}

/// One upstream with one route that hedges, and what it did, by second.
struct World {
    policy: RetryPolicy,
    budget: Budget,
    cell: HedgeCell,
    origin: Instant,
    elapsed: Duration,
    requests: Vec<u64>,
    paid: [Vec<u64>; 2],
    hedges: Vec<u64>,
}

impl World {
    fn new(shares: (f64, f64), hedges: f64) -> Self {
        let origin = Instant::now();
        let (budget, cell) = (Budget::new(origin), HedgeCell::new(origin));
        budget.configure(shares.0, shares.1);
        cell.configure(hedges);
        Self {
            policy: policy(shares),
            budget,
            cell,
            origin,
            elapsed: Duration::ZERO,
            requests: Vec::new(),
            paid: Default::default(),
            hedges: Vec::new(),
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Wait(ms) => self.elapsed += Duration::from_millis(ms),
                Step::Requests(n) => (0..n).for_each(|_| self.request()),
                Step::Ask(asks, situation, reach, n) => {
                    (0..n).for_each(|_| self.ask(asks, &situation, reach));
                }
            }
        }
    }

    fn request(&mut self) {
        let now = self.now();
        self.budget.deposit(now);
        self.cell.deposit(now);
        self.requests.push(self.elapsed.as_secs());
    }

    fn ask(&mut self, asks: Asks, situation: &Situation, reach: Reach) {
        let Ok(next) = self.answer(asks, situation, reach) else {
            return;
        };
        let second = self.elapsed.as_secs();
        self.paid[next.purse() as usize].push(second);
        if matches!(asks, Asks::Hedge) {
            self.hedges.push(second);
        }
    }

    fn answer(&self, asks: Asks, of: &Situation, reach: Reach) -> Result<NextTry, WhyNot> {
        let (policy, budget, now) = (&self.policy, &self.budget, self.now());
        match asks {
            Asks::Retry => match verdict(policy, of) {
                Verdict::Stop(why) => Err(why),
                Verdict::Retry(scope) => next_try(policy, of, scope, reach).pay(budget, now),
            },
            Asks::Leave => leave(policy, of, reach, budget, now),
            Asks::Hedge => {
                let ways = beside(policy, HedgeTo::Region, of, reach);
                ways.pay_beside(&self.cell, budget, now)
            }
            Asks::Resume => resume::next(policy, of, reach, budget, now),
        }
    }

    fn now(&self) -> Instant {
        self.origin + self.elapsed
    }
}

fn within(seconds: &[u64], from: u64, to: u64) -> f64 {
    let inside = seconds.iter().filter(|at| (from..=to).contains(at));
    inside.count() as f64
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn attempts_stay_within_the_formula_in_every_window(
        shares in (0.0..1.5f64, 0.0..1.5f64), hedged in 0.0..0.5f64, steps in vec(step(), 1..60),
    ) {
        let mut world = World::new(shares, hedged);
        world.run(&steps);
        let window = u64::from(WINDOW_S);
        for to in 0..=world.elapsed.as_secs() + window {
            let from = to.saturating_sub(window);
            let requests = within(&world.requests, from, to);
            for (paid, share) in world.paid.iter().zip([shares.0, shares.1]) {
                let most = requests * share + f64::from(RESERVE);
                let ends = paid.contains(&to);
                prop_assert!(!ends || within(paid, from, to) <= most, "seconds {from} to {to}");
            }
            // Any window, wherever it ends: the one before it has paid as well.
            let [near, far] = [&world.paid[0], &world.paid[1]].map(|paid| within(paid, from, to));
            let before = within(&world.requests, from.saturating_sub(window), to);
            let most = requests + before * (shares.0 + shares.1) + 2.0 * f64::from(RESERVE);
            prop_assert!(requests + near + far <= most, "seconds {from} to {to}");
            if world.hedges.contains(&to) {
                let most = requests * hedged + f64::from(HEDGE_RESERVE);
                prop_assert!(within(&world.hedges, from, to) <= most, "seconds {from} to {to}");
            }
        }
    }

    #[test]
    fn nothing_goes_where_it_must_not(
        situation in situation(), reach in reach(), share in 0.0..1.0f64,
    ) {
        let world = World::new((share, share), share);
        for asks in [Asks::Retry, Asks::Leave, Asks::Hedge] {
            let Ok(next) = world.answer(asks, &situation, reach) else { continue };
            let processed = situation.phase >= Phase::Sent && situation.failure != Failure::Refused;
            let leaves = next.purse() == Purse::CrossRegion;
            prop_assert!(situation.phase != Phase::BodyUnderWay || matches!(asks, Asks::Hedge));
            prop_assert!(situation.body != BodyState::Lost);
            prop_assert!(!processed || situation.idempotency != Idempotency::No);
            prop_assert!(!(processed && leaves) || situation.scope == Scope::Global);
            prop_assert!(next.at_least + next.backoff <= situation.left);
            prop_assert!(situation.attempts < world.policy.attempts);
            prop_assert!(!matches!(asks, Asks::Leave) || leaves);
        }
    }

    #[test]
    fn what_is_waited_for_is_never_sent_again_and_never_beyond_its_time(
        situation in situation(), reach in reach(), waits: bool,
    ) {
        let mut world = World::new((1.0, 1.0), 1.0);
        if !waits {
            world.policy.on_unknown_outcome = UnknownOutcome::Fail;
        }
        if outlasts(&world.policy, &situation, reach) {
            prop_assert!(waits || situation.failure == Failure::Timeout);
            prop_assert!(!situation.left.is_zero());
            prop_assert!(situation.phase >= Phase::Sent && situation.phase != Phase::BodyUnderWay);
            prop_assert!(world.answer(Asks::Retry, &situation, reach).is_err());
        }
    }
}
