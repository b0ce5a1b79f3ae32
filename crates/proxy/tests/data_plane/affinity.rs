//! Clients stay where they are: by cookie and by hash, as long as they may, and by no cookie that
//! somebody made himself.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::health::Health;
use tidegate_core::plan::{
    Affinity, AffinityBy, AffinityCookie, AffinityScope, HashKey, Hedge, HedgeAfter, HedgeTo,
    Mirror, Policy, SameSite, WhenGone,
};
use tidegate_core::{Dial, RegionIdx, RegionSet};
use tidegate_lab::{Action, RawUpstream, World};

use crate::harness::{
    Answer, Ask, Down, H1, Rig, Setup, answering, one_head, raw, received, world,
};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const OLD: [u8; 32] = [3; 32];
const NEW: [u8; 32] = [4; 32];

fn cookie(secrets: &[[u8; 32]]) -> AffinityBy {
    AffinityBy::Cookie(
        AffinityCookie {
            name: "at".into(),
            ttl: Some(Duration::from_secs(3600)),
            path: "/".into(),
            secure: false,
            same_site: SameSite::Lax,
            secrets: secrets.iter().map(|secret| secret[..].into()).collect(),
        }
        .into(),
    )
}

fn affinity(by: AffinityBy) -> Affinity {
    Affinity {
        by,
        scope: AffinityScope::Region,
        when_gone: WhenGone::Rebind,
    }
}

/// Regions that share everything by chance, kept apart by affinity only.
fn drawn(world: &World, affinity: Affinity) -> Setup {
    let mut setup = Setup::world(world);
    setup.upstream().steering.policy = Policy::weighted();
    setup.upstream().steering.affinity = Some(affinity);
    setup
}

/// Everybody to the first region, but for affinity.
fn preferring(world: &World, when_gone: WhenGone) -> Setup {
    let mut setup = Setup::world(world);
    setup.upstream().steering.affinity = Some(Affinity {
        when_gone,
        ..affinity(cookie(&[OLD]))
    });
    setup
}

/// `at=...`, as a client sends it back.
fn given(answer: &Answer) -> Option<String> {
    let set = answer.header("set-cookie");
    let pair = set.split_once("; ")?.0;
    assert!(pair.starts_with("at="), "{set}");
    Some(pair.to_owned())
}

fn region(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-lab-region").to_owned()
}

fn count(rig: &Rig, result: &str) -> u64 {
    let series = format!("tidegate_affinity_total{{upstream=\"shop\",result=\"{result}\"}}");
    rig.metric(&series)
}

/// A cookie that binds its client to `name`.
async fn bound_to(world: &World, name: &str, scope: AffinityScope) -> String {
    let mut setup = drawn(world, affinity(cookie(&[OLD])));
    setup.upstream().steering.affinity.as_mut().unwrap().scope = scope;
    let only = setup.regions.iter().position(|one| &*one.name == name);
    let only = RegionIdx(u8::try_from(only.unwrap()).unwrap());
    setup.route().allowed = RegionSet::from_iter([only]);
    let rig = setup.start();
    given(&Ask::get("/").send(Down::H1, rig.addr()).await).unwrap()
}

#[tokio::test]
async fn a_cookie_keeps_its_client_where_it_was() {
    let world = world(&["eu", "us"]).await;
    let rig = drawn(&world, affinity(cookie(&[OLD]))).start();
    let mut homes = BTreeSet::new();
    let mut clients = 0;
    // By chance all of so many begin in one place once in half a million.
    for down in BOTH {
        for _ in 0..10 {
            let first = Ask::get("/").send(down, rig.addr()).await;
            let (home, cookie) = (region(&first), given(&first).unwrap());
            for _ in 0..4 {
                let ask = Ask::get("/").field("cookie", format!("a=b; {cookie}"));
                let again = ask.send(down, rig.addr()).await;
                assert_eq!(region(&again), home);
                assert_eq!(given(&again), None, "it has one");
            }
            homes.insert(home);
            clients += 1;
        }
    }
    assert_eq!(homes.len(), 2, "chance decides where a client begins");
    assert_eq!(count(&rig, "set"), clients);
    assert_eq!(count(&rig, "kept"), 4 * clients);
}

