//! Coming back: held out, tried, and given its share little by little.

use std::time::Duration;

use tidegate_core::health::{Change, Evidence, Stage};
use tidegate_core::ids::Generation;
use tidegate_core::plan::{Failback, Upstream};
use tidegate_core::{Dial, Health, Live};

use crate::support;
use crate::world::{Fault, World, ms, secs};

fn world(rate: f64, change: impl FnOnce(&mut Upstream)) -> World {
    World::with(11, rate, support::latency(5), &[1, 1], change)
}

/// Breaks the first region for so long, after a while of calm.
fn broken(world: &mut World, fault: Fault, time: Duration) -> Duration {
    world.run(secs(70));
    let from = world.time();
    world.fault(0, fault);
    world.run(time);
    world.fault(0, Fault::None);
    from
}

fn stages(world: &World, from: Duration) -> Vec<Stage> {
    let told = world.told.iter().filter(|(at, _)| *at >= from);
    told.filter(|(_, change)| change.position == 0)
        .map(|(_, change)| change.stage)
        .collect()
}

/// Lets time pass until the first region is at a stage.
fn until(world: &mut World, stage: Stage) {
    for _ in 0..1_000 {
        if world.judge.stage(0) == stage {
            return;
        }
        world.run(ms(100));
    }
    panic!("not {stage}: {:#?}", world.story(secs(0)));
}

/// Lets time pass until it is on its ramp at a share.
fn until_share(world: &mut World, share: f64) {
    until(world, Stage::Ramp);
    for _ in 0..1_000 {
        if dial(world) >= Dial::new(share) {
            return;
        }
        world.run(ms(100));
    }
    panic!("not {share}: {:#?}", world.story(secs(0)));
}

fn dial(world: &World) -> Dial {
    world.live.upstreams[0].regions[0].cell.standing().dial
}

#[test]
fn a_region_comes_back_by_trial_and_ramp() {
    for probes in [false, true] {
        for fault in [Fault::Reset, Fault::BlackHole, Fault::Errors(1.0)] {
            let mut world = world(150.0, |upstream| {
                upstream.health.probe = probes.then(World::probe);
            });
            let from = broken(&mut world, fault, secs(5));
            world.run(secs(100));
            let story = world.story(from);
            let stages: Vec<_> = stages(&world, from)
                .into_iter()
                .filter(|stage| *stage != Stage::Suspected)
                .collect();
            use Stage::{Out, Probation, Ramp, Serving};
            assert_eq!(stages, [Out, Probation, Ramp, Serving], "{story:#?}");
            let at = |stage| world.reached(0, stage, from).expect("reached");
            assert!(at(Probation) - at(Out) >= secs(10), "{story:#?}");
            let ramp = at(Serving) - at(Ramp);
            assert!((secs(59)..secs(63)).contains(&ramp), "{story:#?}");
            assert_eq!(world.lost, 0);
        }
    }
}

#[test]
fn no_second_takes_more_than_twice_the_one_before() {
    for ramp in [1, 20] {
        let mut world = world(2_000.0, |upstream| {
            upstream.health.failback.ramp = secs(ramp)
        });
        let from = broken(&mut world, Fault::Reset, secs(3));
        world.run(secs(25 + ramp));
        assert_eq!(
            world.judge.stage(0),
            Stage::Serving,
            "{:#?}",
            world.story(from)
        );
        let taken = |second: u64| world.taken.get(&(second, 0)).copied().unwrap_or(0);
        let first = from.as_secs() + 5;
        for second in first..world.time().as_secs() - 1 {
            let (before, after) = (taken(second), taken(second + 1));
            // Chance has its part: four standard deviations.
            let twice = 2.0 * before.max(10) as f64;
            let most = twice + 4.0 * twice.sqrt();
            assert!(
                after as f64 <= most,
                "ramp {ramp}, second {second}: {before}, {after}"
            );
        }
    }
}

#[test]
fn a_region_that_flaps_stays_out_ever_longer() {
    for probes in [false, true] {
        let mut world = world(100.0, |upstream| {
            upstream.health.probe = probes.then(World::probe);
        });
        world.run(secs(60));
        let from = world.time();
        for _ in 0..15 {
            world.fault(0, Fault::BlackHole);
            world.run(secs(2));
            world.fault(0, Fault::None);
            world.run(secs(2));
        }
        world.run(secs(200));
        let outs = stages(&world, from)
            .into_iter()
            .filter(|stage| *stage == Stage::Out)
            .count();
        assert!((1..=4).contains(&outs), "{:#?}", world.story(from));
        assert_eq!(
            (world.judge.stage(0), world.lost),
            (Stage::Serving, 0),
            "{:#?}",
            world.story(from)
        );
    }
}

