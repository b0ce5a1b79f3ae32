//! The regions of an upstream. Keys that mean nothing where they stand are left out: the compiler
//! refuses them.

use tidegate_core::plan::{ColdStart, EndpointSpec, Standby, Starter, UpstreamRegion};

use super::{duration, percent, texts};
use crate::emit::Doc;

pub(super) fn upstream_region(region: &UpstreamRegion, priority: bool) -> Doc<'static> {
    let endpoints = region.endpoints.iter().map(endpoint).collect();
    let capacity = region.capacity_rps;
    Doc::map([
        ("endpoints", Some(Doc::List(endpoints))),
        ("weight", Some(Doc::plain(region.weight))),
        ("tier", priority.then(|| Doc::plain(region.tier))),
        ("capacity_rps", capacity.map(Doc::plain)),
        ("pop_share", capacity.map(|_| percent(region.pop_share))),
        ("standby", Some(standby(&region.standby))),
        ("dial", Some(percent(region.dial.share()))),
        ("zones", Some(texts(region.zones.iter()))),
    ])
}

fn endpoint(endpoint: &EndpointSpec) -> Doc<'static> {
    Doc::map([
        ("address", Some(Doc::text(&endpoint.address))),
        ("weight", Some(Doc::plain(endpoint.weight))),
        ("zone", endpoint.zone.as_ref().map(Doc::text)),
    ])
}

fn standby(standby: &Standby) -> Doc<'static> {
    match standby {
        Standby::Hot => Doc::word("hot"),
        Standby::Warm => Doc::word("warm"),
        Standby::Cold(cold) => Doc::map([("cold", Some(self::cold(cold)))]),
    }
}

fn cold(cold: &ColdStart) -> Doc<'static> {
    let by = match &cold.by {
        Starter::Command(parts) => ("start", Some(texts(parts.iter()))),
        Starter::Webhook(url) => ("webhook", Some(Doc::text(url))),
    };
    Doc::map([
        by,
        ("below", Some(percent(cold.below))),
        ("timeout", Some(duration(cold.timeout))),
    ])
}
