//! A request's attempts, one choice after the other.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::choose::should_leave;
use tidegate_core::decision::Because;
use tidegate_core::explain::Explanation;
use tidegate_core::geo::Origin;
use tidegate_core::plan::{
    CircuitBreaker, EndpointSpec, HashKey, Limits, Location, Policy, Upstream,
};
use tidegate_core::retry::{Destination, NextTry, Scope};
use tidegate_core::{
    Ask, Choice, Decision, Dial, Drain, Exclusion, Health, InFlight, RegionIdx, RegionSet,
    RouteIdx, Standing, Termination, choose, reach,
};

use crate::support::{UPSTREAM, World, latency, maglev};

fn ask(world: &World) -> Ask {
    Ask::new(RegionSet::ALL, world.now)
}

fn chosen(world: &World, ask: &Ask) -> (Decision, Option<Choice>) {
    choose(world.live.upstream(UPSTREAM), ask, &mut Rng::with_seed(1))
}

fn address(world: &World, ask: &Ask) -> Option<String> {
    chosen(world, ask)
        .1
        .map(|choice| choice.endpoint().address.to_string())
}

fn next(to: Destination, scope: Scope) -> NextTry {
    NextTry::at_once(to, scope)
}

fn why(decision: &Decision, region: u8) -> Option<Exclusion> {
    let excluded = decision
        .excluded
        .iter()
        .find(|excluded| excluded.region == RegionIdx(region));
    excluded.map(|excluded| excluded.why)
}

#[test]
fn the_first_attempt_goes_to_the_nearest() {
    let world = World::new(latency(5), &[1, 1, 1]);
    world.measure(&[80, 10, 160]);
    let (decision, choice) = chosen(&world, &ask(&world));
    let choice = choice.expect("all are open");
    assert_eq!(
        (choice.region, choice.position, choice.at),
        (RegionIdx(1), 1, 0)
    );
    assert_eq!(decision.candidates[0].because, choice.because);
    assert_eq!(&*choice.endpoint().address, "r1-0:80");
}

#[test]
fn a_failover_leaves_the_region_for_good() {
    let world = World::new(latency(5), &[1, 1]);
    world.measure(&[10, 80]);
    let mut ask = ask(&world);
    let (_, choice) = chosen(&world, &ask);
    ask.tried(&choice.expect("open"));
    ask.follow(
        &next(Destination::OtherRegion, Scope::Global),
        RegionIdx(0),
        0,
    );
    assert_eq!(address(&world, &ask).as_deref(), Some("r1-0:80"));
    assert_eq!(why(&chosen(&world, &ask).0, 0), Some(Exclusion::Tried));
}

#[test]
fn a_retry_in_the_region_takes_every_endpoint_once() {
    let world = World::new(latency(5), &[5, 1]);
    world.measure(&[10, 80]);
    let (mut ask, mut seen) = (ask(&world), HashSet::new());
    for _ in 0..5 {
        let choice = chosen(&world, &ask).1.expect("open");
        assert_eq!(choice.region, RegionIdx(0));
        assert!(seen.insert(choice.at), "endpoint {} twice", choice.at);
        ask.tried(&choice);
        ask.follow(
            &next(Destination::OtherEndpoint, Scope::Global),
            RegionIdx(0),
            0,
        );
    }
    let (decision, choice) = chosen(&world, &ask);
    assert_eq!(why(&decision, 0), Some(Exclusion::NoEndpoint));
    assert_eq!(choice.expect("the other region").region, RegionIdx(1));
}

#[test]
fn a_retry_that_was_to_stay_moves_on_when_the_region_goes_down() {
    let world = World::new(latency(5), &[2, 2]);
    world.measure(&[80, 10]);
    let mut ask = ask(&world);
    ask.follow(
        &next(Destination::OtherEndpoint, Scope::Global),
        RegionIdx(0),
        0,
    );
    assert_eq!(chosen(&world, &ask).1.expect("open").region, RegionIdx(0));
    world.live.upstreams[0].regions[0]
        .cell
        .set_health(Health::Unhealthy);
    assert_eq!(chosen(&world, &ask).1.expect("open").region, RegionIdx(1));
}

