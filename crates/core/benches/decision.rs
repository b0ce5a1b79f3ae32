//! What a decision costs: route, steering and balancing, alone and together.
//!
//! The aim is below one microsecond and no allocation with 1,000 routes and 8 regions of 100
//! endpoints; the figures beside it show how that grows. The allocator counts, and a bench that
//! allocates says so in its column.

use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use fastrand::Rng;
use http::Method;
use tidegate_core::hash::xxh64;
use tidegate_core::plan::{Balance, HashKey, Hashing, Upstream};
use tidegate_core::record::{look, replay};
use tidegate_core::route::{PathMatch, Pattern, RouteMatch, RouteTable, Template};
use tidegate_core::{Ask, EndpointSet, Health, RegionSet, View, balance, choose, steer};

#[path = "../tests/support/matching.rs"]
mod matching;
#[path = "../tests/support/mod.rs"]
mod support;

use matching::{CONDITIONS, conditional, meeting};
use support::{Asked, UPSTREAM, World, latency};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ROUTES: [usize; 4] = [100, 1_000, 10_000, 100_000];
const ROUND_TRIPS: [u64; 8] = [10, 12, 15, 80, 90, 100, 160, 200];

fn main() {
    divan::main();
}

/// Ten routes a host, by prefix; every tenth host is a wildcard.
fn routes(count: usize) -> Vec<RouteMatch> {
    let route = |at: usize| {
        let (host, path) = (at / 10, at % 10);
        let star = if host % 10 == 0 { "*." } else { "" };
        RouteMatch {
            host: Some(format!("{star}service-{host}.example.com").into()),
            path: Some(PathMatch::Prefix(format!("/api/v{path}").into())),
            ..RouteMatch::default()
        }
    };
    (0..count).map(route).collect()
}

/// Ten thousand requests spread over the routes, one sample's worth, so that the caches see what
/// mixed traffic would put there.
fn requests(count: usize) -> Vec<Asked> {
    requests_of(count, count)
}

/// The same for a hundred of the routes, wherever they are among all: what this costs beside the other
/// is what memory takes to bring the parts of the index that are seldom asked for.
fn requests_of_few(count: usize) -> Vec<Asked> {
    requests_of(count, 100)
}

fn requests_of(count: usize, few: usize) -> Vec<Asked> {
    let mut rng = Rng::with_seed(1);
    let routes: Vec<usize> = (0..few).map(|at| at * (count / few)).collect();
    let request = |_| {
        let at = routes[rng.usize(..few)];
        let (host, path) = (at / 10, at % 10);
        let label = if host % 10 == 0 { "eu." } else { "" };
        Asked {
            method: Method::GET,
            host: format!("{label}service-{host}.example.com"),
            path: format!("/api/v{path}/items/{at}"),
            headers: Vec::new(),
        }
    };
    (0..10_000).map(request).collect()
}

fn world(routes: Vec<RouteMatch>) -> World {
    let world = World::with_routes(latency(10), &[100; 8], routes);
    world.measure(&ROUND_TRIPS);
    world
}

#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn route(bencher: Bencher<'_, '_>, count: usize) {
    let table = RouteTable::new(&routes(count));
    let requests = requests(count);
    let mut next = requests.iter().cycle();
    bencher.bench_local(|| table.find(black_box(next.next().expect("endless"))));
}

/// The same where a hundred routes have all the traffic.
#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn route_of_few(bencher: Bencher<'_, '_>, count: usize) {
    let table = RouteTable::new(&routes(count));
    let requests = requests_of_few(count);
    let mut next = requests.iter().cycle();
    bencher.bench_local(|| table.find(black_box(next.next().expect("endless"))));
}

