//! A second attempt beside one that is slow: who gets one, where it goes, which answer counts, and that
//! the loser is cancelled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Method, Response};
use serde_json::Value;
use tidegate_core::cell::ErrorClass;
use tidegate_core::plan::{Hedge, HedgeAfter, HedgeTo};
use tidegate_core::{Health, RegionIdx, RegionSet, RouteIdx, Standing};
use tidegate_lab::{Action, Mode};
use tokio::sync::Notify;

use crate::harness::{Ask, Down, Rig, Setup, answering, h2_upstream, nowhere, one_head, raw};
use crate::harness::{received, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const SOON: Duration = Duration::from_millis(20);
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

fn hedge(to: HedgeTo) -> Option<Hedge> {
    Some(Hedge {
        after: HedgeAfter::Fixed(SOON),
        budget: 1.0,
        to,
    })
}

/// How the attempts of a line of the log ended: `eu answered`.
fn attempts(line: &Value) -> Vec<String> {
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    let attempts = line["attempts"].as_array().unwrap();
    let outcome = |attempt| word(attempt, "region") + " " + &word(attempt, "outcome");
    attempts.iter().map(outcome).collect()
}

/// Hedges for slowness that ended so.
fn hedges(rig: &Rig, result: &str) -> u64 {
    let labels = format!(r#"upstream="shop",why="slow",result="{result}""#);
    rig.metric(&format!("tidegate_hedges_total{{{labels}}}"))
}

async fn assert_over(rig: &Rig) {
    rig.until_idle().await;
    for region in ["eu", "us"] {
        let cell = rig.board.region("shop", region);
        assert_eq!((cell.in_flight(), cell.tally().waiting()), (0, 0));
    }
}

fn stalling() -> Vec<Action> {
    vec![Action::ReadHead, Action::Stall]
}

fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} Word\r\ncontent-length: 3\r\n\r\n{status}")
}

/// An HTTP/2 endpoint at which the first request that comes to it, or to its neighbours, waits until
/// it is reset.
async fn one_of_many(come: &Arc<AtomicUsize>, reset: &Arc<Notify>) -> SocketAddr {
    let (come, reset) = (come.clone(), reset.clone());
    h2_upstream(move |_request, mut respond: SendResponse<Bytes>| {
        let (come, reset) = (come.clone(), reset.clone());
        async move {
            if come.fetch_add(1, Ordering::Relaxed) > 0 {
                respond.send_response(Response::new(()), true).unwrap();
                return;
            }
            let why = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            assert_eq!(why.unwrap(), h2::Reason::CANCEL);
            reset.notify_one();
        }
    })
    .await
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_at_another_endpoint() {
    for down in BOTH {
        let (come, reset) = (Arc::default(), Arc::default());
        let eu = [
            one_of_many(&come, &reset).await,
            one_of_many(&come, &reset).await,
        ];
        let us = nowhere().await;
        let mut setup = Setup::new([("eu", eu[0]), ("eu", eu[1]), ("us", us)]);
        setup.h2_up(true);
        setup.route().hedge = hedge(HedgeTo::Endpoint);
        let rig = setup.start();
        assert_eq!(Ask::get("/").send(down, rig.addr()).await.status, 200);
        reset.notified().await;
        assert_over(&rig).await;
        assert_eq!(come.load(Ordering::Relaxed), 2);
        let line = &rig.log(1).await[0];
        assert_eq!(attempts(line), ["eu hedged", "eu answered"]);
        let endpoint = |at: usize| line["attempts"][at]["endpoint"].as_str();
        assert_ne!(endpoint(0), endpoint(1), "never the one that it doubts");
        assert_eq!(hedges(&rig, "won"), 1);
        assert_eq!(rig.total("tidegate_requests_rescued_total"), 1);
    }
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_in_another_region() {
    for (down, to) in [
        (Down::H1, HedgeTo::Region),
        (Down::H2, HedgeTo::Region),
        // There is no other endpoint.
        (Down::H1, HedgeTo::Endpoint),
    ] {
        let eu = raw(vec![stalling()]).await;
        let us = raw(vec![answering(GOOD)]).await;
        let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]);
        setup.route().hedge = hedge(to);
        let rig = setup.start();
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(answer.text(), "good");
        until("the loser's end", || eu.peer_ended(0)).await;
        assert_over(&rig).await;
        let line = &rig.log(1).await[0];
        assert_eq!(attempts(line), ["eu hedged", "us answered"], "{line}");
        let errors: u64 = rig.board.region("shop", "eu").tally().errors.iter().sum();
        assert_eq!(errors, 0, "who is slow has not failed");
        assert_eq!((hedges(&rig, "won"), hedges(&rig, "lost")), (1, 0));
    }
}

