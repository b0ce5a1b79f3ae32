//! Bodies on their way: whole and byte for byte in every combination of protocols, both ways at the
//! same time, with backpressure, interim answers and trailers.

use bytes::Bytes;
use http::{Method, Request};
use tidegate_lab::{Action, content};

use crate::harness::{Answer, Ask, Down, H1, H2, HOST, PATIENCE, Rig, Setup, answering};
use crate::harness::{certificate, one_head, raw, until, world};

/// Client and upstream: HTTP/1.1 or HTTP/2 each.
const WAYS: [(Down, bool); 4] = [
    (Down::H1, false),
    (Down::H1, true),
    (Down::H2, false),
    (Down::H2, true),
];
const BIG: usize = 3 * 1024 * 1024 + 17;

fn rig(world: &tidegate_lab::World, h2_up: bool) -> Rig {
    let mut setup = Setup::world(world);
    setup.h2_up(h2_up);
    setup.start()
}

fn assert_content(answer: &Answer, length: usize, what: &str) {
    assert!(
        answer.is_whole() && answer.status == 200,
        "{what}: {} {:?}",
        answer.status,
        answer.end
    );
    assert_eq!(answer.body.len(), length, "{what}");
    assert_eq!(
        content::first_difference(content::SEED, 0, &answer.body),
        None,
        "{what}"
    );
}

#[tokio::test]
async fn big_bodies_arrive_byte_for_byte() {
    let world = world(&["eu"]).await;
    let body = content::bytes(content::SEED, 0, BIG);
    let hash = content::sha256_hex(content::SEED, BIG as u64);
    for (down, h2_up) in WAYS {
        let rig = rig(&world, h2_up);
        for path in [format!("/bytes/{BIG}"), format!("/chunked/{BIG}")] {
            let answer = Ask::get(&path).send(down, rig.addr()).await;
            assert_content(&answer, BIG, &format!("{path} {down:?} {h2_up}"));
        }
        for ask in [
            Ask::post("/sha256", body.clone()),
            Ask::post("/sha256", body.clone()).chunked(),
        ] {
            let receipt = ask.send(down, rig.addr()).await.json();
            assert_eq!(receipt["sha256"], hash.as_str(), "{down:?} {h2_up}");
            assert_eq!(receipt["bytes"], BIG);
        }
        // Upload and answer flow at the same time: neither end could hold it all back.
        let answer = Ask::post("/echo", body.clone())
            .send(down, rig.addr())
            .await;
        assert_content(&answer, BIG, &format!("/echo {down:?} {h2_up}"));
        rig.until_idle().await;
    }
}

#[tokio::test]
async fn big_bodies_arrive_under_tls() {
    let (authority, directory) = (
        tidegate_lab::Authority::new("ca").unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let files = certificate(&authority, directory.path(), "edge", &[HOST]);
    let world = world(&["eu"]).await;
    for (down, h2_up) in WAYS {
        let mut setup = Setup::world(&world);
        setup.h2_up(h2_up);
        setup.tls(vec![files.clone()]);
        let rig = setup.start();
        let alpn = if down == Down::H1 {
            tidegate_lab::Alpn::H1
        } else {
            tidegate_lab::Alpn::H2
        };
        let config = authority.client_config(alpn).unwrap();
        let body = content::bytes(content::SEED, 0, BIG);
        let ask = Ask::post("/echo", body).chunked();
        let io = crate::harness::tls(rig.tls_addr(), config, HOST)
            .await
            .unwrap();
        let answer = match down {
            Down::H1 => H1::over(io).ask(&ask).await,
            Down::H2 => H2::over(io).await.ask(&ask).await,
        };
        assert_content(&answer, BIG, &format!("{down:?} {h2_up}"));
    }
}

/// A client that does not read stops the upstream: what is taken from it stays bounded.
#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    const HUGE: u64 = 256 * 1024 * 1024;
    for (down, h2_up) in WAYS {
        let world = world(&["eu"]).await;
        let rig = rig(&world, h2_up);
        let path = format!("/bytes/{HUGE}");
        let mut h1 = None;
        let mut h2 = None;
        match down {
            Down::H1 => {
                let mut client = H1::connect(rig.addr()).await;
                client
                    .send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"))
                    .await;
                client.head().await;
                h1 = Some(client);
            }
            Down::H2 => {
                let mut client = H2::connect(rig.addr()).await;
                let request = Request::get(format!("http://{HOST}{path}"))
                    .body(())
                    .unwrap();
                let sending = client.open(request, true).await;
                h2 = Some((client, sending.response.await.unwrap()));
            }
        }
        let link = &world.site("eu").unwrap().link;
        // It moves until every buffer on the way is full, and then no more.
        let mut last = 0;
        let mut still = 0;
        until("a standstill", || {
            let now = link.stats().bytes_to_client;
            still = if now == last && now > 0 { still + 1 } else { 0 };
            last = now;
            still == 40
        })
        .await;
        // The kernel's buffers alone may hold tens of megabytes.
        assert!(last < HUGE / 2, "{down:?} {h2_up} took {last}");
        drop((h1, h2));
        // And when the client leaves, so does the attempt.
        rig.until_idle().await;
    }
}

