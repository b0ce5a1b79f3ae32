//! Bounds on connections (`circuit_breaker`), as requests meet them.

use std::time::Duration;

use tidegate_core::plan::{CircuitBreaker, Limits};

use crate::harness::{Ask, Down, H1, Rig, Setup, patiently, until, world};

/// One connection to each endpoint, and so many requests that may wait for it.
fn one_connection(setup: &mut Setup, max_pending: u32) {
    let endpoint = Limits {
        max_connections: Some(1),
        max_pending: Some(max_pending),
        ..Limits::default()
    };
    setup.upstream().circuit_breaker = CircuitBreaker {
        endpoint,
        ..CircuitBreaker::default()
    };
}

/// A request that uses a connection until its body is sent.
async fn held(rig: &Rig) -> H1 {
    let before = rig.total("tidegate_upstream_connections_opened_total");
    let mut client = H1::connect(rig.addr()).await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nh")
        .await;
    until("its connection", || {
        rig.total("tidegate_upstream_connections_opened_total") > before
    })
    .await;
    client
}

async fn release(client: &mut H1) {
    client.send("ello").await;
    assert_eq!(client.answer().await.body, b"hello");
}

fn refused(rig: &Rig, limit: &str) -> u64 {
    rig.metric(&format!(
        "tidegate_circuit_breaker_refused_total{{upstream=\"shop\",region=\"eu\",limit=\"{limit}\"}}"
    ))
}

fn errors(rig: &Rig, region: &str) -> u64 {
    let tally = rig.board.region("shop", region).tally();
    tally.errors.iter().sum()
}

/// Whatever it is, since nothing was sent; and without paying for it.
#[tokio::test]
async fn what_finds_no_room_goes_elsewhere_at_once() {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    one_connection(&mut setup, 0);
    setup.retry().budget = 0.0;
    setup.retry().cross_region_budget = 0.0;
    let rig = setup.start();
    let mut first = held(&rig).await;
    let answer = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!(
        (answer.status, &answer.json()["region"]),
        (200, &"us".into())
    );
    let log = &rig.log(1).await[0];
    assert_eq!(log["attempts"][0]["outcome"], "full", "{log}");
    assert_eq!((refused(&rig, "max_pending"), errors(&rig, "eu")), (1, 0));
    release(&mut first).await;
    // There is room again.
    let answer = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.json()["region"], "eu");
}

/// Beyond `max_requests` requests spill to the next region, and are counted.
#[tokio::test]
async fn what_is_more_than_a_region_may_have_under_way_spills() {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    setup.upstream().circuit_breaker.region.max_requests = Some(1);
    let rig = setup.start();
    let mut first = held(&rig).await;
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(
        (answer.status, &answer.json()["region"]),
        (200, &"us".into())
    );
    let counted = ["max_requests", "max_retries"].map(|limit| refused(&rig, limit));
    assert_eq!((counted, errors(&rig, "eu")), ([1, 0], 0));
    release(&mut first).await;
    until("room again", || rig.in_flight() == 0).await;
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.json()["region"], "eu");
}

#[tokio::test]
async fn where_all_is_full_the_answer_says_so() {
    let world = world(&["eu"]).await;
    for down in [Down::H1, Down::H2] {
        let mut setup = Setup::world(&world);
        one_connection(&mut setup, 0);
        let rig = setup.start();
        let _first = held(&rig).await;
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "upstream_full")
        );
        assert!(
            answer.detail().contains("circuit_breaker.endpoint"),
            "{}",
            answer.detail()
        );
        assert_eq!(errors(&rig, "eu"), 0);
    }
}

#[tokio::test]
async fn who_may_wait_gets_the_connection() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    one_connection(&mut setup, 1);
    setup.threads = 3;
    let rig = setup.start();
    let mut first = held(&rig).await;
    // One that goes away leaves its place in line to the next.
    let mut gone = H1::connect(rig.addr()).await;
    gone.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    until("a second in line", || rig.in_flight() == 2).await;
    drop(gone);
    until("its end", || rig.in_flight() == 1).await;
    let ask = Ask::get("/");
    let waits = tokio::spawn({
        let addr = rig.addr();
        async move { ask.send(Down::H1, addr).await }
    });
    until("a second in line", || rig.in_flight() == 2).await;
    release(&mut first).await;
    let answer = patiently("its turn", waits).await.unwrap();
    assert_eq!(answer.status, 200);
    let site = world.site("eu").unwrap();
    assert_eq!(site.region.snapshot().connections, 1, "the same one");
    assert_eq!(refused(&rig, "max_pending"), 0);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    one_connection(&mut setup, 10);
    setup.upstream().connection.connect_timeout = Duration::from_millis(50);
    let rig = setup.start();
    let _first = held(&rig).await;
    let answer = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.json()["region"], "us");
    let log = &rig.log(1).await[0];
    assert_eq!(log["attempts"][0]["outcome"], "full", "{log}");
    assert_eq!(
        (refused(&rig, "max_connections"), errors(&rig, "eu")),
        (1, 0)
    );
}
