//! Judges, driven by probes of real endpoints and by what attempts leave on the board.

use std::cell::RefCell;
use std::time::Duration;

use tidegate_core::cell::ErrorClass;
use tidegate_core::health::{Evidence, Stage};
use tidegate_core::plan::{Ejection, Failback, Probe, RegionPolicy, Silence};
use tidegate_core::{Dial, Health};
use tidegate_telemetry::EventKind;
use tidegate_telemetry::events::{Facts, HealthChange};

use crate::server::Server;
use crate::support::{Scene, Spec, http_probe, until};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An hour, in which nothing happens by itself.
const LONG: Duration = Duration::from_secs(3_600);

/// Back within a fraction of a second, in all stages.
fn gentle() -> Failback {
    Failback {
        hold: ms(60),
        hold_max: ms(60),
        probation: 0.5,
        ramp: ms(200),
        ..Failback::default()
    }
}

/// One endpoint in each of two regions.
fn two_regions(eu: &Server, us: &Server, failback: Failback) -> Spec {
    Spec {
        us: vec![us.address.clone()],
        failback,
        ..Spec::new(&[&eu.address], http_probe())
    }
}

/// The same without a probe: requests alone tell.
fn unprobed(region: RegionPolicy) -> Spec {
    Spec {
        probe: None,
        us: vec![US.to_owned()],
        region,
        ..Spec::new(&[EU], http_probe())
    }
}

/// Endpoints that nobody connects to.
const EU: &str = "192.0.2.1:80";
const US: &str = "192.0.2.2:80";

fn stages(changes: &[HealthChange]) -> Vec<(Health, Stage)> {
    changes
        .iter()
        .map(|change| (change.to, change.stage))
        .collect()
}

fn judged(change: &HealthChange) -> &Evidence {
    match &change.facts {
        Facts::Judged(evidence) => evidence,
        Facts::Probed(_) => panic!("{change:?} is of a region"),
    }
}

async fn both_serve(scene: &Scene) {
    for region in ["eu", "us"] {
        let cell = scene.region_named(region);
        until(|| cell.health() == Health::Healthy, || region.into()).await;
    }
}

#[tokio::test]
async fn a_region_comes_back_in_stages_and_events_tell_why() {
    let (eu, us) = (Server::start().await, Server::start().await);
    let scene = Scene::start(&two_regions(&eu, &us, gentle()));
    both_serve(&scene).await;
    eu.answer_with(500);
    scene.comes_to("eu", Stage::Out, || {}).await;
    let out = scene.changes("eu");
    let last = out.last().unwrap();
    assert_eq!((last.from, last.to), (Health::Healthy, Health::Unhealthy));
    assert!(matches!(
        judged(last),
        Evidence::Endpoints {
            usable: 0,
            total: 1,
            ..
        }
    ));
    let words = format!(
        "{}: 3 probes in a row failed, the last: answered with status 500",
        eu.address
    );
    assert!(last.evidence.ends_with(&words), "{}", last.evidence);
    eu.answer_with(200);
    let traffic = || scene.answered("eu", &eu.address, 200);
    scene.comes_to("eu", Stage::Serving, traffic).await;
    let stages = stages(&scene.changes("eu")[out.len()..]);
    let came: Vec<Stage> = stages.iter().map(|(_, stage)| *stage).collect();
    assert_eq!(
        came,
        [Stage::Probation, Stage::Ramp, Stage::Serving],
        "{stages:?}"
    );
    let standing = scene.region().standing();
    assert_eq!(
        (standing.health, standing.dial),
        (Health::Healthy, Dial::FULL)
    );
    assert!(
        scene
            .changes("us")
            .iter()
            .all(|change| change.stage == Stage::Serving)
    );
    let text = scene.metrics.render(None);
    let line = "tidegate_region_transitions_total{upstream=\"shop\",region=\"eu\",to=\"out\",why=\"endpoints\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn an_operator_lets_a_region_come_back() {
    let (eu, us) = (Server::start().await, Server::start().await);
    let failback = Failback {
        manual: true,
        ..gentle()
    };
    let scene = Scene::start(&two_regions(&eu, &us, failback));
    both_serve(&scene).await;
    eu.answer_with(500);
    scene.comes_to("eu", Stage::Out, || {}).await;
    eu.answer_with(200);
    scene.comes_to("eu", Stage::Waiting, || {}).await;
    assert!(!scene.region().health().usable());
    let before = eu.requests();
    until(|| eu.requests() > before + 10, || "probes go on".into()).await;
    assert_eq!(scene.changes("eu").last().unwrap().stage, Stage::Waiting);
    scene.region().ask_release();
    let traffic = || scene.answered("eu", &eu.address, 200);
    scene.comes_to("eu", Stage::Serving, traffic).await;
    let released = |change: &HealthChange| matches!(judged(change), Evidence::Released { .. });
    assert!(scene.changes("eu").iter().any(released));
}

