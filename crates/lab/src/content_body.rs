//! A body made of [`content`](crate::content): nothing is stored, whatever its length.
//!
//! It can be paced (so many bytes, then a pause) and can hide its length, which makes hyper frame it as chunked
//! on HTTP/1.1. Used for what regions answer and for what the client sends.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::content;

const PIECE: usize = 64 * 1024;

/// Whether the receiver is told the length before the first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    #[default]
    Sized,
    /// `Transfer-Encoding: chunked` on HTTP/1.1, no length on HTTP/2.
    Chunked,
}

/// Content from `next` up to `end`, made when it is asked for.
pub(crate) struct ContentBody {
    seed: u64,
    next: u64,
    end: u64,
    piece: usize,
    pause: Duration,
    framing: Framing,
    sleep: Option<Pin<Box<Sleep>>>,
    given: Option<Arc<watch::Sender<u64>>>,
}

impl ContentBody {
    /// The bytes `first..end` of the content of `seed`.
    pub(crate) fn new(seed: u64, first: u64, end: u64) -> Self {
        Self {
            seed,
            next: first,
            end,
            piece: PIECE,
            pause: Duration::ZERO,
            framing: Framing::Sized,
            sleep: None,
            given: None,
        }
    }

    /// Hides or shows the length.
    pub(crate) fn framed(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// Gives at most `piece` bytes (at least one) at a time and pauses after each piece but the last.
    pub(crate) fn paced(self, piece: usize, pause: Duration) -> Self {
        Self {
            piece: piece.clamp(1, PIECE),
            pause,
            ..self
        }
    }

    /// Tells how many bytes were given so far. What is told is taken, not sent: buffers lie behind it.
    pub(crate) fn telling(self, given: Arc<watch::Sender<u64>>) -> Self {
        Self {
            given: Some(given),
            ..self
        }
    }

    fn take_piece(&mut self) -> Bytes {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let piece = content::bytes(self.seed, self.next, left.min(self.piece));
        self.next += piece.len() as u64;
        if let Some(given) = &self.given {
            given.send_modify(|given| *given += piece.len() as u64);
        }
        piece
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = self.sleep.as_mut() {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        Poll::Ready(())
    }
}

impl Body for ContentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.next >= self.end {
            return Poll::Ready(None);
        }
        ready!(self.poll_pause(cx));
        let piece = self.take_piece();
        if !self.pause.is_zero() && self.next < self.end {
            self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Sized => SizeHint::with_exact(self.end - self.next),
            Framing::Chunked => SizeHint::default(),
        }
    }
}
