//! A region is declared down, or an operator wants it emptied, while attempts wait there: what may be
//! done twice is answered from elsewhere at once, what must not be is never sent again, and whoever
//! finds no room elsewhere waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use tidegate_core::cell::{Drain, ErrorClass};
use tidegate_core::plan::{Limits, UnknownOutcome};
use tidegate_core::{Health, RegionCell, RegionIdx, RegionSet, Standing, UpstreamIdx};
use tidegate_lab::{Action, Mode, RawUpstream, World, content};
use tokio::task::JoinHandle;

use crate::harness::{Answer, Ask, Down, H1, Rig, Setup, one_head, raw, received, until, world};

/// Longer than any test: nothing here ends because it came.
const PER_TRY: Duration = Duration::from_secs(60);
const MANY: usize = 1_000;
const OVER_WIRES: [(Down, bool); 4] = [
    (Down::H1, false),
    (Down::H2, false),
    (Down::H1, true),
    (Down::H2, true),
];

/// Two regions behind links, the first preferred, and clients that ask over connections of their own
/// or over a few shared ones.
struct Two {
    world: World,
    rig: Rig,
}

impl Two {
    async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let world = world(&["eu", "us"]).await;
        let mut setup = Setup::world(&world);
        setup.retry().per_try = Some(PER_TRY);
        change(&mut setup);
        let rig = setup.start();
        Self { world, rig }
    }

    /// With the first region in a black hole.
    async fn dark(change: impl FnOnce(&mut Setup)) -> Self {
        let two = Self::with(change).await;
        two.link(Mode::BlackHole).await;
        two
    }

    async fn link(&self, mode: Mode) {
        let link = &self.world.site("eu").unwrap().link;
        link.set(mode).await.unwrap();
    }

    fn cell(&self, region: &str) -> Arc<RegionCell> {
        self.rig.board.region("shop", region)
    }

    fn declare_down(&self) {
        self.cell("eu").set_health(Health::Unhealthy);
    }

    fn send(&self, down: Down, ask: Ask) -> JoinHandle<Answer> {
        let addr = self.rig.addr();
        tokio::spawn(async move { ask.send(down, addr).await })
    }

    /// So many requests, each with an id of its own, over which the regions keep a ledger.
    fn send_many(&self, down: Down, count: usize, ask: &Ask) -> Vec<JoinHandle<Answer>> {
        let ask = |at: usize| ask.clone().field("x-lab-id", at.to_string());
        (0..count).map(|at| self.send(down, ask(at))).collect()
    }

    async fn until_waiting(&self, region: &str, count: usize) {
        let cell = self.cell(region);
        let what = format!("{count} to wait in {region}");
        until(&what, || cell.tally().waiting() == count as u64).await;
    }

    /// The first region has each of so many requests.
    async fn until_seen(&self, count: usize) {
        let region = &self.world.site("eu").unwrap().region;
        let what = format!("{count} to arrive");
        until(&what, || region.snapshot().in_flight == count as u64).await;
    }

    async fn until_asked(&self, upstream: &RawUpstream, times: usize) {
        received(upstream, times - 1, one_head).await;
    }

    async fn assert_over(&self) {
        self.rig.until_idle().await;
        for region in ["eu", "us"] {
            let cell = self.cell(region);
            let counted = (
                cell.in_flight(),
                cell.retries_in_flight(),
                cell.tally().waiting(),
            );
            assert_eq!(counted, (0, 0, 0), "{region}");
        }
    }

    fn redispatched(&self) -> u64 {
        self.rig.total("tidegate_redispatches_total")
    }
}

fn all_from(answers: &[Answer], region: &str) {
    for answer in answers {
        let got = (answer.status, answer.header("x-lab-region"));
        assert_eq!(got, (200, region), "{}", answer.text());
    }
}

/// How the attempts of a line of the log ended: `eu answered`.
fn attempts(line: &Value) -> Vec<String> {
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    let attempts = line["attempts"].as_array().unwrap();
    let outcome = |attempt| word(attempt, "region") + " " + &word(attempt, "outcome");
    attempts.iter().map(outcome).collect()
}

async fn answers(asked: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let answers = join_all(asked).await.into_iter();
    answers.map(Result::unwrap).collect()
}

