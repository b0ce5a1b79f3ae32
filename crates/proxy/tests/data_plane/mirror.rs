//! A copy is the request as it was, and whatever becomes of it the original hears nothing of it.

use bytes::Bytes;
use http::Method;
use tidegate_core::plan::Mirror;
use tidegate_core::{Dial, RegionIdx, RegionSet};
use tidegate_lab::{Action, Mode, World};

use crate::harness::{
    ADDED, Ask, Down, H1, HOST, Rig, Setup, answering, nowhere, raw, received, until, world,
};

const BOTH: [Down; 2] = [Down::H1, Down::H2];

/// `shop` in the first region of `world`, and copies of everything to `shadow` in the others.
fn mirrored(world: &World) -> Setup {
    let places: Vec<_> = world.endpoints().collect();
    mirrored_to(world, places[1..].iter().copied())
}

fn mirrored_to<'a>(
    world: &World,
    shadows: impl IntoIterator<Item = (&'a str, std::net::SocketAddr)>,
) -> Setup {
    let mut setup = Setup::new(world.endpoints().take(1));
    let shadow = setup.add_upstream("shadow", shadows);
    setup.route().mirror = Some(Mirror {
        upstream: shadow,
        ..Mirror::default()
    });
    setup
}

fn result(rig: &Rig, result: &str) -> u64 {
    rig.metric(&format!(
        r#"tidegate_mirrored_requests_total{{upstream="shadow",result="{result}"}}"#
    ))
}

async fn until_result(rig: &Rig, word: &str, count: u64) {
    until(&format!("{count} copies {word}"), || {
        result(rig, word) >= count
    })
    .await;
    assert_eq!(result(rig, word), count);
}

fn put(path: &str, body: impl Into<Bytes>) -> Ask {
    Ask {
        body: body.into(),
        ..Ask::new(Method::PUT, path)
    }
}

#[tokio::test]
async fn a_copy_is_the_request_and_says_whose_it_is() {
    let world = world(&["eu"]).await;
    let shadow = raw(vec![answering("HTTP/1.1 204 No Content\r\n\r\n")]).await;
    let mut setup = mirrored_to(&world, [("dark", shadow.addr())]).one_thread();
    setup.route().name = "shop api".into();
    let rig = setup.start();
    let ask = put("/echo?a=b", "hello").field("cookie", "session=1");
    let got = ask.clone().field("expect", "100-continue");
    let got = got.send(Down::H1, rig.addr()).await;
    assert_eq!((got.status, got.text().as_str()), (200, "hello"));
    let all = received(&shadow, 0, |bytes| bytes.ends_with(b"hello")).await;
    let expected = format!(
        "PUT /echo?a=b HTTP/1.1\r\nhost: {HOST}\r\ntidegate-mirror: shop?api\r\n\
         cookie: session=1\r\n{ADDED}content-length: 5\r\n\r\nhello"
    );
    assert_eq!(all, expected);
    until_result(&rig, "sent", 1).await;
    let log = rig.log(1).await;
    assert_eq!(log[0]["upstream"], "shop");
    assert_eq!(log[0]["attempts"].as_array().unwrap().len(), 1);
    let attempts = r#"tidegate_attempts_total{upstream="shadow",region="dark",outcome="answered"}"#;
    assert_eq!(rig.metric(attempts), 1);
    assert_eq!(rig.total("tidegate_request_terminations_total"), 1);
}

/// Whatever its protocol, with or without a body, chunked or not, trailers included.
#[tokio::test]
async fn everything_is_copied_whole() {
    for h2_up in [false, true] {
        let world = world(&["eu", "dark"]).await;
        let mut setup = mirrored(&world);
        if h2_up {
            setup.upstreams[1].connection.protocol = tidegate_core::plan::UpstreamProtocol::Http2;
        }
        let rig = setup.start();
        let large = vec![b'x'; 300_000];
        let mut sent = 0;
        for down in BOTH {
            for ask in [
                Ask::get("/bytes/10"),
                Ask::new(Method::HEAD, "/bytes/10"),
                Ask::post("/sha256", large.clone()),
                put("/sha256", large.clone()).chunked(),
                Ask::post("/sha256", "x").trailer("x-sum", "1"),
                Ask::post("/echo", "").field("x-lab-id", format!("{down:?}")),
            ] {
                let got = ask.send(down, rig.addr()).await;
                assert_eq!((got.status, got.header("x-lab-region")), (200, "eu"));
                sent += 1;
                until_result(&rig, "sent", sent).await;
            }
        }
        let (original, copy) = (snapshot(&world, "eu"), snapshot(&world, "dark"));
        assert_eq!(original.requests, copy.requests);
        assert_eq!((original.ids, copy.ids, copy.duplicates), (2, 2, 0));
        rig.until_idle().await;
    }
}