/// Where the region of the first has nothing else, the other way is taken.
#[tokio::test]
async fn a_hedge_takes_the_other_way_if_its_own_is_closed() {
    let (come, reset) = (Arc::default(), Arc::default());
    let eu = [
        one_of_many(&come, &reset).await,
        one_of_many(&come, &reset).await,
    ];
    let mut setup = Setup::new([("eu", eu[0]), ("eu", eu[1])]);
    setup.h2_up(true);
    setup.route().hedge = hedge(HedgeTo::Region);
    let rig = setup.start();
    assert_eq!(Ask::get("/").send(Down::H1, rig.addr()).await.status, 200);
    assert_eq!(attempts(&rig.log(1).await[0]), ["eu hedged", "eu answered"]);
}

#[tokio::test]
async fn the_first_may_win_and_its_hedge_is_cancelled() {
    for down in BOTH {
        let world = world(&["eu"]).await;
        let eu = world.site("eu").unwrap();
        let us = raw(vec![stalling()]).await;
        let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]);
        setup.route().hedge = hedge(HedgeTo::Region);
        let rig = setup.start();
        eu.link.set(Mode::BlackHole).await.unwrap();
        let addr = rig.addr();
        let get = tokio::spawn(async move { Ask::get("/").send(down, addr).await });
        received(&us, 0, one_head).await;
        eu.link.set(Mode::Up).await.unwrap();
        assert_eq!(get.await.unwrap().header("x-lab-region"), "eu");
        until("the hedge's end", || us.peer_ended(0)).await;
        assert_over(&rig).await;
        let line = &rig.log(1).await[0];
        assert_eq!(attempts(line), ["eu answered", "us abandoned"]);
        assert_eq!((hedges(&rig, "won"), hedges(&rig, "lost")), (0, 1));
        assert_eq!(rig.total("tidegate_requests_rescued_total"), 0);
    }
}

/// Two scripted regions: the first reads its request and answers what it is told once the other has
/// been asked too, and the other likewise.
async fn both_answer(
    first: &str,
    second: &str,
    first_waits: bool,
) -> (Rig, crate::harness::Answer) {
    let late = |answer: &str, late| {
        let mut script = vec![Action::ReadHead];
        script.extend(late);
        script.extend([Action::send(answer), Action::Stall]);
        script
    };
    let pause = |ms| Some(Action::Pause(Duration::from_millis(ms)));
    let eu = late(first, pause(if first_waits { 400 } else { 150 }));
    let us = late(second, pause(if first_waits { 0 } else { 400 }));
    let (eu, us) = (raw(vec![eu]).await, raw(vec![us]).await);
    let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]);
    setup.route().hedge = hedge(HedgeTo::Region);
    setup.retry().attempts = 2;
    let rig = setup.start();
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_over(&rig).await;
    (rig, answer)
}

/// A status that the policy lists is no answer while the other may give one; of two the better counts.
#[tokio::test]
async fn an_error_does_not_win_while_the_other_may_answer() {
    let check = async |first: u16, second: u16, first_waits: bool, expected: u16, outcomes| {
        let (rig, answer) = both_answer(&status(first), &status(second), first_waits).await;
        let what = format!("{first} {second} {first_waits}");
        assert_eq!(answer.status, expected, "{what}");
        assert_eq!(answer.text(), expected.to_string(), "{what}");
        assert!(answer.is_whole());
        let line = &rig.log(1).await[0];
        let told: [&str; 2] = outcomes;
        assert_eq!(attempts(line), told, "{what}");
        assert_eq!(rig.total("tidegate_attempts_total"), 2, "{what}");
        for (region, status) in [("eu", first), ("us", second)] {
            let errors = rig.board.region("shop", region).tally().errors;
            let server = errors[ErrorClass::ServerError as usize];
            // A retry blames no region.
            let blamed = u64::from(status >= 500 && region == "eu" && told[0] == "eu status");
            assert_eq!(server, blamed, "{what} {region}");
        }
    };
    check(503, 200, false, 200, ["eu status", "us answered"]).await;
    check(200, 503, true, 200, ["eu answered", "us status"]).await;
    check(503, 502, false, 502, ["eu status", "us status"]).await;
    check(503, 502, true, 502, ["eu status", "us status"]).await;
    check(502, 504, false, 502, ["eu status", "us status"]).await;
    check(502, 504, true, 502, ["eu status", "us status"]).await;
}

