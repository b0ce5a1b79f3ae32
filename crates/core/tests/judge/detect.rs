//! Time to detect: a region that dies is out within a second, whatever it dies of.

use std::time::Duration;

use tidegate_core::health::Stage;

use crate::world::{Fault, World, ms, secs};

/// The time from the fault to the moment at which the region is out, over seeds: the worst.
fn worst(
    rate: f64,
    probes: bool,
    fault: Fault,
    to: impl Fn(&World, Duration) -> Option<Duration>,
) -> Duration {
    let mut worst = Duration::ZERO;
    for seed in 0..6 {
        let mut world = World::with(
            seed,
            rate,
            crate::support::latency(5),
            &[1, 1, 1],
            |upstream| {
                upstream.health.probe = probes.then(World::probe);
            },
        );
        let calm = if matches!(fault, Fault::Slow(_)) {
            70
        } else {
            10
        };
        world.run(secs(calm) + ms(seed * 13));
        let from = world.time();
        assert_eq!(world.story(secs(1)), [""; 0], "calm before, seed {seed}");
        world.fault(0, fault);
        world.run(secs(4));
        let took = to(&world, from).unwrap_or_else(|| {
            panic!(
                "{fault:?} at {rate}/s, seed {seed}: {:#?}",
                world.story(from)
            )
        });
        assert_eq!(world.lost, 0, "{fault:?} at {rate}/s, seed {seed}");
        for sibling in [1, 2] {
            assert!(world.health(sibling).usable(), "{fault:?}: r{sibling}");
        }
        worst = worst.max(took);
    }
    worst
}

fn check_out(fault: Fault, at_50: u64, at_1000: u64) {
    for probes in [false, true] {
        for (rate, limit) in [(50.0, at_50), (1_000.0, at_1000)] {
            let took = worst(rate, probes, fault, |world, from| {
                world.reached(0, Stage::Out, from)
            });
            println!("{fault:?} {rate}/s probes {probes}: {took:?}");
            assert!(took <= ms(limit), "{fault:?} at {rate}/s: {took:?}");
        }
    }
}

#[test]
fn refused_connections_are_seen_within_half_a_second() {
    check_out(Fault::Refuse, 500, 450);
}

#[test]
fn resets_are_seen_within_half_a_second() {
    check_out(Fault::Reset, 500, 450);
}

#[test]
fn a_region_that_only_answers_500_is_out_within_a_second() {
    check_out(Fault::Errors(1.0), 900, 700);
}

#[test]
fn a_black_hole_is_suspected_at_once_and_out_within_a_second() {
    check_out(Fault::BlackHole, 1_000, 800);
    for rate in [50.0, 1_000.0] {
        let took = worst(rate, false, Fault::BlackHole, |world, from| {
            world.reached(0, Stage::Suspected, from)
        });
        assert!(took <= ms(800), "{took:?}");
    }
}

fn check_degraded(fault: Fault, at_50: u64, at_1000: u64) {
    for (rate, limit) in [(50.0, at_50), (1_000.0, at_1000)] {
        let took = worst(rate, false, fault, |world, from| {
            let degraded = |(at, change): &&(Duration, tidegate_core::health::Change)| {
                *at >= from && change.position == 0 && change.from != change.to
            };
            world.told.iter().find(degraded).map(|(at, _)| *at - from)
        });
        println!("{fault:?} {rate}/s: {took:?}");
        assert!(took <= ms(limit), "{fault:?} at {rate}/s: {took:?}");
    }
}

#[test]
fn a_third_of_requests_failing_degrades_a_region() {
    check_degraded(Fault::Errors(0.3), 2_500, 1_300);
}

#[test]
fn a_region_that_becomes_slow_is_degraded() {
    check_degraded(Fault::Slow(5.0), 3_200, 3_200);
}
