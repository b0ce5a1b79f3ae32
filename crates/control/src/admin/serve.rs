//! Binds and serves the admin listener, with bounds on what clients may hold.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::AdminOptions;

/// Connections open at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must be complete within this; an idle connection ends after it too.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// No connection lives longer, whatever it does.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// Bytes buffered per connection: room for an `/explain` with many fields.
const BUFFER_BYTES: usize = 64 * 1024;
/// Wait after a failed accept (usually no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests under way get so long at the end.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A running admin listener. Dropping it ends it at once.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    permits: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

/// Why the admin listener could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {bind} for admin.bind: {source}")]
pub struct AdminError {
    /// Where.
    pub bind: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl Admin {
    /// Binds and serves on the runtime that calls it.
    ///
    /// # Errors
    /// [`AdminError`] when the address cannot be bound.
    pub async fn start(options: AdminOptions) -> Result<Self, AdminError> {
        let bind = options.bind;
        let (listener, address) = listen(bind)
            .await
            .map_err(|source| AdminError { bind, source })?;
        if !bind.ip().is_loopback() {
            tracing::warn!(
                %address,
                "the admin listener has no authentication and is not on loopback: \
                 whoever can connect can drain regions"
            );
        }
        let (stopping, stop) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let accepting = tokio::spawn(accept(
            listener,
            super::router(options),
            permits.clone(),
            stop,
        ));
        Ok(Self {
            address,
            stopping,
            permits,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing new, and waits for the requests under way, at most two seconds.
    pub async fn stop(self) {
        self.accepting.abort();
        self.stopping.send_replace(true);
        let all = self.permits.acquire_many(CONNECTIONS_MAX as u32);
        let _ = timeout(STOP_MAX, all).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn listen(bind: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(bind).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(
    listener: TcpListener,
    router: Router,
    permits: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) {
    // The semaphore is never closed.
    while let Ok(permit) = permits.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, router.clone(), permit, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection. Ends when the client does, when its time is up, when the process stops,
/// or when the listener was dropped.
async fn serve(
    stream: TcpStream,
    router: Router,
    _permit: OwnedSemaphorePermit,
    mut stop: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = timeout(CONNECTION_MAX, connection.as_mut()) => ended.ok(),
        gracefully = told_to_stop(&mut stop) => {
            if gracefully {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            None
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

/// Waits for the end of the listener; false when it was dropped rather than stopped.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) -> bool {
    stop.wait_for(|stopping| *stopping).await.is_ok()
}
