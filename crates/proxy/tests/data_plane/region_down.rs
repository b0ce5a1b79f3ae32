//! A region falls silent or goes down while attempts wait there: what is safe is hedged, then moved;
//! what must not be done twice waits for its answer; and nothing stays counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use tidegate_core::{Health, RegionCell, RegionIdx, RegionSet, Standing};
use tidegate_lab::{Action, Mode, World, content};
use tokio::task::JoinHandle;

use crate::harness::{Answer, Ask, Down, Rig, Setup, h2_upstream, nowhere, raw, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

/// Two regions behind links that can be cut and mended, the first preferred.
struct Two {
    world: World,
    rig: Rig,
}

impl Two {
    async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let world = world(&["eu", "us"]).await;
        let mut setup = Setup::world(&world);
        change(&mut setup);
        let rig = setup.start();
        Self { world, rig }
    }

    async fn link(&self, region: &str, mode: Mode) {
        let link = &self.world.site(region).unwrap().link;
        link.set(mode).await.unwrap();
    }

    fn cell(&self, region: &str) -> Arc<RegionCell> {
        self.rig.board.region("shop", region)
    }

    fn is_out(&self, region: &str) {
        self.cell(region).set_health(Health::Unhealthy);
    }

    fn is_silent(&self, region: &str) {
        self.cell(region).set_standing(Standing {
            suspected: true,
            ..Standing::full(Health::Healthy)
        });
    }

    fn send(&self, down: Down, ask: Ask) -> JoinHandle<Answer> {
        let addr = self.rig.addr();
        tokio::spawn(async move { ask.send(down, addr).await })
    }

    async fn until_waiting(&self, region: &str, count: u64) {
        let cell = self.cell(region);
        let what = format!("{count} to wait in {region}");
        until(&what, || cell.tally().waiting() == count).await;
    }

    /// Nothing is under way anywhere, and nobody is counted as waiting.
    async fn assert_over(&self) {
        self.rig.until_idle().await;
        for region in ["eu", "us"] {
            let cell = self.cell(region);
            let counted = (cell.in_flight(), cell.tally().waiting());
            assert_eq!(counted, (0, 0), "{region}");
        }
    }

    /// How the attempts of the one line of the log for this method ended: `eu answered`.
    async fn attempts(&self, lines: usize, method: &str) -> Vec<String> {
        let log = self.rig.log(lines).await;
        let line = log.iter().find(|line| line["method"] == method).unwrap();
        attempts(line)
    }
}

fn attempts(line: &Value) -> Vec<String> {
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    let attempts = line["attempts"].as_array().unwrap();
    let outcome = |attempt| word(attempt, "region") + " " + &word(attempt, "outcome");
    attempts.iter().map(outcome).collect()
}

async fn answer(asked: JoinHandle<Answer>) -> (u16, String) {
    let answer = asked.await.unwrap();
    if answer.status != 200 {
        eprintln!("{}", answer.text());
    }
    (answer.status, answer.header("x-lab-region").to_owned())
}

fn from(region: &str) -> (u16, String) {
    (200, region.to_owned())
}

fn put(size: usize) -> Ask {
    let mut ask = Ask::new(Method::PUT, "/sha256");
    ask.body = content::bytes(content::SEED, 0, size);
    ask
}

