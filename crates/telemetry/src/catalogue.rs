//! Every metric that Tidegate exports: name, kind, unit, labels and meaning, in one table.
//!
//! Exposition takes names, types and label names from here only, so that a metric that is not in
//! the catalogue cannot be exported; `docs/metrics.md` is [`markdown`] of the same table.

use std::fmt::Write;

use tidegate_core::Termination;
use tidegate_core::budget::Purse;
use tidegate_core::retry::WhyNot;

use crate::labels::{
    AffinityResult, AttemptOutcome, Cause, FaultKind, HandshakeFailure, HedgeCause, HedgeResult,
    Label, Limit, MirrorResult, ProbeResult, RegionTurn, ReloadResult, ReplayLost, ReplayStore,
    ResumeResult, RetryScope, StartResult, StatusClass, TlsVersion,
};

/// What a metric's value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process restarts or its labels leave the configuration.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per upper bound, with their sum.
    Histogram,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name, starting with `tidegate_`, ending with the unit where there is one.
    pub name: &'static str,
    /// What its value does.
    pub kind: Kind,
    /// The unit of its value, in words; `1` for a flag or a code.
    pub unit: &'static str,
    /// Its label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it tells, in one sentence.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal in $unit:literal by [$($label:ident),*]: $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$(stringify!($label)),*],
            help: $help,
        };)*
        /// Every metric, in the order of exposition.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

