//! From YAML to every problem at once, with places and hints, or to what a process runs on
//! ([`Settings`] and [`Plan`]).
//!
//! Text becomes a tree with the place of every key and value, the tree becomes raw types (the
//! file's shape, units still as text), raw types become the plan. Every stage collects problems
//! and goes on, so one typo does not hide the next. Nothing here binds, resolves or contacts
//! anything; the only files read are those that the configuration names.

mod files;
mod problem;
mod render;
mod report;
mod span;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_core::Plan;
use tidegate_core::settings::Settings;

pub use files::{Disk, Files, Memory};
pub use problem::{Label, Problem, Severity};
pub use render::RenderStyle;
pub use report::Report;
pub use span::{Position, Span};

/// Largest configuration that is read: room for 100,000 routes with long matches.
const CONFIG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A configuration that was accepted.
#[derive(Debug)]
pub struct Loaded {
    /// What needs a restart to change.
    pub settings: Settings,
    /// What every reload may change.
    pub plan: Plan,
    /// What somebody should look at, in the order of the text.
    pub warnings: Vec<Problem>,
    /// The files that this configuration was made of, for a watcher: the configuration itself
    /// (when it was loaded from a file), certificates, keys and certificate authorities. Sorted,
    /// each once.
    pub watched: Vec<PathBuf>,
    /// The whole configuration with every default written out, as YAML that loads again to the
    /// same content hash.
    pub resolved: String,
    /// What the text is called in messages.
    pub source_name: String,
    /// The text, for the places of `warnings`.
    pub text: Arc<str>,
}

impl Loaded {
    /// The warnings as a report, to be rendered. Its `problems` may be empty.
    pub fn report(&self) -> Report {
        Report::new(&self.source_name, self.text.clone(), self.warnings.clone())
    }
}

/// Reads and compiles the configuration at `path`. Files that it names are looked up from its
/// directory. Validity of certificates is judged by the system's clock.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let source_name = path.display().to_string();
    let text =
        read_text(path).map_err(|problem| Report::new(&source_name, "".into(), vec![problem]))?;
    let mut loaded = compile(&source_name, &text, &Disk, SystemTime::now())?;
    loaded.watched.push(path.to_owned());
    loaded.watched.sort();
    loaded.watched.dedup();
    Ok(loaded)
}

/// Compiles `text`. `source_name` is the path of the file, or any name for messages; files named
/// in the text are looked up from its directory through `files`. `now` judges certificates.
pub fn compile(
    source_name: &str,
    text: &str,
    files: &dyn Files,
    now: SystemTime,
) -> Result<Loaded, Report> {
    let _ = (files, now);
    let problem = Problem::error("unfinished", "the compiler is not there yet");
    Err(Report::new(source_name, text.into(), vec![problem]))
}

/// The configuration with every default written out, as YAML.
pub fn resolved(loaded: &Loaded) -> &str {
    &loaded.resolved
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| {
        Problem::error(
            "unreadable_file",
            format!("cannot read the configuration: {error}"),
        )
    };
    let bytes = files::read_bounded(path, CONFIG_BYTES_MAX).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Problem::error(
            "not_utf8",
            format!("the configuration is not UTF-8 (byte {offset})"),
        )
    })
}
