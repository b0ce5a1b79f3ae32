//! The one path by which a configuration comes to serve.
//!
//! Load, report every problem, compare the settings with those that run, swap once. Whoever asks
//! waits for the verdict; two who ask at once are served one after the other. Certificates are read
//! again on every occasion, whatever the verdict on the configuration is: a renewal must not wait
//! for somebody's unfinished edit. Nothing is awaited between the swap and its record, and a
//! request that goes away does not take a reload with it.
//!
//! Two steps are open to others. [`Reloader::prepare`] compiles a source on the quiet thread and touches
//! nothing that serves; [`Reloader::activate`] lets what was prepared serve, with the same judgement and
//! the same records as a reload of the file.

mod judge;
mod open;
mod read;
mod tell;

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_config::{Loaded, Problem, Report};
use tidegate_core::settings::Settings;
use tidegate_telemetry::metrics::PlanSeries;
use tokio::sync::{Mutex, watch};

use crate::certificates::Certificates;
use crate::generations::{Generations, NoGeneration};
use crate::launch::Marks;
use crate::origin::{Cause, Origin};
use crate::outcome::{CertificateOutcome, Keeping, Outcome, Verdict};
use crate::places::Places;
use crate::quiet::{Quiet, QuietError};
use crate::shared::Shared;
use crate::stamp::Stamps;
use read::{Read, Reading, Wanted, certificate_files, load, report};

pub use read::{Source, Staged};
pub(crate) use tell::first_error;

/// Reads a configuration again, as often as somebody asks.
pub struct Reloader {
    path: PathBuf,
    shared: Shared,
    settings: Settings,
    certificates: OnceLock<Arc<dyn Certificates>>,
    /// Held while a reload is under way, with the state of the certificates' files at the last one.
    under_way: Mutex<Stamps>,
    document: ArcSwap<Document>,
    last: ArcSwapOption<Outcome>,
    /// How the watched files looked when they were last read.
    read: ArcSwap<Stamps>,
    quiet: Quiet,
    places: Places,
    watched: watch::Sender<Watched>,
    generations: Arc<Generations>,
    /// Marks of starts that have not ended well yet.
    marks: Arc<std::sync::Mutex<Marks>>,
    /// The series of what serves: held, so that what was made ready is there when the workers ask for it.
    series: ArcSwapOption<PlanSeries>,
    /// The hash of the texts that serve.
    served: ArcSwap<String>,
    activated: watch::Sender<Option<Activation>>,
}

/// A plan that was put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activation {
    pub(crate) generation: u64,
    /// The one that served before; none at the start.
    pub(crate) before: Option<u64>,
    pub(crate) cause: Cause,
}

/// The configuration that serves, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The number under which it serves.
    pub generation: u64,
    /// Its content hash.
    pub hash: Arc<str>,
    /// The whole of it as YAML, with every default written out.
    pub resolved: String,
}

/// A process's first configuration: it serves.
pub struct Opened {
    /// Reads it again.
    pub reloader: Arc<Reloader>,
    /// What to start the process with.
    pub settings: Settings,
    /// What somebody should look at. May be without problems.
    pub warnings: Report,
}

/// The files that the serving configuration was made of, as they were when it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) stamps: Stamps,
}

impl Reloader {
    /// Says whose certificates are to be read again, once the listeners exist. Only the first
    /// call counts.
    pub fn set_certificates(&self, certificates: Arc<dyn Certificates>) {
        tell::expiries(&self.shared, &certificates.serving());
        let _ = self.certificates.set(certificates);
    }

    /// Reads configuration and certificates again, and lets them serve if they can. Waits for a
    /// reload that is under way. Dropping the future does not stop the reload.
    pub async fn reload(self: &Arc<Self>, origin: impl Into<Origin>) -> Arc<Outcome> {
        self.spawn(Wanted::Source(Source::File), origin.into())
            .await
    }

