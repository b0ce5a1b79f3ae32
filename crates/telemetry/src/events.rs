//! What happened lately: the last events in memory, and every new one to whoever listens.
//!
//! An event is something that an operator would want on a timeline: a region changed its health, a
//! plan was put in place, a certificate was read again. Requests are not events. The history is
//! bounded, a slow listener misses events rather than hold them up, and each event is also a line
//! of diagnostics.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use tidegate_core::Health;
use tokio::sync::broadcast;

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

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A region's health changed.
    RegionHealth {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// Before.
        from: Health,
        /// After.
        to: Health,
        /// What it was concluded from, in words.
        evidence: String,
    },
    /// An endpoint's health changed.
    EndpointHealth {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// `host:port`.
        endpoint: Arc<str>,
        /// Before.
        from: Health,
        /// After.
        to: Health,
        /// What it was concluded from, in words.
        evidence: String,
    },
    /// An operator began or ended the drain of a region.
    Drain {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// Whether it drains now.
        draining: bool,
    },
    /// A new plan serves.
    PlanActivated {
        /// Its number.
        generation: u64,
        /// Its content hash.
        hash: Arc<str>,
        /// What caused it: `start`, `file`, `signal`, `api`.
        trigger: &'static str,
    },
    /// A reload was refused; the plan before it goes on serving.
    ReloadRefused {
        /// What caused it.
        trigger: &'static str,
        /// The first problem, in words.
        problem: String,
        /// How many problems there are.
        problems: usize,
    },
    /// Certificates were read again.
    CertificatesReloaded {
        /// Their names.
        names: Vec<String>,
    },
    /// Certificates could not be read again; those before them go on serving.
    CertificatesRefused {
        /// Why.
        problem: String,
    },
    /// The process began to shut down.
    ShuttingDown,
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

fn log(kind: &EventKind) {
    match kind {
        EventKind::RegionHealth {
            upstream,
            region,
            from,
            to,
            evidence,
        } => {
            let name = format!("{upstream}/{region}");
            log_health("region", &name, (*from, *to), evidence);
        }
        EventKind::EndpointHealth {
            upstream,
            region,
            endpoint,
            from,
            to,
            evidence,
        } => {
            let name = format!("{upstream}/{region}/{endpoint}");
            log_health("endpoint", &name, (*from, *to), evidence);
        }
        EventKind::Drain {
            upstream,
            region,
            draining,
        } => {
            tracing::info!(%upstream, %region, draining, "drain changed");
        }
        EventKind::PlanActivated {
            generation,
            hash,
            trigger,
        } => {
            tracing::info!(generation, %hash, trigger, "plan serves");
        }
        EventKind::ReloadRefused {
            trigger,
            problem,
            problems,
        } => {
            tracing::error!(trigger, problems, "reload refused: {problem}");
        }
        EventKind::CertificatesReloaded { names } => {
            tracing::info!(?names, "certificates reloaded");
        }
        EventKind::CertificatesRefused { problem } => {
            tracing::error!("certificates not reloaded: {problem}");
        }
        EventKind::ShuttingDown => tracing::info!("shutting down"),
    }
}

/// What became worse is a warning; the first news of a start-up are not worth one.
fn log_health(what: &str, name: &str, (from, to): (Health, Health), evidence: &str) {
    if to.usable() && to != Health::Degraded {
        tracing::info!("{what} {name} is {to} (was {from}): {evidence}");
    } else {
        tracing::warn!("{what} {name} is {to} (was {from}): {evidence}");
    }
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::access::rfc3339(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(region: &str) -> EventKind {
        EventKind::Drain {
            upstream: "shop".into(),
            region: region.into(),
            draining: true,
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

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            number: 7,
            at: SystemTime::UNIX_EPOCH,
            kind: EventKind::RegionHealth {
                upstream: "shop".into(),
                region: "eu".into(),
                from: Health::Healthy,
                to: Health::Unhealthy,
                evidence: "3 probes in a row failed".into(),
            },
        };
        let expected = serde_json::json!({
            "number": 7, "at": "1970-01-01T00:00:00.000Z", "kind": "region_health",
            "upstream": "shop", "region": "eu", "from": "healthy", "to": "unhealthy",
            "evidence": "3 probes in a row failed",
        });
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
    }
}
