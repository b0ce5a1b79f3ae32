//! The dimension `size`: CPU per request by size of body and protocol.
//!
//! For each cell the rounds go through all proxies in turn, each started for its round alone, so
//! that neighbours in time are compared and nobody idles beside the one that is measured.

use std::path::Path;

use tidegate_lab::{Authority, Leaf};

use crate::cell::{Cell, SIZE, Transfer};
use crate::error::BenchError;
use crate::figures::{self, Round};
use crate::load;
use crate::peer::{self, HOST, Kind, Peer};
use crate::progress::Progress;
use crate::report::{CellReport, Report};
use crate::upstream::Upstream;
use crate::{Options, sample};

/// What the dimension should have and does not.
const NOT_YET: [&str; 3] = ["64 KB, TLS h2", "gRPC unary", "upstream h2c"];

/// A round begins with this share of its requests that is not measured.
const WARM_UP: u64 = 10;

/// What all rounds share.
struct Bench<'a> {
    options: &'a Options,
    upstream: Upstream,
    authority: Authority,
    leaf: Leaf,
    /// The file that uploads send.
    upload: &'a Path,
}

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    check_machine()?;
    let cells: Vec<_> = SIZE
        .iter()
        .filter(|cell| cell.name.contains(&options.only))
        .collect();
    if cells.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let (peers, skipped) = find(options);
    let mut report = Report::new("size", options, &peers, &skipped, &NOT_YET);
    report.print_head();
    let file = tempfile::NamedTempFile::new().map_err(BenchError::io("the upload"))?;
    std::fs::write(file.path(), upload(&cells)).map_err(BenchError::io("the upload"))?;
    let bench = Bench::start(options, file.path())?;
    let mut progress = Progress::new(cells.len() * peers.len() * options.rounds as usize);
    for cell in cells {
        let measured = bench.cell(cell, &peers, &mut progress).await?;
        progress.clear();
        measured.print();
        report.cells.push(measured);
    }
    report.write_to(&options.out)?;
    println!("\n{}", options.out.join("size.{json,svg}").display());
    Ok(())
}

/// The cores of this machine; 0 when the system does not say.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn check_machine() -> Result<(), BenchError> {
    if cores() < 2 {
        return Err(BenchError::Cores(cores()));
    }
    let needed = ["taskset", "h2load"];
    let missing = needed
        .into_iter()
        .find(|name| peer::installed(name).is_none());
    missing.map_or(Ok(()), |name| Err(BenchError::Missing(name)))
}

/// Who is installed, and the names of those who are not.
fn find(options: &Options) -> (Vec<Peer>, Vec<&'static str>) {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        match Peer::find(kind, options) {
            Some(peer) => found.push(peer),
            None => skipped.push(kind.name()),
        }
    }
    (found, skipped)
}

/// As many bytes as the largest upload of these cells has.
fn upload(cells: &[&Cell]) -> Vec<u8> {
    let size = |cell: &&Cell| match cell.transfer {
        Transfer::Up(bytes) => bytes as usize,
        Transfer::Down(_) => 0,
    };
    vec![b'u'; cells.iter().map(size).max().unwrap_or(0)]
}

impl<'a> Bench<'a> {
    fn start(options: &'a Options, upload: &'a Path) -> Result<Self, BenchError> {
        let authority = Authority::new("bench")?;
        Ok(Self {
            options,
            upstream: Upstream::start()?,
            leaf: authority.issue(&[HOST])?,
            authority,
            upload,
        })
    }

    async fn cell(
        &self,
        cell: &Cell,
        peers: &[Peer],
        progress: &mut Progress,
    ) -> Result<CellReport, BenchError> {
        let able: Vec<_> = peers.iter().filter(|peer| peer.speaks(cell.wire)).collect();
        let mut rounds: Vec<(Kind, Vec<Round>)> =
            able.iter().map(|peer| (peer.kind, Vec::new())).collect();
        for number in 0..self.options.rounds as usize {
            for place in 0..rounds.len() {
                // Every round begins with another one, so that no place favours anybody.
                let turn = (number + place) % rounds.len();
                let (peer, (_, own)) = (able[turn], &mut rounds[turn]);
                progress.step(&format!("{}: {}", cell.name, peer.kind.name()));
                own.push(self.round(cell, peer).await?);
            }
        }
        Ok(CellReport {
            cell: cell.name,
            requests: cell.requests(self.options.percent),
            rows: figures::rows(&rounds),
        })
    }

    /// One proxy, from its start to its end.
    async fn round(&self, cell: &Cell, peer: &Peer) -> Result<Round, BenchError> {
        let mut process = peer.start(self.upstream.addresses(), &self.leaf)?;
        sample::until_right(cell, &mut process, &self.authority).await?;
        let requests = cell.requests(self.options.percent);
        let target = process.address(cell.wire.is_tls());
        let warm_up = cell.requests(self.options.percent / WARM_UP);
        load::run(cell, warm_up, target, self.upload).await?;

        let (counted, cpu) = (self.upstream.count().await?, process.cpu()?);
        let outcome = load::run(cell, requests, target, self.upload).await?;
        let cpu = process.cpu()?.saturating_sub(cpu);
        let counted = self.upstream.count().await?.saturating_sub(counted);

        let miscounted = (counted != requests)
            .then(|| format!("the upstream saw {counted} of {requests} requests"));
        if let Some(why) = outcome.fault(cell, requests).or(miscounted) {
            let (peer, cell) = (process.name(), cell.name);
            return Err(BenchError::Wrong { peer, cell, why });
        }
        sample::must_be_right(cell, &process, &self.authority).await?;
        Ok(Round {
            cpu_us: cpu.as_secs_f64() * 1e6 / requests as f64,
            per_second: outcome.per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_have_a_body_and_downloads_none() {
        let [first, .., last] = SIZE.each_ref();
        assert!(upload(&[first]).is_empty());
        assert_eq!(upload(&[first, last]).len(), 1024 * 1024);
    }
}
