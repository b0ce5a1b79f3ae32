//! Requests that two readers could read in two ways: refused with a reason, the connection closed,
//! and not one byte of them at an upstream. What is accepted is in `accepted`.

use crate::harness::{ADDED, H1, Rig, Setup, answering, golden, raw, until};
use tidegate_lab::{Action, RawUpstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// What follows every bad request: an answer to it would show that the bad one was believed.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// A data plane in front of `upstream`, on one thread.
fn rig(upstream: &RawUpstream) -> Rig {
    Setup::to(upstream.addr()).one_thread().start()
}

/// Asserts that `answer` is one answer of ours with this status and reason, after which the
/// connection ends.
fn assert_refused(bad: &str, answer: &str, status: &str, reason: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{bad:?}\n{answer}"
    );
    assert_eq!(
        answer.matches("x-request-id: ").count(),
        1,
        "one answer to {bad:?}\n{answer}"
    );
    assert!(
        answer.contains("\r\nconnection: close\r\n"),
        "{bad:?}\n{answer}"
    );
    assert!(
        answer.contains("\r\ncontent-type: application/problem+json\r\n"),
        "{bad:?}\n{answer}"
    );
    assert!(
        answer.contains(reason),
        "{bad:?} must be {reason}\n{answer}"
    );
}

