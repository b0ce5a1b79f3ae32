//! What a region answers on HTTP/1.1 and by prior knowledge on HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{Full, StreamBody};
use tidegate_lab::{
    Behaviour, EtagScheme, Latency, Region, RegionSpec, SlowBody, content, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn describes_the_request() {
    let region = region("eu-west").await;
    let request = get("/api/orders?page=2").header("x-forwarded-for", "192.0.2.7");
    let answer = ask(region.addr(), request.body(empty()).unwrap()).await;
    assert_eq!(
        (answer.status, answer.header("x-lab-region")),
        (200, "eu-west")
    );
    let json = answer.json();
    assert_eq!(json["region"], "eu-west");
    assert_eq!(json["method"], "GET");
    assert_eq!(json["path"], "/api/orders?page=2");
    assert_eq!(json["headers"]["x-forwarded-for"], "192.0.2.7");
}

#[tokio::test]
async fn speaks_h2_on_the_same_port() {
    let region = region("eu-west").await;
    let request = Request::get("http://shop.test/headers").header("x-one", "1");
    let answer = ask_h2(region.addr(), request.body(empty()).unwrap()).await;
    let expected = serde_json::json!([
        [":method", "GET"],
        [":scheme", "http"],
        [":authority", "shop.test"],
        [":path", "/headers"],
        ["x-one", "1"],
    ]);
    assert_eq!(answer.json(), expected);
    let h1 = get_path(region.addr(), "/").await;
    assert_eq!(h1.json()["version"], "HTTP/1.1");
}

#[tokio::test]
async fn lists_headers_in_order() {
    let region = region("eu-west").await;
    let request =
        b"GET /headers HTTP/1.1\r\nzulu: 1\r\nHost: a\r\nalpha: 2\r\nconnection: close\r\n\r\n";
    let got = exchange(region.addr(), request).await.unwrap();
    let got = String::from_utf8(got).unwrap();
    let expected = r#"[["zulu","1"],["host","a"],["alpha","2"],["connection","close"]]"#;
    assert!(got.ends_with(expected), "{got}");
}

#[tokio::test]
async fn serves_the_same_bytes_everywhere() {
    let (here, there) = (region("eu").await, region("us").await);
    let (a, b) = (
        get_path(here.addr(), "/bytes/70000").await,
        get_path(there.addr(), "/bytes/70000").await,
    );
    assert_eq!(a.body, content::bytes(content::SEED, 0, 70_000));
    assert_eq!(a.body, b.body);
    assert_eq!(a.header("etag"), b.header("etag"));
    assert_eq!(a.header("content-length"), "70000");
    assert_eq!(a.header("accept-ranges"), "bytes");
    let chunked = get_path(here.addr(), "/chunked/70000").await;
    assert_eq!(chunked.body, a.body);
    assert_eq!(chunked.header("transfer-encoding"), "chunked");
    assert!(!chunked.headers.contains_key("content-length"));
}

#[tokio::test]
async fn head_shows_what_get_would() {
    let region = region("eu").await;
    let request = Request::head("/bytes/5000")
        .header("host", "a")
        .body(empty())
        .unwrap();
    let answer = ask(region.addr(), request).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), "5000");
    assert_eq!(answer.header("etag"), content::etag(content::SEED, 5000));
}

