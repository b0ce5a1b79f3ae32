//! Upstreams that break the rules: a 502 with a reason before the head, a visible break after it,
//! never an answer that is half understood, and never another request on that connection.

use std::future::poll_fn;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tidegate_lab::{Action, RawUpstream};

use crate::harness::{
    Ask, Down, End, H1, H2, HOST, Rig, Setup, answering, h2_upstream, raw, until,
};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const GOOD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ngood";

/// A data plane on one thread that tries once.
fn rig(upstream: &RawUpstream) -> Rig {
    let mut setup = Setup::to(upstream.addr());
    setup.threads = 1;
    setup.retry().attempts = 1;
    setup.start()
}

/// An upstream whose every other connection plays one of these scripts, the others being good.
async fn bad_then_good(scripts: impl IntoIterator<Item = Vec<Action>>) -> RawUpstream {
    raw(scripts
        .into_iter()
        .flat_map(|script| [script, answering(GOOD)])
        .collect())
    .await
}

/// The connection that gave the bad answer is gone, and the next request gets its own answer.
async fn assert_not_reused(rig: &Rig, upstream: &RawUpstream, index: usize, what: &str) {
    until(what, || upstream.peer_ended(index)).await;
    let next = Ask::get("/next").send(Down::H1, rig.addr()).await;
    assert_eq!(
        (next.status, next.text().as_str()),
        (200, "good"),
        "after {what}"
    );
    assert_eq!(upstream.connections(), index + 2, "{what}");
}