/// Bad heads: nothing may be asked of an upstream, not even a connection.
#[tokio::test]
async fn bad_heads_reach_nobody() {
    let upstream = raw(vec![answering(OK)]).await;
    let rig = rig(&upstream);
    let h = "host: a.test\r\n";
    let post = |fields: &str| format!("POST / HTTP/1.1\r\n{h}{fields}\r\n0\r\n\r\n");
    let get = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let cases = [
        // Two framings.
        (
            post("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
            "400",
            "content_length_and_transfer_encoding",
        ),
        (
            post("transfer-encoding: chunked\r\ncontent-length: 0\r\n"),
            "400",
            "content_length_and_transfer_encoding",
        ),
        // Lengths.
        (
            post("content-length: 5\r\ncontent-length: 5\r\n"),
            "400",
            "content_length_repeated",
        ),
        (
            post("content-length: 5\r\ncontent-length: 6\r\n"),
            "400",
            "content_length_repeated",
        ),
        (
            post("content-length: 5, 5\r\n"),
            "400",
            "content_length_repeated",
        ),
        (
            post("content-length: +5\r\n"),
            "400",
            "content_length_invalid",
        ),
        (
            post("content-length: -1\r\n"),
            "400",
            "content_length_invalid",
        ),
        (
            post("content-length: 0x5\r\n"),
            "400",
            "content_length_invalid",
        ),
        (
            post("content-length: 5 5\r\n"),
            "400",
            "content_length_invalid",
        ),
        (
            post("content-length: \r\n"),
            "400",
            "content_length_invalid",
        ),
        (
            post("content-length: 99999999999999999999\r\n"),
            "400",
            "content_length_too_large",
        ),
        // Codings.
        (
            post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
            "400",
            "transfer_encoding_invalid",
        ),
        (
            post("transfer-encoding: chunked, chunked\r\n"),
            "400",
            "transfer_encoding_invalid",
        ),
        (
            post("transfer-encoding: chunked, identity\r\n"),
            "400",
            "transfer_encoding_invalid",
        ),
        (
            post("transfer-encoding: identity\r\n"),
            "400",
            "transfer_encoding_invalid",
        ),
        (
            post("transfer-encoding: gzip, chunked\r\n"),
            "501",
            "transfer_encoding_unsupported",
        ),
        (
            post("transfer-encoding: xchunked\r\n"),
            "501",
            "transfer_encoding_unsupported",
        ),
        (
            post("transfer-encoding: \x0bchunked\r\n"),
            "400",
            "field_value_invalid",
        ),
        (
            post("transfer-encoding: \"chunked\"\r\n"),
            "400",
            "transfer_encoding_invalid",
        ),
        (
            post("transfer-encoding : chunked\r\n"),
            "400",
            "space_before_colon",
        ),
        (
            post(" transfer-encoding: chunked\r\n"),
            "400",
            "field_folded",
        ),
        (
            post("transfer-encoding:\r\n chunked\r\n"),
            "400",
            "field_folded",
        ),
        (
            post("transfer\u{0}-encoding: chunked\r\n"),
            "400",
            "field_name_invalid",
        ),
        (post("transfer_encoding\r\n"), "400", "field_colon_missing"),
        (
            format!("POST / HTTP/1.0\r\n{h}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            "400",
            "transfer_encoding_in_http10",
        ),
        // Lines.
        (format!("GET / HTTP/1.1\n{h}\r\n"), "400", "bare_lf"),
        (
            "GET / HTTP/1.1\r\nhost: a.test\n\r\n".to_owned(),
            "400",
            "bare_lf",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a.test\r\n\n".to_owned(),
            "400",
            "bare_lf",
        ),
        (get("host: a.test\r\nx: a\rb\r\n"), "400", "bare_cr"),
        (
            get("host: a.test\r\nx: a\u{0}b\r\n"),
            "400",
            "field_value_invalid",
        ),
        (get("host: a.test\r\n: x\r\n"), "400", "field_name_invalid"),
        (
            format!("\r\n\r\nGET / HTTP/1.1\r\n{h}\r\n"),
            "400",
            "leading_lines",
        ),
        // Hosts.
        (get(""), "400", "host_missing"),
        (
            get("host: a.test\r\nhost: a.test\r\n"),
            "400",
            "host_repeated",
        ),
        (
            get("host: a.test\r\nHost: b.test\r\n"),
            "400",
            "host_repeated",
        ),
        (get("host: a.test/x\r\n"), "400", "host_invalid"),
        (get("host: user@a.test\r\n"), "400", "host_invalid"),
        (get("host: a.test, b.test\r\n"), "400", "host_invalid"),
        (
            format!("GET http://b.test/ HTTP/1.1\r\n{h}\r\n"),
            "400",
            "host_mismatch",
        ),
        (
            format!("GET http://a.test:81/ HTTP/1.1\r\n{h}\r\n"),
            "400",
            "host_mismatch",
        ),
        (
            format!("GET http://u@a.test/ HTTP/1.1\r\n{h}\r\n"),
            "400",
            "authority_invalid",
        ),
        // Request lines.
        (
            format!("GET  / HTTP/1.1\r\n{h}\r\n"),
            "400",
            "target_invalid",
        ),
        (
            format!("GET /a b HTTP/1.1\r\n{h}\r\n"),
            "400",
            "version_invalid",
        ),
        (
            format!("GET /#x HTTP/1.1\r\n{h}\r\n"),
            "400",
            "target_invalid",
        ),
        (format!("GET x HTTP/1.1\r\n{h}\r\n"), "400", "target_form"),
        (format!("GET * HTTP/1.1\r\n{h}\r\n"), "400", "target_form"),
        (
            format!("GET / HTTP/1.1 \r\n{h}\r\n"),
            "400",
            "version_invalid",
        ),
        (
            format!("GET / HTTP/2.0\r\n{h}\r\n"),
            "505",
            "version_unsupported",
        ),
        (format!("GET /\r\n{h}\r\n"), "400", "version_missing"),
        (
            format!("G@T / HTTP/1.1\r\n{h}\r\n"),
            "400",
            "method_invalid",
        ),
        // What may follow a CONNECT is meant for its tunnel.
        (
            "CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n".to_owned(),
            "501",
            "CONNECT",
        ),
        // Asking the proxy to remove what the next hop decides by.
        (
            get("host: a.test\r\nconnection: x-forwarded-for\r\n"),
            "400",
            "connection_nominates_protected",
        ),
        (
            get("host: a.test\r\nconnection: close, content-length\r\n"),
            "400",
            "connection_nominates_protected",
        ),
        (
            get("host: a.test\r\nexpect: 200-ok\r\n"),
            "417",
            "expectation_unsupported",
        ),
    ];
    for (bad, status, reason) in &cases {
        let mut client = H1::connect(rig.addr()).await;
        client.send(format!("{bad}{SMUGGLED}")).await;
        let (answer, ended) = client.rest().await;
        assert_refused(bad, &answer, status, reason);
        assert_eq!(ended, "closed", "{bad:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

/// Bad bodies show only after the head was accepted; nothing that ends a message may get through.
#[tokio::test]
async fn bad_bodies_never_become_a_whole_request() {
    let upstream = raw(vec![vec![Action::Stall]]).await;
    let rig = rig(&upstream);
    let cases = [
        ("5\r\nhelloX\r\n0\r\n\r\n", "chunk_data_end"),
        ("5\r\nhello\n0\r\n\r\n", "chunk_data_end"),
        ("5\nhello\r\n0\r\n\r\n", "chunk_line_end"),
        ("5\rhello\r\n0\r\n\r\n", "chunk_line_end"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("+5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("-1\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        (" 5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("\r\n5\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        ("g\r\nhello\r\n0\r\n\r\n", "chunk_size_invalid"),
        (
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "chunk_size_invalid",
        ),
        (
            "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "chunk_size_too_large",
        ),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", "chunk_line_end"),
        ("5;=x\r\nhello\r\n0\r\n\r\n", "chunk_extension_invalid"),
        ("5 x\r\nhello\r\n0\r\n\r\n", "chunk_extension_invalid"),
        ("0\r\nx: 1\n\r\n", "bare_lf"),
        ("0\r\ncontent-length: 5\r\n\r\n", "trailer_forbidden"),
        (
            "0\r\ntransfer-encoding: chunked\r\n\r\n",
            "trailer_forbidden",
        ),
        ("0\r\nhost: b.test\r\n\r\n", "trailer_forbidden"),
        ("0\r\n folded: 1\r\n\r\n", "field_folded"),
        ("0\r\nnocolon\r\n\r\n", "field_colon_missing"),
    ];
    for (index, (body, reason)) in cases.iter().enumerate() {
        let mut client = H1::connect(rig.addr()).await;
        let head = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}{SMUGGLED}")).await;
        let (answer, ended) = client.rest().await;
        assert_refused(body, &answer, "400", reason);
        assert_eq!(ended, "closed", "{body:?}");
        until("the attempt's end", || upstream.peer_ended(index)).await;
        let seen = golden(&upstream.received(index).unwrap());
        assert!(
            !seen.contains("smuggled") && !seen.contains("0\r\n"),
            "{body:?}\n{seen}"
        );
    }
    assert_eq!(upstream.connections(), cases.len());
}

/// An upstream answers before it has read the body: the rest of the body is no request.
#[tokio::test]
async fn the_rest_of_a_body_after_an_early_answer_is_no_request() {
    let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
    let upstream = raw(vec![answering(early)]).await;
    let rig = rig(&upstream);
    let mut client = H1::connect(rig.addr()).await;
    let length = 10 + SMUGGLED.len();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n0123456789"
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    let announced = answer.headers.get("connection");
    assert_eq!(announced.map(|value| value.as_bytes()), Some(&b"close"[..]));
    client.send(SMUGGLED).await;
    client.send(SMUGGLED).await;
    assert!(client.is_ended().await, "one answer and the end");
    assert_eq!(upstream.connections(), 1);
    assert!(!golden(&upstream.received(0).unwrap()).contains("GET"));
    until("the end of a connection that nobody may use", || {
        upstream.peer_ended(0)
    })
    .await;
}

/// A refused upgrade leaves an ordinary connection: what follows is a request to the proxy.
#[tokio::test]
async fn a_refused_upgrade_is_no_tunnel() {
    let refused =
        "HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n";
    let upstream = raw(vec![answering(refused), answering(OK)]).await;
    let rig = rig(&upstream);
    let mut client = H1::connect(rig.addr()).await;
    client
        .send("GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 9\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 426);
    client
        .send("GET /admin HTTP/1.1\r\nhost: a.test\r\nconnection: x-secret\r\nx-secret: 1\r\n\r\n")
        .await;
    // Whichever connection it takes, it went through the proxy's own parser and rules.
    let both = || {
        let all = (0..upstream.connections()).filter_map(|index| upstream.received(index));
        golden(&all.collect::<Vec<_>>().concat())
    };
    until("the second request", || both().contains("GET /admin")).await;
    let expected = format!("GET /admin HTTP/1.1\r\nhost: a.test\r\n{ADDED}\r\n");
    assert!(both().ends_with(&expected), "{}", both());
}
