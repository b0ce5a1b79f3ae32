//! A plan, a board and their binding for tests and benches, made of a few plain numbers.
#![allow(dead_code)] // Each binary that includes it uses a part.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, Method};
use tidegate_core::geo::Origin;
use tidegate_core::hash::KeyFacts;
use tidegate_core::ids::{Generation, RegionIdx, UpstreamIdx};
use tidegate_core::plan::{
    Balance, BodyPolicy, CircuitBreaker, ConnectionPolicy, EndpointSpec, GeoRule, Hashing,
    HealthPolicy, Location, Maglev, MetricsPolicy, Panic, Plan, Policy, Pop, Region, RegionPolicy,
    ReplayLimits, RetryOn, RetryPolicy, RingHash, Route, Spread, Steering, TableSize, Tolerance,
    Upstream, UpstreamProtocol, UpstreamRegion,
};
use tidegate_core::record::{Chances, Drawn, End, Facts, Looked, Record, Through, Way};
use tidegate_core::route::{RequestFacts, RouteMatch, RouteTable};
use tidegate_core::{
    Allotment, Ask, Board, Dial, EndpointSet, Live, RegionSet, Snapshot, Termination,
};

/// One upstream in regions `r0`, `r1`, ... with endpoints `r0-0:80`, `r0-1:80`, ..., bound.
pub(crate) struct World {
    /// What is observed.
    pub(crate) board: Board,
    /// The binding.
    pub(crate) live: Live,
    /// The moment from which the board counts.
    pub(crate) now: Instant,
}

/// The only upstream.
pub(crate) const UPSTREAM: UpstreamIdx = UpstreamIdx(0);

impl World {
    /// A world of one route for everything; `endpoints` are the numbers of endpoints per region.
    pub(crate) fn new(steering: Steering, endpoints: &[usize]) -> Self {
        Self::with_routes(steering, endpoints, vec![RouteMatch::default()])
    }

    /// A world of many routes, all to the one upstream.
    pub(crate) fn with_routes(
        steering: Steering,
        endpoints: &[usize],
        routes: Vec<RouteMatch>,
    ) -> Self {
        Self::of(plan(steering, endpoints, routes))
    }

    /// A world of one route whose upstream is not quite the usual one.
    pub(crate) fn changed(
        steering: Steering,
        endpoints: &[usize],
        change: impl FnOnce(&mut Upstream),
    ) -> Self {
        Self::planned(steering, endpoints, |plan| {
            change(own(&mut plan.upstreams[0]))
        })
    }

    /// A world of one route whose plan is not quite the usual one.
    pub(crate) fn planned(
        steering: Steering,
        endpoints: &[usize],
        change: impl FnOnce(&mut Plan),
    ) -> Self {
        let mut plan = plan(steering, endpoints, vec![RouteMatch::default()]);
        change(&mut plan);
        Self::of(plan)
    }

    fn of(plan: Plan) -> Self {
        let now = Instant::now();
        let board = Board::new(now);
        let live = Live::bind(Arc::new(plan), &board, Generation(1));
        Self { board, live, now }
    }

    /// Enters a round trip per region, in milliseconds.
    pub(crate) fn measure(&self, round_trips: &[u64]) {
        for (region, ms) in self.live.upstreams[0].regions.iter().zip(round_trips) {
            region
                .cell
                .observe_rtt(Duration::from_millis(*ms), self.now);
        }
    }

    /// The endpoints of a region.
    pub(crate) fn set(&self, region: usize) -> Arc<EndpointSet> {
        self.live.upstreams[0].regions[region].endpoints.load_full()
    }

    /// The retry policy.
    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.live.plan.upstreams[0].retry
    }
}

/// A ring as configurations have it by default.
pub(crate) fn ring_hash(balance_factor: Option<f64>) -> Balance {
    Balance::RingHash(RingHash {
        minimum_ring_size: 1,
        maximum_ring_size: 262_144,
        hashing: Hashing {
            on: Box::default(),
            balance_factor,
        },
    })
}

/// A table as configurations have it by default.
pub(crate) fn maglev(balance_factor: Option<f64>) -> Balance {
    Balance::Maglev(Maglev {
        table_size: TableSize::DEFAULT,
        hashing: Hashing {
            on: Box::default(),
            balance_factor,
        },
    })
}

