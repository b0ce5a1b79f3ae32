//! The answer to a request, whoever made it: an upstream's, relayed as it comes, or one of ours.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidegate_core::retry::Failure;
use tidegate_core::{RegionCell, Termination};
use tidegate_http1::{Framing, encode};

use crate::body::{Piece, ReplayBody};
use crate::clock::now;
use crate::deadline::Ends;
use crate::exchange::{Exchange, ExchangeError};
use crate::finish::Finish;
use crate::forward::{ResponseAdditions, interim_fields, local_fields, response_fields};
use crate::grpc::CallEnd;
use crate::head::{ResponseHead, is_bodiless};
use crate::hold::Ahead;
use crate::homing::Homing;
use crate::request_id::RequestId;
use crate::tunnel::Tunnel;
use crate::wheel::Timer;

/// So many fields are added to an answer, more or less.
const ADDED_FIELDS: usize = 4;

/// An answer: its head, its body on the way, and what must be done at its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) head: AnswerHead,
    pub(crate) body: Download,
    /// The upstream's side of an upgraded connection; the answer is 101 (or 200 over HTTP/2).
    pub(crate) tunnel: Option<Tunnel>,
    /// What the answer's added fields are made of.
    pub(crate) words: AnswerWords,
    pub(crate) finish: Finish,
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
}

impl AnswerHead {
    /// How many fields it has.
    fn fields(&self) -> usize {
        match self {
            Self::Upstream(ResponseHead::H1(head)) => head.fields.len(),
            Self::Upstream(ResponseHead::H2(parts)) => parts.headers.len(),
            Self::Local { .. } => 0,
        }
    }
}

/// What the added fields are made of.
pub(crate) struct AnswerWords {
    pub(crate) request_id: RequestId,
    pub(crate) pop: Arc<str>,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) attempts: Option<u8>,
    pub(crate) server_timing: Option<String>,
}

impl AnswerWords {
    fn additions(&self) -> ResponseAdditions<'_> {
        ResponseAdditions {
            request_id: &self.request_id,
            pop: &self.pop,
            region: self.region.as_deref(),
            attempts: self.attempts,
            server_timing: self.server_timing.as_deref(),
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
            AnswerHead::Local { .. } => self.local_fields(out),
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
            AnswerHead::Local { .. } => self.local_fields(fields),
        }
        if let Some(length) = self.announced_length() {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }

    /// Enters what was moved: bytes of content that the client took, and those that it sent.
    pub(crate) fn moved(&mut self, sent: u64) {
        self.finish.sent(sent);
        if let Some(why) = self.body.cut {
            self.finish.broke(why);
        }
        if let Source::Relay(relay) = &self.body.source {
            self.finish.received(relay.upload.read_bytes());
        }
    }

