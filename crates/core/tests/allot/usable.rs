//! How much of a region is usable.

use std::time::Duration;

use tidegate_core::plan::Policy;
use tidegate_core::{Allotter, Dial, Health, RegionCell};

use crate::support::{UPSTREAM, World};

use Health::{Degraded, Draining, Healthy, Unhealthy, Unknown};

/// Endpoints by health, weight and share; how the region stands; the parts that are healthy and
/// degraded.
fn check(
    endpoints: &[(Health, u32, f64)],
    stands: impl Fn(&RegionCell),
    (healthy, degraded): (f64, f64),
) {
    let world = World::changed(Policy::priority().into(), &[endpoints.len()], |upstream| {
        for (spec, (_, weight, _)) in upstream.regions[0].endpoints.iter_mut().zip(endpoints) {
            spec.weight = *weight;
        }
    });
    for (endpoint, (health, _, share)) in world.set(0).endpoints.iter().zip(endpoints) {
        endpoint.cell.set_health(*health);
        endpoint.cell.set_share(Dial::new(*share));
    }
    let (wanted, live) = world.live.upstream(UPSTREAM);
    stands(&live.regions[0].cell);
    let mut allotter = Allotter::default();
    // What ails is left by and by.
    for look in 0..80 {
        allotter.look(wanted, live, world.now + Duration::from_millis(250) * look);
    }
    let found = live.regions[0].cell.allotment();
    let near = |dial: Dial, part: f64| (dial.share() - part).abs() < 1e-6;
    assert!(
        near(found.healthy, healthy) && near(found.degraded, degraded),
        "{endpoints:?}: {found:?}"
    );
}

fn stands(health: Health) -> impl Fn(&RegionCell) {
    move |cell| {
        cell.set_health(health);
    }
}

#[test]
fn endpoints_count_by_weight_share_and_health() {
    let well = || stands(Healthy);
    check(&[(Healthy, 1, 1.0), (Unknown, 1, 1.0)], well(), (1.0, 0.0));
    check(
        &[(Healthy, 3, 1.0), (Unhealthy, 1, 1.0)],
        well(),
        (0.75, 0.0),
    );
    check(&[(Healthy, 1, 1.0), (Draining, 1, 1.0)], well(), (0.5, 0.0));
    check(&[(Healthy, 1, 1.0), (Healthy, 1, 0.1)], well(), (0.55, 0.0));
    check(
        &[(Healthy, 1, 1.0), (Degraded, 3, 1.0)],
        stands(Degraded),
        (0.25, 0.75),
    );
    check(
        &[(Degraded, 1, 0.5), (Unhealthy, 1, 1.0)],
        stands(Degraded),
        (0.0, 0.25),
    );
    check(&[], well(), (0.0, 0.0));
}

#[test]
fn a_region_that_is_degraded_for_another_reason_than_its_endpoints_is_so_as_a_whole() {
    let four = |well: usize| -> Vec<(Health, u32, f64)> {
        let health = |at| if at < well { Healthy } else { Unhealthy };
        (0..4).map(|at| (health(at), 1, 1.0)).collect()
    };
    check(&four(4), stands(Degraded), (0.0, 1.0));
    check(&four(3), stands(Degraded), (0.0, 0.75));
    check(&four(2), stands(Degraded), (0.5, 0.0));
}

#[test]
fn nothing_of_a_region_that_is_down_is_usable_and_what_an_operator_keeps_out_is_at_once() {
    let one = [(Healthy, 1, 1.0)];
    check(&one, stands(Unhealthy), (0.0, 0.0));
    check(&one, stands(Draining), (0.0, 0.0));
    let dialed = |share| {
        move |cell: &RegionCell| {
            cell.set_dial(Some(Dial::new(share)));
        }
    };
    check(&one, dialed(0.0), (1.0, 0.0));
    check(&one, dialed(0.01), (1.0, 0.0));
    let drained = |cell: &RegionCell| {
        cell.set_draining(true);
    };
    check(&one, drained, (1.0, 0.0));
}

#[test]
fn without_a_capacity_a_region_takes_what_its_endpoints_can_carry() {
    let check = |policy: Policy, well: usize, take: f64| {
        let world = World::new(policy.into(), &[4]);
        for endpoint in &world.set(0).endpoints[well..] {
            endpoint.cell.set_health(Unhealthy);
        }
        let (wanted, live) = world.live.upstream(UPSTREAM);
        Allotter::default().look(wanted, live, world.now);
        let found = live.regions[0].cell.allotment().take.share();
        assert!((found - take).abs() < 1e-6, "{well} of 4: {found}");
    };
    check(Policy::default(), 4, 1.0);
    check(Policy::default(), 3, 1.0);
    check(Policy::default(), 2, 0.7);
    check(Policy::default(), 1, 0.35);
    check(Policy::default(), 0, 1.0);
    check(Policy::priority(), 1, 1.0);
    check(Policy::LeastLoad, 1, 1.0);
}
