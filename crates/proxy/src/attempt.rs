//! One try at one endpoint: a connection, the request out, the answer's head in.
//!
//! The timer runs for whoever is slow: while the client uploads it has the idle limit, while the
//! upstream does not take what is there, or owes its head, the per-try limit.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use tidegate_core::cell::ErrorClass;
use tidegate_core::choose::Choice;
use tidegate_core::decision::Because;
use tidegate_core::retry::{Failure, Phase};
use tidegate_core::{InFlight, RegionIdx, Termination};

use crate::body::UploadError;
use crate::clock::now;
use crate::exchange::{Exchange, ExchangeError, HeadEvent};
use crate::head::{RequestHead, ResponseHead};
use crate::hold::Ahead;
use crate::outbound;
use crate::pipeline::{Client, Serving, needs_fresh_connection};
use crate::tunnel::Duplex;
use crate::upstream::connect::ConnectError;
use crate::upstream::pool::{self, Checked, Freshness, Target};

/// An upstream may say so often that its answer is still to come: interim heads wait in memory for
/// a client that does not read.
const INTERIMS_MAX: u32 = 100;

/// Where an attempt goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) region: RegionIdx,
    /// Its position among the upstream's regions.
    pub(crate) position: u8,
    pub(crate) because: Because,
    /// The endpoint's position in its set, and the set's version.
    pub(crate) at: usize,
    pub(crate) set_version: u64,
}

/// An upstream's answer, of which the head has arrived.
pub(crate) struct Answered {
    pub(crate) place: Place,
    pub(crate) head: ResponseHead,
    /// What of its body is here already.
    pub(crate) ahead: Ahead,
    pub(crate) exchange: Exchange,
    /// The upstream's side of a tunnel, if the answer opens one.
    pub(crate) tunnel: Option<Box<dyn Duplex>>,
    pub(crate) in_flight: InFlight,
}

/// An attempt that gave no answer to keep.
pub(crate) struct Failed {
    pub(crate) place: Place,
    pub(crate) failure: Failure,
    pub(crate) phase: Phase,
    /// An old idle connection broke: the endpoint itself may be well.
    pub(crate) stale: bool,
    /// The answer, if the failure is its status: it is passed on when nothing else is tried.
    pub(crate) answered: Option<Box<Answered>>,
}

/// How an attempt ends without an answer.
pub(crate) enum Ended {
    /// By the upstream.
    Failed(Failed),
    /// By the client, or the request's own limits: nothing is tried again.
    Client(Termination),
}

impl Failed {
    /// A failure that is an answer's status.
    pub(crate) fn by_status(status: u16, answered: Answered) -> Self {
        Self {
            place: answered.place,
            failure: Failure::Status(status),
            phase: Phase::HeadReceived,
            stale: false,
            answered: Some(Box::new(answered)),
        }
    }
}

impl Place {
    fn of(choice: &Choice) -> Self {
        Self {
            region: choice.region,
            position: choice.position,
            because: choice.because,
            at: choice.at,
            set_version: choice.set.version,
        }
    }
}