/// The same requests and routes in a table that has templates and regular expressions for other hosts.
#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn route_beside_patterns(bencher: Bencher<'_, '_>, count: usize) {
    let mut all = routes(count);
    all.extend((0..count / 10).map(|at| RouteMatch {
        host: Some(format!("other-{at}.example.com").into()),
        path: Some(match at % 2 {
            0 => template("/users/{id}/orders"),
            _ => PathMatch::Regex(Arc::new(Pattern::new("^/v[0-9]+/").expect("a pattern"))),
        }),
        ..RouteMatch::default()
    }));
    let table = RouteTable::new(&all);
    let requests = requests(count);
    let mut next = requests.iter().cycle();
    bencher.bench_local(|| table.find(black_box(next.next().expect("endless"))));
}

/// The same requests where every route is a template.
#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn route_of_templates(bencher: Bencher<'_, '_>, count: usize) {
    let templates = routes(count)
        .into_iter()
        .enumerate()
        .map(|(at, route)| RouteMatch {
            path: Some(template(&format!("/{{kind}}/v{}/items/{{id}}", at % 10))),
            ..route
        });
    let table = RouteTable::new(&templates.collect::<Vec<_>>());
    let requests = requests(count);
    let mut next = requests.iter().cycle();
    bencher.bench_local(|| {
        let found = table.find(black_box(next.next().expect("endless")));
        assert!(found.is_some());
    });
}

fn template(text: &str) -> PathMatch {
    PathMatch::Template(Arc::new(Template::new(text).expect("a template")))
}

/// One route at one place, for each condition that it may have: what `find` costs in all.
#[divan::bench(args = CONDITIONS, sample_count = 50, sample_size = 10_000)]
fn condition(bencher: Bencher<'_, '_>, name: &str) {
    let table = RouteTable::new(&[conditional(name)]);
    let asked = meeting();
    assert!(table.find(&asked).is_some(), "{name}");
    bencher.bench_local(|| table.find(black_box(&asked)));
}

#[divan::bench]
fn view(bencher: Bencher<'_, '_>) {
    let world = world(Vec::new());
    let (wanted, observed) = world.live.upstream(UPSTREAM);
    let ask = Ask::new(RegionSet::ALL, world.now);
    bencher.bench_local(|| {
        View::of(black_box(wanted), observed, &ask.tried_endpoints, ask.turn)
            .rows
            .len()
    });
}

#[divan::bench]
fn steer(bencher: Bencher<'_, '_>) {
    let world = world(Vec::new());
    let (wanted, observed) = world.live.upstream(UPSTREAM);
    let ask = Ask::new(RegionSet::ALL, world.now);
    let view = View::of(wanted, observed, &ask.tried_endpoints, ask.turn);
    let mut rng = Rng::with_seed(1);
    bencher.bench_local(|| steer::decide(black_box(&view), &ask.eligibility(), &mut rng));
}

/// The argument is how many of the hundred endpoints are down.
#[divan::bench(args = [0, 50, 95])]
fn balance(bencher: Bencher<'_, '_>, down: usize) {
    let world = world(Vec::new());
    let (set, region) = (world.set(0), &world.live.upstreams[0].regions[0].cell);
    for endpoint in &set.endpoints[..down] {
        endpoint.cell.set_health(Health::Unhealthy);
    }
    let mut rng = Rng::with_seed(1);
    bencher.bench_local(|| {
        let seek = balance::Seek {
            barred: balance::Barred::default(),
            hash: None,
            named: None,
            region,
            now: black_box(world.now),
        };
        balance::pick(&set, &seek, &mut rng)
    });
}

/// The whole decision of a first attempt: route, view, steering, balancing.
#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn whole(bencher: Bencher<'_, '_>, count: usize) {
    decide_all(bencher, count, &requests(count));
}

/// The same where a hundred routes have all the traffic.
#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn whole_of_few(bencher: Bencher<'_, '_>, count: usize) {
    decide_all(bencher, count, &requests_of_few(count));
}

