//! Endpoints to be probed, on loopback, at ports that the kernel picks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The answer of a server.
pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Makes answers from requests.
type Handler = Box<dyn Fn(Request<Bytes>) -> Answer + Send + Sync>;

/// An HTTP server whose status can be changed, and that counts.
pub(crate) struct Server {
    pub(crate) address: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    status: AtomicU16,
    requests: AtomicU32,
    connections: AtomicU32,
    version: http::Version,
    /// What answers instead of the usual.
    handler: Option<Handler>,
}

/// A server of bytes: it reads a request's head and writes what it was told to.
pub(crate) struct Script {
    pub(crate) address: String,
    connections: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Server {
    /// Speaks HTTP/1.1.
    pub(crate) async fn start() -> Self {
        Self::with(None, http::Version::HTTP_11).await
    }

    /// Speaks HTTP of `version`, under TLS if told how.
    pub(crate) async fn with(tls: Option<TlsAcceptor>, version: http::Version) -> Self {
        Self::start_with(tls, version, None).await
    }

    /// Answers as `handler` says.
    pub(crate) async fn of(
        tls: Option<TlsAcceptor>,
        version: http::Version,
        handler: impl Fn(Request<Bytes>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(tls, version, Some(Box::new(handler))).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        version: http::Version,
        handler: Option<Handler>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            status: 200.into(),
            requests: 0.into(),
            connections: 0.into(),
            version,
            handler,
        });
        let task = tokio::spawn(accept(listener, tls, state.clone()));
        Self {
            address,
            state,
            task,
        }
    }

    pub(crate) fn answer_with(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> u32 {
        self.state.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u32 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), state.clone());
        state.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            let Some(tls) = tls else {
                return serve(stream, state).await;
            };
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, state).await;
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let h2 = state.version == http::Version::HTTP_2;
    let service = service_fn(move |request| answer(request, state.clone()));
    let stream = TokioIo::new(stream);
    // A probe that hangs up early is no concern of a server.
    let _ = if h2 {
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await
    } else {
        http1::Builder::new()
            .serve_connection(stream, service)
            .await
    };
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, hyper::Error> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, body.collect().await?.to_bytes());
    Ok(match &state.handler {
        Some(handler) => handler(request),
        None => usual(&request, &state),
    })
}

/// 200 only for the request that a probe should send; 599 tells a test that it did not.
fn usual(request: &Request<Bytes>, state: &State) -> Answer {
    let host = request.uri().host().map(str::to_owned);
    let host = host.or_else(|| Some(request.headers().get("host")?.to_str().ok()?.to_owned()));
    let right = request.version() == state.version
        && request.method() == http::Method::GET
        && request.uri().path() == "/healthz"
        && host.is_some_and(|host| host == "probe.test");
    let status = if right {
        state.status.load(Ordering::Relaxed)
    } else {
        599
    };
    let response = Response::builder().status(status);
    response.body(Full::from("a body").boxed()).unwrap()
}

impl Script {
    /// Reads a head, writes `bytes`, and then hangs up if `end`, else keeps silent.
    pub(crate) async fn start(bytes: impl Into<Vec<u8>>, end: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (bytes, connections) = (Arc::new(bytes.into()), Arc::new(AtomicU32::new(0)));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            let mut plays = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                plays.spawn(play(stream, bytes.clone(), end));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn play(mut stream: TcpStream, bytes: Arc<Vec<u8>>, end: bool) {
    let mut head = [0; 4096];
    // What a probe says does not matter here, nor whether it waits for all of the answer.
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(&bytes).await;
    if !end {
        std::future::pending::<()>().await;
    }
}

/// A port that refuses connections for as long as the socket lives: bound, but not listening.
pub(crate) fn refusing() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}
