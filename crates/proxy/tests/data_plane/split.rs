//! A split gives each request one upstream for all of its attempts, a client the same one every time, and
//! each upstream its share.

use std::collections::BTreeMap;

use http::Method;
use tidegate_core::UpstreamIdx;
use tidegate_core::plan::{HashKey, Split, SplitTarget};
use tidegate_lab::{Mode, World};

use crate::harness::{Ask, Down, H1, H2, Rig, Setup, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

fn split(weights: &[u32], on: impl IntoIterator<Item = HashKey>) -> Option<Box<Split>> {
    let target = |(at, &weight): (usize, &u32)| SplitTarget {
        upstream: UpstreamIdx(at as u16),
        weight,
    };
    Some(Box::new(Split {
        targets: weights.iter().enumerate().map(target).collect(),
        hash_on: on.into_iter().collect(),
    }))
}

/// `shop` in eu and us, `canary` in ap and sa, and a route that is split between them.
async fn two(weights: [u32; 2], on: impl IntoIterator<Item = HashKey>) -> (World, Setup) {
    let world = world(&["eu", "us", "ap", "sa"]).await;
    let places: Vec<_> = world.endpoints().collect();
    let mut setup = Setup::new(places[..2].iter().copied());
    setup.add_upstream("canary", places[2..].iter().copied());
    setup.route().split = split(&weights, on);
    (world, setup)
}

/// Which upstream each of these clients gets, in their order, over one connection.
async fn upstreams(rig: &Rig, down: Down, users: usize) -> Vec<String> {
    let asks = (0..users).map(|user| Ask::get("/").field("cookie", format!("uid={user}")));
    let before = rig.lines();
    match down {
        Down::H1 => {
            let mut client = H1::connect(rig.addr()).await;
            for ask in asks {
                assert_eq!(client.ask(&ask).await.status, 200);
            }
        }
        Down::H2 => {
            let mut client = H2::connect(rig.addr()).await;
            for ask in asks {
                assert_eq!(client.ask(&ask).await.status, 200);
            }
        }
    }
    let lines = rig.log(before + users).await;
    let upstream = |line: &serde_json::Value| line["upstream"].as_str().unwrap().to_owned();
    lines[before..].iter().map(upstream).collect()
}

#[tokio::test]
async fn a_client_stays_with_its_upstream_and_a_change_moves_only_the_difference() {
    let uid = || [HashKey::Cookie("uid".into())];
    let (_world, setup) = two([70, 30], uid()).await;
    let rig = setup.start();
    let first = upstreams(&rig, Down::H1, 200).await;
    assert_eq!(upstreams(&rig, Down::H2, 200).await, first);
    let canaries = |homes: &[String]| homes.iter().filter(|home| *home == "canary").count();
    assert!(
        (35..=85).contains(&canaries(&first)),
        "{}",
        canaries(&first)
    );
    let (_other, setup) = two([40, 60], uid()).await;
    rig.plan.activate(setup.into_plan(), &rig.board);
    let second = upstreams(&rig, Down::H1, 200).await;
    assert!(canaries(&second) > canaries(&first));
    let back = first.iter().zip(&second);
    let back = back.filter(|(before, after)| *before == "canary" && *after == "shop");
    assert_eq!(back.count(), 0, "whoever had the canary keeps it");
}

#[tokio::test]
async fn without_a_key_it_is_drawn_and_a_weight_of_zero_gets_nothing() {
    for (weights, expected) in [([1, 1], 2), ([1, 0], 1), ([0, 1], 1)] {
        let (_world, setup) = two(weights, []).await;
        let rig = setup.start();
        let mut seen = BTreeMap::<_, usize>::new();
        for down in BOTH {
            for upstream in upstreams(&rig, down, 60).await {
                *seen.entry(upstream).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), expected, "{weights:?}: {seen:?}");
    }
}

/// All attempts of a request go to its upstream, which is what its retries, limits and series are of.
#[tokio::test]
async fn a_request_stays_in_its_upstream_whatever_fails() {
    let (world, mut setup) = two([0, 1], []).await;
    setup.upstreams[0].retry.attempts = 1;
    let rig = setup.start();
    let near = &world.site("ap").unwrap().link;
    near.set(Mode::Refuse).await.unwrap();
    for down in BOTH {
        let got = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!((got.status, got.header("x-lab-region")), (200, "sa"));
    }
    let line = &rig.log(2).await[0];
    assert_eq!(line["upstream"], "canary");
    assert_eq!(line["attempts"][0]["region"], "ap");
    assert_eq!(line["attempts"][1]["region"], "sa");
    let count = |series: &str| rig.metric(series);
    let answered = r#"tidegate_requests_total{route="all",region="sa",status_class="2xx"}"#;
    assert_eq!(count(answered), 2);
    let attempts = r#"tidegate_attempts_total{upstream="canary",region="sa",outcome="answered"}"#;
    assert_eq!(count(attempts), 2);
    assert_eq!(world.site("eu").unwrap().link.stats().connections, 0);
    assert_eq!(world.site("us").unwrap().link.stats().connections, 0);
}

#[tokio::test]
async fn the_limit_of_a_body_is_its_upstreams() {
    for (weights, status) in [([1, 0], 413), ([0, 1], 200)] {
        let (_world, mut setup) = two(weights, []).await;
        setup.upstreams[0].body.max_bytes = Some(10);
        setup.upstreams[1].body.max_bytes = Some(20);
        let rig = setup.start();
        for down in BOTH {
            let ask = Ask {
                body: "fifteen bytes..".into(),
                ..Ask::new(Method::POST, "/echo")
            };
            assert_eq!(ask.send(down, rig.addr()).await.status, status);
        }
    }
}
