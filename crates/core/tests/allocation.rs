//! A decision allocates nothing: counted, not believed.

use std::hint::black_box;
use std::time::Duration;

use fastrand::Rng;
use http::Method;
use tidegate_core::budget::{Budget, Purse};
use tidegate_core::plan::{HashKey, Hashing, Hedge, HedgeAfter, HedgeTo};
use tidegate_core::route::{PathMatch, RouteMatch, RouteTable};
use tidegate_core::{
    Ask, Dial, Health, HedgeCell, RegionSet, RouteIdx, Standing, choose, reach, should_leave,
};

#[path = "support/counting.rs"]
mod counting;
#[path = "support/matching.rs"]
mod matching;
#[path = "support/mod.rs"]
mod support;

use counting::allocations;
use matching::{CONDITIONS, conditional, meeting};
use support::{Asked, UPSTREAM, World, latency};

#[test]
fn routing_steering_and_balancing_allocate_nothing() {
    let path = PathMatch::Prefix("/api/v1".into());
    let matches = RouteMatch {
        host: Some("*.example.com".into()),
        path: Some(path),
        ..RouteMatch::default()
    };
    let world = World::with_routes(latency(10), &[100; 8], vec![matches]);
    world.measure(&[10, 12, 15, 80, 90, 100, 160, 200]);
    let (host, path) = ("Shop.Example.COM.".to_owned(), "/api/v1/items/7".to_owned());
    let asked = Asked {
        method: Method::GET,
        host,
        path,
        headers: Vec::new(),
    };
    let mut rng = Rng::with_seed(1);
    let mut decide = || {
        let mut ask = Ask::new(RegionSet::ALL, world.now);
        ask.deadline = Some(world.now + Duration::from_secs(1));
        assert_eq!(world.live.plan.table.find(&asked), Some(RouteIdx(0)));
        for _ in 0..3 {
            let choice = choose(world.live.upstream(UPSTREAM), &ask, &mut rng)
                .1
                .expect("open");
            ask.tried(&choice);
            assert!(reach(world.live.upstream(UPSTREAM), &ask, choice.position).here);
            assert!(!should_leave(
                world.live.upstream(UPSTREAM),
                &ask,
                choice.position
            ));
        }
    };
    decide(); // The slots' first load registers the thread.
    assert_eq!(allocations(&mut decide), 0);
    put_in_doubt(&world);
    assert_eq!(allocations(decide), 0, "nor while regions come and go");
    let allocate = || drop(black_box(Box::new(black_box(1))));
    assert_eq!(allocations(allocate), 1, "the counter counts");
}

#[test]
fn no_condition_allocates() {
    let asked = meeting();
    for name in CONDITIONS {
        let table = RouteTable::new(&[conditional(name)]);
        let find = || assert_eq!(table.find(&asked), Some(RouteIdx(0)), "{name}");
        let first = allocations(find);
        let makes_scratch = name.ends_with("regex");
        assert!(first == 0 || makes_scratch, "{name}: {first} at first");
        for _ in 0..100 {
            assert_eq!(allocations(find), 0, "{name}");
        }
    }
}

#[test]
fn another_thread_has_scratch_of_its_own() {
    let (asked, table) = (meeting(), RouteTable::new(&[conditional("path regex")]));
    table.find(&asked);
    let elsewhere = || {
        table.find(&asked);
        allocations(|| assert!((0..100).all(|_| table.find(&asked).is_some())))
    };
    let allocated = std::thread::scope(|scope| scope.spawn(elsewhere).join().expect("it ends"));
    assert_eq!(allocated, 0);
}

#[test]
fn captures_allocate_nothing() {
    for name in ["template", "rest", "path regex"] {
        let route = conditional(name);
        let take = || {
            let captures = route.captures("/users/7/orders");
            assert_eq!(captures.len(), 1);
        };
        take();
        assert_eq!(allocations(take), 0, "{name}");
    }
}

#[test]
fn no_policy_allocates_for_a_decision() {
    for balance in support::policies() {
        let world = World::changed(latency(10), &[100; 3], |upstream| {
            upstream.balance = balance.clone();
        });
        let keys = Hashing {
            on: [HashKey::Cookie("user".into()), HashKey::Path].into(),
            balance_factor: None,
        };
        let asked = Asked {
            method: Method::GET,
            host: String::new(),
            path: "/a?b=c".to_owned(),
            headers: vec![(http::header::COOKIE, "a=b; user=7".to_owned())],
        };
        let mut rng = Rng::with_seed(1);
        let mut decide = || {
            let mut ask = Ask::new(RegionSet::ALL, world.now);
            ask.hash = keys.of(&asked).map(|hashed| hashed.hash);
            for _ in 0..3 {
                let choice = choose(world.live.upstream(UPSTREAM), &ask, &mut rng).1;
                let choice = choice.expect("open");
                ask.tried(&choice);
                drop(choice.begin(&world.live.upstreams[0]));
            }
        };
        decide();
        assert_eq!(allocations(&mut decide), 0, "{balance:?}");
        for region in 0..3 {
            for endpoint in &world.set(region).endpoints[4..] {
                endpoint.cell.set_health(Health::Unhealthy);
            }
        }
        put_in_doubt(&world);
        assert_eq!(allocations(decide), 0, "next to nothing open: {balance:?}");
    }
}

#[test]
fn no_steering_allocates_for_a_decision() {
    for name in support::STEERINGS {
        let world = support::steered(name, 20, Vec::new());
        let mut rng = Rng::with_seed(1);
        let mut decide = || {
            for number in 0..20 {
                let ask = support::asked(name, &world, number);
                let choice = choose(world.live.upstream(UPSTREAM), &ask, &mut rng).1;
                let choice = choice.expect("open");
                reach(world.live.upstream(UPSTREAM), &ask, choice.position);
            }
        };
        decide();
        assert_eq!(allocations(&mut decide), 0, "{name}");
        put_in_doubt(&world);
        assert_eq!(allocations(decide), 0, "in doubt: {name}");
    }
}

#[test]
fn hedging_allocates_nothing() {
    let now = std::time::Instant::now();
    let (cell, budget) = (HedgeCell::new(now), Budget::new(now));
    cell.configure(0.05);
    budget.configure(0.2, 1.0);
    let hedge = Hedge {
        after: HedgeAfter::Percentile(0.95),
        budget: 0.05,
        to: HedgeTo::Endpoint,
    };
    let allocated = allocations(|| {
        for n in 0..1_000 {
            let at = now + Duration::from_millis(50 * n);
            cell.deposit(at);
            cell.observe(Duration::from_millis(n), at);
            cell.delay(&hedge, at);
            cell.pay(&budget, Purse::CrossRegion, at);
        }
    });
    assert_eq!(allocated, 0);
}

/// Every way to stand that costs a decision more.
fn put_in_doubt(world: &World) {
    let healthy = Standing::full(Health::Healthy);
    let standings = [
        Standing {
            dial: Dial::new(0.5),
            ..healthy
        },
        Standing {
            dial: Dial::new(0.5),
            probation: true,
            ..healthy
        },
        Standing {
            suspected: true,
            ..healthy
        },
    ];
    let regions = &world.live.upstreams[0].regions;
    for (region, standing) in regions.iter().zip(standings) {
        region.cell.set_standing(standing);
        for endpoint in &region.endpoints.load().endpoints {
            endpoint.cell.set_share(Dial::new(0.1));
        }
    }
}