fn decide_all(bencher: Bencher<'_, '_>, count: usize, requests: &[Asked]) {
    let world = world(routes(count));
    let mut next = requests.iter().cycle();
    let mut rng = Rng::with_seed(1);
    bencher.bench_local(|| {
        let route = world
            .live
            .plan
            .table
            .find(black_box(next.next().expect("endless")));
        let ask = Ask::new(
            world.live.plan.route(route.expect("all match")).allowed,
            world.now,
        );
        choose(world.live.upstream(UPSTREAM), &ask, &mut rng)
            .1
            .map(|choice| choice.at)
    });
}

/// The whole decision for each way to steer, at 1,000 routes and 8 regions of 100 endpoints.
#[divan::bench(args = support::STEERINGS, sample_count = 50, sample_size = 10_000)]
fn steering(bencher: Bencher<'_, '_>, name: &str) {
    let world = support::steered(name, 100, routes(1_000));
    let requests = requests(1_000);
    let mut next = requests.iter().cycle();
    let (mut rng, mut number) = (Rng::with_seed(1), 0);
    bencher.bench_local(|| {
        number += 1;
        let table = &world.live.plan.table;
        let route = table.find(black_box(next.next().expect("endless")));
        let mut ask = support::asked(name, &world, number);
        ask.allowed = world.live.plan.route(route.expect("all match")).allowed;
        choose(world.live.upstream(UPSTREAM), &ask, &mut rng)
            .1
            .map(|choice| choice.at)
    });
}

/// One decision without a route, for each policy, at 8 regions of 100 endpoints: with nothing under way
/// and the hash of its own request.
#[divan::bench(args = POLICIES, sample_count = 50, sample_size = 10_000)]
fn policy(bencher: Bencher<'_, '_>, policy: &str) {
    decide(bencher, policy, None);
}

/// The same with every other endpoint down in each region.
#[divan::bench(args = POLICIES, sample_count = 50, sample_size = 10_000)]
fn policy_half_down(bencher: Bencher<'_, '_>, policy: &str) {
    decide(bencher, policy, Some(2));
}

/// The names of [`support::policies`]; `+` is with a bound on load.
const POLICIES: [&str; 8] = [
    "peak_ewma",
    "least_request",
    "round_robin",
    "random",
    "ring_hash",
    "ring_hash+",
    "maglev",
    "maglev+",
];

fn named(policy: &str) -> Balance {
    let at = POLICIES.iter().position(|name| *name == policy);
    support::policies()[at.expect("one of them")].clone()
}

fn decide(bencher: Bencher<'_, '_>, policy: &str, every: Option<usize>) {
    let balance = |upstream: &mut Upstream| upstream.balance = named(policy);
    let world = World::changed(latency(10), &[100; 8], balance);
    world.measure(&ROUND_TRIPS);
    for region in 0..8 {
        let set = world.set(region);
        let down = every.map(|every| set.endpoints.iter().step_by(every));
        for endpoint in down.into_iter().flatten() {
            endpoint.cell.set_health(Health::Unhealthy);
        }
    }
    let hashes = named(policy).hashing().is_some();
    let (mut rng, mut key) = (Rng::with_seed(1), 0u64);
    bencher.bench_local(|| {
        key += 1;
        let mut ask = Ask::new(RegionSet::ALL, black_box(world.now));
        ask.hash = hashes.then(|| xxh64(0, &key.to_le_bytes()));
        choose(world.live.upstream(UPSTREAM), &ask, &mut rng)
            .1
            .map(|choice| choice.at)
    });
}