    fn local_fields(&self, sink: &mut impl crate::forward::Sink) {
        let AnswerHead::Local {
            content_type,
            retry_after,
            call,
        } = &self.head
        else {
            return;
        };
        sink.add(b"content-type", content_type.as_bytes());
        sink.add(b"cache-control", b"no-store");
        if let Some(seconds) = retry_after {
            sink.add(b"retry-after", seconds.to_string().as_bytes());
        }
        if let Some(call) = call {
            let fields = call.fields();
            fields
                .iter()
                .for_each(|(name, value)| sink.add_typed(name, value));
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
            AnswerHead::Local { .. } => self.body.full_len(),
            AnswerHead::Upstream(head) => head.announced_length(),
        }
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

/// The body of an answer, pulled by whoever writes it to the client. Pulling also pushes what is
/// left of the request's body, so that both flow at the same time.
pub(crate) struct Download {
    source: Source,
    timer: Option<Timer>,
    idle: Duration,
    /// When it is to be ended, if it comes from another region than it should.
    homing: Option<Box<Homing>>,
    /// When it must be over whether it moves or not.
    ends: Option<Ends>,
    /// Why it was ended between two pieces, in the words of gRPC.
    cut: Option<Termination>,
}

enum Source {
    Empty,
    Full(Bytes),
    Relay(Box<Relay>),
}

struct Relay {
    /// Pieces that came before the head was passed on.
    ahead: smallvec::IntoIter<[Piece; 1]>,
    exchange: Exchange,
    upload: ReplayBody,
    uploading: bool,
    /// Learns that the region is not silent.
    region: Arc<RegionCell>,
}

impl Download {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self {
            source: Source::Empty,
            timer: None,
            idle: Duration::ZERO,
            homing: None,
            ends: None,
            cut: None,
        }
    }

    /// A body that is all there.
    pub(crate) fn full(body: Bytes) -> Self {
        Self {
            source: Source::Full(body),
            ..Self::empty()
        }
    }

    /// The body of an exchange whose head has arrived, of which `ahead` is here already; no movement
    /// for `idle` ends it.
    pub(crate) fn relay(
        mut ahead: Ahead,
        exchange: Exchange,
        upload: ReplayBody,
        timer: Timer,
        idle: Duration,
        region: &Arc<RegionCell>,
    ) -> Self {
        let over = exchange.is_ended() && upload.is_done();
        let source = match ahead.as_mut_slice() {
            [] if over => return Self::empty(),
            [Piece::Data(whole)] if over => Source::Full(std::mem::take(whole)),
            _ => Source::Relay(Box::new(Relay {
                ahead: ahead.into_iter(),
                uploading: !upload.is_done(),
                exchange,
                upload,
                region: region.clone(),
            })),
        };
        timer.set(now() + idle);
        Self {
            source,
            timer: Some(timer),
            idle,
            ..Self::empty()
        }
    }

    /// Ends it in time, as one that comes from another region than it should.
    pub(crate) fn homing(mut self, homing: Option<Box<Homing>>) -> Self {
        self.homing = homing;
        self
    }

    /// Ends it at its latest moment, if it has one.
    pub(crate) fn until(mut self, ends: Option<Ends>) -> Self {
        self.ends = ends;
        self.moved();
        self
    }

    /// Whether nothing (more) will come.
    pub(crate) fn is_ended(&self) -> bool {
        match &self.source {
            _ if self.cut.is_some() => true,
            Source::Empty => true,
            Source::Full(body) => body.is_empty(),
            Source::Relay(relay) => relay.ahead.len() == 0 && relay.exchange.is_ended(),
        }
    }

    /// Whether all of it is here, so that nothing is read from the client while it is written.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Full(_) => true,
            Source::Relay(relay) => relay.exchange.is_ended(),
        }
    }

    /// Whether the request's body is still read from the client while this is written.
    pub(crate) fn is_uploading(&self) -> bool {
        matches!(&self.source, Source::Relay(relay) if relay.uploading)
    }

    fn full_len(&self) -> Option<u64> {
        match &self.source {
            Source::Empty => Some(0),
            Source::Full(body) => Some(body.len() as u64),
            Source::Relay(_) => None,
        }
    }

    /// The next piece; `None` after the last. An error is the reason why the request ends.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        match &mut self.source {
            _ if self.cut.is_some() => Poll::Ready(None),
            Source::Empty => Poll::Ready(None),
            Source::Full(body) => {
                let body = std::mem::take(body);
                self.source = Source::Empty;
                Poll::Ready((!body.is_empty()).then_some(Ok(Piece::Data(body))))
            }
            Source::Relay(relay) => {
                let piece = relay.poll_piece(cx);
                if piece.is_pending() && self.poll_home(cx).is_ready() {
                    return self.go_home();
                }
                self.poll_idle(cx, piece)
            }
        }
    }

    /// Ready once it is to be ended, so that it begins anew elsewhere.
    fn poll_home(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.homing {
            Some(homing) => homing.poll_due(cx),
            None => Poll::Pending,
        }
    }

    /// Ends it so that it begins anew elsewhere.
    fn go_home(&mut self) -> Poll<Option<Result<Piece, Termination>>> {
        let grpc = self.homing.take().is_some_and(|homing| homing.grpc);
        let words = "the stream goes back to its region";
        self.end_here(Termination::DrainedHome, grpc, words)
    }

    /// Ends it because its time is over.
    fn run_out(&mut self) -> Poll<Option<Result<Piece, Termination>>> {
        let grpc = self.ends.is_some_and(|ends| ends.grpc);
        let words = "the time for the whole call is over";
        self.end_here(Termination::DeadlineExceeded, grpc, words)
    }

    /// Ends it between two pieces: in the words of gRPC if it speaks that, else visibly early.
    fn end_here(
        &mut self,
        why: Termination,
        grpc: bool,
        words: &str,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        if !grpc {
            return Poll::Ready(Some(Err(why)));
        }
        self.cut = Some(why);
        let trailers = CallEnd::new(why, false, words).fields();
        Poll::Ready(Some(Ok(Piece::Trailers(trailers))))
    }

    /// Tells that the client took something: the idle limit starts anew.
    pub(crate) fn moved(&self) {
        if let Some(timer) = &self.timer {
            let idle = now() + self.idle;
            timer.set(self.ends.map_or(idle, |ends| ends.at.min(idle)));
        }
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends.at <= now())
    }

    fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        piece: Poll<Option<Result<Piece, Termination>>>,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        let goes_on = matches!(piece, Poll::Pending | Poll::Ready(Some(Ok(Piece::Data(_)))));
        if goes_on && self.is_over() {
            return self.run_out();
        }
        if piece.is_ready() {
            self.moved();
            return piece;
        }
        match ready!(self.poll_stalled(cx)) {
            Termination::DeadlineExceeded => self.run_out(),
            why => Poll::Ready(Some(Err(why))),
        }
    }

    /// Ready, with the reason to end it, once nothing has moved for the idle limit or its time is over.
    pub(crate) fn poll_stalled(&self, cx: &mut Context<'_>) -> Poll<Termination> {
        let Some(timer) = &self.timer else {
            return Poll::Pending;
        };
        timer.poll_expired(cx).map(|()| match self.is_over() {
            true => Termination::DeadlineExceeded,
            false => Termination::IdleTimeout,
        })
    }
}

impl Relay {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Termination>>> {
        if let Some(piece) = self.ahead.next() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.uploading {
            match self.exchange.poll_upload(cx, &mut self.upload) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.uploading = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(termination(&error)))),
            }
        }
        let piece = ready!(self.exchange.poll_body(cx));
        self.region.heard(now());
        Poll::Ready(piece.map(|piece| piece.map_err(|error| termination(&error))))
    }
}

/// The reason for which a request ends when its exchange breaks after the head.
fn termination(error: &ExchangeError) -> Termination {
    match error {
        ExchangeError::Client(error) => error.termination(),
        ExchangeError::Upstream {
            failure: Failure::BadResponse,
            ..
        } => Termination::BadResponse,
        ExchangeError::Upstream { .. } => Termination::UpstreamTruncated,
    }
}
