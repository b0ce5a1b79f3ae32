//! Tiers spill by what looks find of their endpoints, whatever the region as a whole counts for.

use fastrand::Rng;
use tidegate_core::health::Judge;
use tidegate_core::plan::Policy;
use tidegate_core::{Allotter, Ask, Health, RegionSet, choose};

use crate::support::{UPSTREAM, World};

const DRAWS: u32 = 20_000;

/// Of regions of `of` endpoints each, so many are well; the parts of first attempts that regions take.
fn check(of: usize, well: &[usize], capacities: &[f64], expected: &[f64]) {
    let world = World::changed(
        Policy::priority().into(),
        &vec![of; well.len()],
        |upstream| {
            upstream.health.region.min_healthy = 0.0;
            for (region, capacity) in upstream.regions.iter_mut().zip(capacities) {
                region.capacity_rps = Some(*capacity);
            }
        },
    );
    for (region, well) in well.iter().enumerate() {
        for (at, endpoint) in world.set(region).endpoints.iter().enumerate() {
            let health = if at < *well {
                Health::Healthy
            } else {
                Health::Unhealthy
            };
            endpoint.cell.set_health(health);
        }
    }
    let (wanted, live) = world.live.upstream(UPSTREAM);
    Judge::default().look(wanted, live, world.now);
    Allotter::default().look(wanted, live, world.now);
    let (mut rng, mut counts) = (Rng::with_seed(3), vec![0u32; well.len()]);
    for _ in 0..DRAWS {
        let ask = Ask::new(RegionSet::ALL, world.now);
        let choice = choose(world.live.upstream(UPSTREAM), &ask, &mut rng).1;
        counts[usize::from(choice.expect("one is well").position)] += 1;
    }
    for (count, expected) in counts.iter().zip(expected) {
        let part = f64::from(*count) / f64::from(DRAWS);
        assert!((part - expected).abs() < 0.015, "{well:?}: {counts:?}");
    }
}

#[test]
fn a_tier_keeps_what_its_healthy_endpoints_can_carry() {
    check(4, &[4, 4], &[], &[1.0, 0.0]);
    check(4, &[3, 4], &[], &[1.0, 0.0]);
    check(4, &[2, 4], &[], &[0.7, 0.3]);
    check(4, &[1, 4], &[], &[0.35, 0.65]);
    check(4, &[1, 1], &[], &[0.5, 0.5]);
    check(4, &[1, 1, 4], &[], &[0.35, 0.35, 0.3]);
    check(20, &[5, 5, 4], &[], &[0.357, 0.357, 0.286]);
    check(4, &[0, 4], &[], &[0.0, 1.0]);
}

#[test]
fn a_smaller_tier_is_not_asked_to_carry_everything() {
    check(4, &[0, 4, 4], &[1_000.0, 500.0, 1_000.0], &[0.0, 0.7, 0.3]);
    check(
        4,
        &[2, 4, 4],
        &[1_000.0, 100.0, 1_000.0],
        &[0.7, 0.14, 0.16],
    );
}
