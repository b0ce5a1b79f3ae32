//! What the commands have in common that ask a process that runs.

use clap::Args;
use http::Method;
use serde_json::Value;
use tidegate_control::{Remote, RemoteError};
use tokio::runtime::{Builder, Runtime};

use super::signature::Signature;
use crate::exit::{Exit, Failure};
use crate::terminal;

/// The problem of an order that would leave something without any region.
const LAST_REGION: &str = "urn:tidegate:problem:last_region";
/// The problem of a configuration that has problems: its detail is the whole report.
const REFUSED: &str = "urn:tidegate:problem:configuration_refused";

/// Which process.
#[derive(Debug, Args)]
pub(super) struct Process {
    /// The process's admin listener, as host:port.
    #[arg(
        long,
        env = "TIDEGATE_ADMIN",
        default_value = "127.0.0.1:9901",
        value_name = "ADDRESS"
    )]
    admin: String,
}

/// Which process, and how its answer is printed.
#[derive(Debug, Args)]
pub(super) struct Asking {
    #[command(flatten)]
    process: Process,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Process {
    /// Asks for a text.
    pub(super) fn text(&self, segments: &[&str]) -> Result<String, Failure> {
        let (remote, runtime) = self.reach()?;
        let answer = runtime.block_on(remote.text(segments));
        answer.map_err(|error| failure(&error))
    }

    /// Its admin listener, to be asked more than once.
    pub(super) fn reached(&self, signature: &Signature) -> Result<Reached, Failure> {
        let (remote, runtime) = self.reach()?;
        let remote = remote.by(signature.author()?);
        Ok(Reached { remote, runtime })
    }

    /// Its admin listener, and what to ask it on.
    fn reach(&self) -> Result<(Remote, Runtime), Failure> {
        let remote = Remote::new(&self.admin).map_err(Failure::could_not_ask)?;
        let remote = remote.by(Signature::default().author()?);
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok((remote, runtime.map_err(Failure::could_not_ask)?))
    }
}

/// An admin listener that is asked more than once.
pub(super) struct Reached {
    remote: Remote,
    runtime: Runtime,
}

impl Reached {
    /// Asks.
    pub(super) fn ask(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let answer = self.remote.ask(method, segments, parameters);
        let answer = self.runtime.block_on(answer);
        answer.map_err(|error| failure(&error))
    }

    /// Asks with a document, which is JSON.
    pub(super) fn send(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
        json: String,
    ) -> Result<Value, Failure> {
        let answer = self.remote.send(method, segments, parameters, Some(json));
        let answer = self.runtime.block_on(answer);
        answer.map_err(|error| failure(&error))
    }

    /// Waits for so long.
    pub(super) fn wait(&self, time: std::time::Duration) {
        self.runtime
            .block_on(async move { tokio::time::sleep(time).await });
    }
}

impl Asking {
    /// Asks; the answer is not printed.
    pub(super) fn fetch(
        &self,
        segments: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let (remote, runtime) = self.process.reach()?;
        let answer = runtime.block_on(remote.ask(Method::GET, segments, parameters));
        answer.map_err(|error| failure(&error))
    }

    /// Whether answers are printed as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Asks, and prints the answer in words, or as it is.
    pub(super) fn ask(
        &self,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
        words: impl FnOnce(&Value) -> Result<String, Failure>,
    ) -> Result<Exit, Failure> {
        self.ask_as(&Signature::default(), method, segments, parameters, words)
    }

    /// The same, signed: for what changes something.
    pub(super) fn ask_as(
        &self,
        signature: &Signature,
        method: Method,
        segments: &[&str],
        parameters: &[(&str, &str)],
        words: impl FnOnce(&Value) -> Result<String, Failure>,
    ) -> Result<Exit, Failure> {
        let (remote, runtime) = self.process.reach()?;
        let remote = remote.by(signature.author()?);
        match runtime.block_on(remote.ask(method, segments, parameters)) {
            Ok(answer) if self.json => terminal::print(&format!("{answer:#}\n"))?,
            Ok(answer) => terminal::print(&words(&answer)?)?,
            Err(RemoteError::Refused { document, .. }) if self.json => {
                terminal::print(&format!("{document:#}\n"))?;
                return Ok(Exit::No);
            }
            Err(RemoteError::Refused { detail, document }) if document["type"] == REFUSED => {
                // As `check` prints it.
                terminal::tell(&detail);
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
