//! One try at one endpoint: a connection, the request out, the answer's head in.
//!
//! Whatever ends it, the cells hear what it says of the place, and only that: a client's own faults,
//! an idle connection that had broken unseen and a time limit that earlier attempts used up say
//! nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tidegate_core::cell::ErrorClass;
use tidegate_core::choose::Choice;
use tidegate_core::decision::Because;
use tidegate_core::retry::{Failure, Phase};
use tidegate_core::{InFlight, RegionIdx, Termination};

use crate::body::UploadError;
use crate::clock::now;
use crate::drive::Drive;
use crate::exchange::{Exchange, ExchangeError};
use crate::head::{RequestHead, ResponseHead};
use crate::hold::Ahead;
use crate::outbound;
use crate::pipeline::{Client, Serving, needs_fresh_connection};
use crate::said;
use crate::tunnel::Duplex;
use crate::upstream::connect::{ConnectError, ConnectErrorKind};
use crate::upstream::pool::{self, Checked, Freshness, Target};

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

/// An attempt under way: where, and how the cells count it.
pub(crate) struct Attempt {
    pub(crate) place: Place,
    pub(crate) in_flight: InFlight,
    /// The connection had been used before.
    pub(crate) reused: bool,
    /// It was this attempt's alone, so that it may have broken unseen while it idled.
    pub(crate) alone: bool,
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
        let mut attempt = Attempt {
            place: Place::of(&choice),
            in_flight: choice.begin(self.upstream().1),
            reused: false,
            alone: false,
        };
        let endpoint = choice.endpoint().clone();
        drop(choice);
        self.finish.attempt_begins(attempt.place, &endpoint.address);
        let checked = match self.connect(attempt.place, &endpoint, client).await {
            Ok(checked) => checked,
            Err(ended) => return Err(self.attempt_failed(attempt, ended)),
        };
        self.finish.connected(checked.reused, checked.connect);
        attempt.reused = checked.reused;
        attempt.alone = !checked.is_h2();
        match self.exchange(checked, &mut attempt, client).await {
            Ok(arrived) => Ok(self.answered(attempt, arrived)),
            Err(ended) => Err(self.attempt_failed(attempt, ended)),
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
        let until = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        self.timer.set(until);
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
                .map(|()| Err(EndedBy::connect_timeout(until == limit)))
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
        attempt: &mut Attempt,
        client: &mut C,
    ) -> Result<Arrived, EndedBy> {
        if self.head.expects_continue() && !self.continued && checked.is_h2() {
            client.send_continue();
            self.continued = true;
        }
        let mut exchange = outbound::start(self, checked).await?;
        let mut drive = Drive::new(self, attempt);
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

    fn answered(&mut self, mut attempt: Attempt, arrived: Arrived) -> Answered {
        let Arrived {
            exchange,
            head,
            at,
            ahead,
        } = arrived;
        let took = self.finish.head_received(head.status(), at);
        let status = head.status().as_u16();
        let policy = self.upstream().0;
        let listed = policy.retry.on.lists(status);
        attempt.in_flight.answered(took, status, listed, at);
        if policy.health.said {
            said::hear(&head, listed, attempt.in_flight.endpoint(), at);
        }
        let upgrade = self.head.upgrade().is_some();
        let (exchange, tunnel) = crate::tunnel::upstream_side(exchange, head.status(), upgrade);
        Answered {
            place: attempt.place,
            head,
            ahead,
            exchange,
            tunnel,
            in_flight: attempt.in_flight,
        }
    }

    fn attempt_failed(&mut self, mut attempt: Attempt, ended: EndedBy) -> Ended {
        let at = now();
        let fault = match ended {
            EndedBy::Client(termination) => {
                self.finish.attempt_abandoned(at);
                return Ended::Client(termination);
            }
            EndedBy::Upload(error) => {
                self.finish.explain(error.to_string());
                self.finish.attempt_abandoned(at);
                return Ended::Client(error.termination());
            }
            EndedBy::Upstream(fault) => fault,
        };
        let Fault {
            failure,
            phase,
            says,
            detail,
        } = fault;
        let stale = attempt.reused && failure == Failure::Reset && phase <= Phase::Sent;
        self.finish.attempt_failed(failure, phase, detail, at);
        if let Some(class) = says.filter(|_| !(stale && attempt.alone)) {
            attempt.in_flight.failed(class, at);
        }
        Ended::Failed(Failed {
            place: attempt.place,
            failure,
            phase,
            stale,
            answered: None,
        })
    }
}

/// What a failure says of the place where it happened; nothing if it is full.
fn class_of(failure: Failure) -> Option<ErrorClass> {
    Some(match failure {
        Failure::Full => return None,
        Failure::Connect | Failure::ConnectTimeout => ErrorClass::Connect,
        Failure::Reset => ErrorClass::Reset,
        Failure::Timeout | Failure::RegionDown => ErrorClass::Timeout,
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
    Upstream(Fault),
}

/// What an upstream did to an attempt.
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    pub(crate) phase: Phase,
    /// What it says of the place; none if it says nothing.
    pub(crate) says: Option<ErrorClass>,
    /// What a person needs to know.
    pub(crate) detail: String,
}

impl EndedBy {
    /// `whole`: the connect had all of its own limit, and not only what was left to the request.
    fn connect_timeout(whole: bool) -> Self {
        Self::Upstream(Fault {
            failure: Failure::ConnectTimeout,
            phase: Phase::Connecting,
            says: whole.then_some(ErrorClass::Connect),
            detail: "no connection within connect_timeout".to_owned(),
        })
    }

    /// The answer broke the rule of this name.
    pub(crate) fn bad(rule: &str) -> Self {
        Fault::of(Failure::BadResponse, Phase::HeadReceived, rule.to_owned()).into()
    }
}

impl Fault {
    /// A failure that says of the place what its kind says.
    pub(crate) fn of(failure: Failure, phase: Phase, detail: String) -> Self {
        Self {
            failure,
            phase,
            says: class_of(failure),
            detail,
        }
    }
}

impl From<Fault> for EndedBy {
    fn from(fault: Fault) -> Self {
        Self::Upstream(fault)
    }
}

impl From<ConnectError> for EndedBy {
    fn from(error: ConnectError) -> Self {
        let mut fault = Fault::of(error.failure(), Phase::Connecting, error.to_string());
        if error.kind == ConnectErrorKind::Tls {
            fault.says = Some(ErrorClass::Tls);
        }
        fault.into()
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
            } => Fault::of(failure, phase, detail).into(),
        }
    }
}
