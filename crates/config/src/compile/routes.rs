//! Routes: what they match, where they go, and what cannot work between a route and its upstream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_core::ids::{RegionIdx, RouteIdx, UpstreamIdx};
use tidegate_core::plan::{Reveal, Route, Split};
use tidegate_core::route::{RouteMatch, shadowed};

use crate::compile::regions::Regions;
use crate::compile::{Context, action, failover, matches, names, residency, split, times};
use crate::defaults;
use crate::problem::{Problem, Severity, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::{Entry, Field};

/// What routes refer to.
pub(crate) struct Targets<'a> {
    regions: &'a Regions,
    upstreams: HashMap<&'a str, Target<'a>>,
    /// Names in the order of the file, for hints.
    names: Vec<&'a str>,
}

/// An upstream as routes see it.
pub(crate) struct Target<'a> {
    pub(crate) index: UpstreamIdx,
    pub(crate) raw: Option<&'a raw::Upstream>,
    pub(crate) lives_in: Vec<RegionIdx>,
}

/// An upstream, and where a route names it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t, 'a> {
    pub(crate) target: &'t Target<'a>,
    pub(crate) span: Option<Span>,
}

impl<'a> Targets<'a> {
    /// The upstream that a key of the mapping at `parent` names; reported when there is none.
    pub(crate) fn place(
        &self,
        cx: &mut Context<'_>,
        field: &Field<raw::Name>,
        parent: Option<Span>,
    ) -> Option<Place<'_, 'a>> {
        let name = cx.required(field, parent, "upstream")?.as_ref();
        let span = field.span();
        let target = self.upstreams.get(name);
        if target.is_none() && !self.names.is_empty() && cx.gaps.is_whole("upstreams") {
            let known = self.names.iter().copied();
            names::unknown(cx, "unknown_upstream", "upstream", name, span, known);
        }
        target.map(|target| Place { target, span })
    }
}

pub(crate) fn compile(cx: &mut Context<'_>, config: &raw::Config, regions: &Regions) -> Vec<Route> {
    let Some(list) = cx.required(&config.routes, None, "routes") else {
        return Vec::new();
    };
    if list.is_empty() && cx.gaps.is_whole("routes") {
        let problem = Problem::error("empty_routes", "no route is defined");
        cx.report(
            problem
                .at(config.routes.span())
                .help("every request would be answered 404".to_owned()),
        );
    }
    let targets = targets(config, regions);
    let given: Vec<_> = list
        .iter()
        .enumerate()
        .filter_map(|(at, field)| Some((at, field.get()?, field.span())))
        .collect();
    let broken = given
        .iter()
        .map(|(at, ..)| !cx.flaws.is_sound("routes", *at));
    let broken: Vec<bool> = broken.collect();
    let given: Vec<Given<'_>> = given.iter().map(|(_, raw, span)| (*raw, *span)).collect();
    let mut routes = Vec::with_capacity(given.len());
    let mut sound = Vec::with_capacity(given.len());
    for (index, (raw, span)) in given.iter().enumerate() {
        let matches = matches(cx, raw);
        sound.extend((matches.is_some() && !broken[index]).then_some(index));
        routes.push(route(cx, raw, *span, matches.unwrap_or_default(), &targets));
    }
    check_shadows(cx, &given, &routes, &sound);
    check_names(cx, &given);
    name_the_rest(&mut routes);
    routes
}

fn targets<'a>(config: &'a raw::Config, regions: &'a Regions) -> Targets<'a> {
    let entries = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
    // Beyond what an index can hold there is an error already.
    let indexed = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (index as u16, entry));
    let upstreams =
        indexed.map(|(index, entry)| (entry.name.as_str(), target(index, entry, regions)));
    let names = entries.iter().map(|entry| entry.name.as_str()).collect();
    Targets {
        regions,
        upstreams: upstreams.collect(),
        names,
    }
}

fn target<'a>(index: u16, entry: &'a Entry<raw::Upstream>, regions: &Regions) -> Target<'a> {
    let raw = entry.value.get();
    let names = raw
        .and_then(|raw| raw.regions.get())
        .map_or(&[][..], |entries| &entries.0);
    let lives_in = names
        .iter()
        .filter_map(|entry| regions.by_name.get(&entry.name).copied());
    Target {
        index: UpstreamIdx(index),
        raw,
        lives_in: lives_in.collect(),
    }
}

