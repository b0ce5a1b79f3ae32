//! Plans made by hand: upstreams in the regions `eu` and `us`, as far as a prober looks at them.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::ids::RegionIdx;
use tidegate_core::plan::{
    Balance, BodyPolicy, CircuitBreaker, ConnectionPolicy, Ejection, EndpointSpec, Failback,
    HealthPolicy, MetricsPolicy, Plan, Policy, Pop, Probe, Region, RegionPolicy, ReplayLimits,
    RetryOn, RetryPolicy, Upstream, UpstreamProtocol, UpstreamRegion,
};
use tidegate_core::route::RouteTable;

/// What the tests vary about an upstream.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) endpoints: Vec<String>,
    pub(crate) probe: Option<Probe>,
    pub(crate) min_healthy: f64,
    pub(crate) connection: ConnectionPolicy,
    /// The endpoints in `us`; none: it does not live there.
    pub(crate) us: Vec<String>,
    /// How regions are judged, but for `min_healthy`.
    pub(crate) region: RegionPolicy,
    pub(crate) failback: Failback,
    pub(crate) ejection: Option<Ejection>,
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
            us: Vec::new(),
            region: RegionPolicy::default(),
            failback: Failback::default(),
            ejection: None,
        }
    }

    fn upstream(&self, name: String) -> Upstream {
        let region = |region, endpoints: Vec<EndpointSpec>| {
            UpstreamRegion::new(RegionIdx(region), 0, endpoints)
        };
        let eu = region(0, self.specs());
        let us = (!self.us.is_empty()).then(|| region(1, specs(&self.us)));
        Upstream {
            name: name.into(),
            regions: [eu].into_iter().chain(us).collect(),
            steering: Policy::priority().into(),
            balance: Balance::PeakEwma,
            health: HealthPolicy {
                probe: self.probe.clone(),
                region: RegionPolicy {
                    min_healthy: self.min_healthy,
                    ..self.region.clone()
                },
                failback: self.failback.clone(),
                ..HealthPolicy::default()
            },
            circuit_breaker: CircuitBreaker {
                ejection: self.ejection.clone(),
                ..CircuitBreaker::default()
            },
            slow_start: None,
            retry: RetryPolicy {
                attempts: 1,
                on: RetryOn::default(),
                per_try: None,
                budget: 0.0,
                cross_region_budget: 0.0,
                ..RetryPolicy::default()
            },
            connection: self.connection.clone(),
            body: BodyPolicy {
                replay_bytes: 0,
                ..BodyPolicy::default()
            },
        }
    }

    /// The endpoints, as a plan or discovery names them.
    pub(crate) fn specs(&self) -> Vec<EndpointSpec> {
        specs(&self.endpoints)
    }
}

fn specs(addresses: &[String]) -> Vec<EndpointSpec> {
    let spec = |address: &String| EndpointSpec::new(address.as_str());
    addresses.iter().map(spec).collect()
}

fn region(name: &str) -> Region {
    Region {
        name: name.into(),
        location: None,
        jurisdictions: [].into(),
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
        regions: ["eu", "us"].into_iter().map(region).collect(),
        upstreams: upstreams.map(Arc::new).collect(),
        routes: [].into(),
        table: RouteTable::new([]),
        replay: ReplayLimits::default(),
        metrics: MetricsPolicy { max_series: 100 },
        explain: None,
        rollback: None,
        atlas: None,
    }
}
