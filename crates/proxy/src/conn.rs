//! A stream with its two buffers, driven by polls.
//!
//! Reading appends to `rbuf`; what is to be written is gathered in `wbuf` and leaves in one system
//! call. Big pieces of a body are not copied into `wbuf` but follow it in the same vectored write.
//! Both buffers are given back while the connection idles.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrayvec::ArrayVec;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::buffers;
use crate::clock;
use crate::io::Stream;

/// Read so much at a time, into a buffer that all connections of a thread share.
const READ_SMALL: usize = 16 * 1024;
/// Read so much at a time once a body shows to be big.
const READ_LARGE: usize = 256 * 1024;
/// Pieces of at least this size are written from where they are.
const BYPASS: usize = 16 * 1024;
/// Gather no more than this before it must be written.
const WRITE_LIMIT: usize = 64 * 1024;
/// Pieces that are written from where they are, at a time: HTTP/2 hands uploads over in frames of
/// 16 KiB, and a system call each is most of what they cost.
const TAIL_PIECES: usize = 16;
/// And no more than this: a peer that does not read holds it up.
const TAIL_LIMIT: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SMALL].into());
}

/// A buffered connection.
pub(crate) struct Conn {
    io: Stream,
    /// Bytes that were read and not yet used.
    pub(crate) rbuf: BytesMut,
    /// Bytes that are to be written.
    pub(crate) wbuf: BytesMut,
    /// Pieces that follow `wbuf`, none of them empty.
    tail: VecDeque<Bytes>,
    /// What follows the tail.
    after: &'static [u8],
    /// A piece that was copied into `wbuf`, until the next write. Letting go of it is a locked operation, which
    /// waits for the copy to reach the cache: after a system call there is nothing to wait for.
    copied: Option<Bytes>,
    big: bool,
    written: u64,
    eof: bool,
}

impl Conn {
    /// A connection over `io`, with nothing buffered.
    pub(crate) fn new(io: Stream) -> Self {
        Self {
            io,
            rbuf: BytesMut::new(),
            wbuf: BytesMut::new(),
            tail: VecDeque::new(),
            after: b"",
            copied: None,
            big: false,
            written: 0,
            eof: false,
        }
    }

