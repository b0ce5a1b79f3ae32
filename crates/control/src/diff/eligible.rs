//! Where the requests of a route may go by its plan alone, whatever is observed: and who gains or loses
//! that by another plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::plan::Route;
use tidegate_core::{Dial, Plan, UpstreamIdx};

/// Why a region gets nothing of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Barred {
    /// The route's upstream does not live there, or the region is not known at all.
    NotThere,
    /// The route's residency does not allow it.
    Residency,
    /// The plan dials it to 0.
    DialedOut,
}

/// A region that a route's requests may go to under one of two plans only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name.
    pub region: Arc<str>,
    /// Why not under the other.
    pub why: Barred,
}

/// The regions of a plan, by name, and what keeps a route from them.
pub(super) type Eligible = BTreeMap<Arc<str>, Option<Barred>>;

/// Of the route's upstream, or any of those that it is split between.
pub(super) fn eligible(plan: &Plan, route: &Route) -> Eligible {
    let barred = |at| {
        let each = route
            .drawn_upstreams()
            .map(move |upstream| barred(plan, route, upstream, at));
        each.min_by_key(|barred| barred.map_or(0, |why| 1 + why as u8))
            .unwrap_or(Some(Barred::NotThere))
    };
    let regions = plan.regions.iter().enumerate();
    regions
        .map(|(at, region)| (region.name.clone(), barred(at)))
        .collect()
}

/// The regions that may be used by `some` and not by `other`.
pub(super) fn only(some: &Eligible, other: &Eligible) -> Vec<Moved> {
    let open = some.iter().filter(|(_, barred)| barred.is_none());
    let moved = open.filter_map(|(region, _)| {
        let why = other
            .get(region)
            .copied()
            .unwrap_or(Some(Barred::NotThere))?;
        Some(Moved {
            region: region.clone(),
            why,
        })
    });
    moved.collect()
}

fn barred(plan: &Plan, route: &Route, upstream: UpstreamIdx, region: usize) -> Option<Barred> {
    let mut lives_in = plan.upstream(upstream).regions.iter();
    match lives_in.find(|spec| spec.region.get() == region) {
        None => Some(Barred::NotThere),
        Some(spec) if !route.allowed.contains(spec.region) => Some(Barred::Residency),
        Some(spec) if spec.dial == Dial::NONE => Some(Barred::DialedOut),
        Some(_) => None,
    }
}

impl Barred {
    /// In words, after "because".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NotThere => "its upstream does not live there",
            Self::Residency => "residency",
            Self::DialedOut => "dialed to 0%",
        }
    }
}
