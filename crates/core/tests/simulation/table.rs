//! What `make sim` prints: what it takes to find out each kind of fault, what clients see of it
//! meanwhile, and how often somebody is suspected for nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kind::{DISTURBANCES, Kind, OUTAGES, RESCUES};
use crate::ledger::Ledger;
use crate::scenario::{Scale, Scenario};
use crate::{live, replay_line, seeds, times};

/// Seeds for each kind of outage, unless `TIDEGATE_SIM_SEEDS` says otherwise. Disturbances last longer
/// and get as many.
const SEEDS: u64 = 100;
const WEEK_S: f64 = 7.0 * 24.0 * 3600.0;

pub(crate) fn print() {
    let seeds = seeds(SEEDS);
    let began = Instant::now();
    println!("\n{seeds} seeds of each kind, at the times that are the configuration's defaults.\n");
    outages(seeds);
    disturbances(seeds);
    rescues(seeds);
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
}

fn outages(seeds: u64) {
    println!(
        "A region fails for 20 s (flapping: 60 s). Seconds after that begins until it is avoided"
    );
    println!(
        "and until it is out, and after that ends until it has its share: p50 / p99 / max. Of a"
    );
    println!(
        "world's requests: failed, so that the client saw it; lost, of those, what was safe to"
    );
    println!("repeat and not answered with 500; late, answered after more than a second.");
    let titles =
        ["missed", "requests", "failed", "lost", "late"].map(|title| format!("{title:>10}"));
    let [missed, counts @ ..] = titles;
    let [avoided, out] = ["avoided", "out"].map(|title| format!("{title:>22}"));
    let counts = counts.concat();
    println!(
        "\n  {:<17}{avoided}{out}{missed}{counts}{:>24}",
        "fault", "whole share"
    );
    for kind in OUTAGES {
        let worlds = lived(kind, seeds);
        println!("  {:<17}{}", kind.word(), outage(kind, &worlds));
        tell_broken(kind, &worlds);
    }
}

fn outage(kind: Kind, worlds: &[Ledger]) -> String {
    let since = |from: Duration, at: fn(&Ledger) -> Option<Duration>| {
        let times = worlds.iter().filter_map(at);
        let mut times: Vec<_> = times.map(|time| time.saturating_sub(from)).collect();
        times.sort();
        quantiles(&times)
    };
    let mean = |count: fn(&Ledger) -> u64| {
        worlds.iter().map(count).sum::<u64>() as f64 / worlds.len() as f64
    };
    let unseen = worlds.iter().filter(|world| world.noticed.is_none());
    let [avoided, out] = [
        since(kind.onset(), |world| world.noticed),
        since(kind.onset(), |world| world.down),
    ];
    let over = Scenario::new(0, kind, Scale::True).over();
    format!(
        "{avoided:>22}{out:>22}{:>10}{:>10.0}{:>10.1}{:>10.2}{:>10.1}{:>24}",
        unseen.count(),
        mean(|world| world.requests),
        mean(Ledger::failures),
        mean(|world| world.repeatable_lost),
        mean(|world| world.late),
        since(over, |world| world.whole),
    )
}

fn disturbances(seeds: u64) {
    println!("\nNo region is at fault. Alarms a week of virtual time.");
    let titles = ["hours", "requests", "suspected", "out", "degraded"];
    let titles = titles.map(|title| format!("{title:>12}")).concat();
    println!("\n  {:<17}{titles}", "disturbance");
    for kind in DISTURBANCES {
        let worlds = lived(kind, seeds);
        println!("  {:<17}{}", kind.word(), disturbance(kind, &worlds));
        tell_broken(kind, &worlds);
    }
}

fn disturbance(kind: Kind, worlds: &[Ledger]) -> String {
    let length = Scenario::new(0, kind, Scale::True).length;
    let lasted = length.as_secs_f64() * worlds.len() as f64;
    let requests: u64 = worlds.iter().map(|world| world.requests).sum();
    let alarms = worlds.iter().map(Ledger::alarms);
    let alarms = alarms.fold([0; 3], |sum, one| [0, 1, 2].map(|at| sum[at] + one[at]));
    let weekly = alarms.map(|count| format!("{:>12.1}", count as f64 * WEEK_S / lasted));
    format!("{:>12.1}{requests:>12}{}", lasted / 3600.0, weekly.concat())
}