#[tokio::test]
async fn a_new_plan_changes_no_judgement() {
    let (eu, us) = (Server::start().await, Server::start().await);
    let failback = Failback {
        hold: LONG,
        hold_max: LONG,
        ..gentle()
    };
    let spec = two_regions(&eu, &us, failback);
    let scene = Scene::start(&spec);
    both_serve(&scene).await;
    eu.answer_with(500);
    scene.comes_to("eu", Stage::Out, || {}).await;
    eu.answer_with(200);
    scene.becomes(&eu.address, Health::Healthy).await;
    let changes = scene.changes("eu").len();
    let probed = eu.requests();
    let probe = Probe {
        rise: 1,
        ..http_probe()
    };
    scene.change(&Spec {
        probe: Some(probe),
        ..spec
    });
    until(|| eu.requests() > probed + 10, || "probed anew".into()).await;
    assert_eq!(
        scene.changes("eu").len(),
        changes,
        "{:#?}",
        scene.changes("eu")
    );
    assert_eq!(scene.region().health(), Health::Unhealthy);
}

/// Answers from `us` and failures in `eu`, until a judge acts.
async fn failing(class: ErrorClass) -> Scene {
    let policy = RegionPolicy {
        error_rate: Some(0.5),
        min_requests: 20,
        ..RegionPolicy::default()
    };
    let scene = Scene::start(&unprobed(policy));
    let traffic = || {
        scene.answered("us", US, 200);
        scene
            .attempt("eu", EU)
            .failed(class, std::time::Instant::now());
    };
    scene.comes_to("eu", Stage::Out, traffic).await;
    scene
}

#[tokio::test]
async fn requests_alone_take_a_region_out() {
    for class in [
        ErrorClass::Reset,
        ErrorClass::ServerError,
        ErrorClass::Connect,
    ] {
        let scene = failing(class).await;
        let changes = scene.changes("eu");
        let out = changes.last().unwrap();
        assert_eq!(out.to, Health::Unhealthy);
        let (Evidence::Errors(met) | Evidence::Raised(met) | Evidence::Unanswered(met)) =
            judged(out)
        else {
            panic!("{out:?}");
        };
        assert!(met.by_class[class as usize] >= 1 && met.failed <= met.of);
        assert!(scene.region_named("us").health().usable());
    }
}

#[tokio::test]
async fn a_fault_that_all_regions_share_takes_nobody_out() {
    let policy = RegionPolicy {
        error_rate: Some(0.5),
        min_requests: 20,
        ..RegionPolicy::default()
    };
    let scene = Scene::start(&unprobed(policy));
    let told = || {
        for (region, address) in [("eu", EU), ("us", US)] {
            scene.answered(region, address, 500);
        }
        let changes = [scene.changes("eu"), scene.changes("us")].concat();
        changes
            .iter()
            .any(|change| matches!(judged(change), Evidence::Shared { .. }))
    };
    until(told, || format!("{:#?}", scene.events.since(0))).await;
    for region in ["eu", "us"] {
        assert!(scene.region_named(region).health().usable());
        let out = |change: &HealthChange| change.stage == Stage::Out;
        assert!(!scene.changes(region).iter().any(out));
    }
}

