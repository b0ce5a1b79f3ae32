//! One worker per core: a thread with its own current-thread runtime, on which every connection
//! that it accepts lives and dies.
//!
//! What belongs to the worker is reached through `Rc` and never shared. What is shared is named in
//! [`Shared`]: the plan (and through it the board), metrics, TLS profiles, what is kept
//! of bodies and the directory of idle connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::pins::Pins;
use tidegate_core::plan::CircuitBreaker;
use tidegate_core::record::{Records, Ring};
use tidegate_core::sets::KeptSets;
use tidegate_core::{Generation, LazyTable, Live, PlanHandle, RouteIdx, Stage, UpstreamIdx};
use tidegate_telemetry::access::AccessWriter;
use tidegate_telemetry::metrics::{Metrics, PlanSeries};

use crate::affinity::Bonds;
use crate::body::{Ledger, Totals};
use crate::held::{HeldRoute, HeldUpstream, RouteParts};
use crate::keys::Parts;
use crate::mirror::Copies;
use crate::tap::Tap;
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
    pub(crate) records: Arc<Records>,
    pub(crate) shutdown: tokio::sync::watch::Receiver<bool>,
    /// Steps when something has changed that those who wait in a region must hear.
    pub(crate) news: tokio::sync::watch::Receiver<()>,
    /// Where requests are shown while another plan is tried on them.
    pub(crate) tap: Tap,
    /// Steps when another plan serves.
    pub(crate) plans: tokio::sync::watch::Receiver<()>,
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
    /// Where this worker records decisions.
    pub(crate) ring: Arc<Ring>,
    stopping: Cell<bool>,
    news: Cell<u64>,
    bound: RefCell<Option<Rc<Bound>>>,
    /// The plan that serves a part, as long as there is one and it was used here.
    staged: RefCell<Option<Rc<Bound>>>,
    /// The one before, until there is time to let go of it.
    before: RefCell<Option<Rc<Bound>>>,
}

