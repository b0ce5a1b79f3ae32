//! The one path by which a configuration comes to serve.
//!
//! Load, report every problem, compare the settings with those that run, swap once. Whoever asks
//! waits for the verdict; two who ask at once are served one after the other. Certificates are read
//! again on every occasion, whatever the verdict on the configuration is: a renewal must not wait
//! for somebody's unfinished edit. Nothing is awaited between the swap and its record, and a
//! request that goes away does not take a reload with it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_config::{Loaded, Problem, Report, Severity};
use tidegate_core::settings::Settings;
use tidegate_core::{Live, Plan};
use tidegate_telemetry::EventKind;
use tidegate_telemetry::labels::ReloadResult;
use tokio::sync::{Mutex, watch};

use crate::certificates::{Certificate, Certificates};
use crate::changes::{Changes, same_content};
use crate::outcome::{Cause, CertificateOutcome, Outcome, Verdict};
use crate::places::Places;
use crate::quiet::{Quiet, QuietError};
use crate::restart::differing;
use crate::shared::Shared;
use crate::stamp::Stamps;

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

/// What was read from the disk, before anything is decided about it.
struct Read {
    loaded: Result<Loaded, Report>,
    /// What it would change, if something serves and it is not the same.
    changes: Option<Changes>,
    /// How the watched files looked just before.
    seen: Stamps,
    certificates: Result<Vec<Certificate>, String>,
    stamps: Stamps,
}

