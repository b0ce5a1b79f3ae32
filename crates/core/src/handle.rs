//! The plan that serves, bound to what is observed.
//!
//! [`PlanHandle`] is where `control` puts a new plan and where the data plane takes it: one swap,
//! one load per request. [`Live`] is a plan with its names replaced by pointers: to the slots of
//! endpoints, to the cells of the board, to the budgets, to what is known for hedges. Beside the plan that
//! serves another one may serve a part ([`Stage`]) until it serves whole or is abandoned.

mod bind;
mod stage;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};

use crate::board::Board;
use crate::budget::Budget;
use crate::cell::RegionCell;
use crate::endpoint::EndpointSlot;
use crate::geo::Direction;
use crate::hedge::HedgeCell;
use crate::ids::{Generation, RouteIdx, UpstreamIdx};
use crate::news::News;
use crate::pins::{Alive, Holders, Known};
use crate::plan::{Plan, Upstream};

pub use stage::{InvalidStage, Part, Served, Stage};

/// An activated plan.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub generation: Generation,
    /// What is wanted.
    pub plan: Arc<Plan>,
    /// Per upstream of the plan, in the plan's order.
    pub upstreams: Box<[Arc<LiveUpstream>]>,
    /// Per route of the plan, in the plan's order; empty where none has `hedge`.
    hedges: Box<[Option<Arc<HedgeCell>>]>,
    /// Who counts what holds it, or a part of it.
    pub holders: Arc<Holders>,
}

/// An upstream's pointers to what is observed.
#[derive(Debug)]
pub struct LiveUpstream {
    /// Per region of the upstream, in the plan's order.
    pub regions: Box<[LiveRegion]>,
    /// Tokens for retries within a region and across regions.
    pub budget: Arc<Budget>,
}

/// The pointers of one region of one upstream.
#[derive(Debug)]
pub struct LiveRegion {
    /// What is observed of the region.
    pub cell: Arc<RegionCell>,
    /// Who is there.
    pub endpoints: Arc<EndpointSlot>,
    /// Great-circle distance from this PoP in kilometres, if both locations are known.
    pub distance_km: Option<f64>,
    /// Where it is, if that was told.
    pub direction: Option<Direction>,
    /// XXH64 of its name: what draws for requests that stay together know it by.
    pub key: u64,
}

impl Live {
    /// The upstream's record and its pointers.
    pub fn upstream(&self, upstream: UpstreamIdx) -> (&Upstream, &LiveUpstream) {
        (
            self.plan.upstream(upstream),
            &self.upstreams[upstream.get()],
        )
    }

    /// What is observed for the hedges of a route; none if it has no `hedge`.
    pub fn hedge(&self, route: RouteIdx) -> Option<&Arc<HedgeCell>> {
        self.hedges.get(route.get())?.as_ref()
    }
}

/// Where the serving plan is kept, and beside it one that serves a part. Empty until the first
/// activation.
#[derive(Debug, Default)]
pub struct PlanHandle {
    live: ArcSwapOption<Live>,
    /// Its generation, or that of the one before for a moment; none is 0.
    serving: AtomicU64,
    /// Whether there may be a stage: what requests look at first, so that one that is not there costs
    /// them a load of this word.
    staged: AtomicBool,
    stage: ArcSwapOption<Stage>,
    /// The last number given out; held while a plan is put in place, so that the newest serves.
    last: Mutex<u64>,
    /// Who is told that another plan serves, or another part.
    news: News,
    /// Every generation that something may still hold, oldest first.
    known: Mutex<Vec<Known>>,
}

impl PlanHandle {
    /// A handle that serves nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same whose first plan gets the number after `last`: numbers go on over restarts.
    pub fn after(last: Generation) -> Self {
        Self {
            last: Mutex::new(last.0),
            ..Self::default()
        }
    }

    /// Gives the next plan the number after `last`, unless it gets a higher one anyway.
    pub fn count_after(&self, last: Generation) {
        let mut own = self.lock();
        *own = (*own).max(last.0);
    }

    /// The plan for a connection with this key, by share of connections. With one plan alive the key
    /// decides nothing, and this is one load of a flag and one of the plan. What a stage takes by route
    /// is for [`Stage::takes`] to say. None before the first activation.
    pub fn load(&self, key: u64) -> Guard<Option<Arc<Live>>> {
        if self.is_staged()
            && let Some(stage) = &*self.stage.load()
            && stage.takes_connection(key)
        {
            return Guard::from_inner(Some(stage.live.clone()));
        }
        self.live.load()
    }

    /// The plan that serves what no stage takes, which is everything while there is none.
    pub fn serving(&self) -> Guard<Option<Arc<Live>>> {
        self.live.load()
    }

