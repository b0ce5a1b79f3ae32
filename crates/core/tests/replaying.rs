//! Every decision that is recorded can be made again, bit for bit, whatever became of the world: for
//! each policy of regions and endpoints, for affinity, pins, isolation, panic, retries.

mod support;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use http::{HeaderName, Method, StatusCode};
use proptest::prelude::*;
use tidegate_core::balance;
use tidegate_core::cell::{Allotment, InFlight, Outcome};
use tidegate_core::decision::{Pin, PinnedBy};
use tidegate_core::plan::{
    Abort, Actions, Affinity, AffinityBy, AffinityScope, Balance, Delay, Fault, HashKey, Isolation,
    Limits, Mirror, Plan, Prequal, Redirect, RedirectTo, Reply, Split, SplitTarget, Upstream,
    UrlParts, WhenGone,
};
use tidegate_core::record::{Drawn, Early, Facts, Record, Replayed, look, replay};
use tidegate_core::route::RouteMatch;
use tidegate_core::{
    Ask, Dial, EndpointSet, Health, Lot, RegionIdx, RegionSet, Snapshot, Standing, Termination,
    UpstreamIdx, choose,
};

use support::{STEERINGS, UPSTREAM, World, asked, latency, own, policies, record, steered_by};

const HEALTHS: [Health; 4] = [
    Health::Healthy,
    Health::Degraded,
    Health::Unhealthy,
    Health::Unknown,
];

fn prequal() -> Balance {
    Balance::Prequal(Prequal {
        path: "/".into(),
        rate: 3.0,
        pool_size: 16,
        max_age: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        hot_quantile: 0.84,
    })
}

/// Turns a world over: everything that threads change while decisions fall.
fn stir(world: &World, rng: &mut Rng) -> Vec<InFlight> {
    let mut guards = Vec::new();
    for region in &world.live.upstreams[0].regions {
        let cell = &region.cell;
        cell.set_standing(Standing {
            health: HEALTHS[rng.usize(..HEALTHS.len())],
            suspected: rng.u8(..8) == 0,
            probation: rng.u8(..8) == 0,
            dial: Dial::new(if rng.bool() { 1.0 } else { rng.f64() }),
        });
        cell.set_draining(rng.u8(..12) == 0);
        cell.set_dial((rng.u8(..6) == 0).then(|| Dial::new(rng.f64())));
        cell.set_allotment(Allotment {
            take: Dial::new(rng.f64() * 1.5),
            spare: rng.bool().then(|| rng.f32() * 500.0),
            latency: rng
                .bool()
                .then(|| Duration::from_micros(rng.u64(..300_000))),
            healthy: Dial::new(rng.f64()),
            degraded: Dial::new(rng.f64()),
            offered: rng.f32() * 1000.0,
        });
        let set = region.endpoints.load_full();
        for (at, endpoint) in set.endpoints.iter().enumerate() {
            endpoint
                .cell
                .set_health(HEALTHS[rng.usize(..HEALTHS.len())]);
            endpoint.cell.set_ejected(rng.u8(..8) == 0);
            endpoint
                .cell
                .set_share(Dial::new(if rng.bool() { 1.0 } else { rng.f64() }));
            let took = Duration::from_micros(rng.u64(..200_000));
            endpoint.cell.record(Outcome::Answered(took), world.now);
            for _ in 0..rng.usize(..4) {
                guards.push(InFlight::begin(endpoint.cell.clone(), cell.clone()));
            }
            let told = balance::prequal::Told {
                in_flight: rng.bool().then(|| rng.u32(..20)),
                latency: rng
                    .bool()
                    .then(|| Duration::from_micros(rng.u64(..200_000))),
            };
            set.probed(at, rng.bool().then_some(told), rng.f64(), world.now);
        }
    }
    guards
}

