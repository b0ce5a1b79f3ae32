//! Health as operators see it: what a region is declared to be for each kind of fault, with which
//! evidence, how it comes back, and that users notice none of it.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tidegate_lab::world::Site;
use tidegate_lab::{Latency, Mode, World};

use crate::harness::{Books, Config, Tidegate, Traffic, ask, until};

const NEAREST: &str = "eu-west";
const NEXT: &str = "us-east";
const LAST: &str = "ap-south";

/// What happens to a region. Checks go on being answered, except by a path that is cut.
#[derive(Clone, Copy)]
enum Fault {
    Path(Mode),
    Errors(f64),
    Slow(Duration),
}

impl Fault {
    async fn strike(self, site: &Site) {
        match self {
            Self::Path(mode) => site.link.set(mode).await.unwrap(),
            Self::Errors(share) => site.region.change(|behaviour| {
                behaviour.error_rate = share;
                behaviour.error_status = StatusCode::SERVICE_UNAVAILABLE;
            }),
            Self::Slow(latency) => site.region.change(|behaviour| {
                behaviour.latency = Latency::Fixed(latency);
            }),
        }
    }

    async fn heal(site: &Site) {
        site.link.set(Mode::Up).await.unwrap();
        site.region.change(|behaviour| {
            behaviour.error_rate = 0.0;
            behaviour.latency = Latency::Fixed(Duration::ZERO);
        });
    }
}

async fn world() -> World {
    let regions = [(NEAREST, 4), (NEXT, 10), (LAST, 20)];
    let builder = regions.iter().fold(World::builder(), |world, (name, ms)| {
        world.region(name, Duration::from_millis(*ms))
    });
    builder.start().await.unwrap()
}

/// The changes of a region's health and stage so far: `(stage, health, evidence in words)`.
async fn story(tidegate: &Tidegate, region: &str) -> Vec<(String, String, String)> {
    let events = tidegate.events("region_health").await;
    let of_region = events.iter().filter(|event| event["region"] == region);
    let word = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    of_region
        .map(|event| {
            let [stage, to, evidence] = ["stage", "to", "evidence"].map(|name| word(event, name));
            (stage, to, evidence)
        })
        .collect()
}

/// Waits until a region has been at this stage, or had this health.
async fn has_been(tidegate: &Tidegate, region: &str, what: &str) {
    until(&format!("{region} has been {what}"), || async {
        let story = story(tidegate, region).await;
        story
            .iter()
            .any(|(stage, health, _)| stage == what || health == what)
    })
    .await;
}

/// Lets `fault` hit the nearest region under traffic, until it is what it should become; nothing may
/// be lost, and the reason must be told with `word` in it.
async fn check(fault: Fault, becomes: &str, word: &str) {
    check_after(120, fault, becomes, word).await;
}

