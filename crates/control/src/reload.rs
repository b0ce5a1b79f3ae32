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

mod read;
mod tell;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_config::{Loaded, Problem, Report};
use tidegate_core::Live;
use tidegate_core::settings::Settings;
use tidegate_telemetry::EventKind;
use tokio::sync::{Mutex, watch};

use crate::certificates::{Certificate, Certificates};
use crate::changes::{Changes, same_content};
use crate::origin::{Cause, Origin};
use crate::outcome::{CertificateOutcome, Outcome, Verdict};
use crate::places::Places;
use crate::quiet::{Quiet, QuietError};
use crate::restart::differing;
use crate::shared::Shared;
use crate::stamp::Stamps;
use read::{Read, Reading, Wanted, certificate_files, load, report};

pub use read::Source;

/// How soon is looked whether a plan that was replaced is still in use, and how seldom at last.
const RETIRE_FIRST: Duration = Duration::from_millis(20);
const RETIRE_LAST: Duration = Duration::from_secs(1);

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
    /// Reads the configuration at `path` and lets it serve. Blocks on the disk.
    ///
    /// # Errors
    /// Every problem, when it is refused; nothing serves then.
    pub fn open(path: &Path, shared: Shared) -> Result<Opened, Report> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let before = Stamps::of([&path]);
        let loaded = load(&path, &Source::File, None)?;
        let (settings, warnings) = (loaded.settings.clone(), loaded.report());
        let stamps = before.extended_to(&loaded.watched);
        let reloader = Self {
            path,
            shared,
            settings: settings.clone(),
            certificates: OnceLock::new(),
            under_way: Mutex::new(Stamps::of(certificate_files(&settings))),
            document: ArcSwap::from_pointee(Document {
                generation: 0,
                hash: loaded.plan.content_hash.clone(),
                resolved: String::new(),
            }),
            last: ArcSwapOption::empty(),
            read: ArcSwap::default(),
            quiet: Quiet::start(),
            places: Places::default(),
            watched: watch::Sender::new(Watched {
                paths: loaded.watched.clone(),
                stamps,
            }),
        };
        reloader.install(loaded, &Origin::itself(Cause::Start));
        Ok(Opened {
            reloader: Arc::new(reloader),
            settings,
            warnings,
        })
    }

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
        let outcome = match self.read(wanted).await {
            Ok(read) => self.decide(read, &mut stamps, origin, began),
            Err(error) => broken(&self.path, origin, &error),
        };
        tell::record(&self.shared, &outcome);
        let outcome = Arc::new(outcome);
        self.last.store(Some(outcome.clone()));
        outcome
    }

    async fn read(&self, wanted: Wanted) -> Result<Read, QuietError> {
        let reading = Reading {
            path: self.path.clone(),
            wanted,
            serving: self.shared.plan.newest(),
            watched: self.watched.borrow().paths.clone(),
            certificates: self.certificates.get().cloned(),
            certificate_files: certificate_files(&self.settings),
        };
        self.quiet.run(|| reading.read()).await
    }

    fn decide(&self, read: Read, stamps: &mut Stamps, origin: Origin, began: Instant) -> Outcome {
        if let Some(seen) = read.seen {
            self.read.store(Arc::new(seen));
        }
        let certificates = self.certificates_read(read.certificates, read.stamps, stamps);
        let warnings = read.loaded.as_ref().ok().map(Loaded::report);
        let database = read
            .loaded
            .as_ref()
            .ok()
            .map(|loaded| loaded.database.clone());
        let verdict = match read.loaded {
            Err(report) => Verdict::Refused { report },
            Ok(loaded) => self.judge(loaded, read.changes, &origin),
        };
        if let Some(database) = database {
            self.places.tell(database, &verdict, &self.shared);
        }
        Outcome {
            origin,
            verdict,
            certificates,
            warnings,
            took: began.elapsed(),
        }
    }

    fn judge(&self, loaded: Loaded, changes: Option<Changes>, origin: &Origin) -> Verdict {
        let fields = differing(&self.settings, &loaded.settings);
        if !fields.is_empty() {
            return Verdict::RestartNeeded { fields };
        }
        self.watch(&loaded.watched);
        let serving = self.shared.plan.newest();
        match serving {
            Some(live) if same_content(&live.plan, &loaded.plan) => Verdict::Unchanged {
                generation: live.generation.0,
                hash: live.plan.content_hash.clone(),
            },
            serving => {
                let document = self.install(loaded, origin);
                retire(serving, self.quiet.clone());
                Verdict::Activated {
                    generation: document.generation,
                    hash: document.hash.clone(),
                    changes: Box::new(changes.unwrap_or_default()),
                }
            }
        }
    }

    /// The swap, and everything that follows from it.
    fn install(&self, loaded: Loaded, origin: &Origin) -> Arc<Document> {
        let Shared {
            plan,
            board,
            events,
            orders,
            ..
        } = &self.shared;
        let live = orders.activate(loaded.plan, plan, board);
        board.forget_unused();
        let document = Arc::new(Document {
            generation: live.generation.0,
            hash: live.plan.content_hash.clone(),
            resolved: loaded.resolved,
        });
        self.document.store(document.clone());
        events.record(EventKind::PlanActivated {
            generation: document.generation,
            hash: document.hash.clone(),
            trigger: origin.cause.as_str(),
        });
        document
    }

    fn certificates_read(
        &self,
        read: Result<Vec<Certificate>, String>,
        now: Stamps,
        last: &mut Stamps,
    ) -> CertificateOutcome {
        let changed = *last != now;
        match read {
            Ok(certificates) => {
                *last = now;
                tell::expiries(&self.shared, &certificates);
                let names = certificates.into_iter().map(|certificate| certificate.name);
                CertificateOutcome::Read {
                    names: names.collect(),
                    changed,
                }
            }
            Err(problem) => CertificateOutcome::Kept { problem },
        }
    }

    fn watch(&self, paths: &[PathBuf]) {
        self.watched.send_if_modified(|watched| {
            let differs = watched.paths != paths;
            if differs {
                watched.stamps = watched.stamps.extended_to(paths);
                watched.paths = paths.to_vec();
            }
            differs
        });
    }
}

/// Throws a plan away once no request uses it any more: here, because the data plane's threads would
/// take milliseconds for one with many routes.
fn retire(live: Option<Arc<Live>>, quiet: Quiet) {
    let Some(live) = live else { return };
    tokio::spawn(async move {
        let mut pause = RETIRE_FIRST;
        while Arc::strong_count(&live) > 1 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETIRE_LAST);
        }
        // Without the thread it goes away here.
        let _ = quiet.run(move || drop(live)).await;
    });
}

/// The outcome when reading failed in a way that it never should.
fn broken(path: &Path, origin: Origin, error: &dyn std::error::Error) -> Outcome {
    let report = unread(path, error);
    let problem = report.problems[0].message.clone();
    Outcome {
        origin,
        verdict: Verdict::Refused { report },
        certificates: CertificateOutcome::Kept { problem },
        warnings: None,
        took: Duration::ZERO,
    }
}

fn unread(path: &Path, error: &dyn std::error::Error) -> Report {
    let message = format!("the configuration could not be read to its end: {error}");
    report(path, Problem::error("internal", message))
}
