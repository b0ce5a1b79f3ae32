//! One try at one endpoint: a connection, the request out, the answer's head in.
//!
//! Whatever ends it, the cells hear what it says of the place, and only that: a client's own faults,
//! an idle connection that had broken unseen and a time limit that earlier attempts used up say
//! nothing.

mod ended;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tidegate_core::cell::ErrorClass;
use tidegate_core::choose::Choice;
use tidegate_core::decision::Because;
use tidegate_core::retry::{Failure, NextTry, Phase, WhyNot};
use tidegate_core::{Endpoint, InFlight, RegionIdx, Termination};

use crate::clock::{now, span};
use crate::drive::Drive;
use crate::exchange::Exchange;
use crate::head::{RequestHead, ResponseHead};
use crate::hold::Ahead;
use crate::leave::Leave;
use crate::outbound;
use crate::patience::{Due, Patience};
use crate::pipeline::{Client, Serving};
use crate::probing;
use crate::said::Ears;
use crate::tunnel::{self, Duplex};
use crate::upstream::connect::ConnectError;
use crate::upstream::pool::{self, Checked, Freshness, Target};
use crate::worker::Worker;

pub(crate) use ended::{EndedBy, Fault};

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
    /// Whether the client is to be bound to it, should it answer.
    pub(crate) bind: bool,
}

/// An attempt under way: where, and how the cells count it.
pub(crate) struct Attempt {
    pub(crate) place: Place,
    pub(crate) in_flight: InFlight,
    /// The connection had been used before.
    pub(crate) reused: bool,
    /// It was this attempt's alone, so that it may have broken unseen while it idled.
    pub(crate) alone: bool,
    /// Its number in the request's books.
    pub(crate) nth: usize,
    /// What it has heard of regions: see `Worker::news`.
    pub(crate) heard: u64,
    pub(crate) began: Instant,
    /// How long it took to get its connection.
    pub(crate) connecting: Duration,
    /// How long the request took from then until all of it was sent.
    pub(crate) uploading: Duration,
    /// When it had sent the whole request.
    pub(crate) sent: Option<Instant>,
    /// The place has heard that its time is over, and the attempt is waited for all the same.
    pub(crate) overdue: bool,
}

/// An answer's head, and when it arrived.
pub(crate) struct Head {
    pub(crate) head: ResponseHead,
    pub(crate) at: Instant,
}

impl Head {
    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }
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
    /// What follows, if that was decided when the attempt was given up: another one that is paid for,
    /// or none.
    pub(crate) decided: Option<Result<NextTry, WhyNot>>,
}

/// How an attempt ends without an answer.
pub(crate) enum Ended {
    /// By the upstream.
    Failed(Failed),
    /// By the client, or the request's own limits: nothing is tried again.
    Client(Termination),
}

impl Answered {
    /// What `attempt` came to, for a request that asks for an upgrade or does not.
    #[inline]
    fn new(attempt: Attempt, arrived: Arrived, upgrade: bool) -> Self {
        let status = arrived.head.status();
        let (exchange, tunnel) = tunnel::upstream_side(arrived.exchange, status, upgrade);
        Self {
            place: attempt.place,
            head: arrived.head,
            ahead: arrived.ahead,
            exchange,
            tunnel,
            in_flight: attempt.in_flight,
        }
    }
}

impl Failed {
    /// A failure that is an answer, by its status or its code.
    pub(crate) fn by_answer(failure: Failure, answered: Answered) -> Self {
        Self {
            place: answered.place,
            failure,
            phase: Phase::HeadReceived,
            stale: false,
            answered: Some(Box::new(answered)),
            decided: None,
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
            bind: choice.bind,
        }
    }
}

impl Serving {
    /// Makes one attempt at the chosen endpoint.
    pub(crate) async fn attempt<C: Client>(
        &mut self,
        choice: Choice,
        client: &mut C,
    ) -> Result<Answered, Ended> {
        let mut attempt = self.begin(&choice);
        let checked = match self.connect(&mut attempt, choice.endpoint(), client).await {
            Ok(checked) => checked,
            Err(ended) => return Err(self.attempt_failed(attempt, ended)),
        };
        self.connected(&mut attempt, &checked);
        self.cancel_first().await;
        match self.exchange(checked, &mut attempt, client).await {
            Ok(arrived) => {
                self.answered(&mut attempt, &arrived);
                Ok(Answered::new(attempt, arrived, self.admitted.upgrade))
            }
            Err(ended) => Err(self.attempt_failed(attempt, ended)),
        }
    }

