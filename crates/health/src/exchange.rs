//! One request and its answer, by HTTP/1.1 or HTTP/2, on a connection that is not used again.
//!
//! hyper speaks here and not the proxy's own codec, so that the two check each other.

use std::future::Future;
use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ProbeError;

/// An answer's head, and what is read of its body, are at most this long.
const LIMIT: usize = 64 * 1024;

/// The request of a probe.
pub(crate) type Ask = Request<Empty<Bytes>>;

/// Sends `ask` by HTTP/1.1; returns the status of the answer once that is complete.
pub(crate) async fn http1<S>(stream: S, ask: Ask) -> Result<u16, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    // hyper looks at the bound before it reads, and may then read as much again.
    let handshake = builder
        .max_buf_size(LIMIT / 2)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    drive(connection, async move {
        finish(sender.send_request(ask).await?).await
    })
    .await
}

/// The same by HTTP/2.
pub(crate) async fn http2<S>(stream: S, ask: Ask) -> Result<u16, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_header_list_size(LIMIT as u32)
        .initial_stream_window_size(LIMIT as u32);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    drive(connection, async move {
        finish(sender.send_request(ask).await?).await
    })
    .await
}

/// Polls the connection while the exchange is under way: no task of its own outlives the probe.
async fn drive<C, E>(connection: C, exchange: E) -> Result<u16, ProbeError>
where
    C: Future<Output = Result<(), hyper::Error>>,
    E: Future<Output = Result<u16, ProbeError>>,
{
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // What the connection has read before it ended still counts.
        _ = &mut connection => exchange.await,
    }
}

/// Reads the body to its end, or as far as a probe reads.
async fn finish(mut response: Response<Incoming>) -> Result<u16, ProbeError> {
    let mut read = 0;
    while read < LIMIT {
        let Some(frame) = response.frame().await else {
            break;
        };
        read += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(response.status().as_u16())
}