/// A thousand requests in a black hole are all answered from elsewhere once the region is declared
/// down: each once, none lost, long before any limit of theirs.
#[tokio::test]
async fn a_thousand_that_wait_are_answered_from_elsewhere() {
    for (down, h2_up) in OVER_WIRES {
        let two = Two::dark(|setup| setup.h2_up(h2_up)).await;
        let asked = two.send_many(down, MANY, &Ask::get("/"));
        two.until_waiting("eu", MANY).await;
        two.declare_down();
        all_from(&answers(asked).await, "us");
        two.assert_over().await;
        assert_eq!(two.redispatched(), MANY as u64, "{down:?} {h2_up}");
        assert_eq!(
            two.rig.total("tidegate_requests_rescued_total"),
            MANY as u64
        );
        assert_eq!(two.rig.total("tidegate_requests_lost_total"), 0);
        assert_eq!(two.rig.total("tidegate_attempts_total"), 2 * MANY as u64);
        let errors: u64 = two.cell("eu").tally().errors.iter().sum();
        assert_eq!(errors, 0, "what was given up says nothing of the region");
    }
}

/// The same thousand as POSTs stay, are answered when the path thaws, and are done once.
#[tokio::test]
async fn what_must_not_be_sent_twice_waits_for_its_answer() {
    for (down, h2_up) in [(Down::H1, false), (Down::H2, true)] {
        let two = Two::with(|setup| setup.h2_up(h2_up)).await;
        let asked = two.send_many(down, MANY, &Ask::post("/slow/3000", "x"));
        two.until_seen(MANY).await;
        two.link(Mode::BlackHole).await;
        let get = two.send(down, Ask::get("/"));
        until("the GET to wait", || {
            two.cell("eu").in_flight() > MANY as u32
        })
        .await;
        two.declare_down();
        // Whoever may go hears of it in the same moment as those who stay.
        all_from(&answers(vec![get]).await, "us");
        two.link(Mode::Up).await;
        all_from(&answers(asked).await, "eu");
        for id in 0..MANY {
            assert_eq!(two.world.times_seen(&id.to_string()), 1);
        }
        two.assert_over().await;
        assert_eq!(two.redispatched(), 1, "the GET alone");
    }
}

/// With `fail` they end at the declaration, and say that nobody knows.
#[tokio::test]
async fn with_fail_what_must_not_be_sent_twice_ends_at_the_declaration() {
    for (down, h2_up) in [(Down::H1, false), (Down::H2, true)] {
        let two = Two::with(|setup| {
            setup.h2_up(h2_up);
            setup.retry().on_unknown_outcome = UnknownOutcome::Fail;
        })
        .await;
        let asked = two.send_many(down, MANY, &Ask::post("/slow/600000", "x"));
        two.until_seen(MANY).await;
        two.declare_down();
        for answer in answers(asked).await {
            let told = (answer.status, answer.reason());
            assert_eq!(told, (504, "upstream_timeout".to_owned()));
            let kind = answer.json()["type"].as_str().unwrap().to_owned();
            assert!(kind.contains("outcome-unknown"), "{kind}");
        }
        two.assert_over().await;
        for id in 0..MANY {
            assert_eq!(two.world.times_seen(&id.to_string()), 1);
        }
        let lost = two.rig.total("tidegate_requests_lost_total");
        assert_eq!((lost, two.redispatched()), (MANY as u64, 0));
    }
}

/// With `wait` no limit of the attempt ends it, only the request's own; the place hears once that it
/// was too slow.
#[tokio::test]
async fn what_must_not_be_sent_twice_outlasts_the_limits_of_its_attempt() {
    let check = async |first_byte: bool| {
        let two = Two::dark(|setup| {
            let limit = Some(Duration::from_millis(250));
            setup.retry().per_try = limit.filter(|_| !first_byte);
            setup.retry().first_byte = limit.filter(|_| first_byte);
        })
        .await;
        let post = two.send(Down::H1, Ask::post("/sha256", "x"));
        let timeouts = || two.cell("eu").tally().errors[ErrorClass::Timeout as usize];
        until("the place to hear", || timeouts() == 1).await;
        let get = answers(vec![two.send(Down::H1, Ask::get("/"))]).await;
        all_from(&get, "us");
        until("the GET to be held against it", || timeouts() == 2).await;
        assert!(!post.is_finished());
        two.link(Mode::Up).await;
        all_from(&answers(vec![post]).await, "eu");
        two.assert_over().await;
        assert_eq!(timeouts(), 2, "once for each");
    };
    check(false).await;
    check(true).await;
}

