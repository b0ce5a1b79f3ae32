//! Each way a link can break, on open and on new connections, and the way back.

use std::io::ErrorKind;
use std::time::Duration;

use tidegate_lab::{Action, Link, LinkSpec, Mode, RawUpstream, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, get_path, patiently, read_until, region};

const MS: Duration = Duration::from_millis(1);
/// Long enough to notice a byte that should not have come; too short never fails a right link.
const SILENCE: Duration = Duration::from_millis(100);

/// An upstream that says `a` at once and answers each head with `b`.
async fn talker() -> RawUpstream {
    let mut script = vec![Action::send("a")];
    for _ in 0..8 {
        script.extend(Action::answer("b"));
    }
    script.push(Action::Stall);
    RawUpstream::start(vec![script]).await.unwrap()
}

async fn link_to(upstream: &RawUpstream) -> Link {
    Link::start(upstream.addr(), LinkSpec::with_rtt(4 * MS))
        .await
        .unwrap()
}

async fn greeted(link: &Link) -> TcpStream {
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    read_until(&mut stream, b"a").await;
    stream
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(SILENCE, stream.read_u8())
        .await
        .is_err()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = patiently(stream.read_u8()).await;
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_black_hole_swallows_and_gives_back() {
    let upstream = talker().await;
    let link = link_to(&upstream).await;
    let mut open = greeted(&link).await;
    link.set(Mode::BlackHole).await.unwrap();
    assert_eq!(link.mode(), Mode::BlackHole);
    open.write_all(b"\r\n\r\n").await.unwrap();
    let mut new = TcpStream::connect(link.addr()).await.unwrap();
    assert!(is_silent(&mut open).await && is_silent(&mut new).await);
    assert!(
        upstream.received(0).unwrap().is_empty(),
        "a byte got through"
    );
    assert_eq!(upstream.connections(), 1, "a handshake got through");
    link.set(Mode::Up).await.unwrap();
    read_until(&mut open, b"b").await;
    read_until(&mut new, b"a").await;
}

/// Waits until the link has taken in exactly `bytes` and delivered none of them.
async fn holds(link: &Link, bytes: u64) {
    let what = format!("{bytes} bytes on the way");
    wait_until(&what, PATIENCE, || async {
        link.stats().bytes_held == bytes
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_black_hole_stops_what_is_under_way() {
    let upstream = talker().await;
    let link = Link::start(upstream.addr(), LinkSpec::default())
        .await
        .unwrap();
    let mut open = greeted(&link).await;
    let delay = 700 * MS;
    link.set_delay(delay);
    open.write_all(b"\r\n\r\n").await.unwrap();
    holds(&link, 4).await;
    link.set(Mode::BlackHole).await.unwrap();
    tokio::time::timeout(delay + SILENCE, open.read_u8())
        .await
        .unwrap_err();
    assert!(upstream.received(0).unwrap().is_empty());
    assert_eq!(link.stats().bytes_held, 4);
}

#[tokio::test]
async fn what_dies_in_a_black_hole_is_counted_as_dropped() {
    let upstream = talker().await;
    let link = link_to(&upstream).await;
    let mut open = greeted(&link).await;
    link.set(Mode::BlackHole).await.unwrap();
    open.write_all(b"twelve bytes").await.unwrap();
    holds(&link, 12).await;
    link.set(Mode::Reset).await.unwrap();
    wait_until("the end", PATIENCE, || async { link.stats().open == 0 })
        .await
        .unwrap();
    let stats = link.stats();
    assert_eq!(
        (
            stats.bytes_to_upstream,
            stats.bytes_dropped,
            stats.bytes_held
        ),
        (0, 12, 0)
    );
}

#[tokio::test]
async fn a_sender_that_closed_is_still_heard_after_a_black_hole_and_one_that_reset_is_not() {
    let upstream = RawUpstream::start(vec![vec![Action::send("a"), Action::ReadAll]])
        .await
        .unwrap();
    let link = link_to(&upstream).await;
    let (mut closing, mut resetting) = (greeted(&link).await, greeted(&link).await);
    link.set(Mode::BlackHole).await.unwrap();
    closing.write_all(b"closed").await.unwrap();
    resetting.write_all(b"reset").await.unwrap();
    holds(&link, 11).await;
    drop(closing);
    resetting.set_zero_linger().unwrap();
    drop(resetting);
    holds(&link, 6).await;
    link.set(Mode::Up).await.unwrap();
    wait_until("both ends", PATIENCE, || async {
        upstream.peer_ended(0) && upstream.peer_ended(1)
    })
    .await
    .unwrap();
    assert_eq!(upstream.received(0).unwrap(), b"closed");
    assert!(upstream.received(1).unwrap().is_empty());
}

#[tokio::test]
async fn unreachable_hangs_a_connect_and_comes_back() {
    let upstream = talker().await;
    let link = link_to(&upstream).await;
    let mut open = greeted(&link).await;
    link.set(Mode::Unreachable).await.unwrap();
    let connect = TcpStream::connect(link.addr());
    tokio::pin!(connect);
    let hung = tokio::time::timeout(SILENCE, connect.as_mut()).await;
    assert!(hung.is_err(), "the connect must hang");
    assert!(is_silent(&mut open).await);
    link.set(Mode::Up).await.unwrap();
    let mut late = patiently(connect).await.unwrap();
    read_until(&mut late, b"a").await;
    open.write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut open, b"b").await;
    assert_eq!(
        upstream.connections(),
        2,
        "the plug must not reach the upstream"
    );
}

#[tokio::test]
async fn reset_ends_open_and_new_connections() {
    let upstream = talker().await;
    let link = link_to(&upstream).await;
    let mut open = greeted(&link).await;
    link.set(Mode::Reset).await.unwrap();
    assert!(is_reset(&mut open).await);
    let mut new = TcpStream::connect(link.addr()).await.unwrap();
    assert!(is_reset(&mut new).await);
    assert_eq!(upstream.connections(), 1);
    wait_until("the upstream's end", PATIENCE, || async {
        upstream.peer_ended(0)
    })
    .await
    .unwrap();
    link.set(Mode::Up).await.unwrap();
    greeted(&link).await;
}

#[tokio::test]
async fn refuse_closes_the_port_and_keeps_it() {
    let upstream = talker().await;
    let link = link_to(&upstream).await;
    let addr = link.addr();
    for _ in 0..3 {
        let mut open = greeted(&link).await;
        link.set(Mode::Refuse).await.unwrap();
        assert!(is_reset(&mut open).await);
        let error = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        link.set(Mode::Up).await.unwrap();
        assert_eq!(link.addr(), addr);
    }
}

#[tokio::test]
async fn truncate_cuts_mid_body_with_fin() {
    let region = region("eu").await;
    let link = Link::start(region.addr(), LinkSpec::default())
        .await
        .unwrap();
    link.set(Mode::Truncate { after: 5_000 }).await.unwrap();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(link.addr()).await.unwrap();
        stream
            .write_all(b"GET /bytes/100000 HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut got = Vec::new();
        patiently(stream.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got.len(), 5_000);
    }
    wait_until("the region's end", PATIENCE, || async {
        region.snapshot().connections_open == 0
    })
    .await
    .unwrap();
    link.set(Mode::Up).await.unwrap();
    assert_eq!(
        get_path(link.addr(), "/bytes/100000").await.body.len(),
        100_000
    );
}

#[tokio::test]
async fn truncate_counts_from_the_switch_on_open_connections() {
    let upstream = talker().await;
    let link = link_to(&upstream).await;
    let mut open = greeted(&link).await;
    link.set(Mode::Truncate { after: 2 }).await.unwrap();
    open.write_all(b"\r\n\r\n\r\n\r\n\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    patiently(open.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"bb");
    // The cut must stay an end and not turn into a reset when the client goes on writing.
    let before = link.stats().bytes_dropped;
    open.write_all(b"still writing").await.unwrap();
    wait_until("the bytes to be swallowed", PATIENCE, || async {
        link.stats().bytes_dropped >= before + 13
    })
    .await
    .unwrap();
    drop(open);
    wait_until("the end", PATIENCE, || async { link.stats().open == 0 })
        .await
        .unwrap();
}

#[tokio::test]
async fn modes_follow_each_other_in_any_order() {
    let region = region("eu").await;
    let link = Link::start(region.addr(), LinkSpec::default())
        .await
        .unwrap();
    let modes = [
        Mode::BlackHole,
        Mode::Unreachable,
        Mode::Refuse,
        Mode::Reset,
        Mode::Truncate { after: 0 },
    ];
    for from in modes {
        for to in modes {
            link.set(from).await.unwrap();
            link.set(to).await.unwrap();
            link.set(Mode::Up).await.unwrap();
            assert_eq!(
                get_path(link.addr(), "/").await.status,
                200,
                "{from:?} then {to:?}"
            );
        }
    }
}