#[test]
fn relapses_double_the_hold() {
    let mut world = world(200.0, |_| {});
    world.run(secs(60));
    let mut outs = Vec::new();
    for _ in 0..3 {
        world.fault(0, Fault::Reset);
        let from = world.time();
        until(&mut world, Stage::Out);
        world.fault(0, Fault::None);
        until(&mut world, Stage::Ramp);
        let at = |stage| world.reached(0, stage, from).expect("reached");
        outs.push((at(Stage::Probation) - at(Stage::Out)).as_secs());
    }
    assert_eq!(outs, [10, 20, 40]);
}

#[test]
fn errors_hold_and_reverse_the_ramp() {
    let check = |share: f64, expected: &[Stage]| {
        let mut world = world(800.0, |_| {});
        let from = broken(&mut world, Fault::Reset, secs(2));
        until_share(&mut world, 0.2);
        let (before, later) = (dial(&world), world.time());
        world.fault(0, Fault::Errors(share));
        world.run(secs(3));
        let story = world.story(from);
        assert_eq!(stages(&world, later), expected, "{share} {story:#?}");
        (before.share(), dial(&world).share())
    };
    let (before, after) = check(0.0, &[]);
    assert!(after > before * 1.2, "{before} {after}");
    let (before, after) = check(0.04, &[]);
    assert!(after < before * 1.15, "{before} {after}");
    let (_, after) = check(0.8, &[Stage::Ramp, Stage::Out]);
    assert_eq!(after, 0.0);
}

#[test]
fn a_third_failing_halves_the_share_and_then_degrades() {
    let mut world = world(400.0, |_| {});
    broken(&mut world, Fault::Reset, secs(2));
    until_share(&mut world, 0.2);
    let later = world.time();
    world.fault(0, Fault::Errors(0.3));
    world.run(secs(5));
    let reversed = |(at, change): &&(Duration, Change)| {
        *at >= later && matches!(change.evidence, Evidence::Reversed { .. })
    };
    assert!(
        world.told.iter().any(|told| reversed(&told)),
        "{:#?}",
        world.story(later)
    );
    world.run(secs(20));
    assert!(
        world.health(0) == Health::Degraded || dial(&world) < Dial::new(0.1),
        "{:#?}",
        world.story(later)
    );
}

#[test]
fn a_degraded_region_gets_its_share_back_when_it_is_well() {
    for fault in [Fault::Errors(0.3), Fault::Slow(6.0)] {
        let mut world = world(200.0, |_| {});
        let from = broken(&mut world, fault, secs(5));
        assert_eq!(
            world.health(0),
            Health::Degraded,
            "{:#?}",
            world.story(from)
        );
        world.run(secs(100));
        let story = world.story(from);
        assert_eq!(
            stages(&world, from),
            [Stage::Serving, Stage::Ramp, Stage::Serving],
            "{story:#?}"
        );
        assert_eq!(world.health(0), Health::Unknown, "{story:#?}");
    }
}

#[test]
fn manual_failback_waits_for_an_operator() {
    let mut world = world(200.0, |upstream| upstream.health.failback.manual = true);
    world.live.upstreams[0].regions[0].cell.ask_release();
    let from = broken(&mut world, Fault::Reset, secs(2));
    world.run(secs(300));
    assert_eq!(
        stages(&world, from),
        [Stage::Out, Stage::Waiting],
        "{:#?}",
        world.story(from)
    );
    assert_eq!(world.health(0), Health::Unhealthy);
    world.live.upstreams[0].regions[0].cell.ask_release();
    world.run(secs(80));
    assert_eq!(
        world.judge.stage(0),
        Stage::Serving,
        "{:#?}",
        world.story(from)
    );
}

#[test]
fn with_no_other_region_it_takes_everything_at_once() {
    let mut world = world(200.0, |_| {});
    let from = broken(&mut world, Fault::Reset, secs(2));
    assert_eq!(world.judge.stage(0), Stage::Out);
    let sibling = &world.live.upstreams[0].regions[1].cell;
    sibling.say(Health::Unhealthy, None);
    world.run(ms(300));
    assert_eq!(
        world.judge.stage(0),
        Stage::Serving,
        "{:#?}",
        world.story(from)
    );
    assert_eq!(
        (dial(&world), world.judge.stage(1)),
        (Dial::FULL, Stage::Out)
    );
}

