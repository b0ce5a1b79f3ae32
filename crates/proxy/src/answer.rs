//! The answer to a request, whoever made it: an upstream's, relayed as it comes, or one of ours.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidegate_core::Termination;
use tidegate_core::plan::Fallback;
use tidegate_http1::{Framing, encode};

use crate::action::ReplyHead;
use crate::action::fields::{AnswerEdits, Edited};
use crate::body::Piece;
use crate::download::Download;
use crate::finish::Finish;
use crate::forward::{ResponseAdditions, Sink, interim_fields, local_fields, response_fields};
use crate::grpc::CallEnd;
use crate::head::{ResponseHead, is_bodiless};
use crate::request_id::RequestId;
use crate::tunnel::Tunnel;

/// So many fields are added to an answer, more or less.
const ADDED_FIELDS: usize = 4;

/// An answer: its head, its body on the way, and what must be done at its end. Boxed, because it is
/// handed on.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) head: AnswerHead,
    pub(crate) body: Download,
    /// The upstream's side of an upgraded connection; the answer is 101 (or 200 over HTTP/2).
    pub(crate) tunnel: Option<Tunnel>,
    /// What the answer's added fields are made of.
    pub(crate) words: AnswerWords,
    pub(crate) finish: Box<Finish>,
}

/// Where the head's fields come from.
pub(crate) enum AnswerHead {
    /// An upstream.
    Upstream(ResponseHead),
    /// Ourselves.
    Local {
        /// `Content-Type` of the body.
        content_type: &'static str,
        /// `Retry-After` in seconds, where it helps.
        retry_after: Option<u32>,
        /// How a call of gRPC ends.
        call: Option<Box<CallEnd>>,
    },
    /// The route, by itself.
    Reply(ReplyHead),
    /// The plan, for when no region serves.
    Fallback {
        fallback: Arc<Fallback>,
        /// `Retry-After` in seconds, where it helps.
        retry_after: Option<u32>,
    },
}

impl AnswerHead {
    /// How many fields it has.
    fn fields(&self) -> usize {
        match self {
            Self::Upstream(ResponseHead::H1(head)) => head.fields.len(),
            Self::Upstream(ResponseHead::H2(parts)) => parts.headers.len(),
            Self::Local { .. } | Self::Reply(_) | Self::Fallback { .. } => 0,
        }
    }
}

/// What the added fields are made of.
pub(crate) struct AnswerWords {
    pub(crate) request_id: RequestId,
    pub(crate) pop: Rc<str>,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) attempts: Option<u8>,
    pub(crate) server_timing: Option<String>,
    /// `Set-Cookie` of our own.
    pub(crate) set_cookie: Option<Box<str>>,
    /// What the route edits.
    pub(crate) edits: Option<Box<AnswerEdits>>,
}

impl AnswerWords {
    fn additions(&self) -> ResponseAdditions<'_> {
        ResponseAdditions {
            request_id: &self.request_id,
            pop: &self.pop,
            region: self.region.as_deref(),
            attempts: self.attempts,
            server_timing: self.server_timing.as_deref(),
            set_cookie: self.set_cookie.as_deref(),
            edits: self.edits.as_deref(),
        }
    }
}

impl Answer {
    /// Writes the head for an HTTP/1.1 client; says how the body must be framed. `close` tells the
    /// client that the connection ends with this answer.
    pub(crate) fn write_h1(
        &self,
        out: &mut BytesMut,
        method: &Method,
        http11: bool,
        close: bool,
    ) -> Framing {
        let framing = self.h1_framing(method, http11);
        let close = close || framing == Framing::UntilClose;
        match &self.head {
            AnswerHead::Upstream(ResponseHead::H1(head)) => {
                encode::status_line(out, self.status, Some(&head.reason))
            }
            _ => encode::status_line(out, self.status, None),
        }
        match &self.head {
            AnswerHead::Upstream(head) => response_fields(head, &self.words.additions(), out),
            _ => self.local_fields(out),
        }
        match framing {
            Framing::Length(length) => encode::content_length(out, length),
            Framing::Chunked => encode::chunked(out),
            Framing::None => self.write_announced_length(out, method),
            Framing::UntilClose => {}
        }
        if close {
            encode::field(out, b"connection", b"close");
        } else if !http11 {
            encode::field(out, b"connection", b"keep-alive");
        }
        encode::end(out);
        framing
    }

