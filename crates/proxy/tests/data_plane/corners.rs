//! Where two promises meet: the limit of one must not break the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Response};
use serde_json::Value;
use tidegate_core::{RegionIdx, RegionSet};
use tidegate_lab::{Action, RawUpstream, content};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{
    Answer, Ask, Down, H1, HOST, Rig, Setup, answering, h2_upstream, raw, received,
};

const FIELD: &str = "x-time-left";

fn two(eu: &RawUpstream, us: &RawUpstream) -> Setup {
    Setup::new([("eu", eu.addr()), ("us", us.addr())])
}

fn stalling() -> Vec<Action> {
    vec![Action::ReadHead, Action::Stall]
}

/// How the attempts of the only request ended: `eu answered`.
async fn attempts(rig: &Rig) -> Vec<String> {
    let line = rig.log(1).await.remove(0);
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    let attempts = line["attempts"].as_array().unwrap();
    let outcome = |attempt| word(attempt, "region") + " " + &word(attempt, "outcome");
    attempts.iter().map(outcome).collect()
}

fn is_unknown(answer: &Answer) -> bool {
    let kind = answer.json()["type"].as_str().unwrap().to_owned();
    kind.ends_with("outcome-unknown")
}

/// The time in which another place is asked for the rest is no standstill of the body: the idle limit
/// runs anew from there on.
#[tokio::test]
async fn what_goes_on_elsewhere_late_has_the_whole_idle_limit_again() {
    const SIZE: usize = 40_000;
    const PASSED: usize = 20_000;
    const IDLE: Duration = Duration::from_secs(2);
    let file = content::bytes(content::SEED, 0, SIZE);
    let begun = format!("HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {SIZE}\r\n\r\n");
    let begun = [begun.as_bytes(), &file[..PASSED]].concat();
    let eu = raw(vec![vec![
        Action::ReadHead,
        Action::send(begun),
        Action::Stall,
    ]])
    .await;
    let first = PASSED - 16 * 1024;
    let part = format!(
        "HTTP/1.1 206 Part\r\netag: \"v1\"\r\ncontent-range: bytes {first}-{}/{SIZE}\r\n\
         content-length: {}\r\n\r\n",
        SIZE - 1,
        SIZE - first
    );
    // The body counts as dead after half of the limit, the head comes after three quarters more, and
    // then the rest takes its time.
    let us = raw(vec![vec![
        Action::ReadHead,
        Action::Pause(IDLE * 3 / 4),
        Action::send(part),
        Action::Pause(IDLE / 4),
        Action::send(&file[first..]),
        Action::Stall,
    ]])
    .await;
    let mut setup = two(&eu, &us);
    setup.route().idle_timeout = IDLE;
    let rig = setup.start();
    let answer = Ask::get("/file").send(Down::H1, rig.addr()).await;
    assert!(
        answer.is_whole(),
        "{} bytes: {:?}",
        answer.body.len(),
        answer.end
    );
    assert!(answer.body == file, "other bytes");
    assert_eq!(attempts(&rig).await, ["eu truncated", "us answered"]);
}

/// What was sent in part may have been processed in part: nobody knows.
#[tokio::test]
async fn the_outcome_of_half_an_upload_is_unknown() {
    type Change = fn(&mut Setup);
    let cases: [(Change, &str, u16, &str); 2] = [
        (|_| {}, "200ms", 504, "deadline_exceeded"),
        (
            |setup| setup.route().idle_timeout = Duration::from_millis(200),
            "1h",
            408,
            "client_timeout",
        ),
    ];
    for (change, time, status, reason) in cases {
        for (method, unknown) in [("POST", true), ("PUT", false)] {
            let upstream = raw(vec![stalling()]).await;
            let mut setup = Setup::to(upstream.addr());
            setup.route().deadline_header = Some(HeaderName::from_static(FIELD));
            change(&mut setup);
            let rig = setup.start();
            let mut client = H1::connect(rig.addr()).await;
            let head = format!(
                "{method} / HTTP/1.1\r\nhost: {HOST}\r\n{FIELD}: {time}\r\n\
                 transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"
            );
            let answer = client.ask_raw(&head).await;
            let told = (answer.status, answer.reason());
            assert_eq!(told, (status, reason.to_owned()), "{method}");
            assert_eq!(is_unknown(&answer), unknown, "{method} {reason}");
            received(&upstream, 0, |bytes| bytes.ends_with(b"half\r\n")).await;
        }
    }
}

