//! Zones and degraded endpoints: near and healthy first, as far as they suffice; and nothing that gets
//! worse gets more.

use std::time::Duration;

use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::balance::{self, Barred, Preference, Seek};
use tidegate_core::cell::{InFlight, Outcome};
use tidegate_core::hash::xxh64;
use tidegate_core::limits::Room;
use tidegate_core::plan::{Balance, Prequal, TableSize};
use tidegate_core::{Dial, Endpoint, EndpointSet, Health};

use crate::support::{World, latency, policies};

const PICKS: u32 = 8_000;

/// Every policy, with small rings and tables, which are made in no time.
fn every_policy() -> Vec<Balance> {
    let mut policies = policies().to_vec();
    for balance in &mut policies {
        match balance {
            Balance::RingHash(policy) => policy.maximum_ring_size = 4_096,
            Balance::Maglev(policy) => policy.table_size = TableSize::new(2_003).expect("a prime"),
            _ => {}
        }
    }
    policies.push(Balance::Prequal(Prequal::new("/")));
    policies
}

/// Endpoints of weight 1 in these zones, `-` being none, best zone `a`, then `b`.
fn zoned(world: &World, balance: &Balance, zones: &str) -> EndpointSet {
    let members = world.set(0).endpoints.to_vec();
    let place = |(endpoint, zone): (Endpoint, char)| Endpoint {
        zone: (zone != '-').then(|| zone.to_string().into()),
        ..endpoint
    };
    let members: Vec<_> = members.into_iter().zip(zones.chars()).map(place).collect();
    let preference = Preference {
        balance: balance.clone(),
        zones: ["a".into(), "b".into()].into(),
    };
    EndpointSet::new(1, members.into(), preference)
}

/// How often each is picked, in the order of the set.
fn picks(world: &World, set: &EndpointSet, barred: &Barred) -> Vec<u32> {
    let (mut rng, mut counts) = (Rng::with_seed(7), vec![0; set.endpoints.len()]);
    let region = &world.live.upstreams[0].regions[0].cell;
    for key in 0..PICKS {
        let seek = Seek {
            barred: *barred,
            hash: set
                .balance()
                .hashing()
                .map(|_| xxh64(0, &key.to_le_bytes())),
            named: None,
            region,
            now: world.now,
        };
        if let Some(picked) = balance::pick(set, &seek, &mut rng) {
            set.taken(picked);
            counts[picked.at] += 1;
        }
    }
    counts
}

/// By zone, in percent: of endpoints in zones with such health (`h`, `d`, `u`) this is what each zone
/// gets.
fn check(zones: &str, health: &str, expected: &[(&str, u32)]) {
    for balance in every_policy() {
        let world = World::new(latency(0), &[zones.len()]);
        let set = zoned(&world, &balance, zones);
        let mut order: Vec<usize> = (0..zones.len()).collect();
        order.sort_by_key(|at| match zones.as_bytes()[*at] {
            b'a' => 0,
            b'b' => 1,
            _ => 2,
        });
        for (endpoint, at) in set.endpoints.iter().zip(order) {
            endpoint.cell.set_health(match health.as_bytes()[at] {
                b'h' => Health::Healthy,
                b'd' => Health::Degraded,
                _ => Health::Unhealthy,
            });
        }
        let counts = picks(&world, &set, &Barred::default());
        for (zone, percent) in expected {
            let of = |endpoint: &Endpoint| endpoint.zone.as_deref().unwrap_or("-") == *zone;
            let zone_counts = set.endpoints.iter().zip(&counts);
            let got: u32 = zone_counts
                .filter(|(endpoint, _)| of(endpoint))
                .map(|(_, count)| count)
                .sum();
            let off = (f64::from(got) / f64::from(PICKS) * 100.0 - f64::from(*percent)).abs();
            let word = balance.as_str();
            assert!(off < 3.0, "{word} {zones} {health}: {zone} {counts:?}");
        }
    }
}

