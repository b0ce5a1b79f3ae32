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

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers;

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
    pending: BytesMut,
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
        pending: BytesMut::new(),
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
        if wire.pending.is_empty() && wire.pending.capacity() > 0 {
            buffers::give(std::mem::take(&mut wire.pending));
        }
    }
}

impl<S> Wire<S> {
    fn gather(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        if self.pending.capacity() == 0 {
            self.pending = buffers::take();
        }
        let before = self.pending.len();
        let mut room = LIMIT.saturating_sub(before);
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            self.pending.extend_from_slice(part);
            room -= part.len();
        }
        self.unflushed = true;
        self.pending.len() - before
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending))?;
            self.pending.advance(nonzero(wrote)?);
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
        if self.pending.len() + size > LIMIT {
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
            let before = self.pending.len();
            let wrote = ready!(self.poll_write_behind(cx, bufs))?;
            self.pending.advance(wrote.min(before));
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
        all.push(IoSlice::new(&self.pending));
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes what it is scripted to take, in calls that are counted.
    #[derive(Default)]
    struct Script {
        written: Vec<u8>,
        calls: usize,
        flushes: usize,
        closed: bool,
        /// How much the next calls take: 0 is "not now". Everything once it is empty.
        takes: VecDeque<usize>,
    }

    impl AsyncWrite for Script {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut take = self.takes.pop_front().unwrap_or(usize::MAX);
            if take == 0 {
                return Poll::Pending;
            }
            self.calls += 1;
            let before = self.written.len();
            for buf in bufs {
                let part = buf.len().min(take);
                self.written.extend_from_slice(&buf[..part]);
                take -= part;
            }
            Poll::Ready(Ok(self.written.len() - before))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn with_context<R>(run: impl FnOnce(&mut Context<'_>) -> R) -> R {
        run(&mut Context::from_waker(Waker::noop()))
    }

    /// Writes `buf` whole, draining whenever it has to wait.
    fn write_all(wire: &mut Coalesce<Script>, drain: &Drain<Script>, mut buf: &[u8]) {
        while !buf.is_empty() {
            let wrote = with_context(|cx| Pin::new(&mut *wire).poll_write(cx, buf));
            match wrote {
                Poll::Ready(wrote) => buf = &buf[wrote.unwrap()..],
                Poll::Pending => drain_all(drain),
            }
        }
    }

    fn drain_all(drain: &Drain<Script>) {
        while with_context(|cx| drain.poll_drain(cx)).is_pending() {}
    }

    fn bytes(sizes: &[usize]) -> Vec<Vec<u8>> {
        let fill = |(at, size): (usize, &usize)| vec![at as u8 + 1; *size];
        sizes.iter().enumerate().map(fill).collect()
    }

    #[test]
    fn what_is_written_leaves_whole_and_in_few_calls() {
        let check = |what: &str, sizes: &[usize], calls: usize| {
            let (mut wire, drain) = coalesce(Script::default(), Bytes::new());
            let frames = bytes(sizes);
            for frame in &frames {
                write_all(&mut wire, &drain, frame);
            }
            drain_all(&drain);
            let script = &drain.0.borrow().io;
            assert_eq!(script.written, frames.concat(), "{what}");
            assert_eq!(script.calls, calls, "{what}");
        };
        check("nothing", &[], 0);
        check("small frames leave together", &[9; 100], 1);
        check("up to the limit", &[8192; 8], 1);
        check("beyond the limit twice", &[8192; 9], 2);
        check("a big frame takes the small ones along", &[9, 9, 16384], 1);
        check("big frames are not gathered", &[16384; 3], 3);
        check("small ones behind a big one", &[16384, 9, 9], 2);
    }

    #[test]
    fn a_flush_is_answered_at_once_and_made_by_the_drain() {
        let (mut wire, drain) = coalesce(Script::default(), Bytes::new());
        write_all(&mut wire, &drain, b"frame");
        assert!(with_context(|cx| Pin::new(&mut wire).poll_flush(cx)).is_ready());
        assert_eq!(drain.0.borrow().io.calls, 0);
        drain_all(&drain);
        drain_all(&drain);
        let wire = drain.0.borrow();
        assert_eq!(
            (wire.io.calls, wire.io.flushes),
            (1, 1),
            "a second drain has nothing to do"
        );
    }

    #[test]
    fn a_socket_that_takes_nothing_bounds_what_is_gathered() {
        let stuck = Script {
            takes: [0; 100].into(),
            ..Script::default()
        };
        let (mut wire, drain) = coalesce(stuck, Bytes::new());
        let mut accepted = 0;
        while let Poll::Ready(wrote) =
            with_context(|cx| Pin::new(&mut wire).poll_write(cx, &[7; 1000]))
        {
            accepted += wrote.unwrap();
        }
        assert!(
            accepted <= LIMIT && drain.0.borrow().pending.len() <= LIMIT,
            "{accepted}"
        );
        let big = with_context(|cx| Pin::new(&mut wire).poll_write(cx, &[7; BYPASS]));
        assert!(big.is_pending(), "a big frame waits too");
    }

    #[test]
    fn shutdown_drains_first() {
        let (mut wire, drain) = coalesce(Script::default(), Bytes::new());
        write_all(&mut wire, &drain, b"last words");
        assert!(with_context(|cx| Pin::new(&mut wire).poll_shutdown(cx)).is_ready());
        let wire = drain.0.borrow();
        assert_eq!(
            (&wire.io.written[..], wire.io.closed),
            (&b"last words"[..], true)
        );
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_the_bytes_are_the_same(
            sizes in prop::collection::vec(1..40_000_usize, 1..12),
            takes in prop::collection::vec(0..50_000_usize, 0..40),
        ) {
            let script = Script { takes: takes.into(), ..Script::default() };
            let (mut wire, drain) = coalesce(script, Bytes::new());
            let frames = bytes(&sizes);
            for frame in &frames {
                write_all(&mut wire, &drain, frame);
            }
            drain_all(&drain);
            prop_assert_eq!(&drain.0.borrow().io.written, &frames.concat());
        }
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_read_first() {
        use tokio::io::AsyncReadExt as _;
        let (mut near, far) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut near, b" world")
            .await
            .unwrap();
        drop(near);
        let (mut wire, drain) = coalesce(far, Bytes::from_static(b"hello"));
        let mut read = String::new();
        wire.read_to_string(&mut read).await.unwrap();
        assert_eq!((read.as_str(), drain.received()), ("hello world", 11));
    }
}
