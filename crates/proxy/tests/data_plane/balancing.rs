//! Endpoints: the same one for the same key, and another one, always the same, when that does not
//! answer.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::plan::{Balance, HashKey, Hashing, Maglev, TableSize};
use tidegate_lab::World;

use crate::harness::{Ask, Down, Rig, Setup, nowhere, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

fn maglev(on: impl IntoIterator<Item = HashKey>) -> Balance {
    Balance::Maglev(Maglev {
        table_size: TableSize::DEFAULT,
        hashing: Hashing {
            on: on.into_iter().collect(),
            balance_factor: None,
        },
    })
}

/// Where each request was answered, in their order. They get paths by which the log tells them apart.
async fn homes(rig: &Rig, down: Down, asks: impl IntoIterator<Item = Ask>) -> Vec<String> {
    let before = rig.lines();
    let mut count = 0;
    for mut ask in asks {
        let query = ask.path.split_once('?').map_or("", |(_, query)| query);
        ask.path = format!("/bytes/{count}?{query}");
        assert_eq!(ask.send(down, rig.addr()).await.status, 200);
        count += 1;
    }
    let lines = rig.log(before + count).await;
    let answered = |at: usize| {
        let path = format!("/bytes/{at}");
        let mut lines = lines[before..].iter();
        let attempts = &lines.find(|line| line["path"] == path).unwrap()["attempts"];
        let last = attempts.as_array().unwrap().last().unwrap();
        last["endpoint"].as_str().unwrap().to_owned()
    };
    (0..count).map(answered).collect()
}

fn by_cookie(user: usize) -> Ask {
    Ask::get("/").field("cookie", format!("theme=dark; user={user}"))
}

/// Four endpoints of one region, and the plan to them.
async fn four(balance: Balance) -> (World, Setup) {
    let world = world(&["a", "b", "c", "d"]).await;
    let mut setup = Setup::new(world.sites().iter().map(|site| ("eu", site.addr())));
    setup.upstream().balance = balance;
    (world, setup)
}

#[tokio::test]
async fn a_key_has_an_endpoint_and_keys_have_all_of_them() {
    let keys = [
        HashKey::Cookie("user".into()),
        HashKey::Query("user".into()),
    ];
    let (_world, setup) = four(maglev(keys)).await;
    let rig = setup.start();
    let mut seen = BTreeMap::new();
    for down in BOTH {
        let first = homes(&rig, down, (0..80).map(by_cookie)).await;
        assert_eq!(homes(&rig, down, (0..80).map(by_cookie)).await, first);
        let query = |user| Ask::get(&format!("/?a=b&user={user}"));
        assert_eq!(
            homes(&rig, down, (0..80).map(query)).await,
            first,
            "the same value"
        );
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4, "{first:?}");
        seen.insert(format!("{down:?}"), first);
    }
    let protocols: BTreeSet<_> = seen.values().collect();
    assert_eq!(protocols.len(), 1, "nor does it matter how a client speaks");
    let anybody = homes(&rig, Down::H1, (0..40).map(|_| Ask::get("/"))).await;
    let anywhere: BTreeSet<_> = anybody.iter().collect();
    assert!(anywhere.len() > 1, "without a key by chance: {anywhere:?}");
}

#[tokio::test]
async fn what_does_not_answer_is_followed_by_the_same_other_one_and_gets_its_keys_back() {
    let (_world, mut setup) = four(maglev([HashKey::Cookie("user".into())])).await;
    setup.upstream().retry.attempts = 3;
    let dead = nowhere().await;
    let region = &mut setup.upstreams[0].regions[0];
    let mut endpoints = region.endpoints.to_vec();
    endpoints[0].address = dead.to_string().into();
    region.endpoints = endpoints.into();
    let rig = setup.start();
    let first = homes(&rig, Down::H1, (0..80).map(by_cookie)).await;
    let lines = rig.log(80).await;
    let tried = |line: &serde_json::Value| line["attempts"][0]["endpoint"] == dead.to_string();
    let moved = lines.iter().filter(|line| tried(line)).count();
    assert!(
        (5..60).contains(&moved),
        "{moved} keys belong to what is dead"
    );
    assert!(!first.contains(&dead.to_string()));
    assert_eq!(homes(&rig, Down::H1, (0..80).map(by_cookie)).await, first);
}

#[tokio::test]
async fn a_client_is_who_a_trusted_proxy_says_it_is() {
    let from = |client: usize| {
        let chain = format!("198.51.100.7, 192.0.2.{client}, 127.0.0.9");
        Ask::get("/").field("x-forwarded-for", chain)
    };
    for (trusted, endpoints) in [(true, 4), (false, 1)] {
        let (_world, mut setup) = four(maglev([HashKey::ClientAddress])).await;
        if trusted {
            setup.trust_everybody();
        }
        let rig = setup.start();
        for down in BOTH {
            let homes = homes(&rig, down, (0..80).map(from)).await;
            let all: BTreeSet<_> = homes.iter().collect();
            assert_eq!(all.len(), endpoints, "trusted: {trusted}");
        }
    }
}

#[tokio::test]
async fn turns_go_round_whoever_asks() {
    let (_world, setup) = four(Balance::RoundRobin).await;
    let rig = setup.start();
    for down in BOTH {
        let homes = homes(&rig, down, (0..12).map(|_| Ask::get("/"))).await;
        let first: BTreeSet<_> = homes[..4].iter().collect();
        assert_eq!(first.len(), 4, "{homes:?}");
        assert!(homes.windows(5).all(|five| five[0] == five[4]), "{homes:?}");
    }
}

#[tokio::test]
async fn every_policy_serves() {
    for balance in [
        Balance::Random,
        Balance::LeastRequest { choice_count: 2 },
        maglev([]),
    ] {
        let (_world, setup) = four(balance).await;
        let rig = setup.start();
        let homes = homes(&rig, Down::H2, (0..40).map(|_| Ask::get("/"))).await;
        assert!(homes.iter().collect::<BTreeSet<_>>().len() > 1);
    }
}
