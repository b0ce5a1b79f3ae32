//! Whether this process should be sent traffic.
//!
//! Ready means: its listeners accept, a plan serves, every upstream whose `health.readiness` is
//! `required` has a region that takes requests, and so has at least one of those that are `counted`.
//! By default one upstream that is down does not take the process out of service: the others still
//! need it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tidegate_core::plan::{Readiness as Policy, Standby, Upstream, UpstreamRegion};
use tidegate_core::{Dial, Health, Live, LiveRegion, LiveUpstream};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Listeners are not open yet.
    Starting = 0,
    /// Listeners accept.
    Accepting = 1,
    /// The process ends; nothing new is accepted.
    Stopping = 2,
}

/// The state of the process, told by the composition and asked by the admin listener.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Enters where the process is.
    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    /// Where the process is.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Accepting,
            _ => State::Stopping,
        }
    }

    /// Why the process is not ready, in words; none when it is.
    pub fn missing(&self, live: Option<&Live>) -> Option<Cow<'static, str>> {
        match (self.state(), live) {
            (State::Starting, _) => Some("the listeners are not open yet".into()),
            (State::Stopping, _) => Some("the process is shutting down".into()),
            (State::Accepting, None) => Some("no plan serves yet".into()),
            (State::Accepting, Some(live)) => unusable(live),
        }
    }
}

/// Why the upstreams of `live` are not enough; none when they are.
fn unusable(live: &Live) -> Option<Cow<'static, str>> {
    let pairs = || live.plan.upstreams.iter().zip(&live.upstreams);
    let usable = |(wanted, observed): &(&Arc<Upstream>, &Arc<LiveUpstream>)| {
        let mut regions = wanted.regions.iter().zip(&observed.regions);
        regions.any(|(spec, observed)| takes_requests(spec, observed))
    };
    let required = |wanted: &Upstream| wanted.health.readiness == Policy::Required;
    if let Some((down, _)) = pairs().find(|pair| required(pair.0) && !usable(pair)) {
        let name = &down.name;
        return Some(format!("the upstream `{name}` has no region that takes requests").into());
    }
    let counted = || pairs().filter(|(wanted, _)| wanted.health.readiness != Policy::Ignored);
    let none = counted().next().is_some() && !counted().any(|pair| usable(&pair));
    none.then_some("no upstream has a region that takes requests".into())
}

/// Whether no operator and no plan keeps new requests away.
pub(crate) fn open(spec: &UpstreamRegion, observed: &LiveRegion) -> bool {
    let dial = observed.cell.dial().unwrap_or(spec.dial);
    dial != Dial::NONE && !observed.cell.draining()
}

/// Whether new requests may go there: it is open, and well as far as anybody knows; a cold region must
/// be known to be well.
pub(crate) fn takes_requests(spec: &UpstreamRegion, observed: &LiveRegion) -> bool {
    let health = observed.cell.health();
    let well = match spec.standby {
        Standby::Cold(_) => health == Health::Healthy,
        Standby::Hot | Standby::Warm => health.usable(),
    };
    let set = observed.endpoints.load();
    let mut endpoints = set.endpoints.iter();
    well && open(spec, observed) && endpoints.any(|endpoint| endpoint.cell.health().usable())
}
