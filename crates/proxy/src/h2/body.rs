//! Bodies of HTTP/2 streams, as pieces, under both flow controls.
//!
//! What is received is acknowledged as it is taken, so a reader that stops stops its peer. What is
//! sent waits for the peer's room, and at most one piece waits here, so every byte that the peer
//! takes shows as progress.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::body::Piece;

/// No more room than this is asked for at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// The receiving half of a stream.
pub(crate) struct RecvBody {
    stream: RecvStream,
    ended: bool,
}

/// The sending half of a stream.
pub(crate) struct SendBody {
    stream: SendStream<Bytes>,
    /// What of the last piece found no room yet.
    rest: Bytes,
    /// Whether the end follows `rest`.
    ends: bool,
    ended: bool,
    taken: u64,
}

impl RecvBody {
    /// The body that arrives on `stream`.
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            ended: false,
        }
    }

    /// The next piece, whose room is given back to the peer; `None` after the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, h2::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_next(cx)).transpose();
        self.ended = !matches!(piece, Some(Ok(Piece::Data(_))));
        Poll::Ready(piece)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, h2::Error>> {
        loop {
            match ready!(self.stream.poll_data(cx)).transpose()? {
                Some(data) if data.is_empty() => {}
                Some(data) => {
                    self.stream.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Ok(Some(Piece::Data(data))));
                }
                None => {
                    return self
                        .stream
                        .poll_trailers(cx)
                        .map_ok(|map| Some(Piece::Trailers(Box::new(map?))));
                }
            }
        }
    }

    /// Whether nothing more will come: `poll_piece` would say `None` without waiting.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended || self.stream.is_end_stream()
    }
}

impl SendBody {
    /// A body to be sent on `stream`.
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self {
            stream,
            rest: Bytes::new(),
            ends: false,
            ended: false,
            taken: 0,
        }
    }

    /// A stream whose head said that nothing follows.
    pub(crate) fn ended(stream: SendStream<Bytes>) -> Self {
        Self {
            ended: true,
            ..Self::new(stream)
        }
    }

    /// Ready with the room in bytes (at least 1) once the last piece is gone whole. Zero means that
    /// the stream takes nothing any more: it has ended, was reset, or the connection is gone.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
        while !self.ended {
            let room = ready!(self.poll_room(cx))?;
            if room == 0 || self.rest.is_empty() {
                return Poll::Ready(Ok(room));
            }
            self.send_rest(room)?;
        }
        Poll::Ready(Ok(0))
    }

    /// Ready with true once the last piece is gone whole, with false if it never will be.
    pub(crate) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        while !self.ended && !self.rest.is_empty() {
            match ready!(self.poll_room(cx))? {
                0 => return Poll::Ready(Ok(false)),
                room => self.send_rest(room)?,
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
        let room = self.stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        // What a stream reserves is taken from its neighbours: no more than can be used now.
        self.stream
            .reserve_capacity(self.rest.len().clamp(1, CHUNK));
        Poll::Ready(ready!(self.stream.poll_capacity(cx)).unwrap_or(Ok(0)))
    }

    fn send_rest(&mut self, room: usize) -> Result<(), h2::Error> {
        let part = self.rest.split_to(self.rest.len().min(room));
        self.taken += part.len() as u64;
        self.ended = self.ends && self.rest.is_empty();
        self.stream.send_data(part, self.ended)
    }

    /// Sends a piece; `end` says that nothing follows. Trailers always end. What exceeds the
    /// peer's room is kept, to be sent by `poll_ready`, which must have been ready before.
    pub(crate) fn send(&mut self, piece: Piece, end: bool) -> Result<(), h2::Error> {
        debug_assert!(self.rest.is_empty(), "one piece at a time");
        match piece {
            Piece::Data(data) => {
                // Until now room was asked for a first byte only; sent alone, that byte would be a
                // frame of its own, and peers take many tiny frames for an attack.
                self.stream.reserve_capacity(data.len().min(CHUNK));
                self.rest = data;
                self.ends = end;
                let room = self.stream.capacity();
                if room > 0 {
                    self.send_rest(room)
                } else {
                    Ok(())
                }
            }
            Piece::Trailers(trailers) => {
                self.ended = true;
                self.stream.send_trailers(*trailers)
            }
        }
    }

    /// Ends the body, unless it has ended. Nothing may be kept.
    pub(crate) fn finish(&mut self) -> Result<(), h2::Error> {
        debug_assert!(self.rest.is_empty(), "the last piece comes before the end");
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.stream.send_data(Bytes::new(), true)
    }

    /// Whether the end was sent.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of content for which the peer had room so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Ready once the peer has reset the stream or the connection is gone.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        self.stream.poll_reset(cx)
    }

    /// Resets the stream, dropping what waits to be sent.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.ended = true;
        self.stream.send_reset(reason);
    }
}