#[test]
fn the_nearest_zone_takes_what_it_can_carry() {
    check("aabb--", "hhhhhh", &[("a", 100), ("b", 0), ("-", 0)]);
    // Half of the first zone, overprovisioned, carries 70 %.
    check("b-aba-", "hhuhhh", &[("a", 70), ("b", 30), ("-", 0)]);
    check("aabb--", "uuhhhh", &[("a", 0), ("b", 100), ("-", 0)]);
    check("aabb--", "uuuuhh", &[("a", 0), ("b", 0), ("-", 100)]);
    // A zone of half the size takes 70 % of what the first one was to take.
    check("aab---", "uuhhhh", &[("a", 0), ("b", 70), ("-", 30)]);
    check("--", "hh", &[("-", 100)]);
}

#[test]
fn who_is_degraded_serves_once_the_healthy_do_not_suffice() {
    // Named by zones so that they can be told apart: 5 of 6, then 2 of 6 that are well.
    for (health, expected) in [("hhhhhd", 0.0), ("hhdddd", 1.0 - 0.4667), ("dddddd", 1.0)] {
        for balance in every_policy() {
            let world = World::new(latency(0), &[6]);
            let set = EndpointSet::new(1, world.set(0).endpoints.clone(), &balance);
            for (endpoint, health) in set.endpoints.iter().zip(health.bytes()) {
                endpoint.cell.set_health(match health {
                    b'h' => Health::Healthy,
                    _ => Health::Degraded,
                });
            }
            let counts = picks(&world, &set, &Barred::default());
            let degraded = counts.iter().zip(health.bytes());
            let degraded: u32 = degraded
                .filter(|(_, health)| *health == b'd')
                .map(|(count, _)| count)
                .sum();
            let got = f64::from(degraded) / f64::from(PICKS);
            let word = balance.as_str();
            // Where a ring's points lie is luck.
            let within = if word == "ring_hash" { 0.12 } else { 0.05 };
            assert!(
                (got - expected).abs() < within,
                "{word} {health}: {counts:?}"
            );
        }
    }
}

#[test]
fn another_zone_is_there_when_the_nearest_is_tried_or_full() {
    for balance in every_policy() {
        let world = World::new(latency(0), &[4]);
        let set = zoned(&world, &balance, "aab-");
        let mut barred = Barred::default();
        [0, 1].into_iter().for_each(|at| barred.tried.insert(at));
        let counts = picks(&world, &set, &barred);
        assert_eq!(counts, [0, 0, PICKS, 0], "{}", balance.as_str());
        barred.tried.insert(2);
        assert_eq!(picks(&world, &set, &barred), [0, 0, 0, PICKS]);
        barred.tried.insert(3);
        assert_eq!(picks(&world, &set, &barred), [0; 4]);
    }
}

