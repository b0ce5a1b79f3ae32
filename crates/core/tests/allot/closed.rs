//! Load beyond capacity, with the loop closed: choices follow what looks found, and looks see what
//! choices did. Nothing may swing, and shares must be right.

use std::time::Duration;

use tidegate_core::decision::{Pin, PinnedBy};
use tidegate_core::plan::{Policy, Spread, Steering, Tolerance};
use tidegate_core::{Dial, Health, RegionIdx};

use crate::circuit::{Circuit, Second, mean, takes};

fn waterfall() -> Steering {
    Policy::Capacity {
        spread: Spread::Waterfall,
    }
    .into()
}

/// Whether each region's mean is what is expected, to 1 % of its capacity and what chance does to
/// arrivals.
fn near(seconds: &[Vec<Second>], expected: &[f64], capacities: &[f64]) {
    let mean = mean(seconds);
    let chance = 3.5 * (mean.iter().sum::<f64>() / seconds.len() as f64).sqrt();
    for ((mean, expected), capacity) in mean.iter().zip(expected).zip(capacities) {
        assert!(
            (mean - expected).abs() <= 0.01 * capacity + chance,
            "{mean}, not {expected}"
        );
    }
}

/// What a region gets in any 5 seconds is what it gets all the time, but for chance.
fn steady(seconds: &[Vec<Second>], region: usize, capacity: f64) {
    let always = mean(seconds)[region];
    for some in seconds.windows(5) {
        let off = (mean(some)[region] - always).abs();
        let chance = 4.0 * (always / 5.0).sqrt();
        assert!(
            off <= chance + 0.03 * capacity,
            "it swings by {off} around {always}"
        );
    }
}

/// Constant demand, in attempts a second, and what each region of these capacities takes of it.
fn check(steering: Steering, capacities: &[f64], demand: f64, expected: &[f64]) {
    let mut circuit = Circuit::new(steering, capacities);
    circuit.run(20, |_| demand);
    let seconds = circuit.run(60, |_| demand);
    near(&seconds, expected, capacities);
    for (region, capacity) in capacities.iter().enumerate() {
        steady(&seconds, region, *capacity);
        let (least, most) = takes(&seconds, region);
        assert!(
            most - least < 0.08,
            "it swings: {least} to {most} at {demand}"
        );
    }
}

#[test]
fn constant_demand_is_spread_as_it_should_be_and_stays_so() {
    let two = [1_000.0, 500.0];
    check(waterfall(), &two, 500.0, &[500.0, 0.0]);
    check(waterfall(), &two, 950.0, &[950.0, 0.0]);
    check(waterfall(), &two, 1_300.0, &[1_000.0, 300.0]);
    check(waterfall(), &two, 3_000.0, &[2_000.0, 1_000.0]);
    let three = [400.0, 400.0, 400.0];
    check(waterfall(), &three, 1_000.0, &[400.0, 400.0, 200.0]);
}

#[test]
fn other_policies_shed_as_well() {
    let two = [600.0, 600.0];
    let latency = || Policy::latency(Tolerance::Absolute(Duration::from_millis(5)));
    check(latency().into(), &two, 400.0, &[400.0, 0.0]);
    check(latency().into(), &two, 780.0, &[600.0, 180.0]);
    check(
        Policy::weighted().into(),
        &[300.0, 900.0],
        900.0,
        &[300.0, 600.0],
    );
    let spray = Policy::Capacity {
        spread: Spread::Spray,
    };
    check(spray.into(), &[900.0, 300.0], 800.0, &[600.0, 200.0]);
}

#[test]
fn regions_that_share_by_what_is_spare_come_to_rest() {
    let band = || Policy::latency(Tolerance::Absolute(Duration::from_millis(50)));
    check(band().into(), &[900.0, 300.0], 240.0, &[180.0, 60.0]);
    check(band().into(), &[900.0, 300.0], 1_140.0, &[855.0, 285.0]);
    check(band().into(), &[900.0, 300.0], 2_400.0, &[1_800.0, 600.0]);
}

#[test]
fn a_step_is_followed_within_seconds_and_not_beyond() {
    let capacities = [1_000.0, 1_000.0];
    let mut circuit = Circuit::new(waterfall(), &capacities);
    circuit.run(20, |_| 500.0);
    let up = circuit.run(40, |_| 1_500.0);
    near(&up[10..], &[1_000.0, 500.0], &capacities);
    let (least, _) = takes(&up, 0);
    assert!(least > 1.0 / 1.5 - 0.04, "it overshoots: {least}");
    let down = circuit.run(20, |_| 500.0);
    near(&down[8..], &[500.0, 0.0], &capacities);
    assert_eq!(takes(&down[8..], 0), (1.0, 1.0));
}

