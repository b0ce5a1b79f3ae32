//! What is published: a table in the terminal, everything as JSON, a picture.

mod picture;

use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::figures::Row;
use crate::peer::Peer;

/// A cell with its figures.
#[derive(Debug, Serialize)]
pub(crate) struct CellReport {
    /// Its name.
    pub(crate) cell: &'static str,
    /// Requests of a round.
    pub(crate) requests: u64,
    /// A row a proxy.
    pub(crate) rows: Vec<Row>,
}

/// A proxy that took part.
#[derive(Debug, Serialize)]
pub(crate) struct Participant {
    peer: &'static str,
    version: String,
}

/// A dimension, measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    dimension: &'static str,
    cores: usize,
    kernel: String,
    /// Rounds behind each median.
    rounds: u32,
    /// Share of the usual number of requests; below 100 the figures are coarse.
    percent: u64,
    peers: Vec<Participant>,
    skipped: Vec<&'static str>,
    /// What the dimension should have and does not.
    not_yet: Vec<&'static str>,
    /// In the order of the measurement.
    pub(crate) cells: Vec<CellReport>,
}

impl Report {
    /// An empty one that knows who takes part and how.
    pub(crate) fn new(
        dimension: &'static str,
        options: &crate::Options,
        peers: &[Peer],
        skipped: &[&'static str],
        not_yet: &[&'static str],
    ) -> Self {
        let participant = |peer: &Peer| Participant {
            peer: peer.kind.name(),
            version: peer.version.clone(),
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            dimension,
            cores: crate::size::cores(),
            kernel: kernel.trim().to_owned(),
            rounds: options.rounds,
            percent: options.percent,
            peers: peers.iter().map(participant).collect(),
            skipped: skipped.to_vec(),
            not_yet: not_yet.to_vec(),
            cells: Vec::new(),
        }
    }

    /// Prints who takes part, who does not, and how often is measured.
    pub(crate) fn print_head(&self) {
        println!("{}: CPU of the proxy per request", self.dimension);
        for Participant { peer, version } in &self.peers {
            println!("  {peer:<18} {version}");
        }
        for peer in &self.skipped {
            println!("  {peer:<18} skipped: not installed (make bench-install)");
        }
        for what in &self.not_yet {
            println!("  {what:<18} not yet measured");
        }
        println!("  medians of {} rounds, Linux {}", self.rounds, self.kernel);
        if self.percent < 100 {
            println!(
                "  {} % of the requests: the figures are coarse",
                self.percent
            );
        }
    }

    /// Writes `{dimension}.json` and `{dimension}.svg` into `directory`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write_to(&self, directory: &Path) -> Result<(), BenchError> {
        let io = |source| BenchError::io(directory.display().to_string())(source);
        let json = serde_json::to_string_pretty(self).map_err(|error| io(error.into()))?;
        std::fs::create_dir_all(directory).map_err(io)?;
        let file = |extension| directory.join(format!("{}.{extension}", self.dimension));
        std::fs::write(file("json"), json).map_err(io)?;
        std::fs::write(file("svg"), picture::svg(&self.cells)).map_err(io)
    }
}

impl CellReport {
    /// Prints its rows.
    pub(crate) fn print(&self) {
        println!(
            "\n{:<22}{:>10}{:>10}{:>12}",
            self.cell, "us/req", "x nginx", "req/s"
        );
        for row in &self.rows {
            let ratio = row
                .to_nginx
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let (peer, cpu, rate) = (row.peer, row.cpu_us, row.per_second);
            println!("  {peer:<20}{cpu:>10.1}{ratio:>10}{rate:>12.0}");
        }
    }
}
