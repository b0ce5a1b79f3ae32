//! Promises 1 and 2: a request that may be repeated survives the loss of its region, and one that
//! may not is never sent twice. Three ledgers must agree after every storm: what the clients got,
//! what the proxy counted, and what the regions saw.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::{Method, StatusCode};
use tidegate_lab::client::{Fault, Outcome};
use tidegate_lab::world::Site;
use tidegate_lab::{Mode, Region, RegionSpec, RequestSpec, World};

use crate::harness::{Books, Config, Session, Tidegate, Traffic, until};

const NEAREST: &str = "eu-west";
const NEXT: &str = "us-east";

/// What happens to the nearest region.
#[derive(Clone, Copy)]
enum Blow {
    /// To the path to it: probes see it as well.
    Path(Mode),
    /// It answers everything but probes with this status.
    Status(StatusCode),
}

impl Blow {
    async fn strike(self, site: &Site) {
        match self {
            Self::Path(mode) => site.link.set(mode).await.unwrap(),
            Self::Status(status) => site.region.change(|behaviour| {
                behaviour.error_rate = 1.0;
                behaviour.error_status = status;
            }),
        }
    }

    async fn heal(self, site: &Site) {
        match self {
            Self::Path(_) => site.link.set(Mode::Up).await.unwrap(),
            Self::Status(_) => site.region.change(|behaviour| behaviour.error_rate = 0.0),
        }
    }
}

async fn world() -> World {
    let regions = [(NEAREST, 4), (NEXT, 10), ("ap-south", 20)];
    let builder = regions.iter().fold(World::builder(), |world, (name, ms)| {
        world.region(name, Duration::from_millis(*ms))
    });
    builder.start().await.unwrap()
}

/// Lets `fault` hit the nearest region under traffic that may be repeated, and heal; over each
/// protocol that upstreams may speak.
async fn check(fault: Blow) {
    tokio::join!(check_over("http1", fault), check_over("http2", fault));
}