fn snapshot(world: &World, site: &str) -> tidegate_lab::region::RegionSnapshot {
    world.site(site).unwrap().region.snapshot()
}

#[tokio::test]
async fn a_share_of_nothing_is_nothing_and_a_part_is_a_part() {
    for (share, between) in [(0.0, 0..=0), (0.5, 20..=80), (1.0, 100..=100)] {
        let world = world(&["eu", "dark"]).await;
        let mut setup = mirrored(&world);
        if let Some(mirror) = &mut setup.route().mirror {
            mirror.share = Dial::new(share);
        }
        let rig = setup.start();
        let mut client = H1::connect(rig.addr()).await;
        for _ in 0..100 {
            assert_eq!(client.ask(&Ask::get("/")).await.status, 200);
        }
        let copies = || rig.total("tidegate_mirrored_requests_total");
        until("the copies are counted", || copies() >= *between.start()).await;
        rig.until_idle().await;
        assert!(between.contains(&copies()), "{share}: {}", copies());
    }
}

/// Longer than may be copied, cut off by the client, refused as too large: the copy is skipped, the
/// original is what it would have been.
#[tokio::test]
async fn what_is_not_copied_whole_is_not_sent() {
    let world = world(&["eu", "dark"]).await;
    let mut setup = mirrored(&world);
    if let Some(mirror) = &mut setup.route().mirror {
        mirror.max_body = 10;
    }
    let rig = setup.start();
    let mut skipped = 0;
    for down in BOTH {
        for ask in [
            Ask::post("/echo", "eleven byte"),
            put("/echo", "eleven byte").chunked(),
        ] {
            let got = ask.send(down, rig.addr()).await;
            assert_eq!((got.status, got.text().as_str()), (200, "eleven byte"));
            skipped += 1;
            until_result(&rig, "skipped_body", skipped).await;
        }
        let fits = put("/echo", "ten bytes.").chunked();
        assert_eq!(fits.send(down, rig.addr()).await.status, 200);
    }
    let mut client = H1::connect(rig.addr()).await;
    let head = format!("PUT /echo HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 9\r\n\r\nhalf");
    client.send(head).await;
    until("the upload has begun", || rig.in_flight() > 0).await;
    drop(client);
    until_result(&rig, "skipped_body", skipped + 1).await;
    until_result(&rig, "sent", 2).await;
    assert_eq!(snapshot(&world, "dark").requests_total(), 2);
}

#[tokio::test]
async fn what_is_itself_a_copy_and_what_becomes_a_tunnel_is_not_copied() {
    let world = world(&["eu", "dark"]).await;
    let mut setup = mirrored(&world);
    setup.trust_everybody();
    let rig = setup.start();
    for down in BOTH {
        let copy = Ask::get("/headers").field("tidegate-mirror", "elsewhere");
        let got = copy.send(down, rig.addr()).await;
        assert!(
            got.text().contains("elsewhere"),
            "a peer's word is passed on"
        );
    }
    let mut client = H1::connect(rig.addr()).await;
    let head = format!(
        "GET /ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.send(head).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101"));
    drop(client);
    rig.until_idle().await;
    assert_eq!(rig.total("tidegate_mirrored_requests_total"), 0);
    assert_eq!(snapshot(&world, "dark").connections, 0);
}

#[tokio::test]
async fn strangers_do_not_pose_as_mirrors() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    for down in BOTH {
        let copy = Ask::get("/headers").field("tidegate-mirror", "elsewhere");
        let got = copy.send(down, rig.addr()).await;
        assert!(!got.text().contains("elsewhere"), "{}", got.text());
    }
}

