//! Every default, once: the compiler reads these, the schema and the reference print them.

pub(crate) const POP_NAME: &str = "tidegate";
pub(crate) const THREADS: &str = "auto";
pub(crate) const SHUTDOWN_TIMEOUT: &str = "30s";
pub(crate) const ACCESS_LOG: &str = "stdout";
pub(crate) const MAX_SERIES: u64 = 1_000;

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
pub(crate) const BALANCE: &str = "peak_ewma";
pub(crate) const WEIGHT: u64 = 1;

pub(crate) const PROBE_INTERVAL: &str = "2s";
pub(crate) const PROBE_TIMEOUT: &str = "1s";
pub(crate) const RISE: u64 = 2;
pub(crate) const FALL: u64 = 3;
pub(crate) const EXPECT: &str = "200-299";
pub(crate) const MIN_HEALTHY: &str = "30%";

pub(crate) const ATTEMPTS: u64 = 3;
pub(crate) const PER_TRY: &str = "2s";
pub(crate) const BUDGET: &str = "20%";
pub(crate) const CROSS_REGION_BUDGET: &str = "100%";
/// A dead region must not need a knob: everything that says "not me, not now" moves the request.
pub(crate) const RETRY_ON: [&str; 7] = [
    "connect",
    "reset",
    "timeout",
    "bad_response",
    "502",
    "503",
    "504",
];

pub(crate) const CONNECT_TIMEOUT: &str = "1s";
pub(crate) const UPSTREAM_IDLE_TIMEOUT: &str = "60s";
pub(crate) const IDLE_MAX: u64 = 512;
pub(crate) const REPLAY: &str = "1MiB";

pub(crate) const ROUTE_TIMEOUT: &str = "30s";
pub(crate) const ROUTE_IDLE_TIMEOUT: &str = "60s";