fn many_fields() -> String {
    let fields: String = (0..300)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_head_that_breaks_the_rules_is_a_502_with_a_reason() {
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello");
    let line = |line: &str| format!("{line}\r\ncontent-length: 5\r\n\r\nhello");
    let cases = [
        (
            ok("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
            "content_length_and_transfer_encoding",
        ),
        (
            ok("content-length: 5\r\ncontent-length: 5\r\n"),
            "content_length_repeated",
        ),
        (ok("content-length: 5, 5\r\n"), "content_length_repeated"),
        (ok("content-length: +5\r\n"), "content_length_invalid"),
        (ok("content-length: five\r\n"), "content_length_invalid"),
        (
            ok("transfer-encoding: gzip, chunked\r\n"),
            "transfer_encoding_unsupported",
        ),
        (
            ok("transfer-encoding: chunked, chunked\r\n"),
            "transfer_encoding_invalid",
        ),
        (
            ok("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
            "transfer_encoding_invalid",
        ),
        (
            ok("content-length: 5\r\nx: a\u{0}\r\n"),
            "field_value_invalid",
        ),
        (ok("content-length: 5\r\nx : a\r\n"), "space_before_colon"),
        (
            ok("content-length: 5\r\nx: a\r\n folded\r\n"),
            "field_folded",
        ),
        (
            ok("content-length: 5\r\nnothing\r\n"),
            "field_colon_missing",
        ),
        (ok("content-length: 5\r\nx: a\n"), "bare_lf"),
        (ok("content-length: 5\r\nx: a\rb\r\n"), "bare_cr"),
        (
            ok("connection: content-length\r\ncontent-length: 5\r\n"),
            "connection_nominates_protected",
        ),
        (line("garbage"), "status_line_invalid"),
        (line("HTTP/1.1 OK"), "status_line_invalid"),
        (line("HTTP/1.1 20 OK"), "status_line_invalid"),
        (line("HTTP/2 200 OK"), "status_line_invalid"),
        (line("ICY 200 OK"), "status_line_invalid"),
        (line("\r\nHTTP/1.1 200 OK"), "status_line_invalid"),
        (line("HTTP/1.1 200 OK\n"), "bare_lf"),
        (line("HTTP/1.1 999 OK"), "status_invalid"),
        (line("HTTP/1.1 099 OK"), "status_invalid"),
        (line("HTTP/1.1 204 None"), "body_forbidden"),
        (
            line("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket"),
            "body_forbidden",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                .to_owned(),
            "switch_unasked",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
            "switch_unasked",
        ),
        (
            "HTTP/1.1 103 Early\r\nlink: a\n\r\n".to_owned() + GOOD,
            "bare_lf",
        ),
        (many_fields(), "fields_too_many"),
        (
            ok(&format!("x: {}\r\n", "y".repeat(70_000))),
            "head_too_large",
        ),
        // An answer that never comes to its point.
        (
            "HTTP/1.1 103 Early\r\nlink: a\r\n\r\n".repeat(10_000) + GOOD,
            "interims_too_many",
        ),
    ];
    for down in BOTH {
        let upstream = bad_then_good(cases.iter().map(|(answer, _)| answering(answer))).await;
        let rig = rig(&upstream);
        for (index, (answer, reason)) in cases.iter().enumerate() {
            let what = format!("{reason}: {}", &answer[..answer.len().min(80)]);
            let got = Ask::get("/").send(down, rig.addr()).await;
            assert_eq!(
                (got.status, got.reason().as_str()),
                (502, "bad_response"),
                "{what}"
            );
            assert!(
                got.detail().contains(reason),
                "{what} said {}",
                got.detail()
            );
            assert!(got.is_whole(), "{what}");
            assert_not_reused(&rig, &upstream, 2 * index, &what).await;
        }
        let lost = rig.metric("tidegate_requests_lost_total{why=\"bad_response\"}");
        assert_eq!(lost, cases.len() as u64);
    }
}

#[tokio::test]
async fn an_end_before_the_head_is_a_502() {
    let cases = [
        vec![Action::ReadHead, Action::Close],
        vec![Action::ReadHead, Action::Reset],
        vec![
            Action::ReadHead,
            Action::send("HTTP/1.1 200 OK\r\ncontent-len"),
            Action::Close,
        ],
        vec![
            Action::ReadHead,
            Action::send("HTTP/1.1 103 Early\r\n\r\n"),
            Action::Close,
        ],
    ];
    for down in BOTH {
        let upstream = bad_then_good(cases.clone()).await;
        let rig = rig(&upstream);
        for (index, script) in cases.iter().enumerate() {
            let got = Ask::get("/").send(down, rig.addr()).await;
            assert_eq!(
                (got.status, got.reason().as_str()),
                (502, "upstream_reset"),
                "{script:?}"
            );
            let next = Ask::get("/next").send(Down::H1, rig.addr()).await;
            assert_eq!(
                (next.status, next.text().as_str()),
                (200, "good"),
                "after {script:?}"
            );
            assert_eq!(upstream.connections(), 2 * index + 2, "{script:?}");
        }
    }
}

/// A body that breaks: the client gets a part of it and sees that there should be more.
#[tokio::test]
async fn a_broken_body_is_visibly_broken() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nhello".to_owned(),
            "upstream_truncated",
        ),
        (format!("{chunked}9\r\nhello"), "upstream_truncated"),
        (format!("{chunked}5\r\nhello"), "upstream_truncated"),
        (format!("{chunked}5\r\nhello\r\n"), "upstream_truncated"),
        (
            format!("{chunked}5\r\nhello\r\n0\r\n"),
            "upstream_truncated",
        ),
        (
            format!("{chunked}5\r\nhello\r\n0\r\nx: y\r\n"),
            "upstream_truncated",
        ),
        (format!("{chunked}5\r\nhello\r\nzz\r\n"), "bad_response"),
        (format!("{chunked}5\r\nhello\n0\r\n\r\n"), "bad_response"),
        (
            format!("{chunked}5\r\nhello\r\n0\r\nx: y\n\r\n"),
            "bad_response",
        ),
        (
            format!("{chunked}5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n"),
            "bad_response",
        ),
    ];
    for down in BOTH {
        let script =
            |(answer, _): &(String, _)| vec![Action::ReadHead, Action::send(answer), Action::Close];
        let upstream = bad_then_good(cases.iter().map(script)).await;
        let rig = rig(&upstream);
        for (index, (answer, reason)) in cases.iter().enumerate() {
            let got = Ask::get("/").send(down, rig.addr()).await;
            match down {
                Down::H1 => {
                    assert_eq!(
                        (got.status, got.text().as_str()),
                        (200, "hello"),
                        "{answer:?}"
                    );
                    assert_eq!(got.end, End::Cut("closed".to_owned()), "{answer:?}");
                }
                // A reset overtakes what waits to be sent, the head included.
                Down::H2 => {
                    assert!("hello".starts_with(&got.text()), "{got:?}");
                    assert_eq!(got.end, End::Cut("INTERNAL_ERROR".to_owned()), "{answer:?}");
                }
            }
            assert_not_reused(&rig, &upstream, 2 * index, answer).await;
            let log = &rig.log(2 * index + 2).await[2 * index];
            assert_eq!(log["reason"], *reason, "{answer:?}");
            assert_eq!(log["attempts"][0]["outcome"], "truncated", "{answer:?}");
        }
    }
}

