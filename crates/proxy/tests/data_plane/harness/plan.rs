//! Plans built by hand, as `config` would compile them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::plan::{
    Balance, BodyPolicy, CircuitBreaker, ConnectionPolicy, EndpointSpec, HealthPolicy,
    MetricsPolicy, Plan, Policy, Pop, Region, RegionPolicy, ReplayLimits, RetryOn, RetryPolicy,
    Route, Upstream, UpstreamProtocol, UpstreamRegion,
};
use tidegate_core::route::{RouteMatch, RouteTable};
use tidegate_core::settings::{
    CertificateFiles, Listener, ListenerLimits, ListenerTls, TlsVersion,
};
use tidegate_core::{Board, PlanHandle, RegionIdx, UpstreamIdx};
use tidegate_lab::{Authority, World};

use super::Rig;

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// What a rig is started with. Nothing has a time limit that a test does not set.
pub(crate) struct Setup {
    pub(crate) regions: Vec<Region>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) routes: Vec<Route>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) replay: ReplayLimits,
    pub(crate) threads: usize,
}

impl Setup {
    /// One upstream with an endpoint in each of these regions, the first preferred, and one route
    /// for everything. A region that is named twice has two endpoints. One plaintext listener.
    pub(crate) fn new<'a>(places: impl IntoIterator<Item = (&'a str, SocketAddr)>) -> Self {
        let mut setup = Self {
            regions: Vec::new(),
            upstreams: Vec::new(),
            routes: vec![route("all", UpstreamIdx(0))],
            listeners: vec![listener("http")],
            replay: ReplayLimits::default(),
            threads: 2,
        };
        setup.add_upstream("shop", places);
        setup
    }

    /// One upstream, one region, one endpoint.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::new([("eu", address)])
    }

    /// One worker, so that its idle connections are everybody's.
    pub(crate) fn one_thread(mut self) -> Self {
        self.threads = 1;
        self
    }

    /// Every site of `world`, the first preferred.
    pub(crate) fn world(world: &World) -> Self {
        Self::new(world.endpoints())
    }

    /// Adds an upstream; regions that are not there yet are added with it.
    pub(crate) fn add_upstream<'a>(
        &mut self,
        name: &str,
        places: impl IntoIterator<Item = (&'a str, SocketAddr)>,
    ) -> UpstreamIdx {
        let mut regions: Vec<(RegionIdx, Vec<EndpointSpec>)> = Vec::new();
        for (region, address) in places {
            let index = self.region(region);
            let endpoint = EndpointSpec::new(address.to_string());
            match regions.iter_mut().find(|(known, _)| *known == index) {
                Some((_, endpoints)) => endpoints.push(endpoint),
                None => regions.push((index, vec![endpoint])),
            }
        }
        self.upstreams.push(upstream(name, regions));
        UpstreamIdx(u16::try_from(self.upstreams.len() - 1).unwrap())
    }

    /// Adds a route for a path and everything below it.
    pub(crate) fn add_route(&mut self, prefix: &str, to: UpstreamIdx) -> &mut Route {
        let mut route = route(prefix, to);
        route.matches.path = Some(tidegate_core::route::PathMatch::Prefix(prefix.into()));
        self.routes.push(route);
        self.routes.last_mut().unwrap()
    }

    fn region(&mut self, name: &str) -> RegionIdx {
        let known = self.regions.iter().position(|region| &*region.name == name);
        let index = known.unwrap_or_else(|| {
            let jurisdictions = Box::new([name.into()]);
            self.regions.push(Region {
                name: name.into(),
                location: None,
                jurisdictions,
            });
            self.regions.len() - 1
        });
        RegionIdx(u8::try_from(index).unwrap())
    }

    /// The first upstream.
    pub(crate) fn upstream(&mut self) -> &mut Upstream {
        &mut self.upstreams[0]
    }

    /// The first upstream's retry policy.
    pub(crate) fn retry(&mut self) -> &mut RetryPolicy {
        &mut self.upstreams[0].retry
    }

    /// The route that takes everything.
    pub(crate) fn route(&mut self) -> &mut Route {
        &mut self.routes[0]
    }

    /// The limits of the plaintext listener.
    pub(crate) fn limits(&mut self) -> &mut ListenerLimits {
        &mut self.listeners[0].limits
    }

    /// The upstream speaks HTTP/2 (by prior knowledge without TLS).
    pub(crate) fn h2_up(&mut self, h2: bool) {
        let protocol = if h2 {
            UpstreamProtocol::Http2
        } else {
            UpstreamProtocol::Http1
        };
        self.upstream().connection.protocol = protocol;
    }

    /// Believes what clients of this machine say of earlier hops.
    pub(crate) fn trust_everybody(&mut self) {
        let address = "127.0.0.0".parse().unwrap();
        for listener in &mut self.listeners {
            listener.trusted = vec![tidegate_core::settings::Network { address, prefix: 8 }];
        }
    }

    /// Adds a listener called `https` with these certificates.
    pub(crate) fn tls(&mut self, certificates: Vec<CertificateFiles>) -> &mut ListenerTls {
        let tls = ListenerTls {
            certificates,
            min_version: TlsVersion::V1_2,
            client_ca: None,
        };
        self.listeners.push(Listener {
            tls: Some(tls),
            ..listener("https")
        });
        self.listeners.last_mut().unwrap().tls.as_mut().unwrap()
    }

    /// The plan alone, for a reload.
    pub(crate) fn into_plan(self) -> Plan {
        Plan {
            content_hash: "0".repeat(64).into(),
            pop: Pop {
                name: "fra1".into(),
                location: None,
            },
            regions: self.regions.into(),
            upstreams: self.upstreams.into_iter().map(Arc::new).collect(),
            table: RouteTable::new(self.routes.iter().map(|route| &route.matches)),
            routes: self.routes.into_iter().map(Arc::new).collect(),
            replay: self.replay,
            metrics: MetricsPolicy { max_series: 100 },
            explain: None,
            rollback: None,
            atlas: None,
        }
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Rig {
        let (listeners, threads) = (std::mem::take(&mut self.listeners), self.threads);
        let board = std::sync::Arc::new(Board::new(Instant::now()));
        let plan = std::sync::Arc::new(PlanHandle::new());
        plan.activate(self.into_plan(), &board);
        Rig::start(listeners, threads, plan, board)
    }
}

