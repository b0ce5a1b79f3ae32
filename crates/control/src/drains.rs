//! Which regions an operator drains: by name, for every upstream that lives there, now or after a
//! later reload.
//!
//! The cells on the board carry the drain for the data plane. The names are kept here as well,
//! because a reload may bring an upstream into a drained region, and it must come drained. One lock
//! covers both, so that a drain and a reload at the same moment cannot miss each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tidegate_core::{Board, Live, Plan, PlanHandle};
use tidegate_telemetry::{EventKind, Events};

use crate::named::{self, Named, UnknownName};
use crate::shared::Shared;

/// The names of the drained regions.
#[derive(Debug, Default)]
pub struct Drains(Mutex<BTreeSet<Arc<str>>>);

/// What a drain, or its end, did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// The region.
    pub region: Arc<str>,
    /// Whether it drains now.
    pub draining: bool,
    /// Whether that is new for any upstream.
    pub changed: bool,
    /// The upstreams that live there.
    pub upstreams: Vec<Arc<str>>,
    /// Attempts still under way there.
    pub in_flight: u32,
}

impl Drains {
    /// The drained regions, sorted.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.lock().iter().cloned().collect()
    }

    /// Begins or ends the drain of `region` in every upstream of the serving plan.
    ///
    /// # Errors
    /// [`UnknownName`] when the plan has no such region and none of that name is drained.
    pub fn set(
        &self,
        region: &str,
        draining: bool,
        shared: &Shared,
    ) -> Result<Drained, UnknownName> {
        let mut names = self.lock();
        let live = shared.plan.newest();
        let regions = live.iter().flat_map(|live| &live.plan.regions);
        let known: Vec<_> = regions.map(|region| region.name.clone()).collect();
        if !names.contains(region) && !known.iter().any(|name| **name == *region) {
            return Err(UnknownName::region(region, known));
        }
        let name: Arc<str> = region.into();
        match draining {
            true => names.insert(name.clone()),
            false => names.remove(&name),
        };
        let cells = live.as_deref().map(|live| named::regions(live, region));
        Ok(apply(
            name,
            draining,
            cells.unwrap_or_default(),
            &shared.events,
        ))
    }

    /// Lets `plan` serve with its drained regions drained from the first request.
    pub(crate) fn activate(&self, plan: Plan, handle: &PlanHandle, board: &Board) -> Arc<Live> {
        let names = self.lock();
        for upstream in &plan.upstreams {
            let regions = upstream.regions.iter().map(|spec| plan.region(spec.region));
            for region in regions.filter(|region| names.contains(&region.name)) {
                board
                    .region(&upstream.name, &region.name)
                    .set_draining(true);
            }
        }
        handle.activate(plan, board)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(region: Arc<str>, draining: bool, cells: Vec<Named<'_>>, events: &Events) -> Drained {
    let mut changed = false;
    for Named {
        upstream,
        region: observed,
    } in &cells
    {
        if observed.cell.set_draining(draining) {
            changed = true;
            events.record(EventKind::Drain {
                upstream: upstream.clone(),
                region: region.clone(),
                draining,
            });
        }
    }
    Drained {
        in_flight: cells
            .iter()
            .map(|named| named.region.cell.in_flight())
            .sum(),
        upstreams: cells.into_iter().map(|named| named.upstream).collect(),
        region,
        draining,
        changed,
    }
}
