//! What a plan wants answered where no region serves: in place of the problem document, and of nothing
//! else.

use std::sync::Arc;

use http::{Method, StatusCode};
use tidegate_core::RegionSet;
use tidegate_core::health::Health;
use tidegate_core::plan::Fallback;

use crate::grpc::call;
use crate::harness::{Answer, Ask, Down, H1, Rig, Setup, nowhere, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

fn sorry(status: u16) -> Fallback {
    Fallback {
        status: StatusCode::from_u16(status).unwrap(),
        location: None,
        content_type: "text/html".into(),
        body: Arc::from(&b"<p>sorry</p>"[..]),
    }
}

/// One region, which is down.
async fn down(fallback: Fallback) -> Rig {
    let mut setup = Setup::to(nowhere().await);
    setup.upstream().steering.panic.fallback = Some(fallback.into());
    let rig = setup.start();
    rig.board.region("shop", "eu").set_health(Health::Unhealthy);
    rig
}

fn check_page(answer: &Answer, status: u16, body: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html");
    assert_eq!(answer.header("content-length"), "12");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.text(), body);
}

#[tokio::test]
async fn a_page_stands_in_and_the_reason_stays() {
    for status in [503, 200] {
        let rig = down(sorry(status)).await;
        for down in BOTH {
            let mut ask = Ask::get("/");
            check_page(&ask.send(down, rig.addr()).await, status, "<p>sorry</p>");
            ask.method = Method::HEAD;
            let head = ask.send(down, rig.addr()).await;
            check_page(&head, status, "");
            let again = if status == 503 { "1" } else { "" };
            assert_eq!(head.header("retry-after"), again);
            let post = Ask::post("/", "x").send(down, rig.addr()).await;
            check_page(&post, status, "<p>sorry</p>");
        }
        for line in rig.log(6).await {
            assert_eq!(line["reason"], "no_healthy_region", "{line}");
            assert_eq!(line["status"], status, "{line}");
        }
        let lost = r#"tidegate_requests_lost_total{why="no_healthy_region"}"#;
        assert_eq!(rig.metric(lost), 6);
    }
}

#[tokio::test]
async fn a_redirect_points_elsewhere() {
    let rig = down(Fallback {
        location: Some("https://status.example/".into()),
        body: Arc::from(&b""[..]),
        ..sorry(302)
    })
    .await;
    for down in BOTH {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(answer.status, 302);
        assert_eq!(answer.header("location"), "https://status.example/");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "");
        assert_eq!(
            (answer.text(), answer.header("content-length")),
            (String::new(), "0")
        );
    }
}

#[tokio::test]
async fn nothing_at_all_has_no_length() {
    let rig = down(Fallback {
        body: Arc::from(&b""[..]),
        ..sorry(204)
    })
    .await;
    for down in BOTH {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!((answer.status, answer.header("content-length")), (204, ""));
    }
}

#[tokio::test]
async fn a_connection_serves_on_behind_it() {
    let rig = down(sorry(503)).await;
    let mut client = H1::connect(rig.addr()).await;
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let ask = Ask::new(method, "/");
        assert_eq!(client.ask(&ask).await.status, 503);
    }
}

/// Its client knows no pages: it is told in its own words.
#[tokio::test]
async fn a_call_of_grpc_ends_as_one() {
    let rig = down(sorry(200)).await;
    let answer = call().send(Down::H2, rig.addr()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/grpc");
    assert_eq!(answer.header("grpc-status"), "14");
    assert_eq!(answer.text(), "");
}

/// Consent to a WebSocket is what a page would look like.
#[tokio::test]
async fn who_wants_to_switch_protocols_is_refused() {
    let rig = down(sorry(200)).await;
    let head = "GET / HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = H1::connect(rig.addr()).await.ask_raw(head).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "no_healthy_region")
    );
}

#[tokio::test]
async fn it_stands_in_where_no_connection_could_be_made() {
    let mut setup = Setup::to(nowhere().await);
    setup.upstream().steering.panic.fallback = Some(sorry(503).into());
    let rig = setup.start();
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    check_page(&answer, 503, "<p>sorry</p>");
    assert_eq!(rig.log(1).await[0]["reason"], "connect_failed");
}

/// Residency refuses in its own name, and what a service answers is not replaced.
#[tokio::test]
async fn it_hides_nothing_else() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.upstream().steering.panic.fallback = Some(sorry(503).into());
    setup
        .add_route("/nowhere", tidegate_core::UpstreamIdx(0))
        .allowed = RegionSet::EMPTY;
    let rig = setup.start();
    for down in BOTH {
        let refused = Ask::get("/nowhere").send(down, rig.addr()).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (503, "residency_blocked")
        );
        let error = Ask::get("/status/503").send(down, rig.addr()).await;
        assert_eq!((error.status, error.header("x-lab-region")), (503, "eu"));
    }
}