/// A mirror that is dead, refuses, resets or says nonsense: only its own board hears of it.
#[tokio::test]
async fn a_broken_mirror_is_the_originals_business_in_no_way() {
    let closes = vec![Action::ReadHead, Action::Close];
    let nonsense = Action::answer("HTTP/1.1 what?\r\n\r\n");
    for (script, outcome) in [
        (None, "connect"),
        (Some(closes), "reset"),
        (Some(nonsense), "bad_response"),
    ] {
        let world = world(&["eu"]).await;
        let broken = raw(script.clone().into_iter().collect()).await;
        let addr = match script {
            Some(_) => broken.addr(),
            None => nowhere().await,
        };
        let rig = mirrored_to(&world, [("dark", addr)]).start();
        for (count, down) in (1..).zip(BOTH) {
            let got = Ask::post("/echo", "hello").send(down, rig.addr()).await;
            assert_eq!((got.status, got.text().as_str()), (200, "hello"));
            until_result(&rig, "failed", count).await;
        }
        let attempts = |upstream: &str, region: &str, outcome: &str| {
            rig.metric(&format!(
                r#"tidegate_attempts_total{{upstream="{upstream}",region="{region}",outcome="{outcome}"}}"#
            ))
        };
        assert_eq!(attempts("shadow", "dark", outcome), 2, "{outcome}");
        assert_eq!(attempts("shop", "eu", "answered"), 2);
        assert_eq!(rig.total("tidegate_retries_total"), 0, "never again");
        assert_eq!(rig.total("tidegate_requests_lost_total"), 0);
        let failures = |upstream: &str, region: &str| {
            rig.board
                .region(upstream, region)
                .tally()
                .errors
                .iter()
                .sum::<u64>()
        };
        assert_eq!((failures("shadow", "dark"), failures("shop", "eu")), (2, 0));
    }
}

/// A mirror that never answers holds so many copies and no more; originals go on, and once they go the
/// mirror's copies go with the process.
#[tokio::test]
async fn a_hanging_mirror_holds_no_original_up_and_not_more_than_it_may() {
    let world = world(&["eu"]).await;
    let hanging = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let rig = mirrored_to(&world, [("dark", hanging.addr())])
        .one_thread()
        .start();
    let mut client = H1::connect(rig.addr()).await;
    for _ in 0..300 {
        let got = client.ask(&Ask::post("/echo", "hello")).await;
        assert_eq!((got.status, got.text().as_str()), (200, "hello"));
    }
    assert_eq!(result(&rig, "skipped_busy"), 300 - 256);
    until("the copies are there", || rig.in_flight() == 256).await;
    let eu = rig.board.region("shop", "eu");
    assert_eq!((eu.in_flight(), eu.tally().errors.iter().sum()), (0, 0_u64));
    drop(client);
    let books = rig.books();
    let drained = rig.shutdown().await;
    assert!(drained.finished, "copies hold no shutdown up");
    books.log(300).await;
}

/// A mirror that reads nothing does not hold up uploads, small ones or large ones.
#[tokio::test]
async fn a_mirror_that_reads_nothing_holds_no_upload_up() {
    let world = world(&["eu"]).await;
    let deaf = raw(vec![vec![Action::Pause(crate::harness::PATIENCE)]]).await;
    let mut setup = mirrored_to(&world, [("dark", deaf.addr())]);
    if let Some(mirror) = &mut setup.route().mirror {
        mirror.max_body = 20 << 20;
    }
    let rig = setup.start();
    for down in BOTH {
        for size in [5, 16 << 20] {
            let got = put("/sha256", vec![b'x'; size])
                .send(down, rig.addr())
                .await;
            assert_eq!((got.status, got.header("x-lab-region")), (200, "eu"));
        }
    }
    until("the copies are under way", || rig.in_flight() >= 3).await;
    assert_eq!(rig.board.region("shop", "eu").in_flight(), 0);
}

/// Its own time ends a copy, and its place is told that.
#[tokio::test]
async fn a_copy_has_the_time_of_its_route() {
    let world = world(&["eu"]).await;
    let hanging = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let mut setup = mirrored_to(&world, [("dark", hanging.addr())]);
    setup.route().timeout = std::time::Duration::from_millis(200);
    let rig = setup.start();
    for down in BOTH {
        assert_eq!(
            Ask::get("/bytes/5").send(down, rig.addr()).await.status,
            200
        );
    }
    until_result(&rig, "failed", 2).await;
    rig.until_idle().await;
    until("the connections end", || {
        (0..2).all(|at| hanging.peer_ended(at))
    })
    .await;
}

