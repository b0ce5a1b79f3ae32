//! A second attempt beside a slow one: the first head wins, the other is cancelled where it waits, and
//! nothing that must not be done twice is ever hedged.

use std::time::Duration;

use tidegate_lab::{Client, ClientSpec, Latency, Protocol, RequestSpec, Snapshot, World};

use crate::harness::{Config, HOST, Tidegate, until};

const ROUTES: &str =
    "  - { upstream: shop, timeout: 5m, hedge: { after: 20ms, to: region, budget: 100% } }\n";
const REQUESTS: u64 = 20;

async fn send(tidegate: &Tidegate, protocol: Protocol, request: RequestSpec) -> Snapshot {
    let spec = ClientSpec {
        protocol,
        requests: Some(REQUESTS),
        timeout: Duration::from_secs(60),
        mix: vec![request],
        ..ClientSpec::new(tidegate.http(), HOST)
    };
    Client::start(spec).unwrap().finish().await
}

/// Hedges with these labels, once so many requests have been counted.
async fn hedges(tidegate: &Tidegate, requests: u64, labels: &[(&str, &str)]) -> u64 {
    until("every request is counted", || async {
        tidegate.metrics().await.sum("tidegate_requests_total", &[]) == requests
    })
    .await;
    tidegate
        .metrics()
        .await
        .sum("tidegate_hedges_total", labels)
}

async fn check(up: &str, down: Protocol) {
    let builder = World::builder().region("near", Duration::from_millis(1));
    let builder = builder.region("far", Duration::from_millis(1));
    let world = builder.start().await.unwrap();
    let mut config = Config::of(&world).routes(ROUTES);
    config.upstream += &format!("    protocol: {up}\n");
    config.probe = "off".to_owned();
    config.health = ", region: { silence: off, degraded_latency: off }".to_owned();
    config.retry = "{ attempts: 4, per_try: 4m }".to_owned();
    let tidegate = Tidegate::start(&config.yaml()).await;
    let near = world.site("near").unwrap();
    let slow = |latency| {
        near.region
            .change(|it| it.latency = Latency::Fixed(latency))
    };
    slow(Duration::from_secs(3600));
    let books = send(&tidegate, down, RequestSpec::content(1_000)).await;
    assert_eq!((books.ok(), books.regions["far"]), (REQUESTS, REQUESTS));
    let won = [("upstream", "shop"), ("why", "slow"), ("result", "won")];
    assert_eq!(hedges(&tidegate, REQUESTS, &won).await, REQUESTS);
    until("the slow attempts are cancelled", || async {
        near.region.snapshot().in_flight == 0
    })
    .await;
    // Five times as slow as what is hedged.
    slow(Duration::from_millis(100));
    let books = send(&tidegate, down, RequestSpec::echo(1_000)).await;
    assert_eq!((books.ok(), books.regions["near"]), (REQUESTS, REQUESTS));
    assert_eq!(hedges(&tidegate, 2 * REQUESTS, &[]).await, REQUESTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_head_wins() {
    for (up, down) in [("http1", Protocol::H2), ("http2", Protocol::H1)] {
        check(up, down).await;
    }
}
