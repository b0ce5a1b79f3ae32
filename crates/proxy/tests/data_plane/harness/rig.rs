//! A running data plane, and what it tells of itself.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tidegate_core::settings::Listener;
use tidegate_core::{Board, PlanHandle};
use tidegate_proxy::{Drained, Proxy, ProxyOptions, Running};
use tidegate_telemetry::access::AccessLog;
use tidegate_telemetry::metrics::Metrics;

use super::{PATIENCE, until};

/// The data plane under test. Dropping it ends it.
pub(crate) struct Rig {
    running: Running,
    pub(crate) plan: Arc<PlanHandle>,
    pub(crate) board: Arc<Board>,
    books: Books,
}

/// What outlives the data plane: its access log and its metrics.
#[derive(Clone)]
pub(crate) struct Books {
    metrics: Arc<Metrics>,
    lines: Lines,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Rig {
    pub(super) fn start(
        listeners: Vec<Listener>,
        threads: usize,
        plan: Arc<PlanHandle>,
        board: Arc<Board>,
    ) -> Self {
        let books = Books {
            metrics: Metrics::new(),
            lines: Lines::default(),
        };
        let access = AccessLog::to(books.lines.clone(), books.metrics.clone()).unwrap();
        let running = Proxy::start(ProxyOptions {
            records: Default::default(),
            listeners,
            threads,
            plan: plan.clone(),
            news: board.news().clone(),
            metrics: books.metrics.clone(),
            access,
        });
        Self {
            running: running.unwrap(),
            plan,
            board,
            books,
        }
    }

    /// The address of the first listener, which speaks plaintext.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.addresses()[0].1
    }

    /// The address of the listener called `https`.
    pub(crate) fn tls_addr(&self) -> SocketAddr {
        let named = self
            .running
            .addresses()
            .iter()
            .find(|(name, _)| name == "https");
        named.unwrap().1
    }

    /// The process's end of it.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Log and metrics, to be looked at after the end.
    pub(crate) fn books(&self) -> Books {
        self.books.clone()
    }

    /// Shuts down in order; what is left after `PATIENCE` is cut.
    pub(crate) async fn shutdown(self) -> Drained {
        self.running.shutdown(PATIENCE).await
    }

    /// Takes the running part out, to shut it down in the test's own way.
    pub(crate) fn into_running(self) -> Running {
        self.running
    }

    /// Waits for `count` lines of the access log.
    pub(crate) async fn log(&self, count: usize) -> Vec<Value> {
        self.books.log(count).await
    }

    /// How many lines the access log has by now.
    pub(crate) fn lines(&self) -> usize {
        self.books.lines().len()
    }

    /// The value of one series as it stands in the exposition, 0 if it is not there:
    /// `tidegate_requests_lost_total{why="connect_failed"}`.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let live = self.plan.newest();
        value(&self.books.metrics.render(live.as_deref()), series)
    }

    /// The sum of all series of one metric.
    pub(crate) fn total(&self, metric: &str) -> u64 {
        let text = self.books.metrics.render(None);
        let lines = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(metric));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
            .sum()
    }

    /// Attempts under way, at all endpoints.
    pub(crate) fn in_flight(&self) -> u32 {
        self.board
            .endpoints()
            .iter()
            .map(|(_, cell)| cell.in_flight())
            .sum()
    }

    /// Waits until no attempt is under way.
    pub(crate) async fn until_idle(&self) {
        until("no attempt in flight", || self.in_flight() == 0).await;
    }
}

impl Books {
    /// Waits for `count` lines of the access log.
    pub(crate) async fn log(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} log lines"), || {
            self.lines().len() >= count
        })
        .await;
        let lines = self.lines();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    fn lines(&self) -> Vec<Value> {
        let bytes = self.lines.0.lock().unwrap();
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

fn value(text: &str, series: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}
