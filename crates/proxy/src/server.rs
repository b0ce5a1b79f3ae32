//! Starting and stopping the data plane: sockets, worker threads, shutdown.
//!
//! Shutdown has no fixed wait. Sockets close, connections end with what they are doing, and it is
//! over the moment the last of them is gone; what is left at the time limit is cut.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_core::record::Records;
use tidegate_core::settings::Listener;
use tidegate_core::{News, PlanHandle};
use tidegate_telemetry::access::AccessLog;
use tidegate_telemetry::metrics::Metrics;
use tokio::sync::watch;

use crate::body::Totals;
use crate::listener::{ListenerContext, Sockets};
use crate::seat::Seat;
use crate::tally::Tally;
use crate::tap::Tap;
use crate::tls::client::Profiles;
use crate::tls::{CertificateHandle, TlsError};
use crate::upstream::directory::Directory;
use crate::worker::Shared;

/// What the data plane is started with.
pub struct ProxyOptions {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Worker threads; 0 counts as 1.
    pub threads: usize,
    /// The plan to serve, now and after every reload.
    pub plan: Arc<PlanHandle>,
    /// What tells of changes of regions: the board's.
    pub news: News,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are written down.
    pub access: AccessLog,
    /// Where decisions are recorded.
    pub records: Arc<Records>,
}

/// The data plane.
pub struct Proxy;

/// The data plane while it serves. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<(String, SocketAddr)>,
    certificates: CertificateHandle,
    tap: Tap,
    sockets: Sockets,
    signals: Signals,
    loops: Tally,
    connections: Tally,
    threads: Vec<JoinHandle<()>>,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Whether every connection ended by itself.
    pub finished: bool,
    /// Connections that were cut at the time limit.
    pub cut: usize,
}