/// One hot key and a bound on load: everything that is under way has it, and its endpoint is full.
#[divan::bench(args = ["ring_hash+", "maglev+"])]
fn policy_hot_key(bencher: Bencher<'_, '_>, policy: &str) {
    let balance = |upstream: &mut Upstream| upstream.balance = named(policy);
    let world = World::changed(latency(10), &[100; 8], balance);
    world.measure(&ROUND_TRIPS);
    let mut rng = Rng::with_seed(1);
    let mut ask = Ask::new(RegionSet::ALL, world.now);
    ask.hash = Some(4_711);
    let begin = |rng: &mut Rng| {
        let choice = choose(world.live.upstream(UPSTREAM), &ask, rng).1;
        choice.map(|choice| choice.begin(&world.live.upstreams[0]))
    };
    let guards: Vec<_> = (0..1_000).map(|_| begin(&mut rng)).collect();
    bencher.bench_local(|| {
        choose(world.live.upstream(UPSTREAM), black_box(&ask), &mut rng)
            .1
            .map(|choice| choice.at)
    });
    drop(guards);
}

/// What a change of the set costs, for each policy that needs a table: the argument is the number of
/// endpoints.
#[divan::bench(args = [100, 1_000], sample_count = 20, sample_size = 1)]
fn rebuild_ring_hash(bencher: Bencher<'_, '_>, endpoints: usize) {
    rebuild(bencher, "ring_hash", endpoints);
}

#[divan::bench(args = [100, 1_000], sample_count = 20, sample_size = 1)]
fn rebuild_maglev(bencher: Bencher<'_, '_>, endpoints: usize) {
    rebuild(bencher, "maglev", endpoints);
}

#[divan::bench(args = [100, 1_000], sample_count = 20, sample_size = 1)]
fn rebuild_round_robin(bencher: Bencher<'_, '_>, endpoints: usize) {
    rebuild(bencher, "round_robin", endpoints);
}

fn rebuild(bencher: Bencher<'_, '_>, policy: &str, endpoints: usize) {
    let balance = named(policy);
    let members = World::new(latency(10), &[endpoints])
        .set(0)
        .endpoints
        .clone();
    bencher
        .with_inputs(|| members.clone())
        .bench_local_values(|members| EndpointSet::new(1, members, &balance));
}

/// Reading and hashing what decides: a cookie among others.
#[divan::bench]
fn hash_of_a_cookie(bencher: Bencher<'_, '_>) {
    let line = "theme=dark; lang=en; session=5f2c9e1ab37d4c50a1; consent=1";
    let asked = Asked {
        method: Method::GET,
        host: String::new(),
        path: "/".to_owned(),
        headers: vec![(http::header::COOKIE, line.to_owned())],
    };
    let hashing = Hashing {
        on: [HashKey::Cookie("session".into())].into(),
        balance_factor: None,
    };
    bencher.bench_local(|| hashing.of(black_box(&asked)).map(|hashed| hashed.hash));
}

/// A whole choice of an attempt, as it is made for a request of which nothing is recorded.
#[divan::bench]
fn chosen(bencher: Bencher<'_, '_>) {
    let world = world(Vec::new());
    let ask = Ask::new(RegionSet::ALL, world.now);
    let mut rng = Rng::with_seed(1);
    bencher.bench_local(|| choose(black_box(world.live.upstream(UPSTREAM)), &ask, &mut rng).1);
}

/// The same with what it is made of.
#[divan::bench]
fn chosen_and_noted(bencher: Bencher<'_, '_>) {
    let world = world(Vec::new());
    let ask = Ask::new(RegionSet::ALL, world.now);
    let mut rng = Rng::with_seed(1);
    bencher.bench_local(|| look(black_box(world.live.upstream(UPSTREAM)), &ask, &mut rng).2);
}

/// A decision made again of its record.
#[divan::bench]
fn made_again(bencher: Bencher<'_, '_>) {
    let world = world(vec![RouteMatch::default()]);
    let ask = Ask::new(RegionSet::ALL, world.now);
    let upstream = world.live.upstream(UPSTREAM);
    let (_, _, looked) = look(upstream, &ask, &mut Rng::with_seed(1));
    let record = support::record(&world, vec![looked]);
    bencher.bench_local(|| replay(black_box(&record), &world.live.plan).same);
}