    /// Whether the plan of this generation is the one that serves what no stage takes: one load, where
    /// [`serving`](Self::serving) is two locked operations. Who keeps a plan asks this for every request.
    #[inline]
    pub fn serves(&self, generation: Generation) -> bool {
        self.serving.load(Ordering::Acquire) == generation.0
    }

    /// The serving plan, to keep; not one that serves a part. None before the first activation.
    pub fn newest(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Whether another plan serves a part: one relaxed load. What it says may be a moment old.
    #[inline]
    pub fn is_staged(&self) -> bool {
        self.staged.load(Ordering::Relaxed)
    }

    /// The plan that serves a part, and which part; none while one plan serves everything.
    pub fn stage(&self) -> Guard<Option<Arc<Stage>>> {
        self.stage.load()
    }

    /// The plans that serve, the one that serves a part last. Empty before the first activation.
    pub fn alive(&self) -> Vec<Arc<Live>> {
        let staged = self.stage.load_full();
        let staged = staged.map(|stage| stage.live.clone());
        let mut alive: Vec<_> = self.newest().into_iter().chain(staged).collect();
        // In the moment in which a part becomes the whole.
        alive.dedup_by(|a, b| Arc::ptr_eq(a, b));
        alive
    }

    /// Binds `plan` to `board`, makes it serve everything from the next load on, and returns it. That ends
    /// a stage.
    pub fn activate(&self, plan: impl Into<Arc<Plan>>, board: &Board) -> Arc<Live> {
        let mut last = self.lock();
        self.unstage();
        *last += 1;
        let live = Arc::new(Live::bind(plan.into(), board, Generation(*last)));
        self.remember(&live);
        self.serve(&live);
        self.news.tell();
        live
    }

    /// Binds `plan` beside what serves, makes it serve this part from the next load on, and returns it. It
    /// takes the place of a stage that there is.
    ///
    /// # Errors
    /// [`InvalidStage`] before the first activation, and when `part` names what the plan does not have.
    pub fn stage_plan(
        &self,
        plan: Arc<Plan>,
        part: Part,
        board: &Board,
    ) -> Result<Arc<Stage>, InvalidStage> {
        let mut last = self.lock();
        if self.live.load().is_none() {
            return Err(InvalidStage::NothingServes);
        }
        let generation = Generation(*last + 1);
        let live = Arc::new(Live::beside(plan, board, generation));
        let stage = Arc::new(Stage::new(live, part)?);
        *last = generation.0;
        self.remember(&stage.live);
        self.put(&stage);
        Ok(stage)
    }

    /// Makes the plan that serves a part serve another one; what was counted stays. None if there is no
    /// stage.
    ///
    /// # Errors
    /// [`InvalidStage`] when `part` names what the plan does not have.
    pub fn restage(&self, part: Part) -> Result<Option<Arc<Stage>>, InvalidStage> {
        let _last = self.lock();
        let Some(stage) = self.stage.load_full() else {
            return Ok(None);
        };
        let stage = Arc::new(stage.with(part)?);
        self.put(&stage);
        Ok(Some(stage))
    }

    /// Makes the plan that serves a part serve everything; none if there is no stage. Nothing is bound
    /// anew: who has this plan already goes on with it.
    pub fn promote(&self, board: &Board) -> Option<Arc<Live>> {
        let _last = self.lock();
        let live = self.stage.load_full()?.live.clone();
        live.take_over(board);
        self.serve(&live);
        self.unstage();
        self.news.tell();
        Some(live)
    }

    /// Ends the stage: the serving plan serves everything from the next load on. The stage that there was.
    pub fn abandon(&self) -> Option<Arc<Stage>> {
        let _last = self.lock();
        let stage = self.unstage();
        self.news.tell();
        stage
    }

    /// Who is told whenever another plan serves, or another part: those who keep one may let it go.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// The generations of which something is alive, and what holds it; oldest first. Adds up the counts
    /// of all workers, and the bytes of whole plans: for people, not for requests.
    pub fn held(&self) -> Vec<Alive> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Known::alive).collect()
    }

    /// Remembers a generation that was put in place, and forgets those that nothing holds any more.
    fn remember(&self, live: &Arc<Live>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(Known::is_alive);
        known.push(Known::new(live));
    }

    fn serve(&self, live: &Arc<Live>) {
        self.live.store(Some(live.clone()));
        self.serving.store(live.generation.0, Ordering::Release);
    }

    fn put(&self, stage: &Arc<Stage>) {
        self.stage.store(Some(stage.clone()));
        self.staged.store(true, Ordering::Release);
        self.news.tell();
    }

    fn unstage(&self) -> Option<Arc<Stage>> {
        self.staged.store(false, Ordering::Release);
        self.stage.swap(None)
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
