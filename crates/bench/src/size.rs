//! The dimension `size`: CPU per request by size of body and protocol.

use std::path::Path;

use crate::bench::{Bench, Heading};
use crate::cell::{Cell, KB, SIZE, Transfer};
use crate::error::BenchError;
use crate::figures::{self, Round};
use crate::load::{self, Outcome};
use crate::peer::{Kind, Peer, Process, Shape};
use crate::{Options, sample};

/// A round begins with this share of its requests that is not measured.
const WARM_UP: u64 = 10;

/// Turns of each proxy in a round of a short cell.
const TURNS: usize = 3;

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let cells: Vec<_> = SIZE
        .iter()
        .filter(|cell| cell.name.contains(&options.only))
        .collect();
    if cells.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "CPU of the proxy per request";
    let mut bench = Bench::start("size", what, options, &Kind::ALL, cells.len())?;
    let body = tempfile::NamedTempFile::new().map_err(BenchError::io("the body"))?;
    for cell in cells {
        std::fs::write(body.path(), cell.transfer.body()).map_err(BenchError::io("the body"))?;
        let heading = Heading {
            cell: cell.name.to_owned(),
            unit: "us/req",
            also: &["req/s"],
        };
        let able = |peer: &Peer| takes_part(peer.kind, cell);
        match cell.is_short() {
            true => {
                let measure = async |bench: &Bench<'_>, peers: &[Peer]| {
                    by_turns(bench, cell, peers, body.path()).await
                };
                bench.cell_by_turns(heading, able, measure).await?;
            }
            false => {
                let measure = async |bench: &Bench<'_>, peer: &Peer| {
                    round(bench, cell, peer, body.path()).await
                };
                bench.cell(heading, able, measure).await?;
            }
        }
    }
    bench.finish()
}

/// Whether a proxy can be asked for this. nginx speaks HTTP/2 to upstreams for gRPC only. A log line
/// costs the same whatever the body and the protocol, so that three cells tell.
fn takes_part(kind: Kind, cell: &Cell) -> bool {
    match kind {
        Kind::Copy => !cell.wire.is_tls() && !cell.h2c,
        Kind::Nginx => !cell.h2c || cell.transfer == Transfer::Call,
        Kind::TidegateLogged => cell.transfer == KB && !cell.h2c,
        Kind::Haproxy | Kind::Envoy | Kind::Tidegate => true,
    }
}

/// One proxy, from its start to its end.
async fn round(
    bench: &Bench<'_>,
    cell: &Cell,
    peer: &Peer,
    body: &Path,
) -> Result<Round, BenchError> {
    let process = start(bench, cell, peer, body).await?;
    let round = turn(bench, cell, &process, body).await?;
    sample::must_be_right(cell, &process, &bench.authority).await?;
    Ok(round)
}

/// Proxies that are measured by turns, from their start to their end.
async fn by_turns(
    bench: &Bench<'_>,
    cell: &Cell,
    peers: &[Peer],
    body: &Path,
) -> Result<Vec<Round>, BenchError> {
    let mut all = Vec::new();
    for peer in peers {
        all.push((start(bench, cell, peer, body).await?, Vec::new()));
    }
    for _ in 0..TURNS {
        for (process, turns) in &mut all {
            turns.push(turn(bench, cell, process, body).await?);
        }
    }
    let mut rounds = Vec::new();
    for (process, turns) in &all {
        sample::must_be_right(cell, process, &bench.authority).await?;
        rounds.push(figures::mean(turns));
    }
    Ok(rounds)
}

/// A proxy that answers right and is warm.
async fn start(
    bench: &Bench<'_>,
    cell: &Cell,
    peer: &Peer,
    body: &Path,
) -> Result<Process, BenchError> {
    let shape = Shape {
        h2c: cell.h2c,
        ..Shape::default()
    };
    let mut process = bench.launch(peer, &shape)?;
    sample::until_right(cell, &mut process, &bench.authority).await?;
    let requests = cell.requests(bench.options.percent / WARM_UP);
    load(bench, cell, &process, requests, body).await?;
    Ok(process)
}

async fn turn(
    bench: &Bench<'_>,
    cell: &Cell,
    process: &Process,
    body: &Path,
) -> Result<Round, BenchError> {
    let requests = cell.requests(bench.options.percent);
    let cpu = process.cpu_exact()?;
    let outcome = load(bench, cell, process, requests, body).await?;
    let cpu = process.cpu_exact()?.saturating_sub(cpu);
    Ok(Round {
        value: cpu.as_secs_f64() * 1e6 / requests as f64,
        also: vec![outcome.per_second],
    })
}

/// Sends the requests; all must be answered right, and be as many as the upstream saw.
async fn load(
    bench: &Bench<'_>,
    cell: &Cell,
    process: &Process,
    requests: u64,
    body: &Path,
) -> Result<Outcome, BenchError> {
    let before = bench.upstream.count().await?;
    let outcome = load::run(cell, requests, process.address(cell.wire.is_tls()), body).await?;
    let counted = bench.upstream.count().await?.saturating_sub(before);
    let miscounted =
        (counted != requests).then(|| format!("the upstream saw {counted} of {requests} requests"));
    match outcome.fault(cell, requests).or(miscounted) {
        None => Ok(outcome),
        Some(why) => {
            let (peer, cell) = (process.name(), cell.name);
            Err(BenchError::Wrong { peer, cell, why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_part_can() {
        let takers = |name: &str| {
            let cell = SIZE.iter().find(|cell| cell.name == name).unwrap();
            let all = Kind::ALL.into_iter();
            all.filter(|kind| takes_part(*kind, cell)).count()
        };
        let table = [
            ("1 KB, h1", 6),
            ("1 KB, TLS h2 x 10", 5),
            ("1 MB down, h1", 5),
            ("1 MB up, TLS h1", 4),
            ("1 KB, h1, upstream h2c", 3),
            ("gRPC unary, TLS h2 x 10", 4),
        ];
        for (name, expected) in table {
            assert_eq!(takers(name), expected, "{name}");
        }
    }
}
