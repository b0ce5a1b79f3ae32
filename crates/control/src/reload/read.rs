//! What a reload reads from the disk, before anything is decided about it. Runs on the quiet thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::{Bundle, DatabaseRead, Loaded, Problem, Report};
use tidegate_core::settings::Settings;
use tidegate_core::{Live, Plan};
use tidegate_telemetry::Metrics;
use tidegate_telemetry::metrics::Arriving;

use crate::certificates::{Certificate, Certificates};
use crate::changes::{Changes, same_content};
use crate::generations::{Entry, Generations};
use crate::launch::texts_hash;
use crate::stamp::Stamps;

/// Where a plan is to come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The configuration that the process was started with, as it is on the disk now.
    File,
    /// These texts.
    Bundle(Arc<Bundle>),
}

/// A plan that was prepared and serves a share already ([`PlanHandle::stage_plan`]
/// (tidegate_core::PlanHandle::stage_plan)): the parts of its [`Loaded`], the plan bound.
#[derive(Debug)]
pub struct Staged {
    /// The plan, as it serves the share.
    pub live: Arc<Live>,
    /// What only a restart changes.
    pub settings: Settings,
    /// The whole configuration as YAML.
    pub resolved: String,
    /// The texts.
    pub bundle: Bundle,
    /// The files that it was made of.
    pub watched: Vec<PathBuf>,
    /// What somebody should look at.
    pub warnings: Report,
}

/// What a reload is about.
pub(super) enum Wanted {
    /// Still to be compiled.
    Source(Source),
    /// A generation that has served before, and the one that is left for it, unless that is whichever
    /// serves.
    Generation(Entry, Option<u64>),
    /// Compiled already.
    Loaded(Box<Loaded>),
    /// Compiled, and it serves a share.
    Staged(Box<Staged>),
}

/// What could serve.
pub(super) struct Ready {
    pub(super) plan: Bound,
    /// None when nothing serves yet, and when it is what serves already.
    pub(super) arriving: Option<Arriving>,
    pub(super) settings: Settings,
    pub(super) resolved: String,
    pub(super) bundle: Bundle,
    /// The hash of its texts.
    pub(super) texts: String,
    pub(super) watched: Vec<PathBuf>,
    pub(super) warnings: Report,
    pub(super) database: Option<DatabaseRead>,
}

/// A plan, new or at work.
pub(super) enum Bound {
    Plan(Arc<Plan>),
    Staged(Arc<Live>),
}

/// What is asked of the disk.
pub(super) struct Reading {
    pub(super) path: PathBuf,
    pub(super) generations: Arc<Generations>,
    pub(super) wanted: Wanted,
    pub(super) serving: Option<Arc<Live>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watched: Vec<PathBuf>,
    pub(super) certificates: Option<Arc<dyn Certificates>>,
    pub(super) certificate_files: Vec<PathBuf>,
}

/// What was read.
pub(super) struct Read {
    pub(super) ready: Result<Ready, Report>,
    /// Whether it is what the file says.
    pub(super) is_file: bool,
    /// The generation that is brought back.
    pub(super) restores: Option<Entry>,
    /// The one that is left for it, and no other.
    pub(super) leaves: Option<u64>,
    /// What it would change, if something serves and it is not the same.
    pub(super) changes: Option<Changes>,
    /// How the watched files looked just before; none when they were not read.
    pub(super) seen: Option<Stamps>,
    pub(super) certificates: Result<Vec<Certificate>, String>,
    /// How the certificates' files looked just before.
    pub(super) stamps: Stamps,
}

impl Bound {
    pub(super) fn plan(&self) -> &Plan {
        match self {
            Self::Plan(plan) => plan,
            Self::Staged(live) => &live.plan,
        }
    }

    /// What a new one needs of the metrics. One at work has it.
    fn arriving(&self, metrics: &Arc<Metrics>) -> Option<Arriving> {
        match self {
            Self::Plan(plan) => Some(metrics.arriving(plan)),
            Self::Staged(_) => None,
        }
    }
}

