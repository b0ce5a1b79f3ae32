//! Where requests go that are bound to a place, kept in one, or come from one; and what is left of an
//! upstream that is mostly out.

use std::sync::Arc;

use fastrand::Rng;
use tidegate_core::choose::should_leave;
use tidegate_core::decision::{Because, Pin, PinnedBy};
use tidegate_core::explain::Explanation;
use tidegate_core::geo::Origin;
use tidegate_core::plan::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, ColdStart, GeoRule, Isolation, Location,
    Panic, Policy, SameSite, Standby, Starter, Steering, Upstream, WhenGone,
};
use tidegate_core::retry::{Destination, NextTry, Scope};
use tidegate_core::{
    Allotment, Ask, Choice, Decision, Dial, EndpointSet, Exclusion, Health, RegionIdx, RegionSet,
    RouteIdx, Termination, choose, reach,
};

use crate::support::{UPSTREAM, World, latency, own};

fn chosen(world: &World, ask: &Ask) -> (Decision, Option<Choice>) {
    choose(world.live.upstream(UPSTREAM), ask, &mut Rng::with_seed(1))
}

fn region(world: &World, ask: &Ask) -> Option<u8> {
    chosen(world, ask).1.map(|choice| choice.region.0)
}

fn ask(world: &World) -> Ask {
    Ask::new(RegionSet::ALL, world.now)
}

fn bound_to(world: &World, region: u8, endpoint: Option<&str>, by: PinnedBy) -> Ask {
    let mut ask = ask(world);
    ask.pin = Some(Pin {
        region: RegionIdx(region),
        endpoint: endpoint.map(EndpointSet::name_of),
        by,
    });
    ask
}

fn health(world: &World, region: usize, health: Health) {
    let cell = &world.live.upstreams[0].regions[region].cell;
    cell.set_health(health);
}

/// Two regions of two endpoints, the first one nearer, with a cookie for affinity.
fn world_of_cookies(scope: AffinityScope, when_gone: WhenGone) -> World {
    let cookie = AffinityCookie {
        name: "place".into(),
        ttl: None,
        path: "/".into(),
        secure: true,
        same_site: SameSite::Lax,
        secrets: [Arc::from([0; 32])].into(),
    };
    let steering = Steering {
        affinity: Some(Affinity {
            by: AffinityBy::Cookie(Arc::new(cookie)),
            scope,
            when_gone,
        }),
        ..latency(5)
    };
    let world = World::new(steering, &[2, 2]);
    world.measure(&[10, 80]);
    world
}

#[test]
fn a_client_is_bound_where_it_has_no_place_or_gets_another() {
    use AffinityScope::{Endpoint, Region};
    use WhenGone::{Rebind, Strict, Temporary};
    let check = |scope, when_gone, pin: Option<(u8, Option<&str>)>, out: Option<&str>, expected| {
        let world = world_of_cookies(scope, when_gone);
        let ask = match pin {
            Some((region, endpoint)) => {
                bound_to(&world, region, endpoint, PinnedBy::Affinity(when_gone))
            }
            None => ask(&world),
        };
        match out {
            Some("r1") => health(&world, 1, Health::Unhealthy),
            Some(address) => {
                let (set, name) = (world.set(1), EndpointSet::name_of(address));
                let at = set.named(name).expect("there");
                set.endpoints[at].cell.set_health(Health::Unhealthy);
            }
            None => {}
        }
        let actual = chosen(&world, &ask).1.map(|choice| {
            let address = choice.endpoint().address.to_string();
            (choice.region.0, address, choice.bind)
        });
        let actual = actual
            .as_ref()
            .map(|(at, address, bind)| (*at, address.as_str(), *bind));
        let expected: Option<(u8, Option<&str>, bool)> = expected;
        assert_eq!(
            actual.map(|it| (it.0, it.2)),
            expected.map(|it| (it.0, it.2)),
            "{pin:?} {out:?}"
        );
        if let (Some((_, address, _)), Some((_, Some(endpoint), _))) = (actual, expected) {
            assert_eq!(address, endpoint, "{pin:?} {out:?}");
        }
    };
    let [here, there] = ["r1-0:80", "r1-1:80"];
    check(Region, Rebind, None, None, Some((0, None, true)));
    check(
        Region,
        Rebind,
        Some((1, None)),
        None,
        Some((1, None, false)),
    );
    check(
        Region,
        Rebind,
        Some((1, None)),
        Some("r1"),
        Some((0, None, true)),
    );
    check(
        Region,
        Temporary,
        Some((1, None)),
        Some("r1"),
        Some((0, None, false)),
    );
    check(Region, Strict, Some((1, None)), Some("r1"), None);
    check(
        Region,
        Strict,
        Some((1, None)),
        None,
        Some((1, None, false)),
    );
    check(
        Endpoint,
        Rebind,
        Some((1, Some(there))),
        None,
        Some((1, Some(there), false)),
    );
    check(
        Endpoint,
        Rebind,
        Some((1, Some(there))),
        Some(there),
        Some((1, Some(here), true)),
    );
    check(
        Endpoint,
        Temporary,
        Some((1, Some(there))),
        Some(there),
        Some((1, Some(here), false)),
    );
    check(
        Endpoint,
        Strict,
        Some((1, Some(there))),
        None,
        Some((1, Some(there), false)),
    );
    check(Endpoint, Strict, Some((1, Some(there))), Some(there), None);
    check(
        Endpoint,
        Temporary,
        Some((1, None)),
        None,
        Some((1, None, true)),
    );
    check(
        Endpoint,
        Rebind,
        Some((9, None)),
        None,
        Some((0, None, true)),
    );
    check(Endpoint, Strict, Some((9, None)), None, None);
}

