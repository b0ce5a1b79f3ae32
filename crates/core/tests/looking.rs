//! What a look costs: nothing is allocated while nothing changes, whatever is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::cell::InFlight;
use tidegate_core::health::Judge;
use tidegate_core::ids::Generation;
use tidegate_core::plan::{Ejection, RegionPolicy, Silence};
use tidegate_core::route::RouteMatch;
use tidegate_core::{Allotter, Board, Live, LiveUpstream};

#[path = "support/counting.rs"]
mod counting;
#[path = "support/mod.rs"]
mod support;

use counting::allocations;
use support::{UPSTREAM, latency};

/// Three regions of a thousand endpoints, with everything looked at.
fn bound(start: Instant) -> Live {
    let mut plan = support::plan(latency(5), &[300, 300, 400], vec![RouteMatch::default()]);
    let upstream = support::own(&mut plan.upstreams[0]);
    for region in &mut upstream.regions {
        region.capacity_rps = Some(10.0);
    }
    upstream.health.region = RegionPolicy {
        min_healthy: 0.3,
        error_rate: Some(0.5),
        min_requests: 20,
        silence: Some(Silence::Auto {
            at_least: Duration::from_millis(300),
        }),
        degraded_latency: Some(3.0),
        ..RegionPolicy::default()
    };
    upstream.circuit_breaker.ejection = Some(Ejection {
        consecutive_5xx: Some(5),
        consecutive_gateway_failure: Some(5),
        consecutive_local_origin_failure: None,
        split_external_local_origin_errors: false,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        max_ejection: 0.1,
        always_eject_one_host: true,
        success_rate: None,
        failure_percentage: None,
    });
    Live::bind(Arc::new(plan), &Board::new(start), Generation(1))
}

/// An answered request in every region.
fn answer(live: &LiveUpstream, now: Instant) {
    for region in &live.regions {
        let endpoint = region.endpoints.load().endpoints[0].cell.clone();
        let mut attempt = InFlight::begin(endpoint, region.cell.clone());
        attempt.sent();
        attempt.answered(Duration::from_millis(7), 200, false, now);
    }
}

#[test]
fn a_look_at_which_nothing_changes_allocates_nothing() {
    let start = Instant::now();
    let live = bound(start);
    let (wanted, live) = live.upstream(UPSTREAM);
    let (mut judge, mut now) = (Judge::default(), start);
    judge.look(wanted, live, now);
    let looks = || {
        for _ in 0..2_000 {
            now += Duration::from_millis(50);
            answer(live, now);
            assert!(judge.look(wanted, live, now).is_empty());
        }
    };
    assert_eq!(allocations(looks), 0);
    let started = Instant::now();
    for _ in 0..2_000 {
        now += Duration::from_millis(50);
        judge.look(wanted, live, now);
    }
    println!(
        "{:?} a look over 1,000 endpoints",
        started.elapsed() / 2_000
    );
}

#[test]
fn an_allotter_allocates_nothing_either() {
    let start = Instant::now();
    let live = bound(start);
    let (wanted, live) = live.upstream(UPSTREAM);
    let (mut allotter, mut now) = (Allotter::default(), start);
    allotter.look(wanted, live, now);
    let looks = || {
        for _ in 0..2_000 {
            now += Duration::from_millis(50);
            answer(live, now);
            live.regions[0].cell.shed();
            allotter.look(wanted, live, now);
        }
    };
    assert_eq!(allocations(looks), 0);
    let shedding = live.regions[0].cell.allotment();
    assert!(shedding.take.share() < 0.3, "{shedding:?}");
    let started = Instant::now();
    for _ in 0..2_000 {
        now += Duration::from_millis(50);
        allotter.look(wanted, live, now);
    }
    println!(
        "{:?} a look of an allotter over 1,000 endpoints",
        started.elapsed() / 2_000
    );
}
