//! What happened lately: the last events in memory, and every new one to whoever listens.
//!
//! An event is something that an operator would want on a timeline: a region changed its health, a
//! plan was put in place, a certificate was read again. Requests are not events. The history is
//! bounded, a slow listener misses events rather than hold them up, and each event is also a line
//! of diagnostics.

mod health;
mod kind;
mod log;
mod write;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::broadcast;

pub use health::{Facts, HealthChange, Probes};
pub use kind::EventKind;

use log::log;
use write::rfc3339;

/// Events kept in memory.
pub const HISTORY: usize = 1_000;
/// Events that a listener may be behind before it misses some.
const LAG: usize = 256;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Counts up from 1 within one process.
    pub number: u64,
    /// When it happened; RFC 3339 with milliseconds when serialised.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}
/// The history and its listeners. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    history: Mutex<History>,
    news: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct History {
    last: u64,
    events: VecDeque<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Inner {
            history: Mutex::default(),
            news: broadcast::Sender::new(LAG),
        }))
    }
}

impl Events {
    /// An empty history that nobody listens to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters what happened just now.
    pub fn record(&self, kind: EventKind) {
        log(&kind);
        let mut history = self.history();
        history.last += 1;
        let event = Arc::new(Event {
            number: history.last,
            at: SystemTime::now(),
            kind,
        });
        if history.events.len() == HISTORY {
            history.events.pop_front();
        }
        history.events.push_back(event.clone());
        // Sent under the lock, so that listeners see events in the order of their numbers.
        // Nobody listening is no error.
        let _ = self.0.news.send(event);
    }

    /// The events after number `after`, oldest first, as far as they are still kept. 0: all.
    pub fn since(&self, after: u64) -> Vec<Arc<Event>> {
        let history = self.history();
        history
            .events
            .iter()
            .filter(|event| event.number > after)
            .cloned()
            .collect()
    }

    /// Every event from now on. A receiver that is more than 256 events behind misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.news.subscribe()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.0
            .history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
#[cfg(test)]
mod tests {
    use tidegate_core::Health;
    use tidegate_core::health::{Evidence, Stage};

    use super::*;
    use crate::labels::{ProbeResult, StartResult};

    fn drain(region: &str) -> EventKind {
        EventKind::Drain {
            upstream: "shop".into(),
            region: region.into(),
            draining: true,
            now: false,
            deadline_s: None,
            who: "ann".into(),
            reason: None,
        }
    }

    #[test]
    fn the_history_keeps_the_newest() {
        let events = Events::new();
        for _ in 0..HISTORY + 5 {
            events.record(drain("eu"));
        }
        let kept = events.since(0);
        assert_eq!(kept.len(), HISTORY);
        assert_eq!(kept[0].number, 6);
        assert_eq!(events.since(HISTORY as u64 + 3).len(), 2);
        assert_eq!(events.since(u64::MAX), []);
    }

    #[test]
    fn listeners_get_what_is_new() {
        let events = Events::new();
        events.record(drain("before"));
        let mut news = events.subscribe();
        events.clone().record(drain("after"));
        assert_eq!(news.try_recv().unwrap().kind, drain("after"));
        assert!(news.try_recv().is_err());
    }

    fn region(change: HealthChange) -> EventKind {
        EventKind::RegionHealth {
            upstream: "shop".into(),
            region: "eu".into(),
            change,
        }
    }

    fn judged(from: Health, to: Health, stage: Stage, facts: Evidence) -> HealthChange {
        HealthChange {
            from,
            to,
            stage,
            evidence: facts.to_string(),
            facts: Facts::Judged(facts),
        }
    }

    fn check_json(kind: EventKind, mut expected: serde_json::Value) {
        let event = Event {
            number: 7,
            at: SystemTime::UNIX_EPOCH,
            kind,
        };
        expected["number"] = 7.into();
        expected["at"] = "1970-01-01T00:00:00.000Z".into();
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
    }

    #[test]
    fn an_event_is_one_flat_object_with_its_figures() {
        let facts = Evidence::Endpoints {
            usable: 1,
            total: 4,
            needed: 0.5,
        };
        let change = judged(Health::Healthy, Health::Unhealthy, Stage::Out, facts);
        let expected = serde_json::json!({
            "kind": "region_health", "upstream": "shop", "region": "eu",
            "from": "healthy", "to": "unhealthy", "stage": "out",
            "evidence": "1 of 4 endpoints usable, 50 % needed",
            "facts": {"kind": "endpoints", "usable": 1, "total": 4, "needed": 0.5},
        });
        check_json(region(change), expected);
        let probes = EventKind::EndpointHealth {
            upstream: "shop".into(),
            region: "eu".into(),
            endpoint: "10.0.0.1:80".into(),
            change: HealthChange {
                from: Health::Healthy,
                to: Health::Unhealthy,
                stage: Stage::Out,
                evidence: "3 probes in a row failed".into(),
                facts: Facts::Probed(Probes {
                    in_a_row: 3,
                    result: ProbeResult::Status,
                    connected: Some(0.125),
                }),
            },
        };
        let expected = serde_json::json!({
            "kind": "endpoint_health", "upstream": "shop", "region": "eu",
            "endpoint": "10.0.0.1:80", "from": "healthy", "to": "unhealthy", "stage": "out",
            "evidence": "3 probes in a row failed",
            "facts": {"kind": "probes", "in_a_row": 3, "result": "status", "connected": 0.125},
        });
        check_json(probes, expected);
    }

    #[test]
    fn a_start_is_told_with_its_result() {
        let start = |result| EventKind::StandbyStart {
            upstream: "shop".into(),
            region: "eu".into(),
            by: "command",
            result,
            detail: "exit status 1".into(),
        };
        let told = |result: serde_json::Value| {
            serde_json::json!({
                "kind": "standby_start", "upstream": "shop", "region": "eu", "by": "command",
                "result": result, "detail": "exit status 1",
            })
        };
        check_json(start(None), told(serde_json::Value::Null));
        check_json(start(Some(StartResult::Failed)), told("failed".into()));
    }

    #[test]
    fn what_becomes_worse_is_bad_news() {
        use Health::{Degraded, Draining, Healthy, Unhealthy, Unknown};
        let check = |from, to, stage, bad| {
            let change = judged(from, to, stage, Evidence::NoOther);
            assert_eq!(change.is_bad(), bad, "{change:?}");
        };
        check(Unknown, Healthy, Stage::Serving, false);
        check(Unknown, Unhealthy, Stage::Out, true);
        check(Healthy, Healthy, Stage::Suspected, true);
        check(Healthy, Degraded, Stage::Serving, true);
        check(Unhealthy, Unhealthy, Stage::Waiting, true);
        check(Unhealthy, Degraded, Stage::Probation, false);
        check(Degraded, Degraded, Stage::Ramp, false);
        check(Healthy, Healthy, Stage::Serving, false);
        check(Healthy, Draining, Stage::Serving, true);
        let shared = Evidence::Shared {
            why: Evidence::NoOther.into(),
        };
        assert!(judged(Healthy, Healthy, Stage::Serving, shared).is_bad());
    }
}
