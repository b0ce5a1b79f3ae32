//! A client that accounts for every request it sent.
//!
//! In the open loop request n has an intended time, `start + n / rate`, and its latency counts from there: when all
//! workers are stuck behind a fault, the wait is in the figures instead of missing from them. A request that fails
//! on the wire is counted and never sent again; the only thing that moves to another connection is one that hyper
//! hands back with nothing of it written. Bodies are checked byte by byte while they arrive.

mod exchange;
mod expect;
mod lane;
mod snapshot;
mod spec;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::tasks::{EndOnDrop, Tasks};
use exchange::Exchanger;
pub use expect::Expect;
pub use snapshot::{Fault, Imbalance, Incident, Outcome, Second, Snapshot, Summary, WrongBody};
pub use spec::{ClientSpec, Leave, Pace, Protocol, RequestSpec, SpecError};
use tally::{Finished, Tally};

pub use crate::content_body::Framing;

/// What all workers of one client share.
struct Shared {
    exchanger: Exchanger,
    tally: Tally,
    tickets: AtomicU64,
    started: Instant,
    stopping: watch::Sender<bool>,
}

/// A running client. Dropping it ends its requests where they are; [`Client::stop`] lets them finish.
pub struct Client {
    shared: Arc<Shared>,
    /// Closes when the last worker has left.
    workers: mpsc::Receiver<()>,
    _tasks: EndOnDrop,
}

impl Client {
    /// Starts sending at once.
    ///
    /// # Errors
    /// [`SpecError`] when the specification cannot be carried out.
    pub fn start(spec: ClientSpec) -> Result<Self, SpecError> {
        let tasks = Tasks::new();
        let workers = spec.concurrency;
        let started = Instant::now();
        let tally = Tally::new(started, spec.slow_after);
        let exchanger = Exchanger::new(spec.validated()?, tasks.clone());
        let stopping = watch::Sender::new(false);
        let shared = Arc::new(Shared {
            exchanger,
            tally,
            tickets: AtomicU64::new(0),
            started,
            stopping,
        });
        let (present, gone) = mpsc::channel(1);
        for _ in 0..workers {
            tasks.spawn(work(Arc::clone(&shared), present.clone()));
        }
        Ok(Self {
            shared,
            workers: gone,
            _tasks: EndOnDrop(tasks),
        })
    }

    /// The figures so far. Requests under way are in `in_flight`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared
            .tally
            .snapshot(self.shared.exchanger.connections())
    }

    /// The `x-lab-id` of request `number`, counted from 0.
    #[must_use]
    pub fn id_of(&self, number: u64) -> String {
        self.shared.exchanger.id_of(number)
    }

    /// Sends nothing new, lets what is under way finish (each within its timeout), and closes the books.
    pub async fn stop(self) -> Snapshot {
        self.shared.stopping.send_replace(true);
        self.finish().await
    }

    /// Waits until the number of requests in the specification has been sent and finished. Without such a
    /// number it waits forever.
    pub async fn finish(mut self) -> Snapshot {
        while self.workers.recv().await.is_some() {}
        self.snapshot()
    }
}

async fn work(shared: Arc<Shared>, _present: mpsc::Sender<()>) {
    let mut stopping = shared.stopping.subscribe();
    while let Some((number, intended)) = next(&shared, &mut stopping).await {
        shared.tally.begin();
        let answer = shared.exchanger.run(number).await;
        shared.tally.end(Finished {
            number,
            intended,
            answer,
            finished: Instant::now(),
        });
    }
}

/// Takes the next ticket and waits for its time; `None` when there is nothing more to send.
async fn next(shared: &Shared, stopping: &mut watch::Receiver<bool>) -> Option<(u64, Instant)> {
    if *stopping.borrow() {
        return None;
    }
    let spec = shared.exchanger.spec();
    let number = shared.tickets.fetch_add(1, Relaxed);
    if spec.requests.is_some_and(|requests| number >= requests) {
        return None;
    }
    let Pace::Open { per_second } = spec.pace else {
        return Some((number, Instant::now()));
    };
    let intended = shared.started + Duration::from_secs_f64(number as f64 / per_second);
    tokio::select! {
        biased;
        _ = stopping.wait_for(|stopping| *stopping) => None,
        () = tokio::time::sleep_until(intended) => Some((number, intended)),
    }
}
