//! A worker's thread: its runtime, its accept loops, its end.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use pingora_core::server::ListenFds;
use pingora_core::services::Service;
use tidegate_telemetry::access::AccessLog;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::accept::{self, AcceptService, Accepted};
use crate::clock::{self, in_turns};
use crate::handshake;
use crate::listener::ListenerContext;
use crate::tally::Tally;
use crate::upstream::standby;
use crate::worker::{Shared, Worker};

/// What a thread is given to become a worker.
pub(crate) struct Seat {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Vec<ListenerContext>,
    pub(crate) table: ListenFds,
    pub(crate) access: AccessLog,
    /// Counts accept loops.
    pub(crate) loops: Tally,
    /// Counts connections.
    pub(crate) connections: Tally,
    /// What is left is dropped when this becomes true.
    pub(crate) cut: watch::Receiver<bool>,
}

/// Every accept loop tells here once whether it can begin.
type Ready = mpsc::Sender<io::Result<()>>;

impl Seat {
    /// Runs the worker on this thread until it is cut.
    pub(crate) fn work(self, ready: Ready) {
        // Connections that are cut write their records when they are dropped: the log outlives them.
        let _access = self.access.clone();
        // So do counters, that a connection counts until it is gone.
        let _own = tidegate_telemetry::metrics::own();
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(clock::waited)
            .build()
        {
            Ok(runtime) => {
                LocalSet::new().block_on(&runtime, self.run(ready));
                // Not before the connections are gone: they may be accepting to the last.
                accept::uninstall();
            }
            Err(error) => {
                // Without a reader the start was given up already.
                let _ = ready.send(Err(error));
            }
        }
    }

    async fn run(mut self, ready: Ready) {
        let writer = self.access.thread();
        let worker = Worker::new(self.index, self.shared.clone(), writer, fastrand::u64(..));
        spawn_local(worker.wheel.run());
        let listening = worker.clone();
        spawn_local(async move { listening.hear_news().await });
        let listening = worker.clone();
        spawn_local(async move { listening.hear_plans().await });
        spawn_local(standby::keep(worker.clone()));
        self.install(&worker);
        self.start_services(ready);
        // An error means that whoever would tell us is gone: that is the end as well.
        let _ = self.shared.shutdown.clone().wait_for(|stop| *stop).await;
        worker.stop();
        let _ = self.cut.wait_for(|cut| *cut).await;
    }

    fn install(&self, worker: &Rc<Worker>) {
        let listeners: Vec<_> = self.listeners.iter().cloned().map(Rc::new).collect();
        let (worker, connections) = (worker.clone(), self.connections.clone());
        accept::install(Rc::new(move |listener: usize, accepted: Accepted| {
            let Some(listener) = listeners.get(listener).cloned() else {
                return;
            };
            let (worker, counted) = (worker.clone(), connections.count());
            // Boxed here, because spawning and ending a task move it several times.
            let first = Box::pin(handshake::serve(worker, listener, accepted));
            spawn_local(in_turns(async move {
                if let Some(rest) = first.await {
                    rest.await;
                }
                drop(counted);
            }));
        }));
    }

    fn start_services(&self, ready: Ready) {
        for (position, listener) in self.listeners.iter().enumerate() {
            let mut service = AcceptService {
                listener: listener.name.clone(),
                position,
                worker: self.index,
                places: listener.places.clone(),
                ready: ready.clone(),
            };
            let (table, shutdown) = (self.table.clone(), self.shared.shutdown.clone());
            let counted = self.loops.count();
            spawn_local(async move {
                service.start_service(Some(table), shutdown, 1).await;
                drop(counted);
            });
        }
    }
}
