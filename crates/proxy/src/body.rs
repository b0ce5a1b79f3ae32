//! Bodies on their way: pieces, where a request's body comes from, and what is kept of it for
//! another attempt.
//!
//! Nothing of a request's body is read before an upstream is connected, unless it is gathered, so a
//! failed connect can be retried whatever the body's size. What was read is kept in memory, then on
//! disk, up to limits of the request and of all together; beyond them the body streams on and can no
//! longer be sent again, which is told and is no error. Another attempt gets what was kept first, and
//! then what the client goes on sending.

mod copied;
mod disk;
mod run;
mod spool;
mod store;
mod totals;

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tidegate_core::Termination;
use tidegate_core::retry::BodyState;
use tidegate_http1::Framing;
use tidegate_telemetry::labels::{Label, ReplayLost};

use crate::action::{Acts, fields};
use crate::forward::clean_trailers;
use crate::h1::reader::BodyReader;
use crate::h2::body::RecvBody;
use crate::mirror::Draft;
use store::Store;

pub(crate) use copied::CopiedBody;
pub(crate) use store::Caps;
pub(crate) use totals::{Ledger, Totals};

/// What a frame of HTTP/2 carries at most, unless more was agreed on (RFC 9113 section 4.2), in bytes.
const H2_FRAME: usize = 16 * 1024;

/// One piece of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Content. Never empty.
    Data(Bytes),
    /// Trailer fields; nothing follows.
    Trailers(Box<HeaderMap>),
}

/// Why a request's body could not be read, from the client or from where it was kept.
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
    /// What was kept of the body on disk cannot be read back.
    #[error("the request's body, kept on disk, cannot be read back: {0}")]
    Unreadable(io::ErrorKind),
}

