//! The body of an answer, pulled by whoever writes it to the client.
//!
//! Pulling also pushes what is left of the request's body, so that both flow at the same time. What
//! moves keeps it alive: the idle limit starts anew with every piece that comes and with everything
//! that the client takes. Bodies that can be continued elsewhere are `resume`'s; all that this file
//! knows of them is that they are a source of pieces too.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_core::retry::Failure;
use tidegate_core::{RegionCell, Termination};

use crate::body::{Piece, ReplayBody};
use crate::clock::now;
use crate::deadline::Ends;
use crate::exchange::{Exchange, ExchangeError};
use crate::finish::Finish;
use crate::grpc::CallEnd;
use crate::hold::Ahead;
use crate::homing::Homing;
use crate::problem;
use crate::resume::Resumable;
use crate::wheel::Timer;

/// The body of an answer.
pub(crate) struct Download {
    source: Source,
    timer: Option<Timer>,
    /// When it has moved last, and for how long it may stand still. The timer is set when somebody
    /// waits, so that what never waits sets none.
    moved: Instant,
    idle: Duration,
    /// When it is to be ended, if it comes from another region than it should.
    homing: Option<Box<Homing>>,
    /// When it must be over whether it moves or not.
    ends: Option<Ends>,
    /// It answers a call of gRPC, whose client is told in trailers if it breaks off.
    call: Option<Call>,
    /// Why it was ended between two pieces, in the words of gRPC.
    cut: Option<Termination>,
}

/// A call of gRPC that is being answered.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Whether doing it twice is not the same as doing it once: if its answer breaks off, its client
    /// must not make it again by itself.
    pub(crate) once: bool,
}

enum Source {
    Empty,
    Full(Bytes),
    Relay(Box<Relay>),
    Resumable(Box<Resumable>),
}

struct Relay {
    flow: Flow,
    upload: ReplayBody,
    uploading: bool,
}

/// What is still to come of an exchange whose head has arrived.
pub(crate) struct Flow {
    /// Pieces that came before the head was passed on.
    ahead: smallvec::IntoIter<[Piece; 1]>,
    exchange: Exchange,
    /// Learns that the region is not silent.
    region: Arc<RegionCell>,
}

impl Download {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self {
            source: Source::Empty,
            timer: None,
            moved: now(),
            idle: Duration::ZERO,
            homing: None,
            ends: None,
            call: None,
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
                uploading: !upload.is_done(),
                flow: Flow::new(ahead, exchange, region),
                upload,
            })),
        };
        Self::moving(source, timer, idle)
    }

    /// A body that is continued elsewhere if it breaks off; no movement for `idle` ends it.
    pub(crate) fn resumable(body: Box<Resumable>, timer: Timer, idle: Duration) -> Self {
        Self::moving(Source::Resumable(body), timer, idle)
    }

    fn moving(source: Source, timer: Timer, idle: Duration) -> Self {
        Self {
            source,
            timer: Some(timer),
            idle,
            ..Self::empty()
        }
    }

    /// Ends it in time, as one that comes from another region than it should, and at its latest moment, if
    /// it has one.
    pub(crate) fn ends_by(&mut self, homing: Option<Box<Homing>>, ends: Option<Ends>) {
        self.homing = homing;
        self.ends = ends;
    }

    /// Tells the client of a call in gRPC's own words if it breaks off.
    pub(crate) fn answers(&mut self, call: Option<Call>) {
        self.call = call;
    }

    /// Whether nothing (more) will come.
    pub(crate) fn is_ended(&self) -> bool {
        match &self.source {
            _ if self.cut.is_some() => true,
            Source::Empty => true,
            Source::Full(body) => body.is_empty(),
            Source::Relay(relay) => relay.flow.is_ended(),
            Source::Resumable(body) => body.is_ended(),
        }
    }

    /// Why it was ended between two pieces, if that was said in the words of gRPC.
    pub(crate) fn cut(&self) -> Option<Termination> {
        self.cut
    }

    /// Whether all of it is here, so that nothing is read from the client while it is written.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Full(_) => true,
            Source::Relay(relay) => relay.flow.exchange.is_ended(),
            Source::Resumable(body) => body.is_ended(),
        }
    }

    /// Whether the request's body is still read from the client while this is written.
    pub(crate) fn is_uploading(&self) -> bool {
        matches!(&self.source, Source::Relay(relay) if relay.uploading)
    }

    /// Bytes of the request's body read so far, if it is still at hand.
    pub(crate) fn uploaded(&self) -> Option<u64> {
        match &self.source {
            Source::Relay(relay) => Some(relay.upload.read_bytes()),
            _ => None,
        }
    }

    /// Its length, if it is all there.
    pub(crate) fn full_len(&self) -> Option<u64> {
        match &self.source {
            Source::Empty => Some(0),
            Source::Full(body) => Some(body.len() as u64),
            Source::Relay(_) | Source::Resumable(_) => None,
        }
    }

    /// The next piece; `None` after the last. An error is the reason why the request ends, whose
    /// account is `finish`.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        finish: &mut Finish,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        let piece = match &mut self.source {
            _ if self.cut.is_some() => return Poll::Ready(None),
            Source::Empty => return Poll::Ready(None),
            Source::Full(body) => {
                let body = std::mem::take(body);
                self.source = Source::Empty;
                return Poll::Ready((!body.is_empty()).then_some(Ok(Piece::Data(body))));
            }
            Source::Relay(relay) => relay.poll_piece(cx),
            Source::Resumable(body) => {
                let resuming = body.is_resuming();
                let piece = body.poll_piece(cx, finish);
                // That has a time limit of its own, and what follows has all of the idle limit.
                if piece.is_pending() && body.is_resuming() {
                    return Poll::Pending;
                }
                if resuming {
                    self.moved();
                }
                piece
            }
        };
        if piece.is_pending() && self.poll_home(cx).is_ready() {
            return self.go_home();
        }
        let mut piece = piece;
        if let Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) = &mut piece {
            finish.trailed(trailers);
        }
        self.poll_idle(cx, piece)
    }

    /// Nobody pulls any more: what of the account is lent goes back to `finish`.
    pub(crate) fn settle(&mut self, finish: &mut Finish) {
        if let Source::Resumable(body) = &mut self.source {
            body.settle(finish);
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
        match grpc {
            true => self.end_call(why, &CallEnd::new(why, false, words)),
            false => Poll::Ready(Some(Err(why))),
        }
    }

    /// Ends it because it broke off or stands still. A call's status is what its client acts on, and a
    /// reset stream is a fault of the protocol to it.
    fn break_off(&mut self, why: Termination) -> Poll<Option<Result<Piece, Termination>>> {
        let upstreams = matches!(
            why,
            Termination::UpstreamTruncated | Termination::BadResponse | Termination::IdleTimeout
        );
        match self.call.filter(|_| upstreams) {
            Some(call) => {
                let words = format!("{}: {}", why.as_str(), problem::title(why, false));
                self.end_call(why, &CallEnd::new(why, call.once, &words))
            }
            None => Poll::Ready(Some(Err(why))),
        }
    }

    fn end_call(
        &mut self,
        why: Termination,
        end: &CallEnd,
    ) -> Poll<Option<Result<Piece, Termination>>> {
        self.cut = Some(why);
        Poll::Ready(Some(Ok(Piece::Trailers(Box::new(end.fields())))))
    }

    /// Tells that the client took something: the idle limit starts anew.
    pub(crate) fn moved(&mut self) {
        self.moved = now();
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
        if let Poll::Ready(Some(Err(why))) = piece {
            return self.break_off(why);
        }
        if piece.is_ready() {
            self.moved();
            return piece;
        }
        match ready!(self.poll_timer(cx)) {
            Termination::DeadlineExceeded => self.run_out(),
            why => self.break_off(why),
        }
    }

    /// Ready as [`poll_timer`](Self::poll_timer) while the client takes nothing: nothing is expected of
    /// the upstream meanwhile.
    pub(crate) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Termination> {
        match &mut self.source {
            Source::Relay(relay) => relay.flow.leave_unread(),
            Source::Resumable(body) => body.leave_unread(),
            Source::Empty | Source::Full(_) => {}
        }
        self.poll_timer(cx)
    }

    /// Ready, with the reason to end it, once nothing has moved for the idle limit or its time is over.
    fn poll_timer(&self, cx: &mut Context<'_>) -> Poll<Termination> {
        let Some(timer) = &self.timer else {
            return Poll::Pending;
        };
        let idle = self.moved + self.idle;
        timer.set(self.ends.map_or(idle, |ends| ends.at.min(idle)));
        timer.poll_expired(cx).map(|()| match self.is_over() {
            true => Termination::DeadlineExceeded,
            false => Termination::IdleTimeout,
        })
    }
}