#[test]
fn a_keyed_request_never_leaves_its_region_again() {
    let world = World::new(latency(5), &[2, 2]);
    let mut ask = ask(&world);
    ask.follow(
        &next(Destination::OtherEndpoint, Scope::Region),
        RegionIdx(1),
        1,
    );
    // A later failure that would allow any region does not widen what an earlier one narrowed.
    ask.follow(
        &next(Destination::OtherEndpoint, Scope::Global),
        RegionIdx(1),
        1,
    );
    let (decision, choice) = chosen(&world, &ask);
    assert_eq!(choice.expect("open").region, RegionIdx(1));
    assert_eq!(why(&decision, 0), Some(Exclusion::Scope));
    assert!(!reach(world.live.upstream(UPSTREAM), &ask, 1).elsewhere);
    world.live.upstreams[0].regions[1]
        .cell
        .set_health(Health::Unhealthy);
    assert!(chosen(&world, &ask).1.is_none());
}

#[test]
fn residency_holds_when_nothing_else_is_left() {
    let world = World::new(latency(5), &[1, 1]);
    let allowed: RegionSet = [RegionIdx(0)].into_iter().collect();
    let ask = Ask::new(allowed, world.now);
    assert_eq!(address(&world, &ask).as_deref(), Some("r0-0:80"));
    world.live.upstreams[0].regions[0].cell.set_draining(true);
    let (decision, choice) = chosen(&world, &ask);
    assert!(choice.is_none());
    assert_eq!(why(&decision, 0), Some(Exclusion::Draining));
    assert_eq!(why(&decision, 1), Some(Exclusion::Residency));
}

#[test]
fn a_region_whose_endpoints_are_down_is_passed_over_before_its_health_is_known() {
    let world = World::new(latency(5), &[3, 1]);
    world.measure(&[10, 80]);
    world.set(0).endpoints.iter().for_each(|endpoint| {
        endpoint.cell.set_health(Health::Unhealthy);
    });
    let (decision, choice) = chosen(&world, &ask(&world));
    assert_eq!(choice.expect("open").region, RegionIdx(1));
    assert_eq!(why(&decision, 0), Some(Exclusion::NoEndpoint));
}

#[test]
fn reach_tells_what_is_left() {
    let world = World::new(latency(5), &[2, 1]);
    let mut ask = ask(&world);
    let check = |ask: &Ask, here, again, elsewhere, moved| {
        let reach = reach(world.live.upstream(UPSTREAM), ask, 0);
        let actual = (reach.here, reach.again, reach.elsewhere, reach.moved);
        assert_eq!(actual, (here, again, elsewhere, moved));
    };
    let version = world.set(0).version;
    check(&ask, true, true, true, false);
    ask.tried_endpoints.insert(0, version, 0);
    check(&ask, true, true, true, false);
    ask.tried_endpoints.insert(0, version, 1);
    check(&ask, false, true, true, false);
    world.live.upstreams[0].regions[1].cell.set_draining(true);
    check(&ask, false, true, false, false);
    world.live.upstreams[0].regions[0]
        .cell
        .set_health(Health::Unhealthy);
    check(&ask, false, false, false, false);
    ask.tried_regions.insert(RegionIdx(1));
    check(&ask, false, false, false, true);
}

#[test]
fn the_same_endpoint_is_asked_again_after_its_try_is_forgotten() {
    let world = World::new(latency(5), &[1]);
    let mut ask = ask(&world);
    let choice = chosen(&world, &ask).1.expect("open");
    ask.tried(&choice);
    assert!(chosen(&world, &ask).1.is_none());
    ask.follow(
        &next(Destination::SameEndpoint, Scope::Global),
        RegionIdx(0),
        0,
    );
    assert_eq!(address(&world, &ask).as_deref(), Some("r0-0:80"));
}

#[test]
fn tries_do_not_carry_over_to_another_version_of_the_set() {
    let world = World::new(latency(5), &[1]);
    let mut ask = ask(&world);
    ask.tried(&chosen(&world, &ask).1.expect("open"));
    let spec = EndpointSpec::new("new:80");
    let slot = &world.live.upstreams[0].regions[0].endpoints;
    assert!(slot.replace("shop", "r0", std::slice::from_ref(&spec), &world.board));
    assert!(!slot.replace("shop", "r0", &[spec], &world.board));
    assert_eq!(address(&world, &ask).as_deref(), Some("new:80"));
}

