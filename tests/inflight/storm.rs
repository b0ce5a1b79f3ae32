//! Storms: steady traffic of every kind, large bodies both ways, while regions die and come back;
//! then three ledgers are compared to the request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_lab::{Mode, RequestSpec, World};

use crate::harness::{Books, Config, Metrics, Tidegate, Traffic, until};

const NEAR: &str = "near";
const NEXT: &str = "next";

/// Attempts that the budgets allow for each request: one, 20 % more within a region, 100 % in another.
const BUDGETS: f64 = 2.2;

/// Reads that can be continued, and uploads that can be sent again.
fn replayable() -> Vec<RequestSpec> {
    vec![
        RequestSpec::content(300_000).weighing(2),
        RequestSpec::digest(200_000).weighing(1),
        RequestSpec::content(1_000).weighing(2),
    ]
}

async fn world() -> World {
    let regions = [(NEAR, 4), (NEXT, 10), ("last", 20)];
    let builder = regions.iter().fold(World::builder(), |world, (name, ms)| {
        world.region(name, Duration::from_millis(*ms))
    });
    builder.start().await.unwrap()
}

fn config(world: &World, protocol: &str) -> Config {
    let mut config = Config::of(world);
    config.upstream +=
        &format!("    protocol: {protocol}\n    body: {{ replay: 64KiB, spool: 1MiB }}\n");
    config
}

/// Strikes the near region in every way, one after the other, and once two regions at a time.
async fn storm(protocol: &str) {
    let world = world().await;
    let [near, next] = [NEAR, NEXT].map(|name| world.site(name).unwrap());
    let tidegate = Tidegate::start_healthy(&config(&world, protocol).yaml()).await;
    let posts = Traffic::start(tidegate.http(), &[RequestSpec::echo(2_000)]);
    let traffic = Traffic::start(tidegate.http(), &replayable());
    for mode in [
        Mode::Reset,
        Mode::Truncate { after: 100_000 },
        Mode::BlackHole,
        Mode::Refuse,
    ] {
        traffic.more_from(NEAR, 30).await;
        near.link.set(mode).await.unwrap();
        traffic.more(60).await;
        near.link.set(Mode::Up).await.unwrap();
    }
    traffic.more_from(NEAR, 30).await;
    near.link.set(Mode::Reset).await.unwrap();
    traffic.more_from(NEXT, 30).await;
    next.link.set(Mode::BlackHole).await.unwrap();
    traffic.more_from("last", 60).await;
    for site in [near, next] {
        site.link.set(Mode::Up).await.unwrap();
    }
    traffic.more_from(NEAR, 30).await;
    at_most_once(&world, &posts);
    let mut books = traffic.stop().await;
    books.0.extend(posts.stop().await.0);
    ledgers_agree(&world, &tidegate, &books).await;
}

fn at_most_once(world: &World, posts: &Traffic) {
    let seen = world.sites().iter().flat_map(|site| site.region.ids());
    let mut posted: BTreeMap<String, u64> = BTreeMap::new();
    for (id, count) in seen.filter(|(id, _)| posts.sent(id)) {
        *posted.entry(id).or_default() += count;
    }
    assert!(posted.len() > 100, "{} POSTs", posted.len());
    let twice: Vec<_> = posted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// What clients got, what the process counted and logged, what the regions saw.
async fn ledgers_agree(world: &World, tidegate: &Tidegate, books: &Books) {
    for book in &books.0 {
        book.check_balance().unwrap();
        assert_eq!(book.wrong_bodies(), 0, "{:?}", book.outcomes);
    }
    let (sent, ok) = (books.sent(), books.ok());
    until("every request is counted", || async {
        tidegate.metrics().await.sum("tidegate_requests_total", &[]) == sent
    })
    .await;
    let metrics = tidegate.metrics().await;
    let lost = metrics.sum("tidegate_requests_lost_total", &[]);
    assert_eq!(lost, sent - ok, "{:?}", books.failures());
    let log = tidegate.logged(sent).await;
    let rescued = log.iter().filter(|line| line["rescued"] == true).count();
    assert_eq!(
        metrics.sum("tidegate_requests_rescued_total", &[]),
        rescued as u64
    );
    let made = |line: &serde_json::Value| line["attempts"].as_array().map_or(0, Vec::len) as u64;
    let attempts = metrics.sum("tidegate_attempts_total", &[]);
    assert_eq!(attempts, log.iter().map(made).sum::<u64>());
    let most = sent as f64 * BUDGETS + reserve(books);
    assert!(
        attempts as f64 <= most,
        "{attempts} attempts, at most {most}"
    );
    for line in log.iter().filter(|line| line["reason"] != "completed") {
        // An upload whose receipt broke after its head was passed on cannot be made whole.
        let told = line["method"] == "PUT" && line["status"] == 200;
        assert!(
            told || line["method"] == "POST",
            "lost without need: {line}"
        );
    }
    let resumed = metrics.sum("tidegate_resumes_total", &[("result", "resumed")]);
    assert!(resumed > 0, "no answer was continued");
    arrivals_add_up(world, &metrics_by_region(&metrics), sent);
    until("nothing is kept and nothing is under way", || async {
        let metrics = tidegate.metrics().await;
        let left = ["tidegate_replay_bytes", "tidegate_upstream_in_flight"];
        left.iter().all(|gauge| metrics.sum(gauge, &[]) == 0)
    })
    .await;
}

/// What budgets give beyond their shares: ten a second in each of two purses, for ten seconds at once.
fn reserve(books: &Books) -> f64 {
    let elapsed = books.0.iter().map(|book| book.elapsed).max().unwrap();
    2.0 * 10.0 * (10.0 + elapsed.as_secs_f64())
}

fn metrics_by_region(metrics: &Metrics) -> BTreeMap<String, u64> {
    metrics.by("tidegate_attempts_total", "region")
}

/// Nothing arrived that the process did not send, and no request that no client sent.
fn arrivals_add_up(world: &World, attempts: &BTreeMap<String, u64>, sent: u64) {
    let mut ids = BTreeSet::new();
    for site in world.sites() {
        let seen = site.region.snapshot();
        assert_eq!(seen.ids_forgotten, 0);
        let probes = seen.requests.get("GET /healthz").copied().unwrap_or(0);
        let here = seen.requests_total() - probes;
        let made = attempts[site.name()];
        assert!(here <= made, "{}: {here} seen, {made} made", site.name());
        ids.extend(site.region.ids().into_iter().map(|(id, _)| id));
    }
    assert!(ids.len() as u64 <= sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_leaves_three_equal_ledgers() {
    tokio::join!(storm("http1"), storm("http2"));
}
