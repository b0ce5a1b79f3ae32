//! A candidate is tried: what comes is shown to it beside the plan that serves, on a thread of its own that
//! every other goes before.
//!
//! The thread takes what the data plane has put down, compares, counts, and rests; it sends nothing, and the
//! data plane never waits for it. When another plan serves, the candidate is compared with that one, from
//! the beginning.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_core::shadow::{Case, compare};
use tidegate_core::{Generation, Live, Plan};
use tokio::sync::watch;

use super::tally::Tally;
use super::traffic::Traffic;
use crate::shared::Shared;

/// How often what was put down is taken. The data plane keeps a few hundred requests for so long.
const PAUSE: Duration = Duration::from_millis(25);
/// Requests that are compared between two pauses; what else came is left out. 20,000 a second cost about
/// a tenth of a core.
const AT_ONCE: usize = 500;

/// A candidate on trial.
pub(super) struct Trial {
    plan: Arc<Plan>,
    shared: Shared,
    traffic: Arc<dyn Traffic>,
    lasts: Duration,
    state: Mutex<Tried>,
    stop: AtomicBool,
    over: watch::Sender<bool>,
}

/// How far it is.
#[derive(Default)]
pub(super) struct Tried {
    /// The number of the plan that it is compared with.
    pub(super) compared_with: Generation,
    /// How often the comparison began anew, because another plan served.
    pub(super) anew: u32,
    /// When it began, the last time.
    pub(super) began: Option<Instant>,
    /// When it ended.
    pub(super) ended: Option<Instant>,
    /// What came of it.
    pub(super) tally: Tally,
}

/// The two plans, bound.
struct Pair {
    serving: Arc<Live>,
    candidate: Live,
}

impl Trial {
    /// Begins to try `plan` for so long. Where the system gives no thread, nothing is compared, and the log
    /// says so.
    pub(super) fn start(
        plan: Arc<Plan>,
        shared: Shared,
        traffic: Arc<dyn Traffic>,
        lasts: Duration,
    ) -> Arc<Self> {
        let trial = Arc::new(Self {
            plan,
            shared,
            traffic,
            lasts,
            state: Mutex::default(),
            stop: AtomicBool::new(false),
            over: watch::Sender::new(false),
        });
        let thread = std::thread::Builder::new().name("tidegate-try".to_owned());
        let own = trial.clone();
        if let Err(error) = thread.spawn(move || own.run()) {
            tracing::error!("no thread for a candidate: {error}");
            trial.end();
        }
        trial
    }

    /// The candidate.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How long it is tried.
    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// How far it is.
    pub(super) fn tried(&self) -> MutexGuard<'_, Tried> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it before its time.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until it is over, by time or because it was stopped.
    pub(super) async fn over(&self) {
        // The sender is here, so it cannot be gone.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    fn run(&self) {
        crate::quiet::step_back();
        self.traffic.open();
        let (mut pair, mut cases) = (None, Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            let missed = self.traffic.take(&mut cases);
            self.look(&mut pair, &mut cases, missed);
            if self.is_over() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.traffic.close();
        // Whoever hears that it is over may forget what nobody uses.
        drop(pair);
        self.end();
    }

    fn end(&self) {
        self.tried().ended = Some(Instant::now());
        self.over.send_replace(true);
    }

    fn is_over(&self) -> bool {
        let began = self.tried().began;
        began.is_some_and(|began| began.elapsed() >= self.lasts)
    }

    /// Compares what was put down since the last time. What came under a plan that serves no more is thrown
    /// away with what was counted under it.
    fn look(&self, pair: &mut Option<Pair>, cases: &mut Vec<Case>, missed: u64) {
        let Some(serving) = self.shared.plan.newest() else {
            return cases.clear();
        };
        let same = |pair: &Pair| Arc::ptr_eq(&pair.serving, &serving);
        if !pair.as_ref().is_some_and(same) {
            cases.clear();
            self.begin(&serving);
            *pair = Some(Pair::bind(serving, &self.plan, &self.shared));
        }
        let Some(pair) = pair else { return };
        let beyond = cases.len().saturating_sub(AT_ONCE);
        for case in cases.drain(..).take(AT_ONCE) {
            self.enter(pair, &case);
        }
        self.tried().tally.miss(missed + beyond as u64);
    }

    fn begin(&self, serving: &Live) {
        let mut tried = self.tried();
        let anew = tried.began.map_or(0, |_| tried.anew + 1);
        *tried = Tried {
            compared_with: serving.generation,
            anew,
            began: Some(Instant::now()),
            ..Tried::default()
        };
    }

    fn enter(&self, pair: &Pair, case: &Case) {
        let (serving, candidate) = (&pair.serving, &pair.candidate);
        let compare = || compare(serving, candidate, case, Instant::now());
        // A plan that nobody has served yet must not take this thread with it.
        let found = catch_unwind(AssertUnwindSafe(compare));
        let mut tried = self.tried();
        match found {
            Ok(found) => tried.tally.enter(&case.request, found),
            Err(_) => tried.tally.fail(),
        }
    }
}

impl Pair {
    fn bind(serving: Arc<Live>, plan: &Arc<Plan>, shared: &Shared) -> Self {
        Self {
            serving,
            candidate: Live::beside(plan.clone(), &shared.board, Generation::default()),
        }
    }
}
