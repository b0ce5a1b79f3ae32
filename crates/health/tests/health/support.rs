//! A prober with a plan made by hand, and ways to wait for what it finds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::ids::RegionIdx;
use tidegate_core::plan::{
    Balance, BodyPolicy, ConnectionPolicy, EndpointSpec, HealthPolicy, MetricsPolicy, Plan, Pop,
    Probe, ProbeKind, Region, RetryOn, RetryPolicy, Steering, Upstream, UpstreamProtocol,
    UpstreamRegion,
};
use tidegate_core::route::RouteTable;
use tidegate_core::{Board, EndpointCell, Health, PlanHandle, RegionCell};
use tidegate_health::Prober;
use tidegate_telemetry::{Event, EventKind, Events, Metrics};
use tokio::sync::broadcast::Receiver;

/// Nothing here takes long; a test that waits for this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the tests vary about the upstream `shop`.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) endpoints: Vec<String>,
    pub(crate) probe: Option<Probe>,
    pub(crate) min_healthy: f64,
    pub(crate) connection: ConnectionPolicy,
}

/// A prober at work on one upstream `shop` in one region `eu`.
pub(crate) struct Scene {
    pub(crate) plan: Arc<PlanHandle>,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
    news: Receiver<Arc<Event>>,
    pub(crate) prober: Option<Prober>,
}

/// `GET /healthz` to `probe.test` every 40 ms, in doubt as in calm.
pub(crate) fn http_probe() -> Probe {
    let kind = ProbeKind::Http {
        path: "/healthz".into(),
        host: Some("probe.test".into()),
        expect: [(200, 299)].into(),
    };
    Probe {
        kind,
        ..tcp_probe()
    }
}

/// The same pace, by connecting only.
pub(crate) fn tcp_probe() -> Probe {
    let (interval, timeout) = (Duration::from_millis(40), Duration::from_secs(10));
    Probe {
        kind: ProbeKind::Tcp,
        interval,
        timeout,
        rise: 2,
        fall: 3,
    }
}

/// For probes that must time out.
pub(crate) fn impatient(probe: Probe) -> Probe {
    Probe {
        timeout: Duration::from_millis(60),
        ..probe
    }
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
            },
        }
    }

    fn plan(&self) -> Plan {
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
            upstreams: [self.upstream()].into(),
            routes: [].into(),
            table: RouteTable::new([]),
            metrics: MetricsPolicy { max_series: 10 },
        }
    }

    fn upstream(&self) -> Upstream {
        let region = UpstreamRegion {
            region: RegionIdx(0),
            endpoints: self.specs().into(),
            weight: 1,
            tier: 0,
        };
        Upstream {
            name: "shop".into(),
            regions: [region].into(),
            steering: Steering::Priority,
            balance: Balance::PeakEwma,
            health: HealthPolicy {
                probe: self.probe.clone(),
                min_healthy: self.min_healthy,
            },
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

    pub(crate) fn specs(&self) -> Vec<EndpointSpec> {
        let spec = |address: &String| EndpointSpec {
            address: address.as_str().into(),
            weight: 1,
        };
        self.endpoints.iter().map(spec).collect()
    }
}

impl Scene {
    /// Activates `spec` and starts to probe.
    pub(crate) fn start(spec: &Spec) -> Self {
        let (plan, metrics, events) = (Arc::new(PlanHandle::new()), Metrics::new(), Events::new());
        let news = events.subscribe();
        let board = Arc::new(Board::new(Instant::now()));
        plan.activate(spec.plan(), &board);
        let prober = Some(Prober::start(plan.clone(), metrics.clone(), events.clone()));
        Self {
            plan,
            board,
            metrics,
            events,
            news,
            prober,
        }
    }

    /// Activates `spec` instead.
    pub(crate) fn change(&self, spec: &Spec) {
        self.plan.activate(spec.plan(), &self.board);
        self.prober.as_ref().unwrap().plan_changed();
    }

    pub(crate) fn endpoint(&self, address: &str) -> Arc<EndpointCell> {
        self.board.endpoint("shop", "eu", address)
    }

    pub(crate) fn region(&self) -> Arc<RegionCell> {
        self.board.region("shop", "eu")
    }

    /// Waits until `health` is believed of `address`.
    pub(crate) async fn becomes(&self, address: &str, health: Health) {
        let cell = self.endpoint(address);
        let what = || {
            format!(
                "{address} is {}, not {health}; {:?}",
                cell.health(),
                self.events.since(0)
            )
        };
        until(|| cell.health() == health, what).await;
    }

    /// Waits for the next change of an endpoint's health; what it is now, and the evidence.
    pub(crate) async fn endpoint_news(&mut self) -> (Health, String) {
        loop {
            if let EventKind::EndpointHealth { to, evidence, .. } = self.news().await {
                return (to, evidence);
            }
        }
    }

    /// Waits for the next change of the region's health; what it is now, and the evidence.
    pub(crate) async fn region_news(&mut self) -> (Health, String) {
        loop {
            if let EventKind::RegionHealth { to, evidence, .. } = self.news().await {
                return (to, evidence);
            }
        }
    }

    async fn news(&mut self) -> EventKind {
        let event = tokio::time::timeout(PATIENCE, self.news.recv()).await;
        event.expect("no event came").unwrap().kind.clone()
    }
}

/// Waits until `condition` holds; `what` tells why it should have.
pub(crate) async fn until(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let patience = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < patience, "{}", what());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