fn route(
    cx: &mut Context<'_>,
    raw: &raw::Route,
    span: Option<Span>,
    matches: RouteMatch,
    targets: &Targets<'_>,
) -> Route {
    let (split, own) = destinations(cx, raw, span, targets);
    let mirror = split::mirror(cx, raw, targets, &own);
    let copies = mirror.as_ref().map(|(_, place)| *place);
    let (allowed, residency) = residency::compile(cx, &raw.residency, targets.regions);
    let rule = residency::Checked {
        field: &raw.residency,
        allowed,
        words: &residency,
        regions: targets.regions,
    };
    rule.check(cx, &own, copies);
    let (timeout, max_duration) = times::compile(cx, raw);
    for place in &own {
        times::check_attempt(cx, raw, timeout, place.target.raw);
    }
    let (idempotent, idempotency_key) = failover::idempotency(cx, raw);
    let first = own.first().map(|place| place.target);
    let raw_upstream = first.and_then(|target| target.raw);
    let hedge = failover::hedge(cx, raw, raw_upstream, &matches.methods, timeout);
    let upstream = first.map(|target| target.index);
    let actions = action::compile(cx, raw, &matches, timeout);
    Route {
        split,
        mirror: mirror.map(|(mirror, _)| mirror),
        isolation: split::isolation(cx, raw, &own),
        timeout,
        max_duration,
        idle_timeout: cx.duration(&raw.idle_timeout, defaults::ROUTE_IDLE_TIMEOUT),
        allowed,
        residency,
        idempotent,
        idempotency_key,
        replay_scope: failover::replay_scope(&raw.replay_scope),
        deadline_header: failover::deadline_header(cx, &raw.deadline_header),
        resume: failover::resume(cx, raw),
        hedge,
        reveal: raw.reveal.get().map(reveal).unwrap_or_default(),
        actions,
        ..Route::new(name(cx, raw), matches, upstream)
    }
}

/// The configured name; empty when the route has none yet.
fn name(cx: &mut Context<'_>, raw: &raw::Route) -> Arc<str> {
    let valid = names::check_label(cx, "route", &raw.name);
    raw.name
        .get()
        .filter(|_| valid)
        .map_or("", String::as_str)
        .into()
}

fn reveal(raw: &raw::Reveal) -> Reveal {
    Reveal {
        region: raw.region.or(false),
        attempts: raw.attempts.or(false),
        server_timing: raw.server_timing.or(false),
    }
}

/// The upstreams that a route leads to, first the one that stands for them.
fn destinations<'t, 'a>(
    cx: &mut Context<'_>,
    raw: &raw::Route,
    span: Option<Span>,
    targets: &'t Targets<'a>,
) -> (Option<Box<Split>>, Vec<Place<'t, 'a>>) {
    if action::answers(raw) {
        return (None, Vec::new());
    }
    if raw.split.is_absent() {
        let (split, _) = split::split(cx, raw, targets);
        let place = targets.place(cx, &raw.upstream, span);
        return (split, place.into_iter().collect());
    }
    if let Some(upstream) = raw.upstream.span() {
        let message = "a route has either `upstream` or `split`";
        let problem = Problem::error("conflicting_keys", message).at(raw.split.span());
        let problem = problem.label(upstream.into(), "and here");
        cx.report(problem.help("remove one".to_owned()));
    }
    split::split(cx, raw, targets)
}

type Given<'a> = (&'a raw::Route, Option<Span>);

fn check_names(cx: &mut Context<'_>, routes: &[Given<'_>]) {
    let mut seen: HashMap<&str, Option<Span>> = HashMap::new();
    for field in routes.iter().map(|(raw, _)| &raw.name) {
        let Some(name) = field.get() else { continue };
        if let Some(first) = seen.insert(name, field.span()) {
            let problem = Problem::error(
                "duplicate_name",
                format!("two routes are named {}", quoted(name)),
            );
            let problem = problem.at(field.span()).label(first, "first here");
            cx.report(problem.help("give each route its own name".to_owned()));
        }
    }
}

/// Names made of matches, with a number where two are alike.
fn name_the_rest(routes: &mut [Route]) {
    let mut taken: HashSet<Arc<str>> = routes.iter().map(|route| route.name.clone()).collect();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for route in routes.iter_mut().filter(|route| route.name.is_empty()) {
        let base = matches::describe(&route.matches);
        let number = numbers.entry(base.clone()).or_insert(0);
        route.name = free_name(&base, number, &taken);
        taken.insert(route.name.clone());
    }
}

/// `base`, or `base#2` and so on. `number` remembers the last, so that many alike stay cheap.
fn free_name(base: &str, number: &mut u32, taken: &HashSet<Arc<str>>) -> Arc<str> {
    loop {
        *number += 1;
        let name = if *number == 1 {
            base.to_owned()
        } else {
            format!("{base}#{number}")
        };
        if !taken.contains(name.as_str()) {
            return name.into();
        }
    }
}

/// What a route matches; none when it is broken, which was reported.
fn matches(cx: &mut Context<'_>, raw: &raw::Route) -> Option<RouteMatch> {
    let before = cx.problems.len();
    let matches = match raw.r#match.get() {
        Some(raw) => matches::compile(cx, raw),
        None if raw.r#match.is_absent() => RouteMatch::default(),
        None => return None,
    };
    let broken = |one: &Problem| one.severity == Severity::Error;
    (!cx.problems[before..].iter().any(broken)).then_some(matches)
}

/// Routes that can never be taken, because an earlier one takes everything. `sound` are the routes
/// whose matches are not broken.
fn check_shadows(cx: &mut Context<'_>, given: &[Given<'_>], routes: &[Route], sound: &[usize]) {
    let place = |index: RouteIdx| {
        let (raw, span) = given[sound[index.get()]];
        raw.r#match.span().or(span)
    };
    for (later, earlier) in shadowed(sound.iter().map(|index| &routes[*index].matches)) {
        let message = "this route never takes a request: an earlier one takes all of them";
        let problem = Problem::error("shadowed_route", message).at(place(later));
        let problem = problem.label(place(earlier), "the earlier route");
        cx.report(problem.help("remove one of the two, or make this one more specific".to_owned()));
    }
}
