//! HTTP/2 to an upstream: one connection, many requests.
//!
//! [`open`] starts a connection's task on the calling thread and returns its [`Channel`]; a
//! [`Handle`] is the right to one stream of it, usable from any thread; an [`Exchange`] is a request
//! under way on such a stream. Certainly not processed is only what the peer says so of: a stream
//! refused, or above GOAWAY's last (RFC 9113 sections 6.8 and 8.7). All else counts as sent.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use tidegate_core::RegionCell;
use tidegate_core::retry::{Failure, Phase};
use tokio::sync::SetOnce;

use super::body::{RecvBody, SendBody};
use super::coalesce::{Coalesce, Drain, coalesce};
use super::duplex::H2Duplex;
use super::given_up::{Abandoned, GivenUp};
use super::keep_alive::{KeepAlive, Observed, Sign};
use super::unread::{Unread, UnreadStreams};
use super::{CONNECTION_WINDOW, HEADER_LIST, SEND_BUFFER, STREAM_WINDOW};
use crate::body::{Piece, ReplayBody};
use crate::clock::now;
use crate::exchange::{ExchangeError, HeadEvent};
use crate::head::ResponseHead;
use crate::io::Stream;
use crate::upstream::gate::FreeStream;
use crate::wheel::Wheel;

/// Streams that may be opened before the peer has told its own limit.
const STREAMS_AT_FIRST: usize = 100;

/// A connection as the pool keeps it. Once every channel, handle and exchange of it is gone, the
/// connection ends.
#[derive(Clone)]
pub(crate) struct Channel {
    send: SendRequest<Bytes>,
    state: Arc<State>,
}

/// The right to open one stream.
pub(crate) struct Handle {
    send: SendRequest<Bytes>,
    permit: Permit,
}

/// What a channel says to a wish for a stream.
pub(crate) enum Reserved {
    /// Here it is.
    Handle(Handle),
    /// Not now: the peer allows no more at a time.
    Full,
    /// Never again: the connection ended, or the peer sent GOAWAY.
    Gone,
}

/// Counts one stream as in use until it is dropped.
pub(super) struct Permit(Arc<State>);

#[derive(Default)]
struct State {
    in_use: AtomicUsize,
    started: AtomicU64,
    doubted: AtomicBool,
    given_up: GivenUp,
    unread: UnreadStreams,
    /// Who wants to hear of each stream that ends.
    free_stream: Option<FreeStream>,
    /// Set once the peer's SETTINGS are in, or the connection has ended.
    settled: SetOnce<()>,
}

/// Starts HTTP/2 on `stream`, whose task lives on the calling thread's `LocalSet`. Round trips that
/// pings measure are entered into `region`; streams that end are told of by `free_stream`. Waits for
/// nothing from the peer.
pub(crate) async fn open(
    wheel: &Wheel,
    stream: Stream,
    region: Option<Arc<RegionCell>>,
    free_stream: Option<FreeStream>,
) -> Result<Channel, h2::Error> {
    let (wire, drain) = coalesce(stream, Bytes::new());
    let (send, mut connection) = builder().handshake(wire).await?;
    let state = Arc::new(State {
        free_stream,
        ..State::default()
    });
    let keep_alive = connection
        .ping_pong()
        .map(|ping| KeepAlive::new(ping, wheel.timer()));
    let mut driver = Driver {
        connection,
        drain,
        keep_alive,
        region,
        state: state.clone(),
        received: 0,
    };
    tokio::task::spawn_local(async move {
        let ended = poll_fn(|cx| driver.poll(cx)).await;
        tracing::debug!(?ended, "an HTTP/2 connection to an upstream has ended");
    });
    Ok(Channel { send, state })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .enable_push(false);
    builder
}

impl Channel {
    /// The right to one more stream.
    pub(crate) fn reserve(&self) -> Reserved {
        let mut send = self.send.clone();
        // Asked without a pending stream, this never waits.
        if !is_ready(&mut send) {
            return Reserved::Gone;
        }
        match Permit::new(&self.state, send.current_max_send_streams()) {
            Some(permit) => Reserved::Handle(Handle { send, permit }),
            None => Reserved::Full,
        }
    }

    /// Whether a stream could be had now.
    pub(crate) fn has_spare(&self) -> bool {
        !self.is_gone() && self.in_use() < self.send.current_max_send_streams()
    }

    /// Streams in use.
    pub(crate) fn in_use(&self) -> usize {
        self.state.in_use.load(Ordering::Relaxed)
    }

    /// Streams asked for since the connection was made.
    pub(crate) fn started(&self) -> u64 {
        self.state.started.load(Ordering::Relaxed)
    }

    /// Whether no stream can be opened any more.
    pub(crate) fn is_gone(&self) -> bool {
        !is_ready(&mut self.send.clone())
    }
}

