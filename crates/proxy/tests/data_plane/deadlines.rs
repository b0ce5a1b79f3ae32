//! How long a request may take: what clients give, what routes allow, and what upstreams are told.

use std::time::Duration;

use http::{Request, Response};
use tidegate_lab::Action;

use crate::grpc::{MESSAGE, Server, Serves, call, code, setup};
use crate::harness::{Ask, Down, H1, H2, HOST, Rig, Setup, answering, h2_upstream, patiently};
use crate::harness::{one_head, raw, received};

const FIELD: &str = "x-time-left";
const HOUR: u64 = 3_600_000;

/// One region whose upstream answers 200, a route that knows the field, and what it is told of a
/// client's `value`, in milliseconds; none if nothing.
async fn told(value: &str, change: impl FnOnce(&mut Setup)) -> (String, Option<u64>) {
    let upstream = raw(vec![answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    )])
    .await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().deadline_header = Some(http::HeaderName::from_static(FIELD));
    change(&mut setup);
    let rig = setup.start();
    let answer = Ask::get("/")
        .field(FIELD, value)
        .send(Down::H1, rig.addr())
        .await;
    assert_eq!(answer.status, 200);
    let head = received(&upstream, 0, one_head).await;
    let mut lines = head
        .lines()
        .filter_map(|line| line.strip_prefix("x-time-left: "));
    let told = lines.next().unwrap_or_default().to_owned();
    assert_eq!(lines.next(), None, "{head}");
    let left = told.strip_suffix("ms").unwrap_or(&told).parse().ok();
    (told, left)
}

#[tokio::test]
async fn an_upstream_is_told_what_is_left() {
    let (text, left) = told("30000", |_| {}).await;
    assert!((1..30_000).contains(&left.unwrap()), "{text}");
    let (text, left) = told("30s", |_| {}).await;
    assert!(
        text.ends_with("ms") && (1..30_000).contains(&left.unwrap()),
        "{text}"
    );
    // What is not understood is not passed on: it would be a deadline that nobody reduced.
    for malformed in ["soon", "-1", "30 s", ""] {
        assert_eq!(told(malformed, |_| {}).await, (String::new(), None));
    }
}

#[tokio::test]
async fn who_is_not_trusted_is_bounded_by_the_route() {
    let timeout = |setup: &mut Setup| setup.route().timeout = Duration::from_secs(60);
    let (_, left) = told("1h", timeout).await;
    assert!((1..60_000).contains(&left.unwrap()), "{left:?}");
    let trusted = |setup: &mut Setup| {
        timeout(setup);
        setup.trust_everybody();
    };
    let (_, left) = told("1h", trusted).await;
    assert!((60_000..HOUR).contains(&left.unwrap()), "{left:?}");
}

/// Nothing is sent for a time that is over; the client's connection stays.
#[tokio::test]
async fn with_no_time_left_nothing_is_sent() {
    let upstream = raw(vec![answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    )])
    .await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().deadline_header = Some(http::HeaderName::from_static(FIELD));
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    for _ in 0..2 {
        let answer = client.ask(&Ask::get("/").field(FIELD, "0")).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (504, "deadline_exceeded")
        );
    }
    assert_eq!(client.ask(&Ask::get("/")).await.status, 200);
    let head = received(&upstream, 0, one_head).await;
    assert_eq!(head.matches("GET / ").count(), 1, "{head}");
}

/// A short time is the client's choice, and says nothing of the upstream that misses it.
#[tokio::test]
async fn a_client_that_hurries_is_told_and_nobody_is_blamed() {
    let upstream = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().deadline_header = Some(http::HeaderName::from_static(FIELD));
    let rig = setup.start();
    for (ask, unknown) in [(Ask::get("/"), false), (Ask::post("/", ""), true)] {
        let answer = ask.field(FIELD, "50ms").send(Down::H1, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (504, "deadline_exceeded")
        );
        let kind = answer.json()["type"].as_str().unwrap().to_owned();
        assert_eq!(kind.ends_with("outcome-unknown"), unknown, "{kind}");
    }
    assert_eq!(blamed(&rig), 0);
}

