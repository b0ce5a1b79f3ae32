//! What the cells hear of attempts: who waits, what failed and what is no fault of the region's; and
//! what upstreams say of themselves.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::cell::{ErrorClass, Tally};
use tidegate_core::plan::UpstreamTls;
use tidegate_core::{EndpointCell, Health, RegionCell};
use tidegate_lab::{Action, RawUpstream};

use crate::harness::{Ask, Down, H1, H2, Rig, Setup, answering, h2_upstream, nowhere};
use crate::harness::{one_head, raw, received, until};

const NONE: [ErrorClass; 0] = [];
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn region(rig: &Rig) -> Arc<RegionCell> {
    rig.board.region("shop", "eu")
}

fn endpoint(rig: &Rig) -> Arc<EndpointCell> {
    rig.board.endpoints()[0].1.clone()
}

async fn until_waiting(rig: &Rig, count: u64) {
    let cell = region(rig);
    until(&format!("{count} to wait"), || {
        cell.tally().waiting() == count
    })
    .await;
}

/// Nothing is under way, and nobody is counted as waiting.
async fn assert_over(rig: &Rig, what: &str) -> Tally {
    rig.until_idle().await;
    let tally = region(rig).tally();
    assert_eq!((tally.waiting(), region(rig).in_flight()), (0, 0), "{what}");
    tally
}

/// A rig with one attempt that has sent its request and waits, and the client that does.
async fn waiting(script: Vec<Action>, per_try: Option<Duration>) -> (Rig, RawUpstream, H1) {
    let upstream = raw(vec![script]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.retry().attempts = 1;
    setup.retry().per_try = per_try;
    if per_try.is_some() {
        setup.route().timeout = Duration::from_millis(500);
    }
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    (rig, upstream, client)
}

fn errors(tally: &Tally) -> Vec<ErrorClass> {
    let met = |class: &ErrorClass| tally.errors[*class as usize] > 0;
    ErrorClass::ALL.into_iter().filter(met).collect()
}

#[tokio::test]
async fn an_attempt_waits_until_it_is_answered() {
    let answer = Action::send(GOOD);
    let script = vec![
        Action::ReadHead,
        Action::ReadBytes(1),
        answer,
        Action::Stall,
    ];
    let upstream = raw(vec![script]).await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\n";
    client.send(head).await;
    received(&upstream, 0, one_head).await;
    assert_eq!(region(&rig).tally().waiting(), 0, "the client still sends");
    client.send("x").await;
    assert_eq!(client.answer().await.text(), "ok");
    let tally = assert_over(&rig, "answered").await;
    let waits = "once for its connection, once for its answer";
    assert_eq!((tally.sent, errors(&tally).len()), (2, 0), "{waits}");
    assert!(tally.heard.is_some());
}

#[tokio::test]
async fn a_client_that_leaves_says_nothing_of_the_region() {
    let stalling = vec![Action::ReadHead, Action::Stall];
    let (rig, _upstream, client) = waiting(stalling, None).await;
    until_waiting(&rig, 1).await;
    drop(client);
    let tally = assert_over(&rig, "the client is gone").await;
    assert_eq!(errors(&tally), NONE);
}

#[tokio::test]
async fn what_an_upstream_does_is_counted_by_class() {
    let check = async |script: Vec<Action>, per_try: Option<u64>, status, expected| {
        let what = format!("{script:?}");
        let per_try = per_try.map(Duration::from_millis);
        let (rig, _upstream, mut client) = waiting(script, per_try).await;
        assert_eq!(client.answer().await.status, status, "{what}");
        assert_eq!(
            errors(&assert_over(&rig, &what).await),
            [expected],
            "{what}"
        );
    };
    let read = Action::ReadHead;
    check(
        vec![read.clone(), Action::Reset],
        None,
        502,
        ErrorClass::Reset,
    )
    .await;
    check(
        vec![read.clone(), Action::Close],
        None,
        502,
        ErrorClass::Reset,
    )
    .await;
    check(
        vec![read, Action::Stall],
        Some(50),
        504,
        ErrorClass::Timeout,
    )
    .await;
    check(
        answering("nonsense\r\n\r\n"),
        None,
        502,
        ErrorClass::ServerError,
    )
    .await;
    let failing = answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    check(failing, None, 500, ErrorClass::ServerError).await;
    let cut = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok");
    let mut cut_short = cut[..2].to_vec();
    cut_short.push(Action::Close);
    check(cut_short, None, 502, ErrorClass::Reset).await;
}

#[tokio::test]
async fn a_refused_connection_and_a_failed_handshake_are_told_apart() {
    let rig = Setup::to(nowhere().await).start();
    Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(errors(&region(&rig).tally()), [ErrorClass::Connect]);

    let upstream = raw(vec![vec![Action::send("this is no TLS")]]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.upstream().connection.tls = Some(UpstreamTls {
        server_name: None,
        roots: None,
        client_identity: None,
        insecure_skip_verify: true,
    });
    let rig = setup.start();
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.reason(), "connect_failed");
    assert_eq!(errors(&region(&rig).tally()), [ErrorClass::Tls]);
}

/// A request that is refused for its size, or comes too slowly, is its client's fault.
#[tokio::test]
async fn what_a_client_does_wrong_says_nothing_of_the_region() {
    let upstream = raw(vec![vec![Action::ReadAll]]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.upstream().body.max_bytes = Some(10);
    setup.route().idle_timeout = Duration::from_millis(50);
    let rig = setup.start();
    let large = Ask::post("/", vec![b'x'; 100]).chunked();
    assert_eq!(large.send(Down::H1, rig.addr()).await.status, 413);
    let mut slow = H1::connect(rig.addr()).await;
    slow.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nx")
        .await;
    assert_eq!(slow.answer().await.status, 408);
    assert_eq!(errors(&assert_over(&rig, "faults of clients").await), NONE);
}

/// Streams of one connection wait like connections of their own; one that goes leaves the others.
#[tokio::test]
async fn streams_wait_each_for_itself() {
    let upstream = h2_upstream(|_request, respond| async move {
        let _kept = respond;
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = Setup::to(upstream).one_thread();
    setup.h2_up(true);
    let rig = setup.start();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let addr = rig.addr();
            tokio::spawn(async move { H2::connect(addr).await.ask(&Ask::get("/")).await })
        })
        .collect();
    until_waiting(&rig, 3).await;
    clients[0].abort();
    until_waiting(&rig, 2).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(errors(&assert_over(&rig, "all are gone").await), NONE);
}

/// A body that flows is a sign of life, for as long as it does.
#[tokio::test]
async fn a_body_on_its_way_is_heard() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(head),
        Action::Pause(Duration::from_millis(30)),
        Action::send("1\r\nb\r\n"),
        Action::Stall,
    ]])
    .await;
    let rig = Setup::to(upstream.addr()).start();
    let mut reader = H1::connect(rig.addr()).await;
    reader.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    reader.head().await;
    let first = region(&rig).tally().heard;
    until("a later sign of life", || {
        region(&rig).tally().heard > first
    })
    .await;
    drop(reader);
    assert_over(&rig, "the reader is gone").await;
}

