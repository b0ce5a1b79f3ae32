//! Long streams that had to begin elsewhere go home when their region is back; what began where it
//! belongs, and what ends by itself, stays.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use tidegate_core::{Dial, Health, Standing};
use tidegate_lab::{Action, RawUpstream};

use crate::harness::{Ask, Down, H1, H2, HOST, Rig, Setup, h2_upstream, patiently, raw, until};

/// Answers every head so and keeps the connection.
async fn streaming(head: &str) -> RawUpstream {
    let script = vec![
        Action::ReadHead,
        Action::send(format!("HTTP/1.1 {head}\r\n\r\n1\r\na\r\n")),
        Action::Stall,
    ];
    raw(vec![script]).await
}

/// Regions `eu` and `us`, of which the first is out, and streams may stay for a moment.
fn without_eu(eu: SocketAddr, us: SocketAddr, change: impl FnOnce(&mut Setup)) -> Rig {
    let mut setup = Setup::new([("eu", eu), ("us", us)]);
    setup.upstream().health.failback.drain = Some(Duration::from_millis(40));
    change(&mut setup);
    let rig = setup.start();
    rig.board.region("shop", "eu").set_health(Health::Unhealthy);
    rig
}

fn comes_back(rig: &Rig) {
    let eu = rig.board.region("shop", "eu");
    eu.set_standing(Standing {
        dial: Dial::new(0.5),
        ..Standing::full(Health::Healthy)
    });
    eu.set_standing(Standing::full(Health::Healthy));
}

/// A request whose answer has begun.
async fn begun(rig: &Rig) -> H1 {
    let mut client = H1::connect(rig.addr()).await;
    let head = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(head).await;
    client.head().await;
    client
}

const CHUNKED: &str = "200 OK\r\ntransfer-encoding: chunked";
const LONG: &str = "200 OK\r\ncontent-length: 100000";
const SWITCHED: &str = "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

async fn until_in_flight(rig: &Rig, region: &str, count: u32) {
    let cell = rig.board.region("shop", region);
    let what = format!("{count} in {region}");
    until(&what, || cell.in_flight() == count).await;
}

#[tokio::test]
async fn what_had_to_begin_elsewhere_is_ended_and_counted() {
    for (head, reason) in [(CHUNKED, "drained_home"), (SWITCHED, "drained_home")] {
        let (eu, us) = (streaming(CHUNKED).await, streaming(head).await);
        let rig = without_eu(eu.addr(), us.addr(), |_| {});
        let mut away = begun(&rig).await;
        until_in_flight(&rig, "us", 1).await;
        comes_back(&rig);
        away.rest().await;
        rig.until_idle().await;
        let log = rig.log(1).await;
        assert_eq!(log[0]["reason"], reason, "{head}");
        assert_eq!(log[0]["attempts"][0]["outcome"], "answered");
        let series = r#"tidegate_request_terminations_total{reason="drained_home"}"#;
        assert_eq!(rig.metric(series), 1);
        assert_eq!(rig.total("tidegate_requests_lost_total"), 0);
        let errors: u64 = rig.board.region("shop", "us").tally().errors.iter().sum();
        assert_eq!(errors, 0);
        // What begins now begins at home.
        let _home = begun(&rig).await;
        until_in_flight(&rig, "eu", 1).await;
    }
}

/// A WebSocket's client is told that we go, unless it is in the middle of a frame.
#[tokio::test]
async fn a_websocket_ends_with_a_close() {
    const TEXT: &[u8] = b"\x81\x02hi";
    for (sent, expected) in [
        (TEXT, &b"\x81\x02hi\x88\x02\x03\xe9"[..]),
        (&b""[..], &b"\x88\x02\x03\xe9"[..]),
        (&TEXT[..3], &TEXT[..3]),
        (&b"\x88\x02\x03\xe8"[..], &b"\x88\x02\x03\xe8"[..]),
    ] {
        let mut script = vec![Action::ReadHead];
        script.push(Action::send(format!("HTTP/1.1 {SWITCHED}\r\n\r\n")));
        script.push(Action::send(sent));
        script.push(Action::Stall);
        let (eu, us) = (streaming(CHUNKED).await, raw(vec![script]).await);
        let rig = without_eu(eu.addr(), us.addr(), |_| {});
        let mut away = begun(&rig).await;
        assert_eq!(away.bytes(sent.len()).await, sent);
        comes_back(&rig);
        let rest = away.bytes(100).await;
        assert_eq!([sent, &rest].concat(), expected);
        drop(away);
        rig.until_idle().await;
        assert_eq!(rig.log(1).await[0]["reason"], "drained_home");
    }
}

