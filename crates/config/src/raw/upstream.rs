//! Upstreams: where a service lives, how a place is chosen, how it is reached.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, OffOrMap, Tolerance};
use crate::raw::{BalanceEntry, Body, CircuitBreaker, Health, Retry, SlowStart};
use crate::yaml::{Entries, Field, WordOr};

/// An upstream: a named service that lives in one or more regions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["regions"]))]
pub(crate) struct Upstream {
    /// The regions it lives in, by their names. The order breaks ties.
    pub(crate) regions: Field<Entries<UpstreamRegion>>,
    /// How a region is chosen.
    pub(crate) steering: Field<Steering>,
    /// How an endpoint of the region is chosen: a policy by its name, or a mapping if it needs options.
    #[schemars(extend("default" = defaults::BALANCE))]
    pub(crate) balance: Field<BalanceEntry>,
    /// How health is found out, and how a region that was down comes back.
    pub(crate) health: Field<Health>,
    /// What bounds the load on endpoints and regions, and when an endpoint is left out.
    pub(crate) circuit_breaker: Field<CircuitBreaker>,
    /// How an endpoint that comes up takes its share of its region; `off`: at once.
    #[schemars(extend("default" = "off"))]
    pub(crate) slow_start: Field<OffOrMap<SlowStart>>,
    /// When a request may be tried again.
    pub(crate) retry: Field<Retry>,
    /// What its endpoints speak: `http1`, `http2`, or `auto` (TLS only: what they choose). By default `auto` with `tls`, else `http1`.
    pub(crate) protocol: Field<Protocol>,
    /// TLS towards its endpoints. Absent: plaintext.
    pub(crate) tls: Field<UpstreamTls>,
    /// How connections are made and kept.
    pub(crate) connection: Field<Connection>,
    /// What is kept of request bodies, to be sent again.
    pub(crate) body: Field<Body>,
}

/// One region of an upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoints"]))]
pub(crate) struct UpstreamRegion {
    /// Its endpoints: `host:port`, or a mapping with a weight. Names are resolved when connecting.
    pub(crate) endpoints: Field<Vec<Field<EndpointEntry>>>,
    /// Its share under `weighted` steering, and among regions that are equally good under the others. 0 takes no first attempts.
    #[schemars(extend("default" = defaults::WEIGHT))]
    pub(crate) weight: Field<u64>,
    /// Its tier under `priority` steering; lower is preferred. By default its position, from 0.
    pub(crate) tier: Field<u64>,
}

/// An endpoint: an address, or an address with a weight.
pub(crate) type EndpointEntry = WordOr<String, WeightedEndpoint>;

/// An endpoint with a weight.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub(crate) struct WeightedEndpoint {
    /// `host:port`, IPv6 in brackets.
    pub(crate) address: Field<String>,
    /// Its share within its region, 1 to 1000.
    #[schemars(extend("default" = defaults::WEIGHT))]
    pub(crate) weight: Field<u64>,
}

/// How a region is chosen.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Steering {
    /// `latency` (nearest as measured), `priority` (lowest tier that is usable) or `weighted` (by weight).
    #[schemars(extend("default" = defaults::POLICY))]
    pub(crate) policy: Field<Policy>,
    /// With `latency`: regions so much above the nearest, a duration or a percentage, count as equally near.
    #[schemars(extend("default" = defaults::TOLERANCE))]
    pub(crate) tolerance: Field<Tolerance>,
}

/// A steering policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    Latency,
    Priority,
    Weighted,
}

/// A protocol towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Auto,
}

/// TLS towards an upstream. Paths are relative to the configuration's directory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    /// Name to ask for (SNI) and to check the certificate against. By default the endpoint's host.
    pub(crate) server_name: Field<String>,
    /// PEM file of the certificate authorities to trust. By default those of the system.
    pub(crate) ca: Field<String>,
    /// PEM file of a client certificate chain (mutual TLS). Needs `key`.
    pub(crate) cert: Field<String>,
    /// PEM file of the client certificate's key.
    pub(crate) key: Field<String>,
    /// Accept any certificate. Anybody on the way can then read and change everything.
    #[schemars(extend("default" = false))]
    pub(crate) insecure_skip_verify: Field<bool>,
}

/// How connections to an upstream are made and kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connection {
    /// TCP and TLS set-up must be done within this.
    #[schemars(extend("default" = defaults::CONNECT_TIMEOUT))]
    pub(crate) connect_timeout: Field<Duration>,
    /// Idle connections are closed after this.
    #[schemars(extend("default" = defaults::UPSTREAM_IDLE_TIMEOUT))]
    pub(crate) idle_timeout: Field<Duration>,
    /// Idle connections kept for one endpoint by one thread.
    #[schemars(extend("default" = defaults::IDLE_MAX))]
    pub(crate) idle_max: Field<u64>,
    /// Connections kept open to the region that is next in line, ready to send on, so that a failover pays no handshake; 0 to 100. By default 0 when there is no other region.
    #[schemars(extend("default" = defaults::WARM_STANDBY))]
    pub(crate) warm_standby: Field<u64>,
}
