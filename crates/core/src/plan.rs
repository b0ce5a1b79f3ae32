//! What is wanted: the compiled, immutable form of a configuration.
//!
//! Only `config::compile` builds one. Names are resolved to indices, units to types, residency to
//! a set of regions; whatever is still a string is there to be shown to people. A plan holds no
//! observed state: that is the [`Board`](crate::Board)'s, which outlives plans.

mod action;
mod adopt;
mod balance;
mod explain;
mod failover;
mod health;
mod rollback;
mod size;
mod steering;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::geo::Atlas;
use crate::ids::{RegionIdx, RegionSet, RouteIdx, UpstreamIdx};
use crate::route::{RouteMatch, RouteTable};
use crate::standing::Dial;

pub use action::{
    Abort, Actions, Delay, Edit, Fault, FieldEdits, HostRewrite, Redirect, RedirectTo, Reply,
    Respond, UrlParts, UrlTemplate,
};
pub use balance::{Balance, HashKey, Hashing, Maglev, Prequal, RingHash, TableSize};
pub use explain::Explain;
pub use failover::{
    Backoff, BodyPolicy, Hedge, HedgeAfter, HedgeTo, ReplayLimits, ReplayScope, Resume, RetryOn,
    RetryPolicy, UnknownOutcome,
};
pub use health::{
    CircuitBreaker, Ejection, Extract, ExtractFrom, Failback, FailurePercentage, HealthPolicy,
    HttpProbe, Limits, Probe, ProbeKind, ProbeTls, Readiness, RegionPolicy, Silence, SlowStart,
    SuccessRate,
};
pub use rollback::Rollback;
pub use steering::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, ColdStart, Fallback, GeoRule, Isolation,
    Mirror, Panic, Policy, Preference, SameSite, Spill, Split, SplitTarget, Spread, Standby,
    Starter, Steering, Tolerance, WhenGone,
};

/// One compiled configuration.
#[derive(Debug)]
pub struct Plan {
    /// Hash of the configuration's content (lower-case hex of SHA-256, 64 characters): two plans
    /// with the same hash decide alike.
    pub content_hash: Arc<str>,
    /// Where this process runs.
    pub pop: Pop,
    /// Every region, in the order of the configuration (the default preference). Shared with whoever
    /// still needs their names when the plan is gone.
    pub regions: Arc<[Region]>,
    /// Every upstream.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// Every route, in the order of the configuration.
    pub routes: Box<[Arc<Route>]>,
    /// The index over `routes`.
    pub table: RouteTable,
    /// What all requests together may keep of their bodies.
    pub replay: ReplayLimits,
    /// Bounds on what telemetry may keep.
    pub metrics: MetricsPolicy,
    /// What is recorded of decisions. None: nothing.
    pub explain: Option<Explain>,
    /// What of this plan makes it go again. None: it stays whatever happens.
    pub rollback: Option<Rollback>,
    /// What tells where clients are. None: nothing does.
    pub atlas: Option<Arc<Atlas>>,
}

/// The point of presence that this process serves.
#[derive(Clone, Debug)]
pub struct Pop {
    /// Name, for logs, metrics and `Via`. `tidegate` when the configuration names none.
    pub name: Arc<str>,
    /// Coordinates, for an order of regions before anything is measured.
    pub location: Option<Location>,
}

/// Degrees of latitude (-90 to 90) and longitude (-180 to 180).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// A place where upstreams live.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Unique name.
    pub name: Arc<str>,
    /// Coordinates, if told.
    pub location: Option<Location>,
    /// The jurisdictions that hold there, for `residency.allow`. Empty: none, so that a route with
    /// a residency rule never goes there.
    pub jurisdictions: Box<[Arc<str>]>,
}

/// A named service that lives in one or more regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Unique name.
    pub name: Arc<str>,
    /// Where it lives, in the order of the configuration. Never empty.
    pub regions: Box<[UpstreamRegion]>,
    /// How a region is chosen.
    pub steering: Steering,
    /// How an endpoint of the region is chosen.
    pub balance: Balance,
    /// How health is found out, and how what was out comes back.
    pub health: HealthPolicy,
    /// What bounds the load on endpoints and regions, and when an endpoint is left out.
    pub circuit_breaker: CircuitBreaker,
    /// How an endpoint that comes up takes its share. None: at once.
    pub slow_start: Option<SlowStart>,
    /// When a request may be tried again.
    pub retry: RetryPolicy,
    /// How connections are made and kept.
    pub connection: ConnectionPolicy,
    /// What is kept of request bodies for replay.
    pub body: BodyPolicy,
}

