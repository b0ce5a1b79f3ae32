//! Promise 7: every decision can be printed and made again.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tidegate_lab::{Mode, World};

use crate::harness::{Config, Finished, Reply, Session, Tidegate, tidegate as run, until};

const NEAREST: &str = "eu-west";
const NEXT: &str = "us-east";
const ALL: &str = "explain: { sample: 100% }\n";
/// Only what fails or is tried again.
const FAILURES: &str = "explain: { sample: 0% }\n";

async fn world() -> World {
    let builder = World::builder()
        .region(NEAREST, Duration::from_millis(2))
        .region(NEXT, Duration::from_millis(4));
    builder.start().await.unwrap()
}

fn config(world: &World, explain: &str) -> Config {
    let mut config = Config::of(world).jurisdictions(&["eu", "us"]);
    config.top += explain;
    config
}

async fn visit(tidegate: &Tidegate, path: &str, fields: &[(&str, &str)]) -> Reply {
    let mut session = Session::h1(tidegate.http()).await;
    session.send(Method::GET, path, fields, "").await.unwrap()
}

/// What the command line tells, and how it exits.
fn explain(tidegate: &Tidegate, arguments: &[&str]) -> Finished {
    let admin = tidegate.admin().to_string();
    let words = ["explain", "--admin", &admin];
    run(words.iter().chain(arguments))
}

/// The record of an answered request: it is written when the answer has ended.
async fn record(tidegate: &Tidegate, reply: &Reply) -> Value {
    let path = format!("/explain/{}", reply.header("x-request-id"));
    until("the request is recorded", || async {
        tidegate.admin_get(&path).await.status == StatusCode::OK
    })
    .await;
    tidegate.admin_get(&path).await.json()
}

async fn replayed(tidegate: &Tidegate, reply: &Reply, more: &str) -> Value {
    let id = reply.header("x-request-id");
    let replayed = tidegate
        .admin_get(&format!("/explain/{id}?replay{more}"))
        .await;
    assert_eq!(replayed.status, StatusCode::OK, "{replayed:?}");
    replayed.json()
}

#[tokio::test]
async fn a_request_of_the_sample_is_told_and_made_again() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, ALL).yaml()).await;
    let fields = [("authorization", "Bearer very-secret"), ("x-tier", "gold")];
    let reply = visit(&tidegate, "/cart?id=7&token=hush-hush", &fields).await;
    let told = record(&tidegate, &reply).await;
    assert_eq!(told["route"], "all", "{told:#}");
    assert_eq!(told["reason"], "completed");
    assert_eq!(told["sampled"], true);
    assert_eq!(told["decisions"][0]["candidates"][0]["region"], NEAREST);
    assert_eq!(told["decisions"][0]["saw"][1]["region"], NEXT);
    assert_eq!(told["tries"][0]["status"], 200);
    assert_eq!(told["request"]["target"], "/cart?id=7&token=~");

    let id = reply.header("x-request-id").to_owned();
    let story = explain(&tidegate, &[&id]);
    assert_eq!(story.code, 0, "{}", story.stderr);
    for part in [
        &*id,
        "route     all",
        "by its tier",
        "goes to eu-west at",
        "answered 200",
    ] {
        assert!(story.stdout.contains(part), "{part} in\n{}", story.stdout);
    }
    let everything = format!("{told}{}", story.stdout);
    assert!(everything.contains("x-tier") && everything.contains("gold"));
    for secret in ["very-secret", "hush-hush"] {
        assert!(!everything.contains(secret), "{everything}");
    }

    let again = explain(&tidegate, &[&id, "--replay"]);
    assert_eq!(again.code, 0, "{}\n{}", again.stdout, again.stderr);
    assert!(
        again.stdout.contains("the same, bit for bit"),
        "{}",
        again.stdout
    );
}