    /// Enters an attempt at the chosen endpoint in cells and books.
    pub(crate) fn begin(&mut self, choice: &Choice) -> Attempt {
        let place = Place::of(choice);
        let in_flight = choice.begin(self.upstream().1);
        probing::begin(self, choice);
        Attempt {
            place,
            in_flight,
            reused: false,
            alone: false,
            nth: self
                .finish
                .attempt_begins(place, &choice.endpoint().address),
            heard: self.context.worker.news(),
            began: now(),
            connecting: Duration::ZERO,
            uploading: Duration::ZERO,
            sent: None,
            overdue: false,
        }
    }

    /// The attempt, which is what the books are open at, has its connection.
    pub(crate) fn connected(&mut self, attempt: &mut Attempt, checked: &Checked) {
        self.finish.connected(checked.reused, checked.connect);
        attempt.in_flight.connected();
        attempt.connecting = span(attempt.began, now());
        attempt.reused = checked.reused;
        attempt.alone = !checked.is_h2();
    }

    /// The attempt, which is what the books are open at, has sent the whole request, if it had not.
    pub(crate) fn sent(&mut self, attempt: &mut Attempt) {
        if attempt.sent.is_some() {
            return;
        }
        let at = now();
        self.time_runs(at);
        self.finish.sent_upstream(at);
        attempt.in_flight.sent();
        let before = attempt.began + attempt.connecting;
        attempt.uploading = span(before, at);
        attempt.sent = Some(at);
    }

    /// Where an attempt was given up, its cancellation is on its way before this one is sent: the task
    /// of an HTTP/2 connection has its turn. HTTP/1.1 was closed at once.
    async fn cancel_first(&mut self) {
        if std::mem::take(&mut self.cancelled) {
            tokio::task::yield_now().await;
        }
    }

