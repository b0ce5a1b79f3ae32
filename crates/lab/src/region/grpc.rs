//! Answers with the shape of gRPC: DATA, then a status in trailers, or trailers alone.
//!
//! Messages are not decoded. What matters to a proxy is where the status stands, that request trailers arrive (they
//! come back as response trailers), and that a trailers-only answer has no body at all.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Collected, Limited, StreamBody};
use hyper::body::Incoming;

use super::answer::{Body, BoxError, boxed, status};
use crate::content;

const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
const MESSAGE_BYTES: usize = 32;
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// `/grpc/unary`.
pub(super) async fn unary(request: Incoming) -> Response<Body> {
    let Ok(collected) = collect(request).await else {
        return too_large();
    };
    let last = Frame::trailers(trailers(collected.trailers()));
    let data = Frame::data(collected.to_bytes());
    dressed(frames([data, last]))
}

/// `/grpc/stream/{n}`: message i has 32 bytes of content from offset 32 i on.
pub(super) async fn messages(request: Incoming, count: u64) -> Response<Body> {
    let Ok(collected) = collect(request).await else {
        return too_large();
    };
    let last = Frame::trailers(trailers(collected.trailers()));
    let data = (0..count).map(|index| Frame::data(message(index)));
    dressed(frames(data.chain(std::iter::once(last))))
}

/// A body without a known length: with one, HTTP/1.1 would have no place for trailers.
fn frames<I>(frames: I) -> Body
where
    I: IntoIterator<Item = Frame<Bytes>>,
    I::IntoIter: Send + 'static,
{
    let frames = frames.into_iter().map(Ok::<_, BoxError>);
    boxed(StreamBody::new(stream::iter(frames)))
}

/// `/grpc/status/{code}`: trailers-only, that is, the status among the headers and no body.
pub(super) fn trailers_only(code: u16) -> Response<Body> {
    let mut response = status(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(STATUS, HeaderValue::from(code));
    headers.insert(MESSAGE, HeaderValue::from_static("as asked"));
    response
}

/// 200 and the fields of gRPC, then `code` in trailers: a call that failed before its first message.
pub(super) fn trailers_after_fields(code: u16) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(code));
    trailers.insert(MESSAGE, HeaderValue::from_static("as asked"));
    dressed(frames([Frame::trailers(trailers)]))
}

async fn collect(request: Incoming) -> Result<Collected<Bytes>, BoxError> {
    Limited::new(request, REQUEST_BYTES_MAX).collect().await
}

fn too_large() -> Response<Body> {
    // RESOURCE_EXHAUSTED; a request that broke off has nobody to read this.
    trailers_only(8)
}

/// Status 0, and everything that came in the request's own trailers.
fn trailers(from_request: Option<&HeaderMap>) -> HeaderMap {
    let mut trailers = from_request.cloned().unwrap_or_default();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    trailers.insert(MESSAGE, HeaderValue::from_static("OK"));
    trailers
}

/// A message with the five-byte prefix: not compressed, length.
fn message(index: u64) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + MESSAGE_BYTES);
    framed.put_u8(0);
    framed.put_u32(MESSAGE_BYTES as u32);
    framed.put(content::bytes(
        content::SEED,
        index * MESSAGE_BYTES as u64,
        MESSAGE_BYTES,
    ));
    framed.freeze()
}

fn dressed(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    // HTTP/1.1 sends no trailer field that is not announced.
    headers.insert(
        header::TRAILER,
        HeaderValue::from_static("grpc-status, grpc-message"),
    );
    response
}
