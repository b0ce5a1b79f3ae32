//! Upstreams: where a service lives, how a place is chosen, how it is reached.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, OffOrMap};
use crate::raw::{
    BalanceEntry, Body, CircuitBreaker, Health, Retry, SlowStart, Steering, UpstreamRegion,
};
use crate::yaml::{Entries, Field};

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