    async fn connect<C: Client>(
        &mut self,
        attempt: &mut Attempt,
        endpoint: &Endpoint,
        client: &mut C,
    ) -> Result<Checked, EndedBy> {
        let (context, upstream) = (self.context.clone(), self.admitted.upstream.clone());
        let target = upstream.target(attempt.place.position, endpoint);
        let mut patience = Patience::default();
        let mut waits = false;
        let freshness = self.freshness();
        let mut checkout = pin!(checkout(&context.worker, &target, freshness));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(checked) = checkout.as_mut().poll(cx) {
                    return Poll::Ready(checked.map_err(EndedBy::from));
                }
                // Most find a connection that is there: they wait for nothing.
                if !std::mem::replace(&mut waits, true) {
                    patience.until(Some(self.limit_of_connect(attempt)), &self.timer);
                }
                attempt.in_flight.connecting();
                if client.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
                }
                if self.hears_news(&mut attempt.heard) {
                    self.leave_connect(attempt, &mut patience)?;
                }
                match ready!(patience.poll(cx, &self.timer)) {
                    Due::Again => self.leave_connect(attempt, &mut patience)?,
                    Due::Hedge => {}
                    Due::Limit(end) => {
                        let waits = context.worker.pool.is_crowded(&target);
                        return Poll::Ready(Err(EndedBy::no_connection(end, waits)));
                    }
                }
            }
        })
        .await
    }

    fn leave_connect(&mut self, attempt: &Attempt, patience: &mut Patience) -> Result<(), EndedBy> {
        match self.leave(attempt.place, Phase::Connecting) {
            Leave::Now(ended) => return Err(ended),
            Leave::Later => self.ask_again(patience),
            Leave::Never => {}
        }
        Ok(())
    }

    /// How fresh a connection the next attempt needs. An old idle one may die under what must not be sent
    /// again.
    pub(crate) fn freshness(&self) -> Freshness {
        match () {
            () if self.admitted.upgrade => Freshness::Upgrade,
            () if self.stale => Freshness::New,
            () if self.admitted.idempotency.is_once() => Freshness::Recent,
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
        if checked.is_h2() && !self.continued && self.head.expects_continue() {
            client.send_continue();
            self.continued = true;
        }
        let mut exchange = outbound::start(self, checked)?;
        let mut drive = Drive::new(self, attempt);
        let head = poll_fn(|cx| drive.poll(cx, &mut exchange, client)).await;
        drive.end();
        let Head { head, at } = head?;
        self.refuse_misleading(&exchange, &head)?;
        let ahead = self.hold(attempt, &mut exchange, &head, client).await?;
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
        let asked = self.admitted.upgrade && matches!(self.head, RequestHead::H2(_));
        match exchange {
            Exchange::H1(_) if asked && head.status().is_success() => {
                Err(EndedBy::bad("switch_ignored"))
            }
            _ => Ok(()),
        }
    }

    /// Enters an attempt's answer in cells and books.
    fn answered(&mut self, attempt: &mut Attempt, arrived: &Arrived) {
        let Arrived {
            exchange,
            head,
            at,
            ahead,
        } = arrived;
        let took = self.finish.head_received(head.status(), *at);
        let (status, listed) = self.judge(head, ahead, exchange);
        attempt.in_flight.answered(took, status, listed, *at);
        if !listed {
            self.observe_wait(attempt, *at);
        }
        self.hear(head, listed, &attempt.in_flight, *at);
    }

    /// Enters what an answer's head says of the place that sent it, as far as that is asked for.
    #[inline]
    fn hear(&self, head: &ResponseHead, listed: bool, from: &InFlight, at: Instant) {
        let ears = Ears::of(self.upstream().0);
        if !ears.are_shut() && ears.hear(head, listed, from, at).is_err() {
            self.finish.misreported();
        }
    }

    fn attempt_failed(&mut self, mut attempt: Attempt, ended: EndedBy) -> Ended {
        let at = now();
        match ended {
            EndedBy::Client(termination) => {
                self.finish.attempt_abandoned(at);
                Ended::Client(termination)
            }
            EndedBy::Upload(error) => {
                self.finish.explain(error.to_string());
                self.finish.attempt_abandoned(at);
                Ended::Client(error.termination())
            }
            EndedBy::GivenUp { fault, next } => {
                let failed = self.note(&mut attempt, fault);
                Ended::Failed(Failed {
                    decided: Some(next),
                    ..failed
                })
            }
            EndedBy::Upstream(fault) => Ended::Failed(self.note(&mut attempt, fault)),
        }
    }

    /// Whether an answer is a failure by its status.
    pub(crate) fn lists(&self, head: &Head) -> bool {
        self.upstream().0.retry.on.lists(head.status())
    }

    /// Enters an answer that is a failure by its status and that the client will not see.
    pub(crate) fn declared(&mut self, attempt: &mut Attempt, head: &Head) -> Failed {
        let took = self.finish.head_received(head.head.status(), head.at);
        let status = head.status();
        attempt.in_flight.answered(took, status, true, head.at);
        self.hear(&head.head, true, &attempt.in_flight, head.at);
        let detail = format!("answered with status {status}");
        let mut fault = Fault::of(Failure::Status(status), Phase::HeadReceived, detail);
        fault.says = None;
        self.note(attempt, fault)
    }

    /// The place hears, once, that an attempt took all the time that it may take.
    pub(crate) fn timed_out(&self, attempt: &mut Attempt) {
        if !std::mem::replace(&mut attempt.overdue, true) {
            attempt.in_flight.failed(ErrorClass::Timeout, now());
        }
    }

    /// Enters what an upstream did to an attempt, which is what the books are open at, in cells and
    /// books.
    pub(crate) fn note(&mut self, attempt: &mut Attempt, fault: Fault) -> Failed {
        let at = now();
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
        Failed {
            place: attempt.place,
            failure,
            phase,
            stale,
            answered: None,
            decided: None,
        }
    }
}

/// A connection; for a tunnel one of which is known whether it takes any, for that is a wait as well.
async fn checkout(
    worker: &Worker,
    target: &Target<'_>,
    freshness: Freshness,
) -> Result<Checked, ConnectError> {
    let checked = pool::checkout(worker, target, freshness).await?;
    if freshness == Freshness::Upgrade {
        checked.settled().await;
    }
    Ok(checked)
}

/// An answer's head, and what came with it.
struct Arrived {
    exchange: Exchange,
    head: ResponseHead,
    at: Instant,
    ahead: Ahead,
}