/// A peer that refuses a stream it has begun to answer contradicts itself: the request counts as
/// processed.
#[tokio::test]
async fn what_was_answered_is_not_refused() {
    for body in ["", "body"] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        let upstream = h2_upstream(move |_request, mut respond| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let head = Response::builder().header("content-length", 5);
                let stream = respond.send_response(head.body(()).unwrap(), false);
                let mut stream = stream.unwrap();
                stream.send_data(Bytes::from_static(b"ha"), false).unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
                stream.send_reset(h2::Reason::REFUSED_STREAM);
            }
        });
        let upstream = upstream.await;
        let mut setup = Setup::new([("eu", upstream), ("us", upstream)]);
        setup.h2_up(true);
        let rig = setup.start();
        let answer = Ask::post("/", body).send(Down::H1, rig.addr()).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(attempts(&rig).await.len(), 1, "{body:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 1, "{body:?}");
    }
}

/// A call's time ends within its answer. Where its client could not read our trailers the end is
/// visible: a part is never taken for the whole.
#[tokio::test]
async fn a_call_that_is_cut_short_shows_it_whatever_frames_its_answer() {
    let length = "content-length: 100000";
    let chunks = "transfer-encoding: chunked";
    let cases = [
        ("application/grpc-web", length, Down::H1),
        ("application/grpc-web", length, Down::H2),
        ("application/grpc-web+proto", chunks, Down::H1),
        ("application/grpc-web-text", chunks, Down::H2),
        ("application/grpc", length, Down::H1),
    ];
    for (kind, framing, down) in cases {
        let what = format!("{kind} {framing} {down:?}");
        let part = if framing == length {
            "part"
        } else {
            "4\r\npart\r\n"
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n{part}");
        let upstream = raw(vec![vec![
            Action::ReadHead,
            Action::send(head),
            Action::Stall,
        ]])
        .await;
        let rig = Setup::to(upstream.addr()).start();
        let call = Ask::post("/call", "")
            .field("content-type", kind)
            .field("grpc-timeout", "300m");
        let answer = call.send(down, rig.addr()).await;
        assert_eq!(answer.status, 200, "{what}");
        assert!(!answer.is_whole(), "{what}: {:?}", answer.text());
        let line = rig.log(1).await.remove(0);
        assert_eq!(line["reason"], "deadline_exceeded", "{what}");
    }
}

/// An error comes while half of the upload is still at its client: what may be done twice is sent anew,
/// from its beginning, and goes on as it comes; anything else has its answer.
#[tokio::test]
async fn an_error_that_comes_early_moves_what_may_be_done_twice() {
    let early = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
    for (method, again) in [("PUT", true), ("POST", false)] {
        let eu = raw(vec![vec![
            Action::ReadHead,
            Action::ReadBytes(4),
            Action::send(early),
            Action::Stall,
        ]])
        .await;
        let us = raw(vec![vec![
            Action::ReadHead,
            Action::ReadBytes(8),
            Action::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            Action::Stall,
        ]])
        .await;
        let rig = two(&eu, &us).start();
        let mut client = H1::connect(rig.addr()).await;
        let head = format!("{method} / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 8\r\n\r\nhalf");
        client.send(head).await;
        if again {
            received(&us, 0, |bytes| bytes.ends_with(b"half")).await;
            client.send("rest").await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
            received(&us, 0, |bytes| bytes.ends_with(b"halfrest")).await;
            assert_eq!(attempts(&rig).await, ["eu status", "us answered"]);
        } else {
            assert_eq!(client.answer().await.status, 503);
            assert!(client.is_ended().await, "where the body ends nobody knows");
            assert_eq!(attempts(&rig).await, ["eu status"]);
        }
    }
}

/// A client that was told to continue is not told again, and the next upstream is not asked for it.
#[tokio::test]
async fn continue_is_said_once_whoever_said_it() {
    let eu = raw(vec![vec![
        Action::ReadHead,
        Action::send("HTTP/1.1 100 Continue\r\n\r\n"),
        Action::ReadBytes(4),
        Action::Reset,
    ]])
    .await;
    let us = raw(vec![vec![
        Action::ReadHead,
        Action::send("HTTP/1.1 100 Continue\r\n\r\n"),
        Action::ReadBytes(4),
        Action::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        Action::Stall,
    ]])
    .await;
    let rig = two(&eu, &us).start();
    let mut client = H1::connect(rig.addr()).await;
    let head =
        "PUT / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.send(head).await;
    let told = client.head().await;
    assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
    client.send("body").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(answer.interims.is_empty(), "{:?}", answer.interims);
    let asked = received(&us, 0, |bytes| bytes.ends_with(b"body")).await;
    assert!(!asked.contains("expect"), "{asked}");
    let asked = received(&eu, 0, |bytes| bytes.ends_with(b"body")).await;
    assert!(asked.contains("expect: 100-continue"), "{asked}");
}

/// Half of a small answer is no answer, and no reason to do it again.
#[tokio::test]
async fn what_breaks_off_while_it_is_held_was_processed() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
    for (ask, status, asked) in [(Ask::get("/"), 200, 1), (Ask::post("/", "body"), 502, 0)] {
        let eu = raw(vec![vec![
            Action::ReadHead,
            Action::send(half),
            Action::Close,
        ]])
        .await;
        let us = raw(vec![answering(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )])
        .await;
        let rig = two(&eu, &us).start();
        let answer = ask.send(Down::H1, rig.addr()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(attempts(&rig).await.len(), 1 + asked);
        if status == 502 {
            assert!(is_unknown(&answer));
        }
    }
}

/// A download outlives the plan under which it began. What the newest one has taken from its route is no
/// place for the rest of it.
#[tokio::test]
async fn a_region_that_is_forbidden_meanwhile_is_no_place_for_the_rest() {
    type Change = fn(&mut Setup);
    const SIZE: usize = 40_000;
    let file = content::bytes(content::SEED, 0, SIZE);
    let head = format!("HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {SIZE}\r\n\r\n");
    let eu_alone: Change = |setup| {
        setup.route().allowed = RegionSet::from_iter([RegionIdx(0)]);
    };
    let changes: [(Change, usize); 2] = [(eu_alone, 0), (|_| {}, 1)];
    for (change, asked) in changes {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let us = raw(vec![stalling()]).await;
        let plan = || {
            let places = [("eu", listener.local_addr().unwrap()), ("us", us.addr())];
            let mut setup = Setup::new(places);
            setup.retry().budget = 0.0;
            setup.route().idle_timeout = Duration::from_secs(2);
            setup
        };
        let rig = plan().start();
        let mut client = H1::connect(rig.addr()).await;
        client
            .send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))
            .await;
        let (mut eu, _) = listener.accept().await.unwrap();
        eu.read_buf(&mut Vec::new()).await.unwrap();
        eu.write_all(head.as_bytes()).await.unwrap();
        eu.write_all(&file[..SIZE / 2]).await.unwrap();
        client.head().await;
        client.bytes(SIZE / 2).await;
        let mut newer = plan();
        change(&mut newer);
        rig.plan.activate(newer.into_plan(), &rig.board);
        eu.set_zero_linger().unwrap();
        drop(eu);
        client.rest().await;
        assert_eq!(attempts(&rig).await.len(), 1 + asked);
    }
}