/// An ask with some of all that can narrow it.
fn narrowed(name: &str, world: &World, rng: &mut Rng) -> Ask {
    let mut ask = asked(name, world, rng.u64(..));
    let regions = world.live.upstreams[0].regions.len() as u8;
    let region = RegionIdx(rng.u8(..regions));
    if rng.u8(..3) == 0 {
        ask.allowed = (0..regions).map(RegionIdx).filter(|_| rng.bool()).collect();
    }
    ask.hash = rng.bool().then(|| rng.u64(..));
    ask.repeatable = rng.bool();
    ask.isolation = [Isolation::Off, Isolation::Nearest, Isolation::Strict][rng.usize(..3)];
    if rng.u8(..3) == 0 {
        let set = world.set(region.get());
        let address = &set.endpoints[rng.usize(..set.endpoints.len())].address;
        ask.pin = Some(Pin {
            region,
            endpoint: rng.bool().then(|| EndpointSet::name_of(address)),
            by: [
                PinnedBy::Override,
                PinnedBy::Affinity(WhenGone::Rebind),
                PinnedBy::Affinity(WhenGone::Temporary),
                PinnedBy::Affinity(WhenGone::Strict),
            ][rng.usize(..4)],
        });
    }
    ask.deadline = rng
        .bool()
        .then(|| world.now + Duration::from_millis(rng.u64(..500)));
    ask
}

fn any_balance(rng: &mut Rng) -> Balance {
    let mut all = policies().to_vec();
    all.push(prequal());
    all.swap_remove(rng.usize(..all.len()))
}

/// A world of some steering and balancing policy, zones and bounds or not.
fn world(name: &str, rng: &mut Rng) -> World {
    let (endpoints, balance) = (rng.usize(1..7), any_balance(rng));
    let (zones, bounds, bound) = (rng.bool(), rng.u8(..3) == 0, rng.u32(1..6));
    let affinity = (rng.u8(..3) == 0).then(|| Affinity {
        by: AffinityBy::Hash([].into()),
        scope: AffinityScope::Endpoint,
        when_gone: WhenGone::Rebind,
    });
    steered_by(
        name,
        endpoints,
        vec![RouteMatch::default()],
        |plan: &mut Plan| {
            let upstream = own(&mut plan.upstreams[0]);
            upstream.balance = balance;
            upstream.steering.affinity = affinity;
            if bounds {
                upstream.circuit_breaker.endpoint = Limits {
                    max_requests: Some(bound),
                    max_retries: Some(1),
                    ..Limits::default()
                };
            }
            for region in &mut upstream.regions {
                region.zones = if zones {
                    ["a".into(), "b".into()].into()
                } else {
                    Box::default()
                };
                for (at, endpoint) in region.endpoints.iter_mut().enumerate() {
                    endpoint.weight = 1 + at as u32 % 3;
                    endpoint.zone = Some(if at % 2 == 0 { "b".into() } else { "a".into() });
                }
            }
        },
    )
}

/// Records some attempts of one request, each narrowed by the last.
fn recorded(name: &str, seed: u64) -> (World, Record, Vec<InFlight>) {
    let mut rng = Rng::with_seed(seed);
    let world = world(name, &mut rng);
    let mut guards = stir(&world, &mut rng);
    let mut ask = narrowed(name, &world, &mut rng);
    let mut decisions = Vec::new();
    for _ in 0..3 {
        let upstream = world.live.upstream(UPSTREAM);
        let mut same_chance = Rng::with_seed(rng.get_seed());
        let plain = choose(upstream, &ask, &mut same_chance);
        let (decision, choice, looked) = look(upstream, &ask, &mut rng);
        assert_eq!(plain.0, decision, "{name} {seed}: noting changes nothing");
        let place = |choice: &tidegate_core::Choice| (choice.region, choice.at, choice.because);
        assert_eq!(plain.1.as_ref().map(place), choice.as_ref().map(place));
        assert_eq!(same_chance.get_seed(), rng.get_seed(), "nor chance");
        decisions.push(looked);
        let Some(choice) = choice else { break };
        ask.tried(&choice);
        guards.push(choice.begin(upstream.1));
        ask.turn = tidegate_core::limits::Turn::Retry;
        if rng.bool() {
            ask.tried_regions.insert(choice.region);
            ask.left = Some(choice.region);
        } else {
            ask.stay = Some(choice.region);
        }
        guards.extend(stir(&world, &mut rng));
    }
    let record = record(&world, decisions);
    (world, record, guards)
}

