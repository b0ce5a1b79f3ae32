//! Reads a request's body from an HTTP/1.1 client, on demand.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tidegate_http1::{BodyDecoder, Decoded, Framing, Limits};

use crate::body::{Piece, UploadError};
use crate::h1::{SharedConn, to_map};

/// The body of one request of a client's connection.
pub(crate) struct BodyReader {
    conn: SharedConn,
    decoder: BodyDecoder,
    progress: Rc<Progress>,
}

/// What the connection must know of the body once the answer is out: only a body that was read to
/// its end leaves a connection that can be used again.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: Cell<bool>,
}

impl Progress {
    /// Whether the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.done.get()
    }
}

impl BodyReader {
    /// A reader for a body that is framed so. The flag tells when it has been read to its end.
    pub(crate) fn new(conn: SharedConn, framing: Framing, limits: &Limits) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress::default());
        let decoder = BodyDecoder::new(framing, limits);
        (
            Self {
                conn,
                decoder,
                progress: progress.clone(),
            },
            progress,
        )
    }

    /// The next piece; `None` after the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        let conn = self.conn.clone();
        let mut conn = conn.borrow_mut();
        loop {
            if self.progress.is_done() {
                return Poll::Ready(None);
            }
            let decoded = match self.decoder.decode(&conn.rbuf) {
                Ok(decoded) => decoded,
                Err(error) => {
                    return Poll::Ready(Some(Err(UploadError::Malformed(error.reason()))));
                }
            };
            match decoded {
                Decoded::Data { skip, len } => {
                    conn.rbuf.advance(skip);
                    let data = conn.rbuf.split_to(len).freeze();
                    self.progress.done.set(self.decoder.is_done());
                    return Poll::Ready(Some(Ok(Piece::Data(data))));
                }
                Decoded::Trailers { skip, fields } => {
                    conn.rbuf.advance(skip);
                    self.progress.done.set(true);
                    return Poll::Ready(Some(Ok(Piece::Trailers(to_map(&fields)))));
                }
                Decoded::End { skip } => {
                    conn.rbuf.advance(skip);
                    self.progress.done.set(true);
                }
                Decoded::More { skip } => {
                    conn.rbuf.advance(skip);
                    match ready!(conn.poll_fill(cx)) {
                        Ok(read) if read > 0 => {}
                        _ => return Poll::Ready(Some(Err(UploadError::ClientGone))),
                    }
                }
            }
        }
    }
}