/// Why the data plane cannot start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error("listener {listener}: cannot listen on {address}: {source}")]
    Bind {
        /// The listener.
        listener: String,
        /// Its address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A listener's certificates cannot be used.
    #[error("listener {listener}: {source}")]
    Tls {
        /// The listener.
        listener: String,
        /// What is wrong.
        source: Box<TlsError>,
    },
    /// A worker thread cannot run.
    #[error("a worker cannot start: {0}")]
    Worker(#[from] io::Error),
}

/// The two things that workers are told, in this order.
#[derive(Debug)]
struct Signals {
    /// Accept no more, end with what is under way.
    shutdown: watch::Sender<bool>,
    /// Drop what is left and return.
    cut: watch::Sender<bool>,
}

impl Proxy {
    /// Binds every listener and starts the workers; returns once all of them accept. Blocks for as
    /// long as that takes (files are read, threads started); needs no runtime of its caller.
    pub fn start(options: ProxyOptions) -> Result<Running, StartError> {
        let threads = options.threads.max(1);
        let listeners = contexts(&options)?;
        let sockets = Sockets::new();
        let addresses = bind(&sockets, &options.listeners, threads)?;
        let signals = Signals {
            shutdown: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        };
        let tap = Tap::new(threads);
        let shared = Arc::new(Shared {
            replay: Totals::new(options.metrics.clone())?,
            metrics: options.metrics,
            profiles: Profiles::default(),
            directory: Directory::new(threads),
            records: options.records,
            tap: tap.clone(),
            shutdown: signals.shutdown.subscribe(),
            news: listen(&options.news),
            plans: listen(options.plan.news()),
            plan: options.plan,
        });
        let mut running = Running {
            addresses,
            tap,
            certificates: CertificateHandle::new(secured(&listeners)),
            sockets,
            signals,
            loops: Tally::default(),
            connections: Tally::default(),
            threads: Vec::with_capacity(threads),
        };
        running.seat_workers(&shared, &listeners, &options.access, threads)?;
        Ok(running)
    }
}

impl Running {
    /// Name and address of every listener, port 0 resolved.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Reads certificates again, from any thread.
    pub fn certificates(&self) -> CertificateHandle {
        self.certificates.clone()
    }

    /// Shows what requests come, to any thread.
    pub fn tap(&self) -> Tap {
        self.tap.clone()
    }

    /// Client connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.open()
    }

    /// Stops accepting at once, lets connections finish what they are doing, and returns when the
    /// last is gone, or cuts the rest after `timeout`.
    pub async fn shutdown(mut self, timeout: Duration) -> Drained {
        // The workers' own descriptors go on until they have emptied their backlogs.
        self.sockets.close();
        self.signals.shutdown.send_replace(true);
        let finished = tokio::time::timeout(timeout, self.ended()).await.is_ok();
        let cut = if finished { 0 } else { self.connections.open() };
        self.signals.cut.send_replace(true);
        let threads = std::mem::take(&mut self.threads);
        if tokio::task::spawn_blocking(move || join(threads))
            .await
            .is_err()
        {
            tracing::error!("the workers could not be waited for");
        }
        Drained { finished, cut }
    }

    /// Waits for the last connection. It comes after the last accept loop, which may add one.
    async fn ended(&self) {
        self.loops.empty().await;
        self.connections.empty().await;
    }

    fn seat_workers(
        &mut self,
        shared: &Arc<Shared>,
        listeners: &[ListenerContext],
        access: &AccessLog,
        threads: usize,
    ) -> Result<(), StartError> {
        let (ready, readiness) = mpsc::channel();
        for index in 0..threads {
            let seat = Seat {
                index,
                shared: shared.clone(),
                listeners: listeners.to_vec(),
                table: self.sockets.table(),
                access: access.clone(),
                loops: self.loops.clone(),
                connections: self.connections.clone(),
                cut: self.signals.cut.subscribe(),
            };
            let ready = ready.clone();
            let builder = std::thread::Builder::new().name(format!("tidegate-{index}"));
            self.threads.push(builder.spawn(move || seat.work(ready))?);
        }
        drop(ready);
        // Every accept loop reports once, and goes on holding its end of the channel.
        let loops = threads * listeners.len();
        readiness.iter().take(loops).collect::<io::Result<()>>()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sockets.close();
        self.signals.shutdown.send_replace(true);
        self.signals.cut.send_replace(true);
        join(std::mem::take(&mut self.threads));
    }
}

/// A receiver that sees a change after all news. Several before it is looked at are one.
fn listen(news: &News) -> watch::Receiver<()> {
    let (tell, heard) = watch::channel(());
    news.subscribe(move || {
        tell.send_replace(());
    });
    heard
}

fn contexts(options: &ProxyOptions) -> Result<Vec<ListenerContext>, StartError> {
    let context = |listener: &Listener| {
        ListenerContext::new(listener, &options.metrics).map_err(|source| StartError::Tls {
            listener: listener.name.clone(),
            source: Box::new(source),
        })
    };
    options.listeners.iter().map(context).collect()
}

fn bind(
    sockets: &Sockets,
    listeners: &[Listener],
    threads: usize,
) -> Result<Vec<(String, SocketAddr)>, StartError> {
    let bind = |listener: &Listener| {
        let Listener {
            name,
            bind: address,
            ..
        } = listener;
        match sockets.bind(name, *address, threads) {
            Ok(bound) => Ok((name.clone(), bound)),
            Err(source) => Err(StartError::Bind {
                listener: name.clone(),
                address: *address,
                source,
            }),
        }
    };
    listeners.iter().map(bind).collect()
}

fn secured(listeners: &[ListenerContext]) -> Vec<(Arc<str>, Arc<crate::tls::server::ServerTls>)> {
    let tls = |listener: &ListenerContext| Some((listener.name.clone(), listener.tls.clone()?));
    listeners.iter().filter_map(tls).collect()
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a worker ended by a panic");
        }
    }
}

#[cfg(test)]
mod tests;
