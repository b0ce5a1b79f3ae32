//! Endpoints: nothing unusable is taken while something usable is there, and failing fast does not pay.

use std::time::Duration;

use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::balance::{Barred, pick};
use tidegate_core::cell::{ErrorClass, InFlight, Outcome};
use tidegate_core::{Dial, EndpointSet, Health};

use crate::support::{World, latency};

const HEALTH: [Health; 5] = [
    Health::Unknown,
    Health::Healthy,
    Health::Degraded,
    Health::Unhealthy,
    Health::Draining,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn what_is_taken_is_open_and_something_is_taken_if_anything_is(
        endpoints in vec((0..5usize, 1..1000u32, 0..2000u64), 0..120),
        tried in vec(0..120usize, 0..16),
        seed: u64,
    ) {
        let world = World::new(latency(0), &[endpoints.len()]);
        let mut set = world.set(0).endpoints.to_vec();
        for (endpoint, &(health, weight, ms)) in set.iter_mut().zip(&endpoints) {
            endpoint.weight = weight;
            endpoint.cell.set_health(HEALTH[health]);
            endpoint.cell.record(Outcome::Answered(Duration::from_millis(ms)), world.now);
        }
        let set = EndpointSet::new(1, set.into());
        let mut barred = Barred::default();
        tried.iter().for_each(|&at| barred.tried.insert(at));
        let open = |at: usize| !tried.contains(&at) && set.endpoints[at].cell.health().usable();
        let mut rng = Rng::with_seed(seed);
        for _ in 0..50 {
            match pick(&set, &barred, world.now, &mut rng) {
                Some(at) => prop_assert!(open(at)),
                None => prop_assert!(!(0..endpoints.len()).any(open)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn idle_endpoints_share_by_weight_times_part(
        endpoints in vec((1..20u32, prop_oneof![Just(1_000u32), 1..1_000u32]), 2..8),
        seed: u64,
    ) {
        const PICKS: u32 = 20_000;
        let world = World::new(latency(0), &[endpoints.len()]);
        let set = parted(&world, &endpoints);
        let (mut rng, mut counts) = (Rng::with_seed(seed), vec![0u32; endpoints.len()]);
        for _ in 0..PICKS {
            counts[pick(&set, &Barred::default(), world.now, &mut rng).expect("all are open")] += 1;
        }
        let total: u32 = endpoints.iter().map(|(weight, part)| weight * part).sum();
        for (count, (weight, part)) in counts.iter().zip(&endpoints) {
            let share = f64::from(weight * part) / f64::from(total);
            let expected = share * f64::from(PICKS);
            let deviation = (expected * (1.0 - share)).sqrt();
            let off = (f64::from(*count) - expected).abs();
            prop_assert!(off < 6.0 * deviation + 5.0, "{endpoints:?} -> {counts:?}");
        }
    }
}

/// The endpoints of the world's first region, with these weights and parts in thousandths.
fn parted(world: &World, endpoints: &[(u32, u32)]) -> EndpointSet {
    let mut set = world.set(0).endpoints.to_vec();
    for (endpoint, (weight, part)) in set.iter_mut().zip(endpoints) {
        endpoint.weight = *weight;
        endpoint.cell.set_share(Dial::new(f64::from(*part) / 1e3));
    }
    EndpointSet::new(1, set.into())
}

/// 20,000 requests, one a millisecond, each answered after its endpoint's time.
fn served(set: &EndpointSet, world: &World, took_ms: &[u64], failing: Option<usize>) -> Vec<u32> {
    let region = &world.live.upstreams[0].regions[0].cell;
    let (mut rng, mut counts) = (Rng::with_seed(11), vec![0; took_ms.len()]);
    let mut under_way: Vec<(u64, usize, InFlight)> = Vec::new();
    for ms in 0..20_000 {
        let now = world.now + Duration::from_millis(ms);
        for (_, at, attempt) in under_way.extract_if(.., |(end, ..)| *end <= ms) {
            let took = Duration::from_millis(took_ms[at]);
            let outcome = if failing == Some(at) {
                Outcome::failed(ErrorClass::Reset)
            } else {
                Outcome::Answered(took)
            };
            attempt.endpoint().record(outcome, now);
        }
        let at = pick(set, &Barred::default(), now, &mut rng).expect("all are open");
        counts[at] += 1;
        let attempt = InFlight::begin(set.endpoints[at].cell.clone(), region.clone());
        under_way.push((ms + took_ms[at], at, attempt));
    }
    counts
}

#[test]
fn an_endpoint_that_fails_at_once_gets_next_to_nothing() {
    let world = World::new(latency(0), &[4]);
    let counts = served(&world.set(0), &world, &[1, 40, 40, 40], Some(0));
    assert!(counts[0] < 20_000 / 100, "{counts:?}");
}

#[test]
fn a_slow_endpoint_gets_less_and_equal_ones_the_same() {
    let world = World::new(latency(0), &[4]);
    let counts = served(&world.set(0), &world, &[400, 40, 40, 40], None);
    assert!(counts[0] < 20_000 / 20, "{counts:?}");
    let world = World::new(latency(0), &[4]);
    let counts = served(&world.set(0), &world, &[40; 4], None);
    assert!(
        counts.iter().all(|count| count.abs_diff(5_000) < 500),
        "{counts:?}"
    );
}

#[test]
fn under_load_equal_endpoints_serve_by_weight_times_part() {
    let check = |endpoints: &[(u32, u32)], expected: [u32; 3]| {
        let world = World::new(latency(0), &[endpoints.len()]);
        let counts = served(&parted(&world, endpoints), &world, &[40; 3], None);
        for (count, expected) in counts.iter().zip(expected) {
            assert!(count.abs_diff(expected) < expected / 8, "{counts:?}");
        }
    };
    check(
        &[(1, 1_000), (2, 1_000), (5, 1_000)],
        [2_500, 5_000, 12_500],
    );
    check(&[(1, 1_000), (2, 500), (5, 200)], [6_667, 6_667, 6_667]);
    check(&[(1, 1_000), (1, 800), (1, 200)], [10_000, 8_000, 2_000]);
}
