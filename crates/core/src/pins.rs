//! What keeps a generation alive: counted where it happens, added up when somebody asks.
//!
//! A plan that was replaced lives on as long as something holds it or a part of it. Each worker counts
//! for itself and for each generation ([`Pins`]), on a cache line that nobody else writes, so that a
//! request pays a few plain additions; the generation ([`Holders`]) knows who counts for it. Whoever
//! wants to know adds up ([`Alive`]). Nothing here keeps a plan alive itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::handle::Live;
use crate::ids::Generation;

/// What a request is doing under a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its answer has not begun.
    Request,
    /// Its answer runs: it holds its route and its upstream.
    Answer,
    /// Its answer runs and can be continued elsewhere: it holds the request beside it.
    Resumable,
    /// It became a tunnel (a WebSocket).
    Tunnel,
    /// It is the copy of a request, for another upstream.
    Copy,
}

const HOLDS: usize = 5;

/// One worker's counts for one generation. Only that worker's thread may change them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Pins {
    holds: [AtomicU64; HOLDS],
    /// Whether the worker keeps the plan for its next request.
    kept: AtomicU64,
    routes: AtomicU64,
    route_bytes: AtomicU64,
}

/// Who counts for one generation.
#[derive(Debug, Default)]
pub struct Holders(Mutex<Vec<Arc<Pins>>>);

/// A generation that something holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Its number.
    pub generation: Generation,
    /// Its content hash.
    pub content_hash: Arc<str>,
    /// Whether the whole plan is there; else only the parts that requests use.
    pub whole: bool,
    /// Bytes of the whole plan, estimated; 0 if it is gone.
    pub plan_bytes: usize,
    /// Who holds the whole plan.
    pub holders: PlanHolders,
    /// What runs under it.
    pub under_way: UnderWay,
    /// Routes that workers hold apart from the plan, each worker's for itself.
    pub routes: u64,
    /// Bytes of those routes, estimated: a part of `plan_bytes` while the plan is there, and at most
    /// so many when it is gone, since a newer plan may share them.
    pub route_bytes: u64,
}

/// Who holds a whole plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanHolders {
    /// Workers that keep it for their next request.
    pub workers: u64,
    /// The rest: what serves it, the control plane, whoever looks at it in this moment.
    pub others: u64,
}

/// Requests and streams, by what they hold of their generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Requests whose answer has not begun.
    pub requests: u64,
    /// Answers under way.
    pub answers: u64,
    /// Answers under way that can be continued elsewhere.
    pub resumable: u64,
    /// Tunnels.
    pub tunnels: u64,
    /// Copies for other upstreams.
    pub copies: u64,
}

/// A generation as its handle remembers it, alive or not.
#[derive(Debug)]
pub(crate) struct Known {
    generation: Generation,
    content_hash: Arc<str>,
    live: Weak<Live>,
    holders: Arc<Holders>,
}

impl Pins {
    /// A request begins to hold its part.
    pub fn begin(&self, hold: Hold) {
        add(&self.holds[hold as usize], 1);
    }

    /// What it does becomes something else.
    pub fn turn(&self, from: Hold, to: Hold) {
        self.end(from);
        self.begin(to);
    }

    /// It ends. Each call is matched by an earlier [`begin`](Self::begin).
    pub fn end(&self, hold: Hold) {
        subtract(&self.holds[hold as usize], 1);
    }

    /// The worker keeps the plan for its next request, or does not any more.
    pub fn keep(&self, kept: bool) {
        self.kept.store(kept.into(), Ordering::Relaxed);
    }

    /// A route of so many bytes is held apart from its plan.
    pub fn route_held(&self, bytes: usize) {
        add(&self.routes, 1);
        add(&self.route_bytes, bytes as u64);
    }

    /// Such a route is let go.
    pub fn route_let_go(&self, bytes: usize) {
        subtract(&self.routes, 1);
        subtract(&self.route_bytes, bytes as u64);
    }
}

/// One thread writes, so that no locked instruction is needed.
fn add(count: &AtomicU64, by: u64) {
    let now = count.load(Ordering::Relaxed);
    count.store(now.wrapping_add(by), Ordering::Relaxed);
}

fn subtract(count: &AtomicU64, by: u64) {
    let now = count.load(Ordering::Relaxed);
    count.store(now.wrapping_sub(by), Ordering::Relaxed);
}

impl Holders {
    /// Counts of one more worker, all zero.
    pub fn join(&self) -> Arc<Pins> {
        let pins = Arc::<Pins>::default();
        self.all(|all| all.push(pins.clone()));
        pins
    }

    fn sum(&self, count: impl Fn(&Pins) -> &AtomicU64) -> u64 {
        self.all(|all| {
            let counts = all.iter().map(|pins| count(pins).load(Ordering::Relaxed));
            counts.fold(0, u64::wrapping_add)
        })
    }

    fn under_way(&self) -> UnderWay {
        let of = |hold: Hold| self.sum(|pins| &pins.holds[hold as usize]);
        UnderWay {
            requests: of(Hold::Request),
            answers: of(Hold::Answer),
            resumable: of(Hold::Resumable),
            tunnels: of(Hold::Tunnel),
            copies: of(Hold::Copy),
        }
    }

    fn all<T>(&self, look: impl FnOnce(&mut Vec<Arc<Pins>>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UnderWay {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.requests + self.answers + self.resumable + self.tunnels + self.copies
    }
}

impl Known {
    pub(crate) fn new(live: &Arc<Live>) -> Self {
        Self {
            generation: live.generation,
            content_hash: live.plan.content_hash.clone(),
            live: Arc::downgrade(live),
            holders: live.holders.clone(),
        }
    }

    /// Whether anything is left of it.
    pub(crate) fn is_alive(&self) -> bool {
        let routes = || self.holders.sum(|pins| &pins.routes);
        self.live.strong_count() > 0 || routes() > 0 || self.holders.under_way().total() > 0
    }

    /// What is left of it; none if nothing is.
    pub(crate) fn alive(&self) -> Option<Alive> {
        let live = self.live.upgrade();
        let routes = self.holders.sum(|pins| &pins.routes);
        let under_way = self.holders.under_way();
        if !self.is_alive() {
            return None;
        }
        let workers = self.holders.sum(|pins| &pins.kept);
        // The one by which it is looked at here is nobody's.
        let strong = live
            .as_ref()
            .map_or(0, |live| Arc::strong_count(live) as u64 - 1);
        Some(Alive {
            generation: self.generation,
            content_hash: self.content_hash.clone(),
            whole: live.is_some(),
            plan_bytes: live.map_or(0, |live| live.plan.bytes()),
            holders: PlanHolders {
                workers,
                others: strong.saturating_sub(workers),
            },
            under_way,
            routes,
            route_bytes: self.holders.sum(|pins| &pins.route_bytes),
        })
    }
}
