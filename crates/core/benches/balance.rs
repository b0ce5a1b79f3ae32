//! What endpoints cost a decision that are not all alike: zones, degraded ones, those that are down, a
//! pool of probes; and what a change of somebody's health costs the first decision after it.

use std::time::Duration;

use divan::{AllocProfiler, Bencher, black_box};
use fastrand::Rng;
use tidegate_core::balance::prequal::Told;
use tidegate_core::balance::{self, Barred, Preference, Seek};
use tidegate_core::plan::{Balance, Prequal};
use tidegate_core::{EndpointSet, Health};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{World, latency, ring_hash};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ENDPOINTS: usize = 100;

fn main() {
    divan::main();
}

/// A hundred endpoints in so many zones.
fn set(world: &World, balance: &Balance, zones: usize) -> EndpointSet {
    let mut members = world.set(0).endpoints.to_vec();
    for (at, endpoint) in members.iter_mut().enumerate() {
        endpoint.zone = Some((at % zones).to_string().into());
    }
    let named = (0..zones).map(|zone| zone.to_string().into());
    let preference = Preference {
        balance: balance.clone(),
        zones: named.filter(|_| zones > 1).collect(),
    };
    EndpointSet::new(1, members.into(), preference)
}

fn bench_picks(bencher: Bencher<'_, '_>, world: &World, set: &EndpointSet) {
    let region = &world.live.upstreams[0].regions[0].cell;
    let (mut rng, mut key) = (Rng::with_seed(1), 0u64);
    bencher.bench_local(|| {
        key = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let seek = Seek {
            barred: Barred::default(),
            hash: set.balance().hashing().map(|_| key),
            named: None,
            region,
            now: black_box(world.now),
        };
        balance::pick(set, &seek, &mut rng)
    });
}

#[divan::bench(args = [1, 3], sample_size = 1_000)]
fn zones_of_peak_ewma(bencher: Bencher<'_, '_>, zones: usize) {
    let world = World::new(latency(0), &[ENDPOINTS]);
    bench_picks(bencher, &world, &set(&world, &Balance::PeakEwma, zones));
}

#[divan::bench(args = [1, 3], sample_size = 1_000)]
fn zones_of_ring_hash(bencher: Bencher<'_, '_>, zones: usize) {
    let world = World::new(latency(0), &[ENDPOINTS]);
    bench_picks(bencher, &world, &set(&world, &ring_hash(None), zones));
}

/// The argument is how many are degraded.
#[divan::bench(args = [0, 10, 60], sample_size = 1_000)]
fn degraded(bencher: Bencher<'_, '_>, count: usize) {
    let world = World::new(latency(0), &[ENDPOINTS]);
    let set = set(&world, &Balance::PeakEwma, 1);
    for endpoint in &set.endpoints[..count] {
        endpoint.cell.set_health(Health::Degraded);
    }
    bench_picks(bencher, &world, &set);
}

/// The argument is how many that stand first are down.
#[divan::bench(args = [0, 50, 95, 100], sample_size = 1_000)]
fn room(bencher: Bencher<'_, '_>, down: usize) {
    let world = World::new(latency(0), &[ENDPOINTS]);
    let set = set(&world, &Balance::PeakEwma, 1);
    for endpoint in &set.endpoints[..down] {
        endpoint.cell.set_health(Health::Unhealthy);
    }
    let barred = Barred::default();
    bencher.bench_local(|| set.any_room(black_box(&barred)));
}

#[divan::bench(sample_size = 1_000)]
fn after_a_change(bencher: Bencher<'_, '_>) {
    let world = World::new(latency(0), &[ENDPOINTS]);
    let set = set(&world, &Balance::PeakEwma, 1);
    let (barred, mut ejected) = (Barred::default(), false);
    bencher.bench_local(|| {
        ejected = !ejected;
        set.endpoints[7].cell.set_ejected(ejected);
        set.any_room(black_box(&barred))
    });
}

#[divan::bench(sample_size = 1_000)]
fn prequal(bencher: Bencher<'_, '_>) {
    let world = World::new(latency(0), &[ENDPOINTS]);
    let set = set(&world, &Balance::Prequal(Prequal::new("/")), 1);
    for at in 0..16 {
        let told = Told {
            in_flight: Some(at as u32),
            latency: Some(Duration::from_millis(20)),
        };
        set.probed(at, Some(told), 0.0, world.now);
    }
    bench_picks(bencher, &world, &set);
}
