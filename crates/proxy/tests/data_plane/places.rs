//! Where a request's client is, and that it is asked only where it matters.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_core::RegionIdx;
use tidegate_core::geo::{Atlas, Origin, code};
use tidegate_core::plan::{GeoRule, Location, Plan, Policy, Steering};
use tidegate_core::settings::Network;
use tidegate_lab::World;

use crate::harness::{Ask, Down, H1, H2, Setup, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

/// The regions `eu` and `us`, for clients of Europe and everybody else.
fn placed(world: &World) -> Setup {
    let mut setup = Setup::world(world);
    setup.upstream().steering = Steering::from(Policy::Geo {
        rules: [rule("EU", &[0]), rule("NA", &[1])].into(),
    });
    setup.trust_everybody();
    setup
}

fn rule(continent: &str, regions: &[u8]) -> GeoRule {
    GeoRule {
        countries: [].into(),
        continents: code(continent).into_iter().collect(),
        regions: regions.iter().map(|at| RegionIdx(*at)).collect(),
    }
}

fn atlas(networks: &[(&str, &str)]) -> Option<Arc<Atlas>> {
    let networks = networks.iter().map(|(address, continent)| {
        let network = Network {
            address: address.parse::<IpAddr>().unwrap(),
            prefix: 24,
        };
        let origin = Origin {
            continent: code(continent),
            ..Origin::default()
        };
        (network, origin)
    });
    let networks: Vec<_> = networks.collect();
    Some(Arc::new(Atlas::new(&networks, None)))
}

fn plan(setup: Setup, networks: &[(&str, &str)]) -> Plan {
    Plan {
        atlas: atlas(networks),
        ..setup.into_plan()
    }
}

fn from(client: &str) -> Ask {
    match client {
        "" => Ask::get("/"),
        client => Ask::get("/").field("x-forwarded-for", client),
    }
}

#[tokio::test]
async fn each_request_of_a_proxy_is_placed_by_its_own_client() {
    let world = world(&["eu", "us"]).await;
    let rig = placed(&world).start();
    let networks = [
        ("192.0.2.0", "EU"),
        ("198.51.100.0", "NA"),
        ("127.0.0.0", "NA"),
    ];
    rig.plan
        .activate(plan(placed(&world), &networks), &rig.board);
    let (mut h1, mut h2) = (H1::connect(rig.addr()).await, H2::connect(rig.addr()).await);
    let clients = [
        ("192.0.2.1", "eu"),
        ("198.51.100.1", "us"),
        ("192.0.2.9, 127.0.0.1", "eu"),
        ("192.0.2.9, 198.51.100.9", "us"),
        ("", "us"),
        // Nothing is known of it: as under `latency`, either may be the nearest.
        ("203.0.113.1", ""),
        ("not an address", "us"),
    ];
    for (client, expected) in clients {
        let answers = [h1.ask(&from(client)).await, h2.ask(&from(client)).await];
        for answer in answers {
            let found = answer.header("x-lab-region");
            assert!(
                found == expected || expected.is_empty(),
                "{client:?}: {found}"
            );
        }
    }
    let because = |line: &serde_json::Value| line["attempts"][0]["because"].clone();
    let log = rig.log(2 * clients.len()).await;
    let by_rule = log
        .iter()
        .filter(|line| because(line) == "geo_rule")
        .count();
    assert_eq!(
        by_rule, 12,
        "all but those of whom nothing is known: {log:#?}"
    );
}

#[tokio::test]
async fn a_stranger_is_where_he_connects_from() {
    let world = world(&["eu", "us"]).await;
    let mut setup = placed(&world);
    setup.listeners[0].trusted.clear();
    let rig = setup.start();
    let networks = [("192.0.2.0", "EU"), ("127.0.0.0", "NA")];
    rig.plan
        .activate(plan(placed(&world), &networks), &rig.board);
    for down in BOTH {
        let answer = from("192.0.2.1").send(down, rig.addr()).await;
        assert_eq!(answer.header("x-lab-region"), "us", "{down:?}");
    }
}

/// What was found for a connection holds no longer than what told it.
#[tokio::test]
async fn a_new_atlas_counts_for_connections_that_are_open() {
    let world = world(&["eu", "us"]).await;
    let rig = placed(&world).start();
    let (mut h1, mut h2) = (H1::connect(rig.addr()).await, H2::connect(rig.addr()).await);
    for (continent, expected) in [("NA", "us"), ("EU", "eu"), ("NA", "us")] {
        let networks = [("127.0.0.0", continent), ("192.0.2.0", continent)];
        rig.plan
            .activate(plan(placed(&world), &networks), &rig.board);
        for client in ["", "192.0.2.1"] {
            let answers = [h1.ask(&from(client)).await, h2.ask(&from(client)).await];
            for answer in answers {
                assert_eq!(
                    answer.header("x-lab-region"),
                    expected,
                    "{continent} {client}"
                );
            }
        }
    }
}

/// Without anything that tells places the order is that of the plan, and so it is for other policies.
#[tokio::test]
async fn nothing_known_is_no_mistake() {
    let world = world(&["eu", "us"]).await;
    let rig = placed(&world).start();
    let answer = from("198.51.100.1").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.header("x-lab-region"), "eu");
    let mut setup = placed(&world);
    setup.upstream().steering = Policy::priority().into();
    rig.plan
        .activate(plan(setup, &[("198.51.100.0", "NA")]), &rig.board);
    let answer = from("198.51.100.1").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.header("x-lab-region"), "eu");
}

/// Retries follow the same order: the region nearest to the client, not to this PoP.
#[tokio::test]
async fn the_next_region_is_the_nearest_to_the_client() {
    let world = world(&["eu", "us", "ap"]).await;
    let place = |latitude, longitude| {
        Some(Location {
            latitude,
            longitude,
        })
    };
    let located = || {
        let mut setup = placed(&world);
        let places = [place(53.0, -6.0), place(39.0, -77.0), place(19.0, 73.0)];
        for (region, place) in setup.regions.iter_mut().zip(places) {
            region.location = place;
        }
        setup
    };
    let rig = located().start();
    let tokyo = Origin {
        location: place(35.7, 139.7),
        ..Origin::default()
    };
    let network = Network {
        address: IpAddr::from([192, 0, 2, 0]),
        prefix: 24,
    };
    let with_tokyo = Plan {
        atlas: Some(Arc::new(Atlas::new(&[(network, tokyo)], None))),
        ..located().into_plan()
    };
    rig.plan.activate(with_tokyo, &rig.board);
    let refuse = |name: &'static str| {
        let link = &world.site(name).unwrap().link;
        link.set(tidegate_lab::Mode::Refuse)
    };
    for (expected, gone) in [("ap", "ap"), ("eu", "eu"), ("us", "us")] {
        let answer = from("192.0.2.1").send(Down::H1, rig.addr()).await;
        assert_eq!(answer.header("x-lab-region"), expected);
        refuse(gone).await.unwrap();
    }
}