#[tokio::test]
async fn attributes_are_the_plans() {
    let world = world(&["eu"]).await;
    let rig = drawn(&world, affinity(cookie(&[OLD]))).start();
    let answer = Ask::get("/").send(Down::H2, rig.addr()).await;
    let (_, attributes) = answer.header("set-cookie").split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; Max-Age=3600; SameSite=Lax");
}

#[tokio::test]
async fn upstreams_see_all_cookies_but_ours() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\n\r\nok";
    let check = async |lines: &str, expected: &str| {
        let upstream = raw(vec![answering(OK)]).await;
        let mut setup = Setup::to(upstream.addr());
        setup.upstream().steering.affinity = Some(affinity(cookie(&[OLD])));
        let rig = setup.start();
        let head = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n");
        let answer = H1::connect(rig.addr()).await.ask_raw(&head).await;
        let mut set = answer.headers.get_all("set-cookie").iter();
        assert_eq!(set.next().unwrap(), "a=b", "theirs stay");
        let got = received(&upstream, 0, one_head).await;
        let mut cookies = got.lines().filter(|line| line.starts_with("cookie"));
        assert_eq!(cookies.next().unwrap_or_default(), expected, "{got}");
        assert_eq!(cookies.next(), None, "{got}");
    };
    check("", "").await;
    check("cookie: a=b;c=d\r\n", "cookie: a=b;c=d").await;
    check("cookie: at=forged\r\n", "").await;
    check("cookie: at=x; at=y\r\n", "").await;
    check("cookie: a=b; at=x;c=d\r\n", "cookie: a=b; c=d").await;
    check("Cookie: at=x\r\ncookie: that=1\r\n", "cookie: that=1").await;
}

#[tokio::test]
async fn nor_do_those_who_get_copies() {
    let world = world(&["eu"]).await;
    let shadow = raw(vec![answering("HTTP/1.1 204 No Content\r\n\r\n")]).await;
    let mut setup = drawn(&world, affinity(cookie(&[OLD])));
    let upstream = setup.add_upstream("shadow", [("dark", shadow.addr())]);
    setup.route().mirror = Some(Mirror {
        upstream,
        ..Mirror::default()
    });
    let rig = setup.start();
    let ask = Ask::get("/").field("cookie", "at=x; a=b");
    ask.send(Down::H1, rig.addr()).await;
    let got = received(&shadow, 0, one_head).await;
    assert!(
        got.contains("\r\ncookie: a=b\r\n") && !got.contains("at="),
        "{got}"
    );
}

#[tokio::test]
async fn over_http_2_they_see_the_same() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let mut setup = drawn(&world, affinity(cookie(&[OLD])));
        setup.h2_up(h2_up);
        let rig = setup.start();
        let ask = Ask::get("/headers").field("cookie", "a=b");
        let ask = ask.field("cookie", "at=x").field("cookie", "c=d; e=f");
        let answer = ask.send(Down::H2, rig.addr()).await;
        let seen = answer.text();
        assert!(seen.contains("a=b; c=d; e=f"), "{seen}");
        assert!(!seen.contains("at="), "{seen}");
        assert!(given(&answer).is_some());
    }
}

