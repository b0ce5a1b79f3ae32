//! A split and a mirror, as a configuration asks for them: clients keep their upstream, everything is
//! copied, and whatever becomes of the copies no client notices and nothing is left of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_lab::{Client, ClientSpec, Mode, Protocol, RequestSpec, World};

use crate::harness::{HOST, Session, Tidegate, tidegate as tidegate_run, until};

/// By how much memory may have grown after the last round, compared with the first. A copy of each
/// body would be 100 MB.
const GROWTH_BYTES: u64 = 24 << 20;

/// Requests of one client in one round; two clients run at a time.
const REQUESTS: u64 = 1_700;

async fn world() -> World {
    let builder = World::builder()
        .region("home", Duration::from_millis(1))
        .region("ring", Duration::from_millis(1));
    let world = builder.region("dark", Duration::from_millis(1));
    world.start().await.unwrap()
}

fn config(world: &World) -> String {
    let upstream = |name: &str, region: &str| {
        let addr = world.site(region).unwrap().addr();
        format!(
            "  {name}:\n    regions: {{ {region}: {{ endpoints: [\"{addr}\"] }} }}\n\
             \x20   health: {{ probe: off, region: {{ silence: off, error_rate: off }} }}\n\
             \x20   circuit_breaker: {{ ejection: off }}\n\
             \x20   connection: {{ warm_standby: 0, idle_timeout: 1s }}\n"
        )
    };
    let upstreams = [("stable", "home"), ("canary", "ring"), ("shadow", "dark")];
    let upstreams = upstreams.map(|(name, region)| upstream(name, region));
    format!(
        "listeners:\n  - {{ name: http, bind: \"127.0.0.1:0\" }}\n\
         admin: {{ bind: \"127.0.0.1:0\" }}\nthreads: 2\n\
         regions: {{ home: {{}}, ring: {{}}, dark: {{}} }}\nupstreams:\n{}routes:\n\
         \x20 - name: shop\n    split: [{{ upstream: stable, weight: 80 }}, {{ upstream: canary, weight: 20 }}]\n\
         \x20   split_on: [{{ cookie: uid }}]\n    mirror: {{ upstream: shadow, max_body: 64KiB }}\n\
         \x20   reveal: {{ region: true }}\n    timeout: 2s\n",
        upstreams.concat()
    )
}

async fn copies(tidegate: &Tidegate, result: &str) -> u64 {
    let labels = [("upstream", "shadow"), ("result", result)];
    let metrics = tidegate.metrics().await;
    metrics.sum("tidegate_mirrored_requests_total", &labels)
}

#[tokio::test]
async fn clients_keep_their_upstream_and_everything_is_copied() {
    const USERS: usize = 100;
    let world = world().await;
    let tidegate = Tidegate::start(&config(&world)).await;
    let mut homes = BTreeMap::new();
    for session in [
        Session::h1(tidegate.http()).await,
        Session::h2c(tidegate.http()).await,
    ] {
        let mut session = session;
        for user in 0..USERS {
            let cookie = format!("uid={user}");
            let fields = [("cookie", cookie.as_str())];
            let sent = session.send(http::Method::GET, "/", &fields, "").await;
            let reply = sent.unwrap();
            assert_eq!(reply.status, http::StatusCode::OK);
            let home = homes
                .entry(user)
                .or_insert_with(|| reply.region().to_owned());
            assert_eq!(*home, reply.region(), "user {user}");
        }
    }
    for (user, home) in homes.iter().take(8) {
        let (config, field) = (tidegate.config(), format!("cookie: uid={user}"));
        let config = config.to_str().unwrap();
        let told = tidegate_run(["explain", config, "GET", "/", "-H", &field]);
        let upstream = if home == "ring" { "canary" } else { "stable" };
        assert!(
            told.stdout.contains(&format!("upstream  {upstream}")),
            "{}",
            told.stdout
        );
    }
    let on_the_canary = homes.values().filter(|home| *home == "ring").count();
    assert!((5..=40).contains(&on_the_canary), "{on_the_canary}");
    until("every copy was sent", || async {
        copies(&tidegate, "sent").await == 2 * USERS as u64
    })
    .await;
    let dark = world.site("dark").unwrap().region.snapshot();
    assert_eq!(dark.requests_total(), 2 * USERS as u64);
    for line in tidegate.logged(2 * USERS as u64).await {
        let canary = line["attempts"][0]["region"] == "ring";
        let upstream = if canary { "canary" } else { "stable" };
        assert_eq!(line["upstream"], upstream, "{line}");
    }
}

/// One round of requests, all of which are answered.
async fn round(tidegate: &Tidegate, seed: u64) -> u64 {
    let client = |protocol| ClientSpec {
        protocol,
        requests: Some(REQUESTS),
        concurrency: 8,
        timeout: Duration::from_secs(60),
        mix: vec![RequestSpec::content(1_000), RequestSpec::echo(20_000)],
        seed,
        ..ClientSpec::new(tidegate.http(), HOST)
    };
    let clients =
        [Protocol::H1, Protocol::H2].map(|protocol| Client::start(client(protocol)).unwrap());
    let mut answered = 0;
    for client in clients {
        let book = client.finish().await;
        book.check_balance().unwrap();
        assert_eq!(
            (book.failed(), book.wrong_bodies()),
            (0, 0),
            "{:?}",
            book.outcomes
        );
        answered += book.ok();
    }
    answered
}

/// Waits until nothing is left of copies but what they were counted as.
async fn calm(tidegate: &Tidegate, files_before: usize) {
    until("no attempt and no connection is left", || async {
        let metrics = tidegate.metrics().await;
        let gauges = [
            "tidegate_upstream_in_flight",
            "tidegate_upstream_connections",
        ];
        gauges.iter().all(|gauge| metrics.sum(gauge, &[]) == 0)
    })
    .await;
    until("every descriptor is closed", || async {
        tidegate.open_files().len() <= files_before
    })
    .await;
}

/// More than ten thousand copies: to a mirror that is well, to one that is silent, to one that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_copies_leave_nothing_and_nobody_notices() {
    let world = world().await;
    let tidegate = Tidegate::start(&config(&world)).await;
    let files = tidegate.open_files().len();
    let mut answered = round(&tidegate, 1).await;
    calm(&tidegate, files).await;
    let memory = tidegate.resident_bytes();
    let dark = &world.site("dark").unwrap().link;
    for (seed, mode) in [(2, Mode::BlackHole), (3, Mode::Refuse)] {
        dark.set(mode).await.unwrap();
        answered += round(&tidegate, seed).await;
        calm(&tidegate, files).await;
    }
    let grown = tidegate.resident_bytes().saturating_sub(memory);
    assert!(grown <= GROWTH_BYTES, "{grown} bytes more than {memory}");
    let metrics = tidegate.metrics().await;
    let all = metrics.sum("tidegate_mirrored_requests_total", &[]);
    assert_eq!((answered, all), (6 * REQUESTS, 6 * REQUESTS));
    let by = metrics.by("tidegate_mirrored_requests_total", "result");
    assert_eq!(by["sent"], 2 * REQUESTS, "{by:?}");
    assert!(by["failed"] > 0, "{by:?}");
    let lost = metrics.sum("tidegate_requests_lost_total", &[]);
    let retries = metrics.sum("tidegate_retries_total", &[]);
    assert_eq!((lost, retries), (0, 0));
}