/// Every policy for endpoints, those that hash with and without a bound on load.
pub(crate) fn policies() -> [Balance; 8] {
    [
        Balance::PeakEwma,
        Balance::LeastRequest { choice_count: 2 },
        Balance::RoundRobin,
        Balance::Random,
        ring_hash(None),
        ring_hash(Some(1.25)),
        maglev(None),
        maglev(Some(1.25)),
    ]
}

/// The names of [`steerings`].
pub(crate) const STEERINGS: [&str; 11] = [
    "latency",
    "latency by spare",
    "priority",
    "priority, half well",
    "weighted",
    "weighted by hash",
    "waterfall",
    "spray",
    "geo",
    "least_load",
    "latency, panic",
];

/// Eight regions with the steering of this name, shares and capacities told, and all that decisions
/// look at filled in.
pub(crate) fn steered(name: &str, endpoints: usize, routes: Vec<RouteMatch>) -> World {
    steered_by(name, endpoints, routes, |_| {})
}

/// The same of a plan that is not quite the usual one.
pub(crate) fn steered_by(
    name: &str,
    endpoints: usize,
    routes: Vec<RouteMatch>,
    change: impl FnOnce(&mut Plan),
) -> World {
    let spread = |spread| Policy::Capacity { spread }.into();
    let steering: Steering = match name {
        "priority" | "priority, half well" => Policy::priority().into(),
        "weighted" | "weighted by hash" => Policy::weighted().into(),
        "waterfall" => spread(Spread::Waterfall),
        "spray" => spread(Spread::Spray),
        "geo" => Policy::Geo { rules: rules() }.into(),
        "least_load" => Policy::LeastLoad.into(),
        "latency, panic" => Steering {
            panic: Panic {
                fail_open: Some(0.5),
                fallback: None,
            },
            ..latency(10)
        },
        _ => latency(10),
    };
    let mut plan = plan(steering, &[endpoints; 8], routes);
    for (at, region) in own(&mut plan.regions).iter_mut().enumerate() {
        region.location = Some(Location {
            latitude: 10.0 * at as f64 - 35.0,
            longitude: 40.0 * at as f64 - 140.0,
        });
    }
    for region in &mut own(&mut plan.upstreams[0]).regions {
        region.tier /= 2;
        region.capacity_rps = (name != "latency").then_some(1_000.0);
    }
    change(&mut plan);
    let world = World::of(plan);
    world.measure(&[10, 12, 15, 80, 90, 100, 160, 200]);
    for region in &world.live.upstreams[0].regions {
        region.cell.set_allotment(Allotment {
            take: Dial::new(if name == "waterfall" { 0.5 } else { 1.0 }),
            spare: Some(500.0),
            latency: region.cell.latency(),
            healthy: Dial::new(if name == "priority, half well" {
                0.5
            } else {
                1.0
            }),
            ..Allotment::default()
        });
    }
    world
}

fn rules() -> Box<[GeoRule]> {
    let rule = |code| GeoRule {
        countries: [code; 40].into(),
        continents: Box::default(),
        regions: [RegionIdx(3), RegionIdx(1)].into(),
    };
    [rule(*b"AA"), rule(*b"BB"), rule(*b"CC")].into()
}

/// An ask that tells what the steering of this name looks at, for the request of this number.
pub(crate) fn asked(name: &str, world: &World, number: u64) -> Ask {
    let mut ask = Ask::new(RegionSet::ALL, world.now);
    ask.sticky = (name == "weighted by hash").then(|| number.wrapping_mul(0xD134_2543_DE82_EF95));
    ask.origin = (name == "geo").then_some(Origin {
        country: Some(*b"CC"),
        continent: Some(*b"EU"),
        location: Some(Location {
            latitude: 48.1,
            longitude: 11.6,
        }),
    });
    ask
}

/// Latency steering with a tolerance in milliseconds.
pub(crate) fn latency(tolerance_ms: u64) -> Steering {
    Policy::latency(Tolerance::Absolute(Duration::from_millis(tolerance_ms))).into()
}

/// A plan of one upstream.
/// A part of a plan that nobody shares yet, to be changed.
pub(crate) fn own<T: ?Sized>(part: &mut Arc<T>) -> &mut T {
    Arc::get_mut(part).expect("nobody shares it yet")
}