/// A shutdown that cuts an answer without an announced end must not look like its end.
#[tokio::test]
async fn what_a_shutdown_cuts_does_not_look_whole() {
    let part = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(part),
        Action::Stall,
    ]])
    .await;
    for (version, connection) in [("1.0", ""), ("1.1", "connection: close\r\n")] {
        let rig = Setup::to(upstream.addr()).start();
        let mut client = H1::connect(rig.addr()).await;
        let head = format!("GET / HTTP/{version}\r\nhost: {HOST}\r\n{connection}\r\n");
        client.send(head).await;
        client.head().await;
        let running = rig.into_running();
        running.shutdown(Duration::from_millis(100)).await;
        let (rest, ended) = client.rest().await;
        let whole = match version {
            "1.0" => ended == "closed",
            _ => rest.ends_with("0\r\n\r\n"),
        };
        assert!(!whole, "HTTP/{version}: {rest:?}, then {ended}");
    }
}

/// Whether a connection takes tunnels is known once its peer has said something. For one that says
/// nothing nobody waits longer than for a connection.
#[tokio::test]
async fn a_tunnel_waits_for_settings_as_long_as_for_a_connection() {
    let upstream = raw(vec![vec![Action::Stall]]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.h2_up(true);
    setup.retry().attempts = 1;
    setup.retry().per_try = Some(Duration::from_millis(200));
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let answer = client.ask_raw(&head).await;
    assert_eq!(answer.reason(), "connect_failed");
    let detail = answer.detail();
    assert!(detail.contains("no connection within per_try"), "{detail}");
    rig.until_idle().await;
}

/// A client whose own upload is at fault hears what was wrong with it.
#[tokio::test]
async fn who_sends_too_much_is_told_so() {
    let upstream = raw(vec![stalling()]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.upstream().body.max_bytes = Some(4);
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(head + "4\r\nhalf\r\n").await;
    received(&upstream, 0, |bytes| bytes.ends_with(b"half\r\n")).await;
    client.send("4\r\nmore\r\n").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (413, "body_too_large")
    );
    assert!(!is_unknown(&answer), "{}", answer.text());
}