#[tokio::test]
async fn a_rescued_request_is_told_without_the_sample() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, FAILURES).yaml()).await;
    let fine = visit(&tidegate, "/", &[]).await;
    world
        .site(NEAREST)
        .unwrap()
        .link
        .set(Mode::Reset)
        .await
        .unwrap();
    let reply = visit(&tidegate, "/cart", &[]).await;
    assert_eq!((reply.status, reply.region()), (StatusCode::OK, NEXT));

    let told = record(&tidegate, &reply).await;
    assert_eq!(
        (&told["rescued"], &told["sampled"]),
        (&true.into(), &false.into())
    );
    let tries = told["tries"].as_array().unwrap();
    assert!(tries.len() > 1, "{told:#}");
    assert_eq!(tries[0]["region"], NEAREST);
    assert!(
        tries[0]["then"].as_str().unwrap().contains("tried again"),
        "{told:#}"
    );
    let decisions = told["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), tries.len(), "{told:#}");
    assert!(
        decisions[0]["saw"].is_null(),
        "nobody knew that it would matter"
    );
    assert!(decisions[1]["saw"].is_array());
    let replayed = replayed(&tidegate, &reply, "").await;
    assert_eq!(replayed["same"], true, "{replayed:#}");
    assert!(replayed["decisions"][0]["missing"].is_string());
    assert!(replayed["decisions"][1]["missing"].is_null());

    let id = fine.header("x-request-id").to_owned();
    let unknown = explain(&tidegate, &[&id]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.contains("explain.sample"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn a_request_that_residency_keeps_here_is_told_and_another_plan_is_asked() {
    let world = world().await;
    let mut config = config(&world, FAILURES);
    config.routes =
        "  - { name: accounts, upstream: shop, residency: { allow: [eu] } }\n".to_owned();
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    tidegate
        .admin_post("/regions/eu-west/drain?force=true")
        .await;
    let reply = visit(&tidegate, "/accounts/7", &[]).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.json()["request_id"], reply.header("x-request-id"));

    let told = record(&tidegate, &reply).await;
    let excluded = &told["decisions"][0]["excluded"];
    assert_eq!(excluded[0]["why"], "draining", "{told:#}");
    assert_eq!(excluded[1]["why"], "residency", "{told:#}");
    let first = replayed(&tidegate, &reply, "").await;
    assert_eq!(
        (&first["same"], &first["same_plan"]),
        (&true.into(), &true.into())
    );
    assert!(first["decisions"][0]["missing"].is_null(), "{first:#}");

    config.routes = "  - { name: accounts, upstream: shop }\n".to_owned();
    tidegate.save(&config.yaml());
    let reload = tidegate.admin_post("/reload").await;
    assert_eq!(reload.status, StatusCode::OK, "{reload:?}");
    let second = replayed(&tidegate, &reply, "&generation=2").await;
    assert_eq!(
        (&second["same"], &second["same_plan"]),
        (&false.into(), &false.into())
    );
    let story = second["story"].as_str().unwrap();
    assert!(
        story.contains("goes to us-east at") && story.contains("instead of nowhere"),
        "{story}"
    );
    // The plan that decided serves no more; its texts are kept.
    let first = replayed(&tidegate, &reply, "").await;
    assert_eq!(
        (&first["same"], &first["same_plan"]),
        (&true.into(), &true.into())
    );

    let id = reply.header("x-request-id").to_owned();
    let differs = explain(&tidegate, &[&id, "--replay", "--generation", "2"]);
    assert_eq!(differs.code, 1, "{}", differs.stdout);
    let listed = explain(&tidegate, &["--recent", "--failed"]);
    assert!(
        listed.code == 0 && listed.stdout.contains(&id),
        "{}",
        listed.stdout
    );
    let unknown = explain(&tidegate, &[&id, "--replay", "--generation", "99"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("99"),
        "{}",
        unknown.stderr
    );
}

/// Who asks what would happen now asks the process that runs.
#[tokio::test]
async fn a_live_process_is_asked_what_it_would_do() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, ALL).yaml()).await;
    let now = explain(&tidegate, &["GET", "/cart", "-H", "Host: shop.example.com"]);
    assert_eq!(now.code, 0, "{}", now.stderr);
    assert!(now.stdout.contains("chosen    eu-west"), "{}", now.stdout);
    tidegate.admin_post("/regions/eu-west/drain").await;
    let now = explain(&tidegate, &["GET", "/cart"]);
    assert!(now.stdout.contains("being drained"), "{}", now.stdout);
    assert!(now.stdout.contains("chosen    us-east"), "{}", now.stdout);
    let alone = explain(&tidegate, &["https://shop.example.com/cart"]);
    assert!(
        alone.code == 2 && alone.stderr.contains("GET https"),
        "{}",
        alone.stderr
    );
}

#[tokio::test]
async fn nothing_is_recorded_that_is_not_wanted() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&config(&world, "explain: off\n").yaml()).await;
    world
        .site(NEAREST)
        .unwrap()
        .link
        .set(Mode::Reset)
        .await
        .unwrap();
    let reply = visit(&tidegate, "/", &[]).await;
    assert_eq!(reply.region(), NEXT);
    tidegate.logged(1).await;
    let recent = tidegate.admin_get("/explain/recent").await;
    assert_eq!(recent.json(), serde_json::json!([]));
    let id = reply.header("x-request-id");
    let unknown = tidegate.admin_get(&format!("/explain/{id}")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.text().contains("is off"), "{unknown:?}");
}
