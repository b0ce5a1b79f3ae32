//! False alarms: worlds in which nothing is wrong, or nothing that a region could help.

use tidegate_core::cell::InFlight;
use tidegate_core::plan::Policy;

use crate::support;
use crate::world::{Fault, Site, World, ms, secs};

/// Lets worlds of `rate` requests a second run for `minutes`; nothing may be told.
fn check(what: &str, rate: f64, minutes: u64, seeds: u64, site: impl Fn(&mut Site)) {
    for seed in 0..seeds {
        for steering in [support::latency(5), Policy::weighted().into()] {
            let mut world = World::with(seed, rate, steering, &[2, 2, 2], |_| {});
            world.sites.iter_mut().for_each(&site);
            world.run(secs(60 * minutes));
            let story = world.story(secs(0));
            assert_eq!(story, [""; 0], "{what} at {rate}/s, seed {seed}");
        }
    }
}

#[test]
fn noise_raises_no_alarm() {
    let noisy = |site: &mut Site| {
        site.noise = 0.005;
        site.service = (ms(20), 1.2);
    };
    check("noise", 1.0, 10, 2, noisy);
    check("noise", 10.0, 5, 2, noisy);
    check("noise", 50.0, 3, 2, noisy);
    check("noise", 500.0, 1, 1, noisy);
}

#[test]
fn a_service_that_always_fails_a_little_raises_no_alarm() {
    let failing = |site: &mut Site| site.noise = 0.06;
    check("6 % of errors", 10.0, 5, 2, failing);
    check("6 % of errors", 200.0, 2, 2, failing);
}

#[test]
fn a_slow_route_raises_no_alarm() {
    let slow = |site: &mut Site| site.slow_route = (0.1, secs(5));
    check("a slow route", 2.0, 10, 2, slow);
    check("a slow route", 20.0, 4, 2, slow);
    check("a slow route", 500.0, 1, 1, slow);
}

#[test]
fn long_polls_raise_no_alarm() {
    let polls = |site: &mut Site| {
        site.slow_route = (0.5, secs(20));
    };
    check("long polls", 20.0, 5, 2, polls);
}

#[test]
fn traffic_that_stops_and_starts_raises_no_alarm() {
    for seed in 0..2 {
        let mut world = World::with(seed, 100.0, support::latency(5), &[1, 1], |_| {});
        world.sites[0].slow_route = (0.1, secs(5));
        for _ in 0..20 {
            world.rate = 100.0;
            world.run(secs(3));
            world.rate = 0.2;
            world.run(secs(6));
        }
        assert_eq!(world.story(secs(0)), [""; 0], "seed {seed}");
    }
}

#[test]
fn clients_that_send_slowly_raise_no_alarm() {
    let mut world = World::with(5, 1.0, support::latency(5), &[1, 1], |_| {});
    world.run(secs(60));
    let region = &world.live.upstreams[0].regions[0];
    let set = region.endpoints.load_full();
    let uploads: Vec<_> = (0..20)
        .map(|_| InFlight::begin(set.endpoints[0].cell.clone(), region.cell.clone()))
        .collect();
    world.run(secs(120));
    assert_eq!(world.story(secs(0)), [""; 0]);
    drop(uploads);
}

#[test]
fn one_client_that_waits_for_slow_answers_is_one_event() {
    let mut world = World::with(5, 5.0, support::latency(5), &[1, 1], |_| {});
    world.sites[0].slow_route = (0.05, secs(5));
    world.run(secs(300));
    let region = &world.live.upstreams[0].regions[0];
    let set = region.endpoints.load_full();
    for _ in 0..20 {
        let region = region.cell.clone();
        let mut slow = InFlight::begin(set.endpoints[0].cell.clone(), region);
        slow.sent();
        std::mem::forget(slow);
    }
    world.run(secs(120));
    assert_eq!(world.story(secs(0)), [""; 0]);
}

#[test]
fn a_dependency_that_all_share_and_that_is_slow_moves_nobody() {
    for seed in 0..2 {
        let mut world = World::with(seed, 200.0, Policy::weighted().into(), &[1, 1, 1], |_| {});
        world.run(secs(70));
        for _ in 0..5 {
            (0..3).for_each(|region| world.fault(region, Fault::Slow(8.0)));
            world.run(secs(5));
            (0..3).for_each(|region| world.fault(region, Fault::None));
            world.run(secs(30));
        }
        let moved = world
            .told
            .iter()
            .find(|(_, change)| change.from != change.to);
        assert_eq!(moved, None, "seed {seed}: {:#?}", world.story(secs(0)));
    }
}

#[test]
fn one_endpoint_that_restarts_is_not_the_region() {
    for seed in 0..2 {
        let mut world = World::with(seed, 200.0, support::latency(5), &[8, 8], |_| {});
        world.run(secs(60));
        let from = world.time();
        // A tenth of a second in which an eighth of the attempts breaks.
        for _ in 0..5 {
            world.fault(0, Fault::Errors(0.125));
            world.run(ms(100));
            world.fault(0, Fault::None);
            world.run(secs(20));
        }
        assert_eq!(world.story(from), [""; 0], "seed {seed}");
    }
}
