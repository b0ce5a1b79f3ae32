//! Bodies on their way: pieces, where a request's body comes from, and what is kept of it for
//! another attempt.
//!
//! Nothing of a request's body is read before an upstream is connected, so a failed connect can be
//! retried whatever the body's size. What was read is kept up to a limit; beyond it the body
//! streams on and can no longer be sent again.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tidegate_core::Termination;
use tidegate_core::retry::BodyState;
use tidegate_http1::Framing;

use crate::h1::reader::BodyReader;
use crate::h2::body::RecvBody;

/// One piece of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Content. Never empty.
    Data(Bytes),
    /// Trailer fields; nothing follows.
    Trailers(HeaderMap),
}

/// Why a request's body could not be read from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// The client went away, or reset its stream.
    #[error("the client went away while sending its body")]
    ClientGone,
    /// The body broke the rules of its framing, or the request cannot be said in the upstream's protocol.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The body is larger than the limit.
    #[error("the request's body is larger than allowed")]
    TooLarge,
}

impl UploadError {
    /// The reason for which the request ends.
    pub(crate) fn termination(self) -> Termination {
        match self {
            Self::ClientGone => Termination::ClientGone,
            Self::Malformed(_) => Termination::BadRequest,
            Self::TooLarge => Termination::BodyTooLarge,
        }
    }
}

/// Where a request's body comes from.
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// An HTTP/1.1 client.
    H1(BodyReader),
    /// An HTTP/2 client.
    H2(RecvBody),
}

impl Upload {
    /// The next piece; `None` after the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::H1(reader) => reader.poll_piece(cx),
            Self::H2(body) => body
                .poll_piece(cx)
                .map(|piece| piece.map(|piece| piece.map_err(|_| UploadError::ClientGone))),
        }
    }
}

/// A request's body with what is kept for another attempt.
pub(crate) struct ReplayBody {
    upload: Upload,
    framing: Framing,
    kept: Vec<Piece>,
    kept_bytes: u64,
    limit: u64,
    max_bytes: u64,
    read_bytes: u64,
    cursor: usize,
    touched: bool,
    lost: bool,
    ended: bool,
}

impl ReplayBody {
    /// A body of which at most `limit` bytes are kept and `max_bytes` accepted. `framing` is how
    /// the client announced it: `Length`, `Chunked` (length unknown) or `None`.
    pub(crate) fn new(upload: Upload, framing: Framing, limit: u64, max_bytes: u64) -> Self {
        let ended = matches!(upload, Upload::Empty);
        Self {
            upload,
            framing,
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            max_bytes,
            read_bytes: 0,
            cursor: 0,
            touched: false,
            lost: false,
            ended,
        }
    }

    /// How the client announced the body.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether there is no body at all.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.upload, Upload::Empty)
    }

    /// Whether everything was read from the client and handed to this attempt.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.cursor == self.kept.len()
    }

    /// Whether the whole body was read from the client.
    pub(crate) fn is_read(&self) -> bool {
        self.ended
    }

    /// Bytes of content read from the client.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether the body can be sent once more.
    pub(crate) fn state(&self) -> BodyState {
        match (self.lost, self.touched) {
            (true, _) => BodyState::Lost,
            (false, true) => BodyState::Kept,
            (false, false) => BodyState::Untouched,
        }
    }

    /// Whether it is certain that all of it can be sent once more, whatever is read of it until then.
    pub(crate) fn stays_kept(&self) -> bool {
        match self.framing {
            _ if self.lost => false,
            _ if self.ended => true,
            Framing::None => true,
            Framing::Length(length) => length <= self.limit,
            Framing::Chunked | Framing::UntilClose => false,
        }
    }

    /// Starts from the beginning, for another attempt. Must not be called on a lost body.
    pub(crate) fn rewind(&mut self) {
        debug_assert!(!self.lost, "a lost body is never replayed");
        self.cursor = 0;
    }

    /// The next piece for this attempt: what was kept first, then what the client sends.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        if let Some(piece) = self.kept.get(self.cursor) {
            self.cursor += 1;
            return Poll::Ready(Some(Ok(piece.clone())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.upload.poll_piece(cx)) {
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(piece)) => Poll::Ready(Some(self.take(piece))),
        }
    }

    fn take(&mut self, piece: Piece) -> Result<Piece, UploadError> {
        self.touched = true;
        if let Piece::Data(data) = &piece {
            self.read_bytes += data.len() as u64;
            if self.read_bytes > self.max_bytes {
                return Err(UploadError::TooLarge);
            }
        }
        self.keep(&piece);
        Ok(piece)
    }

    fn keep(&mut self, piece: &Piece) {
        if self.lost {
            return;
        }
        let size = match piece {
            Piece::Data(data) => data.len() as u64,
            Piece::Trailers(_) => 0,
        };
        if self.kept_bytes + size > self.limit {
            self.lose();
        } else {
            self.kept_bytes += size;
            self.kept.push(piece.clone());
            self.cursor = self.kept.len();
        }
    }

    /// Gives up what is kept: the body can no longer be sent again.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.kept = Vec::new();
        self.kept_bytes = 0;
        self.cursor = 0;
    }
}