impl Reloader {
    /// Reads the configuration at `path` and lets it serve. Blocks on the disk.
    ///
    /// # Errors
    /// Every problem, when it is refused; nothing serves then.
    pub fn open(path: &Path, shared: Shared) -> Result<Opened, Report> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let before = Stamps::of([&path]);
        let loaded = load(&path, None)?;
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
        reloader.activate(loaded, Cause::Start);
        Ok(Opened {
            reloader: Arc::new(reloader),
            settings,
            warnings,
        })
    }

    /// Says whose certificates are to be read again, once the listeners exist. Only the first
    /// call counts.
    pub fn set_certificates(&self, certificates: Arc<dyn Certificates>) {
        self.tell_metrics(&certificates.serving());
        let _ = self.certificates.set(certificates);
    }

    /// Reads configuration and certificates again, and lets them serve if they can. Waits for a
    /// reload that is under way. Dropping the future does not stop the reload.
    pub async fn reload(self: &Arc<Self>, cause: Cause) -> Arc<Outcome> {
        let reloader = self.clone();
        match tokio::spawn(async move { reloader.run(cause).await }).await {
            Ok(outcome) => outcome,
            Err(error) => Arc::new(broken(&self.path, cause, &error)),
        }
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

    async fn run(&self, cause: Cause) -> Arc<Outcome> {
        let mut stamps = self.under_way.lock().await;
        let began = Instant::now();
        let outcome = match self.read().await {
            Ok(read) => self.decide(read, &mut stamps, cause, began),
            Err(error) => broken(&self.path, cause, &error),
        };
        self.record(&outcome);
        let outcome = Arc::new(outcome);
        self.last.store(Some(outcome.clone()));
        outcome
    }

    async fn read(&self) -> Result<Read, QuietError> {
        let path = self.path.clone();
        let serving = self.shared.plan.newest();
        let watched = self.watched.borrow().paths.clone();
        let certificates = self.certificates.get().cloned();
        let certificate_files = certificate_files(&self.settings);
        let read = move || {
            let (seen, stamps) = (Stamps::of(watched), Stamps::of(certificate_files));
            let loaded = load(&path, serving.as_deref().map(|live| &*live.plan));
            Read {
                changes: serving.and_then(|live| changes(&live.plan, loaded.as_ref().ok()?)),
                loaded,
                seen,
                certificates: certificates
                    .map_or(Ok(Vec::new()), |certificates| certificates.reload())
                    .map_err(|error| error.to_string()),
                stamps,
            }
        };
        self.quiet.run(read).await
    }

    fn decide(&self, read: Read, stamps: &mut Stamps, cause: Cause, began: Instant) -> Outcome {
        self.read.store(Arc::new(read.seen));
        let certificates = self.certificates_read(read.certificates, read.stamps, stamps);
        let warnings = read.loaded.as_ref().ok().map(Loaded::report);
        let database = read
            .loaded
            .as_ref()
            .ok()
            .map(|loaded| loaded.database.clone());
        let verdict = match read.loaded {
            Err(report) => Verdict::Refused { report },
            Ok(loaded) => self.judge(loaded, read.changes, cause),
        };
        if let Some(database) = database {
            self.places.tell(database, &verdict, &self.shared);
        }
        Outcome {
            cause,
            verdict,
            certificates,
            warnings,
            took: began.elapsed(),
        }
    }

    fn judge(&self, loaded: Loaded, changes: Option<Changes>, cause: Cause) -> Verdict {
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
                let document = self.activate(loaded, cause);
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
    fn activate(&self, loaded: Loaded, cause: Cause) -> Arc<Document> {
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
            trigger: cause.as_str(),
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
                self.tell_metrics(&certificates);
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

    /// Counts, and tells what did not take effect.
    fn record(&self, outcome: &Outcome) {
        let Shared {
            metrics, events, ..
        } = &self.shared;
        metrics.reloaded(match outcome.verdict {
            Verdict::Activated { .. } => ReloadResult::Applied,
            Verdict::Unchanged { .. } => ReloadResult::Unchanged,
            Verdict::Refused { .. } | Verdict::RestartNeeded { .. } => ReloadResult::Refused,
        });
        events_of(outcome).for_each(|event| events.record(event));
        match &outcome.verdict {
            Verdict::Refused { report } => tracing::error!("{report}"),
            verdict => tracing::info!(cause = outcome.cause.as_str(), "reload: {verdict}"),
        }
    }

    fn tell_metrics(&self, certificates: &[Certificate]) {
        let unix_seconds = |certificate: &Certificate| {
            let since = certificate.not_after.duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
        };
        let told = certificates
            .iter()
            .map(|certificate| (certificate.name.clone(), unix_seconds(certificate)));
        self.shared.metrics.set_certificates(told.collect());
    }
}

/// What `loaded` changes; none when it is the same.
fn changes(serving: &Plan, loaded: &Loaded) -> Option<Changes> {
    (!same_content(serving, &loaded.plan)).then(|| Changes::between(serving, &loaded.plan))
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

/// The events of what is not already told by the swap itself.
fn events_of(outcome: &Outcome) -> impl Iterator<Item = EventKind> {
    let trigger = outcome.cause.as_str();
    let refused = match &outcome.verdict {
        Verdict::Refused { report } => Some((first_error(report), report.errors())),
        Verdict::RestartNeeded { fields } => {
            let problem = format!("a restart is needed to change {}", fields.join(", "));
            Some((problem, fields.len()))
        }
        Verdict::Activated { .. } | Verdict::Unchanged { .. } => None,
    };
    let refused = refused.map(|(problem, problems)| EventKind::ReloadRefused {
        trigger,
        problem,
        problems,
    });
    let certificates = match &outcome.certificates {
        CertificateOutcome::Kept { problem } => Some(EventKind::CertificatesRefused {
            problem: problem.clone(),
        }),
        CertificateOutcome::Read { names, changed } if *changed => {
            Some(EventKind::CertificatesReloaded {
                names: names.clone(),
            })
        }
        CertificateOutcome::Read { .. } => None,
    };
    refused.into_iter().chain(certificates)
}

/// Where and what, in one line: `tidegate.yaml:3:7: unknown key ...`.
fn first_error(report: &Report) -> String {
    let mut errors = report
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    let Some(problem) = errors.next() else {
        return String::new();
    };
    let place = problem.span.map(|span| span.position(&report.text));
    let place = place.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
    format!("{}{place}: {}", report.source_name, problem.message)
}

/// Loads, and refuses a file without content: it is one that somebody is about to write. What serves
/// already is shared, and kept where its file is no good.
fn load(path: &Path, serving: Option<&Plan>) -> Result<Loaded, Report> {
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() && file.len() == 0 => Err(report(
            path,
            Problem::error("empty", "the file is empty; that is not a configuration"),
        )),
        _ => match serving {
            Some(serving) => tidegate_config::load_again(path, serving),
            None => tidegate_config::load(path),
        },
    }
}

fn report(path: &Path, problem: Problem) -> Report {
    Report {
        source_name: path.display().to_string(),
        text: "".into(),
        problems: vec![problem],
    }
}

/// Every file that the listeners' certificates are made of.
fn certificate_files(settings: &Settings) -> Vec<PathBuf> {
    let listeners = settings.listeners.iter().filter_map(|l| l.tls.as_ref());
    listeners
        .flat_map(|tls| {
            let pairs = tls.certificates.iter();
            let files = pairs.flat_map(|pair| [&pair.chain, &pair.key]);
            files.chain(&tls.client_ca).cloned()
        })
        .collect()
}

/// The outcome when reading failed in a way that it never should.
fn broken(path: &Path, cause: Cause, error: &dyn std::error::Error) -> Outcome {
    let message = format!("the configuration could not be read to its end: {error}");
    Outcome {
        cause,
        verdict: Verdict::Refused {
            report: report(path, Problem::error("internal", message.clone())),
        },
        certificates: CertificateOutcome::Kept { problem: message },
        warnings: None,
        took: Duration::ZERO,
    }
}