/// A client waits for 100 before it sends: HTTP/1.1 upstreams say it, for HTTP/2 ones we do.
#[tokio::test]
async fn expect_100_continue() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let rig = rig(&world, h2_up);
        let mut client = H1::connect(rig.addr()).await;
        client
            .send("POST /sha256 HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 100 "), "{h2_up}");
        client.send("hello").await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.json()["bytes"].as_u64(), answer.interims.len()),
            (Some(5), 0),
            "{h2_up}"
        );
    }
}

/// An upstream that does not want the body says so at once, and the body is never asked for.
#[tokio::test]
async fn an_expectation_may_be_refused() {
    let upstream = raw(vec![answering(
        "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno",
    )])
    .await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.interims.len()),
        (403, "no", 0)
    );
    assert!(
        client.is_ended().await,
        "the body that was not sent is not waited for"
    );
    let seen = upstream.wait_received(0, PATIENCE, one_head).await.unwrap();
    assert!(
        String::from_utf8(seen)
            .unwrap()
            .contains("expect: 100-continue\r\n")
    );
}

#[tokio::test]
async fn early_hints_pass() {
    // The lab's HTTP/2 library sends no interim answers; the proxy's own tests have that side.
    let world = world(&["eu"]).await;
    let rig = rig(&world, false);
    for down in [Down::H1, Down::H2] {
        let answer = Ask::get("/hints").send(down, rig.addr()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hinted\n"));
        let [(status, fields)] = &answer.interims[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(
            (*status, fields["link"].to_str().unwrap()),
            (103, "</style.css>; rel=preload; as=style")
        );
    }
}

/// The same over HTTP/2 upstreams.
#[tokio::test]
async fn early_hints_pass_from_http_2() {
    let upstream = crate::harness::h2_upstream(|_request, mut respond| async move {
        let hint = http::Response::builder()
            .status(103)
            .header("link", "</a>")
            .body(())
            .unwrap();
        respond.send_informational(hint).unwrap();
        let mut body = respond
            .send_response(http::Response::new(()), false)
            .unwrap();
        body.send_data(Bytes::from_static(b"hinted"), true).unwrap();
    });
    let mut setup = Setup::to(upstream.await);
    setup.h2_up(true);
    let rig = setup.start();
    for down in [Down::H1, Down::H2] {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hinted"));
        let [(status, fields)] = &answer.interims[..] else {
            panic!("{answer:?}")
        };
        assert_eq!((*status, fields["link"].to_str().unwrap()), (103, "</a>"));
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let world = world(&["eu"]).await;
    for (down, h2_up) in WAYS {
        let rig = rig(&world, h2_up);
        let ask = Ask::post("/sha256", "hello")
            .field("te", "trailers")
            .field("trailer", "x-sum")
            .trailer("x-sum", "7");
        let receipt = ask.send(down, rig.addr()).await.json();
        assert_eq!(
            receipt["trailers"][0][0], "x-sum",
            "{down:?} {h2_up} {receipt}"
        );
        assert_eq!(receipt["trailers"][0][1], "7");
        let answer = Ask {
            path: "/echo".into(),
            ..ask
        }
        .send(down, rig.addr())
        .await;
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.trailers["x-sum"], "7", "{down:?} {h2_up}");
    }
}

/// What gRPC needs, to an HTTP/2 upstream as to an HTTP/1.1 one.
#[tokio::test]
async fn grpc_like_calls_end_with_their_status() {
    let world = world(&["eu"]).await;
    for h2_up in [true, false] {
        let rig = rig(&world, h2_up);
        let call = |path: &str| {
            Ask::post(path, "\0\0\0\0\x05hello")
                .chunked()
                .field("te", "trailers")
                .field("content-type", "application/grpc")
        };
        let unary = call("/grpc/unary").send(Down::H2, rig.addr()).await;
        assert_eq!(unary.text(), "\0\0\0\0\x05hello");
        assert_eq!(
            (&unary.trailers["grpc-status"], unary.is_whole()),
            (&"0".parse().unwrap(), true)
        );
        let stream = call("/grpc/stream/100").send(Down::H2, rig.addr()).await;
        assert!(
            stream.trailers.contains_key("grpc-status"),
            "{h2_up} {stream:?}"
        );
        assert_eq!(
            (stream.body.len(), &stream.trailers["grpc-status"]),
            (3700, &"0".parse().unwrap())
        );
        let failed = call("/grpc/status/14").send(Down::H2, rig.addr()).await;
        assert_eq!((failed.header("grpc-status"), failed.body.len()), ("14", 0));
    }
}

/// Answers without a body stay so, and say what the upstream said of its length.
#[tokio::test]
async fn answers_without_a_body() {
    let world = world(&["eu"]).await;
    for (down, h2_up) in WAYS {
        let rig = rig(&world, h2_up);
        let head = Ask::new(Method::HEAD, "/bytes/1000")
            .send(down, rig.addr())
            .await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, "1000"),
            "{down:?} {h2_up}"
        );
        assert!(head.body.is_empty() && head.is_whole());
        for status in [204, 304] {
            let answer = Ask::get(&format!("/status/{status}"))
                .send(down, rig.addr())
                .await;
            assert_eq!(
                (answer.status, answer.body.len()),
                (status, 0),
                "{down:?} {h2_up}"
            );
            assert_eq!(
                (answer.header("content-length"), answer.is_whole()),
                ("", true)
            );
        }
        let empty = Ask::get("/bytes/0").send(down, rig.addr()).await;
        assert_eq!(
            (empty.header("content-length"), empty.body.len()),
            ("0", 0),
            "{down:?} {h2_up}"
        );
    }
}