#[test]
fn a_key_moves_to_another_zone_only_if_its_zone_lacks_something() {
    for balance in every_policy().iter().filter(|one| one.hashing().is_some()) {
        let world = World::new(latency(0), &[12]);
        let set = zoned(&world, balance, "aaaaaaaabbbb");
        let homes = || {
            let region = &world.live.upstreams[0].regions[0].cell;
            let home = |key: u64| {
                let seek = Seek {
                    barred: Barred::default(),
                    hash: Some(xxh64(0, &key.to_le_bytes())),
                    named: None,
                    region,
                    now: world.now,
                };
                balance::pick(&set, &seek, &mut Rng::with_seed(key))
                    .expect("open")
                    .at
            };
            (0..4_000).map(home).collect::<Vec<_>>()
        };
        let before = homes();
        set.endpoints[3].cell.set_health(Health::Unhealthy);
        // 7 of 8 suffice: the other keys of the zone stay where they are.
        let moved = |after: &[usize]| {
            let pairs = before.iter().zip(after);
            pairs.filter(|(was, is)| was != is && **was != 3).count()
        };
        assert_eq!(moved(&homes()), 0, "{}", balance.as_str());
        for endpoint in &set.endpoints[..4] {
            endpoint.cell.set_health(Health::Unhealthy);
        }
        let after = homes();
        let spilled = after.iter().filter(|at| **at >= 8).count();
        assert!((1_050..1_350).contains(&spilled), "30 % spill: {spilled}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn worse_health_never_attracts_more(
        others in vec((1..4u32, 0..3usize, 0..3usize), 1..8),
        weight in 1..4u32,
    ) {
        const HEALTH: [Health; 3] = [Health::Healthy, Health::Degraded, Health::Unhealthy];
        let world = World::new(latency(0), &[others.len() + 1]);
        let preference = |balance: &Balance| Preference {
            balance: balance.clone(),
            zones: ["0".into(), "1".into()].into(),
        };
        let mut members = world.set(0).endpoints.to_vec();
        members[0].weight = weight;
        members[0].zone = Some("0".into());
        for (endpoint, (weight, health, zone)) in members[1..].iter_mut().zip(&others) {
            endpoint.weight = *weight;
            endpoint.zone = Some(zone.to_string().into());
            endpoint.cell.set_health(HEALTH[*health]);
        }
        let who = members[0].address.clone();
        // A ring's luck is the same before and after, so it needs no allowance.
        for balance in every_policy() {
            let set = EndpointSet::new(1, members.clone().into(), preference(&balance));
            let at = set.endpoints.iter().position(|one| one.address == who).expect("there");
            let gets = HEALTH.map(|health| {
                set.endpoints[at].cell.set_health(health);
                f64::from(picks(&world, &set, &Barred::default())[at])
            });
            let chance = 6.0 * (f64::from(PICKS) / 4.0).sqrt();
            let worse = gets.windows(2).all(|pair| pair[1] <= pair[0] + chance);
            prop_assert!(worse && gets[2] == 0.0, "{balance:?} {gets:?} {others:?}");
        }
    }

    #[test]
    fn room_is_found_if_and_only_if_there_is_some(
        endpoints in vec((0..5usize, 0..3u32, 0..=2u32), 0..40),
        tried in vec(0..40usize, 0..16),
        steps in vec((0..40usize, 0..5usize), 0..8),
        any_health: bool,
        bounded: bool,
    ) {
        let world = World::new(latency(0), &[endpoints.len()]);
        let (set, region) = (world.set(0), &world.live.upstreams[0].regions[0].cell);
        let mut guards = Vec::new();
        for (endpoint, (health, under_way, part)) in set.endpoints.iter().zip(&endpoints) {
            endpoint.cell.set_health(Health::ALL[*health]);
            endpoint.cell.set_share(Dial::new(f64::from(*part) / 2.0));
            endpoint.cell.record(Outcome::Answered(Duration::from_millis(1)), world.now);
            guards.extend((0..*under_way).map(|_| {
                InFlight::begin(endpoint.cell.clone(), region.clone())
            }));
        }
        let breaker = tidegate_core::plan::CircuitBreaker {
            endpoint: tidegate_core::plan::Limits {
                max_requests: bounded.then_some(2),
                ..Default::default()
            },
            ..Default::default()
        };
        let turn = tidegate_core::limits::Turn::First;
        let mut barred = Barred {
            any_health,
            bound: tidegate_core::limits::Bounds::of(&breaker, turn).endpoint,
            ..Barred::default()
        };
        tried.iter().for_each(|&at| barred.tried.insert(at));
        // Whatever changes in between is known at once.
        for (at, health) in std::iter::once((0, 1)).chain(steps) {
            if let Some(endpoint) = set.endpoints.get(at) {
                endpoint.cell.set_health(Health::ALL[health]);
            }
            let rooms = (0..endpoints.len()).map(|at| set.room(at, &barred));
            let expected = rooms.max().unwrap_or(Room::Closed);
            let found = set.any_room(&barred);
            prop_assert_eq!(found, expected);
        }
    }
}
