//! What all regions show is nobody's own fault: no stampede, no ping-pong, and the last one stays.

use tidegate_core::Health;
use tidegate_core::health::{Evidence, Stage};
use tidegate_core::plan::{Policy, Upstream};

use crate::support;
use crate::world::{Fault, World, ms, secs};

/// Every region takes its part of the traffic.
fn spread(seed: u64, rate: f64, change: impl FnOnce(&mut Upstream)) -> World {
    World::with(seed, rate, Policy::weighted().into(), &[1, 1, 1], change)
}

/// All traffic goes to the nearest.
fn nearest(seed: u64, rate: f64, change: impl FnOnce(&mut Upstream)) -> World {
    World::with(seed, rate, support::latency(5), &[1, 1, 1], change)
}

fn everywhere(world: &mut World, fault: Fault) {
    (0..world.sites.len()).for_each(|region| world.fault(region, fault));
}

fn count(world: &World, what: impl Fn(&Evidence, Stage) -> bool) -> usize {
    let told = world.told.iter();
    told.filter(|(_, change)| what(&change.evidence, change.stage))
        .count()
}

fn check_nobody_goes(fault: Fault, told: bool) {
    for seed in 0..3 {
        let mut world = spread(seed, 200.0, |_| {});
        world.attempts = 1;
        world.run(secs(70));
        let from = world.time();
        everywhere(&mut world, fault);
        world.run(secs(20));
        everywhere(&mut world, Fault::None);
        world.run(secs(30));
        let story = world.story(from);
        let moved = world.told.iter().any(|(at, change)| {
            *at >= from && (change.from != change.to || change.stage == Stage::Out)
        });
        assert!(!moved, "{fault:?} seed {seed}: {story:#?}");
        let shared = count(&world, |why, _| matches!(why, Evidence::Shared { .. }));
        assert_eq!(shared > 0, told, "{fault:?} seed {seed}: {story:#?}");
        assert!(shared <= 3, "told once, not with every look: {story:#?}");
    }
}

#[test]
fn errors_everywhere_take_nobody_out() {
    check_nobody_goes(Fault::Errors(1.0), true);
    check_nobody_goes(Fault::Errors(0.6), true);
}

#[test]
fn slowness_everywhere_degrades_nobody() {
    check_nobody_goes(Fault::Slow(5.0), true);
}

#[test]
fn resets_and_silence_everywhere_take_nobody_out() {
    for fault in [Fault::Reset, Fault::Refuse, Fault::BlackHole] {
        for seed in 0..3 {
            let mut world = spread(seed, 200.0, |_| {});
            world.attempts = 1;
            world.run(secs(40));
            let from = world.time();
            everywhere(&mut world, fault);
            world.run(secs(5));
            everywhere(&mut world, Fault::None);
            world.run(secs(5));
            let out = count(&world, |_, stage| stage == Stage::Out);
            assert_eq!(out, 0, "{fault:?} seed {seed}: {:#?}", world.story(from));
            for region in 0..3 {
                assert_eq!(world.judge.stage(region), Stage::Serving, "{fault:?}");
            }
        }
    }
}

#[test]
fn a_fault_that_turns_out_to_be_shared_sends_nobody_back_and_forth() {
    for attempts in [1, 3] {
        for seed in 0..3 {
            let mut world = nearest(seed, 200.0, |_| {});
            world.attempts = attempts;
            world.run(secs(40));
            let from = world.time();
            everywhere(&mut world, Fault::Errors(0.8));
            world.run(secs(60));
            let story = world.story(from);
            let out = count(&world, |_, stage| stage == Stage::Out);
            assert!(out <= 2, "{attempts} attempts, seed {seed}: {story:#?}");
            for region in 0..3 {
                let stage = world.judge.stage(region);
                assert_eq!(stage, Stage::Serving, "seed {seed}: {story:#?}");
            }
            let later = world.told.iter().filter(|(at, _)| *at > from + secs(5));
            let moved = later
                .filter(|(_, change)| change.stage != Stage::Serving)
                .count();
            assert_eq!(moved, 0, "seed {seed}: {story:#?}");
            everywhere(&mut world, Fault::None);
            world.run(secs(10));
            let (lost, before) = (world.lost, world.time());
            world.run(secs(10));
            assert_eq!(world.lost, lost);
            assert_eq!(world.story(before), [""; 0], "seed {seed}");
        }
    }
}

#[test]
fn two_regions_that_die_one_after_the_other_are_both_out() {
    for (first, second) in [
        (Fault::Reset, Fault::Reset),
        (Fault::Errors(1.0), Fault::Errors(1.0)),
        (Fault::BlackHole, Fault::BlackHole),
        (Fault::Refuse, Fault::BlackHole),
    ] {
        for (gap, probes) in [(3_000, false), (3_000, true), (6_000, false)] {
            let mut world = nearest(7, 100.0, |upstream| {
                upstream.health.probe = probes.then(World::probe);
            });
            world.run(secs(40));
            let from = world.time();
            world.fault(0, first);
            world.run(ms(gap));
            let second_from = world.time();
            world.fault(1, second);
            world.run(secs(3));
            let story = world.story(from);
            for region in [0, 1] {
                assert_eq!(
                    world.judge.stage(region),
                    Stage::Out,
                    "{first:?} {second:?}: {story:#?}"
                );
            }
            let took = world.reached(1, Stage::Out, second_from).expect("out");
            assert!(took <= ms(1_200), "{first:?} {second:?}: {took:?}");
            assert_eq!(
                (world.judge.stage(2), world.lost),
                (Stage::Serving, 0),
                "{story:#?}"
            );
        }
    }
}

#[test]
fn what_is_overloaded_by_a_dead_siblings_traffic_does_not_acquit_it() {
    let mut world = World::with(3, 200.0, support::latency(5), &[1, 1], |_| {});
    world.run(secs(40));
    let from = world.time();
    world.fault(0, Fault::Reset);
    world.run(ms(300));
    world.fault(1, Fault::Errors(0.6));
    world.run(secs(8));
    let stages = [world.judge.stage(0), world.judge.stage(1)];
    assert_eq!(
        stages,
        [Stage::Out, Stage::Serving],
        "{:#?}",
        world.story(from)
    );
    assert_eq!(world.health(1), Health::Unknown);
}

#[test]
fn the_last_usable_region_stays_whatever_its_requests_meet() {
    for fault in [
        Fault::Reset,
        Fault::Refuse,
        Fault::BlackHole,
        Fault::Errors(1.0),
        Fault::Errors(0.3),
        Fault::Slow(9.0),
    ] {
        let mut world = World::with(3, 200.0, support::latency(5), &[1], |_| {});
        world.run(secs(70));
        let from = world.time();
        world.fault(0, fault);
        world.run(secs(20));
        assert_eq!(world.story(from), [""; 0], "{fault:?}");
    }
}

#[test]
fn the_last_region_goes_when_its_probes_fail() {
    let mut world = World::with(3, 200.0, support::latency(5), &[1], |upstream| {
        upstream.health.probe = Some(World::probe());
    });
    world.run(secs(40));
    let from = world.time();
    world.fault(0, Fault::Refuse);
    world.run(secs(4));
    assert_eq!(world.judge.stage(0), Stage::Out, "{:#?}", world.story(from));
    let mended = world.time();
    world.fault(0, Fault::None);
    world.run(secs(4));
    let back = world.reached(0, Stage::Serving, mended).expect("back");
    assert!(back <= secs(3), "at once when it is well: {back:?}");
}