    /// The head for an HTTP/2 client.
    pub(crate) fn h2_head(&self) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.reserve(self.head.fields() + ADDED_FIELDS);
        match &self.head {
            AnswerHead::Upstream(head) => response_fields(head, &self.words.additions(), fields),
            _ => self.local_fields(fields),
        }
        if let Some(length) = self.announced_length() {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }

    /// The next piece of the body; `None` after the last. An error is the reason why the request ends.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        self.body.poll_piece(cx, &mut self.finish)
    }

    /// Nothing is pulled any more. Enters what was moved: bytes of content that the client took, and those that it sent.
    pub(crate) fn moved(&mut self, sent: u64) {
        self.body.settle(&mut self.finish);
        self.finish.sent(sent);
        if let Some(why) = self.body.cut() {
            self.finish.broke(why);
        }
        if let Some(bytes) = self.body.uploaded() {
            self.finish.received(bytes);
        }
    }

    fn local_fields(&self, sink: &mut impl Sink) {
        let Some(edits) = &self.words.edits else {
            return self.own_fields(sink);
        };
        let says_wrong = !matches!(self.head, AnswerHead::Reply(_));
        self.own_fields(&mut Edited {
            sink: &mut *sink,
            edits: edits.edits(),
            says_wrong,
        });
        edits.write(says_wrong, sink);
    }

    fn own_fields(&self, sink: &mut impl Sink) {
        let retry_after = match &self.head {
            AnswerHead::Upstream(_) => return,
            AnswerHead::Reply(head) => {
                head.write(sink);
                return local_fields(&self.words.additions(), sink);
            }
            AnswerHead::Local {
                content_type,
                retry_after,
                call,
            } => {
                sink.add(b"content-type", content_type.as_bytes());
                let fields = call.as_ref().map(|call| call.fields()).unwrap_or_default();
                fields
                    .iter()
                    .for_each(|(name, value)| sink.add_typed(name, value));
                retry_after
            }
            AnswerHead::Fallback {
                fallback,
                retry_after,
            } => {
                fallback_fields(fallback, sink);
                retry_after
            }
        };
        sink.add(b"cache-control", b"no-store");
        if let Some(seconds) = retry_after {
            sink.add(b"retry-after", seconds.to_string().as_bytes());
        }
        local_fields(&self.words.additions(), sink);
    }

    fn h1_framing(&self, method: &Method, http11: bool) -> Framing {
        match self.announced_length() {
            _ if is_bodiless(method, self.status) => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.body.is_ended() => Framing::Length(0),
            None if http11 => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }

    /// HEAD and 304 answers say how long the body would have been, if the upstream said so.
    fn write_announced_length(&self, out: &mut BytesMut, method: &Method) {
        let says = *method == Method::HEAD || self.status == StatusCode::NOT_MODIFIED;
        if let (true, Some(length)) = (says, self.announced_length()) {
            encode::content_length(out, length);
        }
    }

    fn announced_length(&self) -> Option<u64> {
        match &self.head {
            // It may not even say that its body is empty (RFC 9110 section 8.6).
            AnswerHead::Fallback { .. } | AnswerHead::Reply(_)
                if self.status == StatusCode::NO_CONTENT =>
            {
                None
            }
            AnswerHead::Reply(_) if self.status == StatusCode::NOT_MODIFIED => None,
            AnswerHead::Local { .. } | AnswerHead::Reply(_) | AnswerHead::Fallback { .. } => {
                self.body.full_len()
            }
            AnswerHead::Upstream(head) => head.announced_length(),
        }
    }
}

fn fallback_fields(fallback: &Fallback, sink: &mut impl Sink) {
    if let Some(location) = &fallback.location {
        sink.add(b"location", location.as_bytes());
    }
    if !fallback.body.is_empty() {
        sink.add(b"content-type", fallback.content_type.as_bytes());
    }
}

/// Writes an interim (1xx) head for an HTTP/1.1 client.
pub(crate) fn write_interim(out: &mut BytesMut, head: &ResponseHead) {
    encode::status_line(out, head.status(), None);
    interim_fields(head, out);
    encode::end(out);
}

/// An interim (1xx) head for an HTTP/2 client.
pub(crate) fn interim_h2(head: &ResponseHead) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = head.status();
    let mut fields = HeaderMap::new();
    interim_fields(head, &mut fields);
    *response.headers_mut() = fields;
    response
}