/// A small body that breaks costs an attempt and not the request: the client has seen nothing of it.
#[tokio::test]
async fn a_small_body_that_breaks_is_fetched_again() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
    for down in BOTH {
        let upstream =
            bad_then_good([vec![Action::ReadHead, Action::send(cut), Action::Close]]).await;
        let mut setup = Setup::to(upstream.addr());
        setup.retry().attempts = 2;
        let rig = setup.start();
        let got = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!((got.status, got.text().as_str()), (200, "good"));
        assert_eq!(upstream.connections(), 2);
    }
}

/// What must not be sent twice is answered with an error of ours and not with half an answer.
#[tokio::test]
async fn a_small_body_that_breaks_and_must_not_be_fetched_again_is_a_502() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
    for down in BOTH {
        let upstream = raw(vec![vec![
            Action::ReadHead,
            Action::send(cut),
            Action::Close,
        ]])
        .await;
        let got = Ask::new(Method::POST, "/")
            .send(down, Setup::to(upstream.addr()).start().addr())
            .await;
        assert_eq!((got.status, got.reason().as_str()), (502, "upstream_reset"));
        assert_eq!(upstream.connections(), 1);
    }
}

/// A small body whose end is long in coming is passed on as far as it is here.
#[tokio::test]
async fn a_small_body_is_not_waited_for_without_end() {
    let part = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(part),
        Action::Stall,
    ]])
    .await;
    let rig = rig(&upstream);
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.bytes(5).await, b"hello");
}

/// An HTTP/1.0 client knows the end of such a body by the connection's end alone: it must not be
/// an orderly one.
#[tokio::test]
async fn a_client_that_reads_to_the_end_sees_a_break() {
    let cut = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let whole = format!("{cut}0\r\n\r\n");
    let script = |answer: &str| vec![Action::ReadHead, Action::send(answer), Action::Close];
    let upstream = raw(vec![script(&whole), script(cut)]).await;
    let rig = rig(&upstream);
    for expected in ["closed", "connection reset"] {
        let mut client = H1::connect(rig.addr()).await;
        client.send("GET / HTTP/1.0\r\nhost: a.test\r\n\r\n").await;
        let (_, ended) = client.rest().await;
        assert_eq!(ended, expected);
    }
}