/// Forged, cut, too long, doubled, of another upstream: as if there were none, and counted.
#[tokio::test]
async fn what_is_no_token_of_ours_is_as_if_it_were_not_there() {
    let world = world(&["eu", "us"]).await;
    let rig = preferring(&world, WhenGone::Strict).start();
    let good = bound_to(&world, "us", AffinityScope::Region).await;
    let theirs = {
        let mut setup = drawn(&world, affinity(cookie(&[OLD])));
        setup.upstream().name = "other".into();
        let rig = setup.start();
        given(&Ask::get("/").send(Down::H1, rig.addr()).await).unwrap()
    };
    let mut flipped = good.clone().into_bytes();
    flipped[10] ^= 1;
    let hostile = [
        "at=".to_owned(),
        "at=us".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("at=\"{}\"", &good[3..]),
        String::from_utf8(flipped).unwrap(),
        format!("{good}; {good}"),
        format!("at={}", "A".repeat(34)),
        format!("at={}", "A".repeat(6_000)),
        theirs,
    ];
    let mut asked = 0;
    for cookie in &hostile {
        for down in BOTH {
            let ask = Ask::get("/").field("cookie", cookie.clone());
            let answer = ask.send(down, rig.addr()).await;
            assert_eq!(region(&answer), "eu", "{down:?} {cookie}");
            assert!(given(&answer).is_some(), "{down:?} {cookie}");
            asked += 1;
        }
    }
    assert_eq!(count(&rig, "invalid"), asked);
    let ask = Ask::get("/").field("cookie", good);
    let answer = ask.send(Down::H1, rig.addr()).await;
    assert_eq!(region(&answer), "us", "the good one holds");
}

/// A cookie asks; residency, drains, dials and health answer.
#[tokio::test]
async fn no_cookie_leads_where_nobody_may_go() {
    for when_gone in [WhenGone::Rebind, WhenGone::Temporary, WhenGone::Strict] {
        for closed in ["residency", "drained", "dialed", "unhealthy"] {
            let world = world(&["eu", "us"]).await;
            let cookie = bound_to(&world, "us", AffinityScope::Region).await;
            let before = world.site("us").unwrap().link.stats().connections;
            let mut setup = preferring(&world, when_gone);
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
                let ask = Ask::get("/").field("cookie", cookie.clone());
                let answer = ask.send(down, rig.addr()).await;
                let case = format!("{when_gone:?} {closed} {down:?}");
                match when_gone {
                    WhenGone::Strict => {
                        assert_eq!(
                            (answer.status, answer.reason()),
                            (503, "affinity_lost".into()),
                            "{case}"
                        );
                        assert_eq!(given(&answer), None, "{case}");
                    }
                    WhenGone::Rebind => {
                        assert_eq!(region(&answer), "eu", "{case}");
                        assert!(given(&answer).is_some(), "{case}");
                    }
                    WhenGone::Temporary => {
                        assert_eq!(region(&answer), "eu", "{case}");
                        assert_eq!(given(&answer), None, "{case}");
                    }
                }
            }
            let result = match when_gone {
                WhenGone::Strict => "lost",
                WhenGone::Rebind => "rebound",
                WhenGone::Temporary => "temporary",
            };
            assert_eq!(count(&rig, result), 2, "{when_gone:?} {closed}");
            let after = world.site("us").unwrap().link.stats().connections;
            assert_eq!(
                after, before,
                "{when_gone:?} {closed}: not even a connection"
            );
        }
    }
}

#[tokio::test]
async fn whoever_is_bound_anew_stays_there_and_whoever_is_not_goes_home() {
    let world = world(&["eu", "us"]).await;
    for when_gone in [WhenGone::Rebind, WhenGone::Temporary] {
        let rig = preferring(&world, when_gone).start();
        let mut cookie = bound_to(&world, "us", AffinityScope::Region).await;
        let us = rig.board.region("shop", "us");
        us.set_health(Health::Unhealthy);
        let ask = Ask::get("/").field("cookie", cookie.clone());
        let answer = ask.send(Down::H1, rig.addr()).await;
        assert_eq!(region(&answer), "eu");
        cookie = given(&answer).unwrap_or(cookie);
        us.set_health(Health::Healthy);
        let ask = Ask::get("/").field("cookie", cookie);
        let home = region(&ask.send(Down::H1, rig.addr()).await);
        match when_gone {
            WhenGone::Rebind => assert_eq!(home, "eu"),
            _ => assert_eq!(home, "us"),
        }
    }
}

