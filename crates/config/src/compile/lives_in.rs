//! The regions that one upstream lives in: endpoints, share, capacity, and what is wrong between
//! them. Standby and zones have modules of their own.

use std::collections::HashMap;

use tidegate_core::Dial;
use tidegate_core::plan::{EndpointSpec, Standby, UpstreamRegion};

use crate::compile::context::SHARE_MIN;
use crate::compile::regions::Regions;
use crate::compile::{Context, names, standby, syntax, zones};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::{Entry, Field, WordOr};

/// Tiers are 16 bits wide.
const TIER_MAX: u64 = u16::MAX as u64;

/// Less is no service, more is no region.
const CAPACITY_MIN: f64 = 0.001;
const CAPACITY_MAX: f64 = 1e9;

/// A region of an upstream with what was written of it.
pub(crate) type Given<'a> = (UpstreamRegion, &'a raw::UpstreamRegion);

/// The regions of an upstream, in the order of the file.
pub(crate) fn compile(
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
    let list: Vec<Given<'_>> = entries
        .0
        .iter()
        .enumerate()
        .filter_map(|(position, entry)| {
            let region = region(cx, position, entry, regions, &mut seen)?;
            Some((region, entry.value.get()?))
        })
        .collect();
    check_weights(cx, &list);
    check_serving(cx, &list);
    list.into_iter().map(|(region, _)| region).collect()
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
    if index.is_none() && cx.gaps.is_whole("regions") && !regions.list.is_empty() {
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
    let zones = zones::compile(cx, raw);
    let (capacity_rps, pop_share) = capacity(cx, raw);
    let standby = standby::compile(cx, &raw.standby);
    Some(UpstreamRegion {
        weight: weight as u32,
        capacity_rps,
        pop_share,
        standby,
        dial: Dial::new(cx.percent(&raw.dial, 1.0, defaults::DIAL)),
        zones,
        ..UpstreamRegion::new(index?, tier as u16, endpoints)
    })
}

/// What a region can serve, and this PoP's part of it.
fn capacity(cx: &mut Context<'_>, raw: &raw::UpstreamRegion) -> (Option<f64>, f64) {
    let capacity = raw.capacity_rps.get().map(|rps| {
        if *rps == 0.0 {
            let problem = Problem::error("out_of_range", "a region of capacity 0 serves nothing");
            let help = "to send nothing there write `dial: 0%`; if it is not known, leave it out";
            cx.report(problem.at(raw.capacity_rps.span()).help(help.to_owned()));
            return CAPACITY_MIN;
        }
        cx.float(&raw.capacity_rps, CAPACITY_MIN..=CAPACITY_MAX, CAPACITY_MIN)
    });
    if raw.capacity_rps.is_absent() {
        cx.unused_if_given(raw.pop_share.span(), "pop_share", "`capacity_rps`");
    }
    let share = cx.percent_within(&raw.pop_share, SHARE_MIN..=1.0, defaults::POP_SHARE);
    (capacity, share)
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
    let (text, span, weight, zone) = match field.get()? {
        WordOr::Word(text) => (text.as_str(), field.span(), defaults::WEIGHT, None),
        WordOr::Value(raw) => {
            let text = cx.required(&raw.address, field.span(), "address")?;
            let weight = cx.number(&raw.weight, 1..=1000, defaults::WEIGHT);
            let zone = names::checked(cx, "zone", &raw.zone);
            (text.as_str(), raw.address.span(), weight, zone)
        }
    };
    let report =
        |help: String| cx.invalid(span, "endpoint", "an endpoint (`host:port`)", text, &help);
    let address = syntax::endpoint(text).map_err(report).ok()?;
    Some((
        EndpointSpec {
            weight: weight as u32,
            zone: zone.map(Into::into),
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

fn check_weights(cx: &mut Context<'_>, list: &[Given<'_>]) {
    if list.is_empty() || list.iter().any(|(region, _)| region.weight > 0) {
        return;
    }
    let place = list.iter().find_map(|(_, raw)| raw.weight.span());
    let problem = Problem::error("all_weights_zero", "every region has weight 0");
    cx.report(
        problem
            .at(place)
            .help("no region would take a first attempt; give one a weight".to_owned()),
    );
}

/// Standbys stand by for something.
fn check_serving(cx: &mut Context<'_>, list: &[Given<'_>]) {
    let serves =
        |region: &UpstreamRegion| region.standby == Standby::Hot && region.dial > Dial::NONE;
    if list.is_empty() || list.iter().any(|(region, _)| serves(region)) {
        return;
    }
    let of = |raw: &raw::UpstreamRegion| raw.standby.span().or(raw.dial.span());
    let place = list.iter().find_map(|(_, raw)| of(raw));
    let message = "every region is a standby or dialed to 0%, so nothing serves";
    let problem = Problem::error("nothing_serves", message).at(place);
    let help = "let one region be `standby: hot` with a dial above `0%`";
    cx.report(problem.help(help.to_owned()));
}
