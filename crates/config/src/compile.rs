//! Raw types to what a process runs on. Every step reports what is wrong and goes on with a
//! harmless stand-in, so the last step sees every problem; whatever was built is thrown away when
//! one of them is an error.

mod action;
mod affinity;
mod balance;
mod body;
mod breaker;
mod certificates;
mod connection;
mod context;
mod cycles;
mod ejection;
mod explain;
mod expression;
mod failover;
mod fallback;
mod flaws;
mod generations;
mod geo;
mod headers;
mod health;
mod keys;
mod lint;
mod listeners;
mod lives_in;
mod matches;
mod names;
mod places;
mod preferences;
mod probe;
mod reach;
mod regions;
mod residency;
mod retry;
mod routes;
mod rules;
mod secrets;
mod split;
mod standby;
mod steering;
mod syntax;
mod times;
mod unmeant;
mod upstream;
mod upstreams;
mod urls;
mod zones;

use std::sync::Arc;

use tidegate_core::plan::{MetricsPolicy, Plan, Pop, Route};
use tidegate_core::route::RouteTable;
use tidegate_core::settings::{AccessLog, Settings};

use crate::defaults;
use crate::raw;
use crate::units;
use crate::yaml::{Field, Node, WordOr};

pub(crate) use context::Context;
pub(crate) use failover::percentile_word;
use flaws::Flaws;
pub use generations::state_dir;
pub use geo::DatabaseRead;
pub(crate) use geo::Geo;
pub(crate) use matches::path_text;
pub(crate) use steering::sheds;

/// Everything that was compiled, hash and places of files still open.
pub(crate) struct Compiled {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    /// Whether `threads` was left to the machine.
    pub(crate) threads_auto: bool,
    /// Where clients are, as it was given.
    pub(crate) geo: Option<Geo>,
    /// The files that each upstream names, in the order of the plan.
    pub(crate) tls_files: Vec<UpstreamFiles>,
}

pub(crate) use connection::TlsFiles;
pub(crate) use upstream::UpstreamFiles;

/// Compiles a whole configuration, decoded from `root`. Meaningless when the context holds an error
/// afterwards.
pub(crate) fn compile(cx: &mut Context<'_>, config: &raw::Config, root: &Node<'_>) -> Compiled {
    cx.flaws = Flaws::find(&cx.problems, root);
    hide_broken(cx, config);
    let regions = regions::compile(cx, config);
    let totals = body::totals(cx, &config.replay);
    let (upstreams, tls_files) = upstreams::compile(cx, config, &regions, &totals);
    let routes = routes::compile(cx, config, &regions);
    let (settings, threads_auto) = settings(cx, config);
    let geo = geo::compile(cx, config);
    let table = RouteTable::new(routes.iter().map(|route| &route.matches));
    let plan = Plan {
        content_hash: "".into(),
        pop: pop(cx, config.pop.get()),
        regions: regions.list.into(),
        upstreams: upstreams.into_iter().map(Arc::new).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
        table,
        replay: totals.limits,
        metrics: metrics(cx, config.metrics.get()),
        explain: explain::compile(cx, &config.explain),
        rollback: generations::rollback(cx, &config.rollback),
        atlas: geo.as_ref().map(|geo| geo.atlas.clone()),
    };
    cx.flaws = Flaws::find(&cx.problems, root);
    let plan = without_flaws(cx, config, plan);
    lint(cx, config, &settings, &plan);
    Compiled {
        settings,
        plan,
        threads_auto,
        geo,
        tls_files,
    }
}

/// Notes the sections that have to be there and are not, or are no sections: they would define what
/// others refer to.
fn hide_broken(cx: &mut Context<'_>, config: &raw::Config) {
    let sections = [
        ("listeners", config.listeners.get().is_none()),
        ("regions", config.regions.get().is_none()),
        ("upstreams", config.upstreams.get().is_none()),
        ("routes", config.routes.get().is_none()),
        ("geo", config.geo.get().is_none() && !config.geo.is_absent()),
    ];
    for (section, _) in sections.into_iter().filter(|(_, hidden)| *hidden) {
        cx.gaps.hide(section);
    }
}

