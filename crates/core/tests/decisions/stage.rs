//! A plan beside the one that serves: bound without a trace, serving a part, then whole or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use tidegate_core::ids::Generation;
use tidegate_core::plan::{EndpointSpec, Hedge, HedgeAfter, HedgeTo, Plan};
use tidegate_core::route::{PathMatch, RouteMatch};
use tidegate_core::{Board, Dial, InvalidStage, Live, Part, PlanHandle, Snapshot};

use crate::support::{latency, own, plan};

/// Two routes, `/a` and everything, and this many endpoints per region.
fn wanted(endpoints: &[usize]) -> Plan {
    let under_a = RouteMatch {
        path: Some(PathMatch::Prefix("/a".into())),
        ..RouteMatch::default()
    };
    plan(latency(5), endpoints, vec![under_a, RouteMatch::default()])
}

fn hedged(mut plan: Plan, budget: f64) -> Plan {
    own(&mut plan.routes[0]).hedge = Some(Hedge {
        after: HedgeAfter::Fixed(Duration::from_millis(1)),
        budget,
        to: HedgeTo::Endpoint,
    });
    plan
}

/// A handle that serves generation 1, on its board.
fn serving(plan: Plan) -> (PlanHandle, Board) {
    let (handle, board) = (PlanHandle::new(), Board::new(Instant::now()));
    handle.activate(plan, &board);
    (handle, board)
}

fn share(part: f64) -> Part {
    Part::Share(Dial::new(part))
}

/// The number of the plan that a connection of this key gets.
fn under(handle: &PlanHandle, key: u64) -> u64 {
    let live = handle.load(key);
    live.as_ref().map_or(0, |live| live.generation.0)
}

#[test]
fn what_is_bound_beside_leaves_no_trace() {
    let (handle, board) = serving(hedged(wanted(&[2, 1]), 0.0));
    let old = handle.newest().expect("it serves");
    let mut next = hedged(wanted(&[3, 1]), 1.0);
    own(&mut next.upstreams[0]).retry.budget = 1.0;
    let sets = |live: &Live| -> Vec<_> {
        let regions = live.upstreams[0].regions.iter();
        regions.map(|it| it.endpoints.load_full()).collect()
    };
    let before = sets(&old);
    let new = Live::beside(Arc::new(next), &board, Generation(7));
    let after = sets(&old);
    let same = before.iter().zip(&after).all(|(a, b)| Arc::ptr_eq(a, b));
    assert!(same, "the serving sets are the same objects");
    assert_eq!(sets(&new)[0].endpoints.len(), 3);
    let slot = |live: &Live, at: usize| live.upstreams[0].regions[at].endpoints.clone();
    assert!(!Arc::ptr_eq(&slot(&old, 0), &slot(&new, 0)));
    assert!(Arc::ptr_eq(&slot(&old, 1), &slot(&new, 1)), "no difference");
    let cell = |live: &Live| live.upstreams[0].regions[0].cell.clone();
    assert!(Arc::ptr_eq(&cell(&old), &cell(&new)));
    let endpoint = |live: &Live| slot(live, 0).load().endpoints[0].cell.clone();
    assert!(Arc::ptr_eq(&endpoint(&old), &endpoint(&new)));
    let hedges = old.hedge(tidegate_core::RouteIdx(0)).expect("it hedges");
    assert!(!hedges.withdraw(board.origin()), "its purse is still shut");
}

#[test]
fn what_serves_whole_is_what_was_staged() {
    let (handle, board) = serving(hedged(wanted(&[2, 1]), 0.0));
    let next = Arc::new(hedged(wanted(&[3, 1]), 1.0));
    let stage = handle.stage_plan(next, share(0.5), &board);
    let staged = stage.expect("a good stage").live.clone();
    assert_eq!(staged.generation, Generation(2));
    assert!(handle.serves(Generation(1)) && !handle.serves(Generation(2)));
    let whole = handle.promote(&board).expect("there is a stage");
    assert!(
        Arc::ptr_eq(&whole, &staged),
        "workers keep what they made of it"
    );
    assert!(!handle.is_staged() && handle.stage().is_none());
    assert!(handle.serves(Generation(2)) && !handle.serves(Generation(1)));
    assert!((0..100).all(|key| under(&handle, key) == 2));
    let slot = whole.upstreams[0].regions[0].endpoints.clone();
    assert!(Arc::ptr_eq(&slot, &board.slot("shop", "r0")));
    assert_eq!(slot.load().endpoints.len(), 3);
    let hedges = whole.hedge(tidegate_core::RouteIdx(0)).expect("it hedges");
    assert!(
        hedges.withdraw(board.origin()),
        "its purse is as it wants it"
    );
    let next = handle.activate(wanted(&[3, 1]), &board);
    assert!(Arc::ptr_eq(&slot, &next.upstreams[0].regions[0].endpoints));
    assert!(handle.promote(&board).is_none() && handle.abandon().is_none());
}

#[test]
fn a_new_service_has_its_purses_from_the_beginning() {
    let (handle, board) = serving(wanted(&[1]));
    let mut next = wanted(&[1]);
    let upstream = own(&mut next.upstreams[0]);
    upstream.name = "new".into();
    upstream.retry.budget = 1.0;
    let stage = handle.stage_plan(Arc::new(next), share(1.0), &board);
    let budget = stage.expect("a good stage").live.upstreams[0]
        .budget
        .clone();
    let purse = tidegate_core::budget::Purse::InRegion;
    assert!(budget.withdraw(purse, board.origin()));
}

