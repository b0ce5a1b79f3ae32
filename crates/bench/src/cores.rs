//! The dimension `cores`: one and two worker threads on a machine of two cores, the load beside them.
//!
//! As on a small machine, proxy, load and upstream share both cores here; one worker has core 0 to
//! choose from, two have both. Load and upstream need CPU too, so twice the throughput is out of
//! reach for everybody: what counts is what a request costs then, and whether both workers work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::bench::{Bench, Heading};
use crate::cell::{Cell, SIZES, Transfer, Wire};
use crate::error::BenchError;
use crate::figures::Round;
use crate::load::{self, Form};
use crate::peer::{Kind, Peer, Process, Shape};
use crate::{LOAD_CORE, Options, PROXY_CORE, cpu, sample};

/// Connections of the load.
const CONNECTIONS: u32 = 64;

/// Requests of a measurement at 100 per cent, and before it as a share.
const REQUESTS: u64 = 60_000;
const WARM_UP: u64 = 10;

/// The others of a round: two workers' cost by one's, their throughputs and those by each other, and
/// how the CPU is shared between the two workers.
const ALSO: &[&str] = &[
    "x cost",
    "req/s one",
    "req/s two",
    "x req/s",
    "most %",
    "least %",
];

const fn cell(name: &'static str, wire: Wire, streams: u32) -> Cell {
    let transfer = Transfer::Down(SIZES[0]);
    Cell {
        name,
        wire,
        streams,
        transfer,
        h2c: false,
    }
}

/// Few streams: nginx keeps some 500 upstream connections, and all together must stay below.
const CELLS: [Cell; 2] = [
    cell("two cores, h1", Wire::H1, 1),
    cell("two cores, TLS h2 x 4", Wire::TlsH2, 4),
];

/// What one measurement has found.
struct Found {
    micros_each: f64,
    per_second: f64,
    /// CPU time of each thread.
    threads: Vec<Duration>,
}

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let chosen = |cell: &&Cell| cell.name.contains(&options.only);
    let cells: Vec<_> = CELLS.iter().filter(chosen).collect();
    if cells.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "CPU of the proxy per request, two worker threads";
    let mut bench = Bench::start("cores", what, options, &Kind::PROXIES, cells.len())?;
    free(bench.upstream.id())?;
    for cell in cells {
        let heading = Heading {
            cell: cell.name.to_owned(),
            unit: "us/req two",
            also: ALSO,
        };
        let able = |peer: &Peer| peer.speaks(cell.wire);
        let measure = async |bench: &Bench<'_>, peer: &Peer| round(bench, cell, peer).await;
        bench.cell(heading, able, measure).await?;
    }
    bench.finish()
}

/// Lets a process use both cores.
fn free(process: u32) -> Result<(), BenchError> {
    let mut cores = CpuSet::new();
    (PROXY_CORE..=LOAD_CORE).for_each(|core| cores.set(core as usize));
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let set = sched_setaffinity(process, &cores);
    set.map_err(|error| BenchError::io("the upstream's cores")(error.into()))
}

/// One proxy, with one worker and with two.
async fn round(bench: &Bench<'_>, cell: &Cell, peer: &Peer) -> Result<Round, BenchError> {
    let one = measure(bench, cell, peer, 1).await?;
    let two = measure(bench, cell, peer, 2).await?;
    let [most, least] = shares(two.threads);
    Ok(Round {
        value: two.micros_each,
        also: vec![
            two.micros_each / one.micros_each,
            one.per_second,
            two.per_second,
            two.per_second / one.per_second,
            most,
            least,
        ],
    })
}

async fn measure(
    bench: &Bench<'_>,
    cell: &Cell,
    peer: &Peer,
    threads: u32,
) -> Result<Found, BenchError> {
    let shape = Shape {
        threads,
        ..Shape::default()
    };
    let mut process = bench.launch(peer, &shape)?;
    sample::until_right(cell, &mut process, &bench.authority).await?;
    let requests = REQUESTS * bench.options.percent / 100;
    let [warm_up, requests] = [requests / WARM_UP, requests].map(|n| n.max(1_000));
    ask(bench, cell, &process, warm_up).await?;
    let before = cpu::by_thread(process.id())?;
    let per_second = ask(bench, cell, &process, requests).await?;
    let threads = used(&before, &cpu::by_thread(process.id())?);
    sample::must_be_right(cell, &process, &bench.authority).await?;
    let all: Duration = threads.iter().sum();
    Ok(Found {
        micros_each: all.as_secs_f64() * 1e6 / requests as f64,
        per_second,
        threads,
    })
}

/// Sends requests, checks that all are answered; how many a second.
async fn ask(
    bench: &Bench<'_>,
    cell: &Cell,
    process: &Process,
    requests: u64,
) -> Result<f64, BenchError> {
    let form = Form {
        cores: PROXY_CORE..=LOAD_CORE,
        connections: CONNECTIONS,
    };
    let target = process.address(cell.wire.is_tls());
    let before = bench.upstream.count().await?;
    // A download needs no file.
    let outcome = load::run_as(&form, cell, requests, target, Path::new("")).await?;
    let counted = bench.upstream.count().await?.saturating_sub(before);
    let miscounted =
        (counted != requests).then(|| format!("the upstream saw {counted} of {requests} requests"));
    if let Some(why) = outcome.fault(cell, requests).or(miscounted) {
        let (peer, cell) = (process.name(), cell.name);
        return Err(BenchError::Wrong { peer, cell, why });
    }
    Ok(outcome.per_second)
}

/// What each thread has used since `before`.
fn used(before: &BTreeMap<u32, Duration>, after: &BTreeMap<u32, Duration>) -> Vec<Duration> {
    let since = |(thread, time): (&u32, &Duration)| {
        let before = before.get(thread).copied().unwrap_or_default();
        time.saturating_sub(before)
    };
    after.iter().map(since).collect()
}

/// The two threads that worked most are the workers: the share of each in what both used, in per
/// cent. Halves when nobody worked.
fn shares(mut threads: Vec<Duration>) -> [f64; 2] {
    threads.sort();
    let [most, least] = [threads.pop(), threads.pop()].map(Option::unwrap_or_default);
    let all = (most + least).as_secs_f64();
    match all > 0.0 {
        true => [most, least].map(|time| 100.0 * time.as_secs_f64() / all),
        false => [50.0, 50.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn time_is_counted_from_the_start_of_the_measurement() {
        let before = BTreeMap::from([(1, ms(10)), (2, ms(5)), (9, ms(1))]);
        let after = BTreeMap::from([(1, ms(40)), (2, ms(5)), (3, ms(7))]);
        assert_eq!(used(&before, &after), [ms(30), ms(0), ms(7)]);
    }

    #[test]
    fn the_busiest_two_are_the_workers() {
        let table: [(&[u64], [f64; 2]); 4] = [
            (&[], [50.0, 50.0]),
            (&[20], [100.0, 0.0]),
            (&[1, 30, 10], [75.0, 25.0]),
            (&[20, 0, 20], [50.0, 50.0]),
        ];
        for (threads, expected) in table {
            let threads = threads.iter().map(|millis| ms(*millis)).collect();
            assert_eq!(shares(threads), expected);
        }
    }
}