/// An error beats no answer.
#[tokio::test]
async fn an_error_counts_if_the_other_breaks() {
    let pause = || Action::Pause(Duration::from_millis(80));
    let bad = |answers: bool| match answers {
        true => vec![Action::ReadHead, Action::send(status(503)), Action::Stall],
        false => vec![Action::ReadHead, pause(), pause(), Action::Reset],
    };
    for first_answers in [true, false] {
        let mut eu = bad(first_answers);
        if first_answers {
            eu.insert(1, pause());
        }
        let (eu, us) = (raw(vec![eu]).await, raw(vec![bad(!first_answers)]).await);
        let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]);
        setup.route().hedge = hedge(HedgeTo::Region);
        setup.retry().attempts = 2;
        let rig = setup.start();
        let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
        assert_eq!((answer.status, answer.text().as_str()), (503, "503"));
        assert_over(&rig).await;
        let told = match first_answers {
            true => ["eu status", "us reset"],
            false => ["eu reset", "us status"],
        };
        assert_eq!(attempts(&rig.log(1).await[0]), told);
    }
}

/// What must not, or cannot, be hedged waits alone.
#[tokio::test]
async fn what_is_not_to_be_hedged_is_not() {
    let check = async |what: &str, ask: Ask, change: fn(&mut Setup), us: fn(&mut Standing)| {
        let world = world(&["eu", "us"]).await;
        let mut setup = Setup::world(&world);
        setup.route().hedge = hedge(HedgeTo::Region);
        change(&mut setup);
        let rig = setup.start();
        let mut standing = Standing::full(Health::Healthy);
        us(&mut standing);
        rig.board.region("shop", "us").set_standing(standing);
        let answer = ask.send(Down::H1, rig.addr()).await;
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.header("x-lab-region"), "eu", "{what}");
        assert_over(&rig).await;
        let line = &rig.log(1).await[0];
        assert_eq!(attempts(line), ["eu answered"], "{what}");
    };
    let get = || Ask::get("/slow/80");
    let none: fn(&mut Setup) = |_| {};
    let well: fn(&mut Standing) = |_| {};
    check("a POST", Ask::post("/slow/80", ""), none, well).await;
    check("a PUT", Ask::new(Method::PUT, "/slow/80"), none, well).await;
    let with_body = Ask {
        body: "x".into(),
        ..get()
    };
    check("a body", with_body, none, well).await;
    let change: fn(&mut Setup) = |setup| setup.route().hedge = None;
    check("no hedge", get(), change, well).await;
    let change: fn(&mut Setup) = |setup| setup.retry().attempts = 1;
    check("no attempt", get(), change, well).await;
    let change: fn(&mut Setup) = |setup| setup.retry().cross_region_budget = 0.0;
    check("no budget", get(), change, well).await;
    let change: fn(&mut Setup) = |setup| {
        let hedge = hedge(HedgeTo::Region).map(|hedge| Hedge {
            budget: 0.0,
            ..hedge
        });
        setup.route().hedge = hedge;
    };
    check("no purse", get(), change, well).await;
    let change: fn(&mut Setup) =
        |setup| setup.route().allowed = RegionSet::from_iter([RegionIdx(0)]);
    check("residency", get(), change, well).await;
    let change: fn(&mut Setup) =
        |setup| setup.upstream().circuit_breaker.region.max_retries = Some(0);
    check("no room", get(), change, well).await;
    check("probation", get(), none, |us| us.probation = true).await;
    check("silent", get(), none, |us| us.suspected = true).await;
    check("down", get(), none, |us| us.health = Health::Unhealthy).await;
    let change: fn(&mut Setup) = |setup| {
        setup.route().hedge = hedge(HedgeTo::Region).map(|hedge| Hedge {
            after: HedgeAfter::Percentile(0.95),
            ..hedge
        });
    };
    check("nothing known", get(), change, well).await;
}

/// One hedge for each request, whatever becomes of it.
#[tokio::test]
async fn a_request_is_hedged_once() {
    let world = world(&["eu"]).await;
    let eu = world.site("eu").unwrap();
    let us = nowhere().await;
    let mut setup = Setup::new([("eu", eu.addr()), ("us", us), ("ap", us)]);
    setup.route().hedge = hedge(HedgeTo::Region);
    let rig = setup.start();
    let answer = Ask::get("/slow/150").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.header("x-lab-region"), "eu");
    assert_over(&rig).await;
    assert_eq!(
        attempts(&rig.log(1).await[0]),
        ["eu answered", "us connect"]
    );
    assert_eq!(hedges(&rig, "failed"), 1);
}

