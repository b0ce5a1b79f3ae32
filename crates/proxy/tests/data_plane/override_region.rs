//! A trusted peer names the region of a request; nobody else does, and nothing that forbids a region
//! gives way.

use std::time::Duration;

use tidegate_core::health::Health;
use tidegate_core::plan::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, SameSite, WhenGone,
};
use tidegate_core::{Dial, RegionIdx, RegionSet};
use tidegate_lab::World;

use crate::harness::{Ask, Down, H1, Setup, answering, one_head, raw, received, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

fn trusting(world: &World) -> Setup {
    let mut setup = Setup::world(world);
    setup.trust_everybody();
    setup
}

fn to(region: &str) -> Ask {
    Ask::get("/headers").field("tidegate-region", region)
}

#[tokio::test]
async fn a_trusted_peer_is_heard_and_nobody_else() {
    let world = world(&["eu", "us", "ap"]).await;
    for (trusted, expected) in [(true, ["ap", "us"]), (false, ["eu", "eu"])] {
        let mut setup = Setup::world(&world);
        if trusted {
            setup.trust_everybody();
        }
        let rig = setup.start();
        for down in BOTH {
            for (region, expected) in ["ap", "us"].into_iter().zip(expected) {
                let answer = to(region).send(down, rig.addr()).await;
                assert_eq!(answer.header("x-lab-region"), expected, "{down:?}");
                let seen = answer.text();
                assert!(!seen.contains("tidegate-region"), "{seen}");
            }
        }
        let because = &rig.log(4).await[0]["attempts"][0]["because"];
        assert_eq!(because == "override", trusted, "{because}");
    }
}

#[tokio::test]
async fn it_goes_no_further_in_any_spelling() {
    for trusted in [true, false] {
        let upstream = raw(vec![answering(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        )])
        .await;
        let mut setup = Setup::to(upstream.addr());
        if trusted {
            setup.trust_everybody();
        }
        let rig = setup.start();
        let head = "GET / HTTP/1.1\r\nhost: a.test\r\nTidegate-Region: eu\r\n\
            tidegate_region: eu\r\naccept: x\r\n\r\n";
        let answer = H1::connect(rig.addr()).await.ask_raw(head).await;
        assert_eq!(answer.status, 200);
        let got = received(&upstream, 0, one_head).await;
        let got = got.to_ascii_lowercase();
        assert!(
            got.contains("accept: x") && !got.contains("region"),
            "{got}"
        );
    }
}

/// A service may read what follows a body as if it stood before it.
#[tokio::test]
async fn nor_does_it_after_the_body() {
    let world = world(&["eu", "us"]).await;
    for trusted in [true, false] {
        let mut setup = Setup::world(&world);
        if trusted {
            setup.trust_everybody();
        }
        let rig = setup.start();
        for down in BOTH {
            let ask = Ask::post("/sha256", "a body").field("te", "trailers");
            let ask = ask
                .trailer("tidegate-region", "us")
                .trailer("tidegate_region", "us")
                .trailer("tidegate-mirror", "all")
                .trailer("x-request-id", "mine")
                .trailer("x-sum", "7");
            let answer = ask.send(down, rig.addr()).await;
            assert_eq!(answer.header("x-lab-region"), "eu", "{down:?}");
            let trailers = answer.json()["trailers"].clone();
            assert_eq!(
                trailers,
                serde_json::json!([["x-sum", "7"]]),
                "{down:?} {trusted}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_region_is_a_mistake_that_is_told() {
    let world = world(&["eu", "us"]).await;
    let rig = trusting(&world).start();
    for down in BOTH {
        for name in ["mars", "", "EU", "eu, us", "eu us"] {
            let answer = to(name).send(down, rig.addr()).await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (400, "bad_request")
            );
            let detail = answer.detail();
            assert!(detail.contains("eu, us"), "{detail}");
            assert!(detail.contains(name), "{detail}");
        }
        let twice = to("eu").field("tidegate-region", "us");
        let answer = twice.send(down, rig.addr()).await;
        assert_eq!(answer.status, 400);
        assert!(answer.detail().contains("more than one"), "{answer:?}");
    }
    for site in world.sites() {
        assert_eq!(site.link.stats().connections, 0);
    }
}

#[tokio::test]
async fn no_name_opens_a_region() {
    for closed in ["residency", "drained", "dialed", "unhealthy"] {
        let world = world(&["eu", "us"]).await;
        let mut setup = trusting(&world);
        if closed == "residency" {
            setup.route().allowed = RegionSet::from_iter([RegionIdx(0)]);
        }
        let rig = setup.start();
        let us = rig.board.region("shop", "us");
        match closed {
            "drained" => assert!(us.set_draining(true)),
            "dialed" => assert!(us.set_dial(Some(Dial::NONE))),
            "unhealthy" => assert!(us.set_health(Health::Unhealthy)),
            _ => {}
        }
        for down in BOTH {
            let answer = to("us").send(down, rig.addr()).await;
            assert_eq!(answer.header("x-lab-region"), "eu", "{closed}");
        }
        let stats = world.site("us").unwrap().link.stats();
        assert_eq!(stats.connections, 0, "{closed}: not even a connection");
    }
}

#[tokio::test]
async fn a_dial_above_nothing_does_not_count() {
    let world = world(&["eu", "us"]).await;
    let rig = trusting(&world).start();
    rig.board
        .region("shop", "us")
        .set_dial(Some(Dial::new(0.01)));
    for _ in 0..20 {
        let answer = to("us").send(Down::H1, rig.addr()).await;
        assert_eq!(answer.header("x-lab-region"), "us");
    }
}

/// A drill goes before a client's bond and leaves it as it is.
#[tokio::test]
async fn what_a_peer_does_to_a_request_binds_nobody() {
    let world = world(&["eu", "us"]).await;
    let mut setup = trusting(&world);
    let cookie = AffinityCookie {
        name: "at".into(),
        ttl: Some(Duration::from_secs(60)),
        path: "/".into(),
        secure: false,
        same_site: SameSite::Lax,
        secrets: Box::new([[1; 32][..].into()]),
    };
    setup.upstream().steering.affinity = Some(Affinity {
        by: AffinityBy::Cookie(cookie.into()),
        scope: AffinityScope::Region,
        when_gone: WhenGone::Strict,
    });
    let rig = setup.start();
    let drill = to("us").send(Down::H1, rig.addr()).await;
    assert_eq!(drill.header("x-lab-region"), "us");
    assert_eq!(drill.header("set-cookie"), "");
    let first = Ask::get("/").send(Down::H1, rig.addr()).await;
    let cookie = first
        .header("set-cookie")
        .split_once(';')
        .unwrap()
        .0
        .to_owned();
    let drill = to("us").field("cookie", cookie.clone());
    let drill = drill.send(Down::H1, rig.addr()).await;
    assert_eq!(drill.header("x-lab-region"), "us");
    assert_eq!(drill.header("set-cookie"), "");
    assert!(!drill.text().contains("at="), "{}", drill.text());
    let again = Ask::get("/").field("cookie", cookie);
    let again = again.send(Down::H1, rig.addr()).await;
    assert_eq!(again.header("x-lab-region"), "eu");
}