fn story_of(record: &Record, replayed: &Replayed) -> String {
    format!("{record}\n\n{}", replayed.story(record, 1))
}

/// A plan whose one route leaves to chance what it can.
fn chancy(rng: &mut Rng) -> World {
    World::planned(latency(10), &[1, 1], |plan| {
        let named = |name: &str| Upstream {
            name: name.into(),
            ..support::upstream(latency(10), &[1, 1])
        };
        let others = ["canary", "shadow"].map(|name| Arc::new(named(name)));
        let [canary, shadow] = others;
        plan.upstreams = [plan.upstreams[0].clone(), canary, shadow].into();
        plan.content_hash = rng.u64(..).to_string().into();
        let target = |at, weight| SplitTarget {
            upstream: UpstreamIdx(at),
            weight,
        };
        let targets = [target(0, rng.u32(..10)), target(1, 1 + rng.u32(..10))];
        let by_cookie: Box<[_]> = [HashKey::Cookie("user".into())].into();
        let route = own(&mut plan.routes[0]);
        route.split = Some(Box::new(Split {
            targets: targets.into(),
            hash_on: if rng.bool() { by_cookie } else { [].into() },
        }));
        let mut share = || Dial::new(rng.f64());
        route.mirror = Some(Mirror {
            upstream: UpstreamIdx(2),
            share: share(),
            max_body: 1,
        });
        let fault = Fault {
            delay: Some(Delay {
                time: Duration::from_millis(5),
                share: share(),
            }),
            abort: Some(Abort {
                status: StatusCode::SERVICE_UNAVAILABLE,
                share: share(),
            }),
        };
        route.actions = Some(Arc::new(Actions {
            fault,
            ..Actions::default()
        }));
    })
}

/// What chance makes of a request, as it is served.
#[derive(Debug, PartialEq)]
struct Lots {
    upstream: Arc<str>,
    waits: bool,
    aborted: bool,
    copied: bool,
}

fn lots(plan: &Plan, lot: Lot, request: &Snapshot) -> Lots {
    let route = &plan.routes[0];
    let upstream = plan.upstream_for(route, request, || lot.split());
    let injected = route.actions.as_ref().map(|all| all.fault.draw(lot));
    let injected = injected.unwrap_or_default();
    Lots {
        upstream: plan.upstream(upstream.expect("it has one")).name.clone(),
        waits: injected.delay.is_some(),
        aborted: injected.abort.is_some(),
        copied: route
            .mirror
            .is_some_and(|mirror| mirror.share.passes(lot.mirror())),
    }
}

/// A request with or without the cookie that splits hash, which no record keeps.
fn visitor(rng: &mut Rng) -> Snapshot {
    let request = Snapshot::new(Method::GET, "shop.example.com", "/");
    let user = format!("user={}", rng.u64(..));
    let fields = rng
        .bool()
        .then(|| (HeaderName::from_static("cookie"), user));
    request.with_fields(fields)
}

/// What is recorded of it.
fn drawn(world: &World, lot: Lot, request: &Snapshot) -> Record {
    let served = lots(&world.live.plan, lot, request);
    let mut record = record(world, Vec::new());
    record.facts = Some(Facts::of(request));
    record.drawn = Drawn::of(lot, Some(&world.live.plan.routes[0]), request, true);
    let through = record.way.as_mut().and_then(|way| way.through.as_mut());
    through.expect("it is sent on").upstream = served.upstream;
    if served.aborted {
        record.end.reason = Termination::FaultInjected;
    }
    record
}

