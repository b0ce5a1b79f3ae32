//! The limiting half of circuit breaking: what is full takes no further attempt.
//!
//! A full endpoint is passed over for its neighbours, and a full region for the next one, so that
//! load beyond a bound spills before anything is refused. The counts are those of this process, and
//! they are compared before they are stepped: threads that choose in the same instant may overshoot
//! by one each, as with every proxy that has such bounds.
//!
//! Bounds on connections are kept by whoever owns connections.

use crate::balance::Barred;
use crate::cell::{EndpointCell, RegionCell};
use crate::handle::LiveRegion;
use crate::plan::{CircuitBreaker, Limits};

/// Which of a request's attempts it is: retries have bounds of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// The first.
    #[default]
    First,
    /// A later one.
    Retry,
}

/// What bounds one attempt at its endpoint and in its region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Of each endpoint.
    pub endpoint: Bound,
    /// Of the region.
    pub region: Bound,
}

/// What bounds one attempt in one place. No bound by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    requests: u32,
    retries: u32,
}

/// Whether there is room for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Nothing there may take it.
    Closed,
    /// Something could take it, were it not at its bound.
    Full,
    /// Something may take it.
    Open,
}

impl Bounds {
    /// The bounds of an attempt on its `turn`.
    pub fn of(breaker: &CircuitBreaker, turn: Turn) -> Self {
        Self {
            endpoint: Bound::of(&breaker.endpoint, turn),
            region: Bound::of(&breaker.region, turn),
        }
    }
}

impl Bound {
    /// Nothing is bounded.
    pub const NONE: Self = Self {
        requests: u32::MAX,
        retries: u32::MAX,
    };

    fn of(limits: &Limits, turn: Turn) -> Self {
        let retries = limits.max_retries.filter(|_| turn == Turn::Retry);
        Self {
            requests: limits.max_requests.unwrap_or(u32::MAX),
            retries: retries.unwrap_or(u32::MAX),
        }
    }

    /// Whether the endpoint has as much under way as it may.
    pub fn fills(self, cell: &EndpointCell) -> bool {
        self != Self::NONE && self.reached(cell.in_flight(), cell.retries_in_flight())
    }

    /// Whether the region has as much under way as it may.
    pub fn fills_region(self, cell: &RegionCell) -> bool {
        self != Self::NONE && self.reached(cell.in_flight(), cell.retries_in_flight())
    }

    /// `u32::MAX` is no bound, not a high one: nothing reaches it.
    fn reached(self, requests: u32, retries: u32) -> bool {
        let at = |bound, count| bound != u32::MAX && count >= bound;
        at(self.requests, requests) || at(self.retries, retries)
    }
}

/// Whether a region that is full has room for a first attempt: its bounds on retries alone are
/// reached.
pub fn fills_only_retries(breaker: &CircuitBreaker, region: &LiveRegion) -> bool {
    let first = Bounds::of(breaker, Turn::First);
    let barred = Barred {
        bound: first.endpoint,
        ..Barred::default()
    };
    let room = || region.endpoints.load().any_room(&barred);
    !first.region.fills_region(&region.cell) && room() == Room::Open
}

impl Default for Bound {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::cell::InFlight;

    /// With three attempts under way, one of them a retry.
    fn check(limits: Limits, turn: Turn, expected: bool) {
        let now = Instant::now();
        let (endpoint, region) = (
            Arc::new(EndpointCell::new(now)),
            Arc::new(RegionCell::new(now)),
        );
        let begin = || InFlight::begin(endpoint.clone(), region.clone());
        let guards = [begin(), begin(), begin().retry().retry()];
        let bound = Bound::of(&limits, turn);
        let full = [bound.fills(&endpoint), bound.fills_region(&region)];
        assert_eq!(full, [expected; 2], "{limits:?} {turn:?}");
        drop(guards);
        let empty = limits.max_requests == Some(0) || limits.max_retries == Some(0);
        let full = [bound.fills(&endpoint), bound.fills_region(&region)];
        assert_eq!(
            full,
            [expected && empty; 2],
            "nothing is under way any more"
        );
    }

    #[test]
    fn what_reaches_its_bound_is_full() {
        let requests = |max| Limits {
            max_requests: Some(max),
            ..Limits::default()
        };
        let retries = |max| Limits {
            max_retries: Some(max),
            ..Limits::default()
        };
        for turn in [Turn::First, Turn::Retry] {
            check(Limits::default(), turn, false);
            check(requests(4), turn, false);
            check(requests(3), turn, true);
            check(requests(0), turn, true);
            check(retries(2), turn, false);
            check(retries(1), turn, turn == Turn::Retry);
            check(retries(0), turn, turn == Turn::Retry);
        }
    }
}
