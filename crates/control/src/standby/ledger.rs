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
    UnderWay {
        start: AbortHandle,
        pause: Duration,
    },
    Pausing {
        until: Instant,
    },
}

impl Ledger {
    /// The starts to make now. What was started is remembered whatever the plan says: a reload starts
    /// nothing again.
    pub(super) fn look(&mut self, live: Option<&Live>, now: Instant) -> Vec<Start> {
        self.0.values_mut().for_each(|begun| begun.advance(now));
        self.0.retain(|_, begun| !begun.is_over(now));
        let mut wanted = Vec::new();
        for cold in live.map(cold_regions).unwrap_or_default() {
            let place = &cold.start.place;
            if cold.healthy && self.0.get(place).is_some_and(Begun::is_pausing) {
                self.0.remove(place);
            }
            if cold.due && !self.0.contains_key(place) {
                wanted.push(cold.start);
            }
        }
        wanted
    }

    /// Enters a start that has begun; the next is made so long after its end at the earliest.
    pub(super) fn begun(&mut self, place: Place, start: AbortHandle, pause: Duration) {
        self.0.insert(place, Begun::UnderWay { start, pause });
    }
}

impl Begun {
    fn advance(&mut self, now: Instant) {
        if let Self::UnderWay { start, pause } = self
            && start.is_finished()
        {
            *self = Self::Pausing {
                until: now + *pause,
            };
        }
    }

    fn is_pausing(&self) -> bool {
        matches!(self, Self::Pausing { .. })
    }

    fn is_over(&self, now: Instant) -> bool {
        matches!(self, Self::Pausing { until } if *until <= now)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_has_its_time_even_while_no_plan_asks_for_it() {
        let (mut ledger, begun) = (Ledger::default(), Instant::now());
        let start = tokio::spawn(async {});
        let handle = start.abort_handle();
        start.await.unwrap();
        let (place, minute) = (("shop".into(), "us".into()), Duration::from_secs(60));
        ledger.begun(place, handle, minute);
        for (after, kept) in [(0, true), (59, true), (60, false)] {
            assert!(
                ledger
                    .look(None, begun + Duration::from_secs(after))
                    .is_empty()
            );
            assert_eq!(!ledger.0.is_empty(), kept, "{after} s");
        }
    }
}
