//! Fields on their way: what belongs to one hop stays there, who the client is follows by trust,
//! and the request's identity goes through everything.

use http::{Method, Request};
use serde_json::Value;
use tidegate_lab::{RawUpstream, World};

use crate::harness::{ADDED, Answer, Ask, Down, H1, H2, HOST, Setup, answering, golden};
use crate::harness::{one_head, raw, received, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// What `/headers` of a lab region has seen, as lines.
fn seen(answer: &Answer) -> Vec<String> {
    let Value::Array(pairs) = answer.json() else {
        panic!("{answer:?}")
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    pairs
        .iter()
        .map(|pair| format!("{}: {}", text(&pair[0]), text(&pair[1])))
        .collect()
}

/// The values of one field, in order.
fn values<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    let prefix = format!("{name}: ");
    lines
        .iter()
        .filter_map(|line| line.strip_prefix(&prefix))
        .collect()
}

async fn seen_by(world: &World, h2_up: bool, down: Down, trusted: bool, ask: Ask) -> Vec<String> {
    let mut setup = Setup::world(world);
    setup.h2_up(h2_up);
    if trusted {
        setup.trust_everybody();
    }
    let rig = setup.start();
    seen(&ask.send(down, rig.addr()).await)
}

/// Sends `head` and returns what the upstream got.
async fn forwarded(head: &str) -> String {
    let upstream = raw(vec![answering(OK)]).await;
    let rig = Setup::to(upstream.addr()).start();
    H1::connect(rig.addr()).await.ask_raw(head).await;
    received(&upstream, 0, one_head).await
}

/// Returns what an HTTP/1.1 client gets when the upstream says `answer`.
async fn returned(answer: &str) -> String {
    let upstream = raw(vec![answering(answer)]).await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    golden(client.head().await.as_bytes())
}

#[tokio::test]
async fn a_requests_hop_by_hop_fields_stop_here() {
    let got = forwarded(
        "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: keep-alive, X-Mine\r\nkeep-alive: 5\r\n\
         proxy-connection: keep-alive\r\nproxy-authorization: Basic eA==\r\nx-mine: 1\r\n\
         te: gzip\r\nupgrade: foo/2\r\naccept: */*\r\nauthorization: Basic eQ==\r\n\r\n",
    );
    let expected = format!(
        "GET / HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\nauthorization: Basic eQ==\r\n{ADDED}\r\n"
    );
    assert_eq!(got.await, expected);
}

#[tokio::test]
async fn an_answers_hop_by_hop_fields_stop_here() {
    let got = returned(
        "HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: 5\r\nX-Mine: 1\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nServer: s\r\nSet-Cookie: a\r\n\
         set-cookie: b\r\nX-Request-Id: theirs\r\ncontent-length: 0\r\n\r\n",
    );
    let expected = "HTTP/1.1 200 Fine\r\nServer: s\r\nSet-Cookie: a\r\nset-cookie: b\r\n\
         via: 1.1 fra1\r\nx-request-id: <id>\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(got.await, expected);
}

#[tokio::test]
async fn via_grows_hop_by_hop() {
    let got = forwarded("GET / HTTP/1.1\r\nhost: a.test\r\nvia: 1.0 a\r\nvia: 2 b, 1.1 c\r\n\r\n");
    assert!(
        got.await
            .contains("\r\nvia: 1.0 a, 2 b, 1.1 c, 1.1 fra1\r\n")
    );
    let got = returned("HTTP/1.0 200 OK\r\nvia: 1.1 x\r\n\r\n").await;
    assert!(got.contains("\r\nvia: 1.1 x, 1.0 fra1\r\n"), "{got}");
}

/// Both kinds of client, both kinds of upstream: what is said of earlier hops counts by trust.
#[tokio::test]
async fn who_the_client_is_follows_by_trust() {
    let world = world(&["eu"]).await;
    let ask = Ask::get("/headers")
        .field("x-forwarded-for", "192.0.2.1")
        .field("x-forwarded-proto", "https")
        .field("x-forwarded-host", "other.test")
        .field("forwarded", "for=192.0.2.1;proto=https");
    for (h2_up, down) in [
        (false, Down::H1),
        (false, Down::H2),
        (true, Down::H1),
        (true, Down::H2),
    ] {
        let lines = seen_by(&world, h2_up, down, false, ask.clone()).await;
        assert_eq!(values(&lines, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(values(&lines, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&lines, "x-forwarded-host"), [HOST]);
        let own = format!("for=127.0.0.1;proto=http;host=\"{HOST}\"");
        assert_eq!(values(&lines, "forwarded"), [&own]);

        let lines = seen_by(&world, h2_up, down, true, ask.clone()).await;
        assert_eq!(values(&lines, "x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
        assert_eq!(values(&lines, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&lines, "x-forwarded-host"), ["other.test"]);
        assert_eq!(
            values(&lines, "forwarded"),
            [&format!("for=192.0.2.1;proto=https, {own}")]
        );
    }
}

/// Names that differ only where CGI-like upstreams do not look must not pass for ours.
#[tokio::test]
async fn no_field_poses_as_ours() {
    let got = forwarded(
        "GET / HTTP/1.1\r\nhost: a.test\r\nx_forwarded_for: 192.0.2.1\r\nX_Request_Id: 1\r\n\r\n",
    );
    let got = got.await.to_ascii_lowercase();
    assert!(
        !got.contains("x_forwarded_for") && !got.contains("x_request_id"),
        "{got}"
    );
}

/// An IPv6 client is quoted in brackets (RFC 7239 section 6), where this machine has IPv6.
#[tokio::test]
async fn an_ipv6_client_is_named_by_the_grammar() {
    let upstream = raw(vec![answering(OK)]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.listeners[0].bind = "[::1]:0".parse().unwrap();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let rig = setup.start();
    let head = "GET / HTTP/1.1\r\nhost: [2001:db8::1]:80\r\n\r\n";
    H1::connect(rig.addr()).await.ask_raw(head).await;
    let got = received(&upstream, 0, one_head).await;
    let forwarded = "forwarded: for=\"[::1]\";proto=http;host=\"[2001:db8::1]:80\"\r\n";
    assert!(
        got.contains(forwarded) && got.contains("x-forwarded-for: ::1\r\n"),
        "{got}"
    );
}

async fn asked_with_id(
    upstream: &RawUpstream,
    trusted: bool,
    down: Down,
    id: &str,
) -> (String, String) {
    let mut setup = Setup::to(upstream.addr());
    if trusted {
        setup.trust_everybody();
    }
    let rig = setup.start();
    let before = upstream.connections();
    let answer = Ask::get("/")
        .field("x-request-id", id)
        .send(down, rig.addr())
        .await;
    let sent = upstream
        .wait_received(before, crate::harness::PATIENCE, one_head)
        .await
        .unwrap();
    let sent = String::from_utf8(sent).unwrap();
    let sent = sent
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "))
        .unwrap();
    let log = rig.log(1).await;
    assert_eq!(log[0]["id"], sent);
    (sent.to_owned(), answer.header("x-request-id").to_owned())
}

#[tokio::test]
async fn a_request_id_is_taken_over_from_trusted_clients_and_returned() {
    let upstream = raw(vec![answering(OK)]).await;
    for down in BOTH {
        let (sent, back) = asked_with_id(&upstream, true, down, "abc-1").await;
        assert_eq!((sent.as_str(), back.as_str()), ("abc-1", "abc-1"));
        for (trusted, id) in [
            (false, "abc-1".to_owned()),
            (true, "a b".to_owned()),
            (true, "x".repeat(129)),
        ] {
            let (sent, back) = asked_with_id(&upstream, trusted, down, &id).await;
            assert_eq!(sent, back);
            assert!(
                sent.len() == 32 && sent.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{sent}"
            );
        }
    }
}

/// `Host` becomes `:authority` and back, whoever speaks what.
#[tokio::test]
async fn the_authority_survives_every_crossing() {
    let world = world(&["eu"]).await;
    for down in BOTH {
        let lines = seen_by(&world, true, down, false, Ask::get("/headers?q=1")).await;
        assert_eq!(values(&lines, ":authority"), [HOST]);
        assert_eq!(values(&lines, ":path"), ["/headers?q=1"]);
        assert_eq!(values(&lines, ":scheme"), ["http"]);
        assert!(values(&lines, "host").is_empty(), "{lines:?}");
        let lines = seen_by(&world, false, down, false, Ask::get("/headers")).await;
        assert_eq!(values(&lines, "host"), [HOST]);
    }
}

/// HTTP/2 clients split `Cookie` for compression; upstreams get one field (RFC 9113 section 8.2.3).
#[tokio::test]
async fn crumbs_become_one_cookie() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let ask = Ask::get("/headers")
            .field("cookie", "a=1")
            .field("cookie", "b=2");
        let lines = seen_by(&world, h2_up, Down::H2, false, ask).await;
        assert_eq!(values(&lines, "cookie"), ["a=1; b=2"]);
    }
}

#[tokio::test]
async fn te_trailers_goes_on_and_no_other_te() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        for down in BOTH {
            let ask = Ask::get("/headers").field("te", "trailers");
            let lines = seen_by(&world, h2_up, down, false, ask).await;
            assert_eq!(values(&lines, "te"), ["trailers"], "{down:?} {h2_up}");
        }
        let ask = Ask::get("/headers")
            .field("te", "gzip;q=1, trailers")
            .field("connection", "te");
        let lines = seen_by(&world, h2_up, Down::H1, false, ask).await;
        assert_eq!(values(&lines, "te"), ["trailers"], "{h2_up}");
        let ask = Ask::get("/headers").field("te", "gzip");
        let lines = seen_by(&world, h2_up, Down::H1, false, ask).await;
        assert!(values(&lines, "te").is_empty(), "{lines:?}");
    }
}

/// Nothing about regions leaves unless the route reveals it.
#[tokio::test]
async fn reveals_are_opt_in() {
    let world = world(&["eu", "us"]).await;
    world
        .site("eu")
        .unwrap()
        .link
        .set(tidegate_lab::Mode::Refuse)
        .await
        .unwrap();
    for down in BOTH {
        let rig = Setup::world(&world).start();
        let hidden = Ask::get("/").send(down, rig.addr()).await;
        for name in ["tidegate-region", "tidegate-attempts", "server-timing"] {
            assert_eq!(hidden.header(name), "", "{name}");
        }
        let mut setup = Setup::world(&world);
        let reveal = &mut setup.route().reveal;
        (reveal.region, reveal.attempts, reveal.server_timing) = (true, true, true);
        let rig = setup.start();
        let shown = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(shown.header("tidegate-region"), "us");
        assert_eq!(shown.header("tidegate-attempts"), "2");
        assert!(
            shown.header("server-timing").contains("upstream;dur="),
            "{shown:?}"
        );
    }
}

/// HTTP/1.0: no chunks, no interim answers, and the connection ends unless it is asked to stay.
#[tokio::test]
async fn http_1_0_clients_are_spoken_to_in_their_tongue() {
    let chunked = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let added = "via: 1.1 fra1\r\nx-request-id: <id>\r\n";
    let cases = [
        (
            "",
            chunked,
            format!("HTTP/1.1 200 OK\r\n{added}connection: close\r\n\r\nok"),
        ),
        (
            "",
            sized,
            format!("HTTP/1.1 200 OK\r\n{added}content-length: 2\r\nconnection: close\r\n\r\nok"),
        ),
        // Without chunks the body's end is the connection's, whatever was asked for.
        (
            "connection: keep-alive\r\n",
            chunked,
            format!("HTTP/1.1 200 OK\r\n{added}connection: close\r\n\r\nok"),
        ),
    ];
    for (fields, answer, expected) in cases {
        let upstream = raw(vec![answering(answer)]).await;
        let rig = Setup::to(upstream.addr()).start();
        let mut client = H1::connect(rig.addr()).await;
        client
            .send(format!("GET / HTTP/1.0\r\nhost: a.test\r\n{fields}\r\n"))
            .await;
        let (got, ended) = client.rest().await;
        assert_eq!(
            (golden(got.as_bytes()), ended.as_str()),
            (expected, "closed")
        );
    }
    let upstream = raw(vec![answering(OK)]).await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    for _ in 0..2 {
        client
            .send("GET / HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.text().as_str(), answer.header("connection")),
            ("ok", "keep-alive")
        );
    }
}

/// What h2 leaves to its users: requests whose authority could mean two things go nowhere.
#[tokio::test]
async fn an_http_2_request_names_one_authority() {
    let upstream = raw(vec![answering(OK)]).await;
    let rig = Setup::to(upstream.addr()).start();
    let cases = [
        ("http://a.test/", "host", "b.test", "authority_mismatch"),
        ("http://a.test/", "host", "a.test:80", "authority_mismatch"),
        (
            "http://user@a.test/",
            "accept",
            "*/*",
            "authority_user_info",
        ),
    ];
    for (uri, name, value, reason) in cases {
        let mut client = H2::connect(rig.addr()).await;
        let request = Request::get(uri).header(name, value).body(()).unwrap();
        let got = client.open(request, true).await.answer().await;
        assert_eq!(
            (got.status, got.reason().as_str()),
            (400, "bad_request"),
            "{uri} {value}"
        );
        assert!(got.detail().contains(reason), "{uri} {}", got.detail());
    }
    let mut client = H2::connect(rig.addr()).await;
    until("extended CONNECT", || {
        client.send.is_extended_connect_protocol_enabled()
    })
    .await;
    for protocol in [None, Some("connect-udp")] {
        let uri = if protocol.is_some() {
            "http://a.test/x"
        } else {
            "a.test:80"
        };
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(uri)
            .body(())
            .unwrap();
        if let Some(protocol) = protocol {
            request
                .extensions_mut()
                .insert(h2::ext::Protocol::from_static(protocol));
        }
        let got = client.open(request, false).await.answer().await;
        assert_eq!(
            (got.status, got.reason().as_str()),
            (501, "bad_request"),
            "{protocol:?}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}
