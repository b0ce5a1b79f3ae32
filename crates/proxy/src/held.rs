//! What a request holds of its plan: its route and its upstream, each with what this worker resolved
//! for it, and nothing else.
//!
//! A request takes both when it is admitted and never asks the plan again, so that a plan of 10,000
//! routes goes away at the next reload however long a stream under it lasts. What is held is made once
//! for each route that is used, generation and worker; a request counts it up and down without an
//! atomic. Names that logs need later (regions, the PoP) are held here too: positions mean something
//! under their own plan only.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::pins::Pins;
use tidegate_core::plan::{Explain, Plan, Region, Route, Upstream};
use tidegate_core::record::Chances;
use tidegate_core::sets::KeptSets;
use tidegate_core::{Endpoint, Generation, HedgeCell, LiveUpstream, RegionIdx};
use tidegate_telemetry::metrics::{RouteSeries, UpstreamRow};

use crate::affinity::Bonds;
use crate::tls::client::Profile;
use crate::upstream::pool::Target;

/// A route, with what its requests need beside it.
///
/// What every request looks at comes first, in the order that is written here: with thousands of routes
/// each cache line is a wait for memory, so it is two of them, counts of the `Rc` included.
#[repr(C)]
pub(crate) struct HeldRoute {
    pub(crate) route: Arc<Route>,
    /// Where this worker counts what its generation is held by.
    pub(crate) pins: Arc<Pins>,
    /// What is recorded of decisions.
    pub(crate) explain: Option<Explain>,
    /// The PoP's name.
    pub(crate) pop: Rc<str>,
    /// What is observed for its hedges.
    pub(crate) hedge: Option<Arc<HedgeCell>>,
    pub(crate) series: RouteSeries,
    /// The plan's number.
    pub(crate) generation: Generation,
    /// The hash of the plan's content.
    pub(crate) content_hash: Arc<str>,
    /// What it leaves to chance, for records. None: nothing.
    pub(crate) chances: Option<Arc<Chances>>,
    /// The regions of its plan: positions lead to names.
    pub(crate) regions: Arc<[Region]>,
    bytes: usize,
}

/// An upstream, with what requests to it need beside it.
pub(crate) struct HeldUpstream {
    pub(crate) wanted: Arc<Upstream>,
    pub(crate) live: Arc<LiveUpstream>,
    /// The endpoint sets that this worker saw last.
    pub(crate) sets: KeptSets,
    /// How to connect.
    pub(crate) profile: Arc<Profile>,
    /// The cookie that keeps its clients at their places; none if no cookie does.
    pub(crate) bonds: Option<Bonds>,
    pub(crate) series: UpstreamRow,
}

/// The parts of a [`HeldRoute`] that its plan has.
pub(crate) struct RouteParts<'a> {
    pub(crate) generation: Generation,
    pub(crate) route: &'a Arc<Route>,
    pub(crate) plan: &'a Plan,
    /// The PoP's name, as this worker keeps it.
    pub(crate) pop: &'a Rc<str>,
    pub(crate) hedge: Option<&'a Arc<HedgeCell>>,
}

impl HeldRoute {
    /// What requests of the route hold from now on, counted among `pins` until it is dropped.
    pub(crate) fn new(parts: RouteParts<'_>, series: RouteSeries, pins: &Arc<Pins>) -> Rc<Self> {
        let bytes = parts.route.bytes();
        pins.route_held(bytes);
        Rc::new(Self {
            generation: parts.generation,
            route: parts.route.clone(),
            content_hash: parts.plan.content_hash.clone(),
            explain: parts.plan.explain,
            chances: Chances::of(parts.plan, parts.route),
            regions: parts.plan.regions.clone(),
            pop: parts.pop.clone(),
            hedge: parts.hedge.cloned(),
            series,
            pins: pins.clone(),
            bytes,
        })
    }

    /// Has what a request asks of it, from its admission to its end, brought near at once. These looks
    /// depend on nothing but the route, so the waits for memory can pass together here instead of one
    /// after the other there.
    #[inline]
    pub(crate) fn approach(&self) {
        self.route.approach();
        black_box(self.hedge.is_some());
        self.series.approach();
    }

    /// The name of a region.
    pub(crate) fn region(&self, region: RegionIdx) -> &Arc<str> {
        &self.regions[region.get()].name
    }
}

impl Drop for HeldRoute {
    fn drop(&mut self) {
        self.pins.route_let_go(self.bytes);
    }
}

impl HeldUpstream {
    /// Its record and its pointers, as `core` asks for them.
    pub(crate) fn parts(&self) -> (&Upstream, &LiveUpstream) {
        (&self.wanted, &self.live)
    }

    /// Where an attempt at `endpoint`, in the region at `position`, connects to.
    pub(crate) fn target<'a>(&'a self, position: u8, endpoint: &'a Endpoint) -> Target<'a> {
        Target {
            endpoint,
            region: &self.live.regions[usize::from(position)].cell,
            profile: &self.profile,
            series: self.series.region(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// Two cache lines, after the counts of the `Rc`, with all of the series but what is seldom needed.
    #[test]
    fn what_every_request_looks_at_lies_together() {
        const COUNTS: usize = 2 * size_of::<usize>();
        const SERIES: usize = 40;
        assert!(COUNTS + offset_of!(HeldRoute, pop) <= 64);
        assert!(COUNTS + offset_of!(HeldRoute, series) + SERIES <= 128);
    }
}
