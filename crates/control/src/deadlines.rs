//! Orders at whose moment something happens: what waits in a drained region is made elsewhere, what was
//! ordered for a time is taken back.
//!
//! Only this looks at the clock; the orders themselves lie with the others. With this dead they stay
//! what they are. Moments are those of the wall clock, which may be set: it is looked at again every few
//! seconds. What could not be written down is tried again here as well.

use std::time::{Duration, SystemTime};

use tidegate_telemetry::EventKind;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::orders::{Due, Orders, waiting};
use crate::shared::Shared;

/// What can be made elsewhere has been by then; what is left is told.
const SETTLED: Duration = Duration::from_secs(1);

/// The wall clock is trusted for so long.
const LOOK: Duration = Duration::from_secs(10);

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
        let next = next_look(&shared);
        tokio::select! {
            () = sleep_for(next) => {}
            () = shared.orders.new_deadline() => {}
        }
        let now = SystemTime::now();
        let due = shared.orders.hurry(&shared, now);
        let expired = shared.orders.expire(&shared, now);
        if expired || !due.is_empty() || shared.orders.unkept().is_some() {
            Orders::keep(&shared).await;
        }
        if !due.is_empty() {
            tokio::spawn(tell(due, shared.clone()));
        }
    }
}

/// How long nothing is to be done; none: until there is another order.
fn next_look(shared: &Shared) -> Option<Duration> {
    let next = shared.orders.next_deadline();
    let left = next.map(|next| next.duration_since(SystemTime::now()).unwrap_or_default());
    match left {
        None => shared.orders.unkept().map(|_| LOOK),
        Some(left) => Some(left.min(LOOK)),
    }
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        // A clock that is a little behind this one must not make it spin.
        Some(time) => sleep(time.max(Duration::from_millis(1))).await,
        None => std::future::pending().await,
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
