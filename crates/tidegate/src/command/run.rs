//! `tidegate run`: serve.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_telemetry::tracing_setup::{self, LogFormat};

use crate::exit::{Exit, Failure};
use crate::serve::{self, ServeOptions};

/// Serve.
///
/// A change of the configuration's files takes effect at once, as does SIGHUP, which also opens the
/// access log anew. SIGTERM ends when the requests under way are done; a second one ends at once.
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
}

const EXAMPLES: &str = "\
Examples:
  tidegate run tidegate.yaml
  TIDEGATE_LOG=debug tidegate run tidegate.yaml --log-format json
  curl -X POST http://127.0.0.1:9901/reload        # with `admin: { bind: 127.0.0.1:9901 }`

Exit status: 0 ended by a signal, 1 the configuration is invalid or the process cannot
start with it (an address is taken), 2 it cannot be read.";

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
        serve::serve(&ServeOptions {
            config: self.config,
            addresses: self.addresses,
            log: format,
        })
    }
}
