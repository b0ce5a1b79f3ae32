//! One worker per core: a thread with its own current-thread runtime, on which every connection
//! that it accepts lives and dies.
//!
//! What belongs to the worker is reached through `Rc` and never shared. What is shared is named in
//! [`Shared`]: the plan (and through it the board), metrics, TLS profiles, what is kept
//! of bodies and the directory of idle connections.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::pins::Pins;
use tidegate_core::{Generation, Live, PlanHandle, RouteIdx, UpstreamIdx};
use tidegate_telemetry::access::AccessWriter;
use tidegate_telemetry::metrics::{Metrics, PlanSeries};

use crate::affinity::Bonds;
use crate::body::{Ledger, Totals};
use crate::held::{HeldRoute, HeldUpstream, RouteParts};
use crate::mirror::Copies;
use crate::tls::client::Profiles;
use crate::upstream::directory::Directory;
use crate::upstream::gate::Allowed;
use crate::upstream::pool::Pool;
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

/// A plan with what this worker resolved for it once, so that no request has to. Who serves a request
/// takes its parts from here and does not keep it.
pub(crate) struct Bound {
    pub(crate) live: Arc<Live>,
    pub(crate) series: PlanSeries,
    /// Per route of the plan, once it is used: what its requests hold.
    routes: Box<[OnceCell<Rc<HeldRoute>>]>,
    /// Per upstream of the plan: the same.
    upstreams: Box<[Rc<HeldUpstream>]>,
    /// Where this worker counts what the generation is held by.
    pins: Arc<Pins>,
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
        let plan = &live.plan;
        let series = shared.metrics.route_series(plan);
        let upstreams = (0..).map(UpstreamIdx).zip(&plan.upstreams);
        let upstreams = upstreams.map(|(index, wanted)| {
            let allowed = Allowed::new(live.generation.0, &wanted.circuit_breaker);
            Rc::new(HeldUpstream {
                wanted: wanted.clone(),
                live: live.upstreams[index.get()].clone(),
                profile: shared.profiles.get(&wanted.connection, allowed),
                bonds: Bonds::of(plan, wanted),
                series: series.upstream(index).clone(),
            })
        });
        let pins = live.holders.join();
        pins.keep(true);
        Self {
            upstreams: upstreams.collect(),
            routes: plan.routes.iter().map(|_| OnceCell::new()).collect(),
            series,
            pins,
            live,
        }
    }

    /// What requests of a route hold.
    pub(crate) fn route(&self, route: RouteIdx) -> &Rc<HeldRoute> {
        self.routes[route.get()].get_or_init(|| {
            let parts = RouteParts {
                generation: self.live.generation,
                route: self.live.plan.route(route),
                regions: &self.live.plan.regions,
                pop: &self.live.plan.pop.name,
                hedge: self.live.hedge(route),
            };
            HeldRoute::new(parts, self.series.route(route).clone(), &self.pins)
        })
    }

    /// What requests to an upstream hold.
    pub(crate) fn upstream(&self, upstream: UpstreamIdx) -> &Rc<HeldUpstream> {
        &self.upstreams[upstream.get()]
    }

    /// The plan's number.
    pub(crate) fn generation(&self) -> Generation {
        self.live.generation
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.pins.keep(false);
    }
}
