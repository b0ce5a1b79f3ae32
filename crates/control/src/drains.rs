//! Which regions an operator drains, and how fast: by name, for every upstream that lives there, now or
//! after a later reload.
//!
//! The cells on the board carry the drain for the data plane. The names are kept here as well,
//! because a reload may bring an upstream into a drained region, and it must come drained. One lock
//! covers both, so that a drain and a reload at the same moment cannot miss each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tidegate_core::cell::Drain;
use tidegate_core::{Board, Live, Plan, PlanHandle};
use tidegate_telemetry::{EventKind, Events};

use crate::named::{self, Named, UnknownName};
use crate::shared::Shared;

type Names = BTreeMap<Arc<str>, Drain>;

/// The names of the drained regions.
#[derive(Debug, Default)]
pub struct Drains(Mutex<Names>);

/// What a drain, or its end, did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// The region.
    pub region: Arc<str>,
    /// Whether it is drained.
    pub draining: bool,
    /// Whether the attempts that wait there are made elsewhere, if they may be made again.
    pub now: bool,
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
        self.lock().keys().cloned().collect()
    }

    /// Begins or ends the drain of `region` in every upstream of the serving plan. A drain that runs
    /// keeps its pace.
    ///
    /// # Errors
    /// [`UnknownName`] when the plan has no such region and none of that name is drained.
    pub fn set(
        &self,
        region: &str,
        draining: bool,
        shared: &Shared,
    ) -> Result<Drained, UnknownName> {
        let drain = match draining {
            true => Drain::Soft,
            false => Drain::No,
        };
        self.set_drain(region, drain, shared)
    }

    /// Drains `region` at least so fast in every upstream of the serving plan, or ends its drain.
    ///
    /// # Errors
    /// [`UnknownName`] when the plan has no such region and none of that name is drained.
    pub fn set_drain(
        &self,
        region: &str,
        drain: Drain,
        shared: &Shared,
    ) -> Result<Drained, UnknownName> {
        let mut names = self.lock();
        let live = shared.plan.newest();
        let regions = live.iter().flat_map(|live| &live.plan.regions);
        let known: Vec<_> = regions.map(|region| region.name.clone()).collect();
        if !names.contains_key(region) && !known.iter().any(|name| **name == *region) {
            return Err(UnknownName::region(region, known));
        }
        let drain = enter(&mut names, region.into(), drain);
        let cells = live.as_deref().map(|live| named::regions(live, region));
        Ok(apply(
            region.into(),
            drain,
            cells.unwrap_or_default(),
            &shared.events,
        ))
    }

    /// Lets `plan` serve with its drained regions drained from the first request.
    pub(crate) fn activate(&self, plan: Plan, handle: &PlanHandle, board: &Board) -> Arc<Live> {
        let names = self.lock();
        for upstream in &plan.upstreams {
            let regions = upstream.regions.iter().map(|spec| plan.region(spec.region));
            for region in regions {
                if let Some(drain) = names.get(&region.name) {
                    board.region(&upstream.name, &region.name).set_drain(*drain);
                }
            }
        }
        handle.activate(plan, board)
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters the drain; says which is in force.
fn enter(names: &mut Names, region: Arc<str>, drain: Drain) -> Drain {
    if drain == Drain::No {
        names.remove(&region);
        return drain;
    }
    let held = names.entry(region).or_default();
    *held = drain.max(*held);
    *held
}

fn apply(region: Arc<str>, drain: Drain, cells: Vec<Named<'_>>, events: &Events) -> Drained {
    let (draining, now) = (drain != Drain::No, drain == Drain::Now);
    let mut changed = false;
    for Named {
        upstream,
        region: observed,
    } in &cells
    {
        if observed.cell.set_drain(drain) {
            changed = true;
            events.record(EventKind::Drain {
                upstream: upstream.clone(),
                region: region.clone(),
                draining,
                now,
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
        now,
        changed,
    }
}
