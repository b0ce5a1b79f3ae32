//! Endpoints: nothing unusable is taken while something usable is there, and failing fast does not pay.

use std::time::Duration;

use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::balance::{Barred, pick};
use tidegate_core::cell::{ErrorClass, InFlight, Outcome};
use tidegate_core::{EndpointSet, Health};

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
fn under_load_equal_endpoints_serve_by_weight() {
    let world = World::new(latency(0), &[3]);
    let mut endpoints = world.set(0).endpoints.to_vec();
    for (endpoint, weight) in endpoints.iter_mut().zip([1, 2, 5]) {
        endpoint.weight = weight;
    }
    let set = EndpointSet::new(1, endpoints.into());
    let counts = served(&set, &world, &[40; 3], None);
    for (count, expected) in counts.iter().zip([2_500u32, 5_000, 12_500]) {
        assert!(count.abs_diff(expected) < expected / 8, "{counts:?}");
    }
}