#[test]
fn an_attempt_counts_at_its_endpoint_and_region() {
    let world = World::new(latency(5), &[1]);
    let upstream = &world.live.upstreams[0];
    let choice = chosen(&world, &ask(&world)).1.expect("open");
    let guard = choice.begin(upstream);
    assert_eq!(
        (
            choice.endpoint().cell.in_flight(),
            upstream.regions[0].cell.in_flight()
        ),
        (1, 1)
    );
    drop(guard);
    assert_eq!(
        (
            choice.endpoint().cell.in_flight(),
            upstream.regions[0].cell.in_flight()
        ),
        (0, 0)
    );
}

#[test]
fn a_decision_is_told_with_names() {
    let world = World::new(Policy::priority().into(), &[1, 1, 1]);
    world.live.upstreams[0].regions[0].cell.set_draining(true);
    let (decision, choice) = chosen(&world, &ask(&world));
    let told = Explanation::new(&world.live.plan, RouteIdx(0), &decision, choice.as_ref()).unwrap();
    let expected = "\
route     route-0
upstream  shop
balance   peak_ewma
      1.  r1  by its tier
      2.  r2  by its tier
      -   r0  being drained
chosen    r1 at r1-0:80";
    assert_eq!(told.to_string(), expected);
    let json = serde_json::to_value(&told).expect("plain data");
    assert_eq!(
        json["candidates"][0],
        serde_json::json!({ "region": "r1", "because": "tier" })
    );
    assert_eq!(
        json["excluded"][0],
        serde_json::json!({ "region": "r0", "why": "draining" })
    );
    assert_eq!(json["chosen"]["endpoint"], "r1-0:80");
}

#[test]
fn what_decided_about_the_endpoint_is_told() {
    let hashing = |upstream: &mut Upstream| upstream.balance = maglev(None);
    let world = World::changed(latency(0), &[2], hashing);
    let (decision, choice) = chosen(&world, &ask(&world));
    let tell =
        || Explanation::new(&world.live.plan, RouteIdx(0), &decision, choice.as_ref()).unwrap();
    let key = HashKey::Cookie("user".into());
    let check = |told: Explanation, expected: &str| {
        assert_eq!(told.to_string().lines().nth(2), Some(expected));
    };
    check(
        tell().hashed_on(Some(&key)),
        "balance   maglev by cookie user",
    );
    check(
        tell().hashed_on(None),
        "balance   maglev by nothing: drawn at random",
    );
}

#[test]
fn where_the_client_is_is_told_to_who_steers_by_it() {
    let check = |policy: Policy, origin: Option<Origin>, expected: Option<&str>| {
        let world = World::new(policy.into(), &[1]);
        let (decision, choice) = chosen(&world, &ask(&world));
        let told =
            Explanation::new(&world.live.plan, RouteIdx(0), &decision, choice.as_ref()).unwrap();
        let told = told.seen_from(origin);
        assert_eq!(told.origin.as_deref(), expected);
        let line = told.to_string().lines().nth(3).map(str::to_owned);
        let line = line.and_then(|line| Some(line.strip_prefix("client    ")?.to_owned()));
        assert_eq!(line.as_deref(), expected);
    };
    let geo = || Policy::Geo { rules: [].into() };
    let berlin = Origin {
        country: Some(*b"DE"),
        continent: Some(*b"EU"),
        location: Some(Location {
            latitude: 52.5,
            longitude: 13.4,
        }),
    };
    check(geo(), Some(berlin), Some("DE, EU, [52.5, 13.4]"));
    check(geo(), None, Some("unknown"));
    check(Policy::priority(), Some(berlin), None);
}

#[test]
fn a_dead_end_is_told_too() {
    let world = World::new(Policy::priority().into(), &[1]);
    let (decision, choice) = chosen(&world, &Ask::new(RegionSet::EMPTY, world.now));
    let told = Explanation::new(&world.live.plan, RouteIdx(0), &decision, choice.as_ref())
        .unwrap()
        .to_string();
    assert!(
        told.contains("residency does not allow") && told.ends_with("no region is eligible"),
        "{told}"
    );
}