#[test]
fn a_place_that_is_lost_says_so_and_nothing_is_left_to_try() {
    for (endpoint, gone) in [
        (None, Exclusion::Unhealthy),
        (Some("r1-1:80"), Exclusion::NoEndpoint),
    ] {
        let world = world_of_cookies(AffinityScope::Endpoint, WhenGone::Strict);
        let ask = bound_to(&world, 1, endpoint, PinnedBy::Affinity(WhenGone::Strict));
        assert!(!reach(world.live.upstream(UPSTREAM), &ask, 1).elsewhere);
        match endpoint {
            None => health(&world, 1, Health::Unhealthy),
            Some(address) => {
                let (set, name) = (world.set(1), EndpointSet::name_of(address));
                let at = set.named(name).expect("there");
                set.endpoints[at].cell.set_health(Health::Unhealthy);
            }
        }
        let (decision, choice) = chosen(&world, &ask);
        assert!(choice.is_none());
        assert_eq!(decision.termination(), Termination::AffinityLost);
        let reasons: Vec<_> = decision
            .excluded
            .iter()
            .map(|excluded| excluded.why)
            .collect();
        assert_eq!(reasons, [Exclusion::Affinity, gone]);
        let reach = reach(world.live.upstream(UPSTREAM), &ask, 1);
        assert!(!reach.here && !reach.again && !reach.elsewhere);
        assert!(!should_leave(world.live.upstream(UPSTREAM), &ask, 1));
    }
}

#[test]
fn a_trusted_peer_names_a_region_and_binds_nobody() {
    let world = world_of_cookies(AffinityScope::Region, WhenGone::Rebind);
    let ask = bound_to(&world, 1, None, PinnedBy::Override);
    let choice = chosen(&world, &ask).1.expect("open");
    assert_eq!(
        (choice.region, choice.because, choice.bind),
        (RegionIdx(1), Because::Override, false)
    );
    health(&world, 1, Health::Unhealthy);
    let choice = chosen(&world, &ask).1.expect("open");
    assert_eq!((choice.region, choice.bind), (RegionIdx(0), false));
}

#[test]
fn strict_isolation_keeps_a_request_where_it_began() {
    let world = World::new(latency(5), &[2, 2]);
    world.measure(&[10, 80]);
    let mut ask = ask(&world);
    ask.isolation = Isolation::Strict;
    let first = chosen(&world, &ask).1.expect("open");
    assert_eq!(first.region, RegionIdx(0));
    let left = reach(world.live.upstream(UPSTREAM), &ask, first.position);
    assert!(left.here && !left.elsewhere);
    ask.tried_endpoints
        .insert(0, world.set(0).version, first.at);
    ask.follow(
        &NextTry::at_once(Destination::OtherEndpoint, Scope::Global),
        RegionIdx(0),
        0,
    );
    // Steering would prefer the other one by now.
    world.measure(&[500, 1]);
    (0..50).for_each(|_| world.measure(&[500, 1]));
    assert_eq!(region(&world, &ask), Some(0));
    health(&world, 0, Health::Unhealthy);
    assert!(!should_leave(world.live.upstream(UPSTREAM), &ask, 0));
    let (decision, choice) = chosen(&world, &ask);
    assert!(choice.is_none());
    assert_eq!(decision.termination(), Termination::Isolated);
}