/// One region of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamRegion {
    /// Which region.
    pub region: RegionIdx,
    /// Endpoints given in the configuration. Never empty today; discovery may replace them.
    pub endpoints: Box<[EndpointSpec]>,
    /// Share under `weighted` steering; 0 takes no first attempts. 1 by default.
    pub weight: u32,
    /// Tier under `priority` steering; lower is preferred. The position by default.
    pub tier: u16,
    /// Requests a second that the region can serve, from everywhere. None: not told.
    pub capacity_rps: Option<f64>,
    /// The part of the capacity that is this PoP's, above 0 to 1.
    pub pop_share: f64,
    /// What it is while others serve.
    pub standby: Standby,
    /// The part of its share that it takes at most, unless an operator dials it otherwise. At 0 it
    /// takes nothing, whatever becomes of the others.
    pub dial: Dial,
    /// Zones of its endpoints, best first; those not named come last. Empty: zones do not matter.
    pub zones: Box<[Arc<str>]>,
}

impl UpstreamRegion {
    /// A region of an upstream with the defaults of the configuration, at `tier`.
    pub fn new(region: RegionIdx, tier: u16, endpoints: impl Into<Box<[EndpointSpec]>>) -> Self {
        Self {
            region,
            endpoints: endpoints.into(),
            weight: 1,
            tier,
            capacity_rps: None,
            pop_share: 1.0,
            standby: Standby::Hot,
            dial: Dial::FULL,
            zones: Box::default(),
        }
    }

    /// Requests a second that it can serve for this PoP; none if it was not told.
    pub fn capacity(&self) -> Option<f64> {
        Some(self.capacity_rps? * self.pop_share)
    }
}

/// One endpoint as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSpec {
    /// `host:port`; the host is an IP address or a name that is resolved when connecting.
    pub address: Arc<str>,
    /// Relative share within its region, 1 to 1000. 1 by default.
    pub weight: u32,
    /// The zone of its region in which it is, if that was told.
    pub zone: Option<Arc<str>>,
}

impl EndpointSpec {
    /// The endpoint at this address, of weight 1 and no zone.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
            weight: 1,
            zone: None,
        }
    }
}

/// The protocol spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN under TLS, by prior knowledge without.
    Http2,
    /// TLS only: what ALPN selects.
    Auto,
}

/// How connections to an upstream are made and kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionPolicy {
    /// The protocol.
    pub protocol: UpstreamProtocol,
    /// TLS, if the upstream speaks it.
    pub tls: Option<UpstreamTls>,
    /// TCP and TLS set-up must be done within this.
    pub connect_timeout: Duration,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Idle connections kept for one endpoint by one thread.
    pub idle_max: u32,
    /// Connections kept open to the region that is next in line, for the moment when it is needed.
    pub warm_standby: u32,
}

/// TLS towards an upstream: one profile shares one client configuration, so that sessions resume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// Name sent as SNI and checked against the certificate; the endpoint's host when absent.
    pub server_name: Option<Arc<str>>,
    /// PEM text of the certificate authorities to trust. Read when the plan was compiled.
    pub roots: Option<Arc<str>>,
    /// PEM text of a client certificate chain and its key.
    pub client_identity: Option<ClientIdentity>,
    /// Accept any certificate. For laboratories; `check` warns.
    pub insecure_skip_verify: bool,
}

/// A client certificate for mutual TLS.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientIdentity {
    /// PEM chain, leaf first.
    pub chain: Arc<str>,
    /// PEM key.
    pub key: Arc<str>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// One route.
