//! What an order would leave without any region that takes its requests.
//!
//! A drain and a dial at 0 exclude a region even when everything else is dead, so a slip of the hand
//! would be an outage. What counts is what routes may reach: the last region in a jurisdiction is the
//! last one, however many there are elsewhere.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::plan::Route;
use tidegate_core::{Dial, Live, RegionIdx, RegionSet, UpstreamIdx};

use crate::readiness::{open, takes_requests};

/// An order was refused because of what it would leave with nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("without `{region}` no region would take requests of {}", listed(left))]
pub struct Bereft {
    /// The region.
    pub region: Arc<str>,
    /// What would be left with nothing. Never empty.
    pub left: Vec<Left>,
}

/// Something that would be left with nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The route whose residency leaves no other region; none: all of the upstream.
    pub route: Option<Arc<str>>,
}

/// An error lists no more.
const LISTED_MAX: usize = 8;

pub(super) fn listed(left: &[Left]) -> String {
    let mut words: Vec<_> = left.iter().take(LISTED_MAX).map(Left::to_string).collect();
    if left.len() > LISTED_MAX {
        words.push(format!("{} more", left.len() - LISTED_MAX));
    }
    words.join(", ")
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.route {
            None => write!(f, "upstream `{}`", self.upstream),
            Some(route) => write!(f, "route `{route}` (residency)"),
        }
    }
}

/// A region of one upstream.
struct Place {
    region: RegionIdx,
    /// No operator and no plan keeps requests away.
    open: bool,
    /// Besides, it is well enough.
    takes: bool,
}

/// Refuses to take `region` out of those upstreams for which `out` says so, given the plan's dial there,
/// if it is the last for any of them.
pub(super) fn check(
    live: Option<&Live>,
    region: &str,
    out: impl Fn(&str, Dial) -> bool,
) -> Result<(), Bereft> {
    let Some(live) = live else { return Ok(()) };
    let mut regions = live.plan.regions.iter();
    let Some(index) = regions.position(|known| *known.name == *region) else {
        return Ok(());
    };
    let index = RegionIdx(index as u8);
    let upstreams = 0..live.plan.upstreams.len();
    let left: Vec<_> = upstreams
        .map(|at| UpstreamIdx(at as u16))
        .filter(|upstream| is_taken_out(live, *upstream, index, &out))
        .flat_map(|upstream| left_of(live, upstream, index))
        .collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(Bereft {
            region: region.into(),
            left,
        }),
    }
}

/// What has no region that takes part at all, as orders and the plan have it.
pub(super) fn without_any(live: &Live) -> Vec<Left> {
    let mut left = Vec::new();
    for at in 0..live.plan.upstreams.len() {
        let upstream = UpstreamIdx(at as u16);
        let places = places(live, upstream);
        let is_open = |allowed: RegionSet| {
            let mut open = places.iter().filter(|place| place.open);
            open.any(|place| allowed.contains(place.region))
        };
        let name = &live.plan.upstream(upstream).name;
        if !is_open(RegionSet::ALL) {
            left.push(Left {
                upstream: name.clone(),
                route: None,
            });
            continue;
        }
        let routes = live.plan.routes.iter();
        let shut = routes.filter(|route| goes_to(route, upstream) && !is_open(route.allowed));
        left.extend(shut.map(|route| Left {
            upstream: name.clone(),
            route: Some(route.name.clone()),
        }));
    }
    left
}

fn is_taken_out(
    live: &Live,
    upstream: UpstreamIdx,
    region: RegionIdx,
    out: impl Fn(&str, Dial) -> bool,
) -> bool {
    let (wanted, _) = live.upstream(upstream);
    let mut regions = wanted.regions.iter();
    regions.any(|spec| spec.region == region && out(&wanted.name, spec.dial))
}

/// What of this upstream has no other region.
fn left_of(live: &Live, upstream: UpstreamIdx, region: RegionIdx) -> Vec<Left> {
    let places = places(live, upstream);
    let name = &live.plan.upstream(upstream).name;
    let left = |route| Left {
        upstream: name.clone(),
        route,
    };
    if is_last(&places, region, RegionSet::ALL) {
        return vec![left(None)];
    }
    let routes = live.plan.routes.iter();
    routes
        .filter(|route| goes_to(route, upstream) && is_last(&places, region, route.allowed))
        .map(|route| left(Some(route.name.clone())))
        .collect()
}

fn places(live: &Live, upstream: UpstreamIdx) -> Vec<Place> {
    let (wanted, observed) = live.upstream(upstream);
    let pairs = wanted.regions.iter().zip(&observed.regions);
    pairs
        .map(|(spec, observed)| Place {
            region: spec.region,
            open: open(spec, observed),
            takes: takes_requests(spec, observed),
        })
        .collect()
}

fn goes_to(route: &Route, upstream: UpstreamIdx) -> bool {
    let split = route.split.iter().flat_map(|split| &split.targets);
    let mut targets = split.filter(|target| target.weight > 0);
    match route.split {
        None => route.upstream == Some(upstream),
        Some(_) => targets.any(|target| target.upstream == upstream),
    }
}

/// Whether `region` is the last of those `allowed` that takes requests; where none does, whether it is
/// the last that could again.
fn is_last(places: &[Place], region: RegionIdx, allowed: RegionSet) -> bool {
    let mut own = places.iter().filter(|place| place.region == region);
    let Some(own) = own.next().filter(|own| allowed.contains(own.region)) else {
        return false;
    };
    let others = || {
        let others = places.iter().filter(|place| place.region != region);
        others.filter(|place| allowed.contains(place.region))
    };
    let replaced = others().any(|place| place.takes);
    own.open && !replaced && (own.takes || !others().any(|place| place.open))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places by letter: `t` takes requests, `o` is open but ill, `x` is kept out; the first one is
    /// taken out.
    fn check(places: &str, allowed: &[u8], last: bool) {
        let places: Vec<_> = places
            .chars()
            .zip(0..)
            .map(|(letter, at)| Place {
                region: RegionIdx(at),
                open: letter != 'x',
                takes: letter == 't',
            })
            .collect();
        let allowed = allowed.iter().copied().map(RegionIdx).collect();
        assert_eq!(is_last(&places, RegionIdx(0), allowed), last, "{allowed:?}");
    }

    #[test]
    fn the_last_is_the_last_of_those_that_are_allowed() {
        check("t", &[0], true);
        check("tt", &[0, 1], false);
        check("tt", &[0], true);
        check("tx", &[0, 1], true);
        check("to", &[0, 1], true);
        check("oo", &[0, 1], false);
        check("ox", &[0, 1], true);
        check("xt", &[0, 1], false);
        check("x", &[0], false);
        check("tox", &[1, 2], false);
    }
}