/// It ends with the request's own time, as unknown.
#[tokio::test]
async fn what_waits_in_vain_ends_with_its_request() {
    let two = Two::dark(|setup| {
        setup.retry().per_try = Some(Duration::from_millis(250));
        setup.route().timeout = Duration::from_millis(600);
    })
    .await;
    let post = two.send(Down::H1, Ask::post("/sha256", "x"));
    two.until_waiting("eu", 1).await;
    let answer = post.await.unwrap();
    assert_eq!(answer.status, 504);
    assert!(
        answer.json()["type"]
            .as_str()
            .unwrap()
            .contains("outcome-unknown")
    );
    two.assert_over().await;
    let errors = two.cell("eu").tally().errors;
    assert_eq!(errors[ErrorClass::Timeout as usize], 1, "said once");
    assert_eq!(attempts(&two.rig.log(1).await[0]), ["eu timeout"]);
}

/// Its own limit ends an attempt for the sake of the next one. The last stays, whatever it is and
/// whatever becomes of unknown outcomes, and so does one whose next cannot be paid.
#[tokio::test]
async fn an_attempt_without_a_next_one_has_all_the_time_of_its_request() {
    let check = async |ask: Ask, change: fn(&mut Setup), last: &str| {
        let two = Two::dark(|setup| {
            setup.retry().per_try = Some(Duration::from_millis(250));
            setup.retry().on_unknown_outcome = UnknownOutcome::Fail;
            change(setup);
        })
        .await;
        let waits = two.send(Down::H1, ask);
        let timeouts = || two.cell("eu").tally().errors[ErrorClass::Timeout as usize];
        until("the place to hear", || timeouts() == 1).await;
        assert!(!waits.is_finished());
        two.link(Mode::Up).await;
        all_from(&answers(vec![waits]).await, last);
        two.assert_over().await;
    };
    check(Ask::post("/sha256", "x"), |_| {}, "eu").await;
    check(Ask::get("/"), |setup| setup.retry().attempts = 1, "eu").await;
    let broke = |setup: &mut Setup| {
        setup.retry().budget = 0.0;
        setup.retry().cross_region_budget = 0.0;
    };
    check(Ask::get("/"), broke, "eu").await;
}

/// A drain leaves what waits where it is; `now` sends it elsewhere; and no attempt fails for either.
#[tokio::test]
async fn a_drain_with_now_sends_what_waits_elsewhere() {
    for (down, h2_up) in OVER_WIRES {
        let two = Two::dark(|setup| {
            setup.h2_up(h2_up);
            setup.retry().on_unknown_outcome = UnknownOutcome::Fail;
        })
        .await;
        two.link(Mode::Up).await;
        let post = two.send(down, Ask::post("/slow/1000", "x"));
        two.until_seen(1).await;
        two.link(Mode::BlackHole).await;
        let get = two.send(down, Ask::get("/"));
        two.until_waiting("eu", 2).await;
        two.cell("eu").set_drain(Drain::Soft);
        let later = two.send(down, Ask::get("/"));
        all_from(&answers(vec![later]).await, "us");
        assert!(!get.is_finished());
        assert_eq!(two.cell("eu").tally().waiting(), 2);
        two.cell("eu").set_drain(Drain::Now);
        all_from(&answers(vec![get]).await, "us");
        assert!(!post.is_finished(), "a drain is no failure");
        two.link(Mode::Up).await;
        all_from(&answers(vec![post]).await, "eu");
        two.assert_over().await;
        assert_eq!(two.redispatched(), 1, "{down:?} {h2_up}");
    }
}

/// What of a region is bounded, and how much of that is in use.
type Bound = (fn(&mut Limits, u32), fn(&RegionCell) -> u32);

/// Bounds of the region that is left to them pace those that leave: never more there than it takes,
/// and all of them in the end.
#[tokio::test]
async fn what_leaves_is_paced_by_the_room_elsewhere() {
    const WAITING: usize = 100;
    const ROOM: usize = 10;
    const BOUND: u32 = WAITING as u32;
    let bounds: [Bound; 3] = [
        (
            |limits, bound| limits.max_requests = Some(bound),
            RegionCell::in_flight,
        ),
        (
            |limits, bound| {
                (limits.max_connections, limits.max_pending) = (Some(bound), Some(0));
            },
            RegionCell::in_flight,
        ),
        (
            |limits, _| limits.max_retries = Some(ROOM as u32),
            RegionCell::retries_in_flight,
        ),
    ];
    for (at, (bound, used)) in bounds.into_iter().enumerate() {
        let two = Two::dark(|setup| {
            setup.threads = 1;
            bound(&mut setup.upstream().circuit_breaker.region, BOUND);
            let filling = setup.add_route("/slow/600000", UpstreamIdx(0));
            filling.allowed = RegionSet::from_iter([RegionIdx(1)]);
        })
        .await;
        // What fills the other region but for a little.
        let filling = two.send_many(Down::H1, WAITING - ROOM, &Ask::get("/slow/600000"));
        two.until_waiting("us", WAITING - ROOM).await;
        let asked = two.send_many(Down::H1, WAITING, &Ask::get("/slow/5"));
        two.until_waiting("eu", WAITING).await;
        let most = if at == 2 { ROOM as u32 } else { BOUND };
        let us = two.cell("us");
        let watching = tokio::spawn(async move {
            loop {
                assert!(used(&us) <= most, "bound {at}: {}", used(&us));
                tokio::task::yield_now().await;
            }
        });
        two.declare_down();
        all_from(&answers(asked).await, "us");
        assert!(!watching.is_finished(), "bound {at} was overstepped");
        watching.abort();
        assert_eq!(two.redispatched(), WAITING as u64);
        filling.iter().for_each(JoinHandle::abort);
        two.assert_over().await;
        assert_eq!(two.rig.total("tidegate_requests_lost_total"), 0);
    }
}

