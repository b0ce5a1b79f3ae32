//! What a route's isolation allows to move its requests: load or failure, failure alone, or nothing.

use std::collections::BTreeSet;

use tidegate_core::Dial;
use tidegate_core::health::Health;
use tidegate_core::plan::Isolation;
use tidegate_lab::{Mode, World};

use crate::harness::{Answer, Ask, Down, Rig, Setup, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

fn isolated(world: &World, isolation: Isolation) -> Rig {
    let mut setup = Setup::world(world);
    setup.route().isolation = isolation;
    setup.start()
}

/// An answer of a region, or the reason of one of ours.
fn told(answer: &Answer) -> String {
    match answer.status {
        200 => answer.header("x-lab-region").to_owned(),
        _ => answer.reason(),
    }
}

/// Every place that 40 requests came to.
async fn places(rig: &Rig) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for down in BOTH {
        for _ in 0..20 {
            places.insert(told(&Ask::get("/").send(down, rig.addr()).await));
        }
    }
    places
}

fn set(places: &[&str]) -> BTreeSet<String> {
    places.iter().map(|&place| place.to_owned()).collect()
}

#[tokio::test]
async fn a_share_moves_only_who_may_spill() {
    for (isolation, expected) in [
        (Isolation::Off, &["eu", "us"][..]),
        (Isolation::Nearest, &["eu"]),
        (Isolation::Strict, &["eu"]),
    ] {
        let world = world(&["eu", "us"]).await;
        let rig = isolated(&world, isolation);
        let eu = rig.board.region("shop", "eu");
        eu.set_dial(Some(Dial::new(0.5)));
        assert_eq!(places(&rig).await, set(expected), "{isolation:?}");
    }
}

#[tokio::test]
async fn a_failure_moves_all_but_the_strict() {
    for (isolation, expected) in [
        (Isolation::Off, "us"),
        (Isolation::Nearest, "us"),
        (Isolation::Strict, "connect_failed"),
    ] {
        let world = world(&["eu", "us"]).await;
        let rig = isolated(&world, isolation);
        let eu = world.site("eu").unwrap();
        eu.link.set(Mode::Refuse).await.unwrap();
        assert_eq!(places(&rig).await, set(&[expected]), "{isolation:?}");
    }
}

#[tokio::test]
async fn whatever_its_region_is_the_strict_one_goes_nowhere_else() {
    for closed in ["unhealthy", "drained", "dialed"] {
        let world = world(&["eu", "us"]).await;
        let rig = isolated(&world, Isolation::Strict);
        let eu = rig.board.region("shop", "eu");
        match closed {
            "unhealthy" => eu.set_health(Health::Unhealthy),
            "drained" => eu.set_draining(true),
            _ => eu.set_dial(Some(Dial::NONE)),
        };
        assert_eq!(places(&rig).await, set(&["isolated"]), "{closed}");
        let us = world.site("us").unwrap();
        assert_eq!(us.link.stats().connections, 0, "{closed}");
        let log = &rig.log(40).await[0];
        assert_eq!(log["excluded"][1]["why"], "isolation", "{log}");
    }
}
