//! Upstreams as a list: their names, and what is wrong between their regions and endpoints.

use std::collections::HashMap;

use tidegate_core::plan::{EndpointSpec, Upstream, UpstreamRegion};

use crate::compile::body::Totals;
use crate::compile::regions::Regions;
use crate::compile::{Context, UpstreamFiles, names, syntax, upstream};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::{Entries, Entry, Field, WordOr};

/// Indices of upstreams are 16 bits wide.
const UPSTREAMS_MAX: usize = 65_535;

/// Tiers are 16 bits wide.
const TIER_MAX: u64 = u16::MAX as u64;

pub(crate) fn compile(
    cx: &mut Context<'_>,
    config: &raw::Config,
    regions: &Regions,
    totals: &Totals,
) -> (Vec<Upstream>, Vec<UpstreamFiles>) {
    let Some(entries) = cx.required(&config.upstreams, None, "upstreams") else {
        return Default::default();
    };
    if entries.0.is_empty() {
        let problem = Problem::error("empty_upstreams", "no upstream is defined");
        cx.report(
            problem
                .at(config.upstreams.span())
                .help("routes need somewhere to go".to_owned()),
        );
    }
    if let Some(entry) = entries.0.get(UPSTREAMS_MAX) {
        let message = format!(
            "{} upstreams, at most {UPSTREAMS_MAX} are supported",
            entries.0.len()
        );
        cx.report(Problem::error("too_many_upstreams", message).at(entry.name_span));
    }
    let compiled = entries.0.iter().take(UPSTREAMS_MAX).filter_map(|entry| {
        names::check(cx, "upstream", &entry.name, entry.name_span);
        let raw = entry.value.get()?;
        let lives_in = lives_in(cx, entry, raw, regions);
        Some(upstream::compile(cx, &entry.name, raw, lives_in, totals))
    });
    compiled.unzip()
}

/// The regions of an upstream, with their endpoints.
fn lives_in(
    cx: &mut Context<'_>,
    entry: &Entry<raw::Upstream>,
    raw: &raw::Upstream,
    regions: &Regions,
) -> Vec<UpstreamRegion> {
    let Some(entries) = cx.required(&raw.regions, entry.name_span, "regions") else {
        return Vec::new();
    };
    if entries.0.is_empty() {
        let message = format!("the upstream {} lives in no region", quoted(&entry.name));
        cx.report(Problem::error("empty_regions", message).at(raw.regions.span()));
    }
    let mut seen = HashMap::new();
    let list: Vec<UpstreamRegion> = entries
        .0
        .iter()
        .enumerate()
        .filter_map(|(position, entry)| region(cx, position, entry, regions, &mut seen))
        .collect();
    check_weights(cx, entries, &list);
    list
}

/// Addresses seen in this upstream: the region and the place.
type Seen = HashMap<String, (String, Option<Span>)>;

fn region(
    cx: &mut Context<'_>,
    position: usize,
    entry: &Entry<raw::UpstreamRegion>,
    regions: &Regions,
    seen: &mut Seen,
) -> Option<UpstreamRegion> {
    let index = regions.by_name.get(&entry.name).copied();
    if index.is_none() && !regions.list.is_empty() {
        names::unknown(
            cx,
            "unknown_region",
            "region",
            &entry.name,
            entry.name_span,
            regions.names(),
        );
    }
    let raw = entry.value.get()?;
    let endpoints = endpoints(cx, entry, raw, seen);
    let weight = cx.number(&raw.weight, 0..=1_000_000, defaults::WEIGHT);
    let tier = cx.number(&raw.tier, 0..=TIER_MAX, (position as u64).min(TIER_MAX));
    Some(UpstreamRegion {
        weight: weight as u32,
        ..UpstreamRegion::new(index?, tier as u16, endpoints)
    })
}

fn endpoints(
    cx: &mut Context<'_>,
    entry: &Entry<raw::UpstreamRegion>,
    raw: &raw::UpstreamRegion,
    seen: &mut Seen,
) -> Box<[EndpointSpec]> {
    let Some(list) = cx.required(&raw.endpoints, entry.name_span, "endpoints") else {
        return Box::default();
    };
    if list.is_empty() {
        let message = format!("the region {} has no endpoints", quoted(&entry.name));
        let problem = Problem::error("empty_endpoints", message).at(raw.endpoints.span());
        cx.report(problem.help("list them as `host:port`, or leave the region out".to_owned()));
    }
    let mut endpoints = Vec::with_capacity(list.len());
    for field in list {
        let Some((endpoint, span)) = endpoint(cx, field) else {
            continue;
        };
        note(cx, &entry.name, &endpoint.address, span, seen);
        endpoints.push(endpoint);
    }
    endpoints.into()
}

fn endpoint(
    cx: &mut Context<'_>,
    field: &Field<raw::EndpointEntry>,
) -> Option<(EndpointSpec, Option<Span>)> {
    let (text, span, weight) = match field.get()? {
        WordOr::Word(text) => (text.as_str(), field.span(), defaults::WEIGHT),
        WordOr::Value(raw) => {
            let text = cx.required(&raw.address, field.span(), "address")?;
            let weight = cx.number(&raw.weight, 1..=1000, defaults::WEIGHT);
            (text.as_str(), raw.address.span(), weight)
        }
    };
    let report =
        |help: String| cx.invalid(span, "endpoint", "an endpoint (`host:port`)", text, &help);
    let address = syntax::endpoint(text).map_err(report).ok()?;
    Some((
        EndpointSpec {
            weight: weight as u32,
            ..EndpointSpec::new(address)
        },
        span,
    ))
}

/// Notes an address; twice in one region is an error, in two regions a warning: when the one
/// region fails, so does the other.
fn note(cx: &mut Context<'_>, region: &str, address: &str, span: Option<Span>, seen: &mut Seen) {
    let Some((first_region, first)) = seen.get(address) else {
        seen.insert(address.to_owned(), (region.to_owned(), span));
        return;
    };
    let problem = if first_region == region {
        let help = "remove one; for a larger share give it a `weight`".to_owned();
        let message = format!("the endpoint {} is listed twice", quoted(address));
        Problem::error("duplicate_endpoint", message).help(help)
    } else {
        let message = format!("the endpoint {} is in two regions", quoted(address));
        let help =
            "when it fails both regions fail, so there is nowhere to fail over to".to_owned();
        Problem::warning("shared_endpoint", message).help(help)
    };
    cx.report(problem.at(span).label(*first, "first here"));
}

fn check_weights(
    cx: &mut Context<'_>,
    entries: &Entries<raw::UpstreamRegion>,
    list: &[UpstreamRegion],
) {
    if list.is_empty() || list.iter().any(|region| region.weight > 0) {
        return;
    }
    let place = entries
        .0
        .iter()
        .find_map(|entry| entry.value.get()?.weight.span());
    let problem = Problem::error("all_weights_zero", "every region has weight 0");
    cx.report(
        problem
            .at(place)
            .help("no region would take a first attempt; give one a weight".to_owned()),
    );
}
