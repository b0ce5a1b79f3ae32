//! One request at an HTTP/1.1 upstream, on a connection that is ours alone until the answer ends.
//!
//! The phase is known to the byte: what the connection counts as written decides between "nothing
//! sent" and "sent". Upload and answer flow at the same time. When the answer ends cleanly the
//! connection goes back to the pool at once; dropped earlier, it is closed, which is how an attempt
//! is cancelled on the wire.

use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tidegate_core::retry::{Failure, Phase};
use tidegate_http1::{
    self as http1, BodyDecoder, Decoded, Framing, Limits, RequestContext, ResponseParser, encode,
};

use crate::body::{Piece, ReplayBody, UploadError};
use crate::conn::Conn;
use crate::exchange::{ExchangeError, HeadEvent};
use crate::h1::to_map;
use crate::head::ResponseHead;
use crate::upstream::pool::Home;

/// A request under way on a connection.
pub(crate) struct Exchange {
    conn: Option<Box<Conn>>,
    home: Option<Home>,
    limits: Limits,
    context: RequestContext,
    parser: ResponseParser,
    written_before: u64,
    upload: UploadState,
    framing: Framing,
    answer: AnswerState,
    keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadState {
    /// More of the body is to be sent.
    Open,
    /// All of it is encoded; some may wait to be written.
    Encoded,
    /// The upstream takes no more of it; what it answers is still wanted.
    Refused,
}

enum AnswerState {
    Head,
    Body(BodyDecoder),
    Ended,
}

impl Exchange {
    /// Starts a request on `conn`. `write_head` puts its head into the buffer; the body will be
    /// framed by `framing`. `home` is where the connection goes when it can be used again.
    pub(crate) fn start(
        mut conn: Box<Conn>,
        home: Option<Home>,
        context: RequestContext,
        framing: Framing,
        write_head: impl FnOnce(&mut BytesMut),
    ) -> Box<Self> {
        let written_before = conn.written();
        conn.make_room();
        write_head(&mut conn.wbuf);
        let upload = if framing == Framing::None {
            UploadState::Encoded
        } else {
            UploadState::Open
        };
        Box::new(Self {
            conn: Some(conn),
            home,
            limits: Limits::default(),
            context,
            parser: ResponseParser::default(),
            written_before,
            upload,
            framing,
            answer: AnswerState::Head,
            keep_alive: true,
        })
    }

    /// Sends as much of the body as is there and fits. Ready once all of it is sent, or the
    /// upstream takes no more.
    pub(crate) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut ReplayBody,
    ) -> Poll<Result<(), ExchangeError>> {
        loop {
            let starved = self.encode_available(cx, body)?;
            let Some(conn) = self
                .conn
                .as_mut()
                .filter(|_| self.upload != UploadState::Refused)
            else {
                return Poll::Ready(Ok(()));
            };
            match ready!(conn.poll_flush(cx)) {
                Err(_) => self.upload = UploadState::Refused,
                Ok(()) if self.upload == UploadState::Encoded => {
                    conn.release_written();
                    return Poll::Ready(Ok(()));
                }
                Ok(()) if starved => return Poll::Pending,
                Ok(()) => {}
            }
        }
    }

    /// Encodes pieces until the buffer is full or the client has none ready; true if the latter.
    fn encode_available(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut ReplayBody,
    ) -> Result<bool, UploadError> {
        let Some(conn) = self.conn.as_mut() else {
            return Ok(false);
        };
        while self.upload == UploadState::Open && !conn.is_full() {
            match body.poll_piece(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => {
                    end_body(conn, self.framing, None);
                    self.upload = UploadState::Encoded;
                }
                Poll::Ready(Some(piece)) => match piece? {
                    Piece::Data(data) => encode_data(conn, self.framing, data),
                    Piece::Trailers(trailers) => {
                        end_body(conn, self.framing, Some(&trailers));
                        self.upload = UploadState::Encoded;
                    }
                },
            }
        }
        Ok(false)
    }

    /// The next head, interim or final.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HeadEvent, ExchangeError>> {
        loop {
            if let Some(head) = self.parse_head()? {
                return Poll::Ready(Ok(self.accept_head(head)));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    fn parse_head(&mut self) -> Result<Option<Box<http1::ResponseHead>>, ExchangeError> {
        let Some(conn) = self.conn.as_mut() else {
            return Ok(None);
        };
        if conn.rbuf.is_empty() {
            return Ok(None);
        }
        self.parser
            .parse(&mut conn.rbuf, self.context, &self.limits)
            .map_err(|error| {
                ExchangeError::upstream(Failure::BadResponse, Phase::HeadReceived, error.reason())
            })
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let phase = self.phase();
        let reset = |detail: String| Err(ExchangeError::upstream(Failure::Reset, phase, detail));
        let Some(conn) = self.conn.as_mut() else {
            return Poll::Ready(reset("the connection is gone".to_owned()));
        };
        Poll::Ready(match ready!(conn.poll_fill(cx)) {
            Ok(0) => {
                reset("the upstream closed the connection before its answer's head".to_owned())
            }
            Ok(_) => Ok(()),
            Err(error) => reset(format!(
                "the connection broke before the answer's head: {error}"
            )),
        })
    }

    fn accept_head(&mut self, head: Box<http1::ResponseHead>) -> HeadEvent {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return HeadEvent::Interim(ResponseHead::H1(head));
        }
        self.keep_alive = head.keep_alive;
        self.answer = AnswerState::Body(BodyDecoder::new(head.framing, &self.limits));
        if head.framing == Framing::None && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.end();
        }
        HeadEvent::Final(ResponseHead::H1(head))
    }

