//! How results add up: rise and fall, and from endpoints to the region.

use tidegate_core::Health;
use tidegate_core::plan::Probe;

use crate::server::{Server, refusing};
use crate::support::{Scene, Spec, http_probe, until};

#[tokio::test]
async fn fall_and_rise_are_counted() {
    let server = Server::start().await;
    let mut scene = Scene::start(&Spec::new(&[&server.address], http_probe()));
    let (health, evidence) = scene.region_news().await;
    assert_eq!(health, Health::Healthy);
    assert!(
        evidence.starts_with("1 of 1 endpoints usable, 10 % needed; "),
        "{evidence}"
    );
    for _ in 0..2 {
        server.answer_with(500);
        let (health, evidence) = scene.endpoint_news().await;
        let expected = "3 probes in a row failed, the last: answered with status 500";
        assert_eq!((health, evidence.as_str()), (Health::Unhealthy, expected));
        server.answer_with(204);
        let (health, evidence) = scene.endpoint_news().await;
        assert_eq!(health, Health::Healthy);
        assert!(
            evidence.starts_with("2 probes in a row succeeded, connected in "),
            "{evidence}"
        );
    }
}

#[tokio::test]
async fn from_unknown_one_result_is_enough() {
    let (_socket, address) = refusing();
    let probe = Probe {
        fall: 100,
        ..http_probe()
    };
    let (health, evidence) = Scene::start(&Spec::new(&[&address], probe))
        .endpoint_news()
        .await;
    assert_eq!(health, Health::Unhealthy);
    assert!(
        evidence.starts_with("1 probe failed: cannot connect"),
        "{evidence}"
    );
}

#[tokio::test]
async fn fewer_failures_than_fall_change_nothing() {
    let server = Server::start().await;
    let probe = Probe {
        fall: 1_000_000,
        ..http_probe()
    };
    let scene = Scene::start(&Spec::new(&[&server.address], probe));
    scene.becomes(&server.address, Health::Healthy).await;
    server.answer_with(500);
    let before = server.requests();
    until(|| server.requests() > before + 5, || "probes go on".into()).await;
    assert_eq!(scene.endpoint(&server.address).health(), Health::Healthy);
}

#[tokio::test]
async fn a_region_is_the_sum_of_its_endpoints() {
    let (one, two) = (Server::start().await, Server::start().await);
    let mut scene = Scene::start(&Spec::new(&[&one.address, &two.address], http_probe()));
    both_are_healthy(&mut scene, &one, &two).await;
    one.answer_with(500);
    let (health, evidence) = scene.region_news().await;
    assert_eq!(health, Health::Degraded);
    let cause = format!(
        "1 of 2 endpoints usable, 10 % needed; {}: 3 probes",
        one.address
    );
    assert!(evidence.starts_with(&cause), "{evidence}");
    two.answer_with(500);
    assert_eq!(scene.region_news().await.0, Health::Unhealthy);
    one.answer_with(200);
    assert_eq!(scene.region_news().await.0, Health::Degraded);
    two.answer_with(200);
    assert_eq!(scene.region_news().await.0, Health::Healthy);
    assert_eq!(scene.region().health(), Health::Healthy);
}

#[tokio::test]
async fn too_few_endpoints_are_no_region() {
    let (one, two) = (Server::start().await, Server::start().await);
    let spec = Spec {
        min_healthy: 0.6,
        ..Spec::new(&[&one.address, &two.address], http_probe())
    };
    let mut scene = Scene::start(&spec);
    both_are_healthy(&mut scene, &one, &two).await;
    one.answer_with(500);
    let (health, evidence) = scene.region_news().await;
    assert_eq!(health, Health::Unhealthy);
    assert!(
        evidence.starts_with("1 of 2 endpoints usable, 60 % needed; "),
        "{evidence}"
    );
}

#[tokio::test]
async fn connecting_measures_the_round_trip() {
    let server = Server::start().await;
    server.answer_with(500);
    let mut scene = Scene::start(&Spec::new(&[&server.address], http_probe()));
    scene.endpoint_news().await;
    assert!(
        scene.region().rtt().is_some(),
        "measured even though the answer is wrong"
    );
    let (_socket, address) = refusing();
    let mut scene = Scene::start(&Spec::new(&[&address], http_probe()));
    scene.endpoint_news().await;
    assert_eq!(scene.region().rtt(), None);
}

/// The first of them makes the region healthy; both have to be known before one may fall.
async fn both_are_healthy(scene: &mut Scene, one: &Server, two: &Server) {
    assert_eq!(scene.region_news().await.0, Health::Healthy);
    scene.becomes(&one.address, Health::Healthy).await;
    scene.becomes(&two.address, Health::Healthy).await;
}