fn blamed(rig: &Rig) -> u64 {
    rig.board.region("shop", "eu").tally().errors.iter().sum()
}

/// A trusted client's word stands above the route's own time.
#[tokio::test]
async fn a_trusted_client_may_wait_longer_than_its_route() {
    let late = h2_upstream(|_, mut respond| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        respond.send_response(Response::new(()), true).unwrap();
    });
    let mut setup = Setup::to(late.await);
    setup.h2_up(true);
    setup.trust_everybody();
    setup.route().timeout = Duration::from_millis(100);
    setup.route().deadline_header = Some(http::HeaderName::from_static(FIELD));
    let rig = setup.start();
    let patient = Ask::get("/").field(FIELD, "20s");
    assert_eq!(patient.send(Down::H2, rig.addr()).await.status, 200);
    assert_eq!(Ask::get("/").send(Down::H2, rig.addr()).await.status, 504);
}

/// What a server was told by `grpc-timeout`, in nanoseconds.
fn timeout(server: &Server) -> u128 {
    let seen = server.seen();
    let value = seen.last().unwrap()["grpc-timeout"].to_str().unwrap();
    let (digits, unit) = value.split_at(value.len() - 1);
    assert!(digits.len() <= 8, "{value}");
    let unit: u128 = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "S" => 1_000_000_000,
        other => panic!("{other}"),
    };
    digits.parse::<u128>().unwrap() * unit
}

#[tokio::test]
async fn every_attempt_is_told_anew() {
    let eu = Server::start(Serves::Trailers(14)).await;
    let us = Server::start(Serves::Message(0)).await;
    let rig = setup(&eu, &us, true).start();
    let ask = call().field("grpc-timeout", "30S");
    assert_eq!(code(&ask.send(Down::H2, rig.addr()).await), "0");
    let thirty = 30_000_000_000;
    let (first, second) = (timeout(&eu), timeout(&us));
    assert!(second < first && first < thirty, "{first} {second}");
    // What breaks the grammar is its server's to judge.
    let ask = call().field("grpc-timeout", "30 seconds");
    assert_eq!(code(&ask.send(Down::H2, rig.addr()).await), "0");
    assert_eq!(us.seen()[1]["grpc-timeout"], "30 seconds");
}

#[tokio::test]
async fn a_call_is_bounded_by_its_route_too() {
    let server = Server::start(Serves::Message(0)).await;
    let minute = 60_000_000_000;
    for (whole, trusted, range) in [
        (None, false, 2 * minute..60 * minute),
        (Some(120), false, minute..2 * minute),
        (None, true, 2 * minute..60 * minute),
    ] {
        let mut setup = setup(&server, &server, true);
        setup.route().timeout = Duration::from_secs(60);
        setup.route().max_duration = whole.map(Duration::from_secs);
        if trusted {
            setup.trust_everybody();
        }
        let rig = setup.start();
        let ask = call().field("grpc-timeout", "1H");
        assert_eq!(code(&ask.send(Down::H2, rig.addr()).await), "0");
        let told = timeout(&server);
        assert!(range.contains(&told), "{whole:?} {trusted} {told}");
    }
}

/// Before it is sent, before its head, before its first message, and within its stream.
#[tokio::test]
async fn a_call_ends_with_its_time() {
    for (serves, given, sent) in [
        (Serves::Message(0), "0n", 0),
        (Serves::Waits, "100m", 1),
        (Serves::WhenTold, "100m", 1),
        (Serves::Begins, "100m", 1),
    ] {
        let server = Server::start(serves).await;
        let rig = setup(&server, &server, false).start();
        let answer = call()
            .field("grpc-timeout", given)
            .send(Down::H2, rig.addr())
            .await;
        assert_eq!(code(&answer), "4", "{serves:?} {answer:?}");
        assert_eq!(server.seen().len(), sent, "{serves:?}");
        let message = if serves == Serves::Begins {
            MESSAGE
        } else {
            b""
        };
        assert_eq!(answer.body, message);
        assert!(answer.is_whole(), "{answer:?}");
        rig.until_idle().await;
        assert_eq!(
            rig.log(1).await[0]["reason"],
            "deadline_exceeded",
            "{serves:?}"
        );
        assert_eq!(blamed(&rig), 0, "{serves:?}");
    }
}

