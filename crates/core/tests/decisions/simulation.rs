//! A seeded virtual world: regions fail in every way while requests of every kind come in, and the
//! promises are checked after each. A failing seed is printed and replays.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::cell::{ErrorClass, Outcome};
use tidegate_core::plan::{ReplayScope, RetryPolicy};
use tidegate_core::retry::{self, BodyState, Failure, Idempotency, Phase, Situation, Verdict};
use tidegate_core::{Ask, Choice, Health, RegionIdx, RegionSet, choose, reach};

use crate::support::{UPSTREAM, World, latency};

const SEEDS: u64 = 200;
const REQUESTS: u64 = 300;
const KINDS: [Idempotency; 4] = [
    Idempotency::Safe,
    Idempotency::Idempotent,
    Idempotency::Keyed,
    Idempotency::No,
];

/// What a region does to an attempt while it is down.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Refuses,
    Resets,
    Hangs,
    Unavailable,
}

const FAULTS: [Fault; 4] = [
    Fault::Refuses,
    Fault::Resets,
    Fault::Hangs,
    Fault::Unavailable,
];

impl Fault {
    fn strikes(self) -> (Failure, Phase) {
        match self {
            Self::Refuses => (Failure::Connect, Phase::Connecting),
            Self::Resets => (Failure::Reset, Phase::Sent),
            Self::Hangs => (Failure::Timeout, Phase::Sent),
            Self::Unavailable => (Failure::Status(503), Phase::HeadReceived),
        }
    }
}

/// One attempt as the world saw it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    region: RegionIdx,
    processed: bool,
    answered: bool,
}

struct Simulation {
    world: World,
    down: Vec<Option<Fault>>,
    rng: Rng,
    now: Instant,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let regions: Vec<_> = (0..rng.usize(2..6)).map(|_| rng.usize(1..5)).collect();
        let world = World::new(latency(rng.u64(0..50)), &regions);
        let round_trips: Vec<_> = regions.iter().map(|_| rng.u64(1..200)).collect();
        world.measure(&round_trips);
        Self {
            down: vec![None; regions.len()],
            now: world.now,
            world,
            rng,
        }
    }

    /// At most one region is down at a time, and probes notice late or not at all.
    fn turn_weather(&mut self) {
        self.now += Duration::from_millis(self.rng.u64(0..50));
        if self.rng.u8(..20) == 0 {
            self.down.fill(None);
            let region = self.rng.usize(..self.down.len());
            self.down[region] = Some(FAULTS[self.rng.usize(..FAULTS.len())]);
        }
        for (region, down) in self.world.live.upstreams[0].regions.iter().zip(&self.down) {
            if self.rng.u8(..10) == 0 {
                let health = if down.is_some() {
                    Health::Unhealthy
                } else {
                    Health::Healthy
                };
                region.cell.set_health(health);
            }
        }
    }

    /// All the attempts of one request.
    fn request(&mut self, idempotency: Idempotency, allowed: RegionSet) -> Vec<Seen> {
        let (mut ask, mut seen) = (Ask::new(allowed, self.now), Vec::new());
        self.world.live.upstreams[0].budget.deposit(self.now);
        while let (_, Some(choice)) =
            choose(self.world.live.upstream(UPSTREAM), &ask, &mut self.rng)
        {
            ask.tried(&choice);
            let fault = self.down[choice.region.get()].map(Fault::strikes);
            self.record(&choice, fault.is_some());
            seen.push(Seen {
                region: choice.region,
                processed: fault.is_none_or(|(_, phase)| phase >= Phase::Sent),
                answered: fault.is_none(),
            });
            let Some((failure, phase)) = fault else { break };
            let attempts = seen.len() as u8;
            let left = Duration::from_secs(5);
            let situation = Situation {
                failure,
                phase,
                idempotency,
                body: BodyState::Untouched,
                scope: retry::replay_scope(ReplayScope::Auto, idempotency),
                retry_after: None,
                attempts,
                left,
            };
            if !self.go_on(&mut ask, &choice, &situation) {
                break;
            }
        }
        seen
    }

    fn go_on(&self, ask: &mut Ask, choice: &Choice, situation: &Situation) -> bool {
        let policy: &RetryPolicy = self.world.retry();
        let Verdict::Retry(scope) = retry::verdict(policy, situation) else {
            return false;
        };
        let reach = reach(self.world.live.upstream(UPSTREAM), ask, choice.position);
        let tries = retry::next_try(policy, situation, scope, reach);
        let Ok(next) = tries.pay(&self.world.live.upstreams[0].budget, self.now) else {
            return false;
        };
        ask.follow(&next, choice.region, choice.position);
        true
    }

    fn record(&self, choice: &Choice, failed: bool) {
        let answered = Outcome::Answered(Duration::from_millis(20));
        choice.endpoint().cell.record(
            if failed {
                Outcome::failed(ErrorClass::Reset)
            } else {
                answered
            },
            self.now,
        );
    }

    fn some_regions(&mut self) -> RegionSet {
        let all = (0..self.down.len()).map(|at| RegionIdx(at as u8));
        if self.rng.bool() {
            all.collect()
        } else {
            all.filter(|_| self.rng.bool()).collect()
        }
    }

    /// Whether a request that may go to `allowed` can be served as far as anybody believes.
    fn servable(&self, allowed: RegionSet) -> bool {
        let regions = self.world.live.upstreams[0]
            .regions
            .iter()
            .zip(&self.down)
            .enumerate();
        regions.into_iter().any(|(at, (region, down))| {
            allowed.contains(RegionIdx(at as u8)) && down.is_none() && region.cell.health().usable()
        })
    }
}

fn check_promises(
    seen: &[Seen],
    idempotency: Idempotency,
    allowed: RegionSet,
    servable: bool,
    story: &str,
) {
    assert!(
        seen.len() <= 3,
        "more attempts than the policy allows: {story}"
    );
    assert!(
        seen.iter().all(|attempt| allowed.contains(attempt.region)),
        "residency broken: {story}"
    );
    let processed: Vec<_> = seen.iter().filter(|attempt| attempt.processed).collect();
    match idempotency {
        Idempotency::No => assert!(processed.len() <= 1, "sent twice: {story}"),
        Idempotency::Keyed => {
            let same = processed
                .windows(2)
                .all(|pair| pair[0].region == pair[1].region);
            assert!(same, "the key went abroad: {story}");
        }
        Idempotency::Safe | Idempotency::Idempotent => {
            let answered = seen.last().is_some_and(|attempt| attempt.answered);
            assert_eq!(answered, servable, "lost, or served by nobody: {story}");
        }
    }
}

#[test]
fn promises_hold_whatever_fails() {
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed);
        let mut attempts = 0;
        for number in 0..REQUESTS {
            simulation.turn_weather();
            let idempotency = KINDS[simulation.rng.usize(..KINDS.len())];
            let allowed = simulation.some_regions();
            let servable = simulation.servable(allowed);
            let seen = simulation.request(idempotency, allowed);
            attempts += seen.len() as u64;
            let story = format!("seed {seed}, request {number}, {idempotency:?}, {seen:?}");
            check_promises(&seen, idempotency, allowed, servable, &story);
            assert!(
                attempts <= (number + 1) * 22 / 10 + 2 * 100 * 3,
                "a storm: {story}"
            );
        }
    }
}