#[test]
fn a_policy_without_patience_is_followed() {
    let mut world = world(200.0, |upstream| {
        upstream.health.failback = Failback::default()
    });
    let from = broken(&mut world, Fault::Reset, secs(2));
    world.run(secs(2));
    assert_eq!(
        world.judge.stage(0),
        Stage::Serving,
        "{:#?}",
        world.story(from)
    );
    assert_eq!(dial(&world), Dial::FULL);
}

#[test]
fn at_the_start_there_is_neither_trial_nor_ramp() {
    let mut world = world(50.0, |upstream| {
        upstream.health.probe = Some(World::probe())
    });
    world.run(secs(2));
    assert_eq!(stages(&world, secs(0)), [Stage::Serving]);
    assert_eq!(
        (world.health(0), dial(&world)),
        (Health::Healthy, Dial::FULL)
    );
}

#[test]
fn what_is_said_of_a_region_is_heeded_until_it_is_over() {
    let mut world = world(200.0, |_| {});
    world.run(secs(30));
    let from = world.time();
    let until = Some(world.now + secs(5));
    world.live.upstreams[0].regions[0]
        .cell
        .say(Health::Draining, until);
    world.run(secs(4));
    assert_eq!(
        (world.judge.stage(0), world.health(0)),
        (Stage::Out, Health::Draining)
    );
    world.run(secs(2));
    assert_eq!(
        world.judge.stage(0),
        Stage::Probation,
        "no hold: {:#?}",
        world.story(from)
    );
    world.live.upstreams[0].regions[1]
        .cell
        .say(Health::Degraded, None);
    world.run(secs(1));
    assert_eq!(world.health(1), Health::Degraded);
}

#[test]
fn whom_an_operator_drains_is_not_judged() {
    let mut world = world(200.0, |_| {});
    world.run(secs(30));
    let from = world.time();
    world.fault(0, Fault::BlackHole);
    world.run(ms(100));
    world.live.upstreams[0].regions[0].cell.set_draining(true);
    world.run(secs(5));
    assert_eq!(world.story(from), [""; 0]);
}

#[test]
fn a_reload_forgets_nothing_but_what_left() {
    let mut world = world(200.0, |_| {});
    let from = broken(&mut world, Fault::Reset, secs(2));
    assert_eq!(world.judge.stage(0), Stage::Out);
    let plan = world.live.plan.clone();
    let regions = |live: &mut Live, order: &[usize]| {
        let upstream = support::own(&mut live.upstreams[0]);
        let mut all: Vec<_> = std::mem::take(&mut upstream.regions)
            .into_iter()
            .map(Some)
            .collect();
        upstream.regions = order.iter().filter_map(|at| all[*at].take()).collect();
    };
    // The other way round: states go with their cells.
    let rebind = |world: &World| Live::bind(plan.clone(), &world.board, Generation(2));
    world.live = rebind(&world);
    regions(&mut world.live, &[1, 0]);
    world.sites.swap(0, 1);
    world.run(secs(1));
    assert_eq!(
        world.judge.stage(0),
        Stage::Serving,
        "{:#?}",
        world.story(from)
    );
    assert_eq!(world.judge.stage(1), Stage::Out, "{:#?}", world.story(from));
    // Gone, and back: it starts whole.
    world.live = rebind(&world);
    regions(&mut world.live, &[1]);
    world.run(secs(1));
    world.live = rebind(&world);
    world.sites.swap(0, 1);
    world.run(secs(1));
    assert_eq!(
        (world.judge.stage(0), dial(&world)),
        (Stage::Serving, Dial::FULL)
    );
}

#[test]
fn a_region_whose_endpoints_were_too_few_takes_its_share_little_by_little() {
    let mut world = world(100.0, |upstream| {
        upstream.health.failback.ramp = secs(30);
    });
    world.run(secs(70));
    let from = world.time();
    let said = |world: &World, health| {
        world.live.upstreams[0].regions[0].cell.say(health, None);
    };
    said(&world, Health::Degraded);
    world.run(secs(5));
    said(&world, Health::Unknown);
    until(&mut world, Stage::Ramp);
    assert!(dial(&world) < Dial::new(0.1), "{:?}", dial(&world));
    until(&mut world, Stage::Serving);
    assert_eq!(dial(&world), Dial::FULL);
    assert!(!stages(&world, from).contains(&Stage::Out));
}