#[tokio::test]
async fn silence_has_a_region_probed_at_once_over_new_connections() {
    let (eu, us) = (Server::start().await, Server::start().await);
    // No probe comes by itself; the connection of the first one stays.
    let probe = Probe {
        interval: LONG,
        fast_interval: Some(ms(20)),
        ..http_probe()
    };
    let policy = RegionPolicy {
        silence: Some(Silence::After(ms(100))),
        ..RegionPolicy::default()
    };
    let scene = Scene::start(&Spec {
        probe: Some(probe),
        region: policy,
        ..two_regions(&eu, &us, Failback::default())
    });
    both_serve(&scene).await;
    assert_eq!((eu.requests(), us.requests()), (1, 1));
    // Requests that are answered, and then more and more that are not.
    (0..50).for_each(|_| scene.answered("eu", &eu.address, 200));
    let waiting = RefCell::new(Vec::new());
    let ask = || waiting.borrow_mut().push(scene.attempt("eu", &eu.address));
    scene.comes_to("eu", Stage::Suspected, ask).await;
    assert!(matches!(
        judged(scene.changes("eu").last().unwrap()),
        Evidence::Silent { .. }
    ));
    until(
        || eu.requests() >= 3,
        || "probed at the fast interval".into(),
    )
    .await;
    let requests = eu.requests();
    assert!(eu.connections() >= requests, "over new connections");
    assert_eq!(us.requests(), 1, "the other is in no doubt");
    drop(waiting);
    scene.region().heard(std::time::Instant::now());
    scene.comes_to("eu", Stage::Serving, || {}).await;
    assert!(scene.region().standing().health.usable());
}

fn ejection() -> Ejection {
    Ejection {
        consecutive_5xx: Some(5),
        consecutive_gateway_failure: None,
        consecutive_local_origin_failure: None,
        split_external_local_origin_errors: false,
        interval: ms(50),
        base_ejection_time: ms(50),
        max_ejection_time: ms(50),
        max_ejection: 0.5,
        always_eject_one_host: true,
        success_rate: None,
        failure_percentage: None,
    }
}

#[tokio::test]
async fn an_endpoint_is_ejected_and_taken_back() {
    const OTHER: &str = "192.0.2.9:80";
    let scene = Scene::start(&Spec {
        endpoints: vec![EU.into(), OTHER.into()],
        ejection: Some(ejection()),
        ..unprobed(RegionPolicy::default())
    });
    let of_endpoint = || {
        let events = scene.events.since(0);
        let change = |event: &std::sync::Arc<tidegate_telemetry::Event>| match &event.kind {
            EventKind::EndpointHealth {
                endpoint, change, ..
            } => {
                assert_eq!(&**endpoint, EU);
                Some(change.clone())
            }
            _ => None,
        };
        events.iter().filter_map(change).collect::<Vec<_>>()
    };
    let failing = || {
        scene.answered("eu", OTHER, 200);
        if of_endpoint().is_empty() {
            scene.answered("eu", EU, 500);
        } else {
            scene.answered("eu", EU, 200);
        }
        of_endpoint()
            .last()
            .is_some_and(|change| change.stage == Stage::Probation)
    };
    until(failing, || format!("{:#?}", scene.events.since(0))).await;
    let changes = of_endpoint();
    let (first, last) = (&changes[0], changes.last().unwrap());
    assert_eq!((first.to, first.stage), (Health::Unhealthy, Stage::Out));
    assert!(
        matches!(judged(first), Evidence::InARow { count: 5.., .. }),
        "{first:?}"
    );
    assert!(last.to.usable() && !scene.endpoint(EU).ejected());
    let text = scene.metrics.render(None);
    let line =
        "tidegate_endpoint_ejections_total{upstream=\"shop\",region=\"eu\",why=\"in_a_row\"} 1";
    assert!(text.contains(line), "{text}");
}