#[test]
fn a_region_that_closes_while_it_is_chosen_is_passed_over() {
    let world = World::new(latency(5), &[1, 1]);
    world.measure(&[10, 80]);
    let (flickering, ask, done) = (world.set(0), ask(&world), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flickering.endpoints[0].cell.set_health(Health::Unhealthy);
                flickering.endpoints[0].cell.set_health(Health::Healthy);
            }
        });
        let all_served = (0..50_000).all(|_| chosen(&world, &ask).1.is_some());
        done.store(true, Ordering::Relaxed);
        assert!(all_served, "the other region was open all the time");
    });
}

/// A world of two regions, the first one nearer, with these bounds of a region and of an endpoint.
fn bounded(endpoints: &[usize], region: Limits, endpoint: Limits) -> World {
    let world = World::changed(latency(5), endpoints, |upstream| {
        upstream.circuit_breaker = CircuitBreaker {
            endpoint,
            region,
            ejection: None,
        };
    });
    world.measure(&[10, 80]);
    world
}

fn requests(max: u32) -> Limits {
    Limits {
        max_requests: Some(max),
        ..Limits::default()
    }
}

/// Begins attempts of new requests until there is no place left; how many each region took, and why
/// the next one ends.
fn filled(world: &World) -> (Vec<InFlight>, [usize; 2], Termination) {
    let (mut guards, mut taken) = (Vec::new(), [0; 2]);
    loop {
        let (decision, choice) = chosen(world, &ask(world));
        let Some(choice) = choice else {
            return (guards, taken, decision.termination());
        };
        taken[choice.region.get()] += 1;
        guards.push(choice.begin(&world.live.upstreams[0]));
        assert!(guards.len() < 100, "nothing is ever full");
    }
}

#[test]
fn what_is_full_spills_and_what_is_all_full_says_so() {
    let none = Limits::default();
    let check = |endpoints: &[usize], region, endpoint, expected| {
        let world = bounded(endpoints, region, endpoint);
        let (guards, taken, end) = filled(&world);
        assert_eq!((taken, end), (expected, Termination::UpstreamFull));
        let (decision, _) = chosen(&world, &ask(&world));
        assert_eq!(why(&decision, 0), Some(Exclusion::Full));
        drop(guards);
        assert!(chosen(&world, &ask(&world)).1.is_some());
    };
    check(&[2, 1], requests(5), none, [5, 5]);
    check(&[2, 1], none, requests(5), [10, 5]);
    check(&[2, 1], requests(7), requests(5), [7, 5]);
}

#[test]
fn retries_have_a_bound_of_their_own() {
    let one = Limits {
        max_retries: Some(1),
        ..Limits::default()
    };
    for (region, endpoint) in [(one, Limits::default()), (Limits::default(), one)] {
        let world = bounded(&[1, 1], region, endpoint);
        let upstream = &world.live.upstreams[0];
        let mut again = ask(&world);
        again.follow(
            &next(Destination::OtherEndpoint, Scope::Global),
            RegionIdx(0),
            0,
        );
        let taken: Vec<_> = (0..2)
            .map(|_| chosen(&world, &again).1.expect("one a region"))
            .map(|choice| (choice.region.0, choice.begin(upstream)))
            .collect();
        assert_eq!((taken[0].0, taken[1].0), (0, 1));
        let (decision, none) = chosen(&world, &again);
        assert!(none.is_none());
        assert_eq!(decision.termination(), Termination::UpstreamFull);
        assert!(
            chosen(&world, &ask(&world)).1.is_some(),
            "first attempts go on"
        );
        let left = reach(world.live.upstream(UPSTREAM), &again, 0);
        assert!(left.full && !left.here && !left.again && !left.elsewhere);
        drop(taken);
        assert!(reach(world.live.upstream(UPSTREAM), &again, 0).here);
    }
}

fn stand(world: &World, region: usize, change: fn(&mut Standing)) {
    let mut standing = Standing::full(Health::Healthy);
    change(&mut standing);
    world.live.upstreams[0].regions[region]
        .cell
        .set_standing(standing);
}