#[test]
fn nearest_isolation_moves_failures_only() {
    let world = World::changed(latency(5), &[1, 1], |upstream| {
        upstream.regions[0].capacity_rps = Some(100.0);
    });
    world.measure(&[10, 80]);
    let cell = &world.live.upstreams[0].regions[0].cell;
    cell.set_allotment(Allotment {
        take: Dial::NONE,
        ..Allotment::default()
    });
    let mut ask = ask(&world);
    assert_eq!(region(&world, &ask), Some(1));
    ask.isolation = Isolation::Nearest;
    assert_eq!(region(&world, &ask), Some(0));
    assert!(reach(world.live.upstream(UPSTREAM), &ask, 0).elsewhere);
    health(&world, 0, Health::Unhealthy);
    assert_eq!(region(&world, &ask), Some(1));
}

#[test]
fn in_a_panic_what_is_out_is_better_than_nothing_within_residency() {
    let steering = Steering {
        panic: Panic {
            fail_open: Some(0.5),
            fallback: None,
        },
        ..latency(5)
    };
    let world = World::new(steering, &[1, 2, 1]);
    world.measure(&[10, 80, 160]);
    let check = |ask: &Ask, expected: Option<(u8, Because)>, panic| {
        let (decision, choice) = chosen(&world, ask);
        let actual = choice.map(|choice| (choice.region.0, choice.because));
        assert_eq!((actual, decision.panic), (expected, panic));
    };
    let everywhere = ask(&world);
    check(&everywhere, Some((0, Because::Nearest)), false);
    health(&world, 0, Health::Unhealthy);
    check(&everywhere, Some((1, Because::Nearest)), false);
    // Its endpoints are out before the region is known to be.
    for endpoint in &world.set(1).endpoints {
        endpoint.cell.set_health(Health::Unhealthy);
    }
    check(&everywhere, Some((2, Because::Nearest)), true);
    let allowed: RegionSet = [RegionIdx(1)].into_iter().collect();
    let mut only = Ask::new(allowed, world.now);
    check(&only, Some((1, Because::Panic)), true);
    let (decision, choice) = chosen(&world, &only);
    let told = Explanation::new(&world.live.plan, RouteIdx(0), &decision, choice.as_ref()).unwrap();
    assert!((told.steering, told.panic) == ("latency", true));
    let told = told.to_string();
    assert!(
        told.contains("too little is usable") && told.contains("better than nothing"),
        "{told}"
    );
    // As the next look finds it.
    world.live.upstreams[0].regions[1]
        .cell
        .set_allotment(Allotment {
            healthy: Dial::NONE,
            ..Allotment::default()
        });
    let left = reach(world.live.upstream(UPSTREAM), &only, 1);
    assert!(left.here && !left.elsewhere);
    let version = world.set(1).version;
    only.tried_endpoints.insert(1, version, 0);
    only.tried_endpoints.insert(1, version, 1);
    check(&only, None, true);
    health(&world, 2, Health::Unhealthy);
    check(&everywhere, Some((0, Because::Panic)), true);
    let left = reach(world.live.upstream(UPSTREAM), &everywhere, 0);
    assert!(left.elsewhere && left.doubted_elsewhere);
    assert!(
        !should_leave(world.live.upstream(UPSTREAM), &everywhere, 0),
        "for nothing better"
    );
}

#[test]
fn dials_are_the_operators_before_they_are_the_plans() {
    let world = World::changed(latency(5), &[1, 1], |upstream| {
        upstream.regions[0].dial = Dial::NONE;
    });
    world.measure(&[10, 80]);
    let cell = &world.live.upstreams[0].regions[0].cell;
    assert_eq!(region(&world, &ask(&world)), Some(1));
    cell.set_dial(Some(Dial::FULL));
    assert_eq!(region(&world, &ask(&world)), Some(0));
    cell.set_dial(None);
    health(&world, 1, Health::Unhealthy);
    let (decision, choice) = chosen(&world, &ask(&world));
    assert!(choice.is_none(), "a dial of 0 is a promise");
    assert_eq!(decision.excluded[0].why, Exclusion::DialedOut);
    assert!(!reach(world.live.upstream(UPSTREAM), &ask(&world), 1).elsewhere);
}

