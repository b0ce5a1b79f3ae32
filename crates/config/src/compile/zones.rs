//! Zones of a region: their order, and whether endpoints and the list agree.

use std::sync::Arc;

use crate::compile::{Context, names};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::WordOr;

/// The region's zones, best first, each once.
pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::UpstreamRegion) -> Box<[Arc<str>]> {
    let of_endpoints = of_endpoints(raw);
    let mut listed: Vec<(&str, Option<Span>)> = Vec::new();
    for field in raw.zones.get().into_iter().flatten() {
        let Some(zone) = names::checked(cx, "zone", field) else {
            continue;
        };
        if let Some((_, first)) = listed.iter().find(|(known, _)| *known == zone) {
            let message = format!("the zone {} is listed twice", quoted(zone));
            let problem = Problem::error("duplicate_name", message).at(field.span());
            let problem = problem.label(*first, "first here");
            cx.report(problem.help("remove one".to_owned()));
            continue;
        }
        if !of_endpoints.iter().any(|(known, _)| *known == zone) {
            let message = format!("no endpoint is in the zone {}", quoted(zone));
            let problem = Problem::warning("unused_zone", message).at(field.span());
            cx.report(problem.help("give endpoints their `zone`, or remove it".to_owned()));
        }
        listed.push((zone, field.span()));
    }
    check_listed(cx, raw, &of_endpoints, &listed);
    listed.into_iter().map(|(zone, _)| zone.into()).collect()
}

/// The zones that endpoints say they are in.
fn of_endpoints(raw: &raw::UpstreamRegion) -> Vec<(&str, Option<Span>)> {
    let endpoints = raw.endpoints.get().into_iter().flatten();
    let zones = endpoints.filter_map(|field| match field.get()? {
        WordOr::Value(endpoint) => Some(&endpoint.zone),
        WordOr::Word(_) => None,
    });
    zones
        .filter_map(|zone| Some((zone.get()?.as_ref(), zone.span())))
        .collect()
}

/// An endpoint in a zone that is not listed comes after all that are, each zone told once.
fn check_listed(
    cx: &mut Context<'_>,
    raw: &raw::UpstreamRegion,
    of_endpoints: &[(&str, Option<Span>)],
    listed: &[(&str, Option<Span>)],
) {
    let is_listed = |zone: &str| listed.iter().any(|(known, _)| *known == zone);
    let mut told: Vec<&str> = Vec::new();
    for (zone, span) in of_endpoints.iter().filter(|(zone, _)| !is_listed(zone)) {
        if told.contains(zone) {
            continue;
        }
        told.push(zone);
        let shown = quoted(zone);
        let (message, help) = match raw.zones.get() {
            Some(list) if !list.is_empty() => (
                format!("the zone {shown} is not in `zones`"),
                "its endpoints come after those of every listed zone; add it at its place",
            ),
            _ => (
                format!("the region has no `zones`, so the zone {shown} makes no difference"),
                "list them, best first, or remove it",
            ),
        };
        let problem = Problem::warning("unlisted_zone", message).at(*span);
        cx.report(
            problem
                .label(raw.zones.span(), "the list")
                .help(help.to_owned()),
        );
    }
}