catalogue! {
    REQUESTS = Counter "tidegate_requests_total" in "requests" by [route, region, status_class]:
        "Requests that ended, by route, the region that answered and the class of the status. Region `none`: answered here; class `none`: no answer was sent; route `other`: beyond `metrics.max_series`.";
    REQUEST_DURATION = Histogram "tidegate_request_duration_seconds" in "seconds" by [route, region]:
        "Time from a request's head to the end of its answer.";
    REQUESTS_RESCUED = Counter "tidegate_requests_rescued_total" in "requests" by [from, to, why]:
        "Requests that were answered because of a later attempt: the region that failed, the region that answered (the same, if another endpoint did) and what the failed attempt met. `truncated`: the rest of the answer came from elsewhere; `hedged`: the second attempt was faster.";
    RESCUE_ADDED = Histogram "tidegate_rescue_added_seconds" in "seconds" by [upstream]:
        "What a rescue cost: time from the begin of the first attempt to the begin of the one that answered.";
    REQUESTS_LOST = Counter "tidegate_requests_lost_total" in "requests" by [why]:
        "Requests whose answer the service owed and did not deliver, by termination reason.";
    TERMINATIONS = Counter "tidegate_request_terminations_total" in "requests" by [reason]:
        "Requests that ended, by termination reason; each counts once.";
    SERIES_OVERFLOW = Counter "tidegate_metrics_series_overflow_total" in "requests" by []:
        "Requests that were counted under route `other` because `metrics.max_series` was reached.";
    ATTEMPTS = Counter "tidegate_attempts_total" in "attempts" by [upstream, region, outcome]:
        "Attempts that ended, by where they went and how they ended.";
    RETRIES = Counter "tidegate_retries_total" in "attempts" by [upstream, scope]:
        "Attempts after the first of their request, hedges and resumes included; scope `in_region` or `cross_region`.";
    RETRY_REFUSED = Counter "tidegate_retry_refused_total" in "requests" by [why]:
        "Failed attempts after which no other was made, by the reason.";
    FAULTS_INJECTED = Counter "tidegate_faults_injected_total" in "requests" by [fault]:
        "Faults that routes injected into requests: `delay`, `abort`.";
    RETRY_BUDGET_USED = Gauge "tidegate_retry_budget_used_ratio" in "1" by [upstream, purse]:
        "Part of a retry budget that the last ten seconds used, reserve included, 0 to 1; 0 while the budget is 0.";
    REDISPATCHES = Counter "tidegate_redispatches_total" in "attempts" by [upstream, region]:
        "Attempts that were given up for one elsewhere because of what became of their region, by that region.";
    HEDGES = Counter "tidegate_hedges_total" in "attempts" by [upstream, why, result]:
        "Second attempts beside a first that are over, by why they were sent and what came of them.";
    RESUMES = Counter "tidegate_resumes_total" in "answers" by [from, to, result]:
        "Answers that broke within their body, by the region that failed, the region that was to continue them and what came of it; the same region twice if none could be asked.";
    REPLAY_BYTES = Gauge "tidegate_replay_bytes" in "bytes" by [store]:
        "Bytes of requests' bodies that are kept so that they can be sent again, by where.";
    REPLAY_SPOOLED = Counter "tidegate_replay_spooled_bytes_total" in "bytes" by []:
        "Bytes of requests' bodies that were written to disk.";
    REPLAY_LOST = Counter "tidegate_replay_lost_total" in "requests" by [why]:
        "Requests whose body is no longer kept and cannot be sent again, by the reason.";
    REQUESTS_GATHERED = Counter "tidegate_requests_gathered_total" in "requests" by []:
        "Requests whose body was read whole before it was sent, because they must not be sent twice.";
    SPILLOVERS = Counter "tidegate_spillovers_total" in "attempts" by [upstream, region]:
        "Attempts that a region did not take because they were beyond its capacity, by that region; where they went is in `tidegate_attempts_total`.";
    AFFINITY = Counter "tidegate_affinity_total" in "requests" by [upstream, result]:
        "Requests of upstreams that keep clients by a cookie, by what that did for them; what a trusted peer sent to a region of its choice is not among them.";
    LOAD_REPORTS_MALFORMED = Counter "tidegate_load_reports_malformed_total" in "answers" by [upstream]:
        "Answers whose report of load (ORCA) is none: it was ignored as a whole.";
    MIRRORED = Counter "tidegate_mirrored_requests_total" in "requests" by [upstream, result]:
        "Requests of which a copy was due, by the upstream that was to get it and what became of it.";
    CONNECTIONS_OPENED = Counter "tidegate_upstream_connections_opened_total" in "connections" by [upstream, region]:
        "Connections to upstreams that were opened.";
    CONNECT_DURATION = Histogram "tidegate_upstream_connect_duration_seconds" in "seconds" by [upstream, region]:
        "Time to open a connection to an upstream, TLS included.";
    IDLE_CONNECTIONS = Gauge "tidegate_upstream_idle_connections" in "connections" by [upstream, region]:
        "Connections to upstreams that are kept open without a request.";
    OPEN_CONNECTIONS = Gauge "tidegate_upstream_connections" in "connections" by [upstream, region]:
        "Connections to upstreams that are open or being opened, idle ones included.";
    BREAKER_REFUSED = Counter "tidegate_circuit_breaker_refused_total" in "attempts" by [upstream, region, limit]:
        "Attempts that a bound of `circuit_breaker` kept from an endpoint or region, by the bound.";
    IN_FLIGHT = Gauge "tidegate_upstream_in_flight" in "attempts" by [upstream, region]:
        "Attempts under way.";
    REGION_HEALTH = Gauge "tidegate_region_health" in "1" by [upstream, region]:
        "Health of a region: 0 unknown, 1 healthy, 2 degraded, 3 unhealthy, 4 draining.";
    REGION_DIAL = Gauge "tidegate_region_dial" in "1" by [upstream, region]:
        "The part of its share that a region takes as far as its recovery goes, 0 to 1; less than 1 while it comes back.";
    REGION_DIAL_RATIO = Gauge "tidegate_region_dial_ratio" in "1" by [upstream, region]:
        "The part of its share that a region may take at most, 0 to 1, as an operator dialed it, else as configured; at 0 it takes nothing.";
    REGION_TAKE_RATIO = Gauge "tidegate_region_take_ratio" in "1" by [upstream, region]:
        "The part of what is offered to a region that is within its capacity, 0 to 1; 1 if it has no capacity. It sheds the rest.";
    REGION_OFFERED = Gauge "tidegate_region_offered_per_second" in "attempts per second" by [upstream, region]:
        "Attempts a second that a region was offered lately, taken or shed; 0 before the first look.";
    REGION_UTILIZATION = Gauge "tidegate_region_utilization_ratio" in "1" by [upstream, region]:
        "The utilization that a region reports of itself, averaged, 0 is idle and 1 full; absent where none was reported lately.";
    REGION_SUSPECTED = Gauge "tidegate_region_suspected" in "1" by [upstream, region]:
        "1 while a region has fallen silent and takes nothing new until that is cleared up, else 0.";
    REGION_PROBATION = Gauge "tidegate_region_probation" in "1" by [upstream, region]:
        "1 while a region that was down is tried with what can be repeated elsewhere, else 0.";
    REGION_DRAINING = Gauge "tidegate_region_draining" in "1" by [upstream, region]:
        "1 while an operator drains the region, else 0.";
    REGION_RTT = Gauge "tidegate_region_rtt_seconds" in "seconds" by [upstream, region]:
        "Network round trip to a region, averaged; absent before the first measurement.";
    REGION_TRANSITIONS = Counter "tidegate_region_transitions_total" in "changes" by [upstream, region, to, why]:
        "Changes of a region's health or stage, by what became of it and by the evidence.";
    STANDBY_STARTS = Counter "tidegate_standby_starts_total" in "starts" by [upstream, region, result]:
        "Starts of cold regions that ended, by result.";
    ENDPOINT_HEALTH = Gauge "tidegate_endpoint_health" in "1" by [upstream, region, endpoint]:
        "Health of an endpoint: 0 unknown, 1 healthy, 2 degraded, 3 unhealthy, 4 draining.";
    ENDPOINT_EJECTED = Gauge "tidegate_endpoint_ejected" in "1" by [upstream, region, endpoint]:
        "1 while requests have found an endpoint to be an outlier and it is left out, else 0.";
    ENDPOINT_EJECTIONS = Counter "tidegate_endpoint_ejections_total" in "ejections" by [upstream, region, why]:
        "Ejections of endpoints, by the evidence.";
    PROBES = Counter "tidegate_probes_total" in "probes" by [upstream, region, result]:
        "Active probes that ended, by result.";
    DOWNSTREAM_OPEN = Gauge "tidegate_downstream_connections" in "connections" by [listener]:
        "Connections of clients that are open.";
    DOWNSTREAM_OPENED = Counter "tidegate_downstream_connections_total" in "connections" by [listener, tls]:
        "Connections of clients that were established, by TLS version; `none` for plaintext.";
    HANDSHAKE_FAILURES = Counter "tidegate_tls_handshake_failures_total" in "connections" by [listener, why]:
        "Connections of clients that ended within the TLS handshake.";
    PLAN_GENERATION = Gauge "tidegate_plan_generation" in "1" by []:
        "Number of the plan that serves; absent before the first.";
    PLAN_INFO = Gauge "tidegate_plan_info" in "1" by [hash]:
        "Always 1; the label is the content hash of the plan that serves.";
    PLAN_SHARE = Gauge "tidegate_plan_share" in "1" by [generation]:
        "The part of the connections that a plan serves, 0 to 1; one that serves routes has 0. Absent before the first plan.";
    STAGE_REQUESTS = Counter "tidegate_stage_requests_total" in "requests" by [generation]:
        "Requests that have ended since a plan serves a part, by the plan that they were served under; absent while one plan serves everything.";
    STAGE_ERRORS = Counter "tidegate_stage_errors_total" in "requests" by [generation]:
        "Those of them that no route took, that were lost, or that were answered with a status of 500 or above.";
    RELOADS = Counter "tidegate_reloads_total" in "reloads" by [result]:
        "Attempts to reload the configuration, by result.";
    ROLLBACKS = Counter "tidegate_rollbacks_total" in "rollbacks" by [why]:
        "Times that a generation which had served before was put in place again, by who wanted it.";
    STATE_PROBLEMS = Counter "tidegate_state_problems_total" in "problems" by []:
        "Times that something could not be kept in the state directory, or was not found there as it was written.";
    GEO_RELOADS = Counter "tidegate_geo_reloads_total" in "reloads" by [result]:
        "Attempts to reload the database of clients' places, by result.";
    CERTIFICATE_NOT_AFTER = Gauge "tidegate_certificate_not_after_seconds" in "seconds" by [name]:
        "Unix time at which a listener's certificate expires.";
    ACCESS_LOG_DROPPED = Counter "tidegate_access_log_dropped_total" in "records" by []:
        "Access records that were given up because the log could not be written fast enough, or at all.";
    BUILD_INFO = Gauge "tidegate_build_info" in "1" by [version]:
        "Always 1; the label is the version of Tidegate.";
}