#[test]
fn a_ramp_is_followed_up_and_down() {
    let capacities = [500.0, 1_000.0];
    let mut circuit = Circuit::new(waterfall(), &capacities);
    let ramp = |second: usize| 250.0 + 750.0 * (1.0 - (second as f64 / 60.0 - 1.0).abs());
    for seconds in circuit.run(120, ramp).chunks(10) {
        let here = mean(seconds)[0];
        assert!(here < 500.0 * 1.12, "beyond capacity: {here}");
    }
    let rest = circuit.run(10, |_| 250.0);
    near(&rest, &[250.0, 0.0], &capacities);
}

#[test]
fn arrivals_in_bunches_are_not_taken_for_more_than_they_are() {
    let check = |demand: f64, least: f64, most: f64| {
        let mut circuit = Circuit::new(waterfall(), &[1_000.0, 1_000.0]);
        circuit.bunch = 10;
        circuit.run(20, |_| demand);
        let here = mean(&circuit.run(60, |_| demand))[0];
        assert!((least..most).contains(&here), "{here} of {demand}");
    };
    check(700.0, 650.0, 750.0);
    check(1_300.0, 900.0, 1_030.0);
}

#[test]
fn a_region_offers_what_of_its_capacity_is_usable() {
    let capacities = [800.0, 800.0];
    let check = |change: &dyn Fn(&Circuit), expected: &[f64]| {
        let mut circuit = Circuit::new(waterfall(), &capacities);
        change(&circuit);
        circuit.run(20, |_| 700.0);
        near(&circuit.run(20, |_| 700.0), expected, &capacities);
    };
    let cell = |circuit: &Circuit| circuit.world.live.upstreams[0].regions[0].cell.clone();
    let endpoint = |circuit: &Circuit| circuit.world.set(0).endpoints[0].cell.clone();
    check(&|_| {}, &[700.0, 0.0]);
    check(
        &|circuit| {
            endpoint(circuit).set_health(Health::Unhealthy);
        },
        &[400.0, 300.0],
    );
    check(
        &|circuit| {
            endpoint(circuit).set_share(Dial::new(0.5));
        },
        &[600.0, 100.0],
    );
    check(
        &|circuit| {
            cell(circuit).set_health(Health::Unhealthy);
        },
        &[0.0, 700.0],
    );
    check(
        &|circuit| {
            cell(circuit).set_draining(true);
        },
        &[0.0, 700.0],
    );
    check(
        &|circuit| {
            cell(circuit).set_dial(Some(Dial::new(0.5)));
        },
        &[350.0, 350.0],
    );
    check(
        &|circuit| {
            cell(circuit).set_dial(Some(Dial::NONE));
        },
        &[0.0, 700.0],
    );
}

#[test]
fn what_is_bound_to_a_region_counts_before_what_is_not() {
    let capacities = [600.0, 1_000.0];
    let mut circuit = Circuit::new(waterfall(), &capacities);
    let run = |circuit: &mut Circuit| {
        circuit.run_as(
            25,
            |_| 1_000.0,
            |rng, ask| {
                ask.pin = (rng.f64() < 0.4).then_some(Pin {
                    region: RegionIdx(0),
                    endpoint: None,
                    by: PinnedBy::Override,
                });
            },
        )
    };
    run(&mut circuit);
    run(&mut circuit);
    near(&run(&mut circuit), &[600.0, 400.0], &capacities);
}

#[test]
fn clients_that_stay_together_are_moved_once_and_not_to_and_fro() {
    let mut circuit = Circuit::new(waterfall(), &[500.0, 500.0]);
    let mut client = 0u64;
    let mut run = |circuit: &mut Circuit, seconds: usize| {
        circuit.run_as(
            seconds,
            |_| 750.0,
            |_, ask| {
                client += 1;
                ask.sticky = Some(client % 7);
            },
        )
    };
    run(&mut circuit, 20);
    let seconds = run(&mut circuit, 60);
    let (least, most) = takes(&seconds, 0);
    assert!(most - least < 0.06, "{least} to {most}");
    let here: Vec<_> = seconds.iter().map(|second| second[0].begun).collect();
    let seldom = here.windows(2).filter(|two| two[0].abs_diff(two[1]) > 100);
    assert!(seldom.count() <= 2, "{here:?}");
}

#[test]
fn where_nothing_tells_its_capacity_nothing_is_shed() {
    let mut circuit = Circuit::changed(waterfall(), &[100.0, 100.0], |upstream| {
        upstream.regions[0].capacity_rps = None;
    });
    circuit.run(10, |_| 800.0);
    let allotment = circuit.world.live.upstreams[0].regions[0].cell.allotment();
    assert_eq!((allotment.take, allotment.spare), (Dial::FULL, None));
    assert!((allotment.offered - 800.0).abs() < 100.0, "{allotment:?}");
}
