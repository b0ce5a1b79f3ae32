//! The dimension `latency`: what a proxy adds, at 20, 50 and 80 % of what nginx can take.
//!
//! The loop is open: arrivals are Poisson from a seed, the same for all in a round, and a request's
//! time is from when it was due to its last byte. From each percentile that of the direct line is
//! subtracted: the client straight at the upstream in plaintext HTTP/1.1, at the same rate in the
//! same round. So TLS and HTTP/2, which the proxy speaks for the upstream, count as added. The rate
//! is a share of nginx's in a closed loop, in which load and upstream have the other core.

mod books;
mod http1;
mod http2;
mod link;
mod open_loop;

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bench::{Bench, Heading};
use crate::cell::{Cell, SIZES, Transfer, Wire};
use crate::error::BenchError;
use crate::figures::Round;
use crate::peer::{Kind, Peer, Shape};
use crate::{Options, load, sample};
use books::Findings;
use open_loop::Orders;

/// The others of a round. `late p99`: how late the generator itself was. `too late`: 1 when that is
/// more than half of the latency's 99th percentile, so that the round says more of the generator.
const ALSO: &[&str] = &["added p50", "p50", "p99", "req/s", "late p99", "too late"];

/// The share of the p99 that the generator's own lateness may have.
const LATE_SHARE_MAX: f64 = 0.5;

/// Seconds of a round that are measured.
const SECONDS: f64 = 0.7;

/// Seconds before them, as a share.
const WARM_UP: f64 = 0.2;

/// Fewer requests than this have no 99th percentile.
const REQUESTS_MIN: u64 = 200;

/// Looks at nginx's capacity, and requests of each.
const CAPACITY_LOOKS: u64 = 4;
const CAPACITY_REQUESTS: u64 = 15_000;

const WIRES: [Wire; 3] = [Wire::H1, Wire::TlsH1, Wire::TlsH2];

/// A cell, and the share of nginx's capacity that it is loaded with.
struct Load {
    cell: Cell,
    share: f64,
}

const fn at(name: &'static str, wire: Wire, share: f64) -> Load {
    let transfer = Transfer::Down(SIZES[0]);
    let cell = Cell {
        name,
        wire,
        streams: 1,
        transfer,
        h2c: false,
    };
    Load { cell, share }
}

const LOADS: [Load; 9] = [
    at("1 KB, h1, 20 % load", Wire::H1, 0.2),
    at("1 KB, h1, 50 % load", Wire::H1, 0.5),
    at("1 KB, h1, 80 % load", Wire::H1, 0.8),
    at("1 KB, TLS h1, 20 % load", Wire::TlsH1, 0.2),
    at("1 KB, TLS h1, 50 % load", Wire::TlsH1, 0.5),
    at("1 KB, TLS h1, 80 % load", Wire::TlsH1, 0.8),
    at("1 KB, TLS h2, 20 % load", Wire::TlsH2, 0.2),
    at("1 KB, TLS h2, 50 % load", Wire::TlsH2, 0.5),
    at("1 KB, TLS h2, 80 % load", Wire::TlsH2, 0.8),
];

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let chosen = |load: &&Load| load.cell.name.contains(&options.only);
    let loads: Vec<_> = LOADS.iter().filter(chosen).collect();
    if loads.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "added to the 99th percentile of latency, us";
    let mut bench = Bench::start("latency", what, options, &Kind::PROXIES, loads.len())?;
    for wire in WIRES {
        let mut loads = loads
            .iter()
            .filter(|load| load.cell.wire == wire)
            .peekable();
        let Some(first) = loads.peek() else { continue };
        let capacity = capacity(&bench, &first.cell).await?;
        for load in loads {
            one(&mut bench, load, capacity * load.share).await?;
        }
    }
    bench.finish()
}

/// Requests a second that nginx answers in a closed loop: the best of a few looks, because others on
/// the machine can only make it worse.
async fn capacity(bench: &Bench<'_>, cell: &Cell) -> Result<f64, BenchError> {
    let nginx = bench.peers.iter().find(|peer| peer.kind == Kind::Nginx);
    let nginx = nginx.ok_or(BenchError::Missing("nginx"))?;
    let mut process = bench.launch(nginx, &Shape::default())?;
    sample::until_right(cell, &mut process, &bench.authority).await?;
    let target = process.address(cell.wire.is_tls());
    let requests = (CAPACITY_REQUESTS * bench.options.percent / 100).max(1_000);
    let (mut best, before) = (0.0_f64, process.cpu()?);
    for _ in 0..CAPACITY_LOOKS {
        // A download needs no file.
        let outcome = load::run(cell, requests, target, "".as_ref()).await?;
        if let Some(why) = outcome.fault(cell, requests) {
            let (peer, cell) = (process.name(), cell.name);
            return Err(BenchError::Wrong { peer, cell, why });
        }
        best = best.max(outcome.per_second);
    }
    let each = (process.cpu()? - before).as_secs_f64() / (CAPACITY_LOOKS * requests) as f64;
    let (wire, busy) = (name(cell.wire), 100.0 * each * best);
    println!("\n{wire}: nginx takes {best:.0}/s in a closed loop, with {busy:.0} % of its core");
    Ok(best)
}

fn name(wire: Wire) -> &'static str {
    match wire {
        Wire::H1 => "h1",
        Wire::TlsH1 => "TLS h1",
        Wire::TlsH2 => "TLS h2",
    }
}