impl Relay {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Termination>>> {
        if let Some(piece) = self.flow.ahead.next() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.uploading {
            match self.flow.exchange.poll_upload(cx, &mut self.upload) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.uploading = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(termination(&error)))),
            }
        }
        let piece = ready!(self.flow.poll_piece(cx));
        Poll::Ready(piece.map(|piece| piece.map_err(|error| termination(&error))))
    }
}

impl Flow {
    /// What follows the head of `exchange`, of which `ahead` is here already.
    pub(crate) fn new(ahead: Ahead, exchange: Exchange, region: &Arc<RegionCell>) -> Self {
        Self {
            ahead: ahead.into_iter(),
            exchange,
            region: region.clone(),
        }
    }

    /// The next piece; `None` after the last.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, ExchangeError>>> {
        if let Some(piece) = self.ahead.next() {
            return Poll::Ready(Some(Ok(piece)));
        }
        self.exchange.leave_unread(false);
        let piece = ready!(self.exchange.poll_body(cx));
        self.region.heard(now());
        Poll::Ready(piece)
    }

    /// The client takes nothing: what comes is left lying until the next piece is asked for.
    pub(crate) fn leave_unread(&mut self) {
        self.exchange.leave_unread(true);
    }

    /// Whether others, whose clients do not read, may be why nothing comes.
    pub(crate) fn is_held_up(&self) -> bool {
        self.exchange.is_held_up()
    }

    /// Whether nothing will come.
    pub(crate) fn is_ended(&self) -> bool {
        self.ahead.len() == 0 && self.exchange.is_ended()
    }

    /// The region that it comes from.
    pub(crate) fn region(&self) -> &RegionCell {
        &self.region
    }

    /// Cancels the exchange on the wire. Nothing but its drop may follow.
    pub(crate) fn cancel(&mut self) {
        self.exchange.cancel();
    }
}

/// The reason for which a request ends when its exchange breaks after the head.
pub(crate) fn termination(error: &ExchangeError) -> Termination {
    match error {
        ExchangeError::Client(error) => error.termination(),
        ExchangeError::Upstream {
            failure: Failure::BadResponse,
            ..
        } => Termination::BadResponse,
        ExchangeError::Upstream { .. } => Termination::UpstreamTruncated,
    }
}
