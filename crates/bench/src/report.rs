//! What is published: a table in the terminal, everything as JSON, a picture.

mod picture;

use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::figures::CellReport;
use crate::peer::Peer;

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
    /// What the figures are.
    what: &'static str,
    cores: usize,
    kernel: String,
    /// Rounds behind each median.
    rounds: u32,
    /// Share of the usual number of requests; below 100 the figures are coarse.
    percent: u64,
    peers: Vec<Participant>,
    skipped: Vec<&'static str>,
    /// In the order of the measurement.
    pub(crate) cells: Vec<CellReport>,
}

impl Report {
    /// An empty one that knows who takes part and how.
    pub(crate) fn new(
        dimension: &'static str,
        what: &'static str,
        options: &crate::Options,
        peers: &[Peer],
        skipped: &[&'static str],
    ) -> Self {
        let participant = |peer: &Peer| Participant {
            peer: peer.kind.name(),
            version: peer.version.clone(),
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            dimension,
            what,
            cores: crate::bench::cores(),
            kernel: kernel.trim().to_owned(),
            rounds: options.rounds,
            percent: options.percent,
            peers: peers.iter().map(participant).collect(),
            skipped: skipped.to_vec(),
            cells: Vec::new(),
        }
    }

    /// Prints who takes part, who does not, and how often is measured.
    pub(crate) fn print_head(&self) {
        println!("{}: {}", self.dimension, self.what);
        for Participant { peer, version } in &self.peers {
            println!("  {peer:<18} {version}");
        }
        for peer in &self.skipped {
            println!("  {peer:<18} skipped: not installed (make bench-install)");
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
        std::fs::write(file("svg"), picture::svg(self.what, &self.cells)).map_err(io)?;
        println!("\n{} and .svg", file("json").display());
        Ok(())
    }
}

impl CellReport {
    /// Prints its rows.
    pub(crate) fn print(&self) {
        let also: String = self.also.iter().map(|name| format!("{name:>14}")).collect();
        println!(
            "\n{:<26}{:>12}{:>10}{also}",
            self.cell, self.unit, "x nginx"
        );
        for row in &self.rows {
            let ratio = row
                .to_nginx
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let also: String = row
                .also
                .iter()
                .map(|&v| format!("{:>14}", short(v)))
                .collect();
            println!(
                "  {:<24}{:>12}{ratio:>10}{also}",
                row.peer,
                short(row.value)
            );
        }
    }
}

/// Three digits that matter: `0.317`, `5.23`, `41.2`, `18230`.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