/// The route's own percentile: what takes longer than nearly all others is hedged, the others are not.
#[tokio::test]
async fn a_percentile_is_learned_from_the_routes_answers() {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world).one_thread();
    setup.route().hedge = Some(Hedge {
        after: HedgeAfter::Percentile(0.95),
        budget: 1.0,
        to: HedgeTo::Region,
    });
    let rig = setup.start();
    let mut client = crate::harness::H1::connect(rig.addr()).await;
    for _ in 0..120 {
        assert_eq!(client.ask(&Ask::get("/")).await.status, 200);
    }
    let live = rig.plan.newest().unwrap();
    let (cell, hedge) = (live.hedge(RouteIdx(0)), live.plan.routes[0].hedge);
    let known = || {
        cell.unwrap()
            .delay(&hedge.unwrap(), Instant::now())
            .is_some()
    };
    until("a percentile", known).await;
    let link = &world.site("eu").unwrap().link;
    link.set(Mode::BlackHole).await.unwrap();
    let answer = client.ask(&Ask::get("/")).await;
    assert_eq!(answer.header("x-lab-region"), "us");
    assert_over(&rig).await;
    let log = rig.log(121).await;
    assert_eq!(attempts(&log[120]), ["eu hedged", "us answered"]);
}

/// The route's purse: no more hedges than its share and its reserve.
#[tokio::test]
async fn hedges_are_bounded_by_the_routes_purse() {
    const REQUESTS: u64 = 60;
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    setup.route().hedge = hedge(HedgeTo::Region).map(|hedge| Hedge {
        budget: 0.1,
        ..hedge
    });
    let rig = setup.start();
    let addr = rig.addr();
    let asked = (0..REQUESTS).map(|_| async move {
        let answer = Ask::get("/slow/60").send(Down::H1, addr).await;
        assert_eq!(answer.status, 200);
    });
    futures_util::future::join_all(asked).await;
    assert_over(&rig).await;
    let hedged = rig.total("tidegate_hedges_total");
    let most = REQUESTS / 10 + u64::from(tidegate_core::hedge::HEDGE_RESERVE);
    assert!((1..=most).contains(&hedged), "{hedged} of at most {most}");
    let attempts = rig.total("tidegate_attempts_total");
    assert_eq!(attempts, REQUESTS + hedged);
}

/// Both heads come at the same moment, again and again: one answer, two closed accounts.
#[tokio::test]
async fn two_heads_at_the_same_moment_are_one_answer() {
    const ROUNDS: usize = 24;
    const CLIENTS: usize = 8;
    let mut won = 0;
    for (down, h2_up) in [(Down::H1, false), (Down::H2, true), (Down::H1, true)] {
        let world = world(&["eu", "us"]).await;
        let mut setup = Setup::world(&world);
        setup.h2_up(h2_up);
        setup.route().hedge = hedge(HedgeTo::Region).map(|hedge| Hedge {
            after: HedgeAfter::Fixed(Duration::from_millis(10)),
            budget: 10.0,
            ..hedge
        });
        setup.retry().cross_region_budget = 10.0;
        let rig = setup.start();
        let addr = rig.addr();
        let eu = world.site("eu").unwrap();
        for round in 0..ROUNDS {
            eu.link.set(Mode::BlackHole).await.unwrap();
            let asked: Vec<_> = (0..CLIENTS)
                .map(|_| tokio::spawn(async move { Ask::get("/").send(down, addr).await }))
                .collect();
            let us = rig.board.region("shop", "us");
            let started = || us.in_flight() > 0 || asked.iter().all(|asked| asked.is_finished());
            until("a hedge", started).await;
            tokio::time::sleep(Duration::from_micros(100 * round as u64)).await;
            eu.link.set(Mode::Up).await.unwrap();
            for answer in asked {
                let answer = answer.await.unwrap();
                assert!(answer.is_whole() && answer.status == 200, "{answer:?}");
                won += usize::from(answer.header("x-lab-region") == "us");
            }
            assert_over(&rig).await;
        }
        let all = (ROUNDS * CLIENTS) as u64;
        assert_eq!(rig.total("tidegate_request_terminations_total"), all);
        let hedged = rig.total("tidegate_hedges_total");
        assert_eq!(rig.total("tidegate_attempts_total"), all + hedged);
    }
    assert!(won > 0, "nobody ever won: no race");
}
