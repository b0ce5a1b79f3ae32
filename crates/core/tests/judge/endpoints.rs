//! Endpoints: ejected as outliers, taken back on trial, starting slowly.

use std::sync::Arc;

use tidegate_core::cell::{EndpointCell, ErrorClass, InFlight};
use tidegate_core::health::{Evidence, Stage};
use tidegate_core::plan::{Ejection, EndpointSpec, SlowStart};
use tidegate_core::{Dial, Health};

use crate::support;
use crate::world::{World, ms, secs};

fn ejection() -> Ejection {
    Ejection {
        consecutive_5xx: Some(5),
        consecutive_gateway_failure: None,
        consecutive_local_origin_failure: None,
        split_external_local_origin_errors: false,
        interval: secs(10),
        base_ejection_time: secs(30),
        max_ejection_time: secs(300),
        max_ejection: 0.5,
        always_eject_one_host: true,
        success_rate: None,
        failure_percentage: None,
    }
}

/// A quiet world of regions with so many endpoints: only what a test enters happens.
fn quiet(endpoints: &[usize], slow_start: bool, ejection: Ejection) -> World {
    let mut world = World::with(1, 1e-9, support::latency(5), endpoints, |upstream| {
        upstream.circuit_breaker.ejection = Some(ejection);
        upstream.slow_start = slow_start.then_some(SlowStart {
            window: secs(60),
            aggression: 1.0,
            min_weight: 0.1,
        });
    });
    world.run(secs(1));
    world
}

fn cell(world: &World, region: usize, at: usize) -> Arc<EndpointCell> {
    world.live.upstreams[0].regions[region]
        .endpoints
        .load()
        .endpoints[at]
        .cell
        .clone()
}

/// Enters outcomes at an endpoint: `-` a reset, `+` an answer.
fn meet(world: &World, region: usize, at: usize, outcomes: &str) {
    let of = &world.live.upstreams[0].regions[region].cell;
    for outcome in outcomes.chars() {
        let mut attempt = InFlight::begin(cell(world, region, at), of.clone());
        attempt.sent();
        match outcome {
            '-' => attempt.failed(ErrorClass::Reset, world.now),
            _ => attempt.answered(ms(5), 200, false, world.now),
        }
    }
}

fn ejected(world: &World, region: usize) -> Vec<bool> {
    let set = world.live.upstreams[0].regions[region]
        .endpoints
        .load_full();
    set.endpoints.iter().map(|one| one.cell.ejected()).collect()
}

#[test]
fn five_errors_in_a_row_eject_and_the_cap_is_the_regions() {
    let mut world = quiet(&[4, 4], false, ejection());
    for region in [0, 1] {
        meet(&world, region, 0, "----+----");
        meet(&world, region, 1, "-----");
        meet(&world, region, 2, "-----");
        meet(&world, region, 3, "+-----");
    }
    world.run(ms(300));
    assert_eq!(
        ejected(&world, 0),
        [false, true, true, false],
        "{:#?}",
        world.story(secs(0))
    );
    assert_eq!(ejected(&world, 1), [false, true, true, false]);
    let (_, change) = &world.told[0];
    let expected = (Health::Unknown, Health::Unhealthy, Stage::Out);
    assert_eq!((change.from, change.to, change.stage), expected);
    assert_eq!(change.evidence.to_string(), "5 errors in a row");
}

#[test]
fn an_ejection_ends_with_a_trial_that_one_failure_fails() {
    let mut world = quiet(&[4, 1], false, ejection());
    meet(&world, 0, 0, "-----");
    world.run(secs(29));
    assert!(ejected(&world, 0)[0]);
    world.run(secs(2));
    assert_eq!(
        (ejected(&world, 0)[0], cell(&world, 0, 0).share()),
        (false, Dial::new(0.1))
    );
    meet(&world, 0, 0, "+-");
    world.run(ms(100));
    assert!(ejected(&world, 0)[0], "{:#?}", world.story(secs(0)));
    world.run(secs(59));
    assert!(ejected(&world, 0)[0], "twice as long");
    world.run(secs(2));
    meet(&world, 0, 0, "+++++");
    world.run(ms(100));
    assert_eq!(
        (ejected(&world, 0)[0], cell(&world, 0, 0).share()),
        (false, Dial::FULL)
    );
    let told = world.told.iter().map(|(_, change)| change);
    let stages: Vec<_> = told
        .filter(|change| change.endpoint.is_some())
        .map(|change| change.stage)
        .collect();
    use Stage::{Out, Probation, Serving};
    assert_eq!(stages, [Out, Probation, Out, Probation, Serving]);
}

#[test]
fn good_intervals_make_the_next_ejection_shorter() {
    let mut world = quiet(&[4, 1], false, ejection());
    for wait in [31, 61] {
        meet(&world, 0, 0, "-----");
        world.run(secs(wait));
        assert!(!ejected(&world, 0)[0], "{:#?}", world.story(secs(0)));
    }
    world.run(secs(60));
    meet(&world, 0, 0, "-----");
    world.run(secs(31));
    assert!(!ejected(&world, 0)[0], "{:#?}", world.story(secs(0)));
}

#[test]
fn the_last_region_keeps_an_endpoint() {
    let all = Ejection {
        max_ejection: 1.0,
        ..ejection()
    };
    let mut world = quiet(&[2], false, all.clone());
    meet(&world, 0, 0, "-----");
    meet(&world, 0, 1, "-----");
    world.run(ms(300));
    assert_eq!(ejected(&world, 0), [true, false]);
    // With another region there, the whole region may go.
    let mut world = quiet(&[2, 1], false, all);
    meet(&world, 0, 0, "-----");
    meet(&world, 0, 1, "-----");
    world.run(ms(300));
    assert_eq!(
        (ejected(&world, 0), world.judge.stage(0)),
        (vec![true, true], Stage::Out)
    );
    // And comes back when the other goes.
    world.live.upstreams[0].regions[1]
        .cell
        .say(Health::Unhealthy, None);
    world.run(secs(1));
    assert_eq!(
        (ejected(&world, 0), world.judge.stage(0)),
        (vec![false, false], Stage::Serving)
    );
    let freed = |told: &&(_, tidegate_core::health::Change)| told.1.evidence == Evidence::NoOther;
    assert_eq!(
        world.told.iter().filter(freed).count(),
        3,
        "{:#?}",
        world.story(secs(0))
    );
}

#[test]
fn an_endpoint_that_comes_up_starts_slowly() {
    let mut world = quiet(&[2, 1], true, ejection());
    let share = |world: &World, at| cell(world, 0, at).share();
    assert_eq!(share(&world, 0), Dial::FULL, "not at the start");
    cell(&world, 0, 0).set_health(Health::Unhealthy);
    world.run(secs(5));
    cell(&world, 0, 0).set_health(Health::Healthy);
    world.run(ms(300));
    assert_eq!(share(&world, 0), Dial::new(0.1));
    world.run(secs(30));
    assert!(
        (share(&world, 0).share() - 0.5).abs() < 0.01,
        "{:?}",
        share(&world, 0)
    );
    world.run(secs(31));
    assert_eq!(share(&world, 0), Dial::FULL);
    // Discovery adds one.
    let spec = |n: usize| EndpointSpec::new(format!("r0-{n}:80"));
    let slot = &world.live.upstreams[0].regions[0].endpoints;
    assert!(slot.replace("shop", "r0", &[spec(2), spec(1), spec(0)], &world.board));
    world.run(ms(300));
    let shares = [0, 1, 2].map(|at| share(&world, at));
    assert_eq!(shares, [Dial::new(0.1), Dial::FULL, Dial::FULL]);
}
