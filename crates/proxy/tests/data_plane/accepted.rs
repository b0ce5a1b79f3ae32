//! What is accepted arrives at the upstream in exactly one form, however the client wrote or tore
//! it: golden text, byte for byte.

use std::fmt::Write as _;

use tidegate_lab::Action;

use crate::harness::{ADDED, H1, Setup, answering, golden, one_head, raw, received};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What is legal but odd arrives in the one form that everybody reads alike.
#[tokio::test]
async fn what_is_accepted_arrives_in_one_form() {
    let upstream = raw(vec![answering(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )])
    .await;
    let rig = Setup::to(upstream.addr()).one_thread().start();
    let added = ADDED;
    let without_host = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n\
        forwarded: for=127.0.0.1;proto=http\r\nvia: 1.0 fra1\r\nx-request-id: <id>\r\n";
    let http10 = added.replace("via: 1.1", "via: 1.0");
    let cases = [
        (
            "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n",
            format!("GET / HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        // One empty line before a request is tolerated (RFC 9112 section 2.2).
        (
            "\r\nGET / HTTP/1.1\r\nhost: a.test\r\n\r\n",
            format!("GET / HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        (
            "GET http://a.test/x?y=%2F..//z HTTP/1.1\r\nHOST: A.test\r\n\r\n",
            format!("GET /x?y=%2F..//z HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        (
            "GET http://a.test?q HTTP/1.1\r\nhost: a.test:80\r\n\r\n",
            format!("GET /?q HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n",
            format!("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        (
            "M-SEARCH / HTTP/1.1\r\nhost: a.test\r\n\r\n",
            format!("M-SEARCH / HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        // Values keep their bytes and their order, names their case; space around them goes.
        (
            "GET / HTTP/1.1\r\nhost: a.test\r\nX-A: \t 1 2\t\r\nx-b:\r\nX-A:3\r\n\r\n",
            format!("GET / HTTP/1.1\r\nhost: a.test\r\nX-A: 1 2\r\nx-b: \r\nX-A: 3\r\n{added}\r\n"),
        ),
        (
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n",
            format!("POST / HTTP/1.1\r\nhost: a.test\r\n{added}content-length: 0\r\n\r\n"),
        ),
        (
            "POST / HTTP/1.1\r\nhost: a.test\r\n\r\n",
            format!("POST / HTTP/1.1\r\nhost: a.test\r\n{added}content-length: 0\r\n\r\n"),
        ),
        (
            "PUT / HTTP/1.1\r\nhost: a.test\r\nContent-Length: 005\r\n\r\nhello",
            format!("PUT / HTTP/1.1\r\nhost: a.test\r\n{added}content-length: 5\r\n\r\nhello"),
        ),
        (
            "GET / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi",
            format!("GET / HTTP/1.1\r\nhost: a.test\r\n{added}content-length: 2\r\n\r\nhi"),
        ),
        // Chunk extensions are for one hop; trailers go on.
        (
            "POST / HTTP/1.1\r\nhost: a.test\r\nTransfer-Encoding: CHUNKED\r\n\r\n05 ; a=\"b;c\"\r\nhello\r\n000;x\r\nX-T: 1\r\n\r\n",
            format!(
                "POST / HTTP/1.1\r\nhost: a.test\r\n{added}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"
            ),
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            format!("GET / HTTP/1.1\r\nhost: \r\n{without_host}\r\n"),
        ),
        (
            "GET / HTTP/1.0\r\nhost: a.test\r\n\r\n",
            format!("GET / HTTP/1.1\r\nhost: a.test\r\n{http10}\r\n"),
        ),
        // No way around the routes: an upgrade to HTTP/2 is not passed on.
        (
            "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
            format!("GET / HTTP/1.1\r\nhost: a.test\r\n{added}\r\n"),
        ),
        (
            "POST / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi",
            format!("POST / HTTP/1.1\r\nhost: a.test\r\n{added}content-length: 2\r\n\r\nhi"),
        ),
    ];
    for (index, (request, expected)) in cases.iter().enumerate() {
        let mut client = H1::connect(rig.addr()).await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{request:?} {}", answer.text());
        let body_and_all = |seen: &[u8]| golden(seen).len() >= expected.len();
        let seen = received(&upstream, index, body_and_all).await;
        assert_eq!(&seen, expected, "for {request:?}");
    }
}

/// However a request is torn into reads, the upstream gets the same bytes.
#[tokio::test]
async fn splits_make_no_difference() {
    let post = "POST /one HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello";
    let get = "GET /two HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let both = format!("{post}{get}");
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::ReadBytes(5),
        Action::send(OK),
        Action::ReadHead,
        Action::send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"),
        Action::Close,
    ]])
    .await;
    let rig = Setup::to(upstream.addr()).one_thread().start();
    let expected = format!(
        "POST /one HTTP/1.1\r\nhost: a.test\r\nx-a: b\r\n{ADDED}content-length: 5\r\n\r\nhello\
         GET /two HTTP/1.1\r\nhost: a.test\r\n{ADDED}\r\n"
    );
    for split in 0..=both.len() {
        let mut client = H1::connect(rig.addr()).await;
        let (before, after) = both.as_bytes().split_at(split);
        client.send(before).await;
        tokio::task::yield_now().await;
        client.send(after).await;
        for _ in 0..2 {
            assert_eq!(client.answer().await.text(), "ok", "split at {split}");
        }
        let seen = received(&upstream, split, |seen| {
            golden(seen).len() >= expected.len()
        })
        .await;
        assert_eq!(seen, expected, "split at {split}");
    }
}

/// A chunked body that is sent byte by byte, each when the one before has reached the upstream,
/// is the same body.
#[tokio::test]
async fn a_body_byte_by_byte_is_the_same_body() {
    let upstream = raw(vec![answering("")]).await;
    let rig = Setup::to(upstream.addr()).one_thread().start();
    let mut client = H1::connect(rig.addr()).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let head = received(&upstream, 0, one_head).await;
    let mut expected = head;
    let mut raw_len = upstream.received(0).unwrap().len();
    client.send("5;ext\r\n").await;
    for byte in "hello".chars() {
        client.send(byte.to_string()).await;
        let chunk = format!("1\r\n{byte}\r\n");
        raw_len += chunk.len();
        expected.push_str(&chunk);
        assert_eq!(
            received(&upstream, 0, |seen| seen.len() >= raw_len).await,
            expected
        );
    }
    for byte in "\r\n0\r\n\r\n".chars() {
        client.send(byte.to_string()).await;
    }
    expected.push_str("0\r\n\r\n");
    assert_eq!(
        received(&upstream, 0, |seen| seen.ends_with(b"0\r\n\r\n")).await,
        expected
    );
}

/// Pipelined requests are served one after the other, in order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{body}");
    let mut script = Vec::new();
    for (request_body, body) in [(0, "one"), (6, "two"), (0, "six")] {
        script.extend([
            Action::ReadHead,
            Action::ReadBytes(request_body),
            Action::send(answer(body)),
        ]);
    }
    script.push(Action::Stall);
    let upstream = raw(vec![script]).await;
    let rig = Setup::to(upstream.addr()).one_thread().start();
    let mut all = String::new();
    for (method, path, body) in [
        ("GET", "/1", ""),
        ("PUT", "/2", "GET /x"),
        ("GET", "/3", ""),
    ] {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let _infallible = write!(
            all,
            "{method} {path} HTTP/1.1\r\nhost: a.test\r\n{length}\r\n{body}"
        );
    }
    let mut client = H1::connect(rig.addr()).await;
    client.send(&all).await;
    for expected in ["one", "two", "six"] {
        assert_eq!(client.answer().await.text(), expected);
    }
    let seen = golden(&upstream.received(0).unwrap());
    let expected = format!(
        "GET /1 HTTP/1.1\r\nhost: a.test\r\n{ADDED}\r\n\
         PUT /2 HTTP/1.1\r\nhost: a.test\r\n{ADDED}content-length: 6\r\n\r\nGET /x\
         GET /3 HTTP/1.1\r\nhost: a.test\r\n{ADDED}\r\n"
    );
    assert_eq!(seen, expected);
}