/// An answer that never ends, or is very long, is not read to its end.
#[tokio::test]
async fn answers_are_read_within_bounds() {
    let world = world(&["eu", "dark"]).await;
    let mut setup = mirrored(&world);
    setup.upstreams[1].connection.idle_max = 0;
    let rig = setup.start();
    let got = Ask::get("/bytes/20000000").send(Down::H1, rig.addr()).await;
    assert_eq!((got.status, got.body.len()), (200, 20_000_000));
    until_result(&rig, "sent", 1).await;
    rig.until_idle().await;
    until("the connection ends", || {
        snapshot(&world, "dark").connections_open == 0
    })
    .await;
    let sent = snapshot(&world, "dark").bytes_out;
    assert!(sent < 20_000_000, "{sent} bytes");
}

/// Residency is the original's: a shadow abroad gets nothing, one at home everything.
#[tokio::test]
async fn residency_keeps_copies_at_home() {
    let world = world(&["eu", "us"]).await;
    let places: Vec<_> = world.endpoints().collect();
    let mut setup = Setup::new([places[0]]);
    let shadow = setup.add_upstream("shadow", [places[1], places[0]]);
    setup.route().mirror = Some(Mirror {
        upstream: shadow,
        ..Mirror::default()
    });
    setup.route().allowed = RegionSet::from_iter([RegionIdx(0)]);
    setup.route().residency = Box::new(["eu".into()]);
    let rig = setup.start();
    for down in BOTH {
        assert_eq!(Ask::get("/").send(down, rig.addr()).await.status, 200);
    }
    until_result(&rig, "sent", 2).await;
    let home = world.site("eu").unwrap();
    home.link.set(Mode::Refuse).await.unwrap();
    let _lost = Ask::get("/").send(Down::H1, rig.addr()).await;
    until_result(&rig, "failed", 1).await;
    assert_eq!(world.site("us").unwrap().link.stats().connections, 0);
}

/// A call of gRPC that is one message is copied, a stream is not.
#[tokio::test]
async fn calls_are_copied_and_streams_are_not() {
    let world = world(&["eu", "dark"]).await;
    let mut setup = mirrored(&world);
    setup.h2_up(true);
    setup.upstreams[1].connection.protocol = tidegate_core::plan::UpstreamProtocol::Http2;
    let rig = setup.start();
    let call = |body: &'static [u8]| {
        Ask::post("/grpc/unary", body)
            .field("content-type", "application/grpc")
            .field("te", "trailers")
            .chunked()
    };
    let got = call(b"\0\0\0\0\x02hi").send(Down::H2, rig.addr()).await;
    assert_eq!((got.status, got.body.len()), (200, 7));
    until_result(&rig, "sent", 1).await;
    let stream = call(b"\0\0\0\0\x02hi\0\0\0\0\0");
    assert_eq!(stream.send(Down::H2, rig.addr()).await.status, 200);
    until_result(&rig, "skipped_body", 1).await;
    assert_eq!(snapshot(&world, "dark").requests_total(), 1);
}

/// Thousands of copies leave nothing behind.
#[tokio::test]
async fn ten_thousand_copies_leave_nothing_behind() {
    const EACH: usize = 1_250;
    let world = world(&["eu", "dark"]).await;
    let rig = mirrored(&world).start();
    let clients = (0..8).map(async |_| {
        let mut client = H1::connect(rig.addr()).await;
        for at in 0..EACH {
            let ask = match at % 2 {
                0 => Ask::get("/bytes/100"),
                _ => Ask::post("/echo", vec![b'x'; 2_000]),
            };
            assert_eq!(client.ask(&ask).await.status, 200);
        }
    });
    futures_util::future::join_all(clients).await;
    rig.until_idle().await;
    let all = 8 * EACH as u64;
    until("every copy is counted", || {
        rig.total("tidegate_mirrored_requests_total") == all
    })
    .await;
    assert_eq!(result(&rig, "failed"), 0);
    assert_eq!(
        snapshot(&world, "dark").requests_total(),
        result(&rig, "sent")
    );
    let of = |metric: &str| rig.metric(&format!(r#"{metric}{{upstream="shadow",region="dark"}}"#));
    let open = of("tidegate_upstream_connections");
    assert_eq!(
        open,
        of("tidegate_upstream_idle_connections"),
        "none is stuck"
    );
    assert!(open <= 2 * 64, "{open}");
    assert_eq!(rig.metric(r#"tidegate_replay_bytes{store="memory"}"#), 0);
}
