//! A plain hyper client and a plain socket, so that no test leans on the client it is testing.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_lab::{Region, RegionSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) async fn region(name: &str) -> Region {
    Region::start(RegionSpec::new(name)).await.unwrap()
}

pub(crate) fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "lab.test")
}

pub(crate) fn empty() -> Full<Bytes> {
    Full::default()
}

/// Sends one HTTP/1.1 request on its own connection.
pub(crate) async fn ask<B>(addr: SocketAddr, request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = patiently(async { read(sender.send_request(request).await.unwrap()).await }).await;
    connection.abort();
    answer
}

/// Sends one HTTP/2 request by prior knowledge. The URI must be absolute.
pub(crate) async fn ask_h2<B>(addr: SocketAddr, request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = patiently(async { read(sender.send_request(request).await.unwrap()).await }).await;
    connection.abort();
    answer
}

pub(crate) async fn get_path(addr: SocketAddr, path: &str) -> Answer {
    ask(addr, get(path).body(empty()).unwrap()).await
}

pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        trailers,
    }
}

/// Writes `bytes` and returns everything until the peer ends.
pub(crate) async fn exchange(addr: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    patiently(async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(bytes).await?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await?;
        Ok(got)
    })
    .await
}

/// Reads until `marker` has arrived; returns everything so far.
pub(crate) async fn read_until(stream: &mut TcpStream, marker: &[u8]) -> Vec<u8> {
    patiently(async {
        let mut got = Vec::new();
        while !got.windows(marker.len()).any(|window| window == marker) {
            let n = stream.read_buf(&mut got).await.unwrap();
            assert!(
                n > 0,
                "ended before {marker:?}: {:?}",
                String::from_utf8_lossy(&got)
            );
        }
        got
    })
    .await
}

/// Turns a hang into a failure.
pub(crate) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("hung")
}
