//! Drains that have a deadline: when it comes, what waits in the region is made elsewhere.
//!
//! Only this looks at the clock; the order itself lies with the others. With this dead a drain stays
//! what it is: no new attempts, and all the time for those that are there.

use std::time::{Duration, Instant};

use tidegate_telemetry::EventKind;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use crate::orders::{Due, waiting};
use crate::shared::Shared;

/// What can be made elsewhere has been by then; what is left is told.
const SETTLED: Duration = Duration::from_secs(1);

/// Keeps the deadlines until it is dropped.
#[derive(Debug)]
pub struct Deadlines(JoinHandle<()>);

impl Deadlines {
    /// Keeps the deadlines of the orders of `shared`. Needs a tokio runtime with time.
    pub fn start(shared: Shared) -> Self {
        Self(tokio::spawn(keep(shared)))
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(shared: Shared) {
    loop {
        match shared.orders.next_deadline() {
            None => shared.orders.new_deadline().await,
            Some(deadline) => tokio::select! {
                () = sleep_until(deadline.into()) => {}
                () = shared.orders.new_deadline() => {}
            },
        }
        let due = shared.orders.hurry(&shared, Instant::now());
        if !due.is_empty() {
            tokio::spawn(tell(due, shared.clone()));
        }
    }
}

async fn tell(due: Vec<Due>, shared: Shared) {
    sleep(SETTLED).await;
    for one in due {
        shared.events.record(EventKind::DrainDue {
            upstream: one.upstream,
            region: one.region,
            in_flight: one.in_flight,
            left: one.cell.in_flight(),
            waiting: waiting(&one.cell),
        });
    }
}
