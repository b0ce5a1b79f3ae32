//! The same world under Tidegate and under models of what else people run.

use std::time::Instant;

use crate::ledger::Ledger;
use crate::others::{Dns, Envoy};
use crate::pop::Tidegate;
use crate::scene::Scene;
use crate::steerer::Steerer;
use crate::world::World;

fn tidegate(scene: &Scene, pop: usize) -> (Box<dyn Steerer>, Instant) {
    let (tidegate, origin) = Tidegate::new(scene, &scene.pops[pop]);
    (Box::new(tidegate), origin)
}

fn envoy(scene: &Scene, pop: usize) -> (Box<dyn Steerer>, Instant) {
    (
        Box::new(Envoy::new(scene, &scene.pops[pop])),
        Instant::now(),
    )
}

fn dns(scene: &Scene, pop: usize) -> (Box<dyn Steerer>, Instant) {
    (Box::new(Dns::new(scene, &scene.pops[pop])), Instant::now())
}

/// What becomes of the world under Tidegate, Envoy and DNS.
pub(crate) fn all(scene: &Scene, seed: u64) -> [Ledger; 3] {
    [tidegate, envoy, dns].map(|steerer| World::new(scene, seed, steerer).run())
}

/// A table over so many seeds, as Markdown.
pub(crate) fn print(scene: &Scene, seeds: u64) {
    let runs: Vec<_> = (0..seeds).map(|seed| all(scene, seed)).collect();
    println!(
        "\n| {} seeds of the week | p50 ms | p99 ms | p99.9 ms | lost of a million | rescued of a million | region-seconds of overload |",
        seeds
    );
    println!("|---|---|---|---|---|---|---|");
    for (at, name) in [
        "Tidegate, `latency` with capacities",
        "Envoy's priorities (model)",
        "DNS by latency, TTL 60 s (model)",
    ]
    .iter()
    .enumerate()
    {
        let of = |figure: fn(&Ledger) -> f64| {
            runs.iter().map(|run| figure(&run[at])).sum::<f64>() / runs.len() as f64
        };
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} |",
            of(|ledger| f64::from(ledger.quantile(0.5))),
            of(|ledger| f64::from(ledger.quantile(0.99))),
            of(|ledger| f64::from(ledger.quantile(0.999))),
            of(|ledger| ledger.lost as f64 / ledger.requests as f64 * 1e6),
            of(|ledger| ledger.rescued as f64 / ledger.requests as f64 * 1e6),
            of(|ledger| ledger.overload(0) as f64),
        );
    }
}
