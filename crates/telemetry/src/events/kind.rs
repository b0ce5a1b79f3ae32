//! What can happen, one variant for each: the fields of an event as its readers see them.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tidegate_core::Health;

use super::health::HealthChange;
use super::write::{maybe_rfc3339, maybe_word};
use crate::labels::StartResult;

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
    /// Requests fare worse since an activation, and nothing is rolled back: the plan left alone what they
    /// need, and a region of it went down meanwhile. Told once for each plan that is watched.
    RollbackHeld {
        /// The number of the plan that is watched.
        generation: u64,
        /// Which regions, as `upstream/region`.
        regions: Vec<String>,
        /// The same in words.
        detail: String,
    },
    /// An operator said what is to be believed of a region or an endpoint, or took it back.
    Said {
        /// Region.
        region: Arc<str>,
        /// `host:port`; null when it is about the region as a whole.
        endpoint: Option<Arc<str>>,
        /// The upstreams that were told.
        upstreams: Vec<Arc<str>>,
        /// What is said; `unknown` when it was taken back.
        said: Health,
        /// For how many seconds; null: until it is taken back.
        for_s: Option<u64>,
        /// Who, as they said.
        who: Arc<str>,
        /// Why, as they said.
        reason: Option<Arc<str>>,
    },
    /// An operator let a region come back that waits for it.
    Failback {
        /// Region.
        region: Arc<str>,
        /// The upstreams that were told.
        upstreams: Vec<Arc<str>>,
        /// Who, as they said.
        who: Arc<str>,
        /// Why, as they said.
        reason: Option<Arc<str>>,
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
