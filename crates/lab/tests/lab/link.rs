//! What a link that is up does to bytes: delay, order, rate, ends.

use std::io::ErrorKind;
use std::time::Duration;

use tidegate_lab::link::Shape;
use tidegate_lab::{Action, Link, LinkSpec, RawUpstream, content, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{PATIENCE, exchange, get_path, patiently, read_until, region};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_new_connection_takes_two_round_trips_and_an_old_one_one() {
    let upstream = RawUpstream::start(vec![
        [
            Action::answer("1"),
            Action::answer("2"),
            vec![Action::Stall],
        ]
        .concat(),
    ])
    .await
    .unwrap();
    let link = Link::start(upstream.addr(), LinkSpec::with_rtt(60 * MS))
        .await
        .unwrap();
    let started = Instant::now();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut stream, b"1").await;
    let first = started.elapsed();
    let started = Instant::now();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut stream, b"2").await;
    let second = started.elapsed();
    // Lower bounds only: a timer never fires early, and a busy machine is late by any amount.
    assert!(first >= 120 * MS, "{first:?}");
    assert!(second >= 60 * MS, "{second:?}");
}

#[tokio::test]
async fn the_upstreams_first_words_wait_for_the_handshake_too() {
    let upstream = RawUpstream::start(vec![vec![Action::send("hello")]])
        .await
        .unwrap();
    let link = Link::start(upstream.addr(), LinkSpec::with_rtt(40 * MS))
        .await
        .unwrap();
    let started = Instant::now();
    assert_eq!(exchange(link.addr(), b"").await.unwrap(), b"hello");
    assert!(started.elapsed() >= 80 * MS);
}

#[tokio::test]
async fn bytes_keep_their_order_under_jitter() {
    let region = region("eu").await;
    let shape = Shape {
        delay_one_way: 2 * MS,
        jitter: 5 * MS,
        bandwidth: None,
    };
    let link = Link::start(
        region.addr(),
        LinkSpec {
            shape,
            ..LinkSpec::default()
        },
    )
    .await
    .unwrap();
    let answer = get_path(link.addr(), "/chunked/1000000").await;
    assert_eq!(answer.body.len(), 1_000_000);
    assert_eq!(
        content::first_difference(content::SEED, 0, &answer.body),
        None
    );
    let stats = link.stats();
    assert!(
        stats.bytes_to_client > 1_000_000 && stats.bytes_to_upstream > 20,
        "{stats:?}"
    );
    assert_eq!((stats.connections, stats.bytes_dropped), (1, 0));
}

#[tokio::test]
async fn many_packets_are_on_the_way_at_once() {
    let upstream = RawUpstream::start(vec![vec![Action::Stall]]).await.unwrap();
    let link = Link::start(upstream.addr(), LinkSpec::default())
        .await
        .unwrap();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    upstream
        .wait_received(0, PATIENCE, |bytes| bytes == b"x")
        .await
        .unwrap();
    link.set_delay(HOUR);
    stream.write_all(&[0; 500_000]).await.unwrap();
    wait_until("half a megabyte under way", PATIENCE, || async {
        link.stats().bytes_held == 500_000
    })
    .await
    .unwrap();
    assert_eq!(link.stats().bytes_to_upstream, 1);
}

#[tokio::test]
async fn the_rate_is_limited() {
    let region = region("eu").await;
    let shape = Shape {
        bandwidth: Some(1_000_000),
        ..Shape::default()
    };
    let link = Link::start(
        region.addr(),
        LinkSpec {
            shape,
            ..LinkSpec::default()
        },
    )
    .await
    .unwrap();
    let started = Instant::now();
    assert_eq!(
        get_path(link.addr(), "/bytes/200000").await.body.len(),
        200_000
    );
    assert!(started.elapsed() >= 200 * MS, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back() {
    let upstream = RawUpstream::start(vec![vec![Action::Stall]]).await.unwrap();
    let spec = LinkSpec {
        buffer_bytes: 4096,
        ..LinkSpec::default()
    };
    let link = Link::start(upstream.addr(), spec).await.unwrap();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    upstream
        .wait_received(0, PATIENCE, |bytes| bytes == b"x")
        .await
        .unwrap();
    link.set_delay(HOUR);
    let flood = tokio::spawn(async move { stream.write_all(&vec![0; 64 << 20]).await });
    wait_until("a full queue", PATIENCE, || async {
        link.stats().bytes_held >= 4096
    })
    .await
    .unwrap();
    let finished = tokio::time::timeout(Duration::from_millis(200), flood)
        .await
        .is_ok();
    // One read may go over the limit, no second one.
    let held = link.stats().bytes_held;
    assert!(!finished && held <= 4096 + 32 * 1024, "{held}");
}

#[tokio::test]
async fn a_half_close_passes_and_the_other_half_goes_on() {
    let script = vec![Action::ReadAll, Action::send("all read")];
    let upstream = RawUpstream::start(vec![script]).await.unwrap();
    let link = Link::start(upstream.addr(), LinkSpec::with_rtt(4 * MS))
        .await
        .unwrap();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    stream.write_all(b"everything").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    patiently(stream.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"all read");
    assert_eq!(upstream.received(0).unwrap(), b"everything");
    wait_until("the connection's end", PATIENCE, || async {
        link.stats().open == 0
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reset_passes_after_the_bytes_before_it() {
    let script = vec![
        Action::send("last words"),
        Action::ReadBytes(1),
        Action::Reset,
    ];
    let upstream = RawUpstream::start(vec![script]).await.unwrap();
    let link = Link::start(upstream.addr(), LinkSpec::with_rtt(4 * MS))
        .await
        .unwrap();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    let got = read_until(&mut stream, b"last words").await;
    assert_eq!(got, b"last words");
    stream.write_all(b"x").await.unwrap();
    let error = patiently(stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dead_upstream_shows_as_a_reset() {
    let upstream = RawUpstream::start(vec![]).await.unwrap();
    let addr = upstream.addr();
    drop(upstream);
    wait_until("the port closed", PATIENCE, || async {
        TcpStream::connect(addr).await.is_err()
    })
    .await
    .unwrap();
    let link = Link::start(addr, LinkSpec::default()).await.unwrap();
    let error = exchange(link.addr(), b"hello").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn one_connection_too_many_is_reset() {
    let upstream = RawUpstream::start(vec![vec![Action::send("a"), Action::ReadAll]])
        .await
        .unwrap();
    let spec = LinkSpec {
        connections_max: 1,
        ..LinkSpec::default()
    };
    let link = Link::start(upstream.addr(), spec).await.unwrap();
    let mut kept = TcpStream::connect(link.addr()).await.unwrap();
    read_until(&mut kept, b"a").await;
    let error = exchange(link.addr(), b"").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop(kept);
    wait_until("a free place", PATIENCE, || async {
        link.stats().open == 0
    })
    .await
    .unwrap();
    let mut next = TcpStream::connect(link.addr()).await.unwrap();
    read_until(&mut next, b"a").await;
}

#[tokio::test]
async fn dropping_a_link_resets_its_connections() {
    let upstream = RawUpstream::start(vec![vec![Action::send("a"), Action::Stall]])
        .await
        .unwrap();
    let link = Link::start(upstream.addr(), LinkSpec::default())
        .await
        .unwrap();
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    read_until(&mut stream, b"a").await;
    drop(link);
    assert_eq!(
        patiently(stream.read_u8()).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    wait_until("the upstream's end", PATIENCE, || async {
        upstream.peer_ended(0)
    })
    .await
    .unwrap();
}
