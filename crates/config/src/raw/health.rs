//! Health: the probe, how a region is judged, and how it comes back.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::UpstreamTls;
use crate::raw::text::{
    Duration, OffOrDuration, OffOrMap, OffOrPercent, Percent, Silence, StatusRange,
};
use crate::yaml::{Entries, Field};

/// How health is found out, and how a region that was down comes back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// The active probe of every endpoint; `off` leaves it to requests to find out. By default a TCP connection.
    pub(crate) probe: Field<OffOrMap<Probe>>,
    /// How a region is judged.
    pub(crate) region: Field<RegionHealth>,
    /// How a region that was down comes back.
    pub(crate) failback: Field<Failback>,
    /// Whether what upstreams say of themselves in response headers (their load, that they drain, `Retry-After`) counts.
    #[schemars(extend("default" = defaults::SAID))]
    pub(crate) said: Field<bool>,
    /// What it means for `/readyz` that this upstream has no usable region: `required` turns it red; `counted` turns it red once no counted upstream has one; `ignored` does nothing.
    #[schemars(extend("default" = defaults::READINESS))]
    pub(crate) readiness: Field<Readiness>,
}

/// An active probe: one of `http`, `tcp`, `grpc` and `steps`; without any, `tcp`. Its connections are its own, never those of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Probe {
    /// Path and query of a request that must be answered as expected.
    pub(crate) http: Field<String>,
    /// `true`: an accepted connection is enough.
    pub(crate) tcp: Field<bool>,
    /// `grpc.health.v1.Health/Check` must say `SERVING` of this service; `""` asks about the server as a whole. Needs HTTP/2.
    pub(crate) grpc: Field<String>,
    /// A synthetic transaction: up to 16 requests one after the other, all answered as expected within `timeout` and over one connection. Later ones may use values from earlier answers as `${name}`.
    pub(crate) steps: Field<Vec<Field<ProbeStep>>>,
    /// With `http`: the method. `HEAD` spares the body.
    #[schemars(extend("default" = defaults::PROBE_METHOD))]
    pub(crate) method: Field<String>,
    /// The `Host` (`:authority`) to send, for all `steps` that have none of their own. By default the endpoint's address.
    pub(crate) host: Field<String>,
    /// Another port than the endpoint's.
    pub(crate) port: Field<u64>,
    /// With `http`: fields to send. They are shown wherever the configuration is: no secrets.
    #[schemars(extend("default" = {}))]
    pub(crate) headers: Field<Entries<String>>,
    /// With `http`: content to send, at most 64 KiB. Give its `content-type` in `headers`.
    pub(crate) body: Field<String>,
    /// With `http`: statuses that count as healthy, single or as ranges.
    #[schemars(extend("default" = [defaults::EXPECT]))]
    pub(crate) expect: Field<Vec<Field<StatusRange>>>,
    /// With `http`: the answer's body must contain this text, within its first 64 KiB.
    pub(crate) expect_body: Field<String>,
    /// With `http`: the answer must have these fields with exactly these values.
    #[schemars(extend("default" = {}))]
    pub(crate) expect_headers: Field<Entries<String>>,
    /// TLS of the probe's own, or `off` for plaintext to an upstream that has TLS. By default the upstream's.
    pub(crate) tls: Field<OffOrMap<UpstreamTls>>,
    /// Time between two probes of one endpoint, at least 10ms.
    #[schemars(extend("default" = defaults::PROBE_INTERVAL))]
    pub(crate) interval: Field<Duration>,
    /// The same while there is doubt about the endpoint or its region. By default made from `interval`, `timeout` and `fall` so that silence is found out within two intervals.
    pub(crate) fast_interval: Field<Duration>,
    /// Both vary by this part at random, 0% to 50%, so that probes of many processes do not march in step.
    #[schemars(extend("default" = defaults::JITTER))]
    pub(crate) jitter: Field<Percent>,
    /// An answer must be complete within this.
    #[schemars(extend("default" = defaults::PROBE_TIMEOUT))]
    pub(crate) timeout: Field<Duration>,
    /// Successes in a row that make an endpoint healthy.
    #[schemars(extend("default" = defaults::RISE))]
    pub(crate) rise: Field<u64>,
    /// Failures in a row that make it unhealthy.
    #[schemars(extend("default" = defaults::FALL))]
    pub(crate) fall: Field<u64>,
}