proptest! {
    #[test]
    fn what_was_drawn_is_drawn_again(seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let (world, other) = (chancy(&mut rng), chancy(&mut rng));
        let (lot, request) = (Lot::draw(&mut rng), visitor(&mut rng));
        let record = drawn(&world, lot, &request);
        let again = replay(&record, &world.live.plan);
        prop_assert!(again.same && again.same_plan, "{}", story_of(&record, &again));
        prop_assert!(again.uncertain.is_empty(), "{again:?}");

        let then = lots(&world.live.plan, lot, &request);
        let now = lots(&other.live.plan, lot, &request);
        let otherwise = replay(&record, &other.live.plan);
        prop_assert!(!otherwise.same_plan);
        if otherwise.uncertain.iter().any(|one| one.contains("cookie")) {
            let hashed = record.drawn.split.as_ref().is_some_and(|number| number.of.is_some());
            prop_assert!(!hashed, "what it hashed is known: {otherwise:?}");
            return Ok(());
        }
        let outcome = otherwise.outcome.clone().unwrap_or_default();
        let expected = match now.aborted {
            true => "is answered 503".to_owned(),
            false => format!("upstream `{}`", now.upstream),
        };
        prop_assert!(outcome.contains(&expected), "{expected}: {}", story_of(&record, &otherwise));
        prop_assert_eq!(otherwise.same, then == now || then.aborted && now.aborted, "{}", story_of(&record, &otherwise));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_recorded_is_decided_again_bit_for_bit(seed: u64) {
        for name in STEERINGS {
            let (world, record, guards) = recorded(name, seed);
            drop(guards);
            let replayed = replay(&record, &world.live.plan);
            prop_assert!(replayed.same && replayed.same_plan, "{name}\n{}", story_of(&record, &replayed));
            prop_assert!(replayed.decisions.iter().all(|one| one.missing.is_none()));
            prop_assert_eq!(replayed.decisions.len(), record.decisions.len());
        }
    }
}

/// What is made again comes from the record: another record comes to another end.
#[test]
fn a_record_that_was_tampered_with_is_found_out() {
    let mut found_out = 0;
    for seed in 0..200 {
        let (world, mut record, _guards) = recorded("latency", seed);
        let looked = &mut record.decisions[0];
        looked.seed ^= 1 << 40;
        let Some(inputs) = &mut looked.inputs else {
            panic!("it was recorded in full")
        };
        inputs.rows.reverse();
        for (position, row) in (0..).zip(&mut inputs.rows) {
            row.position = position;
        }
        found_out += u32::from(!replay(&record, &world.live.plan).same);
    }
    assert!(found_out > 100, "{found_out} of 200");
}

/// Eight healthy regions, the first the nearest; a request, and a plan with a change.
fn against(change: impl FnOnce(&mut Plan)) -> Replayed {
    let one_route = || vec![RouteMatch::default()];
    let world = steered_by("latency", 3, one_route(), |_| {});
    let upstream = world.live.upstream(UPSTREAM);
    let ask = Ask::new(RegionSet::ALL, world.now);
    let (_, _, looked) = look((upstream.0, upstream.1), &ask, &mut Rng::with_seed(7));
    let record = record(&world, vec![looked]);
    let other = steered_by("latency", 3, one_route(), |plan| {
        plan.content_hash = "1".into();
        change(plan);
    });
    let replayed = replay(&record, &other.live.plan);
    assert!(!replayed.same_plan);
    replayed
}

#[test]
fn another_plan_is_asked_of_what_was_observed() {
    let same = against(|_| {});
    assert!(same.same && same.uncertain.is_empty(), "{same:?}");

    let check = |change: fn(&mut Plan), expected: &[&str]| {
        let replayed = against(change);
        let decided = replayed.decisions.iter().flat_map(|one| &one.differences);
        let differences: Vec<_> = replayed.differences.iter().chain(decided).collect();
        for part in expected {
            let found = differences
                .iter()
                .any(|difference| difference.contains(part));
            assert!(found && !replayed.same, "{part} in {replayed:?}");
        }
    };
    check(
        |plan| own(&mut plan.routes[0]).allowed = RegionSet::from_iter([RegionIdx(4)]),
        &["r0 is left out: residency", "goes to r4"],
    );
    check(
        |plan| own(&mut plan.upstreams[0]).regions[0].dial = Dial::NONE,
        &["r0 is left out: dialed to 0"],
    );
    check(
        |plan| own(&mut plan.regions)[0].name = "new".into(),
        &["new"],
    );
    check(
        |plan| own(&mut plan.routes[0]).name = "another".into(),
        &["route `another` instead of `route-0`"],
    );
    check(
        |plan| {
            own(&mut plan.upstreams[0]).steering = tidegate_core::plan::Policy::weighted().into()
        },
        &["candidates"],
    );
}

/// What is drawn again comes from the record: another lot comes to another end.
#[test]
fn a_lot_that_was_tampered_with_is_found_out() {
    let mut found_out = 0;
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let (world, lot) = (chancy(&mut rng), Lot::draw(&mut rng));
        let request = Snapshot::new(Method::GET, "shop.example.com", "/");
        let mut record = drawn(&world, lot, &request);
        record.drawn.lot = Lot::new(lot.number() ^ 1 << 40);
        let replayed = replay(&record, &world.live.plan);
        found_out += u32::from(!replayed.same);
    }
    assert!(found_out > 50, "{found_out} of 200");
}