impl UploadError {
    /// The reason for which the request ends.
    pub(crate) fn termination(self) -> Termination {
        match self {
            Self::ClientGone => Termination::ClientGone,
            Self::Malformed(_) => Termination::BadRequest,
            Self::TooLarge => Termination::BodyTooLarge,
            Self::Unreadable(_) => Termination::Overloaded,
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
    /// It was copied from another request's.
    Copied(Box<CopiedBody>),
}

impl Upload {
    /// Pieces of so many bytes or more are most of the buffer that they were read into.
    fn fills_buffers(&self) -> usize {
        match self {
            // A frame of the usual size is read into a buffer of about its own.
            Self::H2(_) => H2_FRAME,
            // Whatever comes is read into room for much more.
            Self::Empty | Self::H1(_) | Self::Copied(_) => usize::MAX,
        }
    }

    /// The next piece; `None` after the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::H1(reader) => reader.poll_piece(cx),
            Self::Copied(body) => Poll::Ready(body.next_piece().map(Ok)),
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
    max_bytes: u64,
    /// Bytes read from the client.
    read_bytes: u64,
    /// Bytes that this attempt was given.
    given_bytes: u64,
    /// All that was read, but for `overflow`; none if nothing is kept, or no longer.
    kept: Option<Box<Store>>,
    /// Nothing more is kept, and what is kept goes once an attempt has it.
    retired: bool,
    /// What was read for no attempt and could not be kept, and why: the piece after what is kept.
    overflow: Option<Box<(Piece, ReplayLost)>>,
    /// Where to tell that it can no longer be replayed; none if nobody would have replayed it.
    ledger: Option<Rc<Ledger>>,
    lost: Option<ReplayLost>,
    /// A copy for another upstream, which hears everything that is read.
    draft: Option<Box<Draft>>,
    /// What its route does with it: edits hold for trailers, too.
    acts: Option<Rc<Acts>>,
    touched: bool,
    /// Whether the client has sent all.
    ended: bool,
    /// Whether this attempt was given the trailers, if there are any.
    trailed: bool,
}

impl ReplayBody {
    /// A body of which as much is kept as `caps` allow, and at most `max_bytes` accepted. `framing`
    /// is how the client announced it: `Length`, `Chunked` (length unknown) or `None`.
    pub(crate) fn new(
        upload: Upload,
        framing: Framing,
        caps: Caps,
        max_bytes: u64,
        ledger: &Rc<Ledger>,
    ) -> Self {
        let ended = matches!(upload, Upload::Empty);
        let ledger = (!ended && !caps.are_none()).then(|| ledger.clone());
        let by_reference = upload.fills_buffers();
        let store = |ledger: &Rc<Ledger>| Box::new(Store::new(ledger.clone(), caps, by_reference));
        Self {
            upload,
            framing,
            max_bytes,
            read_bytes: 0,
            given_bytes: 0,
            kept: ledger.as_ref().filter(|_| caps.take(framing)).map(store),
            retired: false,
            overflow: None,
            ledger,
            lost: None,
            draft: None,
            acts: None,
            touched: false,
            ended,
            trailed: false,
        }
    }

    /// What the route takes out of the request's fields stays out of its trailers.
    #[must_use]
    pub(crate) fn edited_by(mut self, acts: Option<&Rc<Acts>>) -> Self {
        self.acts = acts.cloned();
        self
    }

    /// Has `draft` hear everything that is read, and be sent once that is all.
    pub(crate) fn copy_to(&mut self, draft: Box<Draft>) {
        match self.ended {
            true => draft.send(),
            false => self.draft = Some(draft),
        }
    }

    /// Pieces of so many bytes or more are most of the buffer that they were read into.
    pub(crate) fn fills_buffers(&self) -> usize {
        self.upload.fills_buffers()
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
        self.ended && self.overflow.is_none() && self.is_caught_up()
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
        match (&self.kept, self.touched) {
            (_, false) => BodyState::Untouched,
            (Some(_), true) => BodyState::Kept,
            (None, true) => BodyState::Lost,
        }
    }

    /// Whether any of it is kept, or will be, for another attempt.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some() && !self.retired
    }

    /// The limit that it crossed, so that it can no longer be sent again; none if it crossed none.
    pub(crate) fn lost(&self) -> Option<ReplayLost> {
        self.lost
    }

    /// Whether all of it can be sent once more, whatever is read of it until then, as far as its own
    /// limits and its announced length tell.
    pub(crate) fn stays_kept(&self) -> bool {
        match (&self.kept, self.framing) {
            (_, Framing::None) => true,
            (None, _) => self.is_empty(),
            (Some(_), _) if self.retired => false,
            (Some(_), Framing::Length(_)) => true,
            (Some(_), Framing::Chunked | Framing::UntilClose) => self.ended,
        }
    }

    /// Starts from the beginning, for another attempt. Must not be called on a lost body.
    pub(crate) fn rewind(&mut self) {
        debug_assert!(
            self.state() != BodyState::Lost,
            "a lost body is never replayed"
        );
        self.given_bytes = 0;
        self.trailed = false;
        if let Some(kept) = &mut self.kept {
            kept.rewind();
        }
    }

    /// No other attempt will follow the one that is under way: nothing more is kept, and what is kept
    /// goes as soon as that one has it.
    pub(crate) fn settle(&mut self) {
        self.retired = true;
        self.ledger = None;
        self.release();
    }

    /// The next piece for this attempt: what was kept first, then what the client sends.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        let piece = match self.is_caught_up() {
            false => ready!(self.poll_kept(cx)),
            true => ready!(self.poll_next(cx)),
        };
        if let Some(Ok(Piece::Data(data))) = &piece {
            self.given_bytes += data.len() as u64;
        }
        self.trailed |= matches!(piece, Some(Ok(Piece::Trailers(_))));
        self.release();
        Poll::Ready(piece)
    }

    /// Reads what the client sends, for the attempts to come. Ready with true once that is all, and
    /// with false when no more of it can be kept: the first attempt then gets the rest as it comes.
    pub(crate) fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UploadError>> {
        while self.overflow.is_none() {
            match ready!(self.poll_client(cx)).transpose()? {
                None => return Poll::Ready(Ok(true)),
                Some(piece) => {
                    let why = self.keep(&piece).err();
                    self.overflow = why.map(|why| Box::new((piece, why)));
                }
            }
        }
        Poll::Ready(Ok(false))
    }

    /// Whether this attempt has all that is kept.
    fn is_caught_up(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| {
            self.given_bytes >= kept.bytes() && (self.trailed || kept.trailers.is_none())
        })
    }

    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, UploadError>>> {
        let Some(kept) = &mut self.kept else {
            return Poll::Ready(None);
        };
        let data = ready!(kept.poll_from(cx, self.given_bytes));
        let trailers = || kept.trailers.clone().map(Piece::Trailers);
        Poll::Ready(match data {
            Ok(Some(data)) => Some(Ok(Piece::Data(data))),
            Ok(None) => trailers().map(Ok),
            Err(error) => Some(Err(UploadError::Unreadable(error.kind()))),
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, UploadError>>> {
        if let Some(overflow) = self.overflow.take() {
            let (piece, why) = *overflow;
            self.lose(why);
            return Poll::Ready(Some(Ok(piece)));
        }
        let piece = ready!(self.poll_client(cx));
        if let Some(Ok(piece)) = &piece
            && let Err(why) = self.keep(piece)
        {
            self.lose(why);
        }
        Poll::Ready(piece)
    }

    /// The next piece from the client, once what came before has room on disk.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, UploadError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        ready!(self.poll_room(cx));
        let piece = ready!(self.upload.poll_piece(cx));
        self.ended = !matches!(piece, Some(Err(_) | Ok(Piece::Data(_))));
        let piece = piece.map(|piece| self.count(piece?));
        if self.draft.is_some() {
            self.copy(piece.as_ref());
        }
        Poll::Ready(piece)
    }

    /// The copy hears what came, and is sent after the last of it. Of what breaks off there is none.
    fn copy(&mut self, piece: Option<&Result<Piece, UploadError>>) {
        let Some(mut draft) = self.draft.take() else {
            return;
        };
        let goes_on = match piece {
            Some(Ok(piece)) => draft.hear(piece),
            Some(Err(_)) => false,
            None => true,
        };
        match self.ended {
            true if goes_on => draft.send(),
            false if goes_on => self.draft = Some(draft),
            _ => drop(draft),
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(kept) = self.kept.as_mut().filter(|_| !self.retired) else {
            return Poll::Ready(());
        };
        if let Err(error) = ready!(kept.poll_room(cx)) {
            tracing::warn!(%error, "a request's body cannot be kept on disk");
            self.lose(ReplayLost::SpoolFailed);
        }
        Poll::Ready(())
    }

    fn count(&mut self, mut piece: Piece) -> Result<Piece, UploadError> {
        self.touched = true;
        match &mut piece {
            Piece::Data(data) => self.read_bytes += data.len() as u64,
            Piece::Trailers(trailers) => {
                clean_trailers(trailers, fields::of_requests(self.acts.as_ref()));
            }
        }
        match self.read_bytes > self.max_bytes {
            true => Err(UploadError::TooLarge),
            false => Ok(piece),
        }
    }

    fn keep(&mut self, piece: &Piece) -> Result<(), ReplayLost> {
        let Some(kept) = self.kept.as_mut().filter(|_| !self.retired) else {
            return Err(self.lost.unwrap_or(ReplayLost::RequestLimit));
        };
        match piece {
            Piece::Data(data) => kept.push(data)?,
            Piece::Trailers(trailers) => kept.trailers = Some(trailers.clone()),
        }
        Ok(())
    }

    /// The body can no longer be sent again, once an attempt has taken more than is kept.
    fn lose(&mut self, why: ReplayLost) {
        self.retired = true;
        if let Some(ledger) = self.ledger.take() {
            self.lost = Some(why);
            ledger.lost(why);
            let (read, why) = (self.read_bytes, why.word());
            tracing::debug!(why, read, "a request's body can no longer be sent again");
        }
        self.release();
    }

    /// Lets go of what is kept once nobody will read it.
    fn release(&mut self) {
        if self.retired && self.kept.is_some() && self.is_caught_up() {
            self.kept = None;
        }
    }
}

#[cfg(test)]
mod tests;
