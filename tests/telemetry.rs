//! Promise 7: every request ends with one reason, every attempt is written down, and every name
//! that is exported is documented.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_lab::tls::Alpn;
use tidegate_lab::{Mode, World};

use crate::harness::{Config, Keys, Session, Tidegate, root, until};

const ROUTES: &str = "
  - { name: shop, match: { host: shop.example.com, path: /shop/** }, upstream: shop }
  - { name: bytes, match: { path: /bytes/** }, upstream: shop }
";

async fn world() -> World {
    let builder = World::builder()
        .region("eu-west", Duration::from_millis(2))
        .region("us-east", Duration::from_millis(4));
    builder.start().await.unwrap()
}

/// A process that has served, refused, failed over, reloaded and drained.
async fn eventful() -> (World, Tidegate) {
    let (world, keys) = (world().await, Keys::new());
    let directory = tempfile::tempdir().unwrap();
    keys.write_to(directory.path());
    let config = Config::of(&world).tls().routes(ROUTES).yaml();
    let tidegate = Tidegate::start_in(directory, &config).await;
    for region in ["eu-west", "us-east"] {
        tidegate.region_is(region, "healthy").await;
    }
    let tls = keys.client(Alpn::H2);
    let mut session = Session::tls(tidegate.listener("https"), tls).await;
    session.get("/bytes/100").await;
    session.get("/nowhere").await;
    let link = &world.site("eu-west").unwrap().link;
    link.set(Mode::Reset).await.unwrap();
    session.get("/shop/cart?secret=1").await;
    tidegate.region_is("eu-west", "unhealthy").await;
    tidegate
        .admin_post("/regions/us-east/drain?force=true")
        .await;
    session.get("/bytes/100").await;
    tidegate.admin_post("/regions/us-east/undrain").await;
    link.set(Mode::Up).await.unwrap();
    tidegate.region_is("eu-west", "healthy").await;
    tidegate.admin_post("/reload").await;
    (world, tidegate)
}

#[tokio::test]
async fn the_log_the_metrics_and_the_events_tell_what_happened() {
    let (_world, tidegate) = eventful().await;
    tidegate.logged(4).await;
    every_metric_is_documented(&tidegate).await;
    reasons_add_up(&tidegate).await;
    the_log_tells_every_attempt(&tidegate);
    the_fall_and_the_return_are_events(&tidegate).await;
}

async fn every_metric_is_documented(tidegate: &Tidegate) {
    let docs = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let documented = |name: &&str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let mut bases = suffixes
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix));
        docs.contains(&format!("| `{name}` |"))
            || bases.any(|base| docs.contains(&format!("| `{base}` | histogram |")))
    };
    let metrics = tidegate.metrics().await;
    let names = metrics.names();
    let unknown: Vec<_> = names.iter().filter(|name| !documented(name)).collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
    assert!(names.len() > 25, "only {names:?}");
}

async fn reasons_add_up(tidegate: &Tidegate) {
    let metrics = tidegate.metrics().await;
    let reasons = metrics.by("tidegate_request_terminations_total", "reason");
    let known: BTreeSet<_> = tidegate_core::termination::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    let told: BTreeSet<_> = reasons.keys().map(String::as_str).collect();
    assert_eq!(told, known, "each reason is there, also with 0");
    assert_eq!(reasons.values().sum::<u64>(), 4);
    let requests = metrics.sum("tidegate_requests_total", &[]);
    assert_eq!(requests, 4);
    let of = |reason: &str| reasons[reason];
    let ends = ["completed", "no_route", "no_healthy_region"].map(of);
    assert_eq!(ends, [2, 1, 1], "{reasons:?}");
    let lost = metrics.sum("tidegate_requests_lost_total", &[]);
    assert_eq!(lost, 1);
    // Whether the new connection or the request on it was reset is the kernel's affair; log and
    // metrics must say the same.
    let log = tidegate.access_log();
    let why = log[2]["attempts"][0]["outcome"].as_str().unwrap();
    assert!(["reset", "connect"].contains(&why), "{}", log[2]);
    let rescue = [("from", "eu-west"), ("to", "us-east"), ("why", why)];
    let rescued = metrics.sum("tidegate_requests_rescued_total", &rescue);
    assert_eq!(rescued, 1);
}

fn the_log_tells_every_attempt(tidegate: &Tidegate) {
    let log = tidegate.access_log();
    let ids: BTreeSet<_> = log.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), log.len(), "ids are unique");
    let [plain, nowhere, rescued, blocked] = &log[..] else {
        panic!("{log:?}")
    };
    assert_eq!(
        (&plain["status"], &plain["bytes_out"]),
        (&200.into(), &100.into())
    );
    assert_eq!(
        (&plain["protocol"], &plain["route"]),
        (&"h2".into(), &"bytes".into())
    );
    assert_eq!(plain["tls"]["sni"], "shop.example.com");
    assert_eq!(
        (&nowhere["status"], &nowhere["reason"]),
        (&404.into(), &"no_route".into())
    );
    assert_eq!(rescued["path"], "/shop/cart", "the query stays private");
    assert_eq!(rescued["rescued"], true, "{rescued}");
    let attempts = rescued["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            let word = |key: &str| attempt[key].as_str().unwrap();
            (word("region"), word("outcome") == "answered")
        })
        .collect();
    assert_eq!(told, [("eu-west", false), ("us-east", true)]);
    assert!(attempts.iter().all(|attempt| attempt["us"].is_u64()));
    assert_eq!(blocked["reason"], "no_healthy_region", "{blocked}");
    let left_out = blocked["excluded"].as_array().unwrap();
    let why: BTreeSet<_> = left_out
        .iter()
        .map(|region| region["why"].to_string())
        .collect();
    assert_eq!(why.len(), 2, "{blocked}");
}

async fn the_fall_and_the_return_are_events(tidegate: &Tidegate) {
    let events = tidegate.events("region_health").await;
    let of_eu = events.iter().filter(|event| event["region"] == "eu-west");
    let moves: Vec<_> = of_eu
        .map(|event| {
            assert!(!event["evidence"].as_str().unwrap().is_empty(), "{event}");
            let word = |key: &str| event[key].as_str().unwrap();
            (word("from"), word("to"))
        })
        .collect();
    let expected = [
        ("unknown", "healthy"),
        ("healthy", "unhealthy"),
        ("unhealthy", "healthy"),
    ];
    assert_eq!(moves, expected);
    assert_eq!(tidegate.events("drain").await.len(), 2);
    let all = tidegate.admin_get("/events").await.json();
    let next = all["next"].as_u64().unwrap();
    let newer = tidegate.admin_get(&format!("/events?since={next}")).await;
    assert_eq!(newer.json()["events"], serde_json::json!([]));
}

/// A log that is written to a file is reopened by SIGHUP, as logrotate expects.
#[tokio::test]
async fn the_log_follows_a_rotation() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let mut config = Config::of(&world);
    config.top += &format!("access_log: {{ file: {} }}\n", path.display());
    let tidegate = Tidegate::start_in(directory, &config.yaml()).await;
    let mut session = Session::h1(tidegate.http()).await;
    let lines = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().count()
    };
    session.get("/").await;
    until("the first line", || async { lines(&path) == 1 }).await;
    let old = path.with_extension("1");
    std::fs::rename(&path, &old).unwrap();
    tidegate.signal(rustix::process::Signal::HUP);
    until("the new file", || async { path.exists() }).await;
    session.get("/").await;
    until("the second line", || async { lines(&path) == 1 }).await;
    assert_eq!(lines(&old), 1);
}

/// The admin listener answers strangers politely and obeys no page in a browser.
#[tokio::test]
async fn the_admin_listener_keeps_its_manners() {
    let world = world().await;
    let tidegate = Tidegate::start(&Config::of(&world).yaml()).await;
    let reply = tidegate.admin_get("/nothing").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let reply = tidegate.admin_get("/reload").await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    let reply = tidegate.admin_post("/regions/eu-wset/drain").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.json()["closest"], "eu-west");
    let mut session = Session::direct(tidegate.admin()).await;
    let foreign = [("origin", "https://evil.example")];
    let sent = session.send(Method::POST, "/regions/eu-west/drain", &foreign, "");
    let reply = sent.await.unwrap();
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{reply:?}");
    assert_eq!(tidegate.region("eu-west").await["draining"], false);
}
