//! Connections of the client: opened when needed, kept, and replaced when they are gone.
//!
//! HTTP/1.1 takes the connection that was used last, so the number that stays open is the number really needed.
//! HTTP/2 spreads requests over a fixed number of connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::snapshot::Fault;
use super::spec::{Prepared, Protocol};
use crate::content_body::ContentBody;
use crate::sync::locked;
use crate::tasks::Tasks;

const H2_STREAM_WINDOW: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

type H1 = http1::SendRequest<ContentBody>;
type H2 = http2::SendRequest<ContentBody>;

/// Something that a request can be sent on.
pub(super) enum Lane {
    H1(H1),
    H2(H2),
}

/// All lanes of one client.
pub(super) struct Lanes {
    idle: Mutex<Vec<H1>>,
    shared: Vec<tokio::sync::Mutex<Option<H2>>>,
    tls: Option<TlsConnector>,
    tasks: Tasks,
    opened: AtomicU64,
}

impl Lanes {
    pub(super) fn new(prepared: &Prepared, tasks: Tasks) -> Self {
        let spec = &prepared.spec;
        let tls = spec.tls.as_ref().map(|tls| {
            let mut tls = rustls::ClientConfig::clone(tls);
            tls.alpn_protocols = vec![alpn(spec.protocol).to_vec()];
            TlsConnector::from(Arc::new(tls))
        });
        let shared = std::iter::repeat_with(Default::default).take(spec.h2_connections.max(1));
        Self {
            idle: Mutex::default(),
            shared: shared.collect(),
            tls,
            tasks,
            opened: AtomicU64::new(0),
        }
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// A lane for request `number`, opened if there is none.
    pub(super) async fn take(&self, prepared: &Prepared, number: u64) -> Result<Lane, Fault> {
        match prepared.spec.protocol {
            Protocol::H1 => self.take_h1(prepared).await.map(Lane::H1),
            Protocol::H2 => self.take_h2(prepared, number).await.map(Lane::H2),
        }
    }

    /// Gives a lane back whose answer has been read to its end.
    pub(super) fn give_back(&self, lane: Lane) {
        if let Lane::H1(lane) = lane
            && !lane.is_closed()
        {
            locked(&self.idle).push(lane);
        }
    }

    async fn take_h1(&self, prepared: &Prepared) -> Result<H1, Fault> {
        loop {
            let idle = locked(&self.idle).pop();
            let Some(mut lane) = idle else { break };
            if lane.ready().await.is_ok() {
                return Ok(lane);
            }
        }
        match self.connect(prepared).await? {
            Stream::Plain(stream) => self.h1(stream).await,
            Stream::Tls(stream) => self.h1(*stream).await,
        }
    }

    async fn take_h2(&self, prepared: &Prepared, number: u64) -> Result<H2, Fault> {
        let slot = (number % self.shared.len() as u64) as usize;
        // Held while connecting: the others wait for this connection instead of opening their own.
        let mut slot = self.shared[slot].lock().await;
        if let Some(lane) = slot.as_ref().filter(|lane| !lane.is_closed()) {
            return Ok(lane.clone());
        }
        let lane = match self.connect(prepared).await? {
            Stream::Plain(stream) => self.h2(stream).await?,
            Stream::Tls(stream) => self.h2(*stream).await?,
        };
        Ok(slot.insert(lane).clone())
    }

    async fn connect(&self, prepared: &Prepared) -> Result<Stream, Fault> {
        let connected = TcpStream::connect(prepared.spec.target).await;
        let stream = connected.map_err(|_| Fault::Connect)?;
        let _ = stream.set_nodelay(true);
        self.opened.fetch_add(1, Relaxed);
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        let secured = tls.connect(prepared.tls_name.clone(), stream).await;
        let stream = secured.map_err(|_| Fault::Tls)?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let needed = prepared.spec.protocol == Protocol::H2;
        // A server may ignore ALPN and speak HTTP/1.1; HTTP/2 must be agreed on.
        if agreed.is_some_and(|agreed| agreed == b"h2") != needed {
            return Err(Fault::Negotiation);
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    async fn h1<S>(&self, stream: S) -> Result<H1, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (lane, connection) = shaken.map_err(|_| Fault::Negotiation)?;
        self.tasks.spawn(async move {
            // Its errors reach the request that suffers from them.
            let _ = connection.await;
        });
        Ok(lane)
    }

    async fn h2<S>(&self, stream: S) -> Result<H2, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http2::Builder::new(self.tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await;
        let (lane, connection) = shaken.map_err(|_| Fault::Negotiation)?;
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok(lane)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::H1 => b"http/1.1",
        Protocol::H2 => b"h2",
    }
}
