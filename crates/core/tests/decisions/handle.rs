//! Plans come and go; what is observed stays.

use std::sync::Arc;

use tidegate_core::geo::distance_km;
use tidegate_core::ids::{Generation, RouteIdx};
use tidegate_core::plan::{Hedge, HedgeAfter, HedgeTo, Location, Policy};
use tidegate_core::route::RouteMatch;
use tidegate_core::{Board, Live, PlanHandle};

use crate::support::{World, latency, own, plan};

#[test]
fn an_activated_plan_serves_from_the_next_load_on() {
    let world = World::new(latency(5), &[1]);
    let handle = PlanHandle::new();
    assert!(handle.load(0).is_none() && handle.newest().is_none());
    for number in 1..=3 {
        let live = handle.activate(
            plan(Policy::priority().into(), &[1], Vec::new()),
            &world.board,
        );
        assert_eq!(live.generation, Generation(number));
        assert!(Arc::ptr_eq(
            &live,
            handle.load(7).as_ref().expect("activated")
        ));
        assert!(handle.serves(Generation(number)) && !handle.serves(Generation(number - 1)));
    }
}

#[test]
fn the_newest_of_plans_activated_at_once_serves() {
    let (handle, board) = (PlanHandle::new(), Board::new(std::time::Instant::now()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| handle.activate(plan(latency(1), &[1], Vec::new()), &board));
        }
    });
    assert_eq!(
        handle.newest().expect("activated").generation,
        Generation(8)
    );
}

#[test]
fn a_reload_carries_observed_state_over() {
    let world = World::new(latency(5), &[2, 1]);
    let old = &world.live.upstreams[0];
    old.regions[0].cell.set_draining(true);
    let next = plan(
        Policy::priority().into(),
        &[3, 1],
        vec![RouteMatch::default()],
    );
    let new = Live::bind(Arc::new(next), &world.board, Generation(2));
    let new = &new.upstreams[0];
    assert!(new.regions[0].cell.draining());
    assert!(Arc::ptr_eq(&old.budget, &new.budget));
    assert!(Arc::ptr_eq(
        &old.regions[0].endpoints,
        &new.regions[0].endpoints
    ));
    assert_eq!(new.regions[0].endpoints.load().endpoints.len(), 3);
    assert_eq!(
        new.regions[1].endpoints.load().version,
        1,
        "what did not change is not swapped"
    );
}

#[test]
fn distances_are_known_when_both_places_are() {
    let place = |latitude, longitude| Location {
        latitude,
        longitude,
    };
    let mut plan = plan(latency(5), &[1, 1], Vec::new());
    let (pop, region) = (place(50.11, 8.68), place(53.35, -6.26));
    plan.pop.location = Some(pop);
    own(&mut plan.regions)[0].location = Some(region);
    let live = Live::bind(
        Arc::new(plan),
        &Board::new(std::time::Instant::now()),
        Generation(1),
    );
    let distances: Vec<_> = live.upstreams[0]
        .regions
        .iter()
        .map(|region| region.distance_km)
        .collect();
    assert_eq!(distances, [Some(distance_km(pop, region)), None]);
}

#[test]
fn only_routes_that_hedge_have_a_cell_and_a_reload_keeps_it() {
    let board = Board::new(std::time::Instant::now());
    let bind = |shares: [Option<f64>; 2]| {
        let mut plan = plan(latency(1), &[1], vec![RouteMatch::default(); 2]);
        for (route, share) in plan.routes.iter_mut().zip(shares) {
            own(route).hedge = share.map(|budget| Hedge {
                after: HedgeAfter::Percentile(0.95),
                budget,
                to: HedgeTo::Endpoint,
            });
        }
        Live::bind(Arc::new(plan), &board, Generation(1))
    };
    let before = bind([None, Some(0.05)]);
    assert!(before.hedge(RouteIdx(0)).is_none());
    let cell = before.hedge(RouteIdx(1)).expect("it hedges");
    assert!(cell.withdraw(board.origin()));
    let after = bind([Some(0.05), Some(0.0)]);
    let kept = after.hedge(RouteIdx(1)).expect("it hedges");
    assert!(Arc::ptr_eq(cell, kept));
    assert!(
        !cell.withdraw(board.origin()),
        "its purse is as now configured"
    );
    assert!(after.hedge(RouteIdx(0)).is_some());
}
