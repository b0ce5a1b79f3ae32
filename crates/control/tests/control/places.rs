//! The database of clients' places: replaced, shared, and kept while its file is no good.

#[path = "../../../lab/src/geo.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the laboratory's writer, without the rest of it"
)]
mod lab;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_control::{Cause, Verdict, Watcher};
use tidegate_core::geo::Database;

use crate::support::{Site, config, until};
use lab::{GeoDatabase, country};

const GEO: &str = "geo: { database: places.mmdb, networks: { 10.0.0.0/8: { country: JP } } }\n";

fn text(timeout: &str) -> String {
    let steering = "  shop:\n    steering: { policy: geo }\n";
    GEO.to_owned() + &config(timeout).replace("  shop:\n", steering)
}

/// Where the documentation's addresses are.
fn database(code: &str) -> Vec<u8> {
    GeoDatabase::new("GeoLite2-Country")
        .with("192.0.2.0/24", country(code, "EU"))
        .bytes()
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("places.mmdb"), database("DE")).unwrap();
    Site::in_dir(dir, "tidegate.yaml", &text("1s"))
}

fn file(site: &Site) -> PathBuf {
    site.dir.path().join("places.mmdb")
}

/// Renamed into its place, as it should be done.
fn put(site: &Site, content: &[u8]) {
    let beside = site.dir.path().join("places.tmp");
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(&beside, file(site)).unwrap();
}

fn serving(site: &Site) -> Arc<Database> {
    let live = site.shared.plan.newest().unwrap();
    let atlas = live.plan.atlas.clone().unwrap();
    atlas.database().unwrap().clone()
}

fn country_of_a_client(site: &Site) -> Option<[u8; 2]> {
    serving(site).find(IpAddr::from([192, 0, 2, 1]))?.country
}

async fn geo_status(site: &Site) -> Value {
    let (admin, _readiness) = site.admin().await;
    let answer = crate::support::ask(admin.address(), "GET", "/status", &[]).await;
    answer.json()["geo"].clone()
}

fn has(site: &Site, kind: &str, count: usize) -> bool {
    site.events().iter().filter(|found| *found == kind).count() == count
}

#[tokio::test]
async fn a_new_database_serves_without_a_restart() {
    let site = site();
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    assert_eq!(country_of_a_client(&site), Some(*b"DE"));
    put(&site, &database("FR"));
    until("the new one serves", || {
        country_of_a_client(&site) == Some(*b"FR")
    })
    .await;
    until("it is told", || has(&site, "geo_reloaded", 1)).await;
    assert_eq!(site.generation(), 2);
    assert!(site.has_metric("tidegate_geo_reloads_total{result=\"applied\"} 1"));
    let status = geo_status(&site).await;
    assert_eq!(status["networks"], 1);
    let told = &status["database"];
    assert_eq!(told["type"], "GeoLite2-Country");
    assert_eq!(told["bytes"], database("FR").len());
    assert_eq!(
        (&told["problem"], &told["built"]),
        (&Value::Null, &json!(1_782_000_000))
    );
    assert_eq!(told["file"], file(&site).to_str().unwrap());
}

#[tokio::test]
async fn the_last_good_one_serves_while_the_file_is_no_good() {
    let site = site();
    let _watcher = Watcher::start(site.reloader.clone()).unwrap();
    let first = serving(&site);
    std::fs::remove_file(file(&site)).unwrap();
    until("the loss is told", || has(&site, "geo_refused", 1)).await;
    assert!(site.has_metric("tidegate_geo_reloads_total{result=\"refused\"} 1"));
    let whole = database("FR");
    put(&site, &whole[..whole.len() / 2]);
    until("the damage is told", || has(&site, "geo_refused", 2)).await;
    let status = geo_status(&site).await;
    let problem = status["database"]["problem"].as_str().unwrap();
    assert!(problem.contains("not a whole database"), "{problem}");
    assert!(Arc::ptr_eq(&first, &serving(&site)));
    assert_eq!((site.generation(), site.reloads("unchanged")), (1, 2));
    // The rest of the configuration can be changed all the same.
    site.write(&text("2s"));
    until("the timeout is new", || site.timeout().as_secs() == 2).await;
    assert!(Arc::ptr_eq(&first, &serving(&site)));
    assert!(
        has(&site, "geo_refused", 2),
        "told once: {:?}",
        site.events()
    );
    put(&site, &whole);
    until("the new one serves", || {
        country_of_a_client(&site) == Some(*b"FR")
    })
    .await;
    assert_eq!(geo_status(&site).await["database"]["problem"], Value::Null);
}

#[tokio::test]
async fn plans_share_an_unchanged_database() {
    let site = site();
    let first = serving(&site);
    site.write(&text("2s"));
    let outcome = site.reloader.reload(Cause::Api).await;
    assert!(
        matches!(outcome.verdict, Verdict::Activated { .. }),
        "{outcome}"
    );
    assert!(Arc::ptr_eq(&first, &serving(&site)));
    assert!(site.has_metric("tidegate_geo_reloads_total{result=\"unchanged\"} 1"));
    std::fs::write(file(&site), database("DE")).unwrap();
    let outcome = site.reloader.reload(Cause::Api).await;
    assert!(
        matches!(outcome.verdict, Verdict::Unchanged { .. }),
        "{outcome}"
    );
    assert!(Arc::ptr_eq(&first, &serving(&site)));
    std::fs::write(file(&site), database("FR")).unwrap();
    let outcome = site.reloader.reload(Cause::Api).await;
    let Verdict::Activated { changes, .. } = &outcome.verdict else {
        panic!("{outcome}")
    };
    assert_eq!(changes.to_string(), "pop, replay, metrics or geo");
}

#[tokio::test]
async fn what_is_wrong_is_no_warning_for_a_configuration_without_a_database() {
    let site = site();
    std::fs::remove_file(file(&site)).unwrap();
    site.reloader.reload(Cause::Api).await;
    assert!(has(&site, "geo_refused", 1));
    site.write(&config("1s"));
    let outcome = site.reloader.reload(Cause::Api).await;
    assert!(
        matches!(outcome.verdict, Verdict::Activated { .. }),
        "{outcome}"
    );
    assert_eq!(geo_status(&site).await, Value::Null);
    // And none serves to fall back on when it is asked for again.
    site.write(&text("1s"));
    let outcome = site.reloader.reload(Cause::Api).await;
    assert!(
        matches!(outcome.verdict, Verdict::Refused { .. }),
        "{outcome}"
    );
}
