//! The two halves of an HTTP/2 stream as one byte stream, for tunnels (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{RecvBody, SendBody};
use super::client::Permit;
use crate::body::Piece;

/// Largest write that is taken at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A tunnel's end that is an HTTP/2 stream. Dropping it before both directions have ended resets
/// the stream.
pub(crate) struct H2Duplex {
    recv: RecvBody,
    send: SendBody,
    unread: Bytes,
    /// Counts the stream as in use at an upstream's connection.
    _permit: Option<Permit>,
}

impl H2Duplex {
    /// A client's stream.
    pub(crate) fn new(recv: RecvBody, send: SendBody) -> Self {
        Self {
            recv,
            send,
            unread: Bytes::new(),
            _permit: None,
        }
    }

    /// A stream to an upstream, counted by `permit`.
    pub(super) fn to_upstream(recv: RecvBody, send: SendBody, permit: Permit) -> Self {
        Self {
            _permit: Some(permit),
            ..Self::new(recv, send)
        }
    }
}

impl AsyncRead for H2Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            match ready!(self.recv.poll_piece(cx))
                .transpose()
                .map_err(io::Error::other)?
            {
                Some(Piece::Data(data)) => self.unread = data,
                Some(Piece::Trailers(_)) | None => return Poll::Ready(Ok(())),
            }
        }
        let part = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..part]);
        self.unread.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.send.poll_ready(cx)).map_err(io::Error::other)?;
        if room == 0 || self.send.is_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // What finds no room yet is kept: cut to the room, it would leave in frames of a byte.
        let part = buf.len().min(CHUNK);
        let piece = Piece::Data(Bytes::copy_from_slice(&buf[..part]));
        self.send.send(piece, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(part))
    }

    /// Done: the connection's task writes.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !ready!(self.send.poll_rest(cx)).map_err(io::Error::other)? {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(self.send.finish().map_err(io::Error::other))
    }
}