/// A plan whose one route sends its clients elsewhere, or on if there is no status.
fn moved(status: Option<u16>) -> World {
    World::planned(latency(10), &[1], |plan| {
        plan.content_hash = format!("{status:?}").into();
        let body = &mut own(&mut plan.upstreams[0]).body;
        body.max_bytes = Some(100);
        let Some(status) = status else { return };
        let route = own(&mut plan.routes[0]);
        route.upstream = None;
        let redirect = Redirect {
            status: StatusCode::from_u16(status).expect("a status"),
            to: RedirectTo::Parts(UrlParts {
                scheme: Some("https"),
                ..UrlParts::default()
            }),
            keep_query: true,
        };
        route.actions = Some(Arc::new(Actions {
            reply: Some(Reply::Redirect(redirect)),
            ..Actions::default()
        }));
    })
}

/// The record of a request that no region was looked at for.
fn early(world: &World, request: &Snapshot, reason: Termination) -> Record {
    let mut record = record(world, Vec::new());
    let facts = Facts::of(request);
    record.early = Early::of(&world.live.plan.routes[0], &facts);
    record.facts = Some(facts);
    record.end.reason = reason;
    if let Some(way) = &mut record.way {
        way.through = None;
    }
    record
}

#[test]
fn a_request_that_its_route_answered_is_answered_again() {
    let (world, otherwise, sends) = (moved(Some(308)), moved(Some(302)), moved(None));
    let request = Snapshot::new(Method::GET, "shop.example.com", "/a?b=c&token=hush");
    let record = early(&world, &request, Termination::Redirected);
    let story = record.to_string();
    let answer = "308, to https://shop.example.com/a?b=c&token=~";
    assert!(story.contains(answer) && !story.contains("hush"), "{story}");
    assert!(!record.failed());

    let check = |world: &World, same: bool, outcome: &str| {
        let replayed = replay(&record, &world.live.plan);
        assert_eq!(replayed.same, same, "{replayed:?}");
        let told = replayed.story(&record, 2);
        assert!(told.contains(outcome), "{outcome} in\n{told}");
        replayed
    };
    check(&world, true, "route `route-0` answers by itself: 308");
    check(&otherwise, false, "answers by itself: 302");
    let sent = check(
        &sends,
        false,
        "it goes to upstream `shop` by route `route-0`",
    );
    assert!(sent.uncertain[0].contains("to which region"), "{sent:?}");

    let mut tampered = record;
    let facts = Snapshot::new(Method::GET, "shop.example.com", "/z");
    tampered.facts = Some(Facts::of(&facts));
    let replayed = replay(&tampered, &world.live.plan);
    assert!(!replayed.same && replayed.same_plan, "{replayed:?}");
}

