//! Answers of our own: the connection is kept whenever it is known where the refused request ends,
//! and nothing that follows is read as anything else than what it is.

use tidegate_core::route::PathMatch;

use crate::harness::{Answer, H1, Setup, nowhere};

/// What follows a refused request on its connection.
const NEXT: &str = "GET /none HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// Sends a request, and another behind it in the same breath.
async fn two(request: &str) -> (Answer, H1) {
    let mut setup = Setup::to(nowhere().await);
    setup.route().matches.path = Some(PathMatch::Prefix("/svc".into()));
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    let answer = client.ask_raw(&format!("{request}{NEXT}")).await;
    (answer, client)
}

async fn check_kept(request: &str, status: u16) {
    let (answer, mut client) = two(request).await;
    assert_eq!(answer.status, status, "{request:?}");
    assert_eq!(answer.header("connection"), "", "{request:?}");
    let next = client.answer().await;
    assert_eq!(
        (next.status, next.reason().as_str()),
        (404, "no_route"),
        "{request:?}"
    );
}

async fn check_closed(request: &str, status: u16) {
    let (answer, mut client) = two(request).await;
    assert_eq!(answer.status, status, "{request:?}");
    assert_eq!(answer.header("connection"), "close", "{request:?}");
    assert!(client.is_ended().await, "{request:?}");
}

#[tokio::test]
async fn a_refused_request_whose_end_is_known_keeps_its_connection() {
    for path in ["/svc", "/other"] {
        let status = if path == "/svc" { 503 } else { 404 };
        let post = |rest: &str| format!("POST {path} HTTP/1.1\r\nhost: a.test\r\n{rest}");
        check_kept(
            &format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"),
            status,
        )
        .await;
        check_kept(&post("content-length: 0\r\n\r\n"), status).await;
        check_kept(&post("content-length: 5\r\n\r\nhello"), status).await;
        let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        check_kept(&post(chunked), status).await;
        let large = "x".repeat(4_000);
        check_kept(
            &post(&format!("content-length: 4000\r\n\r\n{large}")),
            status,
        )
        .await;
    }
}

#[tokio::test]
async fn a_refused_request_whose_end_is_not_known_ends_its_connection() {
    for path in ["/svc", "/other"] {
        let status = if path == "/svc" { 503 } else { 404 };
        let post = |rest: &str| format!("POST {path} HTTP/1.1\r\nhost: a.test\r\n{rest}");
        // More is to come; what follows here is its beginning.
        check_closed(&post("content-length: 500\r\n\r\nhello"), status).await;
        check_closed(
            &post("content-length: 500\r\nexpect: 100-continue\r\n\r\n"),
            status,
        )
        .await;
        let broken = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n\r\n";
        check_closed(&post(broken), status).await;
        let endless = "x".repeat(400_000);
        check_closed(
            &post(&format!("content-length: 40000\r\n\r\n{endless}")),
            status,
        )
        .await;
    }
}