#[tokio::test]
async fn what_may_be_repeated_moves_and_the_rest_is_answered_when_the_region_thaws() {
    const MOVE: usize = 100;
    const STAY: usize = 20;
    for (down, h2_up) in [
        (Down::H1, false),
        (Down::H2, false),
        (Down::H1, true),
        (Down::H2, true),
    ] {
        let two = Two::with(|setup| setup.h2_up(h2_up)).await;
        two.link("eu", Mode::BlackHole).await;
        let kinds = [Ask::get("/"), put(1_000)];
        let moving = (0..MOVE).map(|at| two.send(down, kinds[at % 2].clone()));
        let moving: Vec<_> = moving.collect();
        let staying: Vec<_> = (0..STAY)
            .map(|at| {
                two.send(
                    down,
                    Ask::post("/sha256", "x").field("x-lab-id", at.to_string()),
                )
            })
            .collect();
        two.until_waiting("eu", (MOVE + STAY) as u64).await;
        if !h2_up {
            // Who still connects waits as well, and would move whatever it is.
            let sent = || two.cell("eu").tally().sent == 2 * (MOVE + STAY) as u64;
            until("all to be sent", sent).await;
        }
        two.is_out("eu");
        for moved in join_all(moving).await {
            assert_eq!(moved.unwrap().header("x-lab-region"), "us", "{down:?}");
        }
        two.until_waiting("eu", STAY as u64).await;
        assert!(!staying.iter().any(JoinHandle::is_finished));
        two.link("eu", Mode::Up).await;
        for (at, stayed) in staying.into_iter().enumerate() {
            assert_eq!(answer(stayed).await, from("eu"), "{down:?}");
            assert_eq!(two.world.times_seen(&at.to_string()), 1);
        }
        two.assert_over().await;
        for line in two.rig.log(MOVE + STAY).await {
            let expected: &[&str] = match line["method"].as_str().unwrap() {
                "POST" => &["eu answered"],
                _ => &["eu region_down", "us answered"],
            };
            assert_eq!(attempts(&line), expected);
            assert_eq!(line["rescued"], expected.len() > 1);
        }
        assert_eq!(
            two.rig.total("tidegate_requests_rescued_total"),
            MOVE as u64
        );
        assert_eq!(two.rig.total("tidegate_requests_lost_total"), 0);
        let errors: u64 = two.cell("eu").tally().errors.iter().sum();
        assert_eq!(errors, 0, "what was given up says nothing of the region");
    }
}

/// Before anything is sent, everything moves, and a suspicion is enough.
#[tokio::test]
async fn what_has_no_connection_yet_moves_whatever_it_is() {
    for out in [false, true] {
        let two = Two::with(|_| {}).await;
        two.link("eu", Mode::Unreachable).await;
        let posts: Vec<_> = (0..5)
            .map(|_| two.send(Down::H1, Ask::post("/", "x")))
            .collect();
        until("five connects", || two.rig.in_flight() == 5).await;
        if out {
            two.is_out("eu");
        } else {
            two.is_silent("eu");
        }
        for post in posts {
            assert_eq!(answer(post).await, from("us"), "{out}");
        }
        two.assert_over().await;
        assert_eq!(
            two.attempts(5, "POST").await,
            ["eu region_down", "us answered"]
        );
    }
}

#[tokio::test]
async fn silence_hedges_what_is_safe_and_nothing_else() {
    for down in BOTH {
        let two = Two::with(|_| {}).await;
        two.link("eu", Mode::BlackHole).await;
        let get = two.send(down, Ask::get("/"));
        let (put, post) = (two.send(down, put(10)), two.send(down, Ask::post("/", "x")));
        two.until_waiting("eu", 3).await;
        two.is_silent("eu");
        assert_eq!(answer(get).await, from("us"), "{down:?}");
        two.until_waiting("eu", 2).await;
        assert!(!put.is_finished() && !post.is_finished());
        two.link("eu", Mode::Up).await;
        assert_eq!(answer(put).await, from("eu"));
        assert_eq!(answer(post).await, from("eu"));
        two.assert_over().await;
        assert_eq!(two.attempts(3, "GET").await, ["eu hedged", "us answered"]);
        assert_eq!(two.attempts(3, "PUT").await, ["eu answered"]);
        let series = r#"tidegate_requests_rescued_total{from="eu",to="us",why="hedged"}"#;
        assert_eq!(two.rig.metric(series), 1);
    }
}