/// Its time runs while the client is still sending.
#[tokio::test]
async fn a_call_that_is_not_sent_whole_ends_with_its_time_too() {
    let server = Server::start(Serves::Waits).await;
    let rig = setup(&server, &server, false).start();
    let mut client = H2::connect(rig.addr()).await;
    let head = Request::post(format!("http://{HOST}/svc/Call"))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "100m");
    let sending = client.open(head.body(()).unwrap(), false).await;
    let _upload = sending.upload;
    let answer = patiently("an answer", sending.response).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert_eq!(rig.log(1).await[0]["reason"], "deadline_exceeded");
    assert_eq!(blamed(&rig), 0);
}

/// A body that never ends, and never stands still.
#[tokio::test]
async fn a_whole_exchange_has_an_end() {
    for down in [Down::H1, Down::H2] {
        let endless = h2_upstream(|_, mut respond| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            loop {
                stream.reserve_capacity(1000);
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(room)) = room else { return };
                stream.send_data(vec![b'x'; room].into(), false).unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut setup = Setup::to(endless.await);
        setup.h2_up(true);
        setup.route().max_duration = Some(Duration::from_millis(200));
        let rig = setup.start();
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.is_whole() && !answer.body.is_empty(), "{down:?}");
        rig.until_idle().await;
        assert_eq!(
            rig.log(1).await[0]["reason"],
            "deadline_exceeded",
            "{down:?}"
        );
    }
}

/// It counts before the answer's head as well, and for calls it is told in trailers.
#[tokio::test]
async fn a_route_may_bound_the_whole_exchange() {
    let brief = |setup: &mut Setup| {
        setup.route().max_duration = Some(Duration::from_millis(100));
    };
    let silent = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let mut plain = Setup::to(silent.addr());
    brief(&mut plain);
    let rig = plain.start();
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (504, "deadline_exceeded")
    );
    let server = Server::start(Serves::Begins).await;
    let mut calls = setup(&server, &server, false);
    brief(&mut calls);
    let rig = calls.start();
    let answer = call().send(Down::H2, rig.addr()).await;
    assert_eq!((code(&answer), &answer.body[..]), ("4", MESSAGE));
    assert!(answer.is_whole());
}

/// WebSockets too.
#[tokio::test]
async fn a_tunnel_ends_with_its_routes_time() {
    let mut script = Action::answer(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    script.push(Action::Stall);
    let upstream = raw(vec![script]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().max_duration = Some(Duration::from_millis(100));
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    let head = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(head).await;
    client.head().await;
    assert_eq!(client.bytes(100).await, b"\x88\x02\x03\xe9");
    drop(client);
    assert_eq!(rig.log(1).await[0]["reason"], "deadline_exceeded");
}

/// Where nothing else is left to ask, an endpoint is asked again, unless it wants more time for that
/// than anybody would wait.
#[tokio::test]
async fn who_asks_for_a_wait_is_not_asked_before() {
    for (wait, expected) in [
        ("", 200),
        ("retry-after: 0\r\n", 200),
        ("retry-after: 3600\r\n", 503),
    ] {
        let busy =
            format!("HTTP/1.1 503 Busy\r\n{wait}connection: close\r\ncontent-length: 0\r\n\r\n");
        let fine = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let upstream = raw(vec![Action::answer(busy), answering(fine)]).await;
        let rig = Setup::to(upstream.addr()).start();
        let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
        assert_eq!(answer.status, expected, "{wait:?}");
    }
}