/// Whoever found no room stays where it is, and is answered there if that thaws first.
#[tokio::test]
async fn what_finds_no_room_may_still_be_answered_where_it_is() {
    let two = Two::dark(|setup| {
        setup.upstream().circuit_breaker.region.max_retries = Some(0);
    })
    .await;
    let asked = two.send_many(Down::H1, 5, &Ask::get("/"));
    two.until_waiting("eu", 5).await;
    two.declare_down();
    two.link(Mode::Up).await;
    all_from(&answers(asked).await, "eu");
    two.assert_over().await;
    assert_eq!(two.redispatched(), 0);
}

/// Before it has a connection everything leaves, and so does a hedge whose own region goes down.
#[tokio::test]
async fn what_still_connects_leaves_whatever_it_is() {
    let two = Two::with(|_| {}).await;
    two.link(Mode::Unreachable).await;
    let asked: Vec<_> = (0..20)
        .map(|at| {
            let ask = Ask::post("/sha256", "x").field("x-lab-id", at.to_string());
            two.send(Down::H1, ask)
        })
        .collect();
    until("all to connect", || two.rig.in_flight() == 20).await;
    two.cell("eu").set_drain(Drain::Now);
    all_from(&answers(asked).await, "us");
    for id in 0..20 {
        assert_eq!(two.world.times_seen(&id.to_string()), 1);
    }
    two.assert_over().await;
    assert_eq!(two.redispatched(), 20);
}

/// The head is there, and the small body that it announces is not: nothing is committed, and it leaves.
/// The head is held for a moment only, so that some rounds may miss it.
#[tokio::test]
async fn what_is_held_for_its_body_leaves() {
    const ROUNDS: usize = 50;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    let half = Action::Pause(Duration::from_millis(150));
    let script = vec![Action::ReadHead, Action::send(head), half, Action::Close];
    let eu = raw(vec![script]).await;
    let world = world(&["us"]).await;
    let us = world.site("us").unwrap().addr();
    let rig = Setup::new([("eu", eu.addr()), ("us", us)]).start();
    let two = Two { world, rig };
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 1..=ROUNDS {
        let get = two.send(Down::H1, Ask::get("/"));
        two.until_asked(&eu, round).await;
        tokio::time::sleep(Duration::from_micros(rng.u64(0..30_000))).await;
        two.declare_down();
        get.await.unwrap();
        two.assert_over().await;
        two.cell("eu").set_standing(Standing::full(Health::Healthy));
        let line = two.rig.log(round).await.pop().unwrap();
        let first = &line["attempts"][0];
        if first["outcome"] == "region_down" && first["phase"] == "head_received" {
            assert_eq!(attempts(&line), ["eu region_down", "us answered"]);
            return;
        }
    }
    panic!("none of {ROUNDS} was caught while its head was held");
}

/// A retry that is to be made in the same region after a pause does not sit the pause out there.
#[tokio::test]
async fn what_pauses_before_a_retry_leaves() {
    let refusing = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    let eu = [(); 2].map(|()| Action::answer(refusing));
    let eu = [
        raw(vec![eu[0].clone()]).await,
        raw(vec![eu[1].clone()]).await,
    ];
    let world = world(&["us"]).await;
    let us = world.site("us").unwrap().addr();
    let mut setup = Setup::new([("eu", eu[0].addr()), ("eu", eu[1].addr()), ("us", us)]);
    setup.retry().backoff.base = PER_TRY;
    setup.retry().backoff.max = PER_TRY;
    let rig = setup.start();
    let two = Two { world, rig };
    let get = two.send(Down::H1, Ask::get("/"));
    let failed = || two.cell("eu").tally().errors.iter().sum::<u64>() == 1;
    until("the first to fail", failed).await;
    two.declare_down();
    all_from(&answers(vec![get]).await, "us");
    two.assert_over().await;
    assert_eq!(
        attempts(&two.rig.log(1).await[0]),
        ["eu status", "us answered"]
    );
}