/// The alarm was false: the first answer counts, and the hedge is cancelled on the wire.
#[tokio::test]
async fn the_first_may_still_win() {
    let world = world(&["eu"]).await;
    let eu = world.site("eu").unwrap();
    let us = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let rig = Setup::new([("eu", eu.addr()), ("us", us.addr())]).start();
    let two = Two { world, rig };
    two.link("eu", Mode::BlackHole).await;
    let get = two.send(Down::H1, Ask::get("/"));
    two.until_waiting("eu", 1).await;
    two.is_silent("eu");
    two.until_waiting("us", 1).await;
    two.link("eu", Mode::Up).await;
    assert_eq!(answer(get).await, from("eu"));
    until("the hedge to be cancelled", || us.peer_ended(0)).await;
    two.assert_over().await;
    assert_eq!(
        two.attempts(1, "GET").await,
        ["eu answered", "us abandoned"]
    );
    assert_eq!(two.rig.total("tidegate_requests_rescued_total"), 0);
    assert_eq!(two.rig.total("tidegate_attempts_total"), 2);
}

/// Suspected first, out then: the first is cancelled on the wire, and the hedge has the request.
#[tokio::test]
async fn a_hedge_goes_on_alone_when_the_region_goes_down() {
    let eu = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let world = world(&["us"]).await;
    let us = world.site("us").unwrap();
    let rig = Setup::new([("eu", eu.addr()), ("us", us.addr())]).start();
    let two = Two { world, rig };
    two.link("us", Mode::BlackHole).await;
    let get = two.send(Down::H1, Ask::get("/"));
    two.until_waiting("eu", 1).await;
    two.is_silent("eu");
    two.until_waiting("us", 1).await;
    assert!(!eu.peer_ended(0), "a suspicion cancels nothing");
    two.is_out("eu");
    until("the first to be cancelled", || eu.peer_ended(0)).await;
    assert_eq!(two.cell("eu").in_flight(), 0);
    two.link("us", Mode::Up).await;
    assert_eq!(answer(get).await, from("us"));
    two.assert_over().await;
    assert_eq!(
        two.attempts(1, "GET").await,
        ["eu region_down", "us answered"]
    );
}

/// The same while the hedge has no connection yet, and with a first that breaks by itself.
#[tokio::test]
async fn a_hedge_that_still_connects_goes_on_alone() {
    for breaks in [false, true] {
        let two = Two::with(|_| {}).await;
        two.link("eu", Mode::BlackHole).await;
        two.link("us", Mode::Unreachable).await;
        let get = two.send(Down::H1, Ask::get("/"));
        two.until_waiting("eu", 1).await;
        two.is_silent("eu");
        until("a hedge", || two.cell("us").in_flight() == 1).await;
        if breaks {
            two.link("eu", Mode::Reset).await;
        } else {
            two.is_out("eu");
        }
        until("the first to end", || two.cell("eu").in_flight() == 0).await;
        assert_eq!(two.cell("eu").tally().waiting(), 0);
        two.link("us", Mode::Up).await;
        assert_eq!(answer(get).await, from("us"));
        two.assert_over().await;
        let first = if breaks { "eu reset" } else { "eu region_down" };
        assert_eq!(two.attempts(1, "GET").await, [first, "us answered"]);
    }
}

#[tokio::test]
async fn a_hedge_that_fails_leaves_the_first_as_it_was() {
    let world = world(&["eu"]).await;
    let eu = world.site("eu").unwrap().addr();
    let rig = Setup::new([("eu", eu), ("us", nowhere().await)]).start();
    let two = Two { world, rig };
    two.link("eu", Mode::BlackHole).await;
    let get = two.send(Down::H1, Ask::get("/"));
    two.until_waiting("eu", 1).await;
    two.is_silent("eu");
    until("the hedge to fail", || {
        two.rig.total("tidegate_attempts_total") == 1
    })
    .await;
    assert_eq!(two.cell("eu").tally().waiting(), 1);
    two.link("eu", Mode::Up).await;
    assert_eq!(answer(get).await, from("eu"));
    two.assert_over().await;
    assert_eq!(two.attempts(1, "GET").await, ["eu answered", "us connect"]);
}