/// Writes a new certificate for `names` into `directory`, as `{stem}.pem` and `{stem}.key`.
pub(crate) fn certificate(
    authority: &Authority,
    directory: &std::path::Path,
    stem: &str,
    names: &[&str],
) -> CertificateFiles {
    let leaf = authority.issue(names).unwrap();
    let (chain, key): (PathBuf, PathBuf) = leaf.write_to(directory, stem).unwrap();
    CertificateFiles { chain, key }
}

fn listener(name: &str) -> Listener {
    let limits = ListenerLimits {
        header_timeout: HOUR,
        idle_timeout: HOUR,
        handshake_timeout: HOUR,
        ..ListenerLimits::default()
    };
    let bind = "127.0.0.1:0".parse().unwrap();
    Listener {
        name: name.into(),
        bind,
        tls: None,
        limits,
        trusted: Vec::new(),
    }
}

fn route(name: &str, upstream: UpstreamIdx) -> Route {
    Route {
        timeout: HOUR,
        idle_timeout: HOUR,
        ..Route::new(name, RouteMatch::default(), upstream)
    }
}

fn upstream(name: &str, regions: Vec<(RegionIdx, Vec<EndpointSpec>)>) -> Upstream {
    let regions = regions
        .into_iter()
        .enumerate()
        .map(|(tier, (region, endpoints))| {
            let tier = u16::try_from(tier).unwrap();
            UpstreamRegion::new(region, tier, endpoints)
        });
    Upstream {
        name: name.into(),
        regions: regions.collect(),
        steering: Policy::priority().into(),
        balance: Balance::PeakEwma,
        health: HealthPolicy {
            probe: None,
            region: RegionPolicy {
                min_healthy: 0.3,
                ..RegionPolicy::default()
            },
            ..HealthPolicy::default()
        },
        circuit_breaker: CircuitBreaker::default(),
        slow_start: None,
        retry: RetryPolicy {
            attempts: 3,
            on: RetryOn {
                connect: true,
                reset: true,
                timeout: true,
                bad_response: false,
                statuses: Box::new([502, 503, 504]),
                ..RetryOn::default()
            },
            per_try: None,
            budget: 0.2,
            cross_region_budget: 1.0,
            ..RetryPolicy::default()
        },
        connection: ConnectionPolicy {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            connect_timeout: HOUR,
            idle_timeout: HOUR,
            idle_max: 64,
            warm_standby: 0,
        },
        body: BodyPolicy {
            replay_bytes: 64 * 1024,
            ..BodyPolicy::default()
        },
    }
}
