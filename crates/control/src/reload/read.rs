//! What a reload reads from the disk, before anything is decided about it. Runs on the quiet thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::{Loaded, Problem, Report};
use tidegate_core::settings::Settings;
use tidegate_core::{Live, Plan};

use crate::certificates::{Certificate, Certificates};
use crate::changes::{Changes, same_content};
use crate::stamp::Stamps;

/// Where a plan is to come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The configuration that the process was started with, as it is on the disk now.
    File,
}

/// What a reload is about.
pub(super) enum Wanted {
    /// Still to be compiled.
    Source(Source),
    /// Compiled already.
    Loaded(Box<Loaded>),
}

/// What is asked of the disk.
pub(super) struct Reading {
    pub(super) path: PathBuf,
    pub(super) wanted: Wanted,
    pub(super) serving: Option<Arc<Live>>,
    pub(super) watched: Vec<PathBuf>,
    pub(super) certificates: Option<Arc<dyn Certificates>>,
    pub(super) certificate_files: Vec<PathBuf>,
}

/// What was read.
pub(super) struct Read {
    pub(super) loaded: Result<Loaded, Report>,
    /// What it would change, if something serves and it is not the same.
    pub(super) changes: Option<Changes>,
    /// How the watched files looked just before; none when they were not read.
    pub(super) seen: Option<Stamps>,
    pub(super) certificates: Result<Vec<Certificate>, String>,
    /// How the certificates' files looked just before.
    pub(super) stamps: Stamps,
}

impl Reading {
    pub(super) fn read(self) -> Read {
        let of_file = matches!(self.wanted, Wanted::Source(Source::File));
        let seen = of_file.then(|| Stamps::of(self.watched));
        let stamps = Stamps::of(self.certificate_files);
        let serving = self.serving.as_deref().map(|live| &*live.plan);
        let loaded = match self.wanted {
            Wanted::Source(source) => load(&self.path, &source, serving),
            Wanted::Loaded(loaded) => Ok(*loaded),
        };
        let certificates = self.certificates;
        Read {
            changes: serving.and_then(|plan| changes(plan, loaded.as_ref().ok()?)),
            loaded,
            seen,
            certificates: certificates
                .map_or(Ok(Vec::new()), |certificates| certificates.reload())
                .map_err(|error| error.to_string()),
            stamps,
        }
    }
}

/// What `loaded` changes; none when it is the same.
fn changes(serving: &Plan, loaded: &Loaded) -> Option<Changes> {
    (!same_content(serving, &loaded.plan)).then(|| Changes::between(serving, &loaded.plan))
}

/// Compiles. What serves already is shared, and kept where its file is no good.
pub(super) fn load(path: &Path, source: &Source, serving: Option<&Plan>) -> Result<Loaded, Report> {
    match source {
        Source::File => load_file(path, serving),
    }
}

/// Refuses a file without content: it is one that somebody is about to write.
fn load_file(path: &Path, serving: Option<&Plan>) -> Result<Loaded, Report> {
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
