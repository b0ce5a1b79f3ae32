//! A plan that is tried on what comes before it serves, then serves a part, then everything, or is dropped.
//!
//! There is one candidate at a time. It comes by the same path as every plan (texts, validator, plan), is
//! compared with the serving plan by a thread of its own (`trial`), and changes nothing that requests see
//! until somebody, or its limits, activates it. Everything is in memory: a restart forgets a candidate, and
//! serves what served.

mod limits;
mod rebase;
mod refusal;
mod stage;
mod tally;
mod terms;
mod told;
mod traffic;
mod trial;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::Value;
use tidegate_config::{Bundle, Loaded, Report};
use tidegate_core::settings::Settings;
use tidegate_core::{Part, Plan};
use tidegate_telemetry::EventKind;

use crate::origin::{Author, Cause, Origin};
use crate::outcome::{Outcome, Verdict};
use crate::reload::{Reloader, Source, Staged};
use crate::retire::Leaving;
use crate::shared::Shared;
use trial::Trial;

pub use limits::{Broken, InvalidLimit, Limits};
pub use refusal::Unwanted;
pub use stage::Guard;
pub(crate) use stage::{part_in_words, staged};
pub use tally::Compared;
pub use terms::{InvalidTerms, StageTerms, Terms};
pub use traffic::{NoTraffic, Traffic};

/// Where the candidate is kept. One per process.
pub struct Candidates {
    shared: Shared,
    reloader: Arc<Reloader>,
    traffic: Arc<dyn Traffic>,
    /// Held while something becomes of the candidate, so that two who ask do so one after the other.
    turn: tokio::sync::Mutex<()>,
    receiving: tokio::sync::Mutex<()>,
    current: Mutex<Option<Current>>,
    last: std::sync::atomic::AtomicU64,
}

/// A candidate.
#[derive(Clone)]
struct Current {
    number: u64,
    parts: Arc<Parts>,
    author: Author,
    since: SystemTime,
    terms: Terms,
    trial: Arc<Trial>,
    guard: Guard,
    state: State,
}

/// What a candidate was made of, beside its plan.
struct Parts {
    settings: Settings,
    resolved: String,
    bundle: Bundle,
    watched: Vec<std::path::PathBuf>,
    warnings: Report,
}

/// What has become of a candidate.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// It is compared, or has been.
    Tried,
    /// Its time was over and its limits did not hold, or it could not be activated: in words.
    Kept(String),
    /// It serves a part.
    Staged,
    /// It served a part; why it does not any more.
    Abandoned(String),
    /// It serves everything, under this number.
    Activated(u64),
}

