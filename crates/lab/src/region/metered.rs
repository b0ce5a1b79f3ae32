//! The stream under hyper: counts what passes, can slip bytes in between two messages, and ends where told.
//!
//! hyper's server has no way to send an interim answer (1xx). The handler of an HTTP/1.1 request leaves the bytes
//! here; hyper flushes the connection after each look at the handler, and that flush carries them out ahead of the
//! final head. It sits above TLS, so counts are of HTTP bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fuse::{Fuse, Socket};
use super::ledger::Ledger;
use crate::sync::locked;

/// Bytes that wait to be slipped in. Clones are the same place.
#[derive(Clone, Default)]
pub(super) struct Interjection {
    waiting: Arc<Mutex<Bytes>>,
}

impl Interjection {
    /// Leaves `bytes` to go out before anything hyper writes later. Replaces what has not gone out yet.
    pub(super) fn leave(&self, bytes: Bytes) {
        *locked(&self.waiting) = bytes;
    }
}

pub(super) struct Metered<S> {
    inner: S,
    ledger: Arc<Ledger>,
    interjection: Interjection,
    fuse: Fuse,
}

impl<S: AsyncWrite + Socket + Unpin> Metered<S> {
    pub(super) fn new(
        inner: S,
        ledger: Arc<Ledger>,
        interjection: Interjection,
        fuse: Fuse,
    ) -> Self {
        Self {
            inner,
            ledger,
            interjection,
            fuse,
        }
    }

    fn poll_whole(&self) -> Poll<io::Result<()>> {
        self.fuse.poll_whole(self.inner.socket())
    }

    fn poll_interject(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = locked(&self.interjection.waiting);
        while !waiting.is_empty() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &waiting))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ledger.wrote(n);
            waiting.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Socket + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fuse.watch(cx);
        ready!(self.poll_whole())?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.ledger.read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Socket + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_whole())?;
        ready!(self.poll_interject(cx))?;
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.ledger.wrote(n);
        self.fuse.wrote(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_whole())?;
        ready!(self.poll_interject(cx))?;
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.ledger.wrote(n);
        let mut left = n;
        for buf in bufs {
            let part = buf.len().min(left);
            self.fuse.wrote(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_whole())?;
        ready!(self.poll_interject(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.fuse.poll_flushed(self.inner.socket())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
