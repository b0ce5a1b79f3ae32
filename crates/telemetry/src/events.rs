//! What happened lately: the last events in memory, and every new one to whoever listens.
//!
//! An event is something that an operator would want on a timeline: a region changed its health, a
//! plan was put in place, a certificate was read again. Requests are not events. The history is
//! bounded, a slow listener misses events rather than hold them up, and each event is also a line
//! of diagnostics.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use tidegate_core::Health;
use tidegate_core::health::{Evidence, Stage};
use tokio::sync::broadcast;

use crate::labels::{Label, ProbeResult, StartResult};

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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A region's health or stage changed, or something is to be told of it although nothing did.
    RegionHealth {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// What changed, and why.
        #[serde(flatten)]
        change: HealthChange,
    },
    /// An endpoint's health changed, or it was ejected or taken back.
    EndpointHealth {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// `host:port`.
        endpoint: Arc<str>,
        /// What changed, and why.
        #[serde(flatten)]
        change: HealthChange,
    },
    /// An operator began or ended the drain of a region.
    Drain {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// Whether it is drained.
        draining: bool,
        /// Whether the attempts that wait there are made elsewhere.
        now: bool,
        /// In how many seconds they will be; none: not at a moment that is known.
        deadline_s: Option<u64>,
        /// Who, as they said; `tidegate` when its time was over.
        who: Arc<str>,
        /// Why, as they said.
        reason: Option<Arc<str>>,
    },
    /// A drain has come to its deadline, and what could be made elsewhere has been.
    DrainDue {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// Attempts that were under way there at the deadline.
        in_flight: u32,
        /// Those that are still under way a moment later; nothing ends them but themselves.
        left: u32,
        /// Those of them that wait for an answer; the others are answers or uploads under way.
        waiting: u32,
    },
    /// An operator dialed a region, or left that to the plan again.
    Dial {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// The part of its share that it takes at most, 0 to 1.
        dial: f64,
        /// Whether an operator wants it so; else the plan does.
        operator: bool,
        /// Who, as they said; `tidegate` when its time was over.
        who: Arc<str>,
        /// Why, as they said.
        reason: Option<Arc<str>>,
    },
    /// Something became of an operator's order: a drain, a dial, an order of regions.
    Order {
        /// What: `given`, `taken_back`, `expired`, `restored` (found again at the start),
        /// `leaves_nothing` (found again, and it leaves something without any region).
        what: &'static str,
        /// The order, in words.
        order: String,
        /// Who gave it, as they said.
        given_by: Arc<str>,
        /// Who did this; `tidegate` when its time was over, and at a start.
        who: Arc<str>,
        /// Why, as they said.
        reason: Option<Arc<str>>,
        /// When its time is over; null: not by itself.
        #[serde(serialize_with = "maybe_rfc3339")]
        expires: Option<SystemTime>,
    },
    /// The start of a cold region began, or ended.
    StandbyStart {
        /// Upstream.
        upstream: Arc<str>,
        /// Region.
        region: Arc<str>,
        /// What starts it: `command` or `webhook`.
        by: &'static str,
        /// How it ended; null when it has just begun.
        #[serde(serialize_with = "maybe_word")]
        result: Option<StartResult>,
        /// Why it is started, or what came of it: the exit status or the answer, and the end of what
        /// was written.
        detail: String,
    },
    /// A new plan serves.
    PlanActivated {
        /// Its number.
        generation: u64,
        /// Its content hash.
        hash: Arc<str>,
        /// What caused it: `start`, `file`, `signal`, `api`, `candidate`, `rollback`,
        /// `automatic_rollback`.
        trigger: &'static str,
    },
    /// A generation was rolled back from.
    RolledBack {
        /// Its number.
        from: u64,
        /// The number of what serves now.
        generation: u64,
        /// What caused it: `rollback`, `automatic_rollback`.
        trigger: &'static str,
        /// Who, as they said.
        who: String,
        /// Why.
        reason: Option<String>,
    },
    /// Something else than the file serves since the start.
    FileWithheld {
        /// What serves.
        generation: u64,
        /// Why: `rolled_back`, `activated`, `invalid`, `crashed`.
        why: &'static str,
        /// The same in words.
        detail: String,
    },
    /// Something cannot be kept beyond the end of the process, or was not found again.
    StateProblem {
        /// What.
        problem: String,
    },
    /// Something became of a plan that is tried, or serves a part.
    Candidate {
        /// What: `tried`, `kept`, `staged`, `abandoned`, `activated`, `withdrawn`.
        what: &'static str,
        /// Its content hash.
        hash: Arc<str>,
        /// Who brought it, as they said.
        who: Arc<str>,
        /// Which part it serves, or why.
        detail: String,
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
    /// A new database of clients' places serves.
    GeoReloaded {
        /// What its maker calls it, like `GeoLite2-City`.
        database: String,
        /// When it was made, in seconds since 1970.
        built: u64,
    },
    /// The file of the database of clients' places cannot be used; the one before goes on serving.
    GeoRefused {
        /// Why.
        problem: String,
    },
    /// The process began to shut down.
    ShuttingDown,
}

/// A change of health; in an event, its fields stand among the event's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthChange {
    /// Health before.
    pub from: Health,
    /// Health after; the same when only the stage changed, or nothing did.
    pub to: Health,
    /// What it goes through from now on. Of an endpoint: `out` (ejected, or failing its probes),
    /// `probation` (ejected lately, and tried again) or `serving`.
    pub stage: Stage,
    /// What it was concluded from, in words.
    pub evidence: String,
    /// The same in figures.
    pub facts: Facts,
}

