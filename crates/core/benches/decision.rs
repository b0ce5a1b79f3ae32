//! What a decision costs: route, steering and balancing, alone and together.
//!
//! The aim is below one microsecond and no allocation with 1,000 routes and 8 regions of 100
//! endpoints; the figures beside it show how that grows. The allocator counts, and a bench that
//! allocates says so in its column.

use divan::{AllocProfiler, Bencher, black_box};
use fastrand::Rng;
use http::Method;
use tidegate_core::route::{PathMatch, RouteMatch, RouteTable};
use tidegate_core::{Ask, Health, RegionSet, View, balance, choose, steer};

#[path = "../tests/support/mod.rs"]
mod support;

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
    let mut rng = Rng::with_seed(1);
    let request = |_| {
        let at = rng.usize(..count);
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
    let set = world.set(0);
    for endpoint in &set.endpoints[..down] {
        endpoint.cell.set_health(Health::Unhealthy);
    }
    let mut rng = Rng::with_seed(1);
    bencher.bench_local(|| {
        balance::pick(
            &set,
            &balance::Barred::default(),
            black_box(world.now),
            &mut rng,
        )
    });
}

/// The whole decision of a first attempt: route, view, steering, balancing.
#[divan::bench(args = ROUTES, sample_count = 50, sample_size = 10_000)]
fn whole(bencher: Bencher<'_, '_>, count: usize) {
    let world = world(routes(count));
    let requests = requests(count);
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
        choose(&world.live, UPSTREAM, &ask, &mut rng)
            .1
            .map(|choice| choice.at)
    });
}
