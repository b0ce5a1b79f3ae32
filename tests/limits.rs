//! Promise 8: what clients may make the process hold has limits, and the limits come from the
//! configuration.

use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_lab::World;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::harness::{Config, Session, Tidegate};

async fn start(limits: &str, upstream: &str) -> (World, Tidegate) {
    let builder = World::builder().region("eu-west", Duration::from_millis(2));
    let world = builder.start().await.unwrap();
    let mut config = Config::of(&world);
    config.upstream += upstream;
    let named = format!("name: http, limits: {{ {limits} }}");
    let yaml = config.yaml().replace("name: http", &named);
    let tidegate = Tidegate::start(&yaml).await;
    (world, tidegate)
}

#[tokio::test]
async fn heads_are_bounded() {
    let (_world, tidegate) = start("header_size: 4KiB, header_fields: 10", "").await;
    let long = "x".repeat(5_000);
    let many: Vec<_> = (0..11).map(|_| ("x-field", "1")).collect();
    for headers in [&[("x-long", &*long)][..], &many] {
        let mut session = Session::h1(tidegate.http()).await;
        let reply = session.send(Method::GET, "/", headers, "").await.unwrap();
        let expected = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        assert_eq!(reply.status, expected, "{reply:?}");
        assert_eq!(reply.json()["reason"], "bad_request");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let (world, tidegate) = start("header_size: 4KiB", "    body: { max: 10KiB }\n").await;
    for (bytes, expected) in [
        (10_240, StatusCode::OK),
        (10_241, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let mut session = Session::h1(tidegate.http()).await;
        let reply = session.send(Method::PUT, "/sha256", &[], "x".repeat(bytes));
        assert_eq!(reply.await.unwrap().status, expected, "{bytes}");
    }
    let seen = world.site("eu-west").unwrap().region.snapshot();
    assert_eq!(seen.requests.get("PUT /sha256"), Some(&1));
}

#[tokio::test]
async fn connections_are_bounded() {
    let (_world, tidegate) = start("connections: 2", "").await;
    let mut held = [
        Session::h1(tidegate.http()).await,
        Session::h1(tidegate.http()).await,
    ];
    for session in &mut held {
        session.get("/").await;
    }
    // The kernel completes a third connection; it waits for a place.
    let mut third = Session::h1(tidegate.http()).await;
    let waiting = tokio::spawn(async move { third.get("/").await.status });
    for _ in 0..20 {
        for session in &mut held {
            assert_eq!(session.get("/").await.status, StatusCode::OK);
        }
    }
    let metrics = tidegate.metrics().await;
    let accepted = metrics.sum("tidegate_downstream_connections_total", &[]);
    assert_eq!(accepted, 2);
    assert!(!waiting.is_finished());
    drop(held);
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

/// A client that does not finish its head is not waited for, and what it said so far is not
/// passed on.
#[tokio::test]
async fn a_head_has_a_deadline() {
    let (world, tidegate) = start("header_timeout: 200ms", "").await;
    let mut stream = TcpStream::connect(tidegate.http()).await.unwrap();
    let half = b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, half)
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let seen = world.site("eu-west").unwrap().region.snapshot();
    assert_eq!(seen.requests.get("GET /"), None);
}

/// The soft limit of open files is for programs that cannot use more.
#[tokio::test]
async fn the_soft_limit_of_files_is_raised() {
    let (_world, tidegate) = start("connections: 2", "").await;
    let [soft, hard] = tidegate.file_limits();
    assert!(soft == hard && soft > 64, "{soft} of {hard}");
}
