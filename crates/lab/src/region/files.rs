//! Content of any size: `/bytes`, `/chunked` and `/slow-body`.
//!
//! `/bytes` is what resume is tested with, so its length, entity tag, ranges and conditions follow RFC 9110; the
//! behaviour can make the tag lie or the content differ, as real origins do.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use super::answer::{Body, boxed, status};
use super::range::{Selection, select};
use crate::behaviour::Behaviour;
use crate::content_body::{ContentBody, Framing};

const SLOW_PIECE_BYTES: usize = 1024;

/// `/bytes/{n}`.
pub(super) fn bytes<B>(request: &Request<B>, complete: u64, how: &Behaviour) -> Response<Body> {
    let etag = how.etag.tag(how.content_seed, complete);
    let (range, if_range) = (
        asked(request, &header::RANGE),
        asked(request, &header::IF_RANGE),
    );
    let range = range.filter(|_| request.method() == Method::GET);
    let mut response = match select(range, if_range, etag.as_deref(), complete) {
        Selection::Whole => content(how, 0, complete),
        Selection::Part { first, last } => part(how, first, last, complete),
        Selection::Unsatisfiable => unsatisfiable(complete),
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(etag) = etag {
        put(headers, header::ETAG, &etag);
    }
    response
}

/// `/chunked/{n}`.
pub(super) fn chunked(complete: u64, how: &Behaviour) -> Response<Body> {
    let body = paced(ContentBody::new(how.content_seed, 0, complete), how);
    octets(boxed(body.framed(Framing::Chunked)))
}

/// `/slow-body/{n}/{ms}`.
pub(super) fn slow(complete: u64, pause: Duration, how: &Behaviour) -> Response<Body> {
    let body = ContentBody::new(how.content_seed, 0, complete);
    octets(boxed(body.paced(SLOW_PIECE_BYTES, pause)))
}

fn part(how: &Behaviour, first: u64, last: u64, complete: u64) -> Response<Body> {
    let mut response = content(how, first, last + 1);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {first}-{last}/{complete}");
    put(response.headers_mut(), header::CONTENT_RANGE, &range);
    response
}

fn unsatisfiable(complete: u64) -> Response<Body> {
    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
    put(
        response.headers_mut(),
        header::CONTENT_RANGE,
        &format!("bytes */{complete}"),
    );
    response
}

/// The bytes `first..end`, with an explicit length so that HEAD shows it too.
fn content(how: &Behaviour, first: u64, end: u64) -> Response<Body> {
    let body = paced(ContentBody::new(how.content_seed, first, end), how);
    let mut response = octets(boxed(body));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(end - first));
    response
}

fn octets(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, octets);
    response
}

fn paced(body: ContentBody, how: &Behaviour) -> ContentBody {
    match how.slow_body {
        Some(slow) => body.paced(slow.piece_bytes, slow.pause),
        None => body,
    }
}

fn asked<'a, B>(request: &'a Request<B>, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
