//! How an endpoint of a region is chosen. Names and defaults are Envoy's where Envoy has them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, OffOrPercent, Percent};
use crate::yaml::{Field, WordOr};

/// A policy for endpoints: its name, or its name with options.
pub(crate) type BalanceEntry = WordOr<BalancePolicy, Balance>;

/// How an endpoint of a region is chosen. Weights, health, ejection, slow start and bounds hold for every policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Balance {
    /// `peak_ewma` (the cheaper of two drawn at random, by recent latency and requests in flight), `least_request` (the one with the fewest requests in flight of some drawn at random), `round_robin`, `random`, `ring_hash` or `maglev` (the same endpoint for the same key), or `prequal` (the best of those that were probed of late).
    #[schemars(extend("default" = defaults::BALANCE))]
    pub(crate) policy: Field<BalancePolicy>,
    /// With `least_request`: how many are drawn, 2 to 16.
    #[schemars(extend("default" = defaults::CHOICE_COUNT))]
    pub(crate) choice_count: Field<u64>,
    /// With `ring_hash` and `maglev`: what decides about a request's endpoint, the first that the request has. One that has none is sent to an endpoint drawn at random.
    pub(crate) hash_on: Field<Vec<Field<HashOn>>>,
    /// With `ring_hash` and `maglev`: no endpoint has more in flight than this share of the average (`125%`); requests beyond that go to the next endpoint for their key. `off`: no bound.
    #[schemars(extend("default" = "off"))]
    pub(crate) hash_balance_factor: Field<OffOrPercent>,
    /// With `ring_hash`: points on the ring at least. Each endpoint has 160 for each unit of weight (Ketama's number), and more if that is not enough. Envoy's default is 1024 for all endpoints together.
    #[schemars(extend("default" = defaults::MINIMUM_RING_SIZE))]
    pub(crate) minimum_ring_size: Field<u64>,
    /// With `ring_hash`: points on the ring at most, up to 8388608. Envoy's default is that; one point takes 12 bytes for each region of the upstream.
    #[schemars(extend("default" = defaults::MAXIMUM_RING_SIZE))]
    pub(crate) maximum_ring_size: Field<u64>,
    /// With `maglev`: slots of the table, a prime up to 5000011; some hundred for each endpoint. One slot takes 4 bytes for each region of the upstream.
    #[schemars(extend("default" = defaults::TABLE_SIZE))]
    pub(crate) table_size: Field<u64>,
    /// With `prequal`, which needs it: what endpoints are asked, and how often.
    pub(crate) probe: Field<BalanceProbe>,
}

/// Probes of endpoints for the sake of balance, sent beside requests over the connections that requests use. An endpoint answers with what is in flight there and how long it takes, in `endpoint-load-metrics` (`TEXT named_metrics.rif=12, named_metrics.latency_ms=8.5`); what it does not say, this process stands in for with its own requests in flight and its own average. Probes are no evidence of health.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BalanceProbe {
    /// What is asked for, by GET: a path, with a query if there is one. Needed. It should cost next to nothing.
    pub(crate) path: Field<String>,
    /// Probes for each request, 0.1 to 8; a fraction is rounded by chance. At 1 and below the pool runs dry.
    #[schemars(extend("default" = defaults::PROBE_RATE))]
    pub(crate) rate: Field<f64>,
    /// What is known is kept of so many endpoints of a region (or of one of its zones), 2 to 64.
    #[schemars(extend("default" = defaults::PROBE_POOL_SIZE))]
    pub(crate) pool_size: Field<u64>,
    /// And for so long.
    #[schemars(extend("default" = defaults::PROBE_MAX_AGE))]
    pub(crate) max_age: Field<Duration>,
    /// A probe without an answer has failed after this.
    #[schemars(extend("default" = defaults::PROBE_TIMEOUT_OF_BALANCE))]
    pub(crate) timeout: Field<Duration>,
    /// An endpoint is hot if it has more in flight than this part of those that are known: it is taken only if all are hot. 60 % to 90 % is a good range.
    #[schemars(extend("default" = defaults::PROBE_HOT_QUANTILE))]
    pub(crate) hot_quantile: Field<Percent>,
}

/// A policy for endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BalancePolicy {
    PeakEwma,
    LeastRequest,
    RoundRobin,
    Random,
    RingHash,
    Maglev,
    Prequal,
}

/// What is hashed: a part of every request, or something by its name.
pub(crate) type HashOn = WordOr<HashWord, HashKey>;

/// A part of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HashWord {
    ClientAddress,
    Path,
}

/// Something that a request may have. Exactly one of the keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HashKey {
    /// The value of the header of this name, the first if there are several.
    pub(crate) header: Field<String>,
    /// The value of the cookie of this name.
    pub(crate) cookie: Field<String>,
    /// The value of the query parameter of this name, as it is written.
    pub(crate) query: Field<String>,
}