impl Candidates {
    /// A place without a candidate. Requests to try one on come from `traffic`.
    pub fn new(shared: Shared, reloader: Arc<Reloader>, traffic: Arc<dyn Traffic>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            reloader,
            traffic,
            turn: tokio::sync::Mutex::default(),
            receiving: tokio::sync::Mutex::default(),
            current: Mutex::default(),
            last: std::sync::atomic::AtomicU64::default(),
        })
    }

    /// Whoever holds this receives a configuration; others wait.
    pub(crate) async fn receiving(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.receiving.lock().await
    }

    /// Compiles `bundle`, as if it stood where the serving configuration stands, and begins to try it, in the
    /// place of a candidate that there is.
    ///
    /// # Errors
    /// [`Unwanted`] when it has problems, needs a restart, or the candidate that there is serves a part.
    pub async fn put(
        self: &Arc<Self>,
        bundle: Bundle,
        terms: Terms,
        author: Author,
    ) -> Result<Value, Unwanted> {
        let own = self.clone();
        whole(async move { own.replace(bundle, terms, author).await }).await
    }

    async fn replace(
        self: &Arc<Self>,
        bundle: Bundle,
        terms: Terms,
        author: Author,
    ) -> Result<Value, Unwanted> {
        let _turn = self.turn.lock().await;
        if self.shared.plan.is_staged() {
            return Err(Unwanted::Staged);
        }
        let own = rebase::rebased(&bundle, self.reloader.path());
        let loaded = self.reloader.prepare(Source::Bundle(Arc::new(own))).await;
        let loaded = loaded.map_err(|mut report| {
            // People know it by the name that they gave it.
            report.source_name = bundle.main.display().to_string();
            Unwanted::Problems(report)
        })?;
        let fields = self.reloader.needs_restart(&loaded);
        if !fields.is_empty() {
            return Err(Unwanted::RestartNeeded(fields));
        }
        self.drop_current().await;
        let current = self.begin(loaded, terms, author);
        self.record("tried", &current, String::new());
        tokio::spawn(self.clone().look_after_trial(current.clone()));
        *self.lock() = Some(current);
        self.told()
    }

    /// The candidate and what came of it so far.
    ///
    /// # Errors
    /// [`Unwanted::None`] when there is none.
    pub fn told(&self) -> Result<Value, Unwanted> {
        let current = self.current()?;
        Ok(told::document(&current, &self.shared))
    }

    /// Forgets the candidate; what it serves goes back to the plan that serves. Tells of it once more.
    ///
    /// # Errors
    /// [`Unwanted::None`] when there is none.
    pub async fn withdraw(self: &Arc<Self>) -> Result<Value, Unwanted> {
        let own = self.clone();
        whole(async move {
            let _turn = own.turn.lock().await;
            let current = own.current()?;
            if current.state == State::Staged {
                own.unstage(&current, "withdrawn");
            }
            let told = own.told();
            own.record("withdrawn", &current, String::new());
            drop(current);
            own.drop_current().await;
            told
        })
        .await
    }

    /// Makes the candidate serve everything, by the path of every reload.
    ///
    /// # Errors
    /// [`Unwanted`] when there is no candidate, or it is refused by now.
    pub async fn activate(
        self: &Arc<Self>,
        author: Author,
    ) -> Result<(Value, Arc<Outcome>), Unwanted> {
        let own = self.clone();
        whole(async move {
            let _turn = own.turn.lock().await;
            let outcome = own.serve_whole(&own.current()?, author).await?;
            Ok((own.told()?, outcome))
        })
        .await
    }

    /// Makes the candidate serve a part, or another part than it does.
    ///
    /// # Errors
    /// [`Unwanted`] when there is no candidate, or the part is none of its.
    pub async fn stage(self: &Arc<Self>, part: Part, terms: StageTerms) -> Result<Value, Unwanted> {
        let _turn = self.turn.lock().await;
        let mut current = self.current()?;
        let words = part_in_words(&part);
        let (handle, board) = (&self.shared.plan, &self.shared.board);
        current.guard = terms.over(current.guard, current.state == State::Staged);
        if current.state == State::Staged && handle.restage(part.clone())?.is_some() {
            self.set(current.clone());
        } else {
            let plan = current.trial.plan().clone();
            let stage = self.shared.orders.stage(plan, part, handle, board)?;
            current.state = State::Staged;
            self.set(current.clone());
            tokio::spawn(self.clone().look_after_stage(current.number));
            self.enter_number(stage.generation().0);
        }
        self.record("staged", &current, words);
        self.told()
    }

    /// Requests are served and logged under this number, so it must not come again.
    fn enter_number(&self, generation: u64) {
        self.reloader.generations().gave(generation);
        let reloader = self.reloader.clone();
        tokio::spawn(async move { reloader.keep().await });
    }

    /// Gives what the candidate serves back to the plan that serves. It stays as a candidate.
    ///
    /// # Errors
    /// [`Unwanted`] when there is no candidate, or it serves nothing.
    pub async fn abandon(&self, author: &Author) -> Result<Value, Unwanted> {
        let _turn = self.turn.lock().await;
        let current = self.current()?;
        if current.state != State::Staged {
            return Err(Unwanted::NotStaged);
        }
        let why = author.reason.as_deref().unwrap_or("somebody asked for it");
        self.unstage(&current, why);
        self.told()
    }

    fn begin(&self, loaded: Loaded, terms: Terms, author: Author) -> Current {
        let warnings = loaded.report();
        let number = self.last.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let (shared, traffic) = (self.shared.clone(), self.traffic.clone());
        Current {
            number,
            author,
            since: SystemTime::now(),
            trial: Trial::start(Arc::new(loaded.plan), shared, traffic, terms.lasts),
            parts: Arc::new(Parts {
                settings: loaded.settings,
                resolved: loaded.resolved,
                bundle: loaded.bundle,
                watched: loaded.watched,
                warnings,
            }),
            terms,
            guard: Guard::default(),
            state: State::Tried,
        }
    }

    /// Waits until the trial is over, and does what was asked for in that case.
    async fn look_after_trial(self: Arc<Self>, begun: Current) {
        begun.trial.over().await;
        let _turn = self.turn.lock().await;
        let Ok(mut current) = self.current() else {
            return;
        };
        if current.number != begun.number || current.state != State::Tried {
            return;
        }
        let broken = current.terms.limits.broken(&current.trial.tried().tally);
        let words: Vec<_> = broken.iter().map(ToString::to_string).collect();
        if !current.terms.activate {
            return;
        }
        if !broken.is_empty() {
            current.state = State::Kept(words.join("; "));
            self.record("kept", &current, words.join("; "));
            return self.set(current);
        }
        if let Err(why) = self.serve_whole(&current, current.author.clone()).await {
            current.state = State::Kept(why.to_string());
            self.record("kept", &current, why.to_string());
            self.set(current);
        }
    }

    /// Abandons the stage when its requests fail more often than they may. Ends with the stage.
    async fn look_after_stage(self: Arc<Self>, number: u64) {
        loop {
            tokio::time::sleep(stage::LOOK).await;
            let _turn = self.turn.lock().await;
            let Ok(current) = self.current() else { return };
            if current.number != number || current.state != State::Staged {
                return;
            }
            let stage = self.shared.plan.stage();
            let objection = stage.as_ref().and_then(|it| current.guard.objection(it));
            drop(stage);
            if let Some(why) = objection {
                return self.unstage(&current, &why);
            }
        }
    }

    async fn serve_whole(
        &self,
        current: &Current,
        author: Author,
    ) -> Result<Arc<Outcome>, Unwanted> {
        let origin = Origin::by(Cause::Candidate, author);
        let outcome = match self.staged(current) {
            Some(staged) => self.reloader.promote(staged, origin).await,
            None => {
                let source = Source::Bundle(Arc::new(current.parts.bundle.clone()));
                let loaded = self.reloader.prepare(source).await;
                let loaded = loaded.map_err(Unwanted::Problems)?;
                self.reloader.activate(loaded, origin).await
            }
        };
        let generation = match &outcome.verdict {
            Verdict::Activated { generation, .. } | Verdict::Unchanged { generation, .. } => {
                *generation
            }
            Verdict::Refused { .. } | Verdict::RestartNeeded { .. } | Verdict::Withheld { .. } => {
                return Err(Unwanted::Refused(outcome));
            }
        };
        current.trial.stop();
        // It was what serves already, so nothing took the place of what serves a part.
        if self.staged(current).is_some() {
            self.end_stage();
        }
        let mut current = current.clone();
        current.state = State::Activated(generation);
        self.record("activated", &current, format!("generation {generation}"));
        self.set(current);
        Ok(outcome)
    }

    /// The candidate as it serves a part; none if it does not.
    fn staged(&self, current: &Current) -> Option<Staged> {
        let stage = self.shared.plan.stage();
        let stage = stage.as_ref()?;
        let own = Arc::ptr_eq(&stage.live.plan, current.trial.plan());
        let parts = &current.parts;
        own.then(|| Staged {
            live: stage.live.clone(),
            settings: parts.settings.clone(),
            resolved: parts.resolved.clone(),
            bundle: parts.bundle.clone(),
            watched: parts.watched.clone(),
            warnings: parts.warnings.clone(),
        })
    }

    /// Gives what a part got back to the plan that serves.
    fn end_stage(&self) {
        let leaving = self.shared.plan.stage().as_ref().map(|stage| {
            let live = stage.live.clone();
            Leaving::of(live, &self.shared.metrics)
        });
        drop(self.shared.plan.abandon());
        if let Some(leaving) = leaving {
            let board = self.shared.board.clone();
            leaving.retire(self.reloader.quiet().clone(), board);
        }
    }

    fn unstage(&self, current: &Current, why: &str) {
        self.end_stage();
        let mut current = current.clone();
        current.state = State::Abandoned(why.to_owned());
        self.record("abandoned", &current, why.to_owned());
        self.set(current);
    }

    /// The candidate as it is. Others may have become of it what nobody told: another activation ends a
    /// stage, and may have been of the same content.
    fn current(&self) -> Result<Current, Unwanted> {
        let mut current = self.lock();
        let current = current.as_mut().ok_or(Unwanted::None)?;
        if let Some(serving) = self.shared.plan.newest() {
            let own = Arc::ptr_eq(&serving.plan, current.trial.plan());
            let staged = current.state == State::Staged && !self.shared.plan.is_staged();
            if own && !matches!(current.state, State::Activated(_)) {
                current.state = State::Activated(serving.generation.0);
                current.trial.stop();
            } else if staged {
                let why = format!("generation {} was activated meanwhile", serving.generation);
                current.state = State::Abandoned(why);
            }
        }
        Ok(current.clone())
    }

    fn set(&self, current: Current) {
        *self.lock() = Some(current);
    }

    /// Forgets the candidate, once no more requests are shown to it.
    async fn drop_current(&self) {
        let Some(current) = self.stop_current() else {
            return;
        };
        current.trial.over().await;
        let board = self.shared.board.clone();
        let tidied = self.reloader.quiet().run(move || board.forget_unused());
        // Without the thread the next activation does it.
        let _ = tidied.await;
    }

    fn stop_current(&self) -> Option<Current> {
        let current = self.lock().take();
        current.inspect(|current| current.trial.stop())
    }

    fn record(&self, what: &'static str, current: &Current, detail: String) {
        self.shared.events.record(EventKind::Candidate {
            what,
            hash: hash(current.trial.plan()),
            who: current.author.who.clone(),
            detail,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Candidates {
    fn drop(&mut self) {
        self.stop_current();
    }
}

/// Does `work` to its end, whatever becomes of who asked for it.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Unwanted>> + Send + 'static,
) -> Result<T, Unwanted> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Unwanted::Broken(error.to_string())))
}

fn hash(plan: &Plan) -> Arc<str> {
    plan.content_hash.clone()
}