    /// Reads once, appending to `rbuf`. 0 means that the peer has finished sending.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(if self.big {
            self.poll_read_big(cx)
        } else {
            self.poll_read_small(cx)
        })?;
        self.eof |= read == 0;
        self.big = read >= READ_SMALL;
        Poll::Ready(Ok(read))
    }

    fn poll_read_big(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        clock::spent();
        self.rbuf.reserve(READ_LARGE);
        poll_read_buf(Pin::new(&mut self.io), cx, &mut self.rbuf)
    }

    /// Heads and small bodies pass through the thread's scratch, so that a connection that waits
    /// owns no buffer.
    fn poll_read_small(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut scratch = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut scratch))?;
            if self.rbuf.capacity() == 0 {
                self.rbuf = buffers::take();
            }
            self.rbuf.extend_from_slice(scratch.filled());
            Poll::Ready(Ok(scratch.filled().len()))
        })
    }

    /// Makes sure of room for a head that is about to be written.
    pub(crate) fn make_room(&mut self) {
        if self.wbuf.capacity() == 0 {
            self.wbuf = buffers::take();
        }
    }

    /// Adds a piece of a body to what is to be written, and `after` behind it.
    pub(crate) fn push(&mut self, data: Bytes, after: &'static [u8]) {
        if !self.after.is_empty() {
            self.settle();
        }
        if data.len() >= BYPASS || !self.tail.is_empty() {
            self.tail.push_back(data);
            self.after = after;
        } else {
            self.wbuf.extend_from_slice(&data);
            self.wbuf.extend_from_slice(after);
            self.copied = Some(data);
        }
    }

    /// Puts the tail into `wbuf`, so that more can follow it there.
    pub(crate) fn settle(&mut self) {
        for piece in self.tail.drain(..) {
            self.wbuf.extend_from_slice(&piece);
        }
        self.wbuf.extend_from_slice(self.after);
        self.after = b"";
    }

    /// Whether so much waits to be written that no more should be added.
    pub(crate) fn is_full(&self) -> bool {
        let tail = self.tail.iter().map(Bytes::len).sum::<usize>();
        self.tail.len() >= TAIL_PIECES
            || tail >= TAIL_LIMIT
            || !self.after.is_empty()
            || self.wbuf.len() >= WRITE_LIMIT
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.wbuf.is_empty() && self.tail.is_empty() && self.after.is_empty()
    }

    /// Writes all that waits and flushes the stream.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_flushed() {
            let wrote = self.poll_write_once(cx);
            self.copied = None;
            let wrote = ready!(wrote)?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += wrote as u64;
            self.consume_written(wrote);
        }
        match self.io {
            // TCP keeps nothing back.
            Stream::Plain(_) | Stream::Upstream(_) => Poll::Ready(Ok(())),
            _ => Pin::new(&mut self.io).poll_flush(cx),
        }
    }

    fn poll_write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        if self.tail.is_empty() && self.after.is_empty() {
            return io.poll_write(cx, &self.wbuf);
        }
        let mut parts: ArrayVec<IoSlice<'_>, { TAIL_PIECES + 2 }> = ArrayVec::new();
        let tail = self.tail.iter().take(TAIL_PIECES).map(|piece| &piece[..]);
        let all = iter::once(&self.wbuf[..]).chain(tail);
        parts.extend(all.filter(|part| !part.is_empty()).map(IoSlice::new));
        if self.tail.len() <= TAIL_PIECES {
            parts.push(IoSlice::new(self.after));
        }
        io.poll_write_vectored(cx, &parts)
    }

    fn consume_written(&mut self, wrote: usize) {
        let head = wrote.min(self.wbuf.len());
        self.wbuf.advance(head);
        let mut left = wrote - head;
        while let Some(first) = self.tail.front_mut().filter(|_| left > 0) {
            let part = left.min(first.len());
            first.advance(part);
            left -= part;
            if first.is_empty() {
                self.tail.pop_front();
            }
        }
        self.after = &self.after[left..];
        if self.wbuf.is_empty() {
            self.wbuf.clear();
        }
    }

    /// Whether it is TCP without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.io, Stream::Plain(_))
    }

    /// Ends the sending direction (TLS close_notify, FIN).
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Ready once the peer is known to have gone away, for a connection that is not read from
    /// otherwise. An end of sending counts as going. Whatever else arrives (a pipelined request)
    /// waits in `rbuf`, and with it the end of the stream behind it.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.rbuf.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx)) {
            Ok(read) if read > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Lets the connection end in a reset when it is dropped, for a peer that would take an orderly
    /// end for the end of the answer. Under TLS the missing close_notify says the same.
    pub(crate) fn reset_on_close(&mut self) {
        if let Stream::Plain(stream) = &self.io {
            // Refused only when the connection is gone, which is as good.
            let _refused = stream.get_ref().set_zero_linger();
        }
    }

    /// Whether the connection is silent and open, as an idle one must be: nothing buffered, nothing
    /// to read, no end. Costs no system call while the reactor knows the socket as not readable.
    pub(crate) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.rbuf.is_empty()
            && self.is_flushed()
            && !self.eof
            && (self.is_known_silent() || self.poll_fill(cx).is_pending())
    }

    /// Whether the reactor has nothing for a read, where that is all that one would ask.
    fn is_known_silent(&self) -> bool {
        matches!(&self.io, Stream::Upstream(socket) if socket.is_known_silent())
    }

    /// Gives the buffers back, for a connection that idles. Nothing may be buffered.
    pub(crate) fn release(&mut self) {
        if self.rbuf.is_empty() && self.rbuf.capacity() > 0 {
            buffers::give(std::mem::take(&mut self.rbuf));
        }
        if self.is_flushed() {
            self.release_written();
            self.tail = VecDeque::new();
        }
        self.big = false;
    }

    /// Gives back what has been written, for a connection that writes no more for now. Everything must be.
    pub(crate) fn release_written(&mut self) {
        debug_assert!(self.is_flushed());
        if self.wbuf.capacity() > 0 {
            self.wbuf.clear();
            buffers::give(std::mem::take(&mut self.wbuf));
        }
    }

    /// Bytes handed to the system since the connection was made.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The stream below.
    pub(crate) fn io_mut(&mut self) -> &mut Stream {
        &mut self.io
    }

    /// The stream and what was read ahead, for a tunnel.
    pub(crate) fn into_parts(self) -> (Stream, BytesMut) {
        (self.io, self.rbuf)
    }
}
