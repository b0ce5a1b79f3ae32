//! The server's side against the `h2` crate's client, in memory. No plan is active, so that every
//! valid request is answered by ourselves; what upstreams answer is tested from outside.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use tidegate_core::PlanHandle;
use tidegate_core::settings::Listener;
use tidegate_telemetry::access::AccessLog;
use tidegate_telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::*;
use crate::facts::ConnectionFacts;
use crate::listener::ListenerContext;
use crate::tls::client::Profiles;
use crate::upstream::directory::Directory;
use crate::worker::{Shared, Worker};

const IDLE: Duration = Duration::from_secs(75);
const HEADER: Duration = Duration::from_secs(10);

fn worker() -> Rc<Worker> {
    let metrics = Metrics::new();
    let shared = Shared {
        records: Default::default(),
        plan: Arc::new(PlanHandle::new()),
        replay: crate::body::Totals::new(metrics.clone()).unwrap(),
        metrics,
        profiles: Profiles::default(),
        directory: Directory::new(1),
        tap: crate::tap::Tap::new(1),
        shutdown: watch::channel(false).1,
        news: watch::channel(()).1,
        plans: watch::channel(()).1,
    };
    let worker = Worker::new(0, Arc::new(shared), AccessLog::off().thread(), 7);
    let sweeper = worker.wheel.run();
    spawn_local(sweeper);
    worker
}

fn context(worker: &Rc<Worker>) -> Rc<Context> {
    let limits = ListenerLimits {
        idle_timeout: IDLE,
        header_timeout: HEADER,
        ..ListenerLimits::default()
    };
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let listener = Listener {
        name: "test".to_owned(),
        bind: nowhere,
        tls: None,
        limits,
        trusted: Vec::new(),
    };
    let listener = ListenerContext::new(&listener, &worker.shared.metrics).unwrap();
    let facts = ConnectionFacts {
        listener: "test".into(),
        client: nowhere,
        trusted: false,
        tls: None,
    };
    Context::new(worker.clone(), Rc::new(listener), facts)
}

/// A client's end of a connection that is served.
struct Served {
    worker: Rc<Worker>,
    io: Option<DuplexStream>,
    ended: JoinHandle<()>,
}

impl Served {
    fn start() -> Self {
        let worker = worker();
        let (near, far) = tokio::io::duplex(256 * 1024);
        let serving = serve(context(&worker), Stream::Memory(far), BytesMut::new());
        Self {
            worker,
            io: Some(near),
            ended: spawn_local(serving),
        }
    }

    async fn client(
        &mut self,
    ) -> (
        h2::client::SendRequest<Bytes>,
        JoinHandle<Result<(), h2::Error>>,
    ) {
        let io = self.io.take().unwrap();
        let (send, connection) = h2::client::handshake(io).await.unwrap();
        (send, spawn_local(connection))
    }
}

async fn here<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let bounded = async { tokio::time::timeout(Duration::from_secs(3600), test()).await };
    LocalSet::new()
        .run_until(bounded)
        .await
        .expect("the test ends in time")
}

fn request(method: Method, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

/// Status and content of the answer.
async fn ask(
    send: &mut h2::client::SendRequest<Bytes>,
    request: Request<()>,
) -> Result<(StatusCode, Vec<u8>), h2::Error> {
    let (response, _stream) = send.send_request(request, true)?;
    let response = response.await?;
    let (status, mut body, mut content) = (response.status(), response.into_body(), Vec::new());
    while let Some(data) = body.data().await {
        content.extend_from_slice(&data?);
    }
    Ok((status, content))
}

#[tokio::test(start_paused = true)]
async fn every_request_gets_its_answer() {
    here(async || {
        let mut served = Served::start();
        let (mut send, _connection) = served.client().await;
        let check = async |send: &mut _, request, status: u16, content: bool| {
            let what = format!("{request:?}");
            let (said, body) = ask(send, request).await.unwrap();
            assert_eq!(
                (said.as_u16(), !body.is_empty()),
                (status, content),
                "{what}"
            );
        };
        check(&mut send, request(Method::GET, "http://a.b/"), 404, true).await;
        check(&mut send, request(Method::HEAD, "http://a.b/"), 404, false).await;
        check(&mut send, request(Method::CONNECT, "a.b:443"), 501, true).await;
        let mut odd = request(Method::GET, "http://a.b/");
        odd.headers_mut().insert("host", "c.d".parse().unwrap());
        check(&mut send, odd, 400, true).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_without_requests_is_sent_away() {
    here(async || {
        let mut served = Served::start();
        let began = now();
        let (mut send, connection) = served.client().await;
        ask(&mut send, request(Method::GET, "http://a.b/"))
            .await
            .unwrap();
        connection.await.unwrap().unwrap();
        served.ended.await.unwrap();
        assert!(now() - began >= IDLE);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_greets_is_dropped() {
    here(async || {
        let mut served = Served::start();
        let began = now();
        let mut io = served.io.take().unwrap();
        io.write_all(b"PRI * HT").await.unwrap();
        served.ended.await.unwrap();
        assert!(now() - began >= HEADER && now() - began < IDLE);
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_the_process_stops_the_client_is_told() {
    here(async || {
        let mut served = Served::start();
        let (mut send, connection) = served.client().await;
        ask(&mut send, request(Method::GET, "http://a.b/"))
            .await
            .unwrap();
        let began = now();
        served.worker.stop();
        connection.await.unwrap().unwrap();
        served.ended.await.unwrap();
        assert!(now() - began < IDLE, "not by the idle limit");
        assert!(
            ask(&mut send, request(Method::GET, "http://a.b/"))
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_listen_is_cut_when_the_process_stops() {
    here(async || {
        let served = Served::start();
        let mut io = served.io.unwrap();
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let mut greeting = [0; 9];
        io.read_exact(&mut greeting).await.unwrap();
        let began = now();
        served.worker.stop();
        served.ended.await.unwrap();
        assert!(now() - began < HEADER);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_cancels_is_cut() {
    here(async || {
        let mut served = Served::start();
        let io = served.io.take().unwrap();
        // No window: every answer waits, until it is cancelled.
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(0).handshake::<_, Bytes>(io);
        let (mut send, connection) = handshake.await.unwrap();
        let connection = spawn_local(connection);
        let mut cancelled = 0;
        while let Ok((response, mut stream)) =
            send.send_request(request(Method::GET, "http://a.b/"), false)
        {
            if response.await.is_err() {
                break;
            }
            stream.send_reset(Reason::CANCEL);
            cancelled += 1;
            assert!(cancelled < 10 * CANCELLED, "still served");
        }
        assert!(cancelled > CANCELLED, "{cancelled} are no abuse");
        let told = connection.await.unwrap().unwrap_err();
        assert_eq!(told.reason(), Some(Reason::ENHANCE_YOUR_CALM));
        served.ended.await.unwrap();
    })
    .await;
}
