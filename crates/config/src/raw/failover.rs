//! Failover: when a request is tried again, what is kept of its body for that, how its answer is
//! continued elsewhere, when a second attempt runs beside a slow one.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, HedgeAfter, OffOrDuration, OffOrSize, Percent, RetryOn};
use crate::yaml::Field;

/// When a request may be tried again. What may have been processed is only sent again if its method is idempotent, its route says `idempotent: true`, or its `Idempotency-Key` counts. A call of gRPC is a POST, so after it was sent only its route makes it repeatable.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retry {
    /// Attempts in all, the first included, 1 to 16. 1 is "never again".
    #[schemars(extend("default" = defaults::ATTEMPTS))]
    pub(crate) attempts: Field<u64>,
    /// What leads to another attempt: `connect` (no connection), `reset` (it ended before the response's head), `timeout` (of `per_try` or `first_byte`), `bad_response` (not valid HTTP), statuses, and what a call of gRPC ended with before its first message (`grpc-unavailable`). HAProxy's words are understood: `conn-failure`, `empty-response`, `response-timeout`, `junk-response`, `all-retryable-errors` (these four, 500, 502, 503, 504), `none`.
    #[schemars(extend("default" = default_retry_on()))]
    pub(crate) on: Field<Vec<Field<RetryOn>>>,
    /// Limit of one attempt up to the response's head; what the client takes for its upload does not count. An attempt after which no other may follow has all the time of `timeout`. `off`: only the route's `timeout`.
    #[schemars(extend("default" = defaults::PER_TRY))]
    pub(crate) per_try: Field<OffOrDuration>,
    /// Limit from the moment at which an attempt has sent the whole request to the response's head.
    #[schemars(extend("default" = "off"))]
    pub(crate) first_byte: Field<OffOrDuration>,
    /// How long to wait before a retry. The first move to another region never waits.
    pub(crate) backoff: Field<Backoff>,
    /// Retries within a region, as a share of its requests. Hedges to the same region are paid from it too.
    #[schemars(extend("default" = defaults::BUDGET))]
    pub(crate) budget: Field<Percent>,
    /// Retries, hedges, re-dispatches and resumes in another region, as a share of requests. 100% lets every request of a dead region move once.
    #[schemars(extend("default" = defaults::CROSS_REGION_BUDGET))]
    pub(crate) cross_region_budget: Field<Percent>,
    /// What becomes of a request that may have been processed and must not be sent again, when its region goes down: `wait` for its answer until its deadline (a path that is frozen may thaw), or `fail` at once. Its 504 says that the outcome is unknown.
    #[schemars(extend("default" = defaults::ON_UNKNOWN_OUTCOME))]
    pub(crate) on_unknown_outcome: Field<UnknownOutcome>,
}

fn default_retry_on() -> Vec<serde_json::Value> {
    let value = |word: &str| word.parse::<u16>().map_or_else(|_| word.into(), Into::into);
    defaults::RETRY_ON.into_iter().map(value).collect()
}

/// How long to wait before a retry: drawn from zero to a bound that doubles with each retry ("full jitter").
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Backoff {
    /// The bound of the first retry. `0ms`: none waits. By default `25ms`, or `max` when that is shorter.
    #[schemars(extend("default" = defaults::BACKOFF_BASE))]
    pub(crate) base: Field<Duration>,
    /// The longest bound. By default `250ms`, or `base` when that is longer.
    #[schemars(extend("default" = defaults::BACKOFF_MAX))]
    pub(crate) max: Field<Duration>,
}

/// What becomes of a request whose outcome cannot be known.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownOutcome {
    Wait,
    Fail,
}

/// What is kept of a request's body, so that it can be sent again. Nothing is read before an endpoint is connected, unless `gather` applies. What is longer than `replay` and `spool` together streams on and can no longer be sent again: no error, but counted and logged.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Body {
    /// Kept in memory, at most `1GiB`.
    #[schemars(extend("default" = defaults::REPLAY))]
    pub(crate) replay: Field<OffOrSize>,
    /// Kept on disk beyond that, for requests that may be sent again.
    #[schemars(extend("default" = defaults::SPOOL))]
    pub(crate) spool: Field<OffOrSize>,
    /// A request that must not be sent twice is read whole before it is sent, if its `Content-Length` is at most this: a slow upload is then never half sent when a region dies. Costs the time of the upload. Needs room in `replay` and `spool`.
    #[schemars(extend("default" = "off"))]
    pub(crate) gather: Field<OffOrSize>,
    /// Largest request body; more is answered 413. `off`: no limit.
    #[schemars(extend("default" = "off"))]
    pub(crate) max: Field<OffOrSize>,
}

/// What the bodies of all requests together may take; `body` of upstreams limits each of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Replay {
    /// In memory.
    #[schemars(extend("default" = defaults::REPLAY_MEMORY))]
    pub(crate) memory: Field<OffOrSize>,
    /// On disk. `off`: no body is spooled.
    #[schemars(extend("default" = defaults::REPLAY_SPOOL))]
    pub(crate) spool: Field<OffOrSize>,
    /// The directory for spooled bodies, on a disk and not in memory. They are files without a name, so whatever happens nothing stays behind. Relative to the directory of the configuration.
    #[schemars(extend("default" = defaults::SPOOL_DIR))]
    pub(crate) spool_dir: Field<String>,
}

/// Where a request that may have been processed may be sent again.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplayScope {
    Auto,
    Region,
    Global,
}

/// Whether an answer is continued from another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Resume {
    Auto,
    Off,
}

/// By what two regions' answers count as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Validators {
    Etag,
    Global,
}

/// When a second attempt is made beside a slow one. Only for safe requests without a body; the first head wins, the other attempt is cancelled. It counts towards `attempts`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hedge {
    /// After how long without an answer: a duration, or a percentile of the route's own recent answers, above `p50` and below `p100`: `p95`, `p99.9`. A percentile is used once 100 answers came in the last 10 seconds, and never below 5ms.
    #[schemars(extend("default" = defaults::HEDGE_AFTER))]
    pub(crate) after: Field<HedgeAfter>,
    /// Hedges, as a share of the route's requests, and one a second besides. Each is also paid from the upstream's `budget` or `cross_region_budget`.
    #[schemars(extend("default" = defaults::HEDGE_BUDGET))]
    pub(crate) budget: Field<Percent>,
    /// Where to: another `endpoint` of the region, or another `region`; the other of the two where there is none.
    #[schemars(extend("default" = defaults::HEDGE_TO))]
    pub(crate) to: Field<HedgeTo>,
}

/// Where a hedge goes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HedgeTo {
    Endpoint,
    Region,
}
