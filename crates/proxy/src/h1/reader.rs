//! Reads a request's body from an HTTP/1.1 client, on demand.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Buf;
use tidegate_http1::{BodyDecoder, Decoded, Framing, Limits};

use crate::body::{Piece, UploadError};
use crate::conn::Conn;
use crate::h1::{SharedConn, to_map};

/// So many more bytes are read at most of a body that nobody wants, to keep its connection.
const DISCARDED: usize = 64 * 1024;

/// The body of one request of a client's connection.
pub(crate) struct BodyReader {
    conn: SharedConn,
    progress: Rc<Progress>,
}

/// How far the body was read, which the connection must know once the answer is out: only a body that
/// was read to its end leaves a connection that can be used again.
#[derive(Debug)]
pub(crate) struct Progress {
    decoder: RefCell<BodyDecoder>,
    done: Cell<bool>,
    /// It broke its framing: where it ends, nobody can say.
    broken: Cell<bool>,
}

impl Progress {
    /// Whether the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Throws away what is here of a body that nobody will read, and waits for no more. Was that the
    /// rest of it, the connection can be used again (RFC 9112 section 9.3).
    pub(crate) fn discard(&self, conn: &mut Conn) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = DISCARDED;
        while !self.is_done() && !self.broken.get() {
            match self.decode(conn) {
                Ok(Some(_)) => {}
                Ok(None) if self.is_done() => {}
                Ok(None) => match conn.poll_fill(&mut cx) {
                    Poll::Ready(Ok(read @ 1..)) if read <= left => left -= read,
                    _ => return,
                },
                Err(_) => return,
            }
        }
    }

    /// The next piece in what is here; none if there is none, or none is left.
    fn decode(&self, conn: &mut Conn) -> Result<Option<Piece>, UploadError> {
        let mut decoder = self.decoder.borrow_mut();
        let decoded = decoder.decode(&conn.rbuf).map_err(|error| {
            self.broken.set(true);
            UploadError::Malformed(error.reason())
        });
        match decoded? {
            Decoded::Data { skip, len } => {
                conn.rbuf.advance(skip);
                let data = conn.rbuf.split_to(len).freeze();
                self.done.set(decoder.is_done());
                return Ok(Some(Piece::Data(data)));
            }
            Decoded::Trailers { skip, fields } => {
                conn.rbuf.advance(skip);
                self.done.set(true);
                return Ok(Some(Piece::Trailers(Box::new(to_map(&fields)))));
            }
            Decoded::End { skip } => {
                conn.rbuf.advance(skip);
                self.done.set(true);
            }
            Decoded::More { skip } => conn.rbuf.advance(skip),
        }
        Ok(None)
    }
}

impl BodyReader {
    /// A reader for a body that is framed so. The flag tells when it has been read to its end.
    pub(crate) fn new(conn: SharedConn, framing: Framing, limits: &Limits) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress {
            decoder: RefCell::new(BodyDecoder::new(framing, limits)),
            done: Cell::new(false),
            broken: Cell::new(false),
        });
        let reader = Self {
            conn,
            progress: progress.clone(),
        };
        (reader, progress)
    }

    /// The next piece; `None` after the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        let mut conn = self.conn.borrow_mut();
        while !self.progress.is_done() {
            if let Some(piece) = self.progress.decode(&mut conn).transpose() {
                return Poll::Ready(Some(piece));
            }
            if self.progress.is_done() {
                break;
            }
            match ready!(conn.poll_fill(cx)) {
                Ok(1..) => {}
                _ => return Poll::Ready(Some(Err(UploadError::ClientGone))),
            }
        }
        Poll::Ready(None)
    }
}
