//! How a region is drained: as fast as anybody has asked for, at the latest by its deadline.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;
use tidegate_core::{Drain, RegionCell};

use super::note::{Note, Terms, seconds_until};
use crate::named::Named;

/// A drain as it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainOrder {
    /// Whether the attempts that wait there are made elsewhere at once, if they may be made again.
    pub now: bool,
    /// After how long they are. None: never, or as an earlier order says.
    pub deadline: Option<Duration>,
    /// Whether it may leave an upstream, or a route, without any region that takes its requests.
    pub force: bool,
}

/// What a drain, or its end, did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// The region.
    pub region: Arc<str>,
    /// Whether it is drained.
    pub draining: bool,
    /// Whether the attempts that wait there are made elsewhere, if they may be made again.
    pub now: bool,
    /// In how many seconds they will be; none: not at a moment that is known.
    pub deadline_s: Option<u64>,
    /// Whether the pace is new for any upstream, or the deadline.
    pub changed: bool,
    /// The upstreams that live there.
    pub upstreams: Vec<Arc<str>>,
    /// Attempts still under way there.
    pub in_flight: u32,
    /// Those of them that wait for an answer; the others are answers, uploads and tunnels.
    pub waiting: u32,
}

/// A drain that is in force.
#[derive(Clone, Debug)]
pub(super) struct Draining {
    /// `Soft` or `Now`.
    pub(super) pace: Drain,
    pub(super) deadline: Option<SystemTime>,
    pub(super) note: Note,
}

/// A drain as it is told to people.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pending {
    /// Whether the attempts that wait there are made elsewhere.
    now: bool,
    /// In how many seconds they will be.
    pub(super) deadline_s: Option<u64>,
    /// Who wants it, why, since when and until when.
    #[serde(flatten)]
    note: Value,
}

/// A drain of one upstream that has come to its deadline.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) upstream: Arc<str>,
    pub(crate) region: Arc<str>,
    pub(crate) cell: Arc<RegionCell>,
    /// Attempts that were under way.
    pub(crate) in_flight: u32,
}

impl Draining {
    /// One that begins now.
    pub(super) fn new(terms: &Terms, now: SystemTime) -> Self {
        Self {
            pace: Drain::Soft,
            deadline: None,
            note: Note::new(terms, now),
        }
    }

    /// A milder order does not slow it down, but the last deadline and the last terms count.
    pub(super) fn follow(&mut self, order: DrainOrder, terms: &Terms, now: SystemTime) {
        self.note = Note::new(terms, now);
        match (order.now, order.deadline) {
            (true, _) => self.hurry(),
            (false, Some(after)) if self.pace == Drain::Soft => self.deadline = Some(now + after),
            (false, _) => {}
        }
    }

    pub(super) fn hurry(&mut self) {
        self.pace = Drain::Now;
        self.deadline = None;
    }

    pub(super) fn pending(&self, now: SystemTime) -> Pending {
        Pending {
            now: self.pace == Drain::Now,
            deadline_s: self.deadline.map(|at| seconds_until(at, now)),
            note: self.note.to_json(now),
        }
    }
}

impl Drained {
    pub(super) fn of(
        region: &str,
        drain: Drain,
        deadline_s: Option<u64>,
        changed: bool,
        cells: Vec<Named<'_>>,
    ) -> Self {
        let sum =
            |of: fn(&RegionCell) -> u32| cells.iter().map(|named| of(&named.region.cell)).sum();
        Self {
            region: region.into(),
            draining: drain != Drain::No,
            now: drain == Drain::Now,
            deadline_s,
            changed,
            in_flight: sum(RegionCell::in_flight),
            waiting: sum(waiting),
            upstreams: cells.into_iter().map(|named| named.upstream).collect(),
        }
    }
}

impl Due {
    pub(super) fn of(region: &Arc<str>, named: &Named<'_>) -> Self {
        Self {
            upstream: named.upstream.clone(),
            region: region.clone(),
            cell: named.region.cell.clone(),
            in_flight: named.region.cell.in_flight(),
        }
    }
}

/// Attempts that have sent their request, or connect, and have no answer yet.
pub(crate) fn waiting(cell: &RegionCell) -> u32 {
    let waiting = cell.tally().waiting().try_into().unwrap_or(u32::MAX);
    cell.in_flight().min(waiting)
}
