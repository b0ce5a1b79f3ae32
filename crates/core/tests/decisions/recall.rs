//! What a thread recalls is what it would decide anew.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::choose::choose_into;
use tidegate_core::limits::Turn;
use tidegate_core::plan::{CircuitBreaker, EndpointSpec, Limits, Policy, Spread, Steering};
use tidegate_core::sets::{KeptSets, Sets};
use tidegate_core::{
    Allotment, Ask, Choice, Decision, Dial, Drain, Health, RegionIdx, RegionSet, Standing, choose,
};

use crate::support::{UPSTREAM, World, latency};

const REGIONS: usize = 4;
const STEPS: usize = 1_500;

fn one_of<T: Copy>(all: &[T], rng: &mut Rng) -> T {
    all[rng.usize(..all.len())]
}

fn dial(rng: &mut Rng) -> Dial {
    one_of(&[Dial::FULL, Dial::FULL, Dial::new(0.4), Dial::NONE], rng)
}

/// Any change that a decision must see, of something.
fn change(world: &World, now: Instant, rng: &mut Rng) {
    let at = rng.usize(..REGIONS);
    let region = &world.live.upstreams[0].regions[at];
    let cell = &region.cell;
    let set = region.endpoints.load_full();
    let endpoint = rng.usize(..set.endpoints.len().max(1));
    let endpoint = set.endpoints.get(endpoint).map(|one| &one.cell);
    let changed: [&dyn Fn(&mut Rng); 11] = [
        &|rng| {
            let standing = Standing {
                health: one_of(&Health::ALL, rng),
                suspected: rng.u8(..4) == 0,
                probation: rng.u8(..4) == 0,
                dial: dial(rng),
            };
            cell.set_standing(standing);
        },
        &|rng| {
            cell.set_health(one_of(&Health::ALL, rng));
        },
        &|rng| {
            cell.set_drain(one_of(&[Drain::No, Drain::Soft, Drain::Now], rng));
        },
        &|rng| {
            cell.set_dial(rng.bool().then(|| dial(rng)));
        },
        &|rng| {
            cell.set_place(rng.bool().then(|| rng.u8(..4)));
        },
        &|rng| {
            cell.set_allotment(Allotment {
                take: dial(rng),
                spare: rng.bool().then(|| rng.f32() * 100.0),
                latency: (rng.u8(..8) > 0).then(|| Duration::from_millis(rng.u64(1..50))),
                healthy: dial(rng),
                degraded: dial(rng),
                offered: rng.f32(),
            });
        },
        &|rng| {
            endpoint.map(|cell| cell.set_health(one_of(&Health::ALL, rng)));
        },
        &|rng| {
            endpoint.map(|cell| cell.set_ejected(rng.bool()));
        },
        &|rng| {
            endpoint.map(|cell| cell.say(one_of(&Health::ALL, rng), None));
        },
        &|rng| {
            if let Some(cell) = endpoint {
                cell.set_share(dial(rng));
            }
        },
        &|rng| {
            let spec = |n| EndpointSpec::new(format!("r{at}-{n}:80"));
            let specs: Vec<_> = (0..rng.usize(..4)).map(spec).collect();
            let name = format!("r{at}");
            region
                .endpoints
                .replace("shop", &name, &specs, &world.board);
        },
    ];
    match rng.usize(..changed.len() + 2) {
        measured if measured >= changed.len() => {
            cell.observe_rtt(Duration::from_millis(rng.u64(1..200)), now);
        }
        which => changed[which](rng),
    }
}

/// Nothing is amiss with any region any more.
fn heal(world: &World, rng: &mut Rng) {
    for region in &world.live.upstreams[0].regions {
        let cell = &region.cell;
        cell.set_standing(Standing::full(Health::Healthy));
        cell.set_drain(Drain::No);
        cell.set_dial(None);
        cell.set_place(None);
        cell.set_allotment(Allotment {
            latency: Some(Duration::from_millis(rng.u64(1..50))),
            ..Allotment::default()
        });
        for endpoint in &region.endpoints.load().endpoints {
            endpoint.cell.set_health(Health::Healthy);
            endpoint.cell.set_ejected(false);
            endpoint.cell.say(Health::Unknown, None);
            endpoint.cell.set_share(Dial::FULL);
        }
    }
}

