//! Endpoints: nothing unusable is taken while something usable is there, and failing fast does not pay.

use std::time::{Duration, Instant};

use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::balance::{self, Barred, Seek};
use tidegate_core::cell::{ErrorClass, InFlight, Outcome};
use tidegate_core::hash::xxh64;
use tidegate_core::plan::{Balance, TableSize};
use tidegate_core::{Dial, Endpoint, EndpointSet, Health, RegionCell};

use crate::support::{World, latency, maglev, policies, ring_hash};

/// What is picked for a request with this hash; an attempt is made of it.
fn pick_for(
    set: &EndpointSet,
    (barred, hash): (&Barred, Option<u64>),
    region: &RegionCell,
    now: Instant,
    rng: &mut Rng,
) -> Option<usize> {
    let seek = Seek {
        barred: *barred,
        hash,
        named: None,
        region,
        now,
    };
    let picked = balance::pick(set, &seek, rng)?;
    set.taken(picked);
    Some(picked.at)
}

/// The same with small rings and tables, which are made in no time.
fn small(policies: &[Balance]) -> Vec<Balance> {
    let mut policies = policies.to_vec();
    for balance in &mut policies {
        match balance {
            Balance::RingHash(policy) => policy.maximum_ring_size = 2_048,
            Balance::Maglev(policy) => policy.table_size = TableSize::new(503).expect("a prime"),
            _ => {}
        }
    }
    policies
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn what_is_taken_is_open_and_something_is_taken_if_anything_is(
        endpoints in vec((0..5usize, 1..1000u32, 0..2000u64, 0..=1000u32), 0..60),
        tried in vec(0..60usize, 0..16),
        hashed: bool,
        seed: u64,
    ) {
        let world = World::new(latency(0), &[endpoints.len()]);
        let region = &world.live.upstreams[0].regions[0].cell;
        let mut members = world.set(0).endpoints.to_vec();
        for (endpoint, &(health, weight, ms, part)) in members.iter_mut().zip(&endpoints) {
            endpoint.weight = weight;
            endpoint.cell.set_health(Health::ALL[health]);
            endpoint.cell.set_share(Dial::new(f64::from(part) / 1e3));
            endpoint.cell.record(Outcome::Answered(Duration::from_millis(ms)), world.now);
        }
        let mut barred = Barred::default();
        tried.iter().for_each(|&at| barred.tried.insert(at));
        let open = |at: usize| !tried.contains(&at) && members[at].cell.health().usable();
        let mut rng = Rng::with_seed(seed);
        for balance in &small(&policies()) {
            let set = EndpointSet::new(1, members.clone().into(), balance);
            for _ in 0..20 {
                let hash = hashed.then(|| rng.u64(..));
                match pick_for(&set, (&barred, hash), region, world.now, &mut rng) {
                    Some(at) => prop_assert!(open(at), "{balance:?}"),
                    None => prop_assert!(!(0..endpoints.len()).any(open), "{balance:?}"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn idle_endpoints_share_by_weight_times_part(
        endpoints in vec((1..20u32, prop_oneof![Just(1_000u32), 1..1_000u32]), 2..8),
        seed: u64,
    ) {
        const PICKS: u32 = 10_000;
        let world = World::new(latency(0), &[endpoints.len()]);
        let region = &world.live.upstreams[0].regions[0].cell;
        // Where a ring's points lie is luck; that is measured below. Of a part, what hashes takes keys.
        for balance in policies().iter().filter(|balance| balance.as_str() != "ring_hash") {
            let hashes = balance.hashing().is_some();
            let part = |part: u32| if hashes { 1_000 } else { part };
            let endpoints = endpoints.iter().map(|(weight, was)| (*weight, part(*was)));
            let endpoints: Vec<_> = endpoints.collect();
            let set = parted(&world, &endpoints, balance);
            let (mut rng, mut counts) = (Rng::with_seed(seed), vec![0u32; endpoints.len()]);
            for _ in 0..PICKS {
                let at = pick_for(&set, (&Barred::default(), None), region, world.now, &mut rng);
                counts[at.expect("all are open")] += 1;
            }
            let total: u32 = endpoints.iter().map(|(weight, part)| weight * part).sum();
            for (count, (weight, part)) in counts.iter().zip(&endpoints) {
                let share = f64::from(weight * part) / f64::from(total);
                let expected = share * f64::from(PICKS);
                let deviation = (expected * (1.0 - share)).sqrt();
                let off = (f64::from(*count) - expected).abs();
                let most = 6.0 * deviation + 5.0 + if hashes { 0.02 * expected } else { 0.0 };
                prop_assert!(off < most, "{balance:?} {endpoints:?} -> {counts:?}");
            }
        }
    }

    #[test]
    fn one_that_goes_moves_its_own_keys_and_next_to_no_others(
        weights in vec(1..5u32, 3..40),
        gone: prop::sample::Index,
        seed: u64,
    ) {
        let endpoints: Vec<_> = weights.iter().map(|weight| (*weight, 1_000)).collect();
        let world = World::new(latency(0), &[endpoints.len()]);
        let gone = gone.index(weights.len());
        for (balance, needless) in [(ring_hash(None), 0.0), (maglev(None), 0.06)] {
            let before = parted(&world, &endpoints, &balance);
            let mut left = before.endpoints.to_vec();
            left.remove(gone);
            let after = EndpointSet::new(2, left.into(), &balance);
            let mut others = 0;
            for key in 0..4_000u64 {
                let (was, is) = (home(&before, key ^ seed), home(&after, key ^ seed));
                let own = was.address == before.endpoints[gone].address;
                prop_assert!(is.address != before.endpoints[gone].address);
                others += u32::from(!own && was.address != is.address);
            }
            let most = 4_000.0 * needless;
            prop_assert!(f64::from(others) <= most, "{others} moved: {balance:?} {weights:?}");
        }
    }
}

/// Where a key goes.
fn home(set: &EndpointSet, key: u64) -> &Endpoint {
    let (now, mut rng) = (Instant::now(), Rng::with_seed(1));
    let hash = Some(xxh64(0, &key.to_le_bytes()));
    let at = pick_for(
        set,
        (&Barred::default(), hash),
        &RegionCell::new(now),
        now,
        &mut rng,
    );
    &set.endpoints[at.expect("all are open")]
}

/// The busiest endpoint's keys in relation to the average, of a hundred equal ones.
#[test]
fn a_table_shares_closely_and_a_ring_less_so() {
    let world = World::new(latency(0), &[100]);
    for (balance, most) in [(ring_hash(None), 1.3), (maglev(None), 1.08)] {
        let set = parted(&world, &[(1, 1_000); 100], &balance);
        let mut counts = std::collections::HashMap::new();
        for key in 0..400_000 {
            *counts.entry(&home(&set, key).address).or_insert(0u32) += 1;
        }
        let busiest = f64::from(*counts.values().max().expect("some")) / 4_000.0;
        let idlest = f64::from(*counts.values().min().expect("some")) / 4_000.0;
        println!("{} {idlest:.2} to {busiest:.2}", balance.as_str());
        assert!(busiest < most && idlest > 2.0 - most && counts.len() == 100);
    }
}

/// The endpoints of the world's first region, with these weights and parts in thousandths.
fn parted(world: &World, endpoints: &[(u32, u32)], balance: &Balance) -> EndpointSet {
    let mut set = world.set(0).endpoints.to_vec();
    for (endpoint, (weight, part)) in set.iter_mut().zip(endpoints) {
        endpoint.weight = *weight;
        endpoint.cell.set_share(Dial::new(f64::from(*part) / 1e3));
    }
    EndpointSet::new(1, set.into(), balance)
}

/// How the first endpoint fails.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Never,
    /// So many of a hundred requests, at once, with a failure of the connection.
    Reset(u64),
    /// With an answer of 500 that no policy lists.
    Error(u64),
    /// With a 429.
    Throttle(u64),
}

impl Failing {
    fn outcome(self, n: u64, took: Duration) -> Outcome {
        let often = |often| n * 37 % 100 < often;
        match self {
            Self::Reset(share) if often(share) => Outcome::failed(ErrorClass::Reset),
            Self::Throttle(share) if often(share) => Outcome::Throttled(Duration::from_millis(1)),
            Self::Error(share) if often(share) => Outcome::Failed {
                class: ErrorClass::ServerError,
                gateway: false,
                took: Some(Duration::from_millis(1)),
            },
            _ => Outcome::Answered(took),
        }
    }
}

/// 20,000 requests, one a millisecond, each answered after its endpoint's time; what fails fails after
/// one millisecond.
fn served(set: &EndpointSet, world: &World, took_ms: &[u64], failing: Failing) -> Vec<u32> {
    let region = &world.live.upstreams[0].regions[0].cell;
    let (mut rng, mut counts) = (Rng::with_seed(11), vec![0; took_ms.len()]);
    let mut under_way: Vec<(u64, Outcome, InFlight)> = Vec::new();
    for ms in 0..20_000 {
        let now = world.now + Duration::from_millis(ms);
        for (_, outcome, attempt) in under_way.extract_if(.., |(end, ..)| *end <= ms) {
            attempt.endpoint().record(outcome, now);
        }
        let at = pick_for(set, (&Barred::default(), None), region, now, &mut rng).expect("open");
        let took = Duration::from_millis(took_ms[at]);
        let outcome = match at {
            0 => failing.outcome(counts[0].into(), took),
            _ => Outcome::Answered(took),
        };
        counts[at] += 1;
        let takes = if outcome == Outcome::Answered(took) {
            took_ms[at]
        } else {
            1
        };
        let attempt = InFlight::begin(set.endpoints[at].cell.clone(), region.clone());
        under_way.push((ms + takes, outcome, attempt));
    }
    counts
}

#[test]
fn an_endpoint_that_fails_at_once_gets_next_to_nothing() {
    for failing in [
        Failing::Reset(100),
        Failing::Error(100),
        Failing::Throttle(100),
    ] {
        let world = World::new(latency(0), &[4]);
        let counts = served(&world.set(0), &world, &[40; 4], failing);
        assert!(counts[0] < 20_000 / 100, "{failing:?} {counts:?}");
    }
}

#[test]
fn the_more_an_endpoint_fails_the_less_it_gets() {
    for failing in [Failing::Reset, Failing::Error, Failing::Throttle] {
        let gets = |share| {
            let world = World::new(latency(0), &[4]);
            let failing = if share == 0 {
                Failing::Never
            } else {
                failing(share)
            };
            served(&world.set(0), &world, &[40; 4], failing)[0]
        };
        let gets = [0, 1, 5, 20, 50, 100].map(gets);
        println!("{gets:?}");
        let falls = gets
            .windows(2)
            .all(|pair| pair[1] <= pair[0] + pair[0] / 20);
        assert!(falls && gets[3] < gets[0] / 4, "{gets:?}");
    }
}

#[test]
fn a_few_errors_everywhere_hide_no_slow_endpoint() {
    let world = World::new(latency(0), &[4]);
    let set = world.set(0);
    // A bad route: every endpoint has 1 % of 500, and one is slow.
    let region = &world.live.upstreams[0].regions[0].cell;
    let (mut rng, mut counts) = (Rng::with_seed(5), [0u32; 4]);
    for ms in 0..20_000 {
        let now = world.now + Duration::from_millis(ms);
        let at = pick_for(&set, (&Barred::default(), None), region, now, &mut rng).expect("open");
        counts[at] += 1;
        let outcome = match counts[at] % 100 {
            0 => Failing::Error(100).outcome(0, Duration::ZERO),
            _ => Outcome::Answered(Duration::from_millis(if at == 0 { 400 } else { 40 })),
        };
        set.endpoints[at].cell.record(outcome, now);
    }
    assert!(counts[0] < 2_000, "{counts:?}");
}

#[test]
fn who_asks_for_time_is_left_alone_for_that_time() {
    let world = World::new(latency(0), &[4]);
    let set = world.set(0);
    set.endpoints[0]
        .cell
        .charge_wait(Duration::from_secs(12), world.now);
    let counts = served(&set, &world, &[40; 4], Failing::Never);
    assert_eq!(counts[0], 0);
    // From then on it is forgotten like a failure.
    let later = world.now + Duration::from_secs(12 + 60);
    assert!(set.endpoints[0].cell.cost(later) < set.endpoints[1].cell.cost(world.now));
}

#[test]
fn a_slow_endpoint_gets_less_and_equal_ones_the_same() {
    for balance in [Balance::PeakEwma, Balance::LeastRequest { choice_count: 2 }] {
        let world = World::changed(latency(0), &[4], |upstream| {
            upstream.balance = balance.clone()
        });
        let counts = served(&world.set(0), &world, &[400, 40, 40, 40], Failing::Never);
        let most = if balance == Balance::PeakEwma {
            1_000
        } else {
            3_000
        };
        assert!(counts[0] < most, "{counts:?}");
    }
    for balance in policies()
        .iter()
        .filter(|balance| balance.as_str() != "ring_hash")
    {
        let world = World::changed(latency(0), &[4], |upstream| {
            upstream.balance = balance.clone()
        });
        let counts = served(&world.set(0), &world, &[40; 4], Failing::Never);
        assert!(
            counts.iter().all(|count| count.abs_diff(5_000) < 500),
            "{counts:?}"
        );
    }
}

#[test]
fn under_load_equal_endpoints_serve_by_weight_times_part() {
    let check = |balance: &Balance, endpoints: &[(u32, u32)], expected: [u32; 3]| {
        let world = World::new(latency(0), &[endpoints.len()]);
        let set = parted(&world, endpoints, balance);
        let counts = served(&set, &world, &[40; 3], Failing::Never);
        for (count, expected) in counts.iter().zip(expected) {
            let word = balance.as_str();
            assert!(count.abs_diff(expected) < expected / 8, "{word} {counts:?}");
        }
    };
    for balance in policies()
        .iter()
        .filter(|balance| balance.as_str() != "ring_hash")
    {
        check(
            balance,
            &[(1, 1_000), (2, 1_000), (5, 1_000)],
            [2_500, 5_000, 12_500],
        );
        if balance.hashing().is_some() {
            continue;
        }
        check(
            balance,
            &[(1, 1_000), (2, 500), (5, 200)],
            [6_667, 6_667, 6_667],
        );
        check(
            balance,
            &[(1, 1_000), (1, 800), (1, 200)],
            [10_000, 8_000, 2_000],
        );
    }
}