/// The connection serves on after every kind of answer, HEAD and empty ones included.
#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let rig = rig(&world, h2_up);
        let mut client = H1::connect(rig.addr()).await;
        for round in 0..3 {
            assert_content(
                &client.ask(&Ask::get("/chunked/5000")).await,
                5000,
                "chunked",
            );
            let head = client.ask(&Ask::new(Method::HEAD, "/bytes/9")).await;
            assert_eq!(head.status, 200);
            assert_eq!(client.ask(&Ask::get("/status/204")).await.status, 204);
            let post = client.ask(&Ask::post("/echo", "hello").chunked()).await;
            assert_eq!(post.text(), "hello", "round {round}");
        }
        assert_eq!(
            rig.metric(r#"tidegate_downstream_connections_total{listener="http",tls="none"}"#),
            1
        );
        assert_eq!(
            world.site("eu").unwrap().link.stats().connections,
            1 + u64::from(h2_up)
        );
    }
}

/// A server-sent stream: every piece comes through as it is sent, none waits for the next.
#[tokio::test]
async fn pieces_are_not_held_back() {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
            chunk("one")
        )),
        Action::ReadBytes(chunk("a").len()),
        Action::send(chunk("two")),
        Action::ReadBytes(chunk("b").len()),
        Action::send("0\r\n\r\n"),
        Action::Stall,
    ]])
    .await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.bytes(8).await, chunk("one").as_bytes());
    client.send(chunk("a")).await;
    assert_eq!(client.bytes(8).await, chunk("two").as_bytes());
    client.send(chunk("b")).await;
    assert_eq!(client.bytes(5).await, b"0\r\n\r\n");
}