#[test]
fn a_share_is_kept_and_connections_stay() {
    let (handle, board) = serving(wanted(&[1]));
    let keys = || (0..20_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    assert!(keys().all(|key| under(&handle, key) == 1));
    let stage = handle.stage_plan(Arc::new(wanted(&[1])), share(0.1), &board);
    stage.expect("a good stage");
    let mut staged: Vec<bool> = vec![false; 20_000];
    for part in [0.1, 0.5, 1.0] {
        handle.restage(share(part)).expect("a good part");
        let now: Vec<bool> = keys().map(|key| under(&handle, key) == 2).collect();
        let count = now.iter().filter(|new| **new).count() as f64;
        let off = (count - 20_000.0 * part).abs();
        assert!(off < 5.0 * (20_000.0 * part).sqrt(), "{part}: {count}");
        let back = staged.iter().zip(&now).filter(|(was, is)| **was && !**is);
        assert_eq!(back.count(), 0, "who went over at {part} goes back");
        staged = now;
    }
    let stage = handle.abandon().expect("there was one");
    assert_eq!(stage.generation(), Generation(2));
    assert!(keys().all(|key| under(&handle, key) == 1));
    assert_eq!(
        handle.activate(wanted(&[1]), &board).generation,
        Generation(3)
    );
}

#[test]
fn routes_are_those_of_the_staged_plan() {
    let (handle, board) = serving(wanted(&[1]));
    let by = |names: &[&str]| Part::Routes(names.iter().map(|&name| name.into()).collect());
    let next = Arc::new(wanted(&[1]));
    let refused = |part, why| {
        let stage = handle.stage_plan(next.clone(), part, &board);
        assert_eq!(stage.expect_err("a bad part"), why);
        assert!(!handle.is_staged());
    };
    refused(by(&[]), InvalidStage::NoRoute);
    refused(
        by(&["route-9"]),
        InvalidStage::UnknownRoute("route-9".into()),
    );
    let stage = handle.stage_plan(next.clone(), by(&["route-0"]), &board);
    let stage = stage.expect("a good stage");
    assert_eq!(stage.generation(), Generation(2), "refusals cost no number");
    let takes = |path: &str| stage.takes(7, &Snapshot::new(Method::GET, "a", path));
    assert!(takes("/a") && takes("/a/b") && !takes("/b"));
    assert!(
        (0..100).all(|key| under(&handle, key) == 1),
        "no connection"
    );
}

#[test]
fn nothing_can_be_staged_beside_nothing() {
    let (handle, board) = (PlanHandle::new(), Board::new(Instant::now()));
    let stage = handle.stage_plan(Arc::new(wanted(&[1])), share(0.5), &board);
    assert_eq!(stage.expect_err("no"), InvalidStage::NothingServes);
    assert!(handle.restage(share(0.5)).expect("no part").is_none());
    assert!(handle.alive().is_empty());
}

#[test]
fn an_activation_ends_a_stage() {
    let (handle, board) = serving(wanted(&[1]));
    let stage = handle.stage_plan(Arc::new(wanted(&[1])), share(1.0), &board);
    stage.expect("a good stage");
    assert_eq!(handle.alive().len(), 2);
    let live = handle.activate(wanted(&[1]), &board);
    assert_eq!((live.generation, under(&handle, 1)), (Generation(3), 3));
    assert!(handle.stage().is_none());
}

#[test]
fn numbers_go_on_where_they_ended() {
    let (handle, board) = (
        PlanHandle::after(Generation(41)),
        Board::new(Instant::now()),
    );
    assert_eq!(
        handle.activate(wanted(&[1]), &board).generation,
        Generation(42)
    );
}

#[test]
fn what_requests_came_to_is_counted_by_plan_and_outlives_a_new_share() {
    let (handle, board) = serving(wanted(&[1]));
    let stage = handle.stage_plan(Arc::new(wanted(&[1])), share(0.1), &board);
    let stage = stage.expect("a good stage");
    let took = Duration::from_millis(2);
    stage.count(Generation(1), false, took);
    stage.count(Generation(2), true, took);
    let stage = handle
        .restage(share(0.2))
        .expect("good")
        .expect("there is one");
    stage.count(Generation(2), false, took);
    let (old, new) = (stage.serving(), stage.staged());
    assert_eq!((old.requests, old.errors, old.took), (1, 0, took));
    assert_eq!((new.requests, new.errors, new.took), (2, 1, 2 * took));
    assert_eq!((old.error_ratio(), new.error_ratio()), (0.0, 0.5));
}

/// Old plans still serve what they began, so the slot of a region need not be that of the plan any more;
/// what is discovered later goes to the one that serves.
#[test]
fn endpoints_are_found_by_the_plan_that_serves() {
    let (handle, board) = serving(wanted(&[2]));
    let old = handle.newest().expect("it serves");
    let stage = handle.stage_plan(Arc::new(wanted(&[3])), share(0.5), &board);
    stage.expect("a good stage");
    handle.promote(&board);
    let found = [EndpointSpec::new("found:80")];
    board
        .slot("shop", "r0")
        .replace("shop", "r0", &found, &board);
    let count = |live: &Live| {
        live.upstreams[0].regions[0]
            .endpoints
            .load()
            .endpoints
            .len()
    };
    assert_eq!(count(&handle.newest().expect("it serves")), 1);
    assert_eq!(count(&old), 2);
}
