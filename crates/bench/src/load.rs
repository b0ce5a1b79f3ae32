//! The load: `h2load` in a closed loop on its own core.
//!
//! An independent client of both protocols, with a cost of its own that no proxy is charged for. Its
//! report is read strictly: a line that is missing or strange is an error, never a zero.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::cell::{CONNECTIONS, Cell, Transfer, Wire};
use crate::error::BenchError;
use crate::peer::HOST;

/// Longer than any round takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of a load.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Requests that were answered in full with a status below 400.
    pub(crate) succeeded: u64,
    /// Answers by status class: 2xx, 3xx, 4xx, 5xx.
    pub(crate) statuses: [u64; 4],
    /// Bytes of all bodies, without heads.
    pub(crate) body_bytes: u64,
    /// Requests a second.
    pub(crate) per_second: f64,
}

impl Outcome {
    /// Why this is not `requests` right answers to what `cell` asks; `None` when it is.
    pub(crate) fn fault(&self, cell: &Cell, requests: u64) -> Option<String> {
        let bytes = requests * cell.transfer.answer_bytes();
        let right = self.succeeded == requests
            && self.statuses == [requests, 0, 0, 0]
            && self.body_bytes == bytes;
        (!right).then(|| format!("{requests} requests of {bytes} bytes ended as {self:?}"))
    }

    fn parse(report: &str) -> Option<Self> {
        let line = |start| {
            report
                .lines()
                .find_map(|line: &str| line.strip_prefix(start))
        };
        let finished = line("finished in ")?;
        let [x2, x3, x4, x5] = ["2xx", "3xx", "4xx", "5xx"];
        let codes = line("status codes: ")?;
        let code = |unit| before(codes, unit);
        let data = line("traffic: ")?
            .split(", ")
            .find(|part| part.ends_with(" data"))?;
        let body_bytes = data.split_once('(')?.1.split_once(')')?.0;
        Some(Self {
            succeeded: before(line("requests: ")?, "succeeded")?,
            statuses: [code(x2)?, code(x3)?, code(x4)?, code(x5)?],
            body_bytes: body_bytes.parse().ok()?,
            per_second: finished
                .split(", ")
                .nth(1)?
                .strip_suffix(" req/s")?
                .parse()
                .ok()?,
        })
    }
}

/// The number before `unit` in a list such as `5 started, 4 done`.
fn before(list: &str, unit: &str) -> Option<u64> {
    let mut parts = list.split(", ");
    parts.find_map(|part| part.trim().strip_suffix(unit)?.trim().parse().ok())
}

/// Where the load runs, and over how many connections.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// Its cores.
    pub(crate) cores: RangeInclusive<u32>,
    /// Its connections.
    pub(crate) connections: u32,
}

impl Default for Form {
    /// As in every dimension but `cores`.
    fn default() -> Self {
        Self {
            cores: crate::LOAD_CORE..=crate::LOAD_CORE,
            connections: CONNECTIONS,
        }
    }
}

/// Sends `requests` of `cell` to `target`, each with the content of the file `body` if its kind has
/// any.
///
/// # Errors
/// [`BenchError::Load`] when `h2load` does not end well, or its report cannot be read.
pub(crate) async fn run(
    cell: &Cell,
    requests: u64,
    target: SocketAddr,
    body: &Path,
) -> Result<Outcome, BenchError> {
    run_as(&Form::default(), cell, requests, target, body).await
}

/// The same in another form.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_as(
    form: &Form,
    cell: &Cell,
    requests: u64,
    target: SocketAddr,
    body: &Path,
) -> Result<Outcome, BenchError> {
    let pinned = crate::peer::pinned_to(form.cores.clone(), "h2load".as_ref());
    let mut command = Command::from(pinned);
    command.arg(format!("-c{}", form.connections));
    command.args(arguments(cell, requests, target));
    if !matches!(cell.transfer, Transfer::Down(_)) {
        command.arg("-d").arg(body);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.map_err(|_| BenchError::Load(format!("no end after {PATIENCE:?}")))?;
    let output = output.map_err(BenchError::io("h2load"))?;
    let report = String::from_utf8_lossy(&output.stdout);
    let strange = || BenchError::Load(report.trim().to_owned());
    Outcome::parse(&report).ok_or_else(strange)
}

fn arguments(cell: &Cell, requests: u64, target: SocketAddr) -> Vec<String> {
    let scheme = if cell.wire.is_tls() { "https" } else { "http" };
    let port = target.port();
    let mut all = vec![
        format!("-n{requests}"),
        format!("-m{}", cell.streams),
        format!("--connect-to={target}"),
    ];
    if cell.wire != Wire::TlsH2 {
        all.push("--h1".to_owned());
    }
    if cell.transfer == Transfer::Call {
        let fields = ["content-type: application/grpc", "te: trailers"];
        all.extend(fields.map(|field| format!("-H{field}")));
    }
    all.push(format!("{scheme}://{HOST}:{port}{}", cell.transfer.path()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::SIZE;

    const REPORT: &str = "starting benchmark...
finished in 1.50s, 66.67 req/s, 1.02MB/s
requests: 100 total, 100 started, 100 done, 99 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 99 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 110.5KB (113152) total, 9.8KB (10035) headers (space savings 0.00%), 99.0KB (101376) data
";

    #[test]
    fn a_report_is_read_in_full_or_not_at_all() {
        let expected = Outcome {
            succeeded: 99,
            statuses: [99, 0, 0, 1],
            body_bytes: 101_376,
            per_second: 66.67,
        };
        assert_eq!(Outcome::parse(REPORT), Some(expected));
        for start in ["finished", "requests", "status", "traffic"] {
            let without: Vec<_> = REPORT.lines().filter(|l| !l.starts_with(start)).collect();
            assert_eq!(Outcome::parse(&without.join("\n")), None, "{start}");
        }
    }

    #[test]
    fn one_wrong_answer_is_a_fault() {
        let right = || Outcome {
            succeeded: 100,
            statuses: [100, 0, 0, 0],
            body_bytes: 102_400,
            per_second: 1.0,
        };
        let cell = &SIZE[0];
        assert_eq!(right().fault(cell, 100), None);
        let wrong = [
            Outcome {
                succeeded: 99,
                ..right()
            },
            Outcome {
                statuses: [99, 1, 0, 0],
                ..right()
            },
            Outcome {
                body_bytes: 102_399,
                ..right()
            },
        ];
        for outcome in wrong {
            assert!(outcome.fault(cell, 100).is_some(), "{outcome:?}");
        }
    }
}
