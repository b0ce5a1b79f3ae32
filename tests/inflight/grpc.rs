//! Calls of gRPC that the service itself refuses: tried elsewhere before the first message, where
//! their route says that twice is the same as once.

use std::time::Duration;

use http::Method;
use tidegate_lab::{Death, Ending, World};

use crate::harness::{Config, Session, Tidegate};

const ROUTES: &str = "  \
  - { name: twice, match: { headers: { x-twice: fine } }, upstream: shop, idempotent: true }
  - { name: once, upstream: shop }
";

async fn world(death: Ending) -> World {
    let builder = World::builder().region("near", Duration::from_millis(2));
    let world = builder.region("far", Duration::from_millis(4));
    let world = world.start().await.unwrap();
    let near = world.site("near").unwrap();
    // At the end of the call's own message: before it nobody may hold the answer's head.
    let death = Death::InUpload {
        after: u64::MAX,
        how: death,
    };
    near.region.change(|how| how.death = Some(death));
    world
}

/// The code that a call ends with, wherever it stands.
async fn code(tidegate: &Tidegate, id: &str, twice: bool) -> String {
    let mut session = Session::h2c(tidegate.http()).await;
    let mut headers = vec![
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        (tidegate_lab::ID_HEADER, id),
    ];
    if twice {
        headers.push(("x-twice", "fine"));
    }
    let message = &b"\0\0\0\0\x02hi"[..];
    let sent = session
        .send(Method::POST, "/grpc/unary", &headers, message)
        .await;
    let reply = sent.unwrap();
    let among_fields = reply.headers.get("grpc-status");
    let code = among_fields.or(reply.trailers.get("grpc-status"));
    code.unwrap().to_str().unwrap().to_owned()
}

async fn check(death: Ending, twice: bool, expected: &str) {
    let world = world(death).await;
    let mut config = Config::of(&world).routes(ROUTES);
    config.upstream += "    protocol: http2\n";
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let told = format!("{death:?} {twice}");
    let got = code(&tidegate, "call", twice).await;
    let log = tidegate.logged(1).await;
    assert_eq!(got, expected, "{told}: {log:?}");
    let arrivals = if twice { 2 } else { 1 };
    let seen = |name| world.site(name).unwrap().region.times_seen("call");
    assert!(world.times_seen("call") <= arrivals, "{told}");
    let served = if expected == "0" { "far" } else { "near" };
    assert_eq!(seen(served), 1, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_before_the_first_message_is_tried_elsewhere() {
    for death in [Ending::GrpcTrailers(14), Ending::GrpcTrailersOnly(14)] {
        check(death, true, "0").await;
        check(death, false, "14").await;
    }
}

/// A code that is not listed is the service's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_codes_are_passed_on() {
    check(Ending::GrpcTrailers(5), true, "5").await;
}
