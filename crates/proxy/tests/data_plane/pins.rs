//! What a request holds of its plan: its route and its upstream. Whatever runs on, the plan goes.

use std::sync::{Arc, Weak};

use futures_util::{SinkExt, StreamExt};
use tidegate_core::pins::{Alive, UnderWay};
use tidegate_core::{Generation, Live, Plan};
use tidegate_lab::content;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Ask, Down, H1, HOST, Rig, Setup, nowhere, patiently, until, world};

const SIZE: usize = 200_000;
const RELOADS: usize = 50;

/// A plan, and all of it that is bound: gone only if nobody has either.
struct Watched {
    live: Weak<Live>,
    plan: Weak<Plan>,
}

impl Watched {
    fn newest(rig: &Rig) -> Self {
        let live = rig.plan.newest().unwrap();
        Self {
            plan: Arc::downgrade(&live.plan),
            live: Arc::downgrade(&live),
        }
    }

    fn is_gone(&self) -> bool {
        self.live.upgrade().is_none() && self.plan.upgrade().is_none()
    }
}

/// Puts other plans in place, in which each position means something else; returns when all before the
/// last are gone.
async fn reload_often(rig: &Rig, setup: impl Fn() -> Setup) {
    for number in 0..RELOADS {
        let before = Watched::newest(rig);
        let mut setup = setup();
        for route in 0..20 + number % 3 {
            let upstream = tidegate_core::UpstreamIdx(0);
            setup.add_route(&format!("/{number}/{route}"), upstream);
        }
        setup.routes.reverse();
        rig.plan.activate(setup.into_plan(), &rig.board);
        until("the plan before to be gone", || before.is_gone()).await;
    }
}

/// What is held of a generation, if anything is.
fn held(rig: &Rig, generation: u64) -> Option<Alive> {
    let mut held = rig.plan.held().into_iter();
    held.find(|alive| alive.generation == Generation(generation))
}

fn assert_held(rig: &Rig, under_way: UnderWay) {
    let alive = held(rig, 1).unwrap();
    assert!(!alive.whole, "{alive:?}");
    assert_eq!(alive.under_way, under_way, "{alive:?}");
    assert_eq!((alive.plan_bytes, alive.routes), (0, 1), "{alive:?}");
    assert!(alive.route_bytes > 0, "{alive:?}");
    let generations: Vec<_> = rig.plan.held().iter().map(|one| one.generation.0).collect();
    assert_eq!(generations, [1, 1 + RELOADS as u64]);
}

async fn asked(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = patiently("a connection", listener.accept()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        patiently("a head", stream.read_buf(&mut head))
            .await
            .unwrap();
    }
    (stream, String::from_utf8(head).unwrap())
}

/// The answer that `us` gives to who asks for a part of the file: the rest of it.
async fn send_rest(listener: TcpListener, file: bytes::Bytes) {
    let (mut stream, head) = asked(&listener).await;
    let range = head.split("range: bytes=").nth(1).unwrap();
    let first: usize = range.split('-').next().unwrap().parse().unwrap();
    let (last, length) = (SIZE - 1, SIZE - first);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-length: {length}\r\n\
         content-range: bytes {first}-{last}/{SIZE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&file[first..]).await.unwrap();
    // Kept open until the test is over.
    let _ended = stream.read_buf(&mut Vec::new()).await;
}

