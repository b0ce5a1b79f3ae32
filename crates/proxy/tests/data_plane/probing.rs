//! Probes for the sake of balance: endpoints are asked beside requests, and who says that he is fast is
//! asked for what clients want.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Response;
use tidegate_core::plan::{Balance, Prequal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Ask, Down, Setup, h2_upstream, until};

const ENDPOINTS: usize = 5;

/// What one endpoint was asked.
#[derive(Debug, Default)]
struct Asked {
    probes: AtomicU32,
    requests: AtomicU32,
}

impl Asked {
    fn enter(&self, path: &str) {
        let counter = match path {
            "/load" => &self.probes,
            _ => &self.requests,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> (u32, u32) {
        let read = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        (read(&self.probes), read(&self.requests))
    }
}

/// An endpoint of HTTP/1.1 whose answers have these lines; connections are kept.
async fn endpoint(answer: String, asked: Arc<Asked>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer.clone(), asked.clone()));
        }
    });
    addr
}

async fn answer_all(mut stream: TcpStream, answer: String, asked: Arc<Asked>) {
    let mut read = Vec::new();
    while stream
        .read_buf(&mut read)
        .await
        .is_ok_and(|bytes| bytes > 0)
    {
        let text = String::from_utf8_lossy(&read).into_owned();
        if !text.ends_with("\r\n\r\n") {
            continue;
        }
        asked.enter(text.split(' ').nth(1).unwrap());
        read.clear();
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The same of HTTP/2.
async fn h2_endpoint(report: String, asked: Arc<Asked>) -> SocketAddr {
    h2_upstream(move |request, mut respond| {
        let (report, asked) = (report.clone(), asked.clone());
        async move {
            asked.enter(request.uri().path());
            let head = Response::builder().header("endpoint-load-metrics", report);
            let sent = respond.send_response(head.body(()).unwrap(), true);
            drop(sent);
        }
    })
    .await
}

fn setup(addresses: &[SocketAddr]) -> Setup {
    let mut setup = Setup::new(addresses.iter().map(|addr| ("eu", *addr)));
    setup.upstream().balance = Balance::Prequal(Prequal {
        // However slow the machine is.
        max_age: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        ..Prequal::new("/load")
    });
    setup
}

/// Asks until everybody was probed, and then `count` times more; what each was asked by then.
async fn ask(setup: Setup, asked: &[Arc<Asked>], count: u32) -> Vec<(u32, u32)> {
    let rig = setup.start();
    let counts = || asked.iter().map(|asked| asked.read()).collect::<Vec<_>>();
    let mut sent = 0;
    while counts().iter().any(|(probes, _)| *probes == 0) {
        assert_eq!(
            Ask::get("/bytes/1").send(Down::H1, rig.addr()).await.status,
            200
        );
        sent += 1;
        assert!(sent < 500, "somebody is never probed: {:?}", counts());
    }
    let before = counts();
    for _ in 0..count {
        assert_eq!(
            Ask::get("/bytes/1").send(Down::H2, rig.addr()).await.status,
            200
        );
    }
    let probes = || counts().iter().map(|(probes, _)| *probes).sum::<u32>();
    until("probes", || probes() > 0).await;
    assert!(probes() <= 3 * (sent + count), "{} probes", probes());
    let since = before.iter().zip(counts());
    since
        .map(|(was, is)| (is.0 - was.0, is.1 - was.1))
        .collect()
}

#[tokio::test]
async fn who_says_that_he_is_fast_gets_what_clients_ask_for() {
    for h2 in [false, true] {
        let asked: Vec<Arc<Asked>> = (0..ENDPOINTS).map(|_| Arc::default()).collect();
        let mut addresses = Vec::new();
        for (at, asked) in asked.iter().enumerate() {
            let ms = if at == 3 { 1 } else { 100 };
            let report = format!("TEXT named_metrics.rif=2,named_metrics.latency_ms={ms}");
            addresses.push(match h2 {
                true => h2_endpoint(report, asked.clone()).await,
                false => {
                    let fields = format!("endpoint-load-metrics: {report}\r\ncontent-length: 0");
                    endpoint(
                        format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"),
                        asked.clone(),
                    )
                    .await
                }
            });
        }
        // One worker, so that one pool knows what all have said.
        let mut setup = setup(&addresses).one_thread();
        setup.h2_up(h2);
        let counts = ask(setup, &asked, 60).await;
        assert!(counts[3].1 > 30, "h2: {h2}, {counts:?}");
    }
}

#[tokio::test]
async fn where_nothing_is_known_chance_decides() {
    let asked: Vec<Arc<Asked>> = (0..ENDPOINTS).map(|_| Arc::default()).collect();
    let mut addresses = Vec::new();
    for asked in &asked {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        addresses.push(endpoint(answer.to_owned(), asked.clone()).await);
    }
    let mut setup = setup(&addresses);
    if let Balance::Prequal(policy) = &mut setup.upstream().balance {
        // Whatever is found is too old at once.
        policy.max_age = Duration::ZERO;
    }
    let counts = ask(setup, &asked, 60).await;
    assert!(
        counts.iter().all(|(_, requests)| *requests > 0),
        "{counts:?}"
    );
}
