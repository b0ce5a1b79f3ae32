//! A region is declared down while a thousand requests wait there: what may be done twice is answered
//! elsewhere without waiting for any limit of time, the rest is not sent again.

use std::time::Duration;

use http::StatusCode;
use tidegate_lab::client::{Incident, Outcome};
use tidegate_lab::{
    Client, ClientSpec, Cut, Death, Ending, Mode, Protocol, RequestSpec, Snapshot, World,
};

use crate::harness::{Config, HOST, Tidegate, until};

const GETS: u64 = 1_000;
const POSTS: u64 = 20;

/// Who declares it.
#[derive(Clone, Copy)]
enum Declared {
    /// Probes, once the path is a black hole for them as well.
    Probes,
    /// An operator.
    Word,
    /// An operator who drains it and does not want to wait for what is there.
    DrainNow,
}

/// Whoever waits for a limit of time fails the test, not the machine that is slow.
const LIMITS: &str = "{ attempts: 4, per_try: 15m, on_unknown_outcome: fail }";
const ROUTES: &str =
    "  - { name: all, upstream: shop, timeout: 30m, reveal: { region: true, attempts: true } }\n";

/// Near is a black hole for requests; only its declaration says so.
async fn world() -> World {
    let builder = World::builder().region("near", Duration::from_millis(2));
    let world = builder.region("far", Duration::from_millis(10));
    let world = world.start().await.unwrap();
    let death = Death::AtHead(Ending::Cut(Cut::BlackHole));
    let near = world.site("near").unwrap();
    near.region.change(|how| how.death = Some(death));
    world
}

fn config(world: &World, protocol: &str, declared: Declared) -> Config {
    let probe = match declared {
        Declared::Probes => "{ http: /healthz, interval: 1s, timeout: 1s, rise: 1, fall: 2 }",
        Declared::Word | Declared::DrainNow => "off",
    };
    let mut config = Config {
        probe: probe.to_owned(),
        retry: LIMITS.to_owned(),
        health: ", region: { silence: off }".to_owned(),
        ..Config::of(world)
    };
    config.upstream += &format!("    protocol: {protocol}\n");
    config.routes(ROUTES)
}

/// So many requests at a time.
fn send(tidegate: &Tidegate, protocol: Protocol, request: RequestSpec, requests: u64) -> Client {
    let spec = ClientSpec {
        protocol,
        requests: Some(requests),
        concurrency: usize::try_from(requests).unwrap(),
        h2_connections: 8,
        timeout: Duration::from_secs(120),
        mix: vec![request],
        ..ClientSpec::new(tidegate.http(), HOST)
    };
    Client::start(spec).unwrap()
}

async fn check(protocol: &str, declared: Declared) {
    let world = world().await;
    let config = config(&world, protocol, declared);
    let tidegate = match declared {
        Declared::Probes => Tidegate::start_healthy(&config.yaml()).await,
        Declared::Word | Declared::DrainNow => Tidegate::start(&config.yaml()).await,
    };
    let gets = [Protocol::H1, Protocol::H2]
        .map(|down| send(&tidegate, down, RequestSpec::content(1_000), GETS / 2));
    let posts = send(&tidegate, Protocol::H1, RequestSpec::echo(1_000), POSTS);
    until("all of them wait in the near region", || async {
        tidegate.region("near").await["in_flight"] == GETS + POSTS
    })
    .await;
    declare(&tidegate, &world, declared).await;
    for client in gets {
        let books = client.finish().await;
        books.check_balance().unwrap();
        assert_eq!(books.ok(), GETS / 2, "{:?}", books.outcomes);
        assert_eq!(books.regions["far"], GETS / 2);
    }
    let ids: Vec<_> = (0..POSTS).map(|number| posts.id_of(number)).collect();
    if let Declared::DrainNow = declared {
        // It lives, and what cannot be made elsewhere is waited for: until it is down.
        assert_eq!(tidegate.region("near").await["in_flight"], POSTS);
        declare(&tidegate, &world, Declared::Word).await;
    }
    honest(&posts.finish().await);
    for id in ids {
        assert!(world.times_seen(&id) <= 1, "{id}");
    }
    ledgers_agree(&tidegate).await;
}

async fn declare(tidegate: &Tidegate, world: &World, declared: Declared) {
    let path = match declared {
        Declared::Probes => {
            let near = world.site("near").unwrap();
            return near.link.set(Mode::BlackHole).await.unwrap();
        }
        Declared::Word => "/regions/near/health?is=unhealthy",
        Declared::DrainNow => "/regions/near/drain?now=true",
    };
    let reply = tidegate.admin_post(path).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
}

/// Nobody knows whether they were done.
fn honest(posts: &Snapshot) {
    let told = |incident: &Incident| (incident.outcome, incident.problem.clone());
    let told: Vec<_> = posts.incidents.iter().map(told).collect();
    let unknown = Some("urn:tidegate:problem:outcome-unknown".to_owned());
    assert_eq!(
        told,
        vec![(Outcome::WrongStatus(504), unknown); POSTS as usize]
    );
}

async fn ledgers_agree(tidegate: &Tidegate) {
    until("every request is counted", || async {
        tidegate.metrics().await.sum("tidegate_requests_total", &[]) == GETS + POSTS
    })
    .await;
    let metrics = tidegate.metrics().await;
    assert_eq!(metrics.sum("tidegate_requests_rescued_total", &[]), GETS);
    assert_eq!(metrics.sum("tidegate_requests_lost_total", &[]), POSTS);
    let from = [("upstream", "shop"), ("region", "near")];
    let moved = metrics.sum("tidegate_redispatches_total", &from);
    assert_eq!(moved, GETS, "sent elsewhere at the declaration");
    let far = [("region", "far")];
    assert_eq!(metrics.sum("tidegate_attempts_total", &far), GETS);
    until("nothing is under way", || async {
        let metrics = tidegate.metrics().await;
        metrics.sum("tidegate_upstream_in_flight", &[]) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_move_a_thousand_requests() {
    check("http2", Declared::Probes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_moves_a_thousand_requests() {
    check("http1", Declared::Word).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_now_moves_a_thousand_requests() {
    check("http1", Declared::DrainNow).await;
}

/// A path that was frozen may thaw: what must not be done twice waits there for its answer, while its
/// region is down, and gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_gets_its_answer_when_the_path_thaws() {
    let world = world().await;
    let near = world.site("near").unwrap();
    near.region.change(|how| how.death = None);
    let mut config = config(&world, "http1", Declared::Word);
    config.retry = "{ attempts: 4, per_try: 15m }".to_owned();
    let tidegate = Tidegate::start(&config.yaml()).await;
    near.link.set(Mode::BlackHole).await.unwrap();
    let post = send(&tidegate, Protocol::H1, RequestSpec::echo(1_000), 1);
    let waits = async || tidegate.region("near").await["in_flight"] == 1;
    until("it waits in the near region", &waits).await;
    declare(&tidegate, &world, Declared::Word).await;
    tidegate.region_is("near", "unhealthy").await;
    assert!(waits().await, "its attempt was given up");
    near.link.set(Mode::Up).await.unwrap();
    let id = post.id_of(0);
    let books = post.finish().await;
    assert_eq!((books.ok(), books.regions["near"]), (1, 1));
    assert_eq!(world.times_seen(&id), 1);
}
