//! Bounds of endpoints and regions, ejection of endpoints, slow start. Names and defaults are
//! Envoy's where Envoy has them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, OffOrCount, OffOrMap, Percent};
use crate::yaml::Field;

/// What bounds the load on endpoints and regions, and when an endpoint is left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CircuitBreaker {
    /// Bounds of each endpoint.
    pub(crate) endpoint: Field<BreakerLimits>,
    /// Bounds of each region of the upstream.
    pub(crate) region: Field<BreakerLimits>,
    /// When requests find an endpoint to be an outlier; `off`: never. On by default.
    pub(crate) ejection: Field<OffOrMap<Ejection>>,
}

/// Bounds of what this process has under way there. Nothing is bounded by default (Envoy's 1024 of each refuse good requests where nobody asked for a bound); what is refused says so.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BreakerLimits {
    /// Connections open.
    #[schemars(extend("default" = "off"))]
    pub(crate) max_connections: Field<OffOrCount>,
    /// Requests that wait for a connection because `max_connections` are open. 0: none waits.
    #[schemars(extend("default" = "off"))]
    pub(crate) max_pending: Field<OffOrCount>,
    /// Requests under way.
    #[schemars(extend("default" = "off"))]
    pub(crate) max_requests: Field<OffOrCount>,
    /// Retries under way. 0: nothing is retried there, and nothing fails over to it.
    #[schemars(extend("default" = "off"))]
    pub(crate) max_retries: Field<OffOrCount>,
}

/// When requests find an endpoint to be an outlier, and for how long it is out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ejection {
    /// Answers of 500 and above in a row, and without `split_external_local_origin_errors` also failures that the proxy itself saw (connect, reset, timeout).
    #[schemars(extend("default" = defaults::CONSECUTIVE_5XX))]
    pub(crate) consecutive_5xx: Field<OffOrCount>,
    /// The same of 502, 503 and 504 only.
    #[schemars(extend("default" = "off"))]
    pub(crate) consecutive_gateway_failure: Field<OffOrCount>,
    /// With `split_external_local_origin_errors`: failures in a row that the proxy itself saw.
    #[schemars(extend("default" = defaults::CONSECUTIVE_LOCAL_ORIGIN))]
    pub(crate) consecutive_local_origin_failure: Field<OffOrCount>,
    /// Failures that the proxy saw and errors that answers told are counted apart.
    #[schemars(extend("default" = defaults::SPLIT_ERRORS))]
    pub(crate) split_external_local_origin_errors: Field<bool>,
    /// Time between two looks at success rates, 100ms to 1h. An endpoint that behaves for so long is out for one `base_ejection_time` less next time.
    #[schemars(extend("default" = defaults::EJECTION_INTERVAL))]
    pub(crate) interval: Field<Duration>,
    /// An ejection lasts this long times the number of ejections in a row.
    #[schemars(extend("default" = defaults::BASE_EJECTION_TIME))]
    pub(crate) base_ejection_time: Field<Duration>,
    /// The longest ejection. By default `300s`, or `base_ejection_time` when that is longer.
    #[schemars(extend("default" = defaults::MAX_EJECTION_TIME))]
    pub(crate) max_ejection_time: Field<Duration>,
    /// The share of a region's endpoints that may be out at a time.
    #[schemars(extend("default" = defaults::MAX_EJECTION))]
    pub(crate) max_ejection_percent: Field<Percent>,
    /// One may be out in any case, if there are two. Unlike in Envoy the default, as 10% of four endpoints is none.
    #[schemars(extend("default" = defaults::ALWAYS_EJECT_ONE))]
    pub(crate) always_eject_one_host: Field<bool>,
    /// Success rates that stand out within a region; `off`: not looked at. On by default.
    pub(crate) success_rate: Field<OffOrMap<SuccessRate>>,
    /// Failure percentages above a bound; `off`: not looked at. Off by default, as in Envoy.
    #[schemars(extend("default" = "off"))]
    pub(crate) failure_percentage: Field<OffOrMap<FailurePercentage>>,
}

/// An endpoint is an outlier whose success rate is so many standard deviations below the mean of its region.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SuccessRate {
    /// Endpoints with enough requests below which nothing is compared.
    #[schemars(extend("default" = defaults::MINIMUM_HOSTS))]
    pub(crate) minimum_hosts: Field<u64>,
    /// Requests in an interval below which an endpoint is not looked at.
    #[schemars(extend("default" = defaults::SUCCESS_RATE_VOLUME))]
    pub(crate) request_volume: Field<u64>,
    /// Standard deviations below the mean, up to 10. With 1.9 one dead endpoint stands out among 5 or more, and none once a fifth of them is dead.
    #[schemars(extend("default" = defaults::STDEV_FACTOR))]
    pub(crate) stdev_factor: Field<f64>,
}

/// An endpoint is an outlier of whose requests so many fail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FailurePercentage {
    /// The share that fails.
    #[schemars(extend("default" = defaults::FAILURE_THRESHOLD))]
    pub(crate) threshold: Field<Percent>,
    /// Endpoints with enough requests below which nothing is looked at.
    #[schemars(extend("default" = defaults::MINIMUM_HOSTS))]
    pub(crate) minimum_hosts: Field<u64>,
    /// Requests in an interval below which an endpoint is not looked at.
    #[schemars(extend("default" = defaults::FAILURE_PERCENTAGE_VOLUME))]
    pub(crate) request_volume: Field<u64>,
}

/// How an endpoint that comes up takes its share of its region.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SlowStart {
    /// Time to the whole share, 1s to 1h.
    #[schemars(extend("default" = defaults::SLOW_START_WINDOW))]
    pub(crate) window: Field<Duration>,
    /// 1 grows evenly, more grows faster at first, less slower; 0.1 to 10.
    #[schemars(extend("default" = defaults::AGGRESSION))]
    pub(crate) aggression: Field<f64>,
    /// The least part of its share.
    #[schemars(extend("default" = defaults::MIN_WEIGHT))]
    pub(crate) min_weight_percent: Field<Percent>,
}