#[tokio::test]
async fn a_cookie_keeps_an_endpoint_too() {
    let world = world(&["a", "b", "c", "d"]).await;
    let mut setup = Setup::new(world.sites().iter().map(|site| ("eu", site.addr())));
    setup.upstream().steering.affinity = Some(Affinity {
        scope: AffinityScope::Endpoint,
        ..affinity(cookie(&[OLD]))
    });
    let rig = setup.start();
    let mut homes = BTreeSet::new();
    for _ in 0..12 {
        let first = Ask::get("/").send(Down::H1, rig.addr()).await;
        let (home, cookie) = (region(&first), given(&first).unwrap());
        for down in BOTH {
            let ask = Ask::get("/").field("cookie", cookie.clone());
            let again = ask.send(down, rig.addr()).await;
            assert_eq!((region(&again), given(&again)), (home.clone(), None));
        }
        homes.insert((home, cookie));
    }
    assert!(homes.len() > 1, "{homes:?}");
    let (home, cookie) = homes.pop_first().unwrap();
    let gone = world.site(&home).unwrap().addr().to_string();
    rig.board
        .endpoint("shop", "eu", &gone)
        .set_health(Health::Unhealthy);
    let ask = Ask::get("/").field("cookie", cookie.clone());
    let moved = ask.send(Down::H1, rig.addr()).await;
    assert_ne!(region(&moved), home);
    assert_ne!(given(&moved).unwrap(), cookie);
    assert_eq!(count(&rig, "rebound"), 1);
}

/// A cookie of the time when affinity was to regions names no endpoint: it is made whole.
#[tokio::test]
async fn a_wider_cookie_is_narrowed_and_a_narrower_one_holds() {
    let world = world(&["eu", "us"]).await;
    let wide = bound_to(&world, "us", AffinityScope::Region).await;
    let narrow = bound_to(&world, "us", AffinityScope::Endpoint).await;
    for (scope, brought, set) in [
        (AffinityScope::Endpoint, &wide, Some(&narrow)),
        (AffinityScope::Endpoint, &narrow, None),
        (AffinityScope::Region, &narrow, None),
    ] {
        let mut setup = preferring(&world, WhenGone::Rebind);
        setup.upstream().steering.affinity.as_mut().unwrap().scope = scope;
        let rig = setup.start();
        let ask = Ask::get("/").field("cookie", brought.clone());
        let answer = ask.send(Down::H1, rig.addr()).await;
        assert_eq!(region(&answer), "us");
        assert_eq!(given(&answer).as_ref(), set);
    }
}

#[tokio::test]
async fn secrets_change_without_unbinding_anybody() {
    let world = world(&["eu", "us"]).await;
    let rig = preferring(&world, WhenGone::Rebind).start();
    let old = bound_to(&world, "us", AffinityScope::Region).await;
    let with = |secrets: &[[u8; 32]]| {
        let mut setup = Setup::world(&world);
        setup.upstream().steering.affinity = Some(affinity(cookie(secrets)));
        rig.plan.activate(setup.into_plan(), &rig.board);
    };
    let ask = async |cookie: &str| {
        let ask = Ask::get("/").field("cookie", cookie);
        let answer = ask.send(Down::H1, rig.addr()).await;
        (region(&answer), given(&answer))
    };
    with(&[NEW, OLD]);
    assert_eq!(ask(&old).await, ("us".into(), None));
    with(&[NEW]);
    let (home, new) = ask(&old).await;
    assert_eq!(home, "eu", "the old secret is gone");
    assert_eq!(ask(&new.unwrap()).await, ("eu".into(), None));
}

/// What is for everybody, or was only passed on, binds nobody.
#[tokio::test]
async fn some_answers_carry_no_cookie() {
    let check = async |answer: &str, sets: bool| {
        let upstream = raw(vec![answering(answer)]).await;
        let mut setup = Setup::to(upstream.addr());
        setup.upstream().steering.affinity = Some(affinity(cookie(&[OLD])));
        setup.retry().attempts = 1;
        let rig = setup.start();
        let got = Ask::get("/").send(Down::H1, rig.addr()).await;
        assert_eq!(given(&got).is_some(), sets, "{answer}");
        assert_eq!(count(&rig, "set"), u64::from(sets), "{answer}");
    };
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
    check(&with(""), true).await;
    check(&with("cache-control: private, max-age=9\r\n"), true).await;
    check(
        &with("cache-control: max-age=9\r\ncache-control: public\r\n"),
        false,
    )
    .await;
    check(&with("Cache-Control: s-maxage=9\r\n"), false).await;
    check("HTTP/1.1 304 Not Modified\r\n\r\n", false).await;
    check("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", true).await;
    check("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n", false).await;
    check("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\n", true).await;
}

