//! No attempt leaves the regions that a route allows, whatever fails.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tidegate_core::health::Health;
use tidegate_core::plan::UnknownOutcome;
use tidegate_core::{RegionIdx, RegionSet};
use tidegate_lab::{Mode, World};

use crate::harness::{Ask, Down, Setup, world};

/// A route that allows the first region alone.
fn residing(world: &World) -> Setup {
    let mut setup = Setup::world(world);
    setup.route().allowed = RegionSet::from_iter([RegionIdx(0)]);
    setup.route().residency = Box::new(["eu".into()]);
    setup.route().idempotency_key = true;
    setup.retry().attempts = 4;
    setup.retry().per_try = Some(Duration::from_millis(100));
    setup.route().timeout = Duration::from_secs(1);
    setup.retry().on_unknown_outcome = UnknownOutcome::Fail;
    setup.retry().on.bad_response = true;
    setup
}

fn asks() -> [Ask; 4] {
    [
        Ask::get("/"),
        Ask {
            body: "x".into(),
            ..Ask::new(Method::PUT, "/")
        },
        Ask::post("/", "x"),
        Ask::post("/", "x").field("idempotency-key", "k"),
    ]
}

/// Everybody asks, nobody spills.
async fn check(setup: Setup, world: &World, statuses: &[(u16, &str)]) {
    let rig = setup.start();
    let every = [Down::H1, Down::H2].map(|down| asks().map(|ask| (down, ask)));
    join_all(every.into_iter().flatten().map(async |(down, ask)| {
        let got = ask.send(down, rig.addr()).await;
        let passed = got.status == 503 && got.header("x-lab-region") == "eu";
        let reason = if passed {
            "passed".to_owned()
        } else {
            got.reason()
        };
        let got = (got.status, reason.as_str());
        assert!(
            statuses.contains(&got),
            "{down:?} {} came to {got:?}",
            ask.method
        );
    }))
    .await;
    let other = world.site("us").unwrap();
    assert_eq!(other.link.stats().connections, 0, "not even a connection");
    assert_eq!(other.region.snapshot().requests_total(), 0);
    assert_eq!(rig.total("tidegate_requests_rescued_total"), 0);
}

#[tokio::test]
async fn under_every_fault() {
    let modes = [
        Mode::Refuse,
        Mode::Reset,
        Mode::BlackHole,
        Mode::Truncate { after: 0 },
        Mode::Truncate { after: 20 },
    ];
    for mode in modes {
        let world = world(&["eu", "us"]).await;
        world.site("eu").unwrap().link.set(mode).await.unwrap();
        let lost = [
            (503, "connect_failed"),
            (502, "upstream_reset"),
            (504, "upstream_timeout"),
            (504, "deadline_exceeded"),
        ];
        check(residing(&world), &world, &lost).await;
    }
}

#[tokio::test]
async fn under_errors_of_the_service() {
    let world = world(&["eu", "us"]).await;
    world.site("eu").unwrap().region.change(|behaviour| {
        behaviour.error_rate = 1.0;
        behaviour.error_status = http::StatusCode::SERVICE_UNAVAILABLE;
    });
    check(residing(&world), &world, &[(503, "passed")]).await;
}

/// Down or draining: an honest refusal that names no other region.
#[tokio::test]
async fn under_a_region_that_is_out() {
    for drain in [true, false] {
        let world = world(&["eu", "us"]).await;
        let setup = residing(&world);
        let rig = setup.start();
        let eu = rig.board.region("shop", "eu");
        if drain {
            eu.set_draining(true);
        } else {
            eu.set_health(Health::Unhealthy);
        }
        for down in [Down::H1, Down::H2] {
            let got = Ask::get("/").send(down, rig.addr()).await;
            assert_eq!(
                (got.status, got.reason().as_str()),
                (503, "no_healthy_region")
            );
        }
        assert_eq!(world.site("us").unwrap().link.stats().connections, 0);
        let why = if drain { "draining" } else { "unhealthy" };
        let log = &rig.log(2).await[0];
        assert_eq!(log["excluded"][0]["why"], why, "{log}");
        assert_eq!(log["excluded"][1]["why"], "residency", "{log}");
    }
}

/// Nothing is allowed: the rule itself is the reason.
#[tokio::test]
async fn an_empty_rule_blocks() {
    let world = world(&["eu", "us"]).await;
    let mut setup = residing(&world);
    setup.route().allowed = RegionSet::EMPTY;
    let books = {
        let rig = setup.start();
        for down in [Down::H1, Down::H2] {
            for ask in asks() {
                let got = ask.send(down, rig.addr()).await;
                assert_eq!(
                    (got.status, got.reason().as_str()),
                    (503, "residency_blocked")
                );
            }
        }
        assert_eq!(
            rig.metric(r#"tidegate_requests_lost_total{why="residency_blocked"}"#),
            8
        );
        rig.books()
    };
    for line in books.log(8).await {
        assert_eq!(line["attempts"].as_array().unwrap().len(), 0, "{line}");
    }
    for site in world.sites() {
        assert_eq!(site.link.stats().connections, 0);
    }
}

/// Another route of the same upstream may go there: the rule is the route's.
#[tokio::test]
async fn the_rule_is_the_routes() {
    let world = world(&["eu", "us"]).await;
    let mut setup = residing(&world);
    setup.add_route("/anywhere", tidegate_core::UpstreamIdx(0));
    let rig = setup.start();
    world
        .site("eu")
        .unwrap()
        .link
        .set(Mode::Refuse)
        .await
        .unwrap();
    let got = Ask::get("/anywhere").send(Down::H1, rig.addr()).await;
    assert_eq!((got.status, got.header("x-lab-region")), (200, "us"));
    let got = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!((got.status, got.reason().as_str()), (503, "connect_failed"));
    assert_eq!(
        world.site("us").unwrap().region.snapshot().requests_total(),
        1
    );
}
