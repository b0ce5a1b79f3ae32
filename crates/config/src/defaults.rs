//! Every default, once: the compiler reads these, the schema and the reference print them.

pub(crate) const POP_NAME: &str = "tidegate";
pub(crate) const THREADS: &str = "auto";
pub(crate) const SHUTDOWN_TIMEOUT: &str = "30s";
pub(crate) const ACCESS_LOG: &str = "stdout";
pub(crate) const MAX_SERIES: u64 = 1_000;
/// What it costs at 1 % is measured in docs/explain.md; at a tenth of that nobody notices.
pub(crate) const EXPLAIN_SAMPLE: &str = "0.1%";
pub(crate) const EXPLAIN_KEEP: u64 = 10_000;
pub(crate) const STATE_KEEP: u64 = 20;
pub(crate) const ROLLBACK_WATCH: &str = "2m";
pub(crate) const ROLLBACK_ERROR_RATE: &str = "+5%";
pub(crate) const ROLLBACK_LATENCY: &str = "2x";
pub(crate) const ROLLBACK_MIN_REQUESTS: u64 = 100;
pub(crate) const GEO_MAX_SIZE: &str = "1GiB";

pub(crate) const MIN_VERSION: &str = "1.2";
pub(crate) const CONNECTIONS: u64 = 50_000;
pub(crate) const HANDSHAKE_TIMEOUT: &str = "5s";
pub(crate) const HEADER_TIMEOUT: &str = "10s";
pub(crate) const CLIENT_IDLE_TIMEOUT: &str = "75s";
pub(crate) const HEADER_SIZE: &str = "64KiB";
pub(crate) const HEADER_FIELDS: u64 = 128;
pub(crate) const H2_STREAMS: u64 = 128;

pub(crate) const POLICY: &str = "latency";
pub(crate) const TOLERANCE: &str = "10ms";
pub(crate) const HYSTERESIS: &str = "5%";
/// Envoy's.
pub(crate) const OVERPROVISIONING: f64 = 1.4;
pub(crate) const SPREAD: &str = "waterfall";
pub(crate) const SPILL_AT: &str = "100%";
pub(crate) const RETURN_AT: &str = "90%";
pub(crate) const SMOOTHING: &str = "2s";
pub(crate) const PANIC: &str = "fail_closed";
/// Envoy's panic threshold.
pub(crate) const FAIL_OPEN: &str = "50%";
pub(crate) const FALLBACK_STATUS: u16 = 503;
pub(crate) const REDIRECT_STATUS: u16 = 302;
/// What keeps the method and the body of a request, for good.
pub(crate) const ROUTE_REDIRECT_STATUS: u16 = 308;
pub(crate) const RESPOND_STATUS: u16 = 200;
pub(crate) const CONTENT_TYPE: &str = "text/plain; charset=utf-8";
pub(crate) const AFFINITY_SCOPE: &str = "region";
pub(crate) const WHEN_GONE: &str = "rebind";
pub(crate) const COOKIE_PATH: &str = "/";
pub(crate) const SAME_SITE: &str = "lax";
pub(crate) const POP_SHARE: &str = "100%";
pub(crate) const STANDBY: &str = "hot";
pub(crate) const DIAL: &str = "100%";
pub(crate) const COLD_BELOW: &str = "50%";
pub(crate) const COLD_TIMEOUT: &str = "60s";
pub(crate) const BALANCE: &str = "peak_ewma";
/// Envoy's.
pub(crate) const CHOICE_COUNT: u64 = 2;
/// Not Envoy's: points that depend on how many endpoints there are move keys whenever that changes.
pub(crate) const MINIMUM_RING_SIZE: u64 = 1;
/// Not Envoy's: a ring of 8 million points takes seconds to make anew.
pub(crate) const MAXIMUM_RING_SIZE: u64 = 262_144;
/// Envoy's.
pub(crate) const TABLE_SIZE: u64 = 65_537;
/// Those of the paper.
pub(crate) const PROBE_RATE: f64 = 3.0;
pub(crate) const PROBE_POOL_SIZE: u64 = 16;
pub(crate) const PROBE_MAX_AGE: &str = "1s";
pub(crate) const PROBE_HOT_QUANTILE: &str = "84%";
/// What comes later is old when it comes.
pub(crate) const PROBE_TIMEOUT_OF_BALANCE: &str = "500ms";
/// Stands in for one that is not valid.
pub(crate) const HASH_BALANCE_FACTOR: &str = "125%";
pub(crate) const WEIGHT: u64 = 1;

pub(crate) const PROBE_INTERVAL: &str = "2s";
pub(crate) const PROBE_TIMEOUT: &str = "1s";
pub(crate) const RISE: u64 = 2;
pub(crate) const FALL: u64 = 3;
pub(crate) const EXPECT: &str = "200-299";
pub(crate) const JITTER: &str = "10%";
pub(crate) const PROBE_METHOD: &str = "GET";

