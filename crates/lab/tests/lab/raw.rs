//! The scripted upstream: exact bytes out, exact bytes recorded.

use std::io::ErrorKind;

use tidegate_lab::{Action, RawUpstream, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, exchange};

async fn upstream(scripts: Vec<Vec<Action>>) -> RawUpstream {
    RawUpstream::start(scripts).await.unwrap()
}

#[tokio::test]
async fn plays_one_script_per_connection() {
    let first = Action::answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let second = vec![Action::send("garbage\n"), Action::Close];
    let upstream = upstream(vec![first, second]).await;
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let got = exchange(upstream.addr(), request).await.unwrap();
    assert!(got.starts_with(b"HTTP/1.1 200"));
    for _ in 0..2 {
        assert_eq!(exchange(upstream.addr(), b"").await.unwrap(), b"garbage\n");
    }
    assert_eq!(upstream.connections(), 3);
    assert_eq!(upstream.received(0).unwrap(), request);
    assert!(upstream.received(3).is_none());
}

#[tokio::test]
async fn answers_each_head_of_a_connection() {
    let script = [Action::answer("1"), Action::answer("2")].concat();
    let upstream = upstream(vec![script]).await;
    let got = exchange(upstream.addr(), b"A\r\n\r\nB\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(got, b"12");
}

#[tokio::test]
async fn records_what_the_script_does_not_read() {
    let script = vec![Action::ReadHead, Action::send("x"), Action::Stall];
    let upstream = upstream(vec![script]).await;
    let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\n\r\nsmuggled")
        .await
        .unwrap();
    let got = upstream.wait_received(0, PATIENCE, |bytes| bytes.ends_with(b"smuggled"));
    assert_eq!(got.await.unwrap(), b"GET / HTTP/1.1\r\n\r\nsmuggled");
    assert!(!upstream.peer_ended(0));
    drop(stream);
    wait_until("the end", PATIENCE, || async { upstream.peer_ended(0) })
        .await
        .unwrap();
}

#[tokio::test]
async fn resets() {
    let upstream = upstream(vec![vec![
        Action::ReadBytes(3),
        Action::send("ab"),
        Action::Reset,
    ]])
    .await;
    let error = exchange(upstream.addr(), b"xyz").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn closes_half_and_reads_on() {
    let script = vec![Action::send("bye"), Action::HalfClose, Action::ReadAll];
    let upstream = upstream(vec![script]).await;
    let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"bye");
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    let late = upstream.wait_received(0, PATIENCE, |bytes| bytes == b"late");
    late.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_leaves_ends_the_script() {
    let upstream = upstream(vec![vec![Action::ReadHead, Action::send("never")]]).await;
    let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
    stream.write_all(b"half a head\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    let ended = stream.read_to_end(&mut got).await;
    assert!(ended.is_err() && got.is_empty(), "{ended:?} {got:?}");
}

#[tokio::test]
async fn waiting_in_vain_is_an_error() {
    let upstream = upstream(vec![]).await;
    let short = std::time::Duration::from_millis(20);
    let error = upstream
        .wait_received(0, short, |_| true)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("raw upstream connection 0"),
        "{error}"
    );
}
