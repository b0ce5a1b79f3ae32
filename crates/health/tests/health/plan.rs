//! Plans made by hand: upstreams in one region `eu`, as far as a prober looks at them.

use std::time::Duration;

use tidegate_core::ids::RegionIdx;
use tidegate_core::plan::{
    Balance, BodyPolicy, CircuitBreaker, ConnectionPolicy, EndpointSpec, HealthPolicy,
    MetricsPolicy, Plan, Pop, Probe, Region, RegionPolicy, RetryOn, RetryPolicy, Steering,
    Upstream, UpstreamProtocol, UpstreamRegion,
};
use tidegate_core::route::RouteTable;

/// What the tests vary about an upstream.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) endpoints: Vec<String>,
    pub(crate) probe: Option<Probe>,
    pub(crate) min_healthy: f64,
    pub(crate) connection: ConnectionPolicy,
}

impl Spec {
    /// These endpoints over plaintext HTTP/1.1, one of them enough.
    pub(crate) fn new(endpoints: &[&str], probe: Probe) -> Self {
        Self {
            endpoints: endpoints
                .iter()
                .map(|&address| address.to_owned())
                .collect(),
            probe: Some(probe),
            min_healthy: 0.1,
            connection: ConnectionPolicy {
                protocol: UpstreamProtocol::Http1,
                tls: None,
                connect_timeout: Duration::from_secs(1),
                idle_timeout: Duration::from_secs(1),
                idle_max: 1,
                warm_standby: 0,
            },
        }
    }

    fn upstream(&self, name: String) -> Upstream {
        let region = UpstreamRegion {
            region: RegionIdx(0),
            endpoints: self.specs().into(),
            weight: 1,
            tier: 0,
        };
        Upstream {
            name: name.into(),
            regions: [region].into(),
            steering: Steering::Priority,
            balance: Balance::PeakEwma,
            health: HealthPolicy {
                probe: self.probe.clone(),
                region: RegionPolicy {
                    min_healthy: self.min_healthy,
                    ..RegionPolicy::default()
                },
                ..HealthPolicy::default()
            },
            circuit_breaker: CircuitBreaker::default(),
            slow_start: None,
            retry: RetryPolicy {
                attempts: 1,
                on: RetryOn::default(),
                per_try: None,
                budget: 0.0,
                cross_region_budget: 0.0,
            },
            connection: self.connection.clone(),
            body: BodyPolicy {
                replay_bytes: 0,
                max_bytes: None,
            },
        }
    }

    /// The endpoints, as a plan or discovery names them.
    pub(crate) fn specs(&self) -> Vec<EndpointSpec> {
        let spec = |address: &String| EndpointSpec {
            address: address.as_str().into(),
            weight: 1,
        };
        self.endpoints.iter().map(spec).collect()
    }
}

/// A plan of these upstreams: `shop`, `shop-1` and so on.
pub(crate) fn plan_of(specs: &[Spec]) -> Plan {
    let name = |at: usize| match at {
        0 => "shop".to_owned(),
        at => format!("shop-{at}"),
    };
    let upstreams = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| spec.upstream(name(at)));
    Plan {
        content_hash: "0".into(),
        pop: Pop {
            name: "test".into(),
            location: None,
        },
        regions: [Region {
            name: "eu".into(),
            location: None,
            jurisdictions: [].into(),
        }]
        .into(),
        upstreams: upstreams.collect(),
        routes: [].into(),
        table: RouteTable::new([]),
        metrics: MetricsPolicy { max_series: 100 },
    }
}
