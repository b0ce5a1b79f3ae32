//! When a cold region has to be started.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::{ColdStart, Policy, Standby, Starter, Upstream};
use tidegate_core::{Allotment, Dial, Health, Standing, standby};

use crate::support::World;

/// A hot, a hot and a cold region, the last to be started below half.
fn world(change: impl FnOnce(&mut Upstream)) -> World {
    World::changed(Policy::default().into(), &[2, 2, 2], |upstream| {
        upstream.regions[2].standby = Standby::Cold(Arc::new(ColdStart {
            below: 0.5,
            by: Starter::Webhook("https://start.example/".into()),
            timeout: Duration::from_secs(60),
        }));
        change(upstream);
    })
}

impl World {
    fn usable_before(&self) -> f64 {
        standby::usable_before(&self.live.plan.upstreams[0], &self.live.upstreams[0])
    }

    fn due(&self, at: usize) -> bool {
        standby::due(&self.live.plan.upstreams[0], &self.live.upstreams[0], at).is_some()
    }

    fn health(&self, at: usize, health: Health) {
        self.live.upstreams[0].regions[at].cell.set_health(health);
    }

    fn usable(&self, at: usize, healthy: f64, degraded: f64) {
        let allotment = Allotment {
            healthy: Dial::new(healthy),
            degraded: Dial::new(degraded),
            ..Allotment::default()
        };
        self.live.upstreams[0].regions[at]
            .cell
            .set_allotment(allotment);
    }
}

#[test]
fn a_cold_region_is_due_when_too_little_before_it_is_usable() {
    let world = world(|_| {});
    let check = |part: f64, due: bool, what: &str| {
        assert!(
            (world.usable_before() - part).abs() < 1e-6,
            "{what}: {}",
            world.usable_before()
        );
        assert_eq!(world.due(2), due, "{what}");
    };
    check(1.0, false, "all is well");
    world.health(0, Health::Unhealthy);
    check(0.5, false, "half is not less than half");
    world.usable(1, 0.5, 0.25);
    check(
        0.375,
        true,
        "the degraded count as well, what is out does not",
    );
    world.health(2, Health::Healthy);
    check(
        0.375,
        false,
        "it is there already, and no part of what serves before it",
    );
    world.health(2, Health::Unhealthy);
    check(0.375, true, "it was, and has to be started again");
    assert!(
        !world.due(0) && !world.due(9),
        "what is not cold is never due"
    );
}

#[test]
fn dials_drains_and_ramps_count() {
    let world = world(|_| {});
    let cell = |at: usize| &world.live.upstreams[0].regions[at].cell;
    let check = |part: f64| {
        assert!(
            (world.usable_before() - part).abs() < 1e-6,
            "{}",
            world.usable_before()
        );
    };
    cell(0).set_dial(Some(Dial::new(0.4)));
    check(0.7);
    cell(0).set_draining(true);
    check(0.5);
    cell(1).set_standing(Standing {
        dial: Dial::new(0.1),
        ..Standing::full(Health::Healthy)
    });
    check(0.05);
    assert!(world.due(2));
    cell(2).set_dial(Some(Dial::NONE));
    assert!(!world.due(2), "an operator keeps it out");
    cell(2).set_dial(None);
    cell(2).set_draining(true);
    assert!(!world.due(2), "so does a drain");
}

#[test]
fn size_counts_by_capacity_or_weight() {
    let check = |change: &dyn Fn(&mut Upstream), part: f64| {
        let world = world(|upstream| change(upstream));
        world.health(0, Health::Unhealthy);
        assert!(
            (world.usable_before() - part).abs() < 1e-6,
            "{}",
            world.usable_before()
        );
    };
    let capacities = |upstream: &mut Upstream, of: [Option<f64>; 2]| {
        for (region, capacity) in upstream.regions.iter_mut().zip(of) {
            region.capacity_rps = capacity;
        }
    };
    check(
        &|upstream| capacities(upstream, [Some(300.0), Some(100.0)]),
        0.25,
    );
    check(&|upstream| capacities(upstream, [Some(300.0), None]), 0.5);
    check(&|upstream| upstream.regions[1].weight = 3, 0.75);
    check(
        &|upstream| (0..2).for_each(|at| upstream.regions[at].weight = 0),
        0.5,
    );
    check(
        &|upstream| upstream.regions[1].standby = upstream.regions[2].standby.clone(),
        0.0,
    );
    check(&|upstream| upstream.regions[1].standby = Standby::Warm, 0.5);
}

#[test]
fn without_anything_before_it_a_cold_region_is_due_at_once() {
    let world = world(|upstream| {
        for at in 0..2 {
            upstream.regions[at].standby = upstream.regions[2].standby.clone();
        }
    });
    assert_eq!(world.usable_before(), 0.0);
    assert!((0..3).all(|at| world.due(at)));
}