    /// Compiles `source` as a reload would, on the quiet thread, and leaves everything that serves as
    /// it is. Whoever gives it to [`activate`](Self::activate) later gets today's judgement on it
    /// then; certificates of upstreams are those that were read here.
    ///
    /// # Errors
    /// Every problem, when it would be refused.
    pub async fn prepare(&self, source: Source) -> Result<Loaded, Report> {
        let (path, serving) = (self.path.clone(), self.shared.plan.newest());
        let compile = move || {
            let serving = serving.as_deref().map(|live| &*live.plan);
            load(&path, &source, serving)
        };
        let compiled = self.quiet.run(compile).await;
        compiled.unwrap_or_else(|error| Err(unread(&self.path, &error)))
    }

    /// Lets what was prepared serve, unless it is what serves already or touches what only a restart
    /// changes. Everything that a reload leaves behind is left behind: verdict, event, metric, the
    /// generation's entry. Waits for a reload that is under way; dropping the future does not stop it.
    pub async fn activate(
        self: &Arc<Self>,
        loaded: Loaded,
        origin: impl Into<Origin>,
    ) -> Arc<Outcome> {
        self.spawn(Wanted::Loaded(Box::new(loaded)), origin.into())
            .await
    }

    /// Lets what serves a share serve everything, with the same judgement and records as
    /// [`activate`](Self::activate). Refused when it is not what is staged any more.
    pub async fn promote(
        self: &Arc<Self>,
        staged: Staged,
        origin: impl Into<Origin>,
    ) -> Arc<Outcome> {
        self.spawn(Wanted::Staged(Box::new(staged)), origin.into())
            .await
    }

    /// Lets a generation serve again that has served before: `to`, or the one that served before this
    /// one. Its texts are compiled again by the one validator; what it refers to, certificates and the
    /// environment, is read as it is now.
    ///
    /// # Errors
    /// [`NoGeneration`] when it is not kept.
    pub async fn rollback(
        self: &Arc<Self>,
        to: Option<u64>,
        origin: impl Into<Origin>,
    ) -> Result<Arc<Outcome>, NoGeneration> {
        let target = self.generations.target(to)?;
        let wanted = Wanted::Generation(target, None);
        Ok(self.spawn(wanted, origin.into()).await)
    }

    /// The same, to leave generation `from` and no other: refused when another one serves by the time
    /// that it is this one's turn.
    ///
    /// # Errors
    /// [`NoGeneration`] when it is not kept.
    pub async fn leave(
        self: &Arc<Self>,
        from: u64,
        to: Option<u64>,
        origin: impl Into<Origin>,
    ) -> Result<Arc<Outcome>, NoGeneration> {
        let target = self.generations.target(to)?;
        let wanted = Wanted::Generation(target, Some(from));
        Ok(self.spawn(wanted, origin.into()).await)
    }

    /// Enters that what serves can serve: for whoever ends the process in good order, or has seen it
    /// serve for a while. Nothing without a state directory.
    pub async fn prove(self: &Arc<Self>) {
        let reloader = self.clone();
        let write = move || {
            reloader.generations.proven();
            let ended = reloader.marks().end(&reloader.served.load());
            let problems = [ended.err(), reloader.generations.flush().err()];
            problems.into_iter().flatten().collect::<Vec<_>>()
        };
        let problems = self.quiet.run(write).await;
        open::tell(&problems.unwrap_or_default(), &self.shared);
    }

    /// What of `loaded` only a restart can change, by the names of the fields. Empty: nothing.
    pub(crate) fn needs_restart(&self, loaded: &Loaded) -> Vec<String> {
        crate::restart::differing(&self.settings, &loaded.settings)
    }

    /// The thread for what must not delay requests.
    pub(crate) fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    /// Where the configuration is that the process was started with.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The generations: those that are alive, and those that can be gone back to.
    pub fn generations(&self) -> &Arc<Generations> {
        &self.generations
    }

    /// Tells of every plan that is put in place.
    pub(crate) fn activations(&self) -> watch::Receiver<Option<Activation>> {
        self.activated.subscribe()
    }

