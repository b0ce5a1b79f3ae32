//! Whether this process should be sent traffic.
//!
//! Ready means: its listeners accept, a plan serves, and at least one upstream has a region that
//! takes requests. One upstream that is down does not take the process out of service: the others
//! still need it.

use std::sync::atomic::{AtomicU8, Ordering};

use tidegate_core::{Live, LiveRegion};

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
    pub fn missing(&self, live: Option<&Live>) -> Option<&'static str> {
        match (self.state(), live) {
            (State::Starting, _) => Some("the listeners are not open yet"),
            (State::Stopping, _) => Some("the process is shutting down"),
            (State::Accepting, None) => Some("no plan serves yet"),
            (State::Accepting, Some(live)) => {
                (!any_usable(live)).then_some("no upstream has a region that takes requests")
            }
        }
    }
}

fn any_usable(live: &Live) -> bool {
    let mut regions = live.upstreams.iter().flat_map(|upstream| &upstream.regions);
    regions.any(takes_requests)
}

/// Whether new requests may go there.
pub(crate) fn takes_requests(region: &LiveRegion) -> bool {
    let set = region.endpoints.load();
    region.cell.health().usable()
        && !region.cell.draining()
        && set
            .endpoints
            .iter()
            .any(|endpoint| endpoint.cell.health().usable())
}
