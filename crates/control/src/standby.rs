//! Starts cold regions when what serves before them does not suffice any more.
//!
//! Core says when ([`tidegate_core::standby`]), the plan says how: a program without a shell, or a
//! webhook. Each start runs beside everything else, within its own time limit; a starter that hangs,
//! fails or floods costs nobody a request. Nothing here makes a region serve: its health does.

mod command;
mod ledger;
mod starts;
mod webhook;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::plan::Starter as How;
use tidegate_telemetry::EventKind;
use tidegate_telemetry::labels::StartResult;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::shared::Shared;
use ledger::{Ledger, Start};
pub(crate) use starts::Starts;

/// Longest time between two looks; changes of health cause one at once.
const LOOK: Duration = Duration::from_millis(250);
/// So much of what a starter writes or answers is kept, its end.
const KEPT_BYTES: usize = 2_048;

/// Starts cold regions until it is dropped; starts under way end with it.
#[derive(Debug)]
pub struct Starter(JoinHandle<()>);

/// How a start ended.
#[derive(Debug)]
struct Ended {
    result: StartResult,
    /// Why, in words.
    how: String,
    /// The end of what was written or answered.
    output: Vec<u8>,
}

impl Starter {
    /// Looks after the cold regions of whatever plan serves. Needs a tokio runtime with I/O and time.
    pub fn start(shared: Shared) -> Self {
        Self(tokio::spawn(look_after(shared)))
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look_after(shared: Shared) {
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    shared.board.news().subscribe(move || notify.notify_one());
    let (mut ledger, mut under_way) = (Ledger::default(), JoinSet::new());
    loop {
        let live = shared.plan.newest();
        for start in ledger.look(live.as_deref(), Instant::now()) {
            let (place, pause) = (start.place.clone(), start.cold.timeout);
            let handle = under_way.spawn(run(start, shared.clone()));
            ledger.begun(place, handle, pause);
        }
        tokio::select! {
            () = changed.notified() => {}
            () = sleep(LOOK) => {}
            Some(_ended) = under_way.join_next() => {}
        }
    }
}

async fn run(start: Start, shared: Shared) {
    let tell = |result, detail| {
        let (upstream, region) = start.place.clone();
        shared.events.record(EventKind::StandbyStart {
            upstream,
            region,
            by: by(&start.cold.by),
            result,
            detail,
        });
    };
    let _under_way = shared.starts.begin(&start.place);
    tell(None, start.why());
    let ended = match &start.cold.by {
        How::Command(command) => command::run(command, &start.place, start.cold.timeout).await,
        How::Webhook(url) => webhook::send(url, &start.place, start.cold.timeout).await,
    };
    let (upstream, region) = &start.place;
    shared
        .metrics
        .standby_started(upstream, region, ended.result);
    tell(Some(ended.result), ended.detail());
}

fn by(how: &How) -> &'static str {
    match how {
        How::Command(_) => "command",
        How::Webhook(_) => "webhook",
    }
}

impl Ended {
    fn failed(how: impl ToString) -> Self {
        Self {
            result: StartResult::Failed,
            how: how.to_string(),
            output: Vec::new(),
        }
    }

    fn timeout(limit: Duration) -> Self {
        Self {
            result: StartResult::Timeout,
            how: format!("given up after {limit:?}"),
            output: Vec::new(),
        }
    }

    /// One line without control characters: what a starter writes is not ours.
    fn detail(&self) -> String {
        let output = String::from_utf8_lossy(&self.output);
        let clean: String = output
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        match clean.trim() {
            "" => self.how.clone(),
            output => format!("{}: {output}", self.how),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_starter_writes_becomes_one_line() {
        let check = |output: &[u8], expected: &str| {
            let ended = Ended {
                output: output.to_vec(),
                ..Ended::failed("exit status: 1")
            };
            assert_eq!(ended.detail(), expected);
        };
        check(b"", "exit status: 1");
        check(b" \n\t\n", "exit status: 1");
        check(b"no quota\n", "exit status: 1: no quota");
        check(b"\x1b[31mred\r\nline", "exit status: 1: [31mred  line");
        check(b"\xff", "exit status: 1: \u{fffd}");
    }
}