/// The plan without what has errors: such a route leads nowhere, and such an upstream is nowhere.
fn without_flaws(cx: &Context<'_>, config: &raw::Config, mut plan: Plan) -> Plan {
    let given: Vec<usize> = given(config).map(|(index, _)| index).collect();
    for (route, index) in plan.routes.iter_mut().zip(given) {
        if !cx.flaws.is_sound("routes", index) {
            let (name, matches) = (Arc::clone(&route.name), route.matches.clone());
            *route = Arc::new(Route::new(name, matches, None));
        }
    }
    for (index, upstream) in plan.upstreams.iter_mut().enumerate() {
        if !cx.flaws.is_sound("upstreams", index) {
            // Nobody else has it yet.
            if let Some(upstream) = Arc::get_mut(upstream) {
                upstream.regions = Default::default();
                upstream.steering.panic.fallback = None;
            }
        }
    }
    plan
}

/// The routes that are mappings, which are those of the plan, with their positions in the file.
fn given(config: &raw::Config) -> impl Iterator<Item = (usize, &raw::Route)> {
    let routes = config.routes.get().map_or(&[][..], Vec::as_slice);
    let routes = routes.iter().enumerate();
    routes.filter_map(|(index, field)| Some((index, field.get()?)))
}

/// What is wrong between sections, as far as it can be told for certain: errors leave things unused
/// too.
fn lint(cx: &mut Context<'_>, config: &raw::Config, settings: &Settings, plan: &Plan) {
    lint::unused(cx, config);
    lint::redirects(cx, config);
    lint::patterns(cx, config, plan);
    certificates::check_names(cx, config, plan);
    geo::lint(cx, config, &plan.upstreams);
    matches::check_unseen(cx, config, plan);
    reach::check(cx, config, plan);
    cycles::check(cx, config, settings, plan);
    unmeant::check(cx, config, settings, plan);
}

fn pop(cx: &mut Context<'_>, pop: Option<&raw::Pop>) -> Pop {
    let name = pop.and_then(|pop| names::checked(cx, "PoP", &pop.name));
    Pop {
        name: name.unwrap_or(defaults::POP_NAME).into(),
        location: pop.and_then(|pop| regions::location(cx, &pop.location)),
    }
}

fn metrics(cx: &mut Context<'_>, metrics: Option<&raw::Metrics>) -> MetricsPolicy {
    let max_series = metrics
        .map(|metrics| cx.number(&metrics.max_series, 1..=1_000_000, defaults::MAX_SERIES))
        .unwrap_or(defaults::MAX_SERIES);
    MetricsPolicy {
        max_series: max_series as u32,
    }
}

fn settings(cx: &mut Context<'_>, config: &raw::Config) -> (Settings, bool) {
    let (threads, threads_auto) = threads(cx, &config.threads);
    let admin = listeners::admin(cx, config);
    let settings = Settings {
        listeners: listeners::compile(cx, config),
        admin,
        threads,
        shutdown_timeout: cx.duration(&config.shutdown_timeout, defaults::SHUTDOWN_TIMEOUT),
        access_log: access_log(cx, &config.access_log),
        state: generations::state(cx, &config.state),
    };
    lint::binds(cx, config, &settings);
    (settings, threads_auto)
}

fn threads(cx: &mut Context<'_>, threads: &Field<raw::Threads>) -> (usize, bool) {
    let written = threads
        .get()
        .map_or(defaults::THREADS, |threads| threads.as_ref());
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    match written.parse() {
        _ if written == "auto" => (all, true),
        Ok(count @ 1..=1024) => (count, false),
        _ => {
            let help = "write `auto`, or a whole number from 1 to 1024";
            cx.invalid(
                threads.span(),
                "value",
                "a number of threads",
                written,
                help,
            );
            (all, true)
        }
    }
}

fn access_log(cx: &mut Context<'_>, log: &Field<raw::AccessLog>) -> AccessLog {
    match log.get() {
        Some(WordOr::Word(raw::LogWord::Off)) => AccessLog::Off,
        Some(WordOr::Word(raw::LogWord::Stdout)) | None => AccessLog::Stdout,
        Some(WordOr::Value(to)) => match cx.required(&to.file, log.span(), "file") {
            Some(file) if !file.is_empty() => AccessLog::File(file.into()),
            Some(_) => {
                cx.invalid(
                    to.file.span(),
                    "path",
                    "a path",
                    "",
                    "name a file, or write `off`",
                );
                AccessLog::Off
            }
            None => AccessLog::Off,
        },
    }
}

/// A duration that is known at compile time.
fn default_duration(text: &str) -> std::time::Duration {
    units::duration(text).expect("defaults are durations")
}
