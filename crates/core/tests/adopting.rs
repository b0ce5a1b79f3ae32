//! What a new plan has in common with the one before it is the same object, and what holds a
//! generation is told.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::pins::{Hold, PlanHolders, UnderWay};
use tidegate_core::plan::{Plan, Policy};
use tidegate_core::route::{PathMatch, RouteMatch};
use tidegate_core::{Board, Generation, PlanHandle, UpstreamIdx};

use support::own;

fn plan() -> Plan {
    let to = |path: &str| RouteMatch {
        path: Some(PathMatch::Prefix(path.into())),
        ..RouteMatch::default()
    };
    let routes = ["/a", "/b", "/c"].map(to).into();
    support::plan(Policy::priority().into(), &[2, 2], routes)
}

/// Which routes and upstreams of the changed plan are those of the one before.
fn adopted(change: impl FnOnce(&mut Plan)) -> (Vec<bool>, Vec<bool>) {
    let (before, mut after) = (plan(), plan());
    change(&mut after);
    after.adopt(&before);
    let known = |name: &Arc<str>| before.routes.iter().find(|route| route.name == *name);
    let routes = after.routes.iter().map(|route| {
        let known = known(&route.name);
        known.is_some_and(|known| Arc::ptr_eq(known, route))
    });
    let upstreams = after.upstreams.iter();
    let same = |one: &_| before.upstreams.iter().any(|known| Arc::ptr_eq(known, one));
    (routes.collect(), upstreams.map(same).collect())
}

#[test]
fn what_is_equal_and_means_the_same_is_adopted() {
    let check = |change: fn(&mut Plan), routes: [bool; 3], upstream: bool, what: &str| {
        let expected = (routes.to_vec(), vec![upstream]);
        assert_eq!(adopted(change), expected, "{what}");
    };
    check(|_| {}, [true; 3], true, "nothing changed");
    check(
        |plan| own(&mut plan.routes[1]).timeout = Duration::from_secs(7),
        [true, false, true],
        true,
        "a route changed",
    );
    check(
        |plan| own(&mut plan.upstreams[0]).retry.attempts += 1,
        [true; 3],
        false,
        "the upstream changed, which routes know by its position",
    );
    check(
        |plan| plan.routes.reverse(),
        [true; 3],
        true,
        "routes are known by their names",
    );
    check(
        |plan| own(&mut plan.regions)[1].name = "elsewhere".into(),
        [false; 3],
        false,
        "a position means another region",
    );
    check(
        |plan| own(&mut plan.upstreams[0]).name = "other".into(),
        [false; 3],
        false,
        "a position means another upstream",
    );
    check(
        |plan| own(&mut plan.routes[2]).name = "new".into(),
        [true, true, false],
        true,
        "another name is another route",
    );
}

#[test]
fn a_position_that_means_another_upstream_is_seen_in_splits_and_mirrors() {
    let mirrored = |plan: &mut Plan, name: &str| {
        let mut second = plan_of_one();
        own(&mut second.upstreams[0]).name = name.into();
        let second = second.upstreams[0].clone();
        plan.upstreams = [plan.upstreams[0].clone(), second].into();
        own(&mut plan.routes[0]).mirror = Some(tidegate_core::plan::Mirror {
            upstream: UpstreamIdx(1),
            share: tidegate_core::Dial::FULL,
            max_body: 1,
        });
    };
    let (mut before, mut same, mut other) = (plan(), plan(), plan());
    mirrored(&mut before, "second");
    mirrored(&mut same, "second");
    mirrored(&mut other, "third");
    same.adopt(&before);
    other.adopt(&before);
    assert!(Arc::ptr_eq(&same.routes[0], &before.routes[0]));
    assert!(!Arc::ptr_eq(&other.routes[0], &before.routes[0]));
    assert!(Arc::ptr_eq(&other.routes[1], &before.routes[1]));
}

fn plan_of_one() -> Plan {
    support::plan(Policy::priority().into(), &[2, 2], Vec::new())
}

#[test]
fn a_generation_is_told_as_long_as_something_holds_it() {
    let (handle, board) = (PlanHandle::new(), Board::new(Instant::now()));
    let first = handle.activate(plan(), &board);
    let pins = first.holders.join();
    pins.keep(true);
    pins.route_held(100);
    pins.begin(Hold::Request);
    let told = handle.held().remove(0);
    assert!(told.whole && told.plan_bytes > 0);
    // This test holds it beside the handle, one of the two for the worker.
    let (workers, others) = (1, 1);
    assert_eq!(told.holders, PlanHolders { workers, others });
    assert_eq!((told.routes, told.route_bytes), (1, 100));

    handle.activate(plan(), &board);
    pins.turn(Hold::Request, Hold::Tunnel);
    pins.keep(false);
    drop(first);
    let told = handle.held();
    let numbers: Vec<_> = told.iter().map(|one| one.generation).collect();
    assert_eq!(numbers, [Generation(1), Generation(2)]);
    assert!(!told[0].whole && told[0].plan_bytes == 0);
    let tunnels = UnderWay {
        tunnels: 1,
        ..UnderWay::default()
    };
    assert_eq!((told[0].under_way, tunnels.total()), (tunnels, 1));

    pins.end(Hold::Tunnel);
    pins.route_let_go(100);
    assert_eq!(handle.held().len(), 1);
    handle.activate(plan(), &board);
    assert_eq!(handle.held().len(), 1, "the second went with its handle");
}