#[tokio::test]
async fn honours_ranges() {
    let region = region("eu").await;
    let etag = content::etag(content::SEED, 1000);
    // Range, If-Range, status, Content-Range, first byte, length.
    let cases = [
        ("bytes=100-199", "", 206, "bytes 100-199/1000", 100, 100),
        (
            "bytes=990-",
            etag.as_str(),
            206,
            "bytes 990-999/1000",
            990,
            10,
        ),
        ("bytes=-5", "", 206, "bytes 995-999/1000", 995, 5),
        ("bytes=100-199", "\"stale\"", 200, "", 0, 1000),
        ("bytes=1000-", "", 416, "bytes */1000", 0, 0),
    ];
    for (range, if_range, status, content_range, first, len) in cases {
        let mut request = get("/bytes/1000").header("range", range);
        if !if_range.is_empty() {
            request = request.header("if-range", if_range);
        }
        let answer = ask(region.addr(), request.body(empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{range} {if_range}");
        assert_eq!(
            answer.header("content-range"),
            content_range,
            "{range} {if_range}"
        );
        assert_eq!(
            answer.body,
            content::bytes(content::SEED, first, len),
            "{range} {if_range}"
        );
        assert_eq!(answer.header("etag"), etag);
    }
}

#[tokio::test]
async fn can_lie_about_its_content() {
    let (honest, other) = (region("eu").await, region("us").await);
    let wrong = Behaviour {
        content_seed: 5,
        etag: EtagScheme::Size,
        ..Behaviour::default()
    };
    other.set(wrong.clone());
    let answer = get_path(other.addr(), "/bytes/100").await;
    assert_eq!(answer.body, content::bytes(5, 0, 100));
    honest.change(|behaviour| behaviour.etag = EtagScheme::Size);
    let same_tag = get_path(honest.addr(), "/bytes/100").await;
    assert_eq!(same_tag.header("etag"), answer.header("etag"));
    assert_ne!(same_tag.body, answer.body);
    assert_eq!(other.behaviour(), wrong);
}

#[tokio::test]
async fn echoes_body_and_trailers_in_both_versions() {
    let region = region("eu").await;
    let frames = || {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let frames = [
            http_body::Frame::data(Bytes::from_static(b"hello ")),
            http_body::Frame::data(Bytes::from_static(b"world")),
            http_body::Frame::trailers(trailers),
        ];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        StreamBody::new(futures_util::stream::iter(frames))
    };
    let h1 = Request::post("/echo")
        .header("host", "a")
        .header("te", "trailers");
    let h1 = h1.header("trailer", "x-sum").body(frames()).unwrap();
    let h2 = Request::post("http://a/echo").body(frames()).unwrap();
    for answer in [
        ask(region.addr(), h1).await,
        ask_h2(region.addr(), h2).await,
    ] {
        assert_eq!(&answer.body[..], b"hello world");
        assert_eq!(answer.trailers["x-sum"], "42");
    }
}

#[tokio::test]
async fn hashes_what_it_received() {
    let region = region("eu").await;
    let body = Full::new(content::bytes(3, 0, 100_000));
    let request = Request::put("/sha256")
        .header("host", "a")
        .body(body)
        .unwrap();
    let json = ask(region.addr(), request).await.json();
    assert_eq!(json["sha256"], content::sha256_hex(3, 100_000));
    assert_eq!(json["bytes"], 100_000);
}

#[tokio::test]
async fn answers_early_without_the_body() {
    let region = region("eu").await;
    let mut stream = TcpStream::connect(region.addr()).await.unwrap();
    let head = b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let got = read_until(&mut stream, b"early\n").await;
    assert!(got.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn sends_early_hints_before_it_answers() {
    let region = region("eu").await;
    let mut stream = TcpStream::connect(region.addr()).await.unwrap();
    // Ten minutes: the interim answer must not wait for the final one.
    stream
        .write_all(b"GET /hints/600000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let got = read_until(&mut stream, b"\r\n\r\n").await;
    assert!(
        got.starts_with(b"HTTP/1.1 103 Early Hints\r\nlink: "),
        "{got:?}"
    );
    let whole = b"GET /hints HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let got = String::from_utf8(exchange(region.addr(), whole).await.unwrap()).unwrap();
    let (interim, last) = got.split_once("\r\n\r\n").unwrap();
    assert!(interim.starts_with("HTTP/1.1 103"), "{got}");
    assert!(
        last.starts_with("HTTP/1.1 200") && last.ends_with("hinted\n"),
        "{got}"
    );
}

#[tokio::test]
async fn small_endpoints_answer() {
    let region = region("eu").await;
    let cases = [
        ("/status/204", 204, ""),
        ("/status/503", 503, ""),
        ("/healthz", 200, "healthy\n"),
        ("/bytes/x", 400, ""),
        ("/ws", 426, ""),
    ];
    for (path, status, body) in cases {
        let answer = get_path(region.addr(), path).await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (status, body.as_bytes()),
            "{path}"
        );
    }
    let slow = get_path(region.addr(), "/slow/1").await;
    assert_eq!(slow.json()["path"], "/slow/1");
    let slow = get_path(region.addr(), "/slow-body/3000/1").await;
    assert_eq!(slow.body, content::bytes(content::SEED, 0, 3000));
}

#[tokio::test]
async fn health_is_a_switch_and_errors_spare_it() {
    let region = region("eu").await;
    region.change(|behaviour| {
        behaviour.error_rate = 1.0;
        behaviour.error_status = StatusCode::BAD_GATEWAY;
    });
    assert_eq!(get_path(region.addr(), "/").await.status, 502);
    assert_eq!(get_path(region.addr(), "/healthz").await.status, 200);
    region.change(|behaviour| behaviour.healthy = false);
    assert_eq!(get_path(region.addr(), "/healthz").await.status, 503);
}

#[tokio::test]
async fn errors_come_at_their_rate() {
    let mut spec = RegionSpec::new("eu");
    spec.behaviour.error_rate = 0.3;
    let region = Region::start(spec).await.unwrap();
    let mut errors = 0;
    for _ in 0..200 {
        errors += u32::from(get_path(region.addr(), "/").await.status == 500);
    }
    assert!((40..80).contains(&errors), "{errors} of 200 at 30 %");
}

#[tokio::test]
async fn holds_answers_back_and_counts_them_in_flight() {
    let region = region("eu").await;
    let hour = Duration::from_secs(3600);
    region.change(|behaviour| behaviour.latency = Latency::Fixed(hour));
    let addr = region.addr();
    let waiting = tokio::spawn(async move { get_path(addr, "/").await });
    wait_until("a request in flight", PATIENCE, || async {
        region.snapshot().in_flight == 1
    })
    .await
    .unwrap();
    waiting.abort();
    wait_until("the request given up", PATIENCE, || async {
        region.snapshot().in_flight == 0
    })
    .await
    .unwrap();
    assert_eq!(region.snapshot().requests_total(), 1);
}

#[tokio::test]
async fn trickles_a_body() {
    let region = region("eu").await;
    let slow = SlowBody {
        piece_bytes: 10,
        pause: Duration::from_secs(3600),
    };
    region.change(|behaviour| behaviour.slow_body = Some(slow));
    let mut stream = TcpStream::connect(region.addr()).await.unwrap();
    stream
        .write_all(b"GET /bytes/100 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let first = content::bytes(content::SEED, 0, 10);
    let got = read_until(&mut stream, &first).await;
    assert!(got.ends_with(&first), "only the first piece may be out");
}

#[tokio::test]
async fn the_ledger_proves_duplicates() {
    let region = region("eu").await;
    for id in ["a", "b", "a"] {
        let request = get("/bytes/10")
            .header("x-lab-id", id)
            .body(empty())
            .unwrap();
        ask(region.addr(), request).await;
    }
    let request = Request::builder()
        .method(Method::PUT)
        .uri("/echo")
        .header("host", "a");
    ask(region.addr(), request.body(Full::from("12345")).unwrap()).await;
    let seen = region.snapshot();
    assert_eq!(seen.requests["GET /bytes"], 3);
    assert_eq!(seen.requests["PUT /echo"], 1);
    assert_eq!((seen.ids, seen.duplicates, seen.connections), (2, 1, 4));
    assert_eq!(
        (
            region.times_seen("a"),
            region.times_seen("b"),
            region.times_seen("c")
        ),
        (2, 1, 0)
    );
    assert!(seen.bytes_in > 200 && seen.bytes_out > 400, "{seen:?}");
}

#[tokio::test]
async fn refuses_a_name_that_is_no_header() {
    assert!(Region::start(RegionSpec::new("a\nb")).await.is_err());
}

#[tokio::test]
async fn dies_on_drop_with_its_streams() {
    let region = region("eu").await;
    let mut stream = TcpStream::connect(region.addr()).await.unwrap();
    stream
        .write_all(b"GET /slow/600000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    wait_until("arrival", PATIENCE, || async {
        region.snapshot().in_flight == 1
    })
    .await
    .unwrap();
    let addr = region.addr();
    drop(region);
    let mut rest = Vec::new();
    // FIN or RST, depending on what was unread.
    let _ = patiently(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    wait_until("the port closed", PATIENCE, || async {
        TcpStream::connect(addr).await.is_err()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_hidden_length_stays_hidden_in_h2() {
    let region = region("eu").await;
    let request = Request::get("http://a/chunked/100").body(empty()).unwrap();
    let answer = ask_h2(region.addr(), request).await;
    assert!(!answer.headers.contains_key("content-length"));
    assert_eq!(answer.body.len(), 100);
    assert_eq!(
        content::first_difference(content::SEED, 0, &answer.body),
        None
    );
}
