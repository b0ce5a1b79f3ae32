//! Small answers, and the one body type that all answers share.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;

use super::ledger::Visit;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Any body as the shared type.
pub(super) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A status without content.
pub(super) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(boxed(Empty::new()));
    *response.status_mut() = status;
    response
}

/// 200 with plain text.
pub(super) fn text(body: &'static str) -> Response<Body> {
    typed(
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

/// 200 with JSON; 500 should `value` have none, which no type here does.
pub(super) fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => typed("application/json", body.into()),
        Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn typed(kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(boxed(Full::new(body)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A body that keeps its request in flight until it has been written or given up.
pub(super) struct Visited {
    body: Body,
    _visit: Visit,
}

impl Visited {
    pub(super) fn new(body: Body, visit: Visit) -> Self {
        Self {
            body,
            _visit: visit,
        }
    }
}

impl HttpBody for Visited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
