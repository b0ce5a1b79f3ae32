//! One worker per core: a thread with its own current-thread runtime, on which every connection
//! that it accepts lives and dies.
//!
//! What belongs to the worker is reached through `Rc` and never shared. What is shared is named in
//! [`Shared`]: the plan (and through it the board), metrics, TLS profiles, what is kept
//! of bodies and the directory of idle connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::{Endpoint, Generation, Live, PlanHandle, UpstreamIdx};
use tidegate_telemetry::access::AccessWriter;
use tidegate_telemetry::metrics::{Metrics, PlanSeries};

use crate::affinity::Bonds;
use crate::body::{Ledger, Totals};
use crate::mirror::Copies;
use crate::tls::client::{Profile, Profiles};
use crate::upstream::directory::Directory;
use crate::upstream::gate::Allowed;
use crate::upstream::pool::{Pool, Target};
use crate::wheel::Wheel;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<PlanHandle>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) profiles: Profiles,
    pub(crate) replay: Arc<Totals>,
    pub(crate) directory: Directory,
    pub(crate) shutdown: tokio::sync::watch::Receiver<bool>,
    /// Steps when something has changed that those who wait in a region must hear.
    pub(crate) news: tokio::sync::watch::Receiver<()>,
}

/// What one thread owns.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wheel: Wheel,
    pub(crate) pool: Pool,
    pub(crate) replay: Rc<Ledger>,
    /// What copies of requests take up.
    pub(crate) copies: Rc<Copies>,
    pub(crate) rng: RefCell<fastrand::Rng>,
    pub(crate) access: RefCell<AccessWriter>,
    stopping: Cell<bool>,
    news: Cell<u64>,
    bound: RefCell<Option<Rc<Bound>>>,
}

/// A plan with what this worker resolved for it once, so that no request has to.
pub(crate) struct Bound {
    pub(crate) live: Arc<Live>,
    pub(crate) series: PlanSeries,
    /// Per upstream of the plan: how to connect.
    pub(crate) profiles: Vec<Arc<Profile>>,
    /// Per upstream of the plan: the cookie that keeps its clients at their places, if one does.
    bonds: Vec<Option<Bonds>>,
}

impl Worker {
    /// A worker with nothing under way.
    pub(crate) fn new(
        index: usize,
        shared: Arc<Shared>,
        access: AccessWriter,
        seed: u64,
    ) -> Rc<Self> {
        let wheel = Wheel::new(crate::clock::now());
        Rc::new(Self {
            pool: Pool::new(index, &shared.directory, wheel.clone()),
            replay: Ledger::new(shared.replay.clone(), wheel.clone()),
            copies: Rc::default(),
            wheel,
            shared,
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            access: RefCell::new(access),
            stopping: Cell::new(false),
            news: Cell::new(0),
            bound: RefCell::new(None),
        })
    }

    /// The plan for the next request; none before the first activation. One load, and a few
    /// pointers to resolve whenever the generation has changed.
    pub(crate) fn bound(&self) -> Option<Rc<Bound>> {
        let live = self.shared.plan.load(0);
        let live = live.as_ref()?;
        let mut cached = self.bound.borrow_mut();
        match &*cached {
            Some(bound) if bound.live.generation == live.generation => Some(bound.clone()),
            _ => {
                let bound = Rc::new(Bound::resolve(live.clone(), &self.shared));
                self.replay.limit(&live.plan.replay);
                *cached = Some(bound.clone());
                Some(bound)
            }
        }
    }

    /// How often something has become of a region. Whoever keeps the number at its beginning sees
    /// every later change: it steps, on this thread, after the change and before those who wait in
    /// regions are polled for it.
    pub(crate) fn news(&self) -> u64 {
        self.news.get()
    }

    /// Tells those who wait in a region that something has become of one, whenever it does.
    pub(crate) async fn hear_news(&self) {
        let mut news = self.shared.news.clone();
        while news.changed().await.is_ok() {
            self.news.set(self.news.get() + 1);
            self.wheel.wake_in_regions();
        }
    }

    /// Whether an access log is kept.
    pub(crate) fn logs(&self) -> bool {
        self.access.borrow().is_on()
    }

    /// Whether the process has been told to stop: connections end with what they are doing.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Tells this worker's connections to end with what they are doing, and wakes the idle ones:
    /// each waits on a timer, so the wheel knows them all.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.wheel.wake_all();
    }
}

impl Bound {
    fn resolve(live: Arc<Live>, shared: &Shared) -> Self {
        let profiles = live
            .plan
            .upstreams
            .iter()
            .map(|upstream| {
                let allowed = Allowed::new(live.generation.0, &upstream.circuit_breaker);
                shared.profiles.get(&upstream.connection, allowed)
            })
            .collect();
        let plan = &live.plan;
        let bonds = |upstream| Bonds::of(plan, upstream);
        Self {
            series: shared.metrics.route_series(plan),
            bonds: plan.upstreams.iter().map(bonds).collect(),
            profiles,
            live,
        }
    }

    /// Where an attempt at `endpoint`, in the upstream's region at `position`, connects to.
    pub(crate) fn target<'a>(
        &'a self,
        upstream: UpstreamIdx,
        position: u8,
        endpoint: &'a Endpoint,
    ) -> Target<'a> {
        Target {
            endpoint,
            region: &self.live.upstream(upstream).1.regions[usize::from(position)].cell,
            profile: &self.profiles[upstream.get()],
            series: self.series.upstream_handle(upstream, position),
        }
    }

    /// The cookie that keeps clients of `upstream` at their places; none if no cookie does.
    pub(crate) fn bonds(&self, upstream: UpstreamIdx) -> Option<&Bonds> {
        self.bonds[upstream.get()].as_ref()
    }

    /// The plan's number.
    pub(crate) fn generation(&self) -> Generation {
        self.live.generation
    }
}