#[test]
fn a_request_that_was_refused_is_refused_again() {
    let world = moved(None);
    let post = |length: &str| {
        let fields = [(HeaderName::from_static("content-length"), length.to_owned())];
        Snapshot::new(Method::POST, "shop.example.com", "/").with_fields(fields)
    };
    let mut record = early(&world, &post("101"), Termination::BodyTooLarge);
    record.early = Some(Early::Refused("too long".into()));
    let again = replay(&record, &world.live.plan);
    assert!(again.same && again.uncertain.is_empty(), "{again:?}");
    let answers = replay(&record, &moved(Some(308)).live.plan);
    assert!(!answers.same, "{answers:?}");
    record.facts = Some(Facts::of(&post("100")));
    let again = replay(&record, &world.live.plan);
    assert!(
        again.same && again.uncertain.len() == 1,
        "the cause is not known: {again:?}"
    );
    record.facts = None;
    let unreadable = replay(&record, &world.live.plan);
    assert!(unreadable.same && unreadable.uncertain.is_empty());
}

#[test]
fn a_request_without_a_route_is_tried_again() {
    let world = moved(None);
    let request = Snapshot::new(Method::GET, "shop.example.com", "/");
    let mut record = early(&world, &request, Termination::NoRoute);
    (record.way, record.early) = (None, None);
    let now = replay(&record, &world.live.plan);
    assert!(!now.same, "{now:?}");
    assert_eq!(
        now.differences,
        ["it goes to upstream `shop` by route `route-0`; then: no route matches"]
    );
    let none = World::with_routes(
        latency(10),
        &[1],
        vec![RouteMatch {
            host: Some("other.example".into()),
            ..RouteMatch::default()
        }],
    );
    let still = replay(&record, &none.live.plan);
    assert!(still.same && still.outcome.as_deref() == Some("no route matches"));
    assert!(record.to_string().contains("route     none matches"));
}

/// What a person has to know who asks another plan.
#[test]
fn what_cannot_be_known_is_said() {
    let replayed = against(|plan| own(&mut plan.regions)[0].name = "new".into());
    assert_eq!(
        replayed.uncertain,
        ["nothing was known of new then: it counts as new"]
    );
    let (world, mut record, _guards) = recorded("latency", 1);
    record.decisions[0].inputs = None;
    let replayed = replay(&record, &world.live.plan);
    assert!(replayed.same && replayed.decisions[0].missing.is_some());
    assert!(record.to_string().contains("was not kept"));
}

/// What a record takes is bounded; `--nocapture` shows it.
#[test]
fn a_record_of_usual_size_is_small() {
    let world = steered_by("latency", 3, vec![RouteMatch::default()], |_| {});
    let upstream = world.live.upstream(UPSTREAM);
    let ask = Ask::new(RegionSet::ALL, world.now);
    let mut bytes = Vec::new();
    let mut decisions = Vec::new();
    for _ in 0..3 {
        let (_, _, looked) = look((upstream.0, upstream.1), &ask, &mut Rng::with_seed(7));
        decisions.push(looked);
        bytes.push(record(&world, decisions.clone()).bytes());
    }
    println!("of eight regions, with 1, 2, 3 decisions: {bytes:?}");
    assert!(
        bytes[1] < tidegate_core::record::USUAL_BYTES + 2048,
        "{bytes:?}"
    );
}
