//! `tidegate run`: serve.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_control::Launch;
use tidegate_telemetry::tracing_setup::{self, LogFormat};

use crate::exit::{Exit, Failure};
use crate::serve::{self, ServeOptions};

/// Serve.
///
/// A change of the configuration's files takes effect at once, as does SIGHUP, which also opens the
/// access log anew. SIGTERM ends when the requests under way are done; a second one ends at once.
///
/// With a state directory (--state, `state.dir`, or $STATE_DIRECTORY) a configuration that is refused at
/// the start, or that the process did not live through twice, leaves its place to the last good one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// The configuration.
    config: PathBuf,
    /// How diagnostics on standard error look. What is shown: TIDEGATE_LOG, by default info.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Write the real addresses of all listeners to this file, as JSON, once they accept.
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Keep generations and orders in this directory, whatever `state.dir` says. Found even while
    /// the configuration cannot be read.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// End when the configuration is refused, where else the last good generation would serve.
    #[arg(long)]
    strict: bool,
}

const EXAMPLES: &str = "\
Examples:
  tidegate run tidegate.yaml
  TIDEGATE_LOG=debug tidegate run tidegate.yaml --log-format json
  curl -X POST http://127.0.0.1:9901/reload        # with `admin: { bind: 127.0.0.1:9901 }`

Exit status: 0 ended by a signal, 1 the configuration is invalid or the process cannot
start with it (an address is taken), 2 it cannot be read.";

/// systemd separates several by colons.
fn first_of(directories: std::ffi::OsString) -> PathBuf {
    let mut all = std::env::split_paths(&directories);
    all.next().unwrap_or_default()
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Run {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        tracing_setup::init(format).map_err(Failure::could_not_ask)?;
        let state_default = std::env::var_os("STATE_DIRECTORY").map(first_of);
        serve::serve(&ServeOptions {
            launch: Launch {
                config: self.config,
                state: self.state,
                state_default,
                strict: self.strict,
            },
            addresses: self.addresses,
            log: format,
        })
    }
}