/// The cookie is the place's that answers, wherever the request began.
#[tokio::test]
async fn a_failover_binds_to_where_it_ends() {
    let world = world(&["eu", "us"]).await;
    let rig = preferring(&world, WhenGone::Rebind).start();
    let cookie = bound_to(&world, "us", AffinityScope::Region).await;
    let us = world.site("us").unwrap();
    us.link.set(tidegate_lab::Mode::Reset).await.unwrap();
    let ask = Ask::get("/").field("cookie", cookie);
    let answer = ask.send(Down::H1, rig.addr()).await;
    assert_eq!(region(&answer), "eu");
    let cookie = given(&answer).unwrap();
    us.link.set(tidegate_lab::Mode::Up).await.unwrap();
    let ask = Ask::get("/").field("cookie", cookie);
    assert_eq!(region(&ask.send(Down::H1, rig.addr()).await), "eu");
}

/// A place that is slow once is not gone: its clients stay with it. Who has none gets whichever answers.
#[tokio::test]
async fn a_hedge_moves_nobody_from_his_place() {
    let world = world(&["eu", "us"]).await;
    let bound = bound_to(&world, "eu", AffinityScope::Region).await;
    for (brought, result) in [(Some(bound), "temporary"), (None, "set")] {
        let eu = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
        let us = raw(vec![answering(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        )])
        .await;
        let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]);
        setup.upstream().steering.affinity = Some(affinity(cookie(&[OLD])));
        setup.route().hedge = Some(Hedge {
            after: HedgeAfter::Fixed(Duration::from_millis(20)),
            budget: 1.0,
            to: HedgeTo::Region,
        });
        let rig = setup.start();
        let mut ask = Ask::get("/");
        if let Some(bound) = &brought {
            ask = ask.field("cookie", bound.clone());
        }
        let answer = ask.send(Down::H1, rig.addr()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(given(&answer).is_some(), brought.is_none());
        assert_eq!(count(&rig, result), 1);
    }
}

#[tokio::test]
async fn a_switch_of_protocols_carries_the_cookie() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let upstream = raw(vec![answering(SWITCH)]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.upstream().steering.affinity = Some(affinity(cookie(&[OLD])));
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    let head = "GET / HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = client.ask_raw(head).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert!(given(&answer).is_some());
}

fn from(user: usize) -> Ask {
    Ask::get("/").field("x-user", user.to_string())
}

async fn homes(rig: &Rig, down: Down) -> Vec<String> {
    let mut homes = Vec::new();
    for user in 0..30 {
        let answer = from(user).send(down, rig.addr()).await;
        assert_eq!(given(&answer), None, "nothing is set");
        homes.push(region(&answer));
    }
    homes
}

#[tokio::test]
async fn a_hash_keeps_its_clients_apart_and_in_place() {
    let world = world(&["eu", "us"]).await;
    let key = HashKey::Header(http::HeaderName::from_static("x-user"));
    let by = || AffinityBy::Hash(Box::new([key.clone()]));
    let rig = drawn(&world, affinity(by())).start();
    let first = homes(&rig, Down::H1).await;
    assert_eq!(
        homes(&rig, Down::H2).await,
        first,
        "nor does it matter how they ask"
    );
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2);
    let us = rig.board.region("shop", "us");
    us.set_health(Health::Unhealthy);
    assert!(homes(&rig, Down::H1).await.iter().all(|home| home == "eu"));
    us.set_health(Health::Healthy);
    assert_eq!(homes(&rig, Down::H1).await, first, "they come back");
    let mut policy = drawn(&world, affinity(by()));
    policy.upstream().steering.affinity = None;
    policy.upstream().steering.policy = Policy::Weighted {
        hash_on: Box::new([key]),
    };
    assert_eq!(
        homes(&policy.start(), Down::H1).await,
        first,
        "a policy that hashes does the same"
    );
}