/// A plan with what this worker resolved for it once, so that no request has to. Who serves a request
/// takes its parts from here and does not keep it.
pub(crate) struct Bound {
    /// Dropped before the plan, so that whoever throws that away has the last of both.
    pub(crate) series: PlanSeries,
    pub(crate) live: Arc<Live>,
    /// Per route of the plan, once it is used: what its requests hold.
    routes: LazyTable<Rc<HeldRoute>>,
    /// Per upstream of the plan: the same.
    upstreams: Box<[Rc<HeldUpstream>]>,
    /// Where this worker counts what the generation is held by.
    pins: Arc<Pins>,
    /// The PoP's name, which goes with every answer.
    pub(crate) pop: Rc<str>,
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
            ring: shared.records.ring(),
            shared,
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            access: RefCell::new(access),
            stopping: Cell::new(false),
            news: Cell::new(0),
            bound: RefCell::default(),
            staged: RefCell::default(),
            before: RefCell::default(),
        })
    }

    /// The plan for this request: the one that serves, unless another one serves the part of which this
    /// is. None before the first activation. While one plan serves everything, this is a load more than
    /// [`bound`](Self::bound).
    pub(crate) fn bound_for(&self, request: &Parts<'_>) -> Option<Rc<Bound>> {
        let staged = match self.shared.plan.is_staged() {
            true => self.staged_for(request),
            false => None,
        };
        staged.or_else(|| self.bound())
    }

    #[cold]
    fn staged_for(&self, request: &Parts<'_>) -> Option<Rc<Bound>> {
        let stage = self.shared.plan.stage();
        let key = request.context.facts.key();
        let takes = |stage: &&Arc<Stage>| stage.takes(key, request);
        let live = &stage.as_ref().filter(takes)?.live;
        let mut cached = self.staged.borrow_mut();
        let known = cached.as_ref().filter(|one| Arc::ptr_eq(&one.live, live));
        if let Some(known) = known {
            return Some(known.clone());
        }
        let bound = Rc::new(Bound::resolve(live.clone(), &self.shared, Allowed::beside));
        *cached = Some(bound.clone());
        Some(bound)
    }

    /// The plan that serves; none before the first activation. One load of a number, and a few pointers to
    /// resolve whenever the generation has changed.
    pub(crate) fn bound(&self) -> Option<Rc<Bound>> {
        let cached = self.bound.borrow();
        let serves = |bound: &&Rc<Bound>| self.shared.plan.serves(bound.live.generation);
        if let Some(bound) = cached.as_ref().filter(serves) {
            return Some(bound.clone());
        }
        drop(cached);
        self.bind()
    }

    #[cold]
    fn bind(&self) -> Option<Rc<Bound>> {
        let live = self.shared.plan.serving();
        let live = live.as_ref()?;
        let mut cached = self.bound.borrow_mut();
        // The plan is in its place a moment before its number is.
        let known = cached
            .as_ref()
            .filter(|bound| bound.live.generation == live.generation);
        if let Some(bound) = known {
            return Some(bound.clone());
        }
        let allowed = |breaker: &_| Allowed::new(live.generation.0, breaker);
        let bound = Rc::new(Bound::resolve(live.clone(), &self.shared, allowed));
        self.replay.limit(&live.plan.replay);
        *self.before.borrow_mut() = cached.replace(bound.clone());
        Some(bound)
    }

    /// How often something has become of a region. Whoever keeps the number at its beginning sees
    /// every later change: it steps, on this thread, after the change and before those who wait in
    /// regions are polled for it.
    pub(crate) fn news(&self) -> u64 {
        self.news.get()
    }

    /// Lets go of the plan that was kept for the next request whenever another one serves, so that a
    /// worker without requests keeps none alive; and has the new one ready.
    pub(crate) async fn hear_plans(&self) {
        let mut plans = self.shared.plans.clone();
        while plans.changed().await.is_ok() {
            drop(self.bound());
            let before = self.before.borrow_mut().take();
            for gone in [before, self.take_unstaged()].into_iter().flatten() {
                if let Ok(gone) = Rc::try_unwrap(gone) {
                    gone.let_go().await;
                }
            }
        }
    }

    /// What is kept of a plan that serves no part any more.
    fn take_unstaged(&self) -> Option<Rc<Bound>> {
        let stage = self.shared.plan.stage();
        let serves = |kept: &Rc<Bound>| {
            stage
                .as_ref()
                .is_some_and(|stage| Arc::ptr_eq(&stage.live, &kept.live))
        };
        let mut kept = self.staged.borrow_mut();
        kept.take_if(|kept| !serves(kept))
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
    fn resolve(
        live: Arc<Live>,
        shared: &Shared,
        allowed: impl Fn(&CircuitBreaker) -> Allowed,
    ) -> Self {
        let plan = &live.plan;
        let series = shared.metrics.route_series(plan);
        let upstreams = (0..).map(UpstreamIdx).zip(&plan.upstreams);
        let upstreams = upstreams.map(|(index, wanted)| {
            let allowed = allowed(&wanted.circuit_breaker);
            Rc::new(HeldUpstream {
                wanted: wanted.clone(),
                live: live.upstreams[index.get()].clone(),
                sets: KeptSets::default(),
                profile: shared.profiles.get(&wanted.connection, allowed),
                bonds: Bonds::of(plan, wanted),
                series: series.upstream(index).clone(),
            })
        });
        let pins = live.holders.join();
        pins.keep(true);
        Self {
            upstreams: upstreams.collect(),
            routes: LazyTable::new(plan.routes.len()),
            pop: Rc::from(&*plan.pop.name),
            series,
            pins,
            live,
        }
    }

    /// What requests of a route hold.
    pub(crate) fn route(&self, route: RouteIdx) -> &Rc<HeldRoute> {
        self.routes.get_or_init(route.get(), || {
            let parts = RouteParts {
                generation: self.live.generation,
                route: self.live.plan.route(route),
                plan: &self.live.plan,
                pop: &self.pop,
                hedge: self.live.hedge(route),
            };
            HeldRoute::new(parts, self.series.route(route), &self.pins)
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

    /// Lets go of it bit by bit, the plan first: all that many routes hold at once would keep requests
    /// waiting.
    async fn let_go(mut self) {
        let routes = std::mem::replace(&mut self.routes, LazyTable::new(0));
        drop(self);
        for part in routes.into_parts() {
            drop(part);
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.pins.keep(false);
    }
}