/// One request of a synthetic transaction.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub(crate) struct ProbeStep {
    /// The method.
    #[schemars(extend("default" = defaults::PROBE_METHOD))]
    pub(crate) method: Field<String>,
    /// Path and query. May use `${name}`.
    pub(crate) path: Field<String>,
    /// The `Host` to send. By default that of the probe.
    pub(crate) host: Field<String>,
    /// Fields to send. Their values may use `${name}`.
    #[schemars(extend("default" = {}))]
    pub(crate) headers: Field<Entries<String>>,
    /// Content to send, at most 64 KiB. May use `${name}`.
    pub(crate) body: Field<String>,
    /// Statuses that let the transaction go on.
    #[schemars(extend("default" = [defaults::EXPECT]))]
    pub(crate) expect: Field<Vec<Field<StatusRange>>>,
    /// The answer's body must contain this text, within its first 64 KiB.
    pub(crate) expect_body: Field<String>,
    /// The answer must have these fields with exactly these values.
    #[schemars(extend("default" = {}))]
    pub(crate) expect_headers: Field<Entries<String>>,
    /// Values of the answer that later steps use, by name. A value that is not there fails the probe.
    #[schemars(extend("default" = {}))]
    pub(crate) extract: Field<Entries<Extract>>,
}

/// Where a value is found in an answer: in a header or in a JSON body.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Extract {
    /// The name of the header whose value it is.
    pub(crate) header: Field<String>,
    /// JSON pointer (RFC 6901) to a string or number of the body: `/session/token`.
    pub(crate) json: Field<String>,
}

/// How a region is judged. What its requests meet is compared with its own past and with the other regions: when all fare alike, none is taken out, and the last usable one never is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RegionHealth {
    /// The share of its endpoints that must be usable, and at least one.
    #[schemars(extend("default" = defaults::MIN_HEALTHY))]
    pub(crate) min_healthy: Field<Percent>,
    /// The share of attempts that fail within `window` when the region counts as down. `off`: requests say nothing by failing.
    #[schemars(extend("default" = defaults::ERROR_RATE))]
    pub(crate) error_rate: Field<OffOrPercent>,
    /// The time that is looked at, 100ms to 1m.
    #[schemars(extend("default" = defaults::WINDOW))]
    pub(crate) window: Field<Duration>,
    /// Attempts in `window` below which it says nothing.
    #[schemars(extend("default" = defaults::MIN_REQUESTS))]
    pub(crate) min_requests: Field<u64>,
    /// When a region from which no connection delivers a byte while attempts wait there is suspected: `auto` takes the time from what it usually needs to answer, a duration is fixed, `off` is never. New requests avoid a suspected region; an answer clears it.
    #[schemars(extend("default" = defaults::SILENCE))]
    pub(crate) silence: Field<Silence>,
    /// With `silence: auto`: never sooner than this.
    #[schemars(extend("default" = defaults::SILENCE_FLOOR))]
    pub(crate) silence_floor: Field<Duration>,
    /// The part of its own usual time to answer at which a region counts as degraded, above 100%. `off`: never.
    #[schemars(extend("default" = defaults::DEGRADED_LATENCY))]
    pub(crate) degraded_latency: Field<OffOrPercent>,
}

/// How a region that was down comes back. None of it applies at start, or when no other region is usable.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Failback {
    /// `automatic`, or `manual`: it stays out until an operator releases it.
    #[schemars(extend("default" = defaults::FAILBACK))]
    pub(crate) mode: Field<FailbackMode>,
    /// It stays out at least this long. Doubled with every relapse, up to `hold_max`. May be `0s`.
    #[schemars(extend("default" = defaults::HOLD))]
    pub(crate) hold: Field<Duration>,
    /// The longest that relapses keep it out. By default `5m`, or `hold` when that is longer.
    #[schemars(extend("default" = defaults::HOLD_MAX))]
    pub(crate) hold_max: Field<Duration>,
    /// The part of its share that it gets first, of requests that are safe to send elsewhere again.
    #[schemars(extend("default" = defaults::PROBATION))]
    pub(crate) probation: Field<Percent>,
    /// Time from there to its whole share, growing by equal factors in equal times; it holds and turns back on errors. `0s`: at once. From 1%, less than 6.7s more than doubles it within a second.
    #[schemars(extend("default" = defaults::RAMP))]
    pub(crate) ramp: Field<Duration>,
    /// Long streams that went elsewhere meanwhile may stay there this long once it is back. `off`: until they end by themselves.
    #[schemars(extend("default" = defaults::DRAIN))]
    pub(crate) drain: Field<OffOrDuration>,
}

/// Who lets a region come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailbackMode {
    Automatic,
    Manual,
}

/// What an upstream without a usable region means for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Readiness {
    Required,
    Counted,
    Ignored,
}
