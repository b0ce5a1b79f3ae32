//! `tidegate demo`: a region fails in front of your eyes.

use std::path::PathBuf;

use clap::Args;

use crate::demo::{self, DemoOptions};
use crate::exit::{Exit, Failure};

/// Show a region fail without a lost request.
///
/// Starts three simulated regions 10, 80 and 160 ms away, Tidegate in front of them, and steady
/// HTTPS traffic; then lets the nearest region go silent, come back, drain and reset connections.
/// Needs no files and no network beyond loopback.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// How long it takes; the script is scaled to it.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(12..=3600))]
    seconds: u64,
    /// Requests a second, 1 to 5000.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=5000))]
    rate: u64,
    /// Write the figures of the closing table to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tidegate demo
  tidegate demo --seconds 20 --rate 500 --json figures.json

Exit status: 0 nothing lost, 1 a replayable request was lost or a body was wrong.";

impl Demo {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        demo::run(&DemoOptions {
            seconds: self.seconds,
            rate: self.rate as f64,
            json: self.json,
        })
    }
}
