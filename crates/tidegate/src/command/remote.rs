//! What the commands have in common that ask a process that runs.

use clap::Args;
use http::Method;
use serde_json::Value;
use tidegate_control::{Remote, RemoteError};

use crate::exit::{Exit, Failure};
use crate::terminal;

/// The problem of an order that would leave something without any region.
const LAST_REGION: &str = "urn:tidegate:problem:last_region";

/// Which process, and how its answer is printed.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// The process's admin listener, as host:port.
    #[arg(
        long,
        env = "TIDEGATE_ADMIN",
        default_value = "127.0.0.1:9901",
        value_name = "ADDRESS"
    )]
    admin: String,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Asking {
    /// Asks, and prints the answer in words, or as it is.
    pub(super) fn ask(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
        words: impl FnOnce(&Value) -> Result<String, Failure>,
    ) -> Result<Exit, Failure> {
        let remote = Remote::new(&self.admin).map_err(Failure::could_not_ask)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::could_not_ask)?;
        match runtime.block_on(remote.ask(method, segments, parameters)) {
            Ok(answer) if self.json => terminal::print(&format!("{answer:#}\n"))?,
            Ok(answer) => terminal::print(&words(&answer)?)?,
            Err(RemoteError::Refused { document, .. }) if self.json => {
                terminal::print(&format!("{document:#}\n"))?;
                return Ok(Exit::No);
            }
            Err(error) => return Err(failure(&error)),
        }
        Ok(Exit::Fine)
    }
}

fn failure(error: &RemoteError) -> Failure {
    match error {
        RemoteError::Refused { document, .. } if document["type"] == LAST_REGION => {
            Failure::no(error).hint("--force does it all the same")
        }
        RemoteError::Refused { .. } => Failure::no(error),
        RemoteError::NotUnderstood(_) => Failure::could_not_ask(error),
        RemoteError::NoAnswer { .. } => Failure::could_not_ask(error)
            .hint("does it run, with `admin.bind` there? name it by --admin or TIDEGATE_ADMIN"),
    }
}

/// An answer that is not what this version expects.
pub(super) fn unexpected(error: serde_json::Error) -> Failure {
    Failure::could_not_ask(format!("the answer is not understood: {error}"))
        .hint("is the process of another version? --json prints what it answers")
}