async fn saying(fields: &str, status: &str, said: bool) -> (Rig, crate::harness::Answer) {
    let answer = format!("HTTP/1.1 {status}\r\n{fields}content-length: 2\r\n\r\nok");
    let upstream = raw(vec![answering(answer)]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.retry().attempts = 1;
    setup.upstream().health.said = said;
    let rig = setup.start();
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    (rig, answer)
}

#[tokio::test]
async fn what_an_endpoint_says_is_heard_and_goes_no_further() {
    let check = async |fields, status, expected| {
        let (rig, answer) = saying(fields, status, true).await;
        assert_eq!(endpoint(&rig).said(), expected, "{fields}");
        for name in ["tidegate-health", "endpoint-load-metrics"] {
            assert_eq!(answer.header(name), "", "{fields}");
        }
        assert_eq!(answer.header("x-envoy-immediate-health-check-fail"), "");
        assert_eq!(answer.text(), "ok", "{fields}");
        let (rig, _) = saying(fields, status, false).await;
        assert_eq!(
            endpoint(&rig).said(),
            Health::Unknown,
            "{fields}: not asked for"
        );
    };
    check("tidegate-health: draining\r\n", "200 OK", Health::Draining).await;
    check(
        "Tidegate-Health: degraded; for=5s\r\n",
        "200 OK",
        Health::Degraded,
    )
    .await;
    check(
        "tidegate-health: unhealthy; for=99999999999s\r\n",
        "200 OK",
        Health::Unknown,
    )
    .await;
    let envoy = "x-envoy-immediate-health-check-fail: true\r\n";
    check(envoy, "200 OK", Health::Unhealthy).await;
    check("retry-after: 5\r\n", "503 Later", Health::Degraded).await;
    check("retry-after: 5\r\n", "429 Enough", Health::Unknown).await;
    check("retry-after: 5\r\n", "301 There", Health::Unknown).await;
}

#[tokio::test]
async fn a_load_is_heard_and_a_wait_is_passed_on() {
    let orca = "endpoint-load-metrics: TEXT cpu_utilization=0.75\r\nretry-after: 7\r\n";
    let (rig, answer) = saying(orca, "200 OK", true).await;
    assert_eq!(endpoint(&rig).reported_load(), Some(0.75));
    assert_eq!(answer.header("retry-after"), "7");
}

#[tokio::test]
async fn an_http_2_endpoint_is_heard_too() {
    let upstream = h2_upstream(|_request, mut respond| async move {
        let head = http::Response::builder()
            .header("tidegate-health", "draining")
            .header("endpoint-load-metrics", r#"JSON {"cpuUtilization": 0.5}"#);
        respond.send_response(head.body(()).unwrap(), true).unwrap();
    })
    .await;
    let mut setup = Setup::to(upstream);
    setup.h2_up(true);
    setup.upstream().health.said = true;
    let rig = setup.start();
    let answer = Ask::get("/").send(Down::H2, rig.addr()).await;
    assert_eq!(endpoint(&rig).said(), Health::Draining);
    assert_eq!(endpoint(&rig).reported_load(), Some(0.5));
    assert_eq!(answer.header("tidegate-health"), "");
}