pub(crate) fn plan(steering: Steering, endpoints: &[usize], routes: Vec<RouteMatch>) -> Plan {
    let table = RouteTable::new(&routes);
    Plan {
        content_hash: "0".into(),
        pop: Pop {
            name: "test".into(),
            location: None,
        },
        regions: (0..endpoints.len()).map(region).collect(),
        upstreams: [Arc::new(upstream(steering, endpoints))].into(),
        routes: routes
            .into_iter()
            .enumerate()
            .map(route)
            .map(Arc::new)
            .collect(),
        table,
        replay: ReplayLimits::default(),
        metrics: MetricsPolicy { max_series: 100 },
        explain: None,
        rollback: None,
        atlas: None,
    }
}

fn region(at: usize) -> Region {
    Region {
        name: format!("r{at}").into(),
        location: None,
        jurisdictions: Box::default(),
    }
}

fn route((at, matches): (usize, RouteMatch)) -> Route {
    Route {
        timeout: Duration::from_secs(10),
        idempotency_key: true,
        ..Route::new(format!("route-{at}"), matches, UPSTREAM)
    }
}

/// An upstream in as many regions as there are numbers of endpoints.
pub(crate) fn upstream(steering: Steering, endpoints: &[usize]) -> Upstream {
    Upstream {
        name: "shop".into(),
        regions: endpoints.iter().enumerate().map(upstream_region).collect(),
        steering,
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
        retry: retry(),
        connection: ConnectionPolicy {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            idle_max: 8,
            warm_standby: 0,
        },
        body: BodyPolicy {
            replay_bytes: 1 << 20,
            ..BodyPolicy::default()
        },
    }
}

fn upstream_region((at, &endpoints): (usize, &usize)) -> UpstreamRegion {
    let endpoint = |n| EndpointSpec::new(format!("r{at}-{n}:80"));
    let endpoints: Box<[_]> = (0..endpoints).map(endpoint).collect();
    UpstreamRegion::new(RegionIdx(at as u8), at as u16, endpoints)
}

fn retry() -> RetryPolicy {
    let on = RetryOn {
        connect: true,
        reset: true,
        timeout: true,
        bad_response: true,
        statuses: [502, 503, 504].into(),
        ..RetryOn::default()
    };
    RetryPolicy {
        attempts: 3,
        on,
        per_try: None,
        budget: 0.2,
        cross_region_budget: 1.0,
        ..RetryPolicy::default()
    }
}

/// A request as literal facts.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Method.
    pub(crate) method: Method,
    /// Host.
    pub(crate) host: String,
    /// Path.
    pub(crate) path: String,
    /// Header fields.
    pub(crate) headers: Vec<(HeaderName, String)>,
}

impl RequestFacts for Asked {
    fn method(&self) -> &Method {
        &self.method
    }
    fn host(&self) -> &str {
        &self.host
    }
    fn at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn each_field<'s>(&'s self, mut show: impl FnMut(&'s [u8], &'s [u8])) {
        let fields = self.headers.iter();
        fields.for_each(|(name, value)| show(name.as_str().as_bytes(), value.as_bytes()));
    }
}

impl KeyFacts for Asked {
    fn client(&self) -> Option<IpAddr> {
        None
    }
    fn find_field<'s, T>(
        &'s self,
        name: &HeaderName,
        mut find: impl FnMut(&'s [u8]) -> Option<T>,
    ) -> Option<T> {
        let mut lines = self.headers.iter().filter(|(have, _)| have == name);
        lines.find_map(|(_, value)| find(value.as_bytes()))
    }
    fn path_and_query(&self) -> &str {
        &self.path
    }
}

/// A record of these decisions for a request of the one route.
pub(crate) fn record(world: &World, decisions: Vec<Looked>) -> Record {
    let plan = &world.live.plan;
    let wanted = plan.upstream(UPSTREAM);
    Record {
        id: "one".into(),
        at: SystemTime::UNIX_EPOCH,
        generation: world.live.generation,
        content_hash: plan.content_hash.clone(),
        regions: plan.regions.clone(),
        facts: Some(Facts::of(&Snapshot::new(
            Method::GET,
            "shop.example.com",
            "/",
        ))),
        way: Some(Way {
            route: plan.routes[0].name.clone(),
            through: Some(Through {
                upstream: wanted.name.clone(),
                steering: wanted.steering.policy.as_str(),
                balance: wanted.balance.as_str(),
            }),
            residency: Box::default(),
        }),
        chances: Chances::of(plan, &plan.routes[0]),
        drawn: Drawn::default(),
        early: None,
        sampled: true,
        decisions,
        attempts: [].into(),
        end: End {
            reason: Termination::Completed,
            status: Some(200),
            took: Duration::from_millis(1),
            first_byte: None,
            rescued: false,
            why_not: None,
        },
    }
}
