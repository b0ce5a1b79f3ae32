//! The plan and discovery change; the prober follows, and what stays is not disturbed.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::Probe;
use tidegate_core::{Dial, Health, Part};

use crate::plan::plan_of;
use crate::server::{Script, Server, refusing};
use crate::support::{Scene, Spec, http_probe, tcp_probe, until};

#[tokio::test]
async fn endpoints_come_and_go_with_the_plan() {
    let (one, two) = (Server::start().await, Server::start().await);
    let scene = Scene::start(&Spec::new(&[&one.address], http_probe()));
    scene.becomes(&one.address, Health::Healthy).await;
    assert_eq!(two.requests(), 0);
    scene.change(&Spec::new(&[&two.address], http_probe()));
    scene.becomes(&two.address, Health::Healthy).await;
    scene.becomes(&one.address, Health::Unknown).await;
    // One check of the old endpoint may have been under way.
    let (old, new) = (one.requests(), two.requests());
    until(
        || two.requests() > new + 5,
        || "the new endpoint is probed".into(),
    )
    .await;
    assert!(one.requests() <= old + 1, "the old one is left alone");
}

#[tokio::test]
async fn what_a_plan_keeps_keeps_its_schedule() {
    // An interval that the test will not see the end of: a second probe would be a new schedule.
    let rare = Probe {
        interval: Duration::from_secs(3_600),
        ..http_probe()
    };
    let (one, two) = (Server::start().await, Server::start().await);
    let scene = Scene::start(&Spec::new(&[&one.address], rare.clone()));
    scene.becomes(&one.address, Health::Healthy).await;
    let both = Spec {
        min_healthy: 0.9,
        ..Spec::new(&[&one.address, &two.address], rare.clone())
    };
    scene.change(&both);
    scene.becomes(&two.address, Health::Healthy).await;
    assert_eq!((one.requests(), two.requests()), (1, 1));
    assert_eq!(scene.endpoint(&one.address).health(), Health::Healthy);
    // Another probe is another schedule.
    scene.change(&Spec {
        probe: Some(Probe { rise: 9, ..rare }),
        ..both
    });
    until(
        || one.requests() == 2 && two.requests() == 2,
        || "probed anew".into(),
    )
    .await;
}

#[tokio::test]
async fn without_a_probe_nothing_is_known() {
    let (_socket, address) = refusing();
    let spec = Spec::new(&[&address], tcp_probe());
    let scene = Scene::start(&spec);
    scene.becomes(&address, Health::Unhealthy).await;
    scene.change(&Spec {
        probe: None,
        ..spec
    });
    scene.becomes(&address, Health::Unknown).await;
    until(
        || scene.region().health() == Health::Unknown,
        || "the region is forgotten".into(),
    )
    .await;
}

#[tokio::test]
async fn a_stricter_rule_is_applied_to_what_is_known() {
    let server = Server::start().await;
    let (_socket, refusing) = refusing();
    let spec = Spec::new(&[&server.address, &refusing], http_probe());
    let scene = Scene::start(&spec);
    until(
        || scene.region().health() == Health::Degraded,
        || "one of two".into(),
    )
    .await;
    scene.change(&Spec {
        min_healthy: 0.9,
        ..spec
    });
    until(
        || scene.region().health() == Health::Unhealthy,
        || "too few now".into(),
    )
    .await;
}

#[tokio::test]
async fn discovery_is_followed_without_a_new_plan() {
    let (one, two) = (Server::start().await, Server::start().await);
    let scene = Scene::start(&Spec::new(&[&one.address], http_probe()));
    scene.becomes(&one.address, Health::Healthy).await;
    let found = Spec::new(&[&one.address, &two.address], http_probe()).specs();
    let slot = scene.board.slot("shop", "eu");
    assert!(slot.replace("shop", "eu", &found, &scene.board));
    scene.becomes(&two.address, Health::Healthy).await;
}

/// What gets requests is probed, whichever plan sends them.
#[tokio::test]
async fn what_only_a_staged_plan_has_is_probed_and_judged_beside() {
    let server = Server::start().await;
    let (_socket, dead) = refusing();
    let (_other, far) = refusing();
    let serving = Spec::new(&[&server.address], http_probe());
    let scene = Scene::start(&serving);
    scene.becomes(&server.address, Health::Healthy).await;
    let staged = Spec {
        us: vec![far.clone()],
        // What both have is probed as the serving plan wants.
        ..Spec::new(&[&server.address, &dead], tcp_probe())
    };
    let stage = || {
        let plan = Arc::new(plan_of(&[staged.clone(), staged.clone()]));
        let part = Part::Share(Dial::new(0.1));
        scene.plan.stage_plan(plan, part, &scene.board).unwrap();
        scene.prober.as_ref().unwrap().plan_changed();
    };
    let judged = |upstream: &str, region: &str| scene.board.region(upstream, region).health();
    stage();
    scene.becomes(&dead, Health::Unhealthy).await;
    until(
        || judged("shop", "us") == Health::Unhealthy,
        || "a region of its own is judged".into(),
    )
    .await;
    until(
        || judged("shop-1", "us") == Health::Unhealthy,
        || "an upstream of its own is judged".into(),
    )
    .await;
    let asked = server.requests();
    until(
        || server.requests() > asked + 3,
        || "the schedule of the serving plan goes on".into(),
    )
    .await;
    // Half of the staged plan's endpoints are down, none of the serving one's.
    assert_eq!(scene.region().health(), Health::Healthy);
    scene.plan.abandon();
    scene.prober.as_ref().unwrap().plan_changed();
    scene.becomes(&dead, Health::Unknown).await;
    stage();
    scene.becomes(&dead, Health::Unhealthy).await;
    scene.plan.promote(&scene.board);
    scene.prober.as_ref().unwrap().plan_changed();
    until(
        || scene.region().health() == Health::Degraded,
        || "the judge of the region sees both endpoints".into(),
    )
    .await;
    assert_eq!(scene.endpoint(&dead).health(), Health::Unhealthy);
}

#[tokio::test]
async fn silence_is_noticed_long_before_the_probes_have_failed_one_by_one() {
    // Each probe alone takes an hour to fail: only probes that overlap can fill `fall` connections.
    let endpoint = Script::start("", false).await;
    let probe = Probe {
        timeout: Duration::from_secs(3_600),
        ..http_probe()
    };
    let scene = Scene::start(&Spec::new(&[&endpoint.address], probe));
    until(
        || endpoint.connections() == 3,
        || "one check per chance to fail".into(),
    )
    .await;
    assert_eq!(scene.endpoint(&endpoint.address).health(), Health::Unknown);
}

#[tokio::test]
async fn dropping_the_prober_stops_it() {
    let server = Server::start().await;
    let mut scene = Scene::start(&Spec::new(&[&server.address], http_probe()));
    scene.becomes(&server.address, Health::Healthy).await;
    assert!(Arc::strong_count(&scene.plan) > 1);
    scene.prober = None;
    until(
        || Arc::strong_count(&scene.plan) == 1,
        || "the task is gone".into(),
    )
    .await;
}