/// A client that leaves takes both of its attempts with it.
#[tokio::test]
async fn nobody_waits_for_a_client_that_has_gone() {
    for down in BOTH {
        let two = Two::with(|_| {}).await;
        two.link("eu", Mode::BlackHole).await;
        two.link("us", Mode::BlackHole).await;
        let get = two.send(down, Ask::get("/"));
        two.until_waiting("eu", 1).await;
        two.is_silent("eu");
        two.until_waiting("us", 1).await;
        get.abort();
        two.assert_over().await;
        assert_eq!(
            two.attempts(1, "GET").await,
            ["eu abandoned", "us abandoned"]
        );
    }
}

/// Many streams of one connection are given up at the same time: every one is reset in the end.
#[tokio::test]
async fn what_is_given_up_is_reset_in_the_end() {
    const STREAMS: usize = 60;
    let (begun, reset) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (begun.clone(), reset.clone());
    let upstream = h2_upstream(move |_request, mut respond| {
        let (begun, reset) = counts.clone();
        async move {
            begun.fetch_add(1, Ordering::Relaxed);
            let ended = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            assert_eq!(ended.unwrap(), h2::Reason::CANCEL);
            reset.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let mut setup = Setup::to(upstream).one_thread();
    setup.h2_up(true);
    let rig = setup.start();
    let addr = rig.addr();
    let clients: Vec<_> = (0..STREAMS)
        .map(|_| tokio::spawn(async move { Ask::get("/").send(Down::H1, addr).await }))
        .collect();
    until("all to begin", || begun.load(Ordering::Relaxed) == STREAMS).await;
    clients.iter().for_each(JoinHandle::abort);
    until("all to be reset", || {
        reset.load(Ordering::Relaxed) == STREAMS
    })
    .await;
    rig.until_idle().await;
}

/// An attempt is not given up for nothing: no budget, no attempt left, no region allowed, none there.
#[tokio::test]
async fn what_cannot_go_anywhere_waits() {
    let check = async |change: fn(&mut Setup), elsewhere: Health| {
        let two = Two::with(change).await;
        two.cell("us").set_health(elsewhere);
        two.link("eu", Mode::BlackHole).await;
        let get = two.send(Down::H1, Ask::get("/"));
        two.until_waiting("eu", 1).await;
        two.is_silent("eu");
        two.is_out("eu");
        two.link("eu", Mode::Up).await;
        assert_eq!(answer(get).await, from("eu"));
        two.assert_over().await;
        assert_eq!(two.attempts(1, "GET").await, ["eu answered"]);
    };
    check(
        |setup| setup.retry().cross_region_budget = 0.0,
        Health::Healthy,
    )
    .await;
    check(|setup| setup.retry().attempts = 1, Health::Healthy).await;
    check(
        |setup| setup.route().allowed = RegionSet::from_iter([RegionIdx(0)]),
        Health::Healthy,
    )
    .await;
    check(|_| {}, Health::Unhealthy).await;
}

/// Whoever waits because there was no better place moves as soon as there is one.
#[tokio::test]
async fn a_region_that_comes_back_takes_what_waits_elsewhere() {
    let two = Two::with(|_| {}).await;
    two.link("eu", Mode::BlackHole).await;
    two.is_out("us");
    let get = two.send(Down::H1, Ask::get("/"));
    two.until_waiting("eu", 1).await;
    two.is_out("eu");
    two.cell("us").set_health(Health::Healthy);
    assert_eq!(answer(get).await, from("us"));
    two.assert_over().await;
}

/// A region that is being tried gets what can be repeated elsewhere, and nothing else.
#[tokio::test]
async fn what_cannot_be_repeated_does_not_try_a_region_out() {
    let two = Two::with(|setup| setup.upstream().body.replay_bytes = 100).await;
    two.cell("eu").set_standing(Standing {
        probation: true,
        ..Standing::full(Health::Healthy)
    });
    let post = Ask::post("/sha256", "x");
    let unsized_put = put(10).chunked();
    for (ask, expected) in [
        (Ask::get("/"), "eu"),
        (put(10), "eu"),
        (put(1_000), "us"),
        (unsized_put, "us"),
        (post, "us"),
    ] {
        let answered = answer(two.send(Down::H1, ask.clone())).await;
        assert_eq!(answered, from(expected), "{ask:?}");
    }
}

/// Regions fall silent, go down, come back and thaw in any order, and clients leave meanwhile: who
/// stays is answered, and nothing is done twice that must not be.
async fn storm(seed: u64) -> Two {
    let mut rng = fastrand::Rng::with_seed(seed);
    let two = Two::with(|setup| setup.h2_up(seed.is_multiple_of(2))).await;
    let ended = || two.rig.total("tidegate_request_terminations_total");
    let well = Standing::full(Health::Healthy);
    let (mut clients, mut sent) = (Vec::new(), 0_u64);
    for step in 0..STEPS {
        let region = if rng.bool() { "eu" } else { "us" };
        match rng.u8(0..16) {
            0 | 1 => two.link(region, Mode::BlackHole).await,
            2 => two.link(region, Mode::Up).await,
            3 => two.is_silent(region),
            4 => two.is_out(region),
            5 | 6 => drop(two.cell(region).set_standing(well)),
            7 if !clients.is_empty() => {
                let left: JoinHandle<Answer> = clients.swap_remove(rng.usize(..clients.len()));
                left.abort();
                // It may have left before it arrived.
                sent -= 1;
            }
            kind => {
                let ask = match kind {
                    8 => put(1_000),
                    9 => Ask::post("/sha256", "x").field("x-lab-id", step.to_string()),
                    _ => Ask::get("/"),
                };
                clients.push(two.send(BOTH[usize::from(rng.bool())], ask));
                sent += 1;
                let arrived = || ended() + u64::from(two.rig.in_flight()) >= sent;
                until("the request to arrive", arrived).await;
            }
        }
    }
    for region in ["eu", "us"] {
        two.link(region, Mode::Up).await;
        two.cell(region).set_standing(well);
    }
    for client in join_all(clients).await {
        let answer = client.unwrap();
        // A request that found both regions down has been told so.
        let refused = answer.status == 503 && answer.reason() == "no_healthy_region";
        assert!(answer.status == 200 || refused, "seed {seed}: {answer:?}");
    }
    two.assert_over().await;
    for step in 0..STEPS {
        let done = two.world.times_seen(&step.to_string());
        assert!(done <= 1, "seed {seed}: done {done} times");
    }
    until("every line", || two.rig.lines() as u64 == ended()).await;
    two
}

const STEPS: u32 = 200;

#[tokio::test]
async fn whatever_happens_the_books_agree() {
    let (mut hedged, mut moved) = (0, 0);
    for seed in 0..6 {
        let two = storm(seed).await;
        let log = two.rig.log(two.rig.lines()).await;
        let all: Vec<_> = log.iter().map(attempts).collect();
        let made: usize = all.iter().map(Vec::len).sum();
        let firsts = all.iter().filter(|made| !made.is_empty()).count();
        let total = |metric| two.rig.total(metric);
        assert_eq!(total("tidegate_attempts_total"), made as u64, "seed {seed}");
        let retries = (made - firsts) as u64;
        assert_eq!(total("tidegate_retries_total"), retries, "seed {seed}");
        let ended = |how| {
            all.iter()
                .flatten()
                .filter(|end| end.ends_with(how))
                .count()
        };
        hedged += total("tidegate_hedges_total");
        moved += ended("region_down");
    }
    assert!(
        hedged > 0 && moved > 0,
        "{hedged} hedged, {moved} moved: no storm"
    );
}
