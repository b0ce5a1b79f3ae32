//! Gathers the frames of one round of an HTTP/2 connection into one write.
//!
//! The `h2` crate flushes after every small DATA frame: one TLS record and one system call each.
//! [`Coalesce`], put under it, accepts bytes up to a limit and answers every flush with "done"; the
//! task that polls the connection then drains the rest once, by [`Drain`]. Frames of 16 KB and more
//! are not copied. Memory is bounded: when the limit is reached, writing waits for the socket.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered before writing waits for the socket.
const LIMIT: usize = 64 * 1024;
/// Writes of at least this size are not copied.
const BYPASS: usize = 16 * 1024;

/// The stream as `h2` sees it.
pub(crate) struct Coalesce<S>(Rc<RefCell<Wire<S>>>);

/// The handle by which what was gathered is written.
pub(crate) struct Drain<S>(Rc<RefCell<Wire<S>>>);

struct Wire<S> {
    io: S,
    ahead: Bytes,
    pending: Vec<u8>,
    start: usize,
    unflushed: bool,
    blocked: bool,
    received: u64,
}

/// Puts a coalescing writer over `io`. `ahead` was read from `io` before and is read again first.
pub(crate) fn coalesce<S>(io: S, ahead: Bytes) -> (Coalesce<S>, Drain<S>) {
    let wire = Rc::new(RefCell::new(Wire {
        io,
        received: ahead.len() as u64,
        ahead,
        pending: Vec::new(),
        start: 0,
        unflushed: false,
        blocked: false,
    }));
    (Coalesce(wire.clone()), Drain(wire))
}

impl<S: AsyncWrite + Unpin> Drain<S> {
    /// Writes what was gathered and flushes the stream below. To be called after each poll of the
    /// connection; ready at once when there is nothing.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        ready!(wire.poll_empty(cx))?;
        if wire.unflushed {
            ready!(Pin::new(&mut wire.io).poll_flush(cx))?;
            wire.unflushed = false;
        }
        if std::mem::take(&mut wire.blocked) {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes read so far.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// Gives the buffer back while the connection idles.
    pub(crate) fn release(&self) {
        let wire = &mut *self.0.borrow_mut();
        if wire.gathered() == 0 {
            wire.pending = Vec::new();
            wire.start = 0;
        }
    }
}

impl<S> Wire<S> {
    fn gathered(&self) -> usize {
        self.pending.len() - self.start
    }

    fn gather(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let before = self.pending.len();
        let mut room = LIMIT.saturating_sub(self.gathered());
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            self.pending.extend_from_slice(part);
            room -= part.len();
        }
        self.unflushed = true;
        self.pending.len() - before
    }

    fn consume(&mut self, wrote: usize) {
        self.start += wrote;
        if self.start == self.pending.len() {
            self.pending.clear();
            self.start = 0;
        } else if self.start >= LIMIT {
            self.pending.drain(..self.start);
            self.start = 0;
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gathered() > 0 {
            let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending[self.start..]))?;
            self.consume(nonzero(wrote)?);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if size >= BYPASS {
            return self.poll_bypass(cx, bufs);
        }
        if self.gathered() + size > LIMIT {
            ready!(self.poll_empty(cx))?;
        }
        Poll::Ready(Ok(self.gather(bufs)))
    }

    /// Writes what was gathered and `bufs` behind it in one call, until any of `bufs` is gone.
    fn poll_bypass(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        loop {
            let before = self.gathered();
            let wrote = ready!(self.poll_write_behind(cx, bufs))?;
            self.consume(wrote.min(before));
            if wrote > before {
                return Poll::Ready(Ok(wrote - before));
            }
        }
    }

    fn poll_write_behind(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut all = SmallVec::<[IoSlice<'_>; 8]>::new();
        all.push(IoSlice::new(&self.pending[self.start..]));
        all.extend(bufs.iter().copied());
        let wrote = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all))?;
        Poll::Ready(nonzero(wrote))
    }
}

fn nonzero(wrote: usize) -> io::Result<usize> {
    if wrote == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(wrote)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesce<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        if !wire.ahead.is_empty() {
            let part = wire.ahead.len().min(buf.remaining());
            buf.put_slice(&wire.ahead[..part]);
            wire.ahead.advance(part);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut wire.io).poll_read(cx, buf))?;
        wire.received += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesce<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.borrow_mut();
        let accepted = wire.poll_accept(cx, bufs);
        wire.blocked |= accepted.is_pending();
        accepted
    }

    /// Done: what was gathered is the drain's to write.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        ready!(wire.poll_empty(cx))?;
        Pin::new(&mut wire.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