    /// The next piece of the answer's body; `None` after the last.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, ExchangeError>>> {
        loop {
            let AnswerState::Body(decoder) = &mut self.answer else {
                return Poll::Ready(None);
            };
            let Some(conn) = self.conn.as_mut() else {
                return Poll::Ready(None);
            };
            let decoded = match decoder.decode(&conn.rbuf) {
                Ok(decoded) => decoded,
                Err(error) => {
                    return Poll::Ready(Some(Err(body_error(
                        Failure::BadResponse,
                        error.reason(),
                    ))));
                }
            };
            match decoded {
                Decoded::Data { skip, len } => {
                    conn.rbuf.advance(skip);
                    let data = conn.rbuf.split_to(len).freeze();
                    if decoder.is_done() {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Piece::Data(data))));
                }
                Decoded::Trailers { skip, fields } => {
                    conn.rbuf.advance(skip);
                    self.end();
                    return Poll::Ready(Some(Ok(Piece::Trailers(Box::new(to_map(&fields))))));
                }
                Decoded::End { skip } => {
                    conn.rbuf.advance(skip);
                    self.end();
                }
                Decoded::More { skip } => {
                    conn.rbuf.advance(skip);
                    match ready!(conn.poll_fill(cx)) {
                        Ok(0) => match decoder.on_eof() {
                            Ok(()) => self.close(),
                            Err(error) => {
                                return Poll::Ready(Some(Err(body_error(
                                    Failure::Reset,
                                    error.reason(),
                                ))));
                            }
                        },
                        Ok(_) => {}
                        Err(error) => {
                            return Poll::Ready(Some(Err(body_error(
                                Failure::Reset,
                                &error.to_string(),
                            ))));
                        }
                    }
                }
            }
        }
    }

    /// Whether the answer has no more body.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.answer, AnswerState::Ended)
    }

    /// How far the request got.
    pub(crate) fn phase(&self) -> Phase {
        match (&self.answer, &self.conn) {
            (AnswerState::Head, Some(conn)) if conn.written() == self.written_before => {
                Phase::NothingSent
            }
            (AnswerState::Head, _) => Phase::Sent,
            _ => Phase::HeadReceived,
        }
    }

    /// The connection itself, after `101 Switching Protocols`.
    pub(crate) fn take_conn(&mut self) -> Option<Box<Conn>> {
        self.conn.take()
    }

    /// Whether bytes wait that the upstream does not take.
    pub(crate) fn is_blocked(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| !conn.is_flushed())
    }

    /// Bytes that went to the connection.
    pub(crate) fn taken(&self) -> u64 {
        self.conn.as_ref().map_or(0, |conn| conn.written())
    }

    /// Closes the connection.
    pub(crate) fn cancel(&mut self) {
        self.conn = None;
    }

    fn end(&mut self) {
        self.answer = AnswerState::Ended;
        let clean = self.keep_alive && self.upload == UploadState::Encoded;
        if let (Some(conn), Some(home), true) = (self.conn.take(), self.home.take(), clean) {
            home.put(conn);
        }
    }

    fn close(&mut self) {
        self.keep_alive = false;
        self.end();
    }
}

fn body_error(failure: Failure, detail: &str) -> ExchangeError {
    ExchangeError::upstream(failure, Phase::BodyUnderWay, detail)
}

/// Adds a piece of content to what `conn` will write, in the given framing.
pub(crate) fn encode_data(conn: &mut Conn, framing: Framing, data: bytes::Bytes) {
    // An empty chunk would end the body.
    if data.is_empty() {
        return;
    }
    if framing == Framing::Chunked {
        conn.settle();
        encode::chunk_head(&mut conn.wbuf, data.len());
        conn.push(data, b"\r\n");
    } else {
        conn.push(data, b"");
    }
}

/// Ends a body in the given framing, with its trailers if the framing can carry them.
pub(crate) fn end_body(conn: &mut Conn, framing: Framing, trailers: Option<&http::HeaderMap>) {
    if framing == Framing::Chunked {
        conn.settle();
        let fields = trailers
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        encode::last_chunk(&mut conn.wbuf, fields);
    }
}