/// On the wire, the abandoned attempt has ended before its replay arrives.
#[tokio::test]
async fn the_abandoned_attempt_ends_before_its_replay_is_sent() {
    let stalling = || vec![Action::ReadHead, Action::Stall];
    let (eu, us) = (raw(vec![stalling()]).await, raw(vec![stalling()]).await);
    let rig = Setup::new([("eu", eu.addr()), ("us", us.addr())]).start();
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    received(&eu, 0, one_head).await;
    rig.board.region("shop", "eu").set_drain(Drain::Now);
    received(&us, 0, one_head).await;
    until("the end of the first", || eu.peer_ended(0)).await;
    assert_eq!(rig.in_flight(), 1);
}

/// A client's upload takes its time: neither limit of the attempt runs, and the place hears nothing.
#[tokio::test]
async fn a_slow_upload_is_no_fault_of_the_place() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.retry().per_try = Some(Duration::from_millis(800));
    setup.retry().first_byte = Some(Duration::from_millis(800));
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    let head = "POST /sha256 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 6\r\n\r\n";
    client.send(head).await;
    for byte in ["a", "b", "c", "d", "e", "f"] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send(byte).await;
    }
    assert_eq!(client.answer().await.status, 200);
    rig.until_idle().await;
    let errors: u64 = rig.board.region("shop", "eu").tally().errors.iter().sum();
    assert_eq!(errors, 0);
}

/// The answer's head and the declaration come at the same moment, again and again: each client gets
/// exactly one whole answer, and nothing stays counted.
#[tokio::test]
async fn a_head_that_comes_with_the_declaration_is_one_answer() {
    const ROUNDS: u64 = 60;
    const CLIENTS: usize = 8;
    let (mut stayed, mut moved) = (0, 0);
    for (down, h2_up) in OVER_WIRES {
        let two = Two::with(|setup| setup.h2_up(h2_up)).await;
        let mut rng = fastrand::Rng::with_seed(h2_up.into());
        for _ in 0..ROUNDS / 4 {
            let millis = rng.u64(1..4);
            let (cell, before) = (two.cell("eu"), two.cell("eu").tally().sent);
            let asked = two.send_many(down, CLIENTS, &Ask::get(&format!("/slow/{millis}")));
            until("one to be sent", || cell.tally().sent > before).await;
            tokio::time::sleep(Duration::from_micros(rng.u64(0..4_000))).await;
            two.declare_down();
            for answer in answers(asked).await {
                assert!(answer.is_whole() && answer.status == 200, "{answer:?}");
                match answer.header("x-lab-region") {
                    "eu" => stayed += 1,
                    _ => moved += 1,
                }
            }
            two.assert_over().await;
            cell.set_standing(Standing::full(Health::Healthy));
        }
        let terminated = two.rig.total("tidegate_request_terminations_total");
        assert_eq!(terminated, ROUNDS / 4 * CLIENTS as u64);
        assert_eq!(two.rig.total("tidegate_requests_lost_total"), 0);
    }
    assert!(
        stayed > 0 && moved > 0,
        "{stayed} stayed, {moved} moved: no race"
    );
}

/// An upload that may be repeated is sent again whole, and one whose body is not kept waits.
#[tokio::test]
async fn an_upload_leaves_if_its_body_is_kept() {
    let two = Two::dark(|setup| setup.upstream().body.replay_bytes = 10_000).await;
    let put = |size| Ask {
        body: content::bytes(content::SEED, 0, size),
        ..Ask::new(Method::PUT, "/sha256")
    };
    let (kept, lost) = (put(9_000), put(40_000));
    let sum = content::sha256_hex(content::SEED, 9_000);
    let (kept, lost) = (two.send(Down::H1, kept), two.send(Down::H1, lost));
    until("both uploads", || two.cell("eu").tally().sent == 4).await;
    two.until_waiting("eu", 2).await;
    two.declare_down();
    let kept = kept.await.unwrap();
    assert_eq!(kept.header("x-lab-region"), "us");
    assert_eq!(kept.json()["sha256"], sum);
    assert!(!lost.is_finished());
    two.link(Mode::Up).await;
    all_from(&answers(vec![lost]).await, "eu");
    two.assert_over().await;
}