///
/// What every request asks of it comes first, in the order that is written here, and on cache lines of its
/// own: with thousands of routes each line is a wait for memory.
#[derive(Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Route {
    /// Where matching requests go, unless they are split. None: the route answers by itself.
    pub upstream: Option<UpstreamIdx>,
    /// The regions that residency allows; `RegionSet::ALL` without a rule.
    pub allowed: RegionSet,
    /// Whether load or failure may move a request to another region.
    pub isolation: Isolation,
    /// The operator declares that doing any request of the route twice is the same as once.
    pub idempotent: bool,
    /// `Idempotency-Key` makes a request of any method replayable.
    pub idempotency_key: bool,
    /// Where a request that may have been processed may be sent again.
    pub replay_scope: ReplayScope,
    /// Whether an answer whose upstream dies is continued from another region.
    pub resume: Resume,
    /// Opt-in response headers.
    pub reveal: Reveal,
    /// How they are split between upstreams, `upstream` being the first of them. None: they are not.
    pub split: Option<Box<Split>>,
    /// What it does besides sending requests on: it has a reply exactly if it has no upstream. None:
    /// nothing. Shared with the answers that it applies to.
    pub actions: Option<Arc<Actions>>,
    /// No byte of a body, either way, for so long ends the exchange.
    pub idle_timeout: Duration,
    /// The whole request, retries included, up to the response's head.
    pub timeout: Duration,
    /// The whole exchange, both bodies included. None: no limit.
    pub max_duration: Option<Duration>,
    /// Who gets a copy of some of them. None: nobody.
    pub mirror: Option<Mirror>,
    /// The field in which clients say how much time they give; upstreams get it reduced by what is
    /// used up. None: there is none. `grpc-timeout` is always heeded.
    pub deadline_header: Option<HeaderName>,
    /// When a second attempt is made beside a slow one. None: never for slowness alone.
    pub hedge: Option<Hedge>,
    /// Name for logs and metrics: configured, or made from the match. Unique.
    pub name: Arc<str>,
    /// What it matches.
    pub matches: RouteMatch,
    /// The rule's words, for messages. Empty without a rule.
    pub residency: Box<[Arc<str>]>,
}

impl Route {
    /// A route with the defaults of the configuration; without an upstream, one that answers by itself.
    pub fn new(
        name: impl Into<Arc<str>>,
        matches: RouteMatch,
        upstream: impl Into<Option<UpstreamIdx>>,
    ) -> Self {
        Self {
            name: name.into(),
            matches,
            upstream: upstream.into(),
            split: None,
            mirror: None,
            timeout: Duration::from_secs(30),
            max_duration: None,
            idle_timeout: Duration::from_secs(60),
            allowed: RegionSet::ALL,
            residency: Box::default(),
            isolation: Isolation::Off,
            idempotent: false,
            idempotency_key: false,
            replay_scope: ReplayScope::Auto,
            deadline_header: None,
            resume: Resume::default(),
            hedge: None,
            reveal: Reveal::default(),
            actions: None,
        }
    }

    /// Has what every request asks of it brought near, all of it at once: one wait for memory instead of
    /// one at each look. Costs a few instructions and changes nothing.
    #[inline]
    pub fn approach(&self) {
        black_box(self.allowed);
        black_box(self.max_duration.is_some());
        black_box(self.deadline_header.is_some());
    }

    /// Every upstream that its requests may be sent to, but for copies: those of its split, or the one
    /// it has. None for a route that answers by itself.
    pub fn upstreams(&self) -> impl Iterator<Item = UpstreamIdx> + '_ {
        let split = self.split.iter().flat_map(|split| &*split.targets);
        let alone = self.upstream.filter(|_| self.split.is_none());
        split.map(|target| target.upstream).chain(alone)
    }

    /// Those of [`upstreams`](Self::upstreams) that requests are drawn for as the plan stands: a target of
    /// weight 0 is named and gets none.
    pub fn drawn_upstreams(&self) -> impl Iterator<Item = UpstreamIdx> + '_ {
        let split = self.split.iter().flat_map(|split| &*split.targets);
        let drawn = split.filter(|target| target.weight > 0);
        let alone = self.upstream.filter(|_| self.split.is_none());
        drawn.map(|target| target.upstream).chain(alone)
    }
}

/// Response headers that a route may add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reveal {
    /// `tidegate-region`: which region answered.
    pub region: bool,
    /// `tidegate-attempts`: how many attempts it took.
    pub attempts: bool,
    /// `server-timing`.
    pub server_timing: bool,
}

/// Bounds on what telemetry may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsPolicy {
    /// Route x region series before the rest is counted under `other`.
    pub max_series: u32,
}

impl Plan {
    /// The region's record.
    pub fn region(&self, region: RegionIdx) -> &Region {
        &self.regions[region.get()]
    }

    /// The upstream's record.
    pub fn upstream(&self, upstream: UpstreamIdx) -> &Arc<Upstream> {
        &self.upstreams[upstream.get()]
    }

    /// The route's record.
    pub fn route(&self, route: RouteIdx) -> &Arc<Route> {
        &self.routes[route.get()]
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// The lines that [`Route::approach`] brings near.
    #[test]
    fn what_every_request_asks_of_a_route_is_three_cache_lines() {
        assert!(offset_of!(Route, idle_timeout) < 64);
        assert!(offset_of!(Route, timeout) < offset_of!(Route, max_duration));
        assert!((64..128).contains(&offset_of!(Route, max_duration)));
        assert!(offset_of!(Route, hedge) <= 192);
    }
}
