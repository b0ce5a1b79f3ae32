//! How health is found out, and what follows from it: probes, the judgement of regions by their
//! requests, ejection of endpoints, the way back.

use std::sync::Arc;
use std::time::Duration;

use super::UpstreamTls;

/// How health is found out, and how what was out comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPolicy {
    /// The active probe; none means that requests alone find out.
    pub probe: Option<Probe>,
    /// How a region is judged.
    pub region: RegionPolicy,
    /// How a region that was down comes back.
    pub failback: Failback,
    /// Whether what upstreams say of themselves in response headers counts.
    pub said: bool,
    /// What it means for the readiness of this process that the upstream has no usable region.
    pub readiness: Readiness,
}

/// What it means for the readiness of this process that an upstream has no usable region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Not ready.
    Required,
    /// Not ready once none of the counted upstreams has one.
    #[default]
    Counted,
    /// Nothing.
    Ignored,
}

/// How a region is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionPolicy {
    /// The share of endpoints (0 to 1) that must be usable for the region to be so.
    pub min_healthy: f64,
    /// The share of attempts (above 0, to 1) that fail in `window` when a region counts as down,
    /// unless its siblings fare alike. None: requests say nothing.
    pub error_rate: Option<f64>,
    /// The time that is looked at.
    pub window: Duration,
    /// Attempts in it below which it says nothing. At least 1.
    pub min_requests: u32,
    /// When silence raises a suspicion. None: never.
    pub silence: Option<Silence>,
    /// Times its own usual time to answer (above 1) at which a region counts as degraded. None: never.
    pub degraded_latency: Option<f64>,
}

/// When silence raises a suspicion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Silence {
    /// From the region's own times to answer, but not below so much.
    Auto {
        /// The floor.
        at_least: Duration,
    },
    /// After so long, whatever is usual.
    After(Duration),
}

/// How a region that was down comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Failback {
    /// Whether it waits for an operator once probes are well again.
    pub manual: bool,
    /// It stays out at least for so long; doubled with every relapse, up to `hold_max`.
    pub hold: Duration,
    /// The longest that it stays out because of relapses.
    pub hold_max: Duration,
    /// The part of its share (above 0, to 1) that is tried first, with what can be repeated elsewhere.
    pub probation: f64,
    /// From there to its whole share, growing by the same factor in equal times. Zero: at once.
    pub ramp: Duration,
    /// Long streams that went elsewhere meanwhile may stay there for so long once it is back. None:
    /// until they end by themselves.
    pub drain: Option<Duration>,
}

/// An active probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
    /// TLS of the probe's own; the upstream's when none.
    pub tls: Option<ProbeTls>,
    /// Time between two probes of one endpoint.
    pub interval: Duration,
    /// The same while there is doubt about it; made from `interval`, `timeout` and `fall` when none.
    pub fast_interval: Option<Duration>,
    /// Either varies by this part (0 to 0.5).
    pub jitter: f64,
    /// An answer must be complete within this.
    pub timeout: Duration,
    /// Successes in a row that make an endpoint healthy.
    pub rise: u32,
    /// Failures in a row that make it unhealthy.
    pub fall: u32,
}

/// How a probe secures its connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeTls {
    /// Not at all, although the upstream does.
    Off,
    /// In its own way.
    On(UpstreamTls),
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// A request must be answered as expected.
    Http(HttpProbe),
    /// A connection must be accepted.
    Tcp,
    /// `grpc.health.v1.Health/Check` must say `SERVING`. HTTP/2 only.
    Grpc {
        /// The service to ask about; empty: the server as a whole.
        service: Arc<str>,
        /// The `:authority` to send; the endpoint's address when absent.
        host: Option<Arc<str>>,
    },
    /// A synthetic transaction: requests one after the other over one connection, of which later
    /// ones may use values from earlier answers. Never empty.
    Steps(Box<[HttpProbe]>),
}

/// One request of a probe, and the answer that is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// The method. GET by default.
    pub method: http::Method,
    /// Path and query, starting with `/`.
    pub path: Arc<str>,
    /// The `Host` to send; the endpoint's address when absent.
    pub host: Option<Arc<str>>,
    /// Fields to send besides.
    pub headers: Box<[(http::HeaderName, Arc<str>)]>,
    /// Content to send.
    pub body: Option<Arc<str>>,
    /// Inclusive ranges of statuses that count as healthy. 200-299 by default.
    pub expect: Box<[(u16, u16)]>,
    /// The body must contain this.
    pub expect_body: Option<Arc<str>>,
    /// Fields that the answer must have, with this value.
    pub expect_headers: Box<[(http::HeaderName, Arc<str>)]>,
    /// Values that later steps may use, in `path`, `headers` and `body`, as `${name}`.
    pub extract: Box<[Extract]>,
}