async fn check_over(protocol: &str, fault: Blow) {
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let mut config = Config::of(&world);
    config.upstream += &format!("    protocol: {protocol}\n");
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 30).await;
    fault.strike(nearest).await;
    if let Blow::Path(_) = fault {
        tidegate.region_is(NEAREST, "unhealthy").await;
    }
    traffic.more_from(NEXT, 60).await;
    fault.heal(nearest).await;
    traffic.more_from(NEAREST, 30).await;
    let books = traffic.stop().await;
    books.assert_nothing_lost();
    ledgers_agree(&world, &tidegate, &books).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_connections_lose_nothing() {
    check(Blow::Path(Mode::Refuse)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_lose_nothing() {
    check(Blow::Path(Mode::Reset)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_loses_nothing() {
    check(Blow::Path(Mode::BlackHole)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connects_that_hang_lose_nothing() {
    check(Blow::Path(Mode::Unreachable)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_service_lose_nothing() {
    check(Blow::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
}

/// What clients got, what the proxy counted and logged, and what the regions saw, to the request.
async fn ledgers_agree(world: &World, tidegate: &Tidegate, books: &Books) {
    let sent = books.sent();
    until("every request is counted", || async {
        tidegate.metrics().await.sum("tidegate_requests_total", &[]) == sent
    })
    .await;
    let metrics = tidegate.metrics().await;
    let ends = metrics.by("tidegate_request_terminations_total", "reason");
    let ends: Vec<_> = ends.iter().filter(|(_, count)| **count > 0).collect();
    assert_eq!(ends, [(&"completed".to_owned(), &sent)]);
    assert_eq!(metrics.sum("tidegate_requests_lost_total", &[]), 0);
    let attempts = metrics.sum("tidegate_attempts_total", &[]);
    let retries = metrics.sum("tidegate_retries_total", &[]);
    assert_eq!(attempts, sent + retries);
    let rescued = metrics.sum("tidegate_requests_rescued_total", &[]);
    assert!(rescued > 0, "the fault hit no request");
    let log = tidegate.logged(sent).await;
    assert_eq!(log.len() as u64, sent);
    let is_rescued = |line: &&serde_json::Value| line["rescued"] == true;
    assert_eq!(log.iter().filter(is_rescued).count() as u64, rescued);
    for site in world.sites() {
        let seen = arrivals(site);
        let here = [("region", site.name())];
        let attempts = metrics.sum("tidegate_attempts_total", &here);
        let answered = [("region", site.name()), ("outcome", "answered")];
        let answered = metrics.sum("tidegate_attempts_total", &answered);
        let name = site.name();
        assert_eq!(answered, books.of(name), "{name}: answers got");
        assert!(answered <= seen, "{name}: {answered} answered, {seen} seen");
        assert!(seen <= attempts, "{name}: {seen} seen, {attempts} made");
    }
    let ids: HashSet<String> = seen_ids(world).into_keys().collect();
    assert_eq!(ids.len() as u64, sent, "requests seen by any region");
}

/// Requests that reached a region, probes left out.
fn arrivals(site: &Site) -> u64 {
    let requests = site.region.snapshot().requests;
    let of_clients = requests.iter().filter(|(kind, _)| *kind != "GET /healthz");
    of_clients.map(|(_, count)| count).sum()
}

/// How often all regions together saw each request.
fn seen_ids(world: &World) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    for site in world.sites() {
        for (id, count) in site.region.ids() {
            *seen.entry(id).or_default() += count;
        }
    }
    seen
}

/// A region whose process is gone, as seen over an honest path: the kernel refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_whose_process_dies_loses_nothing() {
    let region = async |name| Region::start(RegionSpec::new(name)).await.unwrap();
    let (nearest, next) = (region(NEAREST).await, region(NEXT).await);
    let regions = [&nearest, &next].map(|region| (region.name().to_owned(), region.addr()));
    let tidegate = Tidegate::start_healthy(&Config::with(regions).yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 30).await;
    drop(nearest);
    traffic.more_from(NEXT, 60).await;
    tidegate.region_is(NEAREST, "unhealthy").await;
    let books = traffic.stop().await;
    books.assert_nothing_lost();
}

/// While its region goes silent, a POST that was sent ends in an honest error, not in a second
/// attempt: wherever the silence is broken later, the service saw it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_repeated_is_sent_once() {
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &[RequestSpec::echo(2_000)]);
    for mode in [Mode::BlackHole, Mode::Reset] {
        traffic.more_from(NEAREST, 30).await;
        nearest.link.set(mode).await.unwrap();
        traffic.more_from(NEXT, 60).await;
        nearest.link.set(Mode::Up).await.unwrap();
    }
    traffic.more_from(NEAREST, 30).await;
    let books = traffic.stop().await;
    let twice: Vec<_> = seen_ids(&world)
        .into_iter()
        .filter(|(_, n)| *n > 1)
        .collect();
    assert_eq!(twice, [], "seen more than once");
    let honest = |(outcome, _): &(Outcome, u64)| matches!(outcome, Outcome::WrongStatus(502..=504));
    let failures = books.failures();
    assert!(failures.iter().all(honest), "{failures:?}");
    let failed = books.sent() - books.ok();
    assert!(failed > 0, "the faults hit no request under way");
    until("every loss is counted", || async {
        let metrics = tidegate.metrics().await;
        metrics.sum("tidegate_requests_lost_total", &[]) == failed
    })
    .await;
}

/// Nothing is known yet, and nobody probes: the first request of all finds out, whatever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_request_is_rescued() {
    let world = world().await;
    world
        .site(NEAREST)
        .unwrap()
        .link
        .set(Mode::Refuse)
        .await
        .unwrap();
    let config = Config {
        probe: "off".to_owned(),
        ..Config::of(&world)
    };
    for (method, h2) in [
        (Method::GET, false),
        (Method::POST, false),
        (Method::POST, true),
    ] {
        let tidegate = Tidegate::start(&config.yaml()).await;
        let mut session = match h2 {
            true => Session::h2c(tidegate.http()).await,
            false => Session::h1(tidegate.http()).await,
        };
        let body = "x".repeat(300_000);
        let reply = session.send(method.clone(), "/sha256", &[], body).await;
        let reply = reply.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{method} {reply:?}");
        assert_eq!(reply.region(), NEXT);
        assert_eq!(reply.json()["bytes"], 300_000);
        assert_eq!(reply.header("tidegate-attempts"), "2");
    }
}

/// Where answers are not continued, a body whose upstream goes away within it breaks off for the
/// client as well: what arrived is right as far as it goes, and nobody's bytes are put behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_is_never_spliced() {
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let config = Config::of(&world).routes("  - { upstream: shop, resume: off }\n");
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &[RequestSpec::content(150_000)]);
    for mode in [Mode::Truncate { after: 50_000 }, Mode::Reset] {
        traffic.more_from(NEAREST, 20).await;
        nearest.link.set(mode).await.unwrap();
        traffic.more(20).await;
        nearest.link.set(Mode::Up).await.unwrap();
    }
    let books = traffic.stop().await;
    let broken_off = |(outcome, _): &(Outcome, u64)| {
        matches!(outcome, Outcome::Transport(Fault::Body | Fault::Reset))
    };
    let failures = books.failures();
    assert!(!failures.is_empty(), "no body broke off");
    assert!(failures.iter().all(broken_off), "{failures:?}");
    let failed = books.sent() - books.ok();
    until("every broken body is counted", || async {
        let why = [("why", "upstream_truncated")];
        let metrics = tidegate.metrics().await;
        metrics.sum("tidegate_requests_lost_total", &why) == failed
    })
    .await;
}

/// An operator empties a region: traffic moves without a failure, and without a rescue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_moves_traffic_without_a_failure() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 30).await;
    let reply = tidegate.admin_post("/regions/eu-west/drain").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    until("the drained region is empty", || async {
        tidegate.region(NEAREST).await["in_flight"] == 0
    })
    .await;
    let before = arrivals(world.site(NEAREST).unwrap());
    traffic.more_from(NEXT, 40).await;
    assert_eq!(arrivals(world.site(NEAREST).unwrap()), before);
    let reply = tidegate.admin_post("/regions/eu-west/undrain").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    traffic.more_from(NEAREST, 30).await;
    traffic.stop().await.assert_nothing_lost();
    let metrics = tidegate.metrics().await;
    assert_eq!(metrics.sum("tidegate_retries_total", &[]), 0);
}

/// With the policy `latency` the nearest region is found by measuring, whatever the order says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nearest_region_serves() {
    let world = World::builder()
        .region("far", Duration::from_millis(120))
        .region("near", Duration::from_millis(4))
        .start()
        .await
        .unwrap();
    let config = Config {
        upstream: "    steering: { policy: latency, tolerance: 10ms }\n".to_owned(),
        ..Config::of(&world)
    };
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let mut session = Session::h1(tidegate.http()).await;
    for _ in 0..20 {
        assert_eq!(session.get("/").await.region(), "near");
    }
}