/// A download runs through fifty plans, and goes on in another region when its own has been gone for
/// long, under the names and rules of its own.
#[tokio::test]
async fn a_download_is_resumed_when_its_plan_is_long_gone() {
    let file = content::bytes(content::SEED, 0, SIZE);
    let (eu, us) = (listener().await, listener().await);
    let (eu_at, us_at) = (eu.local_addr().unwrap(), us.local_addr().unwrap());
    let rig = Setup::new([("eu", eu_at), ("us", us_at)]).start();
    let mut client = H1::connect(rig.addr()).await;
    let ask = format!("GET /file HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.send(ask).await;
    let (mut upstream, _) = asked(&eu).await;
    let head = format!(
        "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {SIZE}\r\naccept-ranges: bytes\r\n\r\n"
    );
    upstream.write_all(head.as_bytes()).await.unwrap();
    upstream.write_all(&file[..SIZE / 2]).await.unwrap();
    client.head().await;
    let mut got = client.bytes(SIZE / 2).await;

    let elsewhere = nowhere().await;
    reload_often(&rig, || {
        Setup::new([("ap", elsewhere), ("us", us_at), ("eu", eu_at)])
    })
    .await;
    let resumable = UnderWay {
        resumable: 1,
        ..UnderWay::default()
    };
    assert_held(&rig, resumable);

    let rest = tokio::spawn(send_rest(us, file.clone()));
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    got.extend(client.bytes(SIZE - SIZE / 2).await);
    assert!(got == file, "other bytes");
    let line = rig.log(1).await.remove(0);
    assert_eq!(line["route"], "all", "{line}");
    assert_eq!(line["upstream"], "shop", "{line}");
    assert_eq!(line["generation"], 1, "{line}");
    assert_eq!(line["resumes"], 1, "{line}");
    assert_eq!(line["attempts"][0]["region"], "eu", "{line}");
    assert_eq!(line["attempts"][1]["region"], "us", "{line}");
    let resumed = r#"tidegate_resumes_total{from="eu",to="us",result="resumed"}"#;
    assert_eq!(rig.metric(resumed), 1);
    until("nothing of it to be held", || held(&rig, 1).is_none()).await;
    rest.abort();
}

/// A tunnel runs through fifty plans, the last of which has not even its region.
#[tokio::test]
async fn a_tunnel_holds_its_route_and_no_plan() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    let stream = TcpStream::connect(rig.addr()).await.unwrap();
    let opened = client_async(format!("ws://{HOST}/ws"), stream);
    let (mut socket, _) = patiently("an upgrade", opened).await.unwrap();
    let elsewhere = nowhere().await;
    reload_often(&rig, || Setup::new([("ap", elsewhere)])).await;
    let tunnels = UnderWay {
        tunnels: 1,
        ..UnderWay::default()
    };
    assert_held(&rig, tunnels);
    patiently("a message", async {
        socket.send(Message::text("still here")).await.unwrap();
        let back = socket.next().await.unwrap().unwrap();
        assert_eq!(back.to_text().unwrap(), "still here");
    })
    .await;
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = patiently("the end", socket.next()).await {}
    drop(socket);
    let line = rig.log(1).await.remove(0);
    assert_eq!(line["reason"], "tunnelled", "{line}");
    assert_eq!(
        (&line["route"], &line["generation"]),
        (&"all".into(), &1.into())
    );
    assert_eq!(line["attempts"][0]["region"], "eu", "{line}");
    until("nothing of it to be held", || held(&rig, 1).is_none()).await;
}

/// A request that waits for its answer holds no plan either.
#[tokio::test]
async fn a_request_without_an_answer_holds_no_plan() {
    for (down, answered) in [(Down::H1, false), (Down::H1, true), (Down::H2, true)] {
        let eu = listener().await;
        let eu_at = eu.local_addr().unwrap();
        let rig = Setup::new([("eu", eu_at)]).start();
        let addr = rig.addr();
        let client = tokio::spawn(async move { Ask::get("/").send(down, addr).await });
        let (mut upstream, _) = asked(&eu).await;
        let expected = match answered {
            true => {
                let part = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
                upstream.write_all(part).await.unwrap();
                until("the answer to begin", || {
                    held(&rig, 1).unwrap().under_way.answers == 1
                })
                .await;
                UnderWay {
                    answers: 1,
                    ..UnderWay::default()
                }
            }
            false => UnderWay {
                requests: 1,
                ..UnderWay::default()
            },
        };
        let elsewhere = nowhere().await;
        reload_often(&rig, || Setup::new([("ap", elsewhere), ("us", elsewhere)])).await;
        assert_held(&rig, expected);
        if !answered {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
            upstream.write_all(head).await.unwrap();
        }
        upstream.write_all(b"world").await.unwrap();
        let answer = client.await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"helloworld"[..]));
        let line = rig.log(1).await.remove(0);
        assert_eq!(line["attempts"][0]["region"], "eu", "{line}");
        until("nothing of it to be held", || held(&rig, 1).is_none()).await;
    }
}

/// Workers that have nothing to do let a plan go as soon as another one serves.
#[tokio::test]
async fn idle_workers_hold_no_plan_that_was_replaced() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    for _ in 0..8 {
        let mut client = H1::connect(rig.addr()).await;
        client.ask(&Ask::get("/")).await;
    }
    let first = Watched::newest(&rig);
    assert!(held(&rig, 1).unwrap().holders.workers > 0);
    rig.plan
        .activate(Setup::world(&world).into_plan(), &rig.board);
    until("the first plan to be gone", || first.is_gone()).await;
    until("nothing of it to be held", || held(&rig, 1).is_none()).await;
    until("both workers to have the second", || {
        held(&rig, 2).unwrap().holders.workers == 2
    })
    .await;
    let second = held(&rig, 2).unwrap();
    assert!(second.whole && second.plan_bytes > 0, "{second:?}");
    assert_eq!(second.under_way, UnderWay::default());
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