fn rescues(seeds: u64) {
    println!(
        "\nRequests are moved, under load. Of a world's: attempts that were given up for another"
    );
    println!(
        "elsewhere, hedges of what was slow, bodies to be continued and those that were, requests"
    );
    println!(
        "lost although safe to repeat; attempts for a request in the worst window, on average and at"
    );
    println!(
        "most (2.2 and the reserves are allowed); and why the lost were lost. Unseen: nobody judges."
    );
    let titles = [
        "requests",
        "failed",
        "lost",
        "given up",
        "hedges",
        "broken off",
        "continued",
        "mean",
        "most",
    ];
    let titles = titles.map(|title| format!("{title:>11}")).concat();
    println!("\n  {:<19}{titles}", "what happens");
    for kind in RESCUES {
        let worlds = lived(kind, seeds);
        tell_broken(kind, &worlds);
        let (blind, seeing): (Vec<_>, Vec<_>) = worlds.into_iter().partition(|world| world.blind);
        for (worlds, how) in [(seeing, ""), (blind, ", unseen")] {
            if !worlds.is_empty() {
                let word = format!("{}{how}", kind.word());
                println!("  {word:<19}{}", rescue(&worlds));
            }
        }
    }
    let few = seeds.min(20);
    let tails = [false, true].map(|hedged| {
        let took = times(few, Scale::True, hedged);
        let at = |q: f64| took[(took.len() as f64 * q) as usize];
        format!("{} / {} / {}", at(0.5), at(0.95), at(0.99))
    });
    let [without, with] = tails;
    println!(
        "\nOf {few} worlds in which 3 % of the nearest region's answers take 40 times as long:"
    );
    println!("p50 / p95 / p99 {without} ms without hedges, {with} ms with them.");
}

fn rescue(worlds: &[Ledger]) -> String {
    let many = worlds.len() as f64;
    let mean = |count: fn(&Ledger) -> u64| {
        let sum = worlds.iter().map(count).sum::<u64>();
        format!("{:>11.1}", sum as f64 / many)
    };
    let counts = [
        mean(|world| world.requests),
        mean(Ledger::failures),
        mean(|world| world.repeatable_lost),
        mean(|world| world.redispatches),
        mean(|world| world.hedges),
        mean(|world| world.resumes),
        mean(|world| world.resumed),
    ];
    let most = worlds.iter().map(|world| world.most);
    let average = most.clone().sum::<f64>() / many;
    let most = most.fold(0.0, f64::max);
    let mut unsaved = BTreeMap::new();
    for (why, count) in worlds.iter().flat_map(|world| &world.unsaved) {
        *unsaved.entry(why).or_insert(0.0) += *count as f64 / many;
    }
    let unsaved = unsaved
        .iter()
        .map(|(why, count)| format!(" {why} {count:.1}"));
    let unsaved: String = unsaved.collect();
    format!("{}{average:>11.2}{most:>11.2} {unsaved}", counts.concat())
}

fn tell_broken(kind: Kind, worlds: &[Ledger]) {
    let broken: Vec<_> = worlds
        .iter()
        .filter(|world| !world.broken.is_empty())
        .collect();
    if let Some(first) = broken.first() {
        let (worlds, promise) = (broken.len(), &first.broken[0]);
        println!("    broken in {worlds} worlds: {promise}");
        println!("    {}", replay_line(first.seed, kind, Scale::True));
    }
}

/// Every seed of a kind, on all processors; in no order.
fn lived(kind: Kind, seeds: u64) -> Vec<Ledger> {
    let (next, worlds) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            return;
        }
        let ledger = live(seed, kind, Scale::True);
        worlds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(ledger);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    worlds.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn quantiles(sorted: &[Duration]) -> String {
    let at = |q: f64| sorted.get(((sorted.len() as f64 * q).ceil() as usize).max(1) - 1);
    let told = [at(0.5), at(0.99), sorted.last()];
    let told =
        told.map(|time| time.map_or("-".into(), |time| format!("{:.2}", time.as_secs_f64())));
    told.join(" / ")
}
