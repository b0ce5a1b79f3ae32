//! What is published: a table in the terminal, everything as JSON, a picture.

mod picture;
mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::figures::CellReport;
use crate::peer::Peer;

pub(crate) use table::{ratio, short};

/// A proxy that took part.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Participant {
    pub(crate) peer: String,
    pub(crate) version: String,
    /// What was set for it, in a few words.
    pub(crate) knobs: String,
}

/// A dimension, measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) dimension: String,
    /// What the figures are.
    pub(crate) what: String,
    /// Of the machine.
    pub(crate) cores: usize,
    /// Its processor, as it calls itself.
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// Rounds behind each median.
    pub(crate) rounds: u32,
    /// Share of the usual number of requests; below 100 the figures are coarse.
    pub(crate) percent: u64,
    pub(crate) peers: Vec<Participant>,
    /// Who was not installed.
    pub(crate) skipped: Vec<String>,
    /// In the order of the measurement.
    pub(crate) cells: Vec<CellReport>,
}

impl Report {
    /// An empty one that knows who takes part and how.
    pub(crate) fn new(
        dimension: &str,
        what: &str,
        options: &crate::Options,
        peers: &[Peer],
        skipped: &[&str],
    ) -> Self {
        let participant = |peer: &Peer| Participant {
            peer: peer.kind.name().to_owned(),
            version: peer.version.clone(),
            knobs: peer.kind.knobs().to_owned(),
        };
        Self {
            dimension: dimension.to_owned(),
            what: what.to_owned(),
            cores: crate::bench::cores(),
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            kernel: kernel(),
            rounds: options.rounds,
            percent: options.percent,
            peers: peers.iter().map(participant).collect(),
            skipped: skipped.iter().map(ToString::to_string).collect(),
            cells: Vec::new(),
        }
    }

    /// The same dimension of two runs as if they were one: its figures are medians over the rounds of both.
    ///
    /// # Errors
    /// When they differ in more than what they measured.
    pub(crate) fn join(mut self, other: Self) -> Result<Self, BenchError> {
        let of = |run: &Self| (run.processor.clone(), run.kernel.clone(), run.percent);
        let alike = of(&self) == of(&other)
            && self.peers == other.peers
            && self.cells.len() == other.cells.len();
        let mut cells = self.cells.iter_mut().zip(other.cells);
        if !alike || !cells.all(|(cell, other)| cell.join(other)) {
            return Err(BenchError::OtherRun(self.dimension));
        }
        self.rounds += other.rounds;
        Ok(self)
    }

    /// Rounds that others on the machine disturbed, in all cells.
    pub(crate) fn disturbed(&self) -> u32 {
        self.cells.iter().map(|cell| cell.disturbed).sum()
    }

    /// Prints who takes part, who does not, and how often is measured.
    pub(crate) fn print_head(&self) {
        println!("{}: {}", self.dimension, self.what);
        for Participant { peer, version, .. } in &self.peers {
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
        self.draw_into(directory)?;
        let file = directory.join(format!("{}.json", self.dimension));
        std::fs::write(&file, json).map_err(io)?;
        println!("\n{} and .svg", file.display());
        Ok(())
    }

    /// Writes `{dimension}.svg` into `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn draw_into(&self, directory: &Path) -> Result<(), BenchError> {
        let io = |source| BenchError::io(directory.display().to_string())(source);
        std::fs::create_dir_all(directory).map_err(io)?;
        let file = directory.join(format!("{}.svg", self.dimension));
        std::fs::write(file, picture::svg(&self.what, &self.cells)).map_err(io)
    }
}

/// What the processor calls itself (proc(5)); `None` where the system does not say.
pub(crate) fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let (_, name) = line.split_once(':')?;
    Some(name.trim().to_owned())
}

/// The release of the running kernel; empty where the system does not say.
pub(crate) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}
