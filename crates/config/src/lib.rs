//! From YAML to every problem at once, with places and hints, or to what a process runs on
//! ([`Settings`] and [`Plan`]).
//!
//! Text becomes a tree with the place of every key and value, the tree becomes raw types (the
//! file's shape, units still as text), raw types become the plan. Every stage collects problems
//! and goes on, so one typo does not hide the next. Nothing here binds, resolves or contacts
//! anything; the only files read are those that the configuration names.

mod assemble;
mod bundle;
mod certificate;
mod compile;
mod defaults;
mod emit;
mod environment;
mod excerpt;
mod files;
mod follow;
mod format;
mod gaps;
mod grpc;
mod hint;
mod include;
mod later;
mod mask;
mod misplaced;
mod problem;
mod raw;
mod reference;
mod render;
mod report;
mod resolved;
mod schema;
mod source;
mod span;
mod suggest;
mod units;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidegate_core::Plan;
use tidegate_core::settings::Settings;

use assemble::Assembled;
use compile::{Compiled, Context};

pub use bundle::{Bundle, matching};
pub use compile::{DatabaseRead, state_dir};
pub use environment::{Environment, ProcessEnvironment, Variables};
pub use files::{Disk, Files, Memory, Opened};
pub use format::format;
pub use mask::Masks;
pub use problem::{Label, Problem, Severity};
pub use reference::reference;
pub use render::RenderStyle;
pub use report::Report;
pub use schema::schema;
pub use source::{Place, Sources};
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
    /// (when it was loaded from a file), what it includes, certificates, keys and certificate
    /// authorities; and the patterns of `include`, because a new file that matches one is a change
    /// ([`matching`] tells which do). Sorted, each once.
    pub watched: Vec<PathBuf>,
    /// The whole configuration with every default written out, as YAML that loads again to the
    /// same content hash. What came from the environment is `${NAME}` there.
    pub resolved: String,
    /// What came from the environment and is not to be shown.
    pub masks: Masks,
    /// What became of `geo.database`; none without one.
    pub database: Option<DatabaseRead>,
    /// The texts that it was made of, to make it again.
    pub bundle: Bundle,
    /// What the text is called in messages.
    pub source_name: String,
    /// The text, for the places of `warnings`.
    pub text: Sources,
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

/// Compiles texts that were read before, with the environment of this process. Files that they name
/// (certificates, keys, databases) are read again from their paths. `serving` is the plan that serves,
/// which keeps what is unchanged and whose database of places may be shared or kept; none at the start.
///
/// # Errors
/// Every problem at once.
pub fn load_bundle(bundle: &Bundle, serving: Option<&Plan>) -> Result<Loaded, Report> {
    let surroundings = Surroundings {
        files: &Disk,
        environment: &ProcessEnvironment,
        now: SystemTime::now(),
        serving,
    };
    let mut loaded = compile_bundle(bundle, &surroundings)?;
    loaded.watched.push(bundle.main.clone());
    loaded.watched.sort();
    loaded.watched.dedup();
    Ok(loaded)
}

/// What a configuration depends on beside its texts.
pub struct Surroundings<'a> {
    /// Where the files that it names are read from.
    pub files: &'a dyn Files,
    /// Where the values of its variables come from.
    pub environment: &'a dyn Environment,
    /// What time it is, for the validity of certificates.
    pub now: SystemTime,
    /// The plan that serves: what is unchanged stays the same object, and its database of places may be
    /// shared or kept.
    pub serving: Option<&'a Plan>,
}

/// Compiles `text`. `source_name` is the path of the file, or any name for messages; files named
/// in the text are looked up from its directory through `files`. `now` judges certificates. There are
/// no other files to include, and no variable is set.
///
/// # Errors
/// Every problem at once.
pub fn compile(
    source_name: &str,
    text: &str,
    files: &dyn Files,
    now: SystemTime,
) -> Result<Loaded, Report> {
    let surroundings = Surroundings {
        files,
        environment: &Variables::default(),
        now,
        serving: None,
    };
    compile_bundle(&Bundle::of(source_name, text), &surroundings)
}

/// Compiles texts in surroundings of one's own.
///
/// # Errors
/// Every problem at once.
pub fn compile_bundle(bundle: &Bundle, surroundings: &Surroundings<'_>) -> Result<Loaded, Report> {
    let directory = bundle.main.parent().unwrap_or(Path::new(""));
    let mut cx = Context::new(surroundings.files, directory, surroundings.now);
    cx.atlas = surroundings.serving.and_then(|plan| plan.atlas.clone());
    let mut assembled = assemble::assemble(bundle, surroundings.environment);
    cx.problems = std::mem::take(&mut assembled.problems);
    cx.watched.append(&mut assembled.watched);
    let compiled = stages(&mut cx, &assembled);
    let mut problems = std::mem::take(&mut cx.problems);
    problems
        .iter_mut()
        .for_each(|problem| assembled.masks.hide_in(problem));
    let name = bundle.main.display().to_string();
    let report = Report::new(&name, assembled.sources.clone(), problems);
    match compiled {
        Some(mut compiled) if report.errors() == 0 => {
            if let Some(serving) = surroundings.serving {
                compiled.plan.adopt(serving);
            }
            Ok(accept(&mut cx, bundle, assembled, compiled, report))
        }
        _ => Err(report),
    }
}

/// The tree to raw types to the plan. None when there is no tree to go on with. Of a part of one only
/// the problems count.
fn stages(cx: &mut Context<'_>, assembled: &Assembled<'_>) -> Option<Compiled> {
    let root = assembled.root.as_ref()?;
    cx.text = assembled.sources.clone();
    let (config, problems) = yaml::decode::<raw::Config>(root);
    cx.problems.extend(problems);
    cx.gaps = assembled.gaps.clone();
    let is_fit = root.is_map() && !assembled.is_too_large;
    let compiled = is_fit.then(|| compile::compile(cx, &config, root));
    yaml::fill_paths(&mut cx.problems, root);
    follow::leave_out(&mut cx.problems);
    compiled
}

fn accept(
    cx: &mut Context<'_>,
    bundle: &Bundle,
    assembled: Assembled<'_>,
    mut compiled: Compiled,
    report: Report,
) -> Loaded {
    let resolved = resolved::yaml(&compiled, cx.base);
    compiled.plan.content_hash = resolved::content_hash(&resolved, &compiled.plan).into();
    let resolved = match &assembled.root {
        Some(root) => assembled.masks.resolved(resolved, root),
        None => resolved,
    };
    Loaded {
        settings: compiled.settings,
        plan: compiled.plan,
        database: compiled.geo.and_then(|geo| geo.read),
        warnings: report.problems,
        watched: std::mem::take(&mut cx.watched).into_iter().collect(),
        resolved,
        masks: assembled.masks,
        bundle: bundle.clone(),
        source_name: report.source_name,
        text: report.text,
    }
}

/// The configuration with every default written out, as YAML.
pub fn resolved(loaded: &Loaded) -> &str {
    &loaded.resolved
}

/// The same as a tree, to be compared.
pub fn resolved_tree(loaded: &Loaded) -> serde_json::Value {
    // We wrote it ourselves; what could not be read again would have no parts.
    serde_saphyr::from_str(&loaded.resolved).unwrap_or_default()
}
