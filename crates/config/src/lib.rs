//! From YAML to every problem at once, with places and hints, or to what a process runs on
//! ([`Settings`] and [`Plan`]).
//!
//! Text becomes a tree with the place of every key and value, the tree becomes raw types (the
//! file's shape, units still as text), raw types become the plan. Every stage collects problems
//! and goes on, so one typo does not hide the next. Nothing here binds, resolves or contacts
//! anything; the only files read are those that the configuration names.

mod bundle;
mod certificate;
mod compile;
mod defaults;
mod emit;
mod excerpt;
mod files;
mod grpc;
mod later;
mod problem;
mod raw;
mod reference;
mod render;
mod report;
mod resolved;
mod schema;
mod span;
mod suggest;
mod units;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_core::Plan;
use tidegate_core::settings::Settings;

use compile::{Compiled, Context};

pub use bundle::Bundle;
pub use compile::DatabaseRead;
pub use files::{Disk, Files, Memory, Opened};
pub use problem::{Label, Problem, Severity};
pub use reference::reference;
pub use render::RenderStyle;
pub use report::Report;
pub use schema::schema;
pub use span::{Position, Span};

/// Reads a duration as the configuration writes it: `10ms`, `2s`, `1.5m`, `1h`.
///
/// # Errors
/// What is wrong with it and how it should be written, in words.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    units::duration(text).map_err(|error| format!("{}; {}", error.message, error.help))
}

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
    /// What became of `geo.database`; none without one.
    pub database: Option<DatabaseRead>,
    /// The texts that it was made of, to make it again.
    pub bundle: Bundle,
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
///
/// # Errors
/// Every problem at once.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    load_bundle(&Bundle::read(path)?, None)
}

/// The same while another plan serves: a database of places that is still the same is shared with it,
/// and one whose file is missing or no good any more is kept, with a warning.
///
/// # Errors
/// Every problem at once.
pub fn load_again(path: &Path, serving: &Plan) -> Result<Loaded, Report> {
    load_bundle(&Bundle::read(path)?, Some(serving))
}

/// Compiles texts that were read before. Files that they name (certificates, keys, databases) are read
/// again from their paths. `serving` is the plan that serves, whose database of places may be shared
/// or kept; none at the start.
///
/// # Errors
/// Every problem at once.
pub fn load_bundle(bundle: &Bundle, serving: Option<&Plan>) -> Result<Loaded, Report> {
    let mut cx = Context::new(&Disk, directory(&bundle.main), SystemTime::now());
    cx.atlas = serving.and_then(|plan| plan.atlas.clone());
    let mut loaded = compile_with(&mut cx, bundle)?;
    loaded.watched.push(bundle.main.clone());
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
    let mut cx = Context::new(files, directory(Path::new(source_name)), now);
    compile_with(&mut cx, &Bundle::of(source_name, text))
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn compile_with(cx: &mut Context<'_>, bundle: &Bundle) -> Result<Loaded, Report> {
    let text = bundle.main_text();
    let compiled = stages(cx, text);
    let source_name = bundle.main.display().to_string();
    let report = Report::new(&source_name, text.into(), std::mem::take(&mut cx.problems));
    match compiled {
        Some(compiled) if report.errors() == 0 => Ok(accept(cx, bundle, compiled, report)),
        _ => Err(report),
    }
}

/// Text to tree to raw types to the plan. None when there is no tree to go on with.
fn stages(cx: &mut Context<'_>, text: &str) -> Option<Compiled> {
    let (root, problems) = yaml::parse(text);
    cx.problems = problems;
    let root = root?;
    if root.is_empty() {
        let help = "an empty file is never a configuration; was it being written just now?";
        let problem = Problem::error("empty_file", "the configuration is empty");
        cx.report(problem.help(help.to_owned()));
        return None;
    }
    let (config, problems) = yaml::decode::<raw::Config>(&root);
    cx.problems.extend(problems);
    let compiled = root.is_map().then(|| compile::compile(cx, &config));
    yaml::fill_paths(&mut cx.problems, &root);
    compiled
}

fn accept(cx: &mut Context<'_>, bundle: &Bundle, mut compiled: Compiled, report: Report) -> Loaded {
    let resolved = resolved::yaml(&compiled, cx.base);
    compiled.plan.content_hash = resolved::content_hash(&resolved, &compiled.plan).into();
    Loaded {
        settings: compiled.settings,
        plan: compiled.plan,
        database: compiled.geo.and_then(|geo| geo.read),
        warnings: report.problems,
        watched: std::mem::take(&mut cx.watched).into_iter().collect(),
        resolved,
        bundle: bundle.clone(),
        source_name: report.source_name,
        text: report.text,
    }
}

/// The configuration with every default written out, as YAML.
pub fn resolved(loaded: &Loaded) -> &str {
    &loaded.resolved
}
