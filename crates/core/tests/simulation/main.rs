//! A seeded virtual world over the pure core: regions die in every way and come back, while requests
//! of every kind come in and the promises are watched at every step. No sockets and no sleeping.
//!
//! A seed that fails is printed with the line that replays it. `make sim` lives through far more of
//! them, at true times, and prints what it takes to find out each kind of fault.

mod clock;
mod kind;
mod ledger;
mod physics;
mod probes;
mod promises;
mod request;
mod requests;
mod rescue;
mod scenario;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod world;

use kind::{DISTURBANCES, Kind, OUTAGES, RESCUES};
use ledger::Ledger;
use scenario::{Scale, Scenario};
use world::World;

/// Seeds for each kind in every test run.
const SEEDS: u64 = 10;
/// As many are enough to see that something happens at all.
const FEW: u64 = 4;

/// As many seeds of each kind as `TIDEGATE_SIM_SEEDS` says.
fn seeds(usually: u64) -> u64 {
    let wanted = std::env::var("TIDEGATE_SIM_SEEDS").ok();
    wanted
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(usually)
}

/// Names the seed when its world panics.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// The line that lives through a seed again.
fn replay_line(seed: u64, kind: Kind, scale: Scale) -> String {
    let test = "cargo test -p tidegate-core --test simulation -- --ignored --nocapture replay";
    format!("replay it: TIDEGATE_SIM={kind:?}:{scale:?}:{seed} {test}")
}

fn live(seed: u64, kind: Kind, scale: Scale) -> Ledger {
    let named = Named(replay_line(seed, kind, scale));
    let ledger = World::new(Scenario::new(seed, kind, scale)).run();
    drop(named);
    ledger
}

fn check(kind: Kind) {
    for seed in 0..seeds(SEEDS) {
        let ledger = live(seed, kind, Scale::Small);
        let replay = replay_line(seed, kind, Scale::Small);
        let (broken, told) = (ledger.broken.first(), ledger.summary());
        assert_eq!(broken, None, "{told}\n{replay}");
        assert!(ledger.requests > 0, "nothing happened\n{replay}");
        if let Some(limit) = kind.avoided_within() {
            let avoided = ledger.noticed.is_some_and(|at| at <= kind.onset() + limit);
            assert!(avoided, "not avoided in time: {told}\n{replay}");
        }
        if kind.is_total() && !kind.is_double() || kind == Kind::DrainNow {
            assert_eq!(ledger.repeatable_lost, 0, "{told}\n{replay}");
        }
    }
}

#[test]
fn promises_hold_whatever_fails() {
    OUTAGES.into_iter().for_each(check);
}

#[test]
fn promises_hold_in_any_weather() {
    DISTURBANCES.into_iter().for_each(check);
}

#[test]
fn promises_hold_while_requests_are_moved() {
    RESCUES.into_iter().for_each(check);
}

/// What is done is really done, or the promises above would be kept by doing nothing.
#[test]
fn requests_are_moved_in_every_way() {
    for (kind, counts) in [
        (
            Kind::TwoRegionsDie,
            (|l| [l.redispatches, l.resumed, l.hedges]) as fn(&Ledger) -> [u64; 3],
        ),
        (Kind::DrainNow, |l| [l.redispatches; 3]),
    ] {
        let worlds = (0..FEW).map(|seed| live(seed, kind, Scale::Small));
        let sums = worlds.fold([0; 3], |sums: [u64; 3], ledger| {
            let more = counts(&ledger);
            [0, 1, 2].map(|at| sums[at] + more[at])
        });
        assert!(!sums.contains(&0), "{kind:?}: {sums:?}");
    }
}

/// How long answers took in worlds whose nearest region is slow now and then, in milliseconds, sorted.
fn times(seeds: u64, scale: Scale, hedged: bool) -> Vec<u32> {
    let worlds = (0..seeds).map(|seed| {
        let mut scenario = Scenario::new(seed, Kind::HedgedSlow, scale);
        scenario.hedge = scenario.hedge.filter(|_| hedged);
        World::new(scenario).run()
    });
    let mut took: Vec<_> = worlds.flat_map(|ledger| ledger.took).collect();
    took.sort();
    took
}

#[test]
fn hedges_cut_the_tail() {
    let [with, without] = [true, false].map(|hedged| {
        let took = times(FEW, Scale::Small, hedged);
        took[took.len() * 99 / 100]
    });
    assert!(
        with < without,
        "{with} ms with hedges, {without} ms without"
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let told = || {
        let ledger = live(1, Kind::BlackHole, Scale::Small);
        (
            ledger.story(),
            ledger.requests,
            ledger.attempts,
            ledger.seconds,
        )
    };
    assert_eq!(told(), told());
}

/// Lives through the seed that `TIDEGATE_SIM` names, and tells what the judge said.
#[test]
#[ignore = "replays one seed: TIDEGATE_SIM=<kind>:<Small|True>:<seed>"]
fn replay() {
    let named = std::env::var("TIDEGATE_SIM").expect("TIDEGATE_SIM names a seed");
    let parts: Vec<_> = named.split(':').collect();
    let [kind, scale, seed] = parts[..] else {
        panic!("TIDEGATE_SIM is <kind>:<Small|True>:<seed>, not {named}");
    };
    let mut kinds = OUTAGES.into_iter().chain(DISTURBANCES).chain(RESCUES);
    let kind = kinds
        .find(|known| format!("{known:?}") == kind)
        .expect("a kind");
    let scale = match scale {
        "True" => Scale::True,
        _ => Scale::Small,
    };
    let seed = seed.parse().expect("a seed");
    let scenario = Scenario::new(seed, kind, scale);
    println!("{scenario:#?}");
    let mut world = World::new(scenario);
    world.ledger.tell = true;
    let ledger = world.run();
    println!("{}\nbroken: {:?}", ledger.summary(), ledger.broken.first());
}

#[test]
#[ignore = "many seeds at true times: make sim"]
fn report() {
    table::print();
}