/// The figures behind a change of health: an object whose `kind` says which there are, times in
/// seconds, shares as 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Facts {
    /// What the judge of the upstream saw.
    Judged(Evidence),
    /// What probes of the endpoint saw.
    Probed(Probes),
}

/// Equal results of probes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename = "probes")]
pub struct Probes {
    /// How many.
    pub in_a_row: u32,
    /// The last one's.
    #[serde(serialize_with = "word")]
    pub result: ProbeResult,
    /// The time it took to connect, in seconds; null if the last one did not need to, or could not.
    pub connected: Option<f64>,
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
            change,
        } => change.log("region", format_args!("{upstream}/{region}")),
        EventKind::EndpointHealth {
            upstream,
            region,
            endpoint,
            change,
        } => change.log("endpoint", format_args!("{upstream}/{region}/{endpoint}")),
        EventKind::Drain {
            upstream,
            region,
            draining,
            now,
            deadline_s,
            who,
            reason,
        } => {
            let reason = reason.as_deref();
            tracing::info!(%upstream, %region, draining, now, deadline_s, %who, reason, "drain changed");
        }
        EventKind::DrainDue {
            upstream,
            region,
            in_flight,
            left,
            waiting,
        } => {
            tracing::info!(%upstream, %region, in_flight, left, waiting, "drain is due");
        }
        EventKind::Dial {
            upstream,
            region,
            dial,
            operator,
            who,
            reason,
        } => {
            let reason = reason.as_deref();
            tracing::info!(%upstream, %region, dial, operator, %who, reason, "dial changed");
        }
        EventKind::Order {
            what,
            order,
            given_by,
            who,
            reason,
            ..
        } => log_order(what, order, given_by, who, reason.as_deref()),
        EventKind::StandbyStart {
            upstream,
            region,
            by,
            result,
            detail,
        } => log_start(upstream, region, by, *result, detail),
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
        EventKind::RolledBack {
            from,
            generation,
            trigger,
            who,
            reason,
        } => {
            let reason = reason.as_deref().unwrap_or("no reason given");
            tracing::warn!(from, generation, trigger, who, "rolled back: {reason}");
        }
        EventKind::Candidate {
            what,
            hash,
            who,
            detail,
        } => {
            tracing::info!(what, %hash, %who, "candidate: {detail}");
        }
        EventKind::FileWithheld {
            generation,
            why,
            detail,
        } => {
            tracing::error!(generation, why, "serves instead of the file: {detail}");
        }
        EventKind::StateProblem { problem } => {
            tracing::error!("state: {problem}");
        }
        EventKind::CertificatesReloaded { names } => {
            tracing::info!(?names, "certificates reloaded");
        }
        EventKind::CertificatesRefused { problem } => {
            tracing::error!("certificates not reloaded: {problem}");
        }
        EventKind::GeoReloaded { database, built } => {
            tracing::info!(database, built, "database of clients' places reloaded");
        }
        EventKind::GeoRefused { problem } => {
            tracing::error!("database of clients' places not reloaded: {problem}");
        }
        EventKind::ShuttingDown => tracing::info!("shutting down"),
    }
}

impl HealthChange {
    /// Whether it is for the worse, or something that an operator must know although nothing
    /// changed. The first news of a start-up are not.
    pub fn is_bad(&self) -> bool {
        let bad_news = matches!(
            self.facts,
            Facts::Judged(Evidence::Shared { .. } | Evidence::Reversed { .. })
        );
        let returning = matches!(self.stage, Stage::Probation | Stage::Ramp);
        let well = self.to.usable() && self.to != Health::Degraded;
        bad_news || self.stage == Stage::Suspected || !(well || returning)
    }

    fn log(&self, what: &str, name: fmt::Arguments<'_>) {
        let Self {
            from,
            to,
            stage,
            evidence,
            ..
        } = self;
        if self.is_bad() {
            tracing::warn!("{what} {name} is {to} (was {from}), {stage}: {evidence}");
        } else {
            tracing::info!("{what} {name} is {to} (was {from}), {stage}: {evidence}");
        }
    }
}

fn log_start(upstream: &str, region: &str, by: &str, result: Option<StartResult>, detail: &str) {
    match result {
        None => tracing::info!(upstream, region, by, "starts a cold region: {detail:?}"),
        Some(StartResult::Started) => {
            tracing::info!(upstream, region, by, "the start is done: {detail:?}");
        }
        Some(result) => {
            let result = result.word();
            tracing::warn!(upstream, region, by, result, "no start: {detail:?}");
        }
    }
}

fn log_order(what: &str, order: &str, given_by: &str, who: &str, reason: Option<&str>) {
    match what {
        "leaves_nothing" => tracing::error!(what, given_by, who, reason, "order: {order}"),
        "restored" | "expired" => tracing::warn!(what, given_by, who, reason, "order: {order}"),
        _ => tracing::info!(what, given_by, who, reason, "order: {order}"),
    }
}

fn maybe_rfc3339<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}

fn maybe_word<S: Serializer>(label: &Option<impl Label>, serializer: S) -> Result<S::Ok, S::Error> {
    match label {
        Some(label) => serializer.serialize_some(label.word()),
        None => serializer.serialize_none(),
    }
}

fn word<S: Serializer>(label: &impl Label, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(label.word())
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