/// The same after so many requests.
async fn check_after(requests: u64, fault: Fault, becomes: &str, word: &str) {
    /// As many as come well within the patience of a test.
    const SOME: u64 = 1_000;
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    for begun in (0..requests).step_by(SOME as usize) {
        traffic.more_from(NEAREST, SOME.min(requests - begun)).await;
    }
    fault.strike(nearest).await;
    has_been(&tidegate, NEAREST, becomes).await;
    traffic.more_from(NEXT, 60).await;
    Fault::heal(nearest).await;
    traffic.more_from(NEAREST, 60).await;
    traffic.stop().await.assert_nothing_lost();
    let story = story(&tidegate, NEAREST).await;
    let told = |(stage, health, evidence): &(String, String, String)| {
        (stage == becomes || health == becomes) && evidence.contains(word)
    };
    assert!(story.iter().any(told), "no {word:?} in {story:#?}");
    for region in [NEXT, LAST] {
        let metrics = tidegate.metrics().await;
        let health = metrics.sum("tidegate_region_health", &[("region", region)]);
        assert_eq!(health, 1, "{region} is healthy throughout");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_refuses_goes_out() {
    check(Fault::Path(Mode::Refuse), "unhealthy", "connect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_resets_goes_out() {
    check(Fault::Path(Mode::Reset), "unhealthy", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_falls_silent_is_suspected() {
    check(Fault::Path(Mode::BlackHole), "suspected", "silent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_only_answers_its_checks_goes_out() {
    check(Fault::Errors(1.0), "unhealthy", "server_error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_fails_in_part_is_degraded() {
    check(Fault::Errors(0.3), "degraded", "server_error").await;
}

/// What answers usually take is learned for a minute before anything is held against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_becomes_slow_is_degraded() {
    let slow = Duration::from_millis(300);
    check_after(5_600, Fault::Slow(slow), "degraded", "").await;
}

/// The second region dies while the first is out: the third serves, and all come home.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_die_one_after_the_other() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 60).await;
    for (dies, mode, serves) in [(NEAREST, Mode::BlackHole, NEXT), (NEXT, Mode::Refuse, LAST)] {
        world.site(dies).unwrap().link.set(mode).await.unwrap();
        traffic.more_from(serves, 60).await;
        tidegate.region_is(dies, "unhealthy").await;
    }
    for region in [NEXT, NEAREST] {
        world
            .site(region)
            .unwrap()
            .link
            .set(Mode::Up)
            .await
            .unwrap();
        traffic.more_from(region, 60).await;
    }
    traffic.stop().await.assert_nothing_lost();
}

/// A region that is well for two seconds and dead for two, for a minute: nothing is lost, and it is
/// held out longer each time, so that it is not tried in every round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_flaps_is_held_out_longer() {
    const ROUNDS: u32 = 15;
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let config = Config {
        failback: "{ hold: 2s, probation: 5%, ramp: 4s }".to_owned(),
        ..Config::of(&world)
    };
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 60).await;
    let mut flap = tokio::time::interval(Duration::from_secs(2));
    for round in 0..ROUNDS {
        for mode in [Mode::Reset, Mode::Up] {
            flap.tick().await;
            let mode = if round % 2 == 0 || mode == Mode::Up {
                mode
            } else {
                Mode::BlackHole
            };
            nearest.link.set(mode).await.unwrap();
        }
    }
    traffic.more_from(NEAREST, 60).await;
    traffic.stop().await.assert_nothing_lost();
    let story = story(&tidegate, NEAREST).await;
    let times = |what: &str| story.iter().filter(|(stage, ..)| stage == what).count();
    let (outs, whole) = (times("out"), times("serving"));
    assert!(outs >= 1, "it went out: {story:#?}");
    assert!(
        outs <= (ROUNDS / 2) as usize,
        "it is not tried in every round: {story:#?}"
    );
    assert!(whole >= 1, "it came home in the end: {story:#?}");
}

/// On its way back a region is tried, and takes its share step by step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_comes_back_by_probation_and_ramp() {
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let config = Config {
        failback: "{ hold: 500ms, probation: 5%, ramp: 5s }".to_owned(),
        ..Config::of(&world)
    };
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 60).await;
    nearest.link.set(Mode::Refuse).await.unwrap();
    tidegate.region_is(NEAREST, "unhealthy").await;
    assert_eq!(tidegate.region(NEAREST).await["dial"], 0.0);
    nearest.link.set(Mode::Up).await.unwrap();
    let mut dials = Vec::new();
    until("the region takes its whole share", || async {
        tidegate.region(NEAREST).await["dial"].as_f64().unwrap() > 0.0
    })
    .await;
    loop {
        let dial = tidegate.region(NEAREST).await["dial"].as_f64().unwrap();
        if dials.last() != Some(&dial) {
            dials.push(dial);
        }
        if dial == 1.0 {
            break;
        }
        traffic.more(4).await;
    }
    let books = traffic.books();
    traffic.more_from(NEAREST, 60).await;
    traffic.stop().await.assert_nothing_lost();
    assert!(dials.len() > 5, "step by step: {dials:?}");
    assert!(dials[0] <= 0.1 && dials.is_sorted(), "{dials:?}");
    assert!(books.of(NEXT) > 0);
    let story = story(&tidegate, NEAREST).await;
    let stages: Vec<_> = story.iter().map(|(stage, ..)| stage.as_str()).collect();
    let expected = ["out", "probation", "ramp", "serving"];
    let from = stages.iter().position(|stage| *stage == "out").unwrap();
    assert_eq!(stages[from..], expected, "{story:#?}");
}

/// `failback.mode: manual`: it is well again, and waits for somebody to say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_waits_for_its_operator() {
    let world = world().await;
    let nearest = world.site(NEAREST).unwrap();
    let config = Config {
        failback: "{ mode: manual, hold: 100ms, probation: 100%, ramp: 0s }".to_owned(),
        ..Config::of(&world)
    };
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more_from(NEAREST, 30).await;
    nearest.link.set(Mode::Refuse).await.unwrap();
    tidegate.region_is(NEAREST, "unhealthy").await;
    nearest.link.set(Mode::Up).await.unwrap();
    has_been(&tidegate, NEAREST, "waiting").await;
    let before = traffic.books().of(NEAREST);
    traffic.more_from(NEXT, 60).await;
    assert_eq!(traffic.books().of(NEAREST), before, "it waits");
    let reply = tidegate.admin_post("/regions/eu-west/failback").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    traffic.more_from(NEAREST, 30).await;
    traffic.stop().await.assert_nothing_lost();
}

/// What an operator says of a region is believed, without a failure and without a rescue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_word_moves_traffic() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    for word in ["degraded", "unhealthy"] {
        traffic.more_from(NEAREST, 30).await;
        let path = format!("/regions/eu-west/health?is={word}");
        let reply = tidegate.admin_post(&path).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        tidegate.region_is(NEAREST, word).await;
        traffic.more_from(NEXT, 30).await;
        let reply = ask(tidegate.admin(), Method::DELETE, "/regions/eu-west/health").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
    traffic.more_from(NEAREST, 30).await;
    let books: Books = traffic.stop().await;
    books.assert_nothing_lost();
}
