//! A simulated regional backend: one service that every region runs alike, with dials for what can go wrong.
//!
//! Plaintext ports speak HTTP/1.1 and HTTP/2 by prior knowledge; with a certificate, ALPN decides. What is served
//! depends on the path alone (see [`Endpoint`]), how it is served on the [`Behaviour`] that is swapped while requests
//! run. Every answer names its region, and every arrival is written down: three ledgers must agree after a storm.

mod answer;
mod data_count;
mod dying;
mod endpoint;
mod files;
mod fuse;
mod grpc;
mod ledger;
mod metered;
mod range;
mod service;
mod websocket;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::behaviour::Behaviour;
use crate::tasks::{EndOnDrop, Tasks};
pub use endpoint::Endpoint;
use fuse::{Fuse, Socket};
use ledger::Ledger;
pub use ledger::RegionSnapshot;
use metered::{Interjection, Metered};
use service::Visitor;

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What a region is like when it starts.
#[derive(Clone, Debug)]
pub struct RegionSpec {
    /// The name in `x-lab-region`; visible ASCII.
    pub name: String,
    /// How it treats requests until [`Region::set`] says otherwise.
    pub behaviour: Behaviour,
    /// TLS instead of plaintext.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections open at a time; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Seed of latencies and made-up errors.
    pub seed: u64,
}

impl RegionSpec {
    /// A plaintext region with the default behaviour and at most 4,096 connections.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            behaviour: Behaviour::default(),
            tls: None,
            connections_max: 4096,
            seed: 1,
        }
    }
}

/// Why a region could not start.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// No loopback port could be bound.
    #[error("region {name} cannot listen on loopback")]
    Listen {
        /// The region.
        name: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The name cannot stand in a header.
    #[error("region name {name:?} is not visible ASCII")]
    Name {
        /// The name.
        name: String,
    },
}

/// What all requests of one region share.
struct Shared {
    name: http::HeaderValue,
    behaviour: ArcSwap<Behaviour>,
    ledger: Arc<Ledger>,
    rng: Mutex<fastrand::Rng>,
    tasks: Tasks,
}

/// A running region. Dropping it closes its port and its connections.
pub struct Region {
    name: String,
    addr: SocketAddr,
    shared: Arc<Shared>,
    _tasks: EndOnDrop,
}

impl Region {
    /// Starts a region on an ephemeral loopback port.
    ///
    /// # Errors
    /// [`RegionError`] when the name is no header value or no port can be bound.
    pub async fn start(spec: RegionSpec) -> Result<Self, RegionError> {
        let name = spec.name.clone();
        let Ok(header) = http::HeaderValue::from_str(&name) else {
            return Err(RegionError::Name { name });
        };
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let located = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (addr, listener) = located.map_err(|source| RegionError::Listen {
            name: name.clone(),
            source,
        })?;
        let tasks = Tasks::new();
        let shared = Arc::new(Shared {
            name: header,
            behaviour: ArcSwap::from_pointee(spec.behaviour),
            ledger: Arc::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(spec.seed)),
            tasks: tasks.clone(),
        });
        let tls = spec.tls.map(TlsAcceptor::from);
        tasks.spawn(accept(
            listener,
            tls,
            spec.connections_max,
            Arc::clone(&shared),
        ));
        Ok(Self {
            name,
            addr,
            shared,
            _tasks: EndOnDrop(tasks),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replaces the behaviour for requests that arrive from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.shared.behaviour.store(Arc::new(behaviour));
    }

    /// Changes parts of the behaviour. Two callers at once: one change may be lost.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.behaviour();
        change(&mut behaviour);
        self.set(behaviour);
    }

    /// The behaviour in force.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.shared.behaviour.load().as_ref().clone()
    }

    /// What the region has seen so far.
    #[must_use]
    pub fn snapshot(&self) -> RegionSnapshot {
        self.shared.ledger.snapshot(&self.name)
    }

    /// How often a request with this `x-lab-id` arrived; 0 when never.
    #[must_use]
    pub fn times_seen(&self, id: &str) -> u64 {
        self.shared.ledger.times_seen(id)
    }

    /// Every `x-lab-id` that arrived, with its count, in no order.
    #[must_use]
    pub fn ids(&self) -> Vec<(String, u64)> {
        self.shared.ledger.ids()
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections_max: usize,
    shared: Arc<Shared>,
) {
    let slots = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the next connection may fare better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (tls, context) = (tls.clone(), Arc::clone(&shared));
        shared.tasks.spawn(async move {
            greet(stream, tls, context).await;
            drop(slot);
        });
    }
}

async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let _connection = shared.ledger.connect();
    let Some(tls) = tls else {
        return serve(stream, shared).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream));
    if let Ok(Ok(stream)) = handshake.await {
        serve(stream, shared).await;
    }
}

async fn serve<S>(stream: S, shared: Arc<Shared>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Socket + Unpin + Send + 'static,
{
    let (interjection, fuse) = (Interjection::default(), Fuse::default());
    let ledger = Arc::clone(&shared.ledger);
    let metered = Metered::new(stream, ledger, interjection.clone(), fuse.clone());
    let visitor = Visitor {
        shared: Arc::clone(&shared),
        interjection,
        fuse,
    };
    let service = hyper::service::service_fn(move |request| {
        let visitor = visitor.clone();
        async move { Ok::<_, std::convert::Infallible>(visitor.answer(request).await) }
    });
    let mut server = auto::Builder::new(shared.tasks.clone());
    server.http1().timer(TokioTimer::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1024)
        .enable_connect_protocol();
    // How a connection ended is the peer's business; the ledger has what arrived.
    let _ = server
        .serve_connection_with_upgrades(TokioIo::new(metered), service)
        .await;
}