impl Kind {
    /// The word of the Prometheus text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const HEAD: &str = "\
# Metrics

Tidegate exports these at `GET /metrics` of the admin listener, in the Prometheus text format (0.0.4).
This page is generated from `crates/telemetry/src/catalogue.rs`; `UPDATE_DOCS=1 cargo test -p tidegate-telemetry` rewrites it.

A counter with labels appears with its first event; the counters of terminations and losses are there from the
start. Counters belong to names: a reload goes on counting where it was. What the configuration no longer
names disappears.

| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
";

/// `docs/metrics.md`: the catalogue as a table, with the words that labels can take.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, unit) = (metric.name, metric.kind.as_str(), metric.unit);
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{name}` | {kind} | {unit} | {} | {} |",
            labels.join(" "),
            metric.help
        );
    }
    page.push_str("\n## Words that labels take\n\n");
    words::<StatusClass>(&mut page, "`status_class`");
    words::<AttemptOutcome>(&mut page, "`outcome`, and `why` of a rescue");
    words::<Termination>(&mut page, "`reason`, and `why` of a loss");
    words::<WhyNot>(&mut page, "`why` of a refused retry");
    words::<FaultKind>(&mut page, "`fault`");
    words::<RetryScope>(&mut page, "`scope`");
    words::<Purse>(&mut page, "`purse`");
    words::<HedgeCause>(&mut page, "`why` of a hedge");
    words::<HedgeResult>(&mut page, "`result` of a hedge");
    words::<ResumeResult>(&mut page, "`result` of a resume");
    words::<AffinityResult>(&mut page, "`result` of affinity");
    words::<MirrorResult>(&mut page, "`result` of a mirrored request");
    words::<ReplayStore>(&mut page, "`store`");
    words::<ReplayLost>(&mut page, "`why` of a body that is no longer kept");
    words::<Limit>(&mut page, "`limit`");
    words::<RegionTurn>(&mut page, "`to` of a region's transition");
    words::<Cause>(&mut page, "`why` of a region's transition or an ejection");
    words::<ProbeResult>(&mut page, "`result` of a probe");
    words::<StartResult>(&mut page, "`result` of a start");
    words::<ReloadResult>(&mut page, "`result` of a reload, and of a database's");
    words::<TlsVersion>(&mut page, "`tls`");
    words::<HandshakeFailure>(&mut page, "`why` of a failed handshake");
    page
}

fn words<L: Label>(page: &mut String, label: &str) {
    let words: Vec<_> = L::ALL
        .iter()
        .map(|value| format!("`{}`", value.word()))
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(page, "* {label}: {}", words.join(" "));
}