    /// The configuration that serves.
    pub fn document(&self) -> Arc<Document> {
        self.document.load_full()
    }

    /// The database of clients' places.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// How the last reload ended; none before the first.
    pub fn last(&self) -> Option<Arc<Outcome>> {
        self.last.load_full()
    }

    /// Whether the watched files looked like this when they were last read: for a watcher that
    /// notices a change that somebody else has told of already.
    pub(crate) fn has_read(&self, stamps: &Stamps) -> bool {
        **self.read.load() == *stamps
    }

    /// What a watcher has to look at, kept up to date.
    pub(crate) fn watched(&self) -> watch::Receiver<Watched> {
        self.watched.subscribe()
    }

    async fn spawn(self: &Arc<Self>, wanted: Wanted, origin: Origin) -> Arc<Outcome> {
        let (reloader, by) = (self.clone(), origin.clone());
        match tokio::spawn(async move { reloader.run(wanted, by).await }).await {
            Ok(outcome) => outcome,
            Err(error) => Arc::new(broken(&self.path, origin, &error)),
        }
    }

    async fn run(&self, wanted: Wanted, origin: Origin) -> Arc<Outcome> {
        let mut stamps = self.under_way.lock().await;
        let began = Instant::now();
        let mut outcome = match self.read(wanted).await {
            Ok(read) => self.decide(read, &mut stamps, origin, began),
            Err(error) => broken(&self.path, origin, &error),
        };
        tell::record(&self.shared, &outcome);
        if outcome.verdict.serves() {
            outcome.kept = Some(self.keep().await);
        }
        if let Verdict::Activated { .. } = outcome.verdict {
            self.end_start().await;
        }
        let outcome = Arc::new(outcome);
        self.last.store(Some(outcome.clone()));
        outcome
    }

    /// Writes the books.
    pub(crate) async fn keep(&self) -> Keeping {
        let generations = self.generations.clone();
        match self.quiet.run(move || generations.flush()).await {
            Ok(Ok(true)) => Keeping::Disk,
            Ok(Ok(false)) => Keeping::Memory,
            Ok(Err(error)) => {
                let problem = error.to_string();
                open::tell(&[error], &self.shared);
                Keeping::Failed(problem)
            }
            Err(error) => Keeping::Failed(error.to_string()),
        }
    }

    /// What the process was started with was replaced in good order.
    async fn end_start(&self) {
        let marks = self.marks.clone();
        let end = move || lock(&marks).end_own();
        if let Ok(Err(error)) = self.quiet.run(end).await {
            open::tell(&[error], &self.shared);
        }
    }

    async fn read(&self, wanted: Wanted) -> Result<Read, QuietError> {
        let reading = Reading {
            path: self.path.clone(),
            generations: self.generations.clone(),
            wanted,
            serving: self.shared.plan.newest(),
            metrics: self.shared.metrics.clone(),
            watched: self.watched.borrow().paths.clone(),
            certificates: self.certificates.get().cloned(),
            certificate_files: certificate_files(&self.settings),
        };
        self.quiet.run(|| reading.read()).await
    }

    /// Whether the first plan serves.
    fn started(&self) -> bool {
        self.activated.borrow().is_some()
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        lock(&self.marks)
    }
}

fn lock(marks: &std::sync::Mutex<Marks>) -> MutexGuard<'_, Marks> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome when reading failed in a way that it never should.
fn broken(path: &Path, origin: Origin, error: &dyn std::error::Error) -> Outcome {
    let report = unread(path, error);
    let problem = report.problems[0].message.clone();
    Outcome {
        origin,
        verdict: Verdict::Refused { report },
        restored: None,
        kept: None,
        certificates: CertificateOutcome::Kept { problem },
        warnings: None,
        took: Duration::ZERO,
    }
}

fn unread(path: &Path, error: &dyn std::error::Error) -> Report {
    let message = format!("the configuration could not be read to its end: {error}");
    report(path, Problem::error("internal", message))
}