/// One cell.
async fn one(bench: &mut Bench<'_>, load: &Load, per_second: f64) -> Result<(), BenchError> {
    let heading = Heading {
        cell: load.cell.name.to_owned(),
        unit: "added p99 us",
        also: ALSO,
    };
    // The direct line of a round, and before whose turn it was measured.
    let mut direct = None;
    let able = |_: &Peer| true;
    bench
        .cell(heading, able, async |bench, peer| {
            let round = u64::from(bench.round);
            let line = match direct {
                // Who measured it has a turn again only when the first was disturbed.
                Some((of, by, line)) if of == round && by != peer.kind => line,
                _ => {
                    let line = direct_line(bench, per_second, round).await?;
                    direct = Some((round, peer.kind, line));
                    line
                }
            };
            let found = proxied(bench, load, peer, per_second, round).await?;
            Ok(compare(&found, &line))
        })
        .await
}

fn compare(found: &Findings, direct: &Findings) -> Round {
    let too_late = found.late_us > LATE_SHARE_MAX * found.p99_us;
    Round {
        value: found.p99_us - direct.p99_us,
        also: vec![
            found.p50_us - direct.p50_us,
            found.p50_us,
            found.p99_us,
            found.per_second,
            found.late_us,
            f64::from(u8::from(too_late)),
        ],
    }
}

/// One proxy, from its start to its end.
async fn proxied(
    bench: &Bench<'_>,
    load: &Load,
    peer: &Peer,
    per_second: f64,
    round: u64,
) -> Result<Findings, BenchError> {
    let mut process = bench.launch(peer, &Shape::default())?;
    sample::until_right(&load.cell, &mut process, &bench.authority).await?;
    let wire = load.cell.wire;
    let orders = orders(
        bench,
        wire,
        process.address(wire.is_tls()),
        per_second,
        round,
    );
    let wrong = |why| BenchError::Wrong {
        peer: peer.kind.name(),
        cell: load.cell.name,
        why,
    };
    let found = counted(bench, &orders).await?.map_err(wrong)?;
    sample::must_be_right(&load.cell, &process, &bench.authority).await?;
    Ok(found)
}

/// The client straight at the upstream.
async fn direct_line(
    bench: &Bench<'_>,
    per_second: f64,
    round: u64,
) -> Result<Findings, BenchError> {
    let upstream = bench.upstream.addresses().http1[0];
    let orders = orders(bench, Wire::H1, upstream, per_second, round);
    let found = counted(bench, &orders).await?;
    found.map_err(|why| BenchError::Load(format!("the direct line: {why}")))
}

fn orders(bench: &Bench<'_>, wire: Wire, target: SocketAddr, per_second: f64, seed: u64) -> Orders {
    let seconds = SECONDS * bench.options.percent as f64 / 100.0;
    let measured = ((per_second * seconds) as u64).max(REQUESTS_MIN);
    Orders {
        target,
        wire,
        per_second,
        warm_up: (measured as f64 * WARM_UP) as u64,
        measured,
        seed,
        authority: bench.authority.pem(),
    }
}

/// Runs the generator and compares its count with the upstream's; the inner error is what went
/// wrong with the answers.
async fn counted(
    bench: &Bench<'_>,
    orders: &Orders,
) -> Result<Result<Findings, String>, BenchError> {
    let before = bench.upstream.count().await?;
    let found = generate(orders).await?;
    let counted = bench.upstream.count().await?.saturating_sub(before);
    Ok(found.and_then(|found| match found.answered == counted {
        true => Ok(found),
        false => Err(format!("the upstream saw {counted} of {}", found.answered)),
    }))
}

/// Runs the generator in a process of its own.
async fn generate(orders: &Orders) -> Result<Result<Findings, String>, BenchError> {
    let io = |source| BenchError::io("the open loop's process")(source);
    let own = std::env::current_exe().map_err(io)?;
    let mut command = Command::from(crate::peer::pinned(crate::LOAD_CORE, own.as_os_str()));
    command.arg("open-loop").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(io)?;
    let text = serde_json::to_vec(orders).map_err(|error| io(error.into()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&text).await.map_err(io)?;
    }
    let said = child.wait_with_output().await.map_err(io)?.stdout;
    serde_json::from_slice(&said).map_err(|error| io(error.into()))
}

/// The generator's process: orders come on standard input, findings or what went wrong go out.
///
/// # Errors
/// When the orders cannot be read.
pub(crate) fn open_loop_as_child() -> Result<(), BenchError> {
    let io = |source| BenchError::io("the open loop's orders")(source);
    let orders = std::io::read_to_string(std::io::stdin()).map_err(io)?;
    let orders: Orders = serde_json::from_str(&orders).map_err(|error| io(error.into()))?;
    let found = open_loop::run(&orders).map_err(|error| error.to_string());
    let found = serde_json::to_string(&found).map_err(|error| io(error.into()))?;
    println!("{found}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(p50_us: f64, p99_us: f64, late_us: f64) -> Findings {
        Findings {
            answered: 1,
            per_second: 10.0,
            p50_us,
            p99_us,
            late_us,
        }
    }

    #[test]
    fn the_direct_line_is_subtracted() {
        let round = compare(&found(50.0, 200.0, 50.0), &found(20.0, 80.0, 1.0));
        assert_eq!(round.value, 120.0);
        assert_eq!(round.also, [30.0, 50.0, 200.0, 10.0, 50.0, 0.0]);
        assert_eq!(round.also.len(), ALSO.len());
    }

    #[test]
    fn a_late_generator_shows() {
        let round = compare(&found(50.0, 200.0, 101.0), &found(20.0, 80.0, 1.0));
        assert_eq!(round.also.last(), Some(&1.0));
    }
}