/// An attempt, mostly a usual one.
fn ask(now: Instant, rng: &mut Rng) -> Ask {
    let some = |rng: &mut Rng| {
        let all = (0..REGIONS as u8).map(RegionIdx);
        all.filter(|_| rng.bool()).collect::<RegionSet>()
    };
    let mut ask = Ask::new(RegionSet::ALL, now);
    match rng.u8(..12) {
        0 => ask.allowed = some(rng),
        1 => ask.within = some(rng),
        2 => ask.tried_regions = some(rng),
        3 => ask.sticky = Some(rng.u64(..)),
        4 => ask.turn = Turn::Retry,
        5 | 6 => ask.repeatable = false,
        _ => {}
    }
    ask
}

/// What shows of a choice.
fn shown(choice: Option<Choice>) -> Option<(RegionIdx, u8, String, String)> {
    choice.map(|choice| {
        let address = choice.endpoint().address.to_string();
        let because = format!("{:?}", choice.because);
        (choice.region, choice.position, because, address)
    })
}

/// How often something was recalled.
fn check(steering: Steering, breaker: &CircuitBreaker, seed: u64) -> usize {
    let name = format!("{:?}, seed {seed}", steering.policy);
    let world = World::changed(steering, &[2; REGIONS], |upstream| {
        upstream.circuit_breaker = breaker.clone();
        for region in &mut upstream.regions {
            region.tier = u16::from(region.region.0) / (1 + seed as u16 % 2);
        }
    });
    let upstream = world.live.upstream(UPSTREAM);
    let (kept, mut rng) = (KeptSets::default(), Rng::with_seed(seed));
    let (mut under_way, mut hits) = (Vec::new(), 0);
    for step in 0..STEPS {
        let now = world.now + Duration::from_millis(step as u64);
        match rng.u8(..16) {
            0 => heal(&world, &mut rng),
            1..4 => change(&world, now, &mut rng),
            _ => {}
        }
        let ask = ask(now, &mut rng);
        let (mut ours, mut theirs) = (rng.fork(), Rng::new());
        theirs.seed(ours.get_seed());
        let recall = kept.recall().expect("these keep decisions");
        hits += usize::from(recall.holds(upstream.1, &ask, &kept));
        let mut decision = Decision::default();
        let recalled = choose_into(&mut decision, upstream, &kept, &ask, &mut ours);
        let (anew, choice) = choose(upstream, &ask, &mut theirs);
        assert_eq!(decision, anew, "{name}, step {step}");
        assert_eq!(ours.get_seed(), theirs.get_seed(), "{name}, step {step}");
        under_way.extend(recalled.as_ref().map(|choice| choice.begin(upstream.1)));
        under_way.truncate(8);
        assert_eq!(shown(recalled), shown(choice), "{name}, step {step}");
    }
    hits
}

#[test]
fn what_is_recalled_is_what_would_be_decided_anew() {
    let capacity = |spread| Policy::Capacity { spread };
    let policies = [
        Policy::priority(),
        latency(0).policy,
        latency(20).policy,
        Policy::Weighted {
            hash_on: Box::default(),
        },
        capacity(Spread::Waterfall),
        capacity(Spread::Spray),
        Policy::Geo {
            rules: Box::default(),
        },
        Policy::LeastLoad,
    ];
    let bounded = |max_requests, max_retries| {
        let limits = Limits {
            max_requests,
            max_retries,
            ..Limits::default()
        };
        CircuitBreaker {
            endpoint: limits,
            region: limits,
            ..CircuitBreaker::default()
        }
    };
    let mut recalled = [0, 0];
    for policy in policies {
        for seed in 0..24 {
            let mut steering = Steering::from(policy.clone());
            let fail_open = (seed % 3 == 0).then_some(0.5);
            steering.panic.fail_open = fail_open;
            let breaker = match seed % 4 {
                3 => bounded(Some(2), None),
                2 => bounded(None, Some(1)),
                _ => CircuitBreaker::default(),
            };
            let hits = check(steering, &breaker, seed);
            let draws = matches!(policy, Policy::Weighted { .. } | Policy::LeastLoad);
            assert!(hits == 0 || !draws && seed % 4 != 3, "{policy:?}: {hits}");
            recalled[usize::from(policy == Policy::priority())] += hits;
        }
    }
    assert!(recalled.iter().all(|hits| *hits > STEPS), "{recalled:?}");
}