fn is_ready(send: &mut SendRequest<Bytes>) -> bool {
    matches!(
        send.poll_ready(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(Ok(()))
    )
}

impl Permit {
    /// One more stream in use, if fewer than `max` are. Never one too many, not even for a moment:
    /// whoever looks meanwhile would go away for nothing.
    fn new(state: &Arc<State>, max: usize) -> Option<Self> {
        let one_more = |in_use| (in_use < max).then_some(in_use + 1);
        // What a request sees that then waits must not be older than what it is woken for.
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        state.in_use.fetch_update(set, fetch, one_more).ok()?;
        state.started.fetch_add(1, Ordering::Relaxed);
        Some(Self(state.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::SeqCst);
        if let Some(free_stream) = &self.0.free_stream {
            free_stream.tell();
        }
    }
}

impl Handle {
    /// Waits for the peer's SETTINGS, or the connection's end.
    pub(crate) async fn settled(&self) {
        self.permit.0.settled.wait().await;
    }

    /// Whether the peer takes extended CONNECT (RFC 8441), once it has [`settled`](Self::settled).
    pub(crate) fn takes_extended_connect(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }
}

/// The task of one connection.
struct Driver {
    connection: Connection<Coalesce<Stream>, Bytes>,
    drain: Drain<Stream>,
    keep_alive: Option<KeepAlive>,
    region: Option<Arc<RegionCell>>,
    state: Arc<State>,
    /// Bytes received when that was last looked at.
    received: u64,
}

/// Why a connection's task ended.
#[derive(Debug)]
enum Ended {
    /// The connection did.
    Connection(#[expect(dead_code, reason = "for the log")] Result<(), h2::Error>),
    /// Writing failed.
    Write(#[expect(dead_code, reason = "for the log")] std::io::Error),
    /// A ping was not answered in time.
    Silent,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(Ended::Connection(result));
        }
        if self.poll_keep_alive(cx).is_ready() {
            return Poll::Ready(Ended::Silent);
        }
        let before = std::mem::replace(&mut self.received, self.drain.received());
        if before != self.received && self.state.given_up.heard() {
            // A ping makes the peer heard again.
            self.state.doubted.store(true, Ordering::Relaxed);
        }
        if let Poll::Ready(Err(error)) = self.drain.poll_drain(cx) {
            return Poll::Ready(Ended::Write(error));
        }
        if !self.is_busy() {
            self.drain.release();
        }
        Poll::Pending
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let seen = Observed {
            received: self.drain.received(),
            busy: self.is_busy(),
            doubted: self.state.doubted.swap(false, Ordering::Relaxed),
        };
        let Some(keep_alive) = &mut self.keep_alive else {
            return Poll::Pending;
        };
        match ready!(keep_alive.poll(cx, seen)) {
            Sign::Dead => Poll::Ready(()),
            Sign::Alive(rtt) => {
                // Only the first pong settles anything.
                let _settled = self.state.settled.set(());
                if let Some(region) = &self.region {
                    region.observe_rtt(rtt, now());
                    region.heard(now());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.state.in_use.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Whoever waits for the peer's SETTINGS must not wait for ever.
        let _settled = self.state.settled.set(());
        self.state.given_up.forget();
    }
}

/// A request under way on one stream. Dropped before both directions have ended, it has the stream
/// reset with CANCEL, which is how an attempt is cancelled on the wire.
pub(crate) struct Exchange {
    response: Option<ResponseFuture>,
    upload: Option<SendBody>,
    download: Option<RecvBody>,
    permit: Option<Permit>,
    /// What has arrived is left lying.
    unread: Option<Unread>,
    blocked: bool,
    kept_open: bool,
}

impl Exchange {
    /// Starts `request` on the stream of `handle`. `end_of_stream`: it has no body.
    pub(crate) fn start(
        mut handle: Handle,
        request: http::Request<()>,
        end_of_stream: bool,
    ) -> Result<Self, ExchangeError> {
        let sent = handle.send.send_request(request, end_of_stream);
        let (response, stream) = sent.map_err(|error| not_sent(&error))?;
        let upload = if end_of_stream {
            SendBody::ended(stream)
        } else {
            SendBody::new(stream)
        };
        Ok(Self {
            response: Some(response),
            upload: Some(upload),
            download: None,
            permit: Some(handle.permit),
            unread: None,
            blocked: false,
            kept_open: false,
        })
    }

    /// Sends as much of the body as is there and fits. Ready once all of it is sent, or the
    /// upstream takes no more; why it takes no more is told where the answer is read.
    pub(crate) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut ReplayBody,
    ) -> Poll<Result<(), ExchangeError>> {
        let Some(upload) = self.upload.as_mut().filter(|_| !self.kept_open) else {
            return Poll::Ready(Ok(()));
        };
        while !upload.is_ended() {
            let room = upload.poll_ready(cx);
            self.blocked = room.is_pending();
            match ready!(room) {
                Ok(room) if room > 0 => {}
                _ => return Poll::Ready(Ok(())),
            }
            let sent = match ready!(body.poll_piece(cx)).transpose()? {
                Some(piece) => upload.send(piece, false),
                None => upload.finish(),
            };
            if sent.is_err() {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next head, interim or final. Pending for ever after the final one.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HeadEvent, ExchangeError>> {
        let Some(response) = self.response.as_mut() else {
            return Poll::Pending;
        };
        let failed = |error: h2::Error| broken(&error, Phase::Sent);
        if let Some(interim) = ready!(response.poll_informational(cx)) {
            let (parts, ()) = interim.map_err(failed)?.into_parts();
            return Poll::Ready(Ok(HeadEvent::Interim(ResponseHead::H2(Box::new(parts)))));
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(failed)?;
        Poll::Ready(Ok(self.accept(response)))
    }

    fn accept(&mut self, response: http::Response<RecvStream>) -> HeadEvent {
        let (parts, stream) = response.into_parts();
        self.response = None;
        self.download = Some(RecvBody::new(stream));
        HeadEvent::Final(ResponseHead::H2(Box::new(parts)))
    }

    /// The next piece of the answer's body; `None` after the last.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, ExchangeError>>> {
        let Some(download) = self.download.as_mut() else {
            return Poll::Ready(None);
        };
        let piece = ready!(download.poll_piece(cx));
        Poll::Ready(piece.map(|piece| piece.map_err(|e| broken(&e, Phase::BodyUnderWay))))
    }

    /// Whether the answer has no more body.
    pub(crate) fn is_ended(&self) -> bool {
        self.download.as_ref().is_some_and(RecvBody::is_ended)
    }

    /// Whether bytes of the request wait that the upstream does not take.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Bytes of its body that the peer had room for.
    pub(crate) fn taken(&self) -> u64 {
        self.upload.as_ref().map_or(0, SendBody::taken)
    }

    /// Tells whether the answer's body is left lying because the client takes nothing.
    pub(crate) fn leave_unread(&mut self, unread: bool) {
        match &self.permit {
            Some(permit) if unread => {
                self.unread.get_or_insert_with(|| permit.0.unread.begin());
            }
            _ => self.unread = None,
        }
    }

    /// Whether streams of other requests, unread, may be why nothing comes.
    pub(crate) fn is_held_up(&self) -> bool {
        let permit = self.permit.as_ref();
        permit.is_some_and(|permit| permit.0.unread.may_fill_the_window())
    }

    /// How far the request got: sent, for it cannot be known, or its answer's head is there.
    pub(crate) fn phase(&self) -> Phase {
        if self.response.is_some() {
            Phase::Sent
        } else {
            Phase::HeadReceived
        }
    }

    /// Leaves the sending half open: a tunnel will use it.
    pub(crate) fn keep_open(&mut self) {
        self.kept_open = true;
    }

    /// The stream itself, after a final head that opened a tunnel.
    pub(crate) fn take_duplex(&mut self) -> Option<H2Duplex> {
        let download = self.download.take()?;
        Some(H2Duplex::to_upstream(
            download,
            self.upload.take()?,
            self.permit.take()?,
        ))
    }
}

impl Exchange {
    /// Gives the stream up, unless both directions have ended.
    pub(crate) fn cancel(&mut self) {
        let Some(mut upload) = self.upload.take() else {
            return;
        };
        let whole = self.download.as_ref().is_some_and(RecvBody::is_ended) && upload.is_ended();
        match (self.response.take(), self.permit.take()) {
            (Some(response), Some(permit)) => {
                let state = permit.0.clone();
                state.doubted.store(true, Ordering::Relaxed);
                state.given_up.add(Abandoned {
                    upload,
                    _response: response,
                    _permit: permit,
                });
            }
            _ if whole => {}
            _ => upload.reset(Reason::CANCEL),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Nothing of the request left: the stream was never opened.
fn not_sent(error: &h2::Error) -> ExchangeError {
    let failure = if error.is_go_away() {
        Failure::Refused
    } else {
        Failure::Reset
    };
    ExchangeError::upstream(failure, Phase::NothingSent, format!("no stream: {error}"))
}

fn broken(error: &h2::Error, phase: Phase) -> ExchangeError {
    let detail = format!("the stream broke: {error}");
    ExchangeError::upstream(failure(error, phase), phase, detail)
}

/// What kind of failure an error of a stream is.
fn failure(error: &h2::Error, phase: Phase) -> Failure {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // A stream sees the peer's GOAWAY as an error only if its id is above the last one.
    // Whoever has begun to answer has begun to process.
    if error.is_remote() && phase <= Phase::Sent && (refused || error.is_go_away()) {
        Failure::Refused
    } else if error.is_library() {
        Failure::BadResponse
    } else {
        Failure::Reset
    }
}

#[cfg(test)]
mod tests;
