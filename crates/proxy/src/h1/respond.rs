//! Writes an answer to an HTTP/1.1 client.

use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};

use http::Method;
use tidegate_core::Termination;
use tidegate_http1::Framing;

use crate::answer::Answer;
use crate::body::Piece;
use crate::conn::Conn;
use crate::h1::SharedConn;
use crate::h1::client::{encode_data, end_body};

/// What the request's head says about how to answer.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) http11: bool,
}

/// Writes `answer` whole. Ok if the connection may serve another request as far as the answer goes.
pub(crate) async fn respond(
    conn: &SharedConn,
    answer: &mut Answer,
    asked: &Asked,
    close: bool,
) -> Result<bool, Termination> {
    let framing = {
        let mut conn = conn.borrow_mut();
        conn.make_room();
        answer.write_h1(&mut conn.wbuf, &asked.method, asked.http11, close)
    };
    let mut writer = Writer {
        conn,
        framing,
        ended: framing == Framing::None,
        broken: None,
        whole: false,
        sent: 0,
    };
    let written = poll_fn(|cx| writer.poll_relay(cx, answer)).await;
    writer.whole = written.is_ok();
    let sent = writer.sent;
    answer.moved(sent);
    written.map(|()| !close && framing != Framing::UntilClose)
}

struct Writer<'a> {
    conn: &'a SharedConn,
    framing: Framing,
    ended: bool,
    /// The answer broke off: what there is of it is still written, so that the client sees a part
    /// and not nothing at all.
    broken: Option<Termination>,
    whole: bool,
    sent: u64,
}

impl Drop for Writer<'_> {
    /// Whatever cuts an answer that ends with its connection, the end of the task too: an orderly end
    /// would say that this was all.
    fn drop(&mut self) {
        if self.framing == Framing::UntilClose
            && !self.whole
            && let Ok(mut conn) = self.conn.try_borrow_mut()
        {
            conn.reset_on_close();
        }
    }
}

impl Writer<'_> {
    /// Moves pieces from the upstream to the client until the last is written.
    fn poll_relay(
        &mut self,
        cx: &mut TaskContext<'_>,
        answer: &mut Answer,
    ) -> Poll<Result<(), Termination>> {
        loop {
            let starved = self.encode_available(cx, answer);
            let body = &mut answer.body;
            let mut conn = self.conn.borrow_mut();
            let before = conn.written();
            let flushed = conn.poll_flush(cx);
            if conn.written() != before {
                body.moved();
            }
            match flushed {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Termination::ClientGone)),
                Poll::Ready(Ok(())) if self.ended => {
                    return Poll::Ready(self.broken.map_or(Ok(()), Err));
                }
                Poll::Ready(Ok(())) if !starved => {}
                Poll::Ready(Ok(())) if body.is_uploading() => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    return conn.poll_gone(cx).map(|()| Err(Termination::ClientGone));
                }
                Poll::Pending => {
                    return body.poll_stalled(cx).map(Err);
                }
            }
        }
    }

    /// Encodes pieces until the buffer is full or none is ready; true if the latter.
    fn encode_available(&mut self, cx: &mut TaskContext<'_>, answer: &mut Answer) -> bool {
        while !self.ended && !self.conn.borrow().is_full() {
            // The piece is pulled without the borrow: pulling may read the request's body from
            // this very connection.
            match answer.poll_piece(cx) {
                Poll::Pending => return true,
                Poll::Ready(piece) => self.encode(piece),
            }
        }
        if self.framing != Framing::Chunked {
            // Only chunks have an end that tells; every other body that was cut breaks off.
            self.broken = self.broken.or(answer.body.cut());
        }
        false
    }

    fn encode(&mut self, piece: Option<Result<Piece, Termination>>) {
        let mut conn = self.conn.borrow_mut();
        match piece.transpose() {
            Err(termination) => {
                self.broken = Some(termination);
                self.ended = true;
            }
            Ok(Some(Piece::Data(data))) => {
                self.sent += data.len() as u64;
                encode_data(&mut conn, self.framing, data);
            }
            Ok(Some(Piece::Trailers(trailers))) => self.end(&mut conn, Some(&trailers)),
            Ok(None) => self.end(&mut conn, None),
        }
    }

    fn end(&mut self, conn: &mut Conn, trailers: Option<&http::HeaderMap>) {
        end_body(conn, self.framing, trailers);
        self.ended = true;
    }
}