#[test]
fn a_retry_that_was_to_stay_moves_on_when_the_region_falls_silent() {
    let world = World::new(latency(5), &[2, 2]);
    world.measure(&[10, 80]);
    let mut ask = ask(&world);
    ask.follow(
        &next(Destination::OtherEndpoint, Scope::Global),
        RegionIdx(0),
        0,
    );
    stand(&world, 0, |standing| standing.suspected = true);
    assert_eq!(chosen(&world, &ask).1.expect("open").region, RegionIdx(1));
    stand(&world, 1, |standing| standing.suspected = true);
    let choice = chosen(&world, &ask).1.expect("open");
    assert_eq!(
        (choice.region, choice.because),
        (RegionIdx(0), Because::Stay)
    );
}

/// Under `fail_open` what is down may be used, after what is not.
#[test]
fn a_retry_does_not_stay_where_all_is_down_as_long_as_something_is_well() {
    let mut steering = latency(5);
    steering.panic.fail_open = Some(0.9);
    let world = World::new(steering, &[2, 2]);
    world.measure(&[10, 80]);
    let mut ask = ask(&world);
    ask.follow(
        &next(Destination::OtherEndpoint, Scope::Global),
        RegionIdx(0),
        0,
    );
    let region = |at: usize| &world.live.upstreams[0].regions[at].cell;
    region(0).set_health(Health::Unhealthy);
    let (decision, choice) = chosen(&world, &ask);
    assert!(decision.panic);
    assert_eq!(choice.expect("open").region, RegionIdx(1));
    region(1).set_health(Health::Unhealthy);
    let choice = chosen(&world, &ask).1.expect("better than nothing");
    assert_eq!(
        (choice.region, choice.because),
        (RegionIdx(0), Because::Stay)
    );
}

#[test]
fn reach_tells_what_is_doubted() {
    let world = World::new(latency(5), &[2, 1, 1]);
    let check = |doubted, elsewhere| {
        let reach = reach(world.live.upstream(UPSTREAM), &ask(&world), 0);
        assert_eq!(
            (reach.doubted, reach.doubted_elsewhere),
            (doubted, elsewhere)
        );
    };
    check(false, false);
    stand(&world, 0, |standing| standing.suspected = true);
    check(true, false);
    stand(&world, 0, |standing| standing.probation = true);
    stand(&world, 1, |standing| standing.suspected = true);
    check(true, false);
    stand(&world, 2, |standing| standing.probation = true);
    check(true, true);
    stand(&world, 0, |standing| standing.health = Health::Unhealthy);
    check(true, true);
    stand(&world, 0, |standing| standing.dial = Dial::new(0.5));
    check(true, true);
    stand(&world, 0, |_| ());
    check(false, true);
    stand(&world, 1, |standing| standing.dial = Dial::new(0.5));
    check(false, false);
}

#[test]
fn a_waiting_attempt_should_leave_what_is_out_or_silent_if_there_is_better() {
    let world = World::new(latency(5), &[1, 1]);
    let mut ask = ask(&world);
    let check = |ask: &Ask, expected| {
        assert_eq!(
            should_leave(world.live.upstream(UPSTREAM), ask, 0),
            expected
        );
    };
    check(&ask, false);
    stand(&world, 0, |standing| standing.probation = true);
    check(&ask, false);
    stand(&world, 0, |standing| standing.suspected = true);
    check(&ask, true);
    stand(&world, 1, |standing| standing.suspected = true);
    check(&ask, false);
    stand(&world, 0, |standing| standing.health = Health::Unhealthy);
    check(&ask, false);
    stand(&world, 1, |standing| standing.dial = Dial::NONE);
    check(&ask, true);
    stand(&world, 1, |standing| standing.health = Health::Unhealthy);
    check(&ask, false);
    stand(&world, 1, |_| ());
    check(&ask, true);
    ask.within = [RegionIdx(0)].into_iter().collect();
    check(&ask, false);
}

