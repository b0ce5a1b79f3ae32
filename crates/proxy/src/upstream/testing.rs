//! What tests of connections share: upstreams on loopback, endpoints as the pipeline knows them, and
//! runtimes like a worker's.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::plan::{CircuitBreaker, ConnectionPolicy, Limits, UpstreamProtocol};
use tidegate_core::{Endpoint, EndpointCell, RegionCell};
use tidegate_telemetry::metrics::{Metrics, UpstreamHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::directory::Directory;
use super::gate::Allowed;
use super::pool::{Checked, Freshness, Home, Link, Pool, Target};
use crate::clock::now;
use crate::conn::Conn;
use crate::h2;
use crate::tls::client::{Profile, Profiles};
use crate::wheel::Wheel;

/// An upstream on its own thread; what it accepts is counted.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) accepted: Arc<AtomicUsize>,
    /// Dropped, it ends the thread and its connections.
    _alive: mpsc::Sender<()>,
    /// Each message ends the open connections.
    pub(super) hang_up: mpsc::Sender<()>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Speaks {
    /// Sends back what it gets.
    Echo,
    /// HTTP/2 without TLS: 200 to everything, after as many streams as allowed at a time.
    H2 { streams: u32 },
}

impl Upstream {
    pub(super) fn start(speaks: Speaks) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (alive, dead) = mpsc::channel(1);
        let (hang_up, hung_up) = mpsc::channel(1);
        let count = accepted.clone();
        std::thread::spawn(move || {
            block_on(serve(listener, speaks, count, dead, hung_up));
        });
        Self {
            address,
            accepted,
            _alive: alive,
            hang_up,
        }
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub(super) async fn serve(
    listener: std::net::TcpListener,
    speaks: Speaks,
    count: Arc<AtomicUsize>,
    mut dead: mpsc::Receiver<()>,
    mut hung_up: mpsc::Receiver<()>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut open = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn_local(serve_one(accepted.unwrap().0, speaks));
            }
            Some(()) = hung_up.recv() => open.shutdown().await,
            _ = dead.recv() => return,
        }
    }
}

pub(super) async fn serve_one(mut stream: TcpStream, speaks: Speaks) {
    match speaks {
        Speaks::Echo => {
            let (mut read, mut write) = stream.split();
            let _ended = tokio::io::copy(&mut read, &mut write).await;
        }
        Speaks::H2 { streams } => {
            let mut builder = ::h2::server::Builder::new();
            builder.max_concurrent_streams(streams);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
                return;
            };
            let mut held = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/hold" {
                    held.push((request, respond));
                } else {
                    let _sent = respond.send_response(http::Response::new(()), true);
                }
            }
        }
    }
}

/// Runs a test as a worker would. A test that hangs fails.
pub(super) fn on_runtime<F: Future>(run: F) -> F::Output {
    let bounded = async { tokio::time::timeout(Duration::from_secs(30), run).await };
    block_on(bounded).expect("the test ends in time")
}

pub(super) fn block_on<F: Future>(run: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, run)
}

/// An endpoint as the pipeline knows it.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) endpoint: Endpoint,
    pub(super) region: Arc<RegionCell>,
    pub(super) profile: Arc<Profile>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) series: UpstreamHandle,
}

impl Known {
    /// The same endpoint under a plan of this number that bounds connections.
    pub(super) fn bounded(&self, generation: u64, endpoint: Limits, region: Limits) -> Self {
        let breaker = CircuitBreaker {
            endpoint,
            region,
            ejection: None,
        };
        let profile = Profile {
            allowed: Allowed::new(generation, &breaker),
            ..(*self.profile).clone()
        };
        Self {
            profile: Arc::new(profile),
            ..self.clone()
        }
    }

    /// Another endpoint of the same region, under the same plan.
    pub(super) fn neighbour(&self, address: SocketAddr) -> Self {
        let endpoint = Endpoint {
            address: address.to_string().into(),
            weight: 1,
            zone: None,
            cell: Arc::new(EndpointCell::new(now())),
        };
        Self {
            endpoint,
            ..self.clone()
        }
    }

    pub(super) fn new(address: SocketAddr, protocol: UpstreamProtocol) -> Self {
        let policy = ConnectionPolicy {
            protocol,
            tls: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            idle_max: 2,
            warm_standby: 0,
        };
        let metrics = Metrics::new();
        Self {
            endpoint: Endpoint {
                address: address.to_string().into(),
                weight: 1,
                zone: None,
                cell: Arc::new(EndpointCell::new(now())),
            },
            region: Arc::new(RegionCell::new(now())),
            profile: Profiles::default().get(&policy, Allowed::default()),
            series: metrics.upstream("shop", "eu"),
            metrics,
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            endpoint: &self.endpoint,
            region: &self.region,
            profile: &self.profile,
            series: &self.series,
        }
    }
}

pub(super) fn pool(index: usize, directory: &Directory) -> Pool {
    let wheel = Wheel::new(now());
    let sweeper = wheel.run();
    tokio::task::spawn_local(sweeper);
    Pool::new(index, directory, wheel)
}

/// What the metrics say.
pub(super) fn metric(known: &Known, name: &str) -> f64 {
    let text = known.metrics.render(None);
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or("0");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

pub(super) fn idle(known: &Known) -> f64 {
    metric(known, "tidegate_upstream_idle_connections{")
}

pub(super) async fn take(pool: &Pool, known: &Known, freshness: Freshness) -> Checked {
    pool.checkout(&known.target(), freshness).await.unwrap()
}

pub(super) fn conn(checked: Checked) -> (Box<Conn>, Home) {
    match checked.link {
        Link::H1(conn) => (conn, checked.home.unwrap()),
        Link::H2(_) => panic!("HTTP/2"),
    }
}

pub(super) fn put(checked: Checked) {
    let (conn, home) = conn(checked);
    home.put(conn);
}

/// Sends a word and reads it back: the connection works on this thread.
pub(super) async fn echo(conn: &mut Conn) {
    conn.io_mut().write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    conn.io_mut().read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
}

pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs `theirs` on a thread of its own with the pool of index 1 while this thread waits.
pub(super) fn on_another_thread<F>(
    directory: &Directory,
    theirs: impl FnOnce(Pool) -> F + Send + 'static,
) where
    F: Future<Output = ()>,
{
    let directory = directory.clone();
    let run = move || on_runtime(async move { theirs(pool(1, &directory)).await });
    std::thread::spawn(run).join().unwrap();
}

/// Asks for `path` on the stream that was checked out; the answer's status.
pub(super) async fn ask(checked: Checked, path: &str) -> u16 {
    use crate::exchange::HeadEvent;
    let mut exchange = start(checked, path);
    match std::future::poll_fn(|cx| exchange.poll_head(cx))
        .await
        .unwrap()
    {
        HeadEvent::Final(head) | HeadEvent::Interim(head) => head.status().as_u16(),
    }
}

pub(super) fn start(checked: Checked, path: &str) -> h2::client::Exchange {
    let Link::H2(handle) = checked.link else {
        panic!("HTTP/1.1")
    };
    let request = http::Request::get(format!("http://a.b{path}"))
        .body(())
        .unwrap();
    h2::client::Exchange::start(handle, request, true).unwrap()
}
