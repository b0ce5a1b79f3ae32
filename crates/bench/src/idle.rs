//! The dimension `idle`: memory of the proxy per idle connection.
//!
//! Each connection has had one answer of 1 KB, so that buffers were needed, and then a second of
//! rest, so that they could be given back. What a proxy holds after connections that were opened and
//! closed, its connections to the upstream included, is taken off. Memory of the kernel does not
//! count, nor do places that a proxy sets aside at its start. Afterwards every connection has to
//! answer once more.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::{Bench, Heading};
use crate::caller::{Call, Caller, LANES, Order, ca_file};
use crate::cell::{Cell, KB, Wire};
use crate::error::BenchError;
use crate::figures::Round;
use crate::peer::{Kind, Peer, Process, Shape};
use crate::{Options, memory, sample};

/// Connections that are opened and closed before.
const VISITORS: u32 = 100;

/// Connections of the main figure, and the tenth of them that is measured on the way.
const MANY: u64 = 10_000;

/// How long connections rest before they count as idle.
const REST: Duration = Duration::from_secs(1);

/// Files a process has open besides the connections.
const OTHER_FILES: u64 = 512;

/// What is measured, by name.
const WIRES: [(&str, Wire); 3] = [
    ("h1", Wire::H1),
    ("TLS h1", Wire::TlsH1),
    ("TLS h2", Wire::TlsH2),
];

/// One cell.
#[derive(Clone, Copy, Debug)]
struct Rest {
    name: &'static str,
    wire: Wire,
    few: u32,
    many: u32,
}

impl Rest {
    fn new(name: &'static str, wire: Wire, percent: u64) -> Self {
        let few = u32::try_from(MANY / 10 * percent.min(100) / 100).unwrap_or(u32::MAX);
        let few = few.max(LANES);
        Self {
            name,
            wire,
            few,
            many: few * 10,
        }
    }

    fn call(&self, process: &Process, ca: &Path) -> Call {
        Call {
            ca: self.wire.is_tls().then(|| ca.to_owned()),
            h2: self.wire == Wire::TlsH2,
            ..Call::plain(process.address(self.wire.is_tls()))
        }
    }

    /// What is asked, for the samples.
    fn cell(&self) -> Cell {
        Cell {
            name: self.name,
            wire: self.wire,
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
    let cells: Vec<_> = WIRES
        .iter()
        .filter(|(name, _)| name.contains(&options.only))
        .map(|(name, wire)| Rest::new(name, *wire, options.percent))
        .collect();
    let Some(first) = cells.first() else {
        return Err(BenchError::NoCell(options.only.clone()));
    };
    allow_files(u64::from(first.many) + OTHER_FILES)?;
    let what = "memory of the proxy per idle connection, without the kernel's";
    // Who else uses the cores takes time from a round, not memory.
    let options = Options {
        repeats: 0,
        ..options.clone()
    };
    let mut bench = Bench::start("idle", what, &options, &Kind::PROXIES, cells.len())?;
    let ca = ca_file(&bench.authority)?;
    for cell in cells {
        let heading = Heading {
            cell: format!("{}, {} connections", cell.name, cell.many),
            unit: "KB/conn",
            also: &["at a tenth", "MB before"],
        };
        bench
            .cell(
                heading,
                |peer| peer.speaks(cell.wire),
                async |bench, peer| round(bench, &cell, peer, ca.path()).await,
            )
            .await?;
    }
    bench.finish()
}

/// Lets this process and its children open as many files as the system allows it to.
fn allow_files(needed: u64) -> Result<(), BenchError> {
    let allowed = getrlimit(Resource::Nofile).maximum;
    if allowed.is_some_and(|allowed| allowed < needed) {
        let why = "more than this process may have; see `ulimit -Hn`";
        return Err(BenchError::io(format!("{needed} open files"))(
            std::io::Error::other(why),
        ));
    }
    let limit = Rlimit {
        current: allowed,
        maximum: allowed,
    };
    let set = setrlimit(Resource::Nofile, limit);
    set.map_err(|errno| BenchError::io("the limit of open files")(errno.into()))
}

/// One proxy, from its start to its end.
async fn round(
    bench: &Bench<'_>,
    cell: &Rest,
    peer: &Peer,
    ca: &Path,
) -> Result<Round, BenchError> {
    let mut process = bench.launch(peer, &Shape::default())?;
    sample::until_right(&cell.cell(), &mut process, &bench.authority).await?;
    let mut caller = Caller::start(&cell.call(&process, ca), process.name(), cell.name)?;
    let counted = bench.upstream.count().await?;
    caller.tell(Order::Visit(VISITORS)).await?;
    let before = rested(&process).await?;
    caller.tell(Order::Open(cell.few)).await?;
    let few = rested(&process).await?;
    caller.tell(Order::Open(cell.many - cell.few)).await?;
    let many = rested(&process).await?;
    caller.tell(Order::Ask).await?;

    let counted = bench.upstream.count().await?.saturating_sub(counted);
    let asked = u64::from(VISITORS) + 2 * u64::from(cell.many);
    if counted != asked {
        return Err(caller.wrong(format!("the upstream saw {counted} of {asked} requests")));
    }
    Ok(Round {
        value: kib_each(many.saturating_sub(before), cell.many),
        also: vec![
            kib_each(few.saturating_sub(before), cell.few),
            before as f64 / f64::from(1 << 20),
        ],
    })
}

/// Bytes the proxy holds when nothing has happened for a while.
async fn rested(process: &Process) -> Result<u64, BenchError> {
    tokio::time::sleep(REST).await;
    memory::of_tree(process.id())
}

fn kib_each(bytes: u64, connections: u32) -> f64 {
    bytes as f64 / 1024.0 / f64::from(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_measured_on_the_way() {
        for (percent, few, many) in [(100, 1_000, 10_000), (2, 20, 200), (1, 16, 160)] {
            let cell = Rest::new("h1", Wire::H1, percent);
            assert_eq!((cell.few, cell.many), (few, many), "{percent} %");
        }
        assert_eq!(Rest::new("h1", Wire::H1, 1000).many, 10_000);
    }

    #[test]
    fn kilobytes_have_1024_bytes() {
        assert_eq!(kib_each(10_240, 5), 2.0);
    }

    #[test]
    fn what_the_system_does_not_allow_is_said() {
        let allowed = getrlimit(Resource::Nofile).maximum;
        if allowed.is_some() {
            let error = allow_files(u64::MAX).unwrap_err();
            assert!(error.to_string().contains("ulimit"), "{error}");
        }
        allow_files(16).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }
}
