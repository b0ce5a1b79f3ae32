//! What is kept of uploads, what is not, and that everybody can see it.

use std::time::Duration;

use http::StatusCode;
use tidegate_lab::client::Outcome;
use tidegate_lab::{Client, ClientSpec, Cut, Death, Ending, Mode, RequestSpec, World, content};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Config, HOST, Tidegate, until};

async fn world() -> World {
    let builder = World::builder().region("near", Duration::from_millis(2));
    let world = builder.region("far", Duration::from_millis(4));
    world.start().await.unwrap()
}

async fn start(world: &World, body: &str) -> Tidegate {
    let mut config = Config::of(world);
    config.upstream += &format!("    body: {{ {body} }}\n");
    Tidegate::start_healthy(&config.yaml()).await
}

/// Uploads half of a body, does `meanwhile`, uploads the rest, and returns what came.
async fn in_two_halves(tidegate: &Tidegate, meanwhile: impl AsyncFnOnce()) -> String {
    let upload = content::bytes(7, 0, 200_000);
    let (first, second) = upload.split_at(100_000);
    let mut stream = TcpStream::connect(tidegate.http()).await.unwrap();
    let head = format!(
        "POST /sha256 HTTP/1.1\r\nhost: {HOST}\r\nx-lab-id: slow\r\ncontent-length: 200000\r\n\
         expect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first).await.unwrap();
    meanwhile().await;
    // Where it is lost already, nobody may read the rest.
    let _ = stream.write_all(second).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// A slow client's POST is not half sent to a region that dies meanwhile: it was gathered first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gathered_upload_survives_its_region() {
    let world = world().await;
    let near = world.site("near").unwrap();
    let tidegate = start(&world, "replay: 64KiB, spool: 1MiB, gather: 1MiB").await;
    let dies = async || {
        let kept = async || tidegate.metrics().await.sum("tidegate_replay_bytes", &[]);
        until("the first half is kept", async || kept().await >= 100_000).await;
        near.link.set(Mode::Refuse).await.unwrap();
    };
    let answer = in_two_halves(&tidegate, dies).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains(&content::sha256_hex(7, 200_000)),
        "{answer}"
    );
    assert_eq!(
        (near.region.times_seen("slow"), world.times_seen("slow")),
        (0, 1)
    );
    let metrics = tidegate.metrics().await;
    assert_eq!(metrics.sum("tidegate_requests_gathered_total", &[]), 1);
    until("what was kept is freed", || async {
        tidegate.metrics().await.sum("tidegate_replay_bytes", &[]) == 0
    })
    .await;
}

/// The same where nothing is gathered: half of it was sent, and nobody knows what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_sent_upload_is_lost_honestly() {
    let world = world().await;
    let near = world.site("near").unwrap();
    let tidegate = start(&world, "replay: 1MiB").await;
    let dies = async || {
        let arrived = async || near.region.times_seen("slow") == 1;
        until("the first half has arrived", arrived).await;
        near.link.set(Mode::Reset).await.unwrap();
    };
    let answer = in_two_halves(&tidegate, dies).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(
        answer.contains("urn:tidegate:problem:outcome-unknown"),
        "{answer}"
    );
    assert_eq!(world.times_seen("slow"), 1);
}

/// Beyond both caps a body streams on: no error by itself, but its region's death is one, and the
/// reason is told in the metric and in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_caps_is_told_of() {
    let world = world().await;
    let near = world.site("near").unwrap();
    let tidegate = start(&world, "replay: 16KiB, spool: 64KiB").await;
    let put = |requests| {
        let spec = ClientSpec {
            requests: Some(requests),
            mix: vec![RequestSpec::digest(500_000)],
            ..ClientSpec::new(tidegate.http(), HOST)
        };
        Client::start(spec).unwrap().finish()
    };
    assert_eq!(put(3).await.ok(), 3);
    let how = Ending::Cut(Cut::Reset);
    let after = 400_000;
    near.region
        .change(|region| region.death = Some(Death::InUpload { after, how }));
    let books = put(1).await;
    let lost = Outcome::WrongStatus(StatusCode::BAD_GATEWAY.as_u16());
    assert_eq!(books.count(|end| *end == lost), 1, "{:?}", books.outcomes);
    let why = [("why", "request_limit")];
    let metrics = tidegate.metrics().await;
    assert_eq!(metrics.sum("tidegate_replay_lost_total", &why), 4);
    let log = tidegate.logged(4).await;
    assert!(
        log.iter()
            .all(|line| line["replay"] == "lost:request_limit"),
        "{log:?}"
    );
    let lost = log
        .iter()
        .find(|line| line["reason"] != "completed")
        .unwrap();
    assert_eq!(lost["why_not"], "body_lost", "{lost}");
}
