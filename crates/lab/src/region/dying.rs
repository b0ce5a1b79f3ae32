//! Requests that are not answered, or not to the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answer::{Body, BoxError, status};
use super::fuse::Fuse;
use super::grpc;
use crate::death::{Cut, Ending};

/// Reads `after` bytes of `request`, all when there are fewer (`None`: nothing), and ends as told.
pub(super) async fn instead(
    mut request: Incoming,
    after: Option<u64>,
    how: Ending,
    fuse: &Fuse,
) -> Response<Body> {
    if let Some(bytes) = after {
        swallow(&mut request, bytes).await;
    }
    match how {
        Ending::Cut(cut) => {
            fuse.blow(cut);
            if cut == Cut::BlackHole {
                std::future::pending::<()>().await;
            }
            // Nobody gets it: the connection is gone.
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Ending::Status(code) => status(code),
        Ending::GrpcTrailers(code) => grpc::trailers_after_fields(code),
        Ending::GrpcTrailersOnly(code) => grpc::trailers_only(code),
    }
}

async fn swallow(request: &mut Incoming, bytes: u64) {
    let mut left = bytes;
    while left > 0
        && let Some(Ok(frame)) = request.frame().await
    {
        let got = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(got as u64);
    }
}

/// A body that ends its connection after so many bytes.
pub(super) struct Dying {
    body: Body,
    left: u64,
    /// Whether bytes of `body` were left out.
    shortened: bool,
    how: Cut,
    fuse: Fuse,
    /// Bytes of DATA that are out by then, on HTTP/2 without other answers on the way.
    goal: u64,
}

impl Dying {
    pub(super) fn new(body: Body, after: u64, how: Cut, version: Version, fuse: Fuse) -> Self {
        let goal = match version {
            Version::HTTP_2 => fuse.data() + after,
            _ => 0,
        };
        Self {
            goal,
            body,
            left: after,
            shortened: false,
            how,
            fuse,
        }
    }
}

impl HttpBody for Dying {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 && !self.is_end_stream() {
            self.fuse.arm(self.how, self.goal);
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        let frame = match frame.into_data() {
            Ok(mut data) => {
                let room = usize::try_from(self.left).unwrap_or(usize::MAX);
                self.shortened = data.len() > room;
                data.truncate(room);
                self.left -= data.len() as u64;
                Frame::data(data)
            }
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        !self.shortened && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