impl Serving<'_> {
    /// Makes one attempt at the chosen endpoint.
    pub(crate) async fn attempt<C: Client>(
        &mut self,
        choice: Choice,
        client: &mut C,
    ) -> Result<Answered, Ended> {
        let place = Place::of(&choice);
        let mut in_flight = choice.begin(self.upstream().1);
        let endpoint = choice.endpoint().clone();
        drop(choice);
        self.finish.attempt_begins(place, &endpoint.address);
        let checked = match self.connect(place, &endpoint, client).await {
            Ok(checked) => checked,
            Err(ended) => return Err(self.attempt_failed(place, ended, &mut in_flight, false)),
        };
        self.finish.connected(checked.reused, checked.connect);
        let reused = checked.reused;
        match self.exchange(checked, client).await {
            Ok(arrived) => Ok(self.answered(place, arrived, in_flight)),
            Err(ended) => Err(self.attempt_failed(place, ended, &mut in_flight, reused)),
        }
    }

    async fn connect<C: Client>(
        &mut self,
        place: Place,
        endpoint: &tidegate_core::Endpoint,
        client: &mut C,
    ) -> Result<Checked, EndedBy> {
        let (upstream, live) = self.upstream();
        let profile = &self.bound.profiles[self.route().upstream.get()];
        let region = &live.regions[usize::from(place.position)].cell;
        let series = self
            .bound
            .series
            .upstream_handle(self.route().upstream, place.position);
        let target = Target {
            endpoint,
            region,
            profile,
            series,
        };
        let limit = now() + upstream.connection.connect_timeout;
        self.timer
            .set(self.deadline.map_or(limit, |deadline| deadline.min(limit)));
        let mut checkout = pin!(pool::checkout(
            &self.context.worker,
            &target,
            self.freshness()
        ));
        poll_fn(|cx| {
            if let Poll::Ready(checked) = checkout.as_mut().poll(cx) {
                return Poll::Ready(checked.map_err(EndedBy::from));
            }
            if client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
            }
            self.timer
                .poll_expired(cx)
                .map(|()| Err(EndedBy::connect_timeout()))
        })
        .await
    }

    fn freshness(&self) -> Freshness {
        match () {
            () if self.head.upgrade().is_some() => Freshness::Upgrade,
            () if self.stale => Freshness::New,
            () if needs_fresh_connection(self.admitted.idempotency) => Freshness::Recent,
            () => Freshness::Any,
        }
    }

    /// Sends the request and waits for the answer's head; both bodies may flow meanwhile.
    async fn exchange<C: Client>(
        &mut self,
        checked: Checked,
        client: &mut C,
    ) -> Result<Arrived, EndedBy> {
        if self.head.expects_continue() && !self.continued && checked.is_h2() {
            client.send_continue();
            self.continued = true;
        }
        let mut exchange = outbound::start(self, checked).await?;
        let mut drive = Drive::new(self);
        let head = poll_fn(|cx| drive.poll(cx, &mut exchange, client)).await?;
        self.refuse_misleading(&exchange, &head)?;
        let at = now();
        let ahead = self.hold(&mut exchange, &head, client).await?;
        Ok(Arrived {
            exchange,
            head,
            at,
            ahead,
        })
    }

    /// To an HTTP/2 client any 2xx says that its tunnel is open (RFC 8441 section 5); from an
    /// HTTP/1.1 upstream only 101 says so.
    fn refuse_misleading(&self, exchange: &Exchange, head: &ResponseHead) -> Result<(), EndedBy> {
        let asked = matches!(self.head, RequestHead::H2(_)) && self.head.upgrade().is_some();
        match exchange {
            Exchange::H1(_) if asked && head.status().is_success() => {
                Err(EndedBy::bad("switch_ignored"))
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, place: Place, arrived: Arrived, mut in_flight: InFlight) -> Answered {
        let Arrived {
            exchange,
            head,
            at,
            ahead,
        } = arrived;
        let took = self.finish.head_received(head.status(), at);
        let status = head.status().as_u16();
        let listed = self.upstream().0.retry.on.lists(status);
        in_flight.answered(took, status, listed, at);
        let upgrade = self.head.upgrade().is_some();
        let (exchange, tunnel) = crate::tunnel::upstream_side(exchange, head.status(), upgrade);
        Answered {
            place,
            head,
            ahead,
            exchange,
            tunnel,
            in_flight,
        }
    }

    fn attempt_failed(
        &mut self,
        place: Place,
        ended: EndedBy,
        in_flight: &mut InFlight,
        reused: bool,
    ) -> Ended {
        let at = now();
        match ended {
            EndedBy::Client(termination) => {
                self.finish.attempt_abandoned(at);
                Ended::Client(termination)
            }
            EndedBy::Upload(error) => {
                self.finish.explain(error.to_string());
                self.attempt_failed(
                    place,
                    EndedBy::Client(error.termination()),
                    in_flight,
                    reused,
                )
            }
            EndedBy::Upstream {
                failure,
                phase,
                detail,
            } => {
                let stale = reused && failure == Failure::Reset && phase <= Phase::Sent;
                self.finish.attempt_failed(failure, phase, detail, at);
                if let Some(class) = class_of(failure).filter(|_| !stale) {
                    in_flight.failed(class, at);
                }
                Ended::Failed(Failed {
                    place,
                    failure,
                    phase,
                    stale,
                    answered: None,
                })
            }
        }
    }
}

/// What a failure says of the place where it happened; nothing if it is full.
fn class_of(failure: Failure) -> Option<ErrorClass> {
    Some(match failure {
        Failure::Full => return None,
        Failure::Connect | Failure::ConnectTimeout => ErrorClass::Connect,
        Failure::Reset => ErrorClass::Reset,
        Failure::Timeout => ErrorClass::Timeout,
        Failure::BadResponse | Failure::Status(_) => ErrorClass::ServerError,
        Failure::Refused => ErrorClass::Declared,
    })
}

/// An answer's head, and what came with it.
struct Arrived {
    exchange: Exchange,
    head: ResponseHead,
    at: Instant,
    ahead: Ahead,
}

/// Who ended an attempt.
pub(crate) enum EndedBy {
    Client(Termination),
    Upload(UploadError),
    Upstream {
        failure: Failure,
        phase: Phase,
        detail: String,
    },
}

impl EndedBy {
    fn connect_timeout() -> Self {
        let detail = "no connection within connect_timeout".to_owned();
        Self::Upstream {
            failure: Failure::ConnectTimeout,
            phase: Phase::Connecting,
            detail,
        }
    }
}

impl EndedBy {
    /// The answer broke the rule of this name.
    fn bad(rule: &str) -> Self {
        Self::Upstream {
            failure: Failure::BadResponse,
            phase: Phase::HeadReceived,
            detail: rule.to_owned(),
        }
    }
}

impl From<ConnectError> for EndedBy {
    fn from(error: ConnectError) -> Self {
        Self::Upstream {
            failure: error.failure(),
            phase: Phase::Connecting,
            detail: error.to_string(),
        }
    }
}

impl From<ExchangeError> for EndedBy {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Client(error) => Self::Upload(error),
            ExchangeError::Upstream {
                failure,
                phase,
                detail,
            } => Self::Upstream {
                failure,
                phase,
                detail,
            },
        }
    }
}