impl From<Loaded> for Ready {
    fn from(loaded: Loaded) -> Self {
        let warnings = loaded.report();
        Self {
            plan: Bound::Plan(Arc::new(loaded.plan)),
            arriving: None,
            settings: loaded.settings,
            resolved: loaded.resolved,
            texts: texts_hash(&loaded.bundle),
            bundle: loaded.bundle,
            watched: loaded.watched,
            warnings,
            database: loaded.database,
        }
    }
}

impl From<Staged> for Ready {
    fn from(staged: Staged) -> Self {
        Self {
            plan: Bound::Staged(staged.live),
            arriving: None,
            settings: staged.settings,
            resolved: staged.resolved,
            texts: texts_hash(&staged.bundle),
            bundle: staged.bundle,
            watched: staged.watched,
            warnings: staged.warnings,
            database: None,
        }
    }
}

impl Reading {
    pub(super) fn read(self) -> Read {
        let is_file = matches!(self.wanted, Wanted::Source(Source::File));
        let seen = is_file.then(|| Stamps::of(&self.watched));
        let stamps = Stamps::of(&self.certificate_files);
        let certificates = self.certificates.as_ref();
        let certificates =
            certificates.map_or(Ok(Vec::new()), |certificates| certificates.reload());
        let (restores, leaves) = match &self.wanted {
            Wanted::Generation(entry, leaves) => (Some(entry.clone()), *leaves),
            _ => (None, None),
        };
        let (serving, metrics) = (self.serving.clone(), self.metrics.clone());
        let mut ready = self.ready();
        let changes = |live: &Live, ready: &mut Ready| {
            let (old, new) = (&live.plan, ready.plan.plan());
            let changes = (!same_content(old, new)).then(|| Changes::between(old, new))?;
            ready.arriving = ready.plan.arriving(&metrics);
            Some(changes)
        };
        Read {
            changes: serving.and_then(|live| changes(&live, ready.as_mut().ok()?)),
            ready,
            is_file,
            restores,
            leaves,
            seen,
            certificates: certificates.map_err(|error| error.to_string()),
            stamps,
        }
    }

    fn ready(self) -> Result<Ready, Report> {
        let serving = self.serving.as_deref().map(|live| &*live.plan);
        match self.wanted {
            Wanted::Source(source) => load(&self.path, &source, serving).map(Ready::from),
            Wanted::Generation(entry, _) => {
                let bundle = self.generations.bundle(entry.number).map_err(|error| {
                    report(
                        &self.path,
                        Problem::error("no_generation", error.to_string()),
                    )
                })?;
                tidegate_config::load_bundle(&bundle, serving).map(Ready::from)
            }
            Wanted::Loaded(loaded) => Ok(Ready::from(*loaded)),
            Wanted::Staged(staged) => Ok(Ready::from(*staged)),
        }
    }
}

/// Compiles. What serves already is shared, and kept where its file is no good.
pub(super) fn load(path: &Path, source: &Source, serving: Option<&Plan>) -> Result<Loaded, Report> {
    match source {
        Source::File => tidegate_config::load_bundle(&Bundle::read(path)?, serving),
        Source::Bundle(bundle) => tidegate_config::load_bundle(bundle, serving),
    }
}

/// A report of one problem without a place.
pub(super) fn report(path: &Path, problem: Problem) -> Report {
    Report {
        source_name: path.display().to_string(),
        text: "".into(),
        problems: vec![problem],
    }
}

/// Every file that the listeners' certificates are made of.
pub(super) fn certificate_files(settings: &Settings) -> Vec<PathBuf> {
    let listeners = settings.listeners.iter().filter_map(|l| l.tls.as_ref());
    listeners
        .flat_map(|tls| {
            let pairs = tls.certificates.iter();
            let files = pairs.flat_map(|pair| [&pair.chain, &pair.key]);
            files.chain(&tls.client_ca).cloned()
        })
        .collect()
}