#[test]
fn a_cold_region_serves_once_it_is_known_to_be_well() {
    let cold = Standby::Cold(Arc::new(ColdStart {
        below: 0.5,
        by: Starter::Command(["true".into()].into()),
        timeout: std::time::Duration::from_secs(1),
    }));
    let world = World::changed(latency(5), &[1, 1], |upstream: &mut Upstream| {
        upstream.regions[0].standby = cold;
    });
    world.measure(&[10, 80]);
    let check = |it, other, expected| {
        health(&world, 0, it);
        health(&world, 1, other);
        assert_eq!(region(&world, &ask(&world)), expected, "{it:?} {other:?}");
    };
    use Health::{Degraded, Healthy, Unhealthy, Unknown};
    check(Unknown, Unhealthy, None);
    check(Unhealthy, Unhealthy, None);
    check(Healthy, Healthy, Some(1));
    check(Healthy, Unhealthy, Some(0));
    check(Degraded, Unhealthy, Some(0));
}

#[test]
fn a_client_goes_where_its_place_says() {
    let rules = [GeoRule {
        countries: [*b"BR"].into(),
        continents: Box::default(),
        regions: [RegionIdx(2), RegionIdx(1)].into(),
    }];
    let at = |latitude, longitude| {
        Some(Location {
            latitude,
            longitude,
        })
    };
    let steering = Policy::Geo {
        rules: rules.into(),
    };
    let world = World::planned(steering.into(), &[1, 1, 1], |plan| {
        let regions = own(&mut plan.regions);
        regions[0].location = at(50.1, 8.7);
        regions[1].location = at(39.0, -77.5);
        regions[2].location = at(1.3, 103.8);
    });
    world.measure(&[10, 80, 160]);
    let order = |origin: Option<Origin>| {
        let mut ask = ask(&world);
        ask.origin = origin;
        let candidates = chosen(&world, &ask).0.candidates;
        candidates
            .iter()
            .map(|one| (one.region.0, one.because))
            .collect::<Vec<_>>()
    };
    use Because::{Distance, Farther, GeoRule as Rule, Nearest};
    let origin = |country: &[u8; 2], location| {
        Some(Origin {
            country: Some(*country),
            continent: None,
            location,
        })
    };
    assert_eq!(order(None), [(0, Nearest), (1, Farther), (2, Farther)]);
    let tokyo = at(35.7, 139.7);
    assert_eq!(
        order(origin(b"JP", tokyo)),
        [(2, Distance), (0, Distance), (1, Distance)]
    );
    let paulo = at(-23.5, -46.6);
    assert_eq!(
        order(origin(b"BR", paulo)),
        [(2, Rule), (1, Rule), (0, Distance)]
    );
    assert_eq!(
        order(origin(b"BR", None)),
        [(2, Rule), (1, Rule), (0, Farther)]
    );
}

#[test]
fn the_load_that_upstreams_report_counts_while_it_is_new() {
    let world = World::new(Policy::LeastLoad.into(), &[1, 1]);
    let upstream = &world.live.upstreams[0];
    let mut guards = Vec::new();
    let mut ask = ask(&world);
    for expected in [1, 1, 1] {
        upstream.regions[0].cell.reported(0.8, ask.now);
        let choice = chosen(&world, &ask).1.expect("open");
        assert_eq!(choice.region.0, expected);
        guards.push(choice.begin(upstream));
    }
    ask.now += std::time::Duration::from_secs(181);
    assert_eq!(region(&world, &ask), Some(0), "what is old is no word");
}

#[test]
fn what_a_region_sheds_is_told_to_it_once_the_attempt_begins() {
    let world = World::changed(latency(5), &[1, 1], |upstream| {
        upstream.regions[0].capacity_rps = Some(100.0);
    });
    world.measure(&[10, 80]);
    let regions = &world.live.upstreams[0].regions;
    regions[0].cell.set_allotment(Allotment {
        take: Dial::NONE,
        ..Allotment::default()
    });
    let (decision, choice) = chosen(&world, &ask(&world));
    assert_eq!(decision.candidates[1].because, Because::Shed);
    assert_eq!(regions[0].cell.demand().shed, 0);
    drop(choice.expect("open").begin(&world.live.upstreams[0]));
    assert_eq!(
        (regions[0].cell.demand().shed, regions[1].cell.demand().shed),
        (1, 0)
    );
}
