//! Requests and their answers by HTTP/2, on a connection that may be used again.
//!
//! hyper speaks here and not what the data plane builds on `h2`: a check does not need more. A kept
//! session holds about 30 KB of buffers, where HTTP/1.1 holds none and TLS 10 KB; a TLS
//! handshake for every check would cost ten times its CPU.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::answer::{ANSWER_BYTES_MAX, Answer, Head};
use crate::error::ProbeError;

/// A connection that speaks HTTP/2. Dropping it ends it.
pub(crate) struct Session {
    sender: SendRequest<Full<Bytes>>,
    /// Hands requests to the connection; polled only while one is under way.
    connection: Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>,
}

impl Session {
    /// Starts to speak HTTP/2 over `stream`.
    pub(crate) async fn open<S>(stream: S) -> Result<Self, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .max_header_list_size(ANSWER_BYTES_MAX as u32)
            .initial_stream_window_size(ANSWER_BYTES_MAX as u32);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
        })
    }

    /// Sends `request` and reads the answer, whose content is kept if it is to be.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        keep: bool,
    ) -> Result<Answer, ProbeError> {
        let Self { sender, connection } = self;
        let exchange = async { finish(sender.send_request(request).await?, keep).await };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // What the connection has read before it ended still counts.
            _ = connection => Ok(Answer { reusable: false, ..exchange.await? }),
        }
    }

    /// Whether the connection still stands, as far as anybody knows.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let ended = poll_fn(|cx| self.connection.as_mut().poll(cx).is_ready().into());
        !ended.await && !self.sender.is_closed()
    }
}

/// Reads the body to its end, or as far as a probe reads.
async fn finish(mut response: Response<Incoming>, keep: bool) -> Result<Answer, ProbeError> {
    let (mut read, mut content, mut trailers, mut whole) = (0, Vec::new(), None, false);
    while read < ANSWER_BYTES_MAX && !whole {
        match response.frame().await.transpose()?.map(Frame::into_data) {
            None => whole = true,
            Some(Ok(data)) => {
                read += data.len();
                if keep {
                    content.extend_from_slice(&data);
                }
            }
            Some(Err(frame)) => trailers = frame.into_trailers().ok(),
        }
    }
    let (head, _) = response.into_parts();
    Ok(Answer {
        status: head.status.as_u16(),
        head: Head::Http2(head.headers),
        content,
        whole,
        trailers,
        reusable: whole,
    })
}
