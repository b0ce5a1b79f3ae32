//! A caller's process, as the parent sees it.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use tidegate_lab::Authority;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Call;
use super::order::Order;
use crate::error::BenchError;

/// Longer than any order takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A caller at work. Its connections and its process end when this is dropped.
pub(crate) struct Caller {
    /// Whom it calls and for which cell, for errors.
    subject: (&'static str, &'static str),
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

/// The authority's certificate as a file.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn ca_file(authority: &Authority) -> Result<NamedTempFile, BenchError> {
    let write = || {
        let mut file = NamedTempFile::new()?;
        file.write_all(authority.pem().as_bytes())?;
        io::Result::Ok(file)
    };
    write().map_err(BenchError::io("the authority's file"))
}

impl Caller {
    /// Starts one on the core of the load, for `cell` of `peer`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        call: &Call,
        peer: &'static str,
        cell: &'static str,
    ) -> Result<Self, BenchError> {
        let io = |source| BenchError::io("the caller")(source);
        let own = std::env::current_exe().map_err(io)?;
        let mut command = Command::from(crate::peer::pinned(crate::LOAD_CORE, own.as_os_str()));
        command.args(call.arguments()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(io)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, answers) = pipes.ok_or_else(|| io(io::Error::other("no pipes")))?;
        Ok(Self {
            subject: (peer, cell),
            orders,
            answers: BufReader::new(answers).lines(),
            _child: child,
        })
    }

    /// Gives an order and waits until it is carried out; returns how long that took.
    ///
    /// # Errors
    /// [`BenchError::Wrong`] when a connection, a handshake or an answer was not right.
    pub(crate) async fn tell(&mut self, order: Order) -> Result<Duration, BenchError> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(order)).await;
        let answer = answer.map_err(|_| self.wrong(format!("no end after {PATIENCE:?}")))?;
        let answer = answer.map_err(BenchError::io("the caller"))?;
        let seconds = answer.strip_prefix("done ").and_then(|s| s.parse().ok());
        let seconds = seconds.ok_or_else(|| self.wrong(answer.trim_start_matches("fault ")))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    async fn exchange(&mut self, order: Order) -> io::Result<String> {
        let line = format!("{order}\n");
        self.orders.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        answer.ok_or_else(|| io::Error::other("it ended"))
    }

    /// That this is worthless, and why.
    pub(crate) fn wrong(&self, why: impl Display) -> BenchError {
        let (peer, cell) = self.subject;
        let why = why.to_string();
        BenchError::Wrong { peer, cell, why }
    }
}

impl Call {
    /// The arguments with which our own binary calls like this.
    fn arguments(&self) -> Vec<String> {
        let mut all = vec!["call".to_owned(), format!("--target={}", self.target)];
        all.extend(self.ca.iter().map(|ca| format!("--ca={}", ca.display())));
        let flags = [
            (self.h2, "--h2"),
            (self.hybrid, "--hybrid"),
            (self.resume, "--resume"),
        ];
        let given = flags.iter().filter(|(given, _)| *given);
        all.extend(given.map(|(_, flag)| (*flag).to_owned()));
        all
    }
}