/// Bytes after an answer are nobody's: not this client's, not the next one's.
#[tokio::test]
async fn extra_bytes_after_an_answer_are_nobodys() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let cases = [
        (
            Method::GET,
            format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{evil}"),
            "ok",
        ),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n".to_owned(),
            "ok",
        ),
        (
            Method::GET,
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{evil}"),
            "",
        ),
        (
            Method::GET,
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}"
            ),
            "ok",
        ),
        (Method::GET, format!("HTTP/1.1 204 None\r\n\r\n{evil}"), ""),
        (
            Method::GET,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil".to_owned(),
            "",
        ),
        (
            Method::HEAD,
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil".to_owned(),
            "",
        ),
    ];
    for down in BOTH {
        let upstream = bad_then_good(cases.iter().map(|(_, answer, _)| answering(answer))).await;
        let rig = rig(&upstream);
        for (index, (method, answer, body)) in cases.iter().enumerate() {
            let got = Ask::new(method.clone(), "/").send(down, rig.addr()).await;
            assert_eq!(
                (got.text().as_str(), got.is_whole()),
                (*body, true),
                "{answer:?}"
            );
            // The connection may lie idle until somebody looks at it; nobody may get it.
            let next = Ask::get("/next").send(down, rig.addr()).await;
            assert_eq!(
                (next.status, next.text().as_str()),
                (200, "good"),
                "after {answer:?}"
            );
            assert_eq!(upstream.connections(), 2 * index + 2, "{answer:?}");
        }
    }
}

/// A malformed answer of one region is another region's chance, if the policy says so.
#[tokio::test]
async fn a_bad_answer_may_be_tried_elsewhere() {
    let bad = raw(vec![answering("HTTP/1.1 200 OK\r\nx: a\n\r\n")]).await;
    let good = raw(vec![answering(GOOD)]).await;
    let mut setup = Setup::new([("eu", bad.addr()), ("us", good.addr())]);
    setup.retry().on.bad_response = true;
    let rig = setup.start();
    let got = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!((got.status, got.text().as_str()), (200, "good"));
    let rescued = r#"tidegate_requests_rescued_total{from="eu",to="us",why="bad_response"}"#;
    rig.log(1).await;
    assert_eq!(rig.metric(rescued), 1);
    // It was sent, so a POST stays where it failed.
    let got = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!((got.status, got.reason().as_str()), (502, "bad_response"));
    assert_eq!(good.connections(), 1);
}

/// To an HTTP/2 client any 2xx says that its tunnel is open (RFC 8441 section 5).
#[tokio::test]
async fn an_ordinary_answer_opens_no_tunnel() {
    let upstream = raw(vec![answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage",
    )])
    .await;
    let rig = rig(&upstream);
    let mut client = H2::connect(rig.addr()).await;
    until("extended CONNECT", || {
        client.send.is_extended_connect_protocol_enabled()
    })
    .await;
    let mut request = Request::connect(format!("http://{HOST}/ws"))
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    let got = client.open(request, false).await.answer().await;
    assert_eq!(
        (got.status, got.reason().as_str()),
        (502, "bad_response"),
        "{got:?}"
    );
}

/// HTTP/2 has no 101 (RFC 9113 section 8.6); an HTTP/1.1 client would take it for a switch.
#[tokio::test]
async fn no_switch_comes_out_of_http_2() {
    let upstream = h2_upstream(|_request, mut respond| async move {
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        if respond.send_informational(interim).is_ok() {
            let _ = respond.send_response(Response::new(()), true);
        }
        poll_fn(|cx| respond.poll_reset(cx)).await.ok();
    });
    let mut setup = Setup::to(upstream.await);
    setup.h2_up(true);
    setup.retry().attempts = 1;
    let rig = setup.start();
    for down in BOTH {
        let got = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(
            (got.status, got.reason().as_str()),
            (502, "bad_response"),
            "{got:?}"
        );
        assert!(got.interims.is_empty());
    }
}

/// A body shorter than its length is malformed over HTTP/2, too (RFC 9113 section 8.1.1).
#[tokio::test]
async fn a_short_body_over_http_2_is_visibly_broken() {
    let upstream = h2_upstream(|_request, mut respond| async move {
        let head = Response::builder()
            .header("content-length", 99_999)
            .body(())
            .unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    });
    let mut setup = Setup::to(upstream.await);
    setup.h2_up(true);
    let rig = setup.start();
    for down in BOTH {
        let got = Ask::get("/").send(down, rig.addr()).await;
        assert!(
            got.status != 502 && matches!(got.end, End::Cut(_)),
            "{got:?}"
        );
    }
}
