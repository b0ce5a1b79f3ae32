//! The dimension `handshake`: CPU per connection that carries one request of 1 KB.
//!
//! Every request has a new connection, closed by the client in both directions after the answer. The
//! certificate is the same for all (ECDSA, P-256); full handshakes offer no ticket, resumed ones
//! use each ticket once. The raw copy is left out: it ends no TLS, and in plaintext it opens a
//! connection to the upstream for each of the client's, which no proxy does.

use std::path::Path;

use crate::bench::{Bench, Heading};
use crate::caller::{Call, Caller, LANES, Order, ca_file};
use crate::cell::{Cell, KB, Wire};
use crate::error::BenchError;
use crate::figures::Round;
use crate::peer::{Kind, Peer, Process, Shape};
use crate::{Options, sample};

/// A round begins with this share of its connections that is not measured.
const WARM_UP: u64 = 10;

/// One cell.
#[derive(Clone, Copy, Debug)]
struct Manner {
    name: &'static str,
    tls: bool,
    hybrid: bool,
    resume: bool,
    /// Connections of a round: enough that ticks of 10 ms do not show.
    connections: u64,
}

const fn tls(name: &'static str, hybrid: bool, resume: bool) -> Manner {
    Manner {
        name,
        tls: true,
        hybrid,
        resume,
        connections: 8_000,
    }
}

const MANNERS: [Manner; 4] = [
    tls("full, X25519", false, false),
    tls("full, X25519MLKEM768", true, false),
    tls("resumed, X25519", false, true),
    Manner {
        name: "plaintext",
        tls: false,
        hybrid: false,
        resume: false,
        connections: 20_000,
    },
];

impl Manner {
    /// Connections at `percent` of the usual number, at least one for every lane.
    fn connections(&self, percent: u64) -> u32 {
        let count = self.connections * percent / 100;
        u32::try_from(count).unwrap_or(u32::MAX).max(LANES)
    }

    fn call(&self, process: &Process, ca: &Path) -> Call {
        Call {
            ca: self.tls.then(|| ca.to_owned()),
            hybrid: self.hybrid,
            resume: self.resume,
            ..Call::plain(process.address(self.tls))
        }
    }

    /// What is asked, for the samples.
    fn cell(&self) -> Cell {
        Cell {
            name: self.name,
            wire: if self.tls { Wire::TlsH1 } else { Wire::H1 },
            streams: 1,
            transfer: KB,
            h2c: false,
        }
    }
}

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let manners: Vec<_> = MANNERS
        .iter()
        .filter(|manner| manner.name.contains(&options.only))
        .collect();
    if manners.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "CPU of the proxy per connection with one request of 1 KB";
    let mut bench = Bench::start("handshake", what, options, &Kind::PROXIES, manners.len())?;
    let ca = ca_file(&bench.authority)?;
    for manner in manners {
        let able = able(&bench, manner, ca.path()).await?;
        let heading = Heading {
            cell: manner.name.to_owned(),
            unit: "us/conn",
            also: &["conn/s"],
        };
        bench
            .cell(
                heading,
                |peer| able.contains(&peer.kind),
                async |bench, peer| round(bench, manner, peer, ca.path()).await,
            )
            .await?;
    }
    bench.finish()
}

/// Who can do it: for the hybrid that is tried, because it hangs on the library underneath.
async fn able(bench: &Bench<'_>, manner: &Manner, ca: &Path) -> Result<Vec<Kind>, BenchError> {
    let (mut able, mut unable) = (Vec::new(), Vec::new());
    for peer in &bench.peers {
        match !manner.hybrid || agrees_to_hybrid(bench, manner, peer, ca).await? {
            true => able.push(peer.kind),
            false => unable.push(peer.kind.name()),
        }
    }
    if !unable.is_empty() {
        let names = unable.join(", ");
        println!("\n{}: tried, not possible with {names}", manner.name);
    }
    Ok(able)
}

async fn agrees_to_hybrid(
    bench: &Bench<'_>,
    manner: &Manner,
    peer: &Peer,
    ca: &Path,
) -> Result<bool, BenchError> {
    let mut process = bench.launch(peer, &Shape::default())?;
    sample::until_right(&manner.cell(), &mut process, &bench.authority).await?;
    let agreed = manner.call(&process, ca).agrees_to_hybrid().await;
    agreed.map_err(|error| BenchError::Wrong {
        peer: process.name(),
        cell: manner.name,
        why: error.to_string(),
    })
}

/// One proxy, from its start to its end.
async fn round(
    bench: &Bench<'_>,
    manner: &Manner,
    peer: &Peer,
    ca: &Path,
) -> Result<Round, BenchError> {
    let mut process = bench.launch(peer, &Shape::default())?;
    sample::until_right(&manner.cell(), &mut process, &bench.authority).await?;
    let mut caller = Caller::start(&manner.call(&process, ca), process.name(), manner.name)?;
    let percent = bench.options.percent;
    let connections = manner.connections(percent);
    caller
        .tell(Order::Visit(manner.connections(percent / WARM_UP)))
        .await?;

    let (counted, cpu) = (bench.upstream.count().await?, process.cpu()?);
    let took = caller.tell(Order::Visit(connections)).await?;
    let cpu = process.cpu()?.saturating_sub(cpu);
    let counted = bench.upstream.count().await?.saturating_sub(counted);

    if counted != u64::from(connections) {
        return Err(caller.wrong(format!(
            "the upstream saw {counted} of {connections} requests"
        )));
    }
    Ok(Round {
        value: cpu.as_secs_f64() * 1e6 / f64::from(connections),
        also: vec![f64::from(connections) / took.as_secs_f64()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_still_use_every_lane() {
        let [full, .., plaintext] = MANNERS;
        assert_eq!(full.connections(0), LANES);
        assert_eq!(full.connections(100), 8_000);
        assert_eq!(plaintext.connections(50), 10_000);
    }
}
