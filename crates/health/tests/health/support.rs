//! A prober with a plan made by hand, and ways to wait for what it finds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::health::Stage;
use tidegate_core::plan::{HttpProbe, Probe, ProbeKind};
use tidegate_core::{Board, EndpointCell, Health, InFlight, PlanHandle, RegionCell};
use tidegate_health::Prober;
use tidegate_telemetry::events::HealthChange;
use tidegate_telemetry::{Event, EventKind, Events, Metrics};
use tokio::sync::broadcast::Receiver;

pub(crate) use crate::plan::Spec;
use crate::plan::plan_of;

/// Nothing here takes long; a test that waits for this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let kind = ProbeKind::Http(HttpProbe {
        path: "/healthz".into(),
        host: Some("probe.test".into()),
        ..HttpProbe::default()
    });
    Probe {
        kind,
        ..tcp_probe()
    }
}

/// The same, but one check at a time: a second one, because the first is late, needs a connection
/// of its own.
pub(crate) fn patient() -> Probe {
    Probe {
        fall: 1,
        ..http_probe()
    }
}

/// The same pace, by connecting only.
pub(crate) fn tcp_probe() -> Probe {
    let (interval, timeout) = (Duration::from_millis(40), Duration::from_secs(10));
    Probe {
        interval,
        timeout,
        ..Probe::new(ProbeKind::Tcp)
    }
}

/// For probes that must time out.
pub(crate) fn impatient(probe: Probe) -> Probe {
    Probe {
        timeout: Duration::from_millis(60),
        ..probe
    }
}

impl Scene {
    /// Activates `spec` and starts to probe.
    pub(crate) fn start(spec: &Spec) -> Self {
        let (plan, metrics, events) = (Arc::new(PlanHandle::new()), Metrics::new(), Events::new());
        let news = events.subscribe();
        let board = Arc::new(Board::new(Instant::now()));
        plan.activate(plan_of(std::slice::from_ref(spec)), &board);
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
        self.plan
            .activate(plan_of(std::slice::from_ref(spec)), &self.board);
        self.prober.as_ref().unwrap().plan_changed();
    }

    pub(crate) fn endpoint(&self, address: &str) -> Arc<EndpointCell> {
        self.board.endpoint("shop", "eu", address)
    }

    pub(crate) fn region(&self) -> Arc<RegionCell> {
        self.region_named("eu")
    }

    pub(crate) fn region_named(&self, name: &str) -> Arc<RegionCell> {
        self.board.region("shop", name)
    }

    /// An attempt at `address` in the region of this name, as the data plane counts it.
    pub(crate) fn attempt(&self, region: &str, address: &str) -> InFlight {
        let endpoint = self.board.endpoint("shop", region, address);
        let mut attempt = InFlight::begin(endpoint, self.region_named(region));
        attempt.sent();
        attempt
    }

    /// An attempt that is answered with this status after a millisecond.
    pub(crate) fn answered(&self, region: &str, address: &str, status: u16) {
        let took = Duration::from_millis(1);
        self.attempt(region, address)
            .answered(took, status, false, Instant::now());
    }

    /// The changes of the region of this name so far, oldest first.
    pub(crate) fn changes(&self, name: &str) -> Vec<HealthChange> {
        let of_region = |event: &Arc<Event>| match &event.kind {
            EventKind::RegionHealth { region, change, .. } if **region == *name => {
                Some(change.clone())
            }
            _ => None,
        };
        self.events.since(0).iter().filter_map(of_region).collect()
    }

    /// Waits until the region of this name has come to `stage`, doing `meanwhile` again and again.
    pub(crate) async fn comes_to(&self, name: &str, stage: Stage, meanwhile: impl Fn()) {
        let came = || {
            meanwhile();
            self.changes(name)
                .last()
                .is_some_and(|last| last.stage == stage)
        };
        until(came, || format!("{stage}: {:#?}", self.events.since(0))).await;
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

    /// That no probe has ended in another way than well.
    pub(crate) fn assert_no_failure(&self) {
        let text = self.metrics.render(None);
        let probes = text
            .lines()
            .filter(|line| line.starts_with("tidegate_probes_total{"));
        for line in probes {
            let none = line.ends_with(" 0");
            assert!(none || line.contains("result=\"success\""), "{line}");
        }
    }

    /// Waits for the next change of an endpoint's health; what it is now, and the evidence.
    pub(crate) async fn endpoint_news(&mut self) -> (Health, String) {
        loop {
            if let EventKind::EndpointHealth { change, .. } = self.news().await {
                return (change.to, change.evidence);
            }
        }
    }

    /// Waits for the next change of the region's health; what it is now, and the evidence.
    pub(crate) async fn region_news(&mut self) -> (Health, String) {
        loop {
            if let EventKind::RegionHealth { change, .. } = self.news().await {
                return (change.to, change.evidence);
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
