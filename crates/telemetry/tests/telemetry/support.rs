//! Plans made by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::ids::UpstreamIdx;
use tidegate_core::plan::{
    Balance, BodyPolicy, CircuitBreaker, ConnectionPolicy, EndpointSpec, HealthPolicy,
    MetricsPolicy, Plan, Policy, Pop, Region, RegionPolicy, ReplayLimits, RetryOn, RetryPolicy,
    Route, Upstream, UpstreamProtocol, UpstreamRegion,
};
use tidegate_core::route::{RouteMatch, RouteTable};
use tidegate_core::{Board, Generation, Live, RegionIdx};

/// A plan with one upstream `shop` in `regions`, and routes to it.
pub(crate) fn plan(regions: &[&str], routes: &[&str], max_series: u32) -> Arc<Plan> {
    let matches: Vec<RouteMatch> = routes.iter().map(|_| RouteMatch::default()).collect();
    Arc::new(Plan {
        content_hash: "c0ffee".into(),
        pop: Pop {
            name: "test".into(),
            location: None,
        },
        regions: regions.iter().map(|name| region(name)).collect(),
        upstreams: [Arc::new(upstream(regions.len() as u8))].into(),
        routes: routes.iter().map(|name| Arc::new(route(name))).collect(),
        table: RouteTable::new(&matches),
        replay: ReplayLimits::default(),
        metrics: MetricsPolicy { max_series },
        explain: None,
        rollback: None,
        atlas: None,
    })
}

/// The plan, bound to an empty board.
pub(crate) fn live(plan: Arc<Plan>) -> Live {
    Live::bind(plan, &Board::new(Instant::now()), Generation(3))
}

fn region(name: &str) -> Region {
    Region {
        name: name.into(),
        location: None,
        jurisdictions: [].into(),
    }
}

/// The upstream `shop` in the first so many regions of a plan.
pub(crate) fn upstream(regions: u8) -> Upstream {
    let second = Duration::from_secs(1);
    Upstream {
        name: "shop".into(),
        regions: (0..regions).map(upstream_region).collect(),
        steering: Policy::priority().into(),
        balance: Balance::PeakEwma,
        health: HealthPolicy {
            probe: None,
            region: RegionPolicy {
                min_healthy: 0.5,
                ..RegionPolicy::default()
            },
            ..HealthPolicy::default()
        },
        circuit_breaker: CircuitBreaker::default(),
        slow_start: None,
        retry: RetryPolicy {
            attempts: 3,
            on: RetryOn::default(),
            per_try: None,
            budget: 0.2,
            cross_region_budget: 1.0,
            ..RetryPolicy::default()
        },
        connection: ConnectionPolicy {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            connect_timeout: second,
            idle_timeout: second,
            idle_max: 8,
            warm_standby: 0,
        },
        body: BodyPolicy {
            replay_bytes: 0,
            ..BodyPolicy::default()
        },
    }
}

fn upstream_region(index: u8) -> UpstreamRegion {
    let endpoint = EndpointSpec::new(format!("192.0.2.{index}:80"));
    UpstreamRegion::new(RegionIdx(index), 0, [endpoint])
}

fn route(name: &str) -> Route {
    Route {
        timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(10),
        ..Route::new(name, RouteMatch::default(), UpstreamIdx(0))
    }
}