impl Default for HttpProbe {
    /// `GET /`, expecting 200 to 299.
    fn default() -> Self {
        Self {
            method: http::Method::GET,
            path: "/".into(),
            host: None,
            headers: Box::default(),
            body: None,
            expect: [(200, 299)].into(),
            expect_body: None,
            expect_headers: Box::default(),
            extract: Box::default(),
        }
    }
}

/// A value taken from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    /// Its name in later steps.
    pub name: Arc<str>,
    /// Where it is found.
    pub from: ExtractFrom,
}

/// Where a value is found in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtractFrom {
    /// The value of this field.
    Header(http::HeaderName),
    /// The string or number at this JSON pointer (RFC 6901) of the body.
    Json(Arc<str>),
}

/// What bounds the load on endpoints and regions, and when an endpoint is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CircuitBreaker {
    /// Bounds of each endpoint.
    pub endpoint: Limits,
    /// Bounds of each region of the upstream.
    pub region: Limits,
    /// When requests find an endpoint to be an outlier. None: never.
    pub ejection: Option<Ejection>,
}

/// Bounds of what this process has under way there (Envoy's `circuit_breakers.thresholds`). None:
/// no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections open.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection because `max_connections` are open.
    pub max_pending: Option<u32>,
    /// Requests under way.
    pub max_requests: Option<u32>,
    /// Retries under way.
    pub max_retries: Option<u32>,
}

impl Limits {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// When requests find an endpoint to be an outlier, and for how long it is out (Envoy's
/// `outlier_detection`; ALGORITHMS 5.6).
#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    /// Errors of 500 and above in a row; without `split_external_local_origin_errors`, of local origin
    /// too. None: not looked at.
    pub consecutive_5xx: Option<u32>,
    /// The same of 502, 503 and 504.
    pub consecutive_gateway_failure: Option<u32>,
    /// Errors of local origin in a row; only with `split_external_local_origin_errors`.
    pub consecutive_local_origin_failure: Option<u32>,
    /// Errors that the proxy saw and errors that answers told are counted apart.
    pub split_external_local_origin_errors: bool,
    /// Time between two looks at success rates, and after which a well-behaved endpoint's next
    /// ejection is shorter by one `base_ejection_time`.
    pub interval: Duration,
    /// An ejection lasts this long times the number of ejections in a row.
    pub base_ejection_time: Duration,
    /// But not longer than this.
    pub max_ejection_time: Duration,
    /// The share of a region's endpoints (0 to 1) that may be out at a time.
    pub max_ejection: f64,
    /// One may be out in any case, if there are two.
    pub always_eject_one_host: bool,
    /// Success rates that stand out. None: not looked at.
    pub success_rate: Option<SuccessRate>,
    /// Failure percentages above a bound. None: not looked at.
    pub failure_percentage: Option<FailurePercentage>,
}

/// An endpoint is an outlier whose success rate is below the mean of its region by so many standard
/// deviations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// Endpoints with enough requests below which nothing is compared.
    pub minimum_hosts: u32,
    /// Requests in an interval below which an endpoint is not looked at.
    pub request_volume: u32,
    /// Standard deviations below the mean.
    pub stdev_factor: f64,
}

/// An endpoint is an outlier of whose requests this part fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailurePercentage {
    /// The part, 0 to 1.
    pub threshold: f64,
    /// Endpoints with enough requests below which nothing is looked at.
    pub minimum_hosts: u32,
    /// Requests in an interval below which an endpoint is not looked at.
    pub request_volume: u32,
}

/// How an endpoint that comes up takes its share (Envoy's `slow_start_config`; ALGORITHMS 5.8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// Time to the whole share.
    pub window: Duration,
    /// Above 0; 1 grows evenly, more grows faster at first.
    pub aggression: f64,
    /// The least part of its weight, 0 to 1.
    pub min_weight: f64,
}

impl Default for RegionPolicy {
    /// One usable endpoint is enough, and requests say nothing.
    fn default() -> Self {
        Self {
            min_healthy: 0.0,
            error_rate: None,
            window: Duration::from_secs(1),
            min_requests: 1,
            silence: None,
            degraded_latency: None,
        }
    }
}

impl Default for Failback {
    /// At once, and whole.
    fn default() -> Self {
        Self {
            manual: false,
            hold: Duration::ZERO,
            hold_max: Duration::ZERO,
            probation: 1.0,
            ramp: Duration::ZERO,
            drain: None,
        }
    }
}

impl Default for HealthPolicy {
    /// Nothing is looked at.
    fn default() -> Self {
        Self {
            probe: None,
            region: RegionPolicy::default(),
            failback: Failback::default(),
            said: false,
            readiness: Readiness::Counted,
        }
    }
}

impl Probe {
    /// The probe of this kind with the usual times: every 2 s, 1 s each, 2 up, 3 down.
    pub fn new(kind: ProbeKind) -> Self {
        Self {
            kind,
            port: None,
            tls: None,
            interval: Duration::from_secs(2),
            fast_interval: None,
            jitter: 0.1,
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}