/// Drives one exchange up to the answer's head.
struct Drive<'s, 'a> {
    serving: &'s mut Serving<'a>,
    uploaded: bool,
    moved: (u64, bool),
    interims: u32,
}

impl<'s, 'a> Drive<'s, 'a> {
    fn new(serving: &'s mut Serving<'a>) -> Self {
        Self {
            serving,
            uploaded: false,
            moved: (u64::MAX, false),
            interims: 0,
        }
    }

    fn poll<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Poll<Result<ResponseHead, EndedBy>> {
        loop {
            self.poll_upload(cx, exchange)?;
            match exchange.poll_head(cx)? {
                Poll::Ready(HeadEvent::Final(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(HeadEvent::Interim(head)) => self.interim(&head, client)?,
                Poll::Pending => {
                    client.poll_flush(cx);
                    if client.poll_gone(cx).is_ready() {
                        return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
                    }
                    return self.poll_limit(cx, exchange).map(Err);
                }
            }
        }
    }

    fn interim<C: Client>(&mut self, head: &ResponseHead, client: &mut C) -> Result<(), EndedBy> {
        // HTTP/2 has no 101 (RFC 9113 section 8.6); an HTTP/1.1 client would take it for a switch.
        if head.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(EndedBy::bad("switch_unasked"));
        }
        self.interims += 1;
        if self.interims > INTERIMS_MAX {
            return Err(EndedBy::bad("interims_too_many"));
        }
        let continues = head.status() == http::StatusCode::CONTINUE;
        if !(continues && self.serving.continued) {
            client.interim(head);
        }
        self.serving.continued |= continues;
        Ok(())
    }

    fn poll_upload(
        &mut self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), EndedBy> {
        if self.uploaded {
            return Ok(());
        }
        if exchange.poll_upload(cx, &mut self.serving.body)?.is_ready() {
            self.uploaded = true;
            self.arm_for_head();
        } else {
            self.arm_for_upload(exchange);
        }
        Ok(())
    }

    /// The request is out: the upstream owes its head.
    fn arm_for_head(&mut self) {
        let at = now();
        let timeout = self.serving.route().timeout;
        let deadline = *self.serving.deadline.get_or_insert(at + timeout);
        let per_try = self.serving.upstream().0.retry.per_try;
        self.serving.finish.sent_upstream(at);
        self.serving
            .timer
            .set(per_try.map_or(deadline, |limit| deadline.min(at + limit)));
    }

    /// Bytes are still to move: whoever holds them up has so long.
    fn arm_for_upload(&mut self, exchange: &Exchange) {
        let moved = (self.serving.body.read_bytes(), exchange.is_blocked());
        if moved == self.moved {
            return;
        }
        self.moved = moved;
        let idle = self.serving.route().idle_timeout;
        let per_try = self.serving.upstream().0.retry.per_try;
        let limit = if moved.1 {
            per_try.unwrap_or(idle).min(idle)
        } else {
            idle
        };
        self.serving.timer.set(now() + limit);
    }

    fn poll_limit(&mut self, cx: &mut TaskContext<'_>, exchange: &Exchange) -> Poll<EndedBy> {
        self.serving
            .timer
            .poll_expired(cx)
            .map(|()| self.limit_reached(exchange, now()))
    }

    fn limit_reached(&self, exchange: &Exchange, at: Instant) -> EndedBy {
        if !self.uploaded && !exchange.is_blocked() {
            return EndedBy::Client(Termination::ClientTimeout);
        }
        let late = self.serving.deadline.is_some_and(|deadline| at >= deadline);
        let detail = if late {
            "the request's deadline passed"
        } else {
            "no answer within per_try"
        };
        EndedBy::Upstream {
            failure: Failure::Timeout,
            phase: exchange.phase(),
            detail: detail.to_owned(),
        }
    }
}
