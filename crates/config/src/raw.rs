//! The shape of the file: the same names as the plan, but units, names and references are still
//! text, and everything may be absent. The doc comments here are what users read: editors show
//! them from the schema, and the reference is made of them.

mod action;
mod balance;
mod breaker;
mod explain;
mod failover;
mod generations;
mod geo;
mod health;
mod listener;
mod matching;
mod region;
mod route;
mod steering;
mod text;
mod upstream;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::yaml::{Entries, Field, WordOr};

pub(crate) use action::{
    Abort, Delay, Fault, HeaderEdits, Headers, PathEdit, PathRewrite, Redirect, Respond, Rewrite,
    Scheme,
};
pub(crate) use balance::{
    Balance, BalanceEntry, BalancePolicy, BalanceProbe, HashKey, HashOn, HashWord,
};
pub(crate) use breaker::{
    BreakerLimits, CircuitBreaker, Ejection, FailurePercentage, SlowStart, SuccessRate,
};
pub(crate) use explain::Explain;
pub(crate) use failover::{
    Backoff, Body, Hedge, HedgeTo, Replay, ReplayScope, Resume, Retry, UnknownOutcome, Validators,
};
pub(crate) use generations::{Rollback, State};
pub(crate) use geo::{Geo, Place};
pub(crate) use health::{
    Extract, Failback, FailbackMode, Health, Probe, ProbeStep, Readiness, RegionHealth,
};
pub(crate) use listener::{Certificate, Limits, Listener, ListenerTls};
pub(crate) use matching::{ClientCertificate, Match, TimeWindow, Value, ValueForm};
pub(crate) use region::{
    ColdStart, EndpointEntry, Standby, StandbyEntry, StandbyWord, UpstreamRegion, WeightedEndpoint,
};
pub(crate) use route::{Isolation, Mirror, Residency, Reveal, Route, SplitTarget};
pub(crate) use steering::{
    Affinity, AffinityCookie, AffinityScope, AffinityWord, Fallback, GeoRule, Panic, PanicWord,
    Policy, Preference, SameSite, Spread, Steering, WhenGone,
};
pub(crate) use text::{
    Address, ClockTime, Coordinates, DayRange, Duration, Expression, Host, Name, Network,
    OffOrCount, OffOrDuration, OffOrMap, OffOrSize, PathPattern, RetryOn, Size, StatusRange,
    Threads, Tolerance, Version,
};
pub(crate) use upstream::{Connection, Protocol, Upstream, UpstreamTls};

/// A Tidegate configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["listeners", "routes"]))]
pub(crate) struct Config {
    /// More files to be put together with this one: a path or a list of them, relative to the directory of the file that names them, with `*` and `?` in names.
    pub(crate) include: Field<WordOr<String, Vec<Field<String>>>>,
    /// Where this process runs.
    pub(crate) pop: Field<Pop>,
    /// Where clients connect. At least one. A change needs a restart.
    pub(crate) listeners: Field<Vec<Field<Listener>>>,
    /// The admin listener: metrics, health and reload. Absent: none. A change needs a restart.
    pub(crate) admin: Field<Admin>,
    /// Worker threads, `auto` for one per core. A change needs a restart.
    #[schemars(extend("default" = defaults::THREADS))]
    pub(crate) threads: Field<Threads>,
    /// After SIGTERM, requests in flight get so long to finish. A change needs a restart.
    #[schemars(extend("default" = defaults::SHUTDOWN_TIMEOUT))]
    pub(crate) shutdown_timeout: Field<Duration>,
    /// Where the access log goes, one JSON line a request: `off`, `stdout`, or `{ file: path }`. A change needs a restart.
    #[schemars(extend("default" = defaults::ACCESS_LOG))]
    pub(crate) access_log: Field<AccessLog>,
    /// Where what must outlive the process is kept. A change needs a restart.
    pub(crate) state: Field<State>,
    /// When a new plan does so much worse than the one before that that one serves again: `off`, or limits.
    #[schemars(extend("default" = "off"))]
    pub(crate) rollback: Field<OffOrMap<Rollback>>,
    /// What the bodies of all requests together may take, so that they can be sent again.
    pub(crate) replay: Field<Replay>,
    /// Bounds on what metrics may keep.
    pub(crate) metrics: Field<Metrics>,
    /// What is recorded of decisions, to tell them and to make them again; `off` for nothing.
    pub(crate) explain: Field<OffOrMap<Explain>>,
    /// Where clients are, for upstreams with `steering: { policy: geo }`.
    pub(crate) geo: Field<Geo>,
    /// The regions by name, at most 32. Their order is the preference while nothing is measured. May be absent with the upstreams.
    pub(crate) regions: Field<Entries<Region>>,
    /// The upstreams by name: services that live in one or more regions. May be absent if every route answers by itself.
    pub(crate) upstreams: Field<Entries<Upstream>>,
    /// The routes. The most specific match wins, whatever the order; the earlier of two equals would hide the later, which is refused.
    #[expect(
        clippy::vec_box,
        reason = "a list of values as large as these is copied as it grows"
    )]
    pub(crate) routes: Field<Vec<Box<Field<Route>>>>,
}

/// The point of presence: where this process runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pop {
    /// Its name, for logs, metrics and the `Via` header.
    #[schemars(extend("default" = defaults::POP_NAME))]
    pub(crate) name: Field<Name>,
    /// Its latitude and longitude in degrees, to order regions by distance before latency is measured.
    pub(crate) location: Field<Coordinates>,
}

/// The admin listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["bind"]))]
pub(crate) struct Admin {
    /// IP address and port. It changes what the process does, so bind it to loopback.
    pub(crate) bind: Field<Address>,
}

/// Where the access log goes.
pub(crate) type AccessLog = WordOr<LogWord, LogFile>;

/// A destination of the access log without a file.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogWord {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
}

/// A file as the access log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub(crate) struct LogFile {
    /// The file that records are appended to. Relative to the working directory of the process.
    pub(crate) file: Field<String>,
}

/// Bounds on what metrics may keep.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Pairs of route and region with series of their own; all others are counted as `other`.
    #[schemars(extend("default" = defaults::MAX_SERIES))]
    pub(crate) max_series: Field<u64>,
}

/// A region: a place where upstreams live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Region {
    /// Its latitude and longitude in degrees.
    pub(crate) location: Field<Coordinates>,
    /// The jurisdictions that hold there, for `residency.allow` of routes. Empty: a route with a residency rule never goes there.
    #[schemars(extend("default" = []))]
    pub(crate) jurisdictions: Field<Vec<Field<Name>>>,
}