#[test]
fn a_region_that_is_drained_at_once_is_left_for_one_that_is_well_and_has_room() {
    let world = bounded(&[1, 1], requests(1), Limits::default());
    let ask = ask(&world);
    let [home, other] = [0, 1].map(|at| &world.live.upstreams[0].regions[at].cell);
    let check = |expected| {
        assert_eq!(
            should_leave(world.live.upstream(UPSTREAM), &ask, 0),
            expected
        );
        let reach = reach(world.live.upstream(UPSTREAM), &ask, 0);
        (reach.elsewhere, reach.full_elsewhere)
    };
    home.set_drain(Drain::Soft);
    check(false);
    home.set_drain(Drain::Now);
    assert_eq!(check(true), (true, false));
    let under_way = InFlight::begin(world.set(1).endpoints[0].cell.clone(), other.clone());
    assert_eq!(check(false), (false, true), "it waits for room");
    drop(under_way);
    assert_eq!(check(true), (true, false));
    stand(&world, 1, |standing| standing.suspected = true);
    check(false);
    home.set_drain(Drain::No);
    stand(&world, 1, |_| ());
    check(false);
}

#[test]
fn no_retry_goes_where_it_cannot_end_in_time() {
    let world = World::new(latency(5), &[2, 1, 1]);
    let ms = Duration::from_millis;
    for (region, took) in [(0, 100), (1, 200), (2, 300)] {
        let cell = &world.live.upstreams[0].regions[region].cell;
        cell.observe_service(ms(took), world.now);
    }
    world.measure(&[1, 20, 90]);
    let check = |left: Option<u64>, reached: [bool; 3], late, ends| {
        let mut ask = ask(&world);
        ask.deadline = left.map(|left| world.now + ms(left));
        let (_, first) = chosen(&world, &ask);
        let first = first.expect("a first attempt goes anywhere");
        ask.tried(&first);
        let reach = reach(world.live.upstream(UPSTREAM), &ask, first.position);
        assert_eq!(
            [reach.here, reach.again, reach.elsewhere],
            reached,
            "{left:?}"
        );
        assert_eq!(reach.late, late, "{left:?}");
        let to = next(Destination::OtherRegion, Scope::Global);
        ask.follow(&to, first.region, first.position);
        let (decision, choice) = chosen(&world, &ask);
        assert_eq!(choice.map(|choice| choice.region), ends, "{left:?}");
        decision
    };
    let one = Some(RegionIdx(1));
    check(None, [true; 3], false, one);
    check(Some(300), [true; 3], false, one);
    let decision = check(Some(299), [true; 3], false, one);
    assert_eq!(why(&decision, 2), Some(Exclusion::TooSlow));
    check(Some(199), [true, true, false], false, None);
    let decision = check(Some(99), [false; 3], true, None);
    assert_eq!(decision.termination(), Termination::DeadlineExceeded);
    stand(&world, 0, |standing| standing.health = Health::Unhealthy);
    stand(&world, 1, |standing| standing.health = Health::Unhealthy);
    let mut ask = ask(&world);
    for (left, expected) in [(300, true), (299, false)] {
        ask.deadline = Some(world.now + ms(left));
        let leaves = should_leave(world.live.upstream(UPSTREAM), &ask, 0);
        assert_eq!(leaves, expected, "{left} ms");
    }
}

#[test]
fn a_region_that_was_left_is_gone_back_to_when_no_other_is_open() {
    let world = World::new(latency(5), &[1, 1, 1]);
    world.measure(&[10, 80, 160]);
    let mut ask = ask(&world);
    let mut leave = |from: u8| {
        let next = next(Destination::OtherRegion, Scope::Global);
        let elsewhere = reach(world.live.upstream(UPSTREAM), &ask, from).elsewhere;
        ask.follow(&next, RegionIdx(from), from);
        let to = chosen(&world, &ask).1.map(|choice| choice.region.0);
        (elsewhere, to)
    };
    assert_eq!(leave(0), (true, Some(1)));
    assert_eq!(
        leave(1),
        (true, Some(2)),
        "while there is another, it is not"
    );
    assert_eq!(leave(2), (true, Some(0)));
    world.live.upstreams[0].regions[0]
        .cell
        .set_health(Health::Unhealthy);
    assert_eq!(leave(1), (true, Some(2)));
    assert_eq!(
        leave(2),
        (true, Some(1)),
        "never to the one that was left last"
    );
}