#[tokio::test]
async fn a_hash_keeps_endpoints_where_their_policy_hashes_nothing() {
    let world = world(&["a", "b", "c"]).await;
    let mut setup = Setup::new(world.sites().iter().map(|site| ("eu", site.addr())));
    let key = HashKey::Header(http::HeaderName::from_static("x-user"));
    setup.upstream().steering.affinity = Some(Affinity {
        scope: AffinityScope::Endpoint,
        ..affinity(AffinityBy::Hash(Box::new([key])))
    });
    let rig = setup.start();
    let first = homes(&rig, Down::H1).await;
    assert_eq!(homes(&rig, Down::H2).await, first);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
    let gone = world.site("b").unwrap().addr().to_string();
    rig.board
        .endpoint("shop", "eu", &gone)
        .set_health(Health::Unhealthy);
    for (before, after) in first.iter().zip(homes(&rig, Down::H1).await) {
        match before.as_str() {
            "b" => assert_ne!(after, "b"),
            _ => assert_eq!(*before, after, "only who must moves"),
        }
    }
}

/// Its answers begin and do not end.
async fn endless() -> RawUpstream {
    const BEGINS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
    raw(vec![answering(BEGINS)]).await
}

/// A request whose answer has begun, with the cookie of one that is bound to `us`.
async fn begun(rig: &Rig, path: &str, bound: &str) -> H1 {
    let mut client = H1::connect(rig.addr()).await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\ncookie: {bound}\r\n\r\n");
    client.send(head).await;
    client.head().await;
    client
}

#[tokio::test]
async fn a_stream_that_is_elsewhere_for_a_time_goes_home_to_where_it_is_bound() {
    let bound = bound_to(&world(&["us"]).await, "us", AffinityScope::Region).await;
    let (eu, us) = (endless().await, endless().await);
    let mut setup = Setup::new([("eu", eu.addr()), ("us", us.addr())]);
    setup.upstream().health.failback.drain = Some(Duration::from_millis(20));
    setup.upstream().steering.affinity = Some(Affinity {
        when_gone: WhenGone::Temporary,
        ..affinity(cookie(&[OLD]))
    });
    let rig = setup.start();
    let home = rig.board.region("shop", "us");
    home.set_health(Health::Unhealthy);
    let mut away = begun(&rig, "/", &bound).await;
    assert_eq!(rig.board.region("shop", "eu").in_flight(), 1);
    home.set_health(Health::Healthy);
    away.rest().await;
    assert_eq!(rig.log(1).await[0]["reason"], "drained_home");
}

/// Beside one that nobody is bound by, and that would be ended later.
#[tokio::test]
async fn a_stream_stays_where_its_client_is_bound() {
    let bound = bound_to(&world(&["us"]).await, "us", AffinityScope::Region).await;
    let (eu, us) = (endless().await, endless().await);
    let places = [("eu", eu.addr()), ("us", us.addr())];
    let mut setup = Setup::new(places);
    let plain = setup.add_upstream("plain", places);
    setup.add_route("/plain", plain);
    setup.upstreams[plain.get()].health.failback.drain = Some(Duration::from_millis(80));
    setup.upstream().health.failback.drain = Some(Duration::from_millis(8));
    setup.upstream().steering.affinity = Some(affinity(cookie(&[OLD])));
    let rig = setup.start();
    let missing = ["shop", "plain"].map(|upstream| rig.board.region(upstream, "eu"));
    missing
        .iter()
        .for_each(|eu| _ = eu.set_health(Health::Unhealthy));
    let _stays = begun(&rig, "/", &bound).await;
    let mut goes = begun(&rig, "/plain", &bound).await;
    missing
        .iter()
        .for_each(|eu| _ = eu.set_health(Health::Healthy));
    goes.rest().await;
    let line = &rig.log(1).await[0];
    assert_eq!(
        (&line["path"], &line["reason"]),
        (&"/plain".into(), &"drained_home".into())
    );
    assert_eq!(rig.board.region("shop", "us").in_flight(), 1);
}