/// A region of three endpoints lives on with one.
pub(crate) const MIN_HEALTHY: &str = "30%";
pub(crate) const ERROR_RATE: &str = "50%";
pub(crate) const WINDOW: &str = "1s";
pub(crate) const MIN_REQUESTS: u64 = 20;
pub(crate) const SILENCE: &str = "auto";
/// A lost packet of a calm connection is sent again after some 200 ms.
pub(crate) const SILENCE_FLOOR: &str = "300ms";
pub(crate) const DEGRADED_LATENCY: &str = "300%";

pub(crate) const FAILBACK: &str = "automatic";
pub(crate) const HOLD: &str = "10s";
pub(crate) const HOLD_MAX: &str = "5m";
pub(crate) const PROBATION: &str = "1%";
pub(crate) const RAMP: &str = "1m";
pub(crate) const DRAIN: &str = "5m";
pub(crate) const SAID: bool = true;
pub(crate) const READINESS: &str = "counted";

/// Those of Envoy's `outlier_detection`, what it enforces by default; but for one exception.
pub(crate) const CONSECUTIVE_5XX: u32 = 5;
pub(crate) const CONSECUTIVE_LOCAL_ORIGIN: u32 = 5;
pub(crate) const SPLIT_ERRORS: bool = false;
pub(crate) const EJECTION_INTERVAL: &str = "10s";
pub(crate) const BASE_EJECTION_TIME: &str = "30s";
pub(crate) const MAX_EJECTION_TIME: &str = "300s";
pub(crate) const MAX_EJECTION: &str = "10%";
/// The exception: a tenth of the few endpoints that a region usually has is none.
pub(crate) const ALWAYS_EJECT_ONE: bool = true;
pub(crate) const MINIMUM_HOSTS: u64 = 5;
pub(crate) const SUCCESS_RATE_VOLUME: u64 = 100;
pub(crate) const STDEV_FACTOR: f64 = 1.9;
pub(crate) const FAILURE_THRESHOLD: &str = "85%";
pub(crate) const FAILURE_PERCENTAGE_VOLUME: u64 = 50;

pub(crate) const SLOW_START_WINDOW: &str = "30s";
pub(crate) const AGGRESSION: f64 = 1.0;
pub(crate) const MIN_WEIGHT: &str = "10%";

pub(crate) const ATTEMPTS: u64 = 3;
pub(crate) const PER_TRY: &str = "2s";
pub(crate) const BUDGET: &str = "20%";
pub(crate) const CROSS_REGION_BUDGET: &str = "100%";
/// A dead region must not need a knob: everything that says "not me, not now" moves the request.
pub(crate) const RETRY_ON: [&str; 8] = [
    "connect",
    "reset",
    "timeout",
    "bad_response",
    "502",
    "503",
    "504",
    "grpc-unavailable",
];
/// Envoy's.
pub(crate) const BACKOFF_BASE: &str = "25ms";
pub(crate) const BACKOFF_MAX: &str = "250ms";
pub(crate) const ON_UNKNOWN_OUTCOME: &str = "wait";

pub(crate) const REPLAY: &str = "1MiB";
pub(crate) const SPOOL: &str = "1GiB";
pub(crate) const REPLAY_MEMORY: &str = "256MiB";
pub(crate) const REPLAY_SPOOL: &str = "4GiB";
/// A disk, where `/tmp` often is memory.
pub(crate) const SPOOL_DIR: &str = "/var/tmp";

pub(crate) const CONNECT_TIMEOUT: &str = "1s";
pub(crate) const UPSTREAM_IDLE_TIMEOUT: &str = "60s";
pub(crate) const IDLE_MAX: u64 = 512;
/// One connection carries many requests at once with HTTP/2, and with HTTP/1.1 spares the first.
pub(crate) const WARM_STANDBY: u64 = 1;

pub(crate) const ROUTE_TIMEOUT: &str = "30s";
pub(crate) const ROUTE_IDLE_TIMEOUT: &str = "60s";
pub(crate) const ISOLATION: &str = "off";
pub(crate) const MIRROR_SHARE: &str = "100%";
pub(crate) const MIRROR_BODY: &str = "1MiB";
pub(crate) const REPLAY_SCOPE: &str = "auto";
pub(crate) const RESUME: &str = "auto";
pub(crate) const VALIDATORS: &str = "etag";
pub(crate) const HEDGE_AFTER: &str = "p95";
pub(crate) const HEDGE_BUDGET: &str = "5%";
pub(crate) const HEDGE_TO: &str = "endpoint";

pub(crate) const WINDOW_FROM: &str = "00:00";
pub(crate) const WINDOW_TO: &str = "24:00";
pub(crate) const WINDOW_ZONE: &str = "UTC";