/// The same over HTTP/2.
#[tokio::test]
async fn a_websocket_over_http_2_ends_with_a_close() {
    let mut script = Action::answer(format!("HTTP/1.1 {SWITCHED}\r\n\r\n"));
    script.push(Action::Stall);
    let (eu, us) = (streaming(CHUNKED).await, raw(vec![script]).await);
    let rig = without_eu(eu.addr(), us.addr(), |_| {});
    let mut client = H2::connect(rig.addr()).await;
    until("extended CONNECT", || {
        client.send.is_extended_connect_protocol_enabled()
    })
    .await;
    let request = Request::connect(format!("http://{HOST}/ws"))
        .extension(h2::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    let sending = client.open(request.body(()).unwrap(), false).await;
    let mut upload = sending.upload;
    let answer = patiently("an answer", sending.response).await.unwrap();
    let mut body = answer.into_body();
    comes_back(&rig);
    let close = patiently("a close", body.data()).await.unwrap().unwrap();
    assert_eq!(&close[..], b"\x88\x02\x03\xe9");
    while let Some(rest) = patiently("the end", body.data()).await {
        assert_eq!(rest.unwrap(), "");
    }
    upload.send_data("".into(), true).unwrap();
    rig.until_idle().await;
    assert_eq!(rig.log(1).await[0]["reason"], "drained_home");
}

/// Beside one that is ended: one that began at home, and one whose end is in sight.
#[tokio::test]
async fn what_belongs_where_it_is_stays() {
    let (eu, us) = (streaming(CHUNKED).await, streaming(CHUNKED).await);
    let long = streaming(LONG).await;
    let rig = without_eu(eu.addr(), us.addr(), |setup| {
        let upstream = setup.add_upstream("files", [("eu", eu.addr()), ("us", long.addr())]);
        setup.upstreams[upstream.get()].health = setup.upstreams[0].health.clone();
        setup.add_route("/long", upstream);
    });
    let files = rig.board.region("files", "eu");
    files.set_health(Health::Unhealthy);
    let mut finite = H1::connect(rig.addr()).await;
    finite
        .send("GET /long HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    finite.head().await;

    rig.board.region("shop", "eu").set_health(Health::Healthy);
    let _at_home = begun(&rig).await;
    rig.board.region("shop", "eu").set_health(Health::Unhealthy);
    let mut away = begun(&rig).await;
    until_in_flight(&rig, "us", 1).await;
    files.set_health(Health::Healthy);
    comes_back(&rig);
    away.rest().await;
    until_in_flight(&rig, "us", 0).await;
    assert_eq!(rig.board.region("shop", "eu").in_flight(), 1);
    assert_eq!(rig.board.region("files", "us").in_flight(), 1);
    assert_eq!(rig.log(1).await[0]["reason"], "drained_home");
}

/// A gRPC client hears UNAVAILABLE, which it may try again on.
#[tokio::test]
async fn grpc_is_told_in_its_own_words() {
    let grpc = || {
        h2_upstream(|_request, mut respond| async move {
            let head = http::Response::builder().header("content-type", "application/grpc");
            let mut stream = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            stream.send_data("\0\0\0\0\0".into(), false).unwrap();
            std::future::pending::<()>().await;
        })
    };
    let (eu, us) = (grpc().await, grpc().await);
    let rig = without_eu(eu, us, |setup| setup.h2_up(true));
    let mut client = H2::connect(rig.addr()).await;
    let request = Request::post(format!("http://{HOST}/svc/Watch"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let sending = client.open(request.body(()).unwrap(), true).await;
    let answer = patiently("a head", sending.response).await.unwrap();
    let mut body = answer.into_body();
    let first = patiently("a message", body.data()).await.unwrap().unwrap();
    assert_eq!(first.len(), 5);
    comes_back(&rig);
    assert!(patiently("the end", body.data()).await.is_none());
    let trailers = patiently("trailers", body.trailers())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(trailers["grpc-status"], "14");
    rig.until_idle().await;
    assert_eq!(rig.log(1).await[0]["reason"], "drained_home");
}

/// An HTTP/2 client sees its stream cancelled, and no other.
#[tokio::test]
async fn an_http_2_stream_is_cancelled() {
    let (eu, us) = (streaming(CHUNKED).await, streaming(CHUNKED).await);
    let rig = without_eu(eu.addr(), us.addr(), |_| {});
    let addr = rig.addr();
    let asked = tokio::spawn(async move { Ask::get("/").send(Down::H2, addr).await });
    until_in_flight(&rig, "us", 1).await;
    comes_back(&rig);
    let answer = patiently("an answer", asked).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
    assert!(!answer.is_whole());
    rig.until_idle().await;
}
