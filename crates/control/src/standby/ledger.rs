//! Which cold regions have to be started now, given what was started before: one start at a time for
//! each, and another one only after the last had its time to bear fruit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::plan::{ColdStart, Standby};
use tidegate_core::{Health, Live, standby};
use tokio::task::AbortHandle;

/// An upstream, and a region of it.
pub(super) type Place = (Arc<str>, Arc<str>);

/// A start that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) place: Place,
    pub(super) cold: Arc<ColdStart>,
    /// The part of what serves before it that is usable.
    usable: f64,
}

/// The starts of late.
#[derive(Debug, Default)]
pub(super) struct Ledger(HashMap<Place, Begun>);

#[derive(Debug)]
enum Begun {
    /// It is under way, or has ended since the last look; then the pause follows.
    UnderWay(AbortHandle),
    Pausing {
        until: Instant,
    },
}

impl Ledger {
    /// The starts to make now.
    pub(super) fn look(&mut self, live: Option<&Live>, now: Instant) -> Vec<Start> {
        let mut wanted = Vec::new();
        for cold in live.map(cold_regions).unwrap_or_default() {
            self.settle(&cold, now);
            if cold.due && !self.0.contains_key(&cold.start.place) {
                wanted.push(cold.start);
            }
        }
        // Those of regions that are gone from the plan.
        self.0.retain(|_, begun| !begun.is_over(now));
        wanted
    }

    /// Enters a start that has begun.
    pub(super) fn begun(&mut self, place: Place, handle: AbortHandle) {
        self.0.insert(place, Begun::UnderWay(handle));
    }

    fn settle(&mut self, cold: &Cold, now: Instant) {
        let Some(begun) = self.0.get_mut(&cold.start.place) else {
            return;
        };
        begun.advance(cold.start.cold.timeout, now);
        let served = cold.healthy && matches!(begun, Begun::Pausing { .. });
        if served || begun.is_over(now) {
            self.0.remove(&cold.start.place);
        }
    }
}

impl Begun {
    fn advance(&mut self, pause: Duration, now: Instant) {
        if let Self::UnderWay(handle) = self
            && handle.is_finished()
        {
            *self = Self::Pausing { until: now + pause };
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        match self {
            Self::UnderWay(handle) => handle.is_finished(),
            Self::Pausing { until } => *until <= now,
        }
    }
}

/// A cold region of the plan.
struct Cold {
    start: Start,
    due: bool,
    healthy: bool,
}

fn cold_regions(live: &Live) -> Vec<Cold> {
    let mut all = Vec::new();
    for (wanted, observed) in live.plan.upstreams.iter().zip(&live.upstreams) {
        for (at, spec) in wanted.regions.iter().enumerate() {
            if let Standby::Cold(cold) = &spec.standby {
                let region = live.plan.region(spec.region).name.clone();
                all.push(Cold {
                    start: Start {
                        place: (wanted.name.clone(), region),
                        cold: cold.clone(),
                        usable: standby::usable_before(wanted, observed),
                    },
                    due: standby::due(wanted, observed, at).is_some(),
                    healthy: observed.regions[at].cell.health() == Health::Healthy,
                });
            }
        }
    }
    all
}

impl Start {
    /// Why it is made, in words.
    pub(super) fn why(&self) -> String {
        let percent = |part: f64| (part * 100.0).round();
        format!(
            "{} % of what serves before it is usable, it starts below {} %",
            percent(self.usable),
            percent(self.cold.below)
        )
    }
}
