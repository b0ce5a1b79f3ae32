//! Promise 3: no attempt leaves the jurisdictions that a route allows, whatever fails.

use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_lab::{Mode, World};

use crate::harness::{Config, Reply, Session, Tidegate, until};

const ROUTES: &str = "
  - { name: accounts, match: { path: /accounts/** }, upstream: shop, residency: { allow: [eu] } }
  - { name: rest, upstream: shop }
";

async fn world() -> World {
    let builder = World::builder()
        .region("eu-west", Duration::from_millis(2))
        .region("us-east", Duration::from_millis(4));
    builder.start().await.unwrap()
}

fn config(world: &World) -> String {
    Config::of(world)
        .jurisdictions(&["eu", "us"])
        .routes(ROUTES)
        .yaml()
}

/// Requests that a region saw, probes left out.
fn seen(world: &World, region: &str) -> u64 {
    let snapshot = world.site(region).unwrap().region.snapshot();
    let probes = snapshot
        .requests
        .get("GET /healthz")
        .copied()
        .unwrap_or_default();
    snapshot.requests_total() - probes
}

async fn visit(tidegate: &Tidegate, method: Method, path: &str) -> Reply {
    let mut session = Session::h1(tidegate.http()).await;
    let sent = session.send(method, path, &[], "secret").await;
    sent.unwrap()
}

/// Every way of dying, from the first failed attempt to the settled outage.
#[tokio::test]
async fn nothing_leaves_when_the_only_allowed_region_dies() {
    for mode in [Mode::Refuse, Mode::Reset, Mode::BlackHole] {
        let world = world().await;
        let tidegate = Tidegate::start_healthy(&config(&world)).await;
        let reply = visit(&tidegate, Method::GET, "/accounts/7").await;
        assert_eq!((reply.status, reply.region()), (StatusCode::OK, "eu-west"));
        world.site("eu-west").unwrap().link.set(mode).await.unwrap();
        until("the outage is settled", || async {
            let reply = visit(&tidegate, Method::PUT, "/accounts/7").await;
            assert!(reply.status.is_server_error(), "{reply:?}");
            reply.json()["reason"] == "no_healthy_region"
        })
        .await;
        for method in [Method::GET, Method::PUT, Method::POST] {
            let reply = visit(&tidegate, method, "/accounts/7").await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
            assert_eq!(reply.header("content-type"), "application/problem+json");
        }
        assert_eq!(seen(&world, "us-east"), 0, "{mode:?}");
        let reply = visit(&tidegate, Method::GET, "/catalogue").await;
        assert_eq!((reply.status, reply.region()), (StatusCode::OK, "us-east"));
        assert_eq!(seen(&world, "us-east"), 1, "{mode:?}");
    }
}

/// The log and `/explain` name the region that was left out, and why.
#[tokio::test]
async fn the_exclusion_is_told() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world)).await;
    let drain = "/regions/eu-west/drain";
    let refused = tidegate.admin_post(drain).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "it is the only one");
    tidegate.admin_post(&format!("{drain}?force=true")).await;
    let reply = visit(&tidegate, Method::GET, "/accounts/7").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    let log = tidegate.logged(1).await;
    assert_eq!(log[0]["attempts"], serde_json::json!([]), "{}", log[0]);
    let told = tidegate.admin_get("/explain?url=/accounts/7").await.json();
    for record in [&log[0], &told] {
        let excluded = record["excluded"].as_array().unwrap();
        let why = |region: &str| {
            let found = excluded
                .iter()
                .find(|left_out| left_out["region"] == region);
            found.unwrap()["why"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            (&*why("us-east"), &*why("eu-west")),
            ("residency", "draining")
        );
    }
}

/// A rule that no region meets is refused before any request meets it.
#[tokio::test]
async fn a_rule_that_nobody_meets_is_no_configuration() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world)).await;
    let nowhere = Config::of(&world)
        .jurisdictions(&["us", "us"])
        .routes(ROUTES)
        .yaml();
    tidegate.save(&nowhere);
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(reply.text().contains("in the jurisdiction"), "{reply:?}");
    let reply = visit(&tidegate, Method::GET, "/accounts/7").await;
    assert_eq!(reply.region(), "eu-west");
}
