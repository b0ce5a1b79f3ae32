//! The same answers over HTTP/2 by prior knowledge (RFC 9113, section 3.3), and a gRPC method.
//!
//! Answers go out from the connection's own task: there is nothing to wait for but a request's body.
//! The windows are large, so that a proxy's upload never waits for this side.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

use super::{BODY_BYTES_MAX, Shared};

/// The gRPC method: takes a message, gives the smallest content.
pub(crate) const METHOD: &str = "/bench.Content/Get";

const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Serves a connection until it closes or breaks a rule.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>, counts: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW_BYTES);
    builder.initial_connection_window_size(WINDOW_BYTES);
    let mut connection = builder.handshake(stream).await.map_err(io::Error::other)?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request.map_err(io::Error::other)?;
        tokio::spawn(one(request, respond, Arc::clone(&shared), counts));
    }
    Ok(())
}

/// Answers a request; a stream that breaks meanwhile needs no answer.
async fn one(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
    counts: bool,
) -> Result<(), h2::Error> {
    let (head, body) = request.into_parts();
    let body = whole(body).await?;
    if head.uri.path() == METHOD {
        let message = shared.answer(super::CONTENT, b"").body;
        count(&shared, counts);
        return call(respond, &body, &message);
    }
    let answer = shared.answer(head.uri.path(), &body);
    if answer.of_load {
        count(&shared, counts);
    }
    give(respond, answer.status, answer.body)
}

fn count(shared: &Shared, counts: bool) {
    if counts {
        shared.counted.fetch_add(1, Relaxed);
    }
}

async fn whole(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if all.len() + data.len() > BODY_BYTES_MAX {
            return Err(h2::Reason::ENHANCE_YOUR_CALM.into());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn give(mut respond: SendResponse<Bytes>, status: u16, body: Bytes) -> Result<(), h2::Error> {
    let head = Response::builder()
        .status(status)
        .header("content-type", "application/octet-stream")
        .header("content-length", body.len());
    let head = head.body(()).map_err(|_| h2::Reason::INTERNAL_ERROR)?;
    respond.send_response(head, false)?.send_data(body, true)
}

/// Answers a call with `message`, or with INVALID_ARGUMENT when `asked` is not one whole message.
fn call(mut respond: SendResponse<Bytes>, asked: &[u8], message: &[u8]) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.body(()).map_err(|_| h2::Reason::INTERNAL_ERROR)?;
    let mut stream = respond.send_response(head, false)?;
    let status = if is_message(asked) { "0" } else { "3" };
    stream.send_data(framed(message), false)?;
    let status = HeaderValue::from_static(status);
    stream.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        status,
    )]))
}

/// A message as gRPC sends it: not compressed, its length in four bytes, itself.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

fn is_message(body: &[u8]) -> bool {
    let Some((head, message)) = body.split_at_checked(5) else {
        return false;
    };
    head == &framed(message)[..5]
}

#[cfg(test)]
mod tests {
    use tidegate_lab::{Client, ClientSpec, Protocol, RequestSpec};

    use super::*;

    #[tokio::test]
    async fn the_same_answers_are_given_and_counted() {
        let addresses = super::super::start().await.unwrap();
        for mix in [RequestSpec::content(1024), RequestSpec::echo(300_000)] {
            let spec = ClientSpec {
                requests: Some(5),
                protocol: Protocol::H2,
                mix: vec![mix],
                ..ClientSpec::new(addresses.h2c[0], "bench")
            };
            assert_eq!(Client::start(spec).unwrap().finish().await.ok(), 5);
        }
        let counted = super::super::count(addresses.http1[0]).await.unwrap();
        assert_eq!(counted, 5);
    }

    #[test]
    fn a_message_is_whole_or_none() {
        assert!(is_message(&framed(b"")) && is_message(&framed(b"abc")));
        for bad in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x01", b"\x01\0\0\0\0"] {
            assert!(!is_message(bad), "{bad:?}");
        }
    }
}
