//! The life of a request in the virtual world: what the proxy does with one, without a proxy.

use std::time::Duration;

use tidegate_core::cell::ErrorClass;
use tidegate_core::choose::Choice;
use tidegate_core::plan::ReplayScope;
use tidegate_core::retry::{
    self, BodyState, Failure, Idempotency, NextTry, Phase, Reach, Situation, Verdict, WhyNot,
};
use tidegate_core::{
    Ask, Decision, Exclusion, HedgeCell, InFlight, RegionIdx, RegionSet, RouteIdx, Termination,
    choose, reach,
};

use crate::clock::{AttemptId, Event};
use crate::kind::Kind;
use crate::ledger::End;
use crate::physics::Traits;
use crate::rescue::Download;
use crate::scenario::{Effect, exponential};
use crate::support::UPSTREAM;
use crate::world::World;

/// A request is given up after this.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A slow client needs so long for its body.
const SLOW_UPLOAD: Duration = Duration::from_secs(3);

/// One request under way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) began: Duration,
    pub(crate) idempotency: Idempotency,
    pub(crate) traits: Traits,
    pub(crate) ask: Ask,
    attempts: u8,
    /// At most two: the second is a hedge.
    pub(crate) under_way: Vec<Attempt>,
    pub(crate) hedged: bool,
    /// When its first attempt began, as long as that has neither ended nor failed.
    pub(crate) first: Option<Duration>,
    /// What is to be told of its answer's body, if that takes long.
    pub(crate) download: Option<Download>,
    /// The regions of the attempts that may have been processed.
    processed: Vec<u8>,
}

/// One of its attempts.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u64,
    in_flight: InFlight,
    pub(crate) region: RegionIdx,
    pub(crate) position: u8,
    pub(crate) endpoint: usize,
    pub(crate) phase: Phase,
    sent_at: Duration,
}

impl Attempt {
    pub(crate) fn id(&self, request: usize) -> AttemptId {
        AttemptId {
            request,
            number: self.number,
        }
    }
}

impl World {
    pub(crate) fn arrive(&mut self) {
        let wait = Duration::from_secs_f64(exponential(&mut self.physics.rng) / self.scenario.rate);
        self.enter_in(wait, Event::Arrival);
        let request = self.new_request();
        let now = self.instant();
        self.upstream().budget.deposit(now);
        if let Some(cell) = self.live.hedge(RouteIdx(0)) {
            cell.deposit(now);
        }
        self.promises.requested(self.now);
        let slot = self.requests.insert(request);
        self.attempt(slot);
    }

    fn new_request(&mut self) -> Request {
        let rng = &mut self.physics.rng;
        let idempotency = match rng.u8(..20) {
            0 | 1 => Idempotency::No,
            2 => Idempotency::Keyed,
            3 | 4 => Idempotency::Idempotent,
            _ => Idempotency::Safe,
        };
        let traits = Traits {
            bad_route: rng.u8(..10) == 0,
            bad_client: rng.u8(..8) == 0,
            slow_upload: self.scenario.kind == Kind::SlowClient && rng.u8(..10) == 0,
            probe: false,
        };
        let downloads = self.scenario.downloads && idempotency == Idempotency::Safe;
        let download = (downloads && rng.u8(..10) == 0).then(|| Download::new(rng));
        let mut ask = Ask::new(RegionSet::ALL, self.instant());
        ask.repeatable = matches!(idempotency, Idempotency::Safe | Idempotency::Idempotent);
        ask.deadline = Some(self.instant() + DEADLINE);
        Request {
            began: self.now,
            idempotency,
            traits,
            ask,
            attempts: 0,
            under_way: Vec::new(),
            hedged: false,
            first: None,
            download,
            processed: Vec::new(),
        }
    }

    /// Makes the request's next attempt.
    pub(crate) fn attempt(&mut self, slot: usize) {
        match self.choose(slot) {
            (_, Some(choice)) => self.begin_attempt(slot, &choice),
            (decision, None) => {
                let end = decision.termination();
                let why = match end {
                    Termination::UpstreamFull => WhyNot::RetriesFull,
                    Termination::DeadlineExceeded => WhyNot::Deadline,
                    _ => WhyNot::NoCandidate,
                };
                self.lose(slot, End::Lost(end), why);
            }
        }
    }

    pub(crate) fn choose(&mut self, slot: usize) -> (Decision, Option<Choice>) {
        let now = self.instant();
        let request = self.requests.get(slot);
        request.ask.now = now;
        let (decision, choice) =
            choose(self.live.upstream(UPSTREAM), &request.ask, &mut self.draws);
        self.promises
            .chosen(&self.live, &request.ask, choice.as_ref());
        let mut excluded = decision.excluded.iter();
        if excluded.any(|excluded| excluded.why == Exclusion::Full) {
            self.ledger.pressed[self.now.as_secs() as usize] = true;
        }
        (decision, choice)
    }

    pub(crate) fn begin_attempt(&mut self, slot: usize, choice: &Choice) {
        let (region, endpoint) = (usize::from(choice.position), choice.at);
        self.requests.attempts += 1;
        let number = self.requests.attempts;
        let in_flight = choice.begin(self.upstream());
        let request = self.requests.get(slot);
        request.ask.tried(choice);
        request.attempts += 1;
        request.under_way.push(Attempt {
            number,
            in_flight,
            region: choice.region,
            position: choice.position,
            endpoint,
            phase: Phase::Connecting,
            sent_at: self.now,
        });
        let retry = request.attempts > 1;
        if !retry {
            request.first = Some(self.now);
        }
        self.ledger
            .attempted(self.now, region, choice.because, retry);
        self.promises.begun(retry);
        self.promises
            .attempted(&self.ledger, self.now, region, choice.because);
        self.limit(AttemptId {
            request: slot,
            number,
        });
        self.connect(
            AttemptId {
                request: slot,
                number,
            },
            region,
            endpoint,
        );
    }

    /// Enters when the attempt is over at the latest.
    fn limit(&mut self, id: AttemptId) {
        let request = self.requests.get(id.request);
        let upload = if request.traits.slow_upload {
            SLOW_UPLOAD
        } else {
            Duration::ZERO
        };
        let deadline = match request.is_downloading() {
            true => self.now + DEADLINE,
            false => request.began + DEADLINE,
        };
        let per_try = self.live.plan.upstreams[0]
            .retry
            .per_try
            .unwrap_or(DEADLINE);
        let at = deadline.min(self.now + upload + per_try);
        self.agenda.enter(at, Event::TimeUp(id));
    }

    fn connect(&mut self, id: AttemptId, region: usize, endpoint: usize) {
        let traits = self.requests.get(id.request).traits;
        if self.physics.take_connection(region, endpoint) {
            return self.connected(id);
        }
        if let Some((attempt, _)) = self.requests.attempt(id) {
            attempt.in_flight.connecting();
        }
        let rtt = self.physics.sites[region].rtt;
        match self.physics.strikes(region, endpoint, traits) {
            Some(Effect::Refuse) => self.enter_in(rtt, Event::Refused(id)),
            Some(Effect::Silence) => self.enter_in(CONNECT_TIMEOUT, Event::ConnectTimeout(id)),
            _ => self.enter_in(rtt, Event::Connected(id)),
        }
    }

    pub(crate) fn connected(&mut self, id: AttemptId) {
        let Some((attempt, traits)) = self.requests.attempt(id) else {
            return;
        };
        attempt.phase = Phase::Sent;
        attempt.in_flight.connected();
        let position = attempt.position;
        let request = self.requests.get(id.request);
        request.processed.push(position);
        self.promises
            .processed(request.idempotency, &request.processed);
        match traits.slow_upload {
            true => self.enter_in(SLOW_UPLOAD, Event::Sent(id)),
            false => self.sent(id),
        }
    }

    pub(crate) fn sent(&mut self, id: AttemptId) {
        let now = self.now;
        let Some((attempt, traits)) = self.requests.attempt(id) else {
            return;
        };
        attempt.sent_at = now;
        attempt.in_flight.sent();
        let (region, endpoint) = (usize::from(attempt.position), attempt.endpoint);
        self.hold_hedge(id);
        let rtt = self.physics.sites[region].rtt;
        match self.physics.strikes(region, endpoint, traits) {
            Some(Effect::Refuse | Effect::Reset) => self.enter_in(rtt, Event::Reset(id)),
            Some(Effect::Silence) => {}
            Some(Effect::Status(status)) => self.enter_in(rtt, Event::Head(id, status)),
            Some(Effect::Slow(times)) => self.answer(id, region, endpoint, times),
            Some(Effect::Stall | Effect::Drain) | None => {
                self.answer(id, region, endpoint, 1.0);
            }
        }
    }

    fn answer(&mut self, id: AttemptId, region: usize, endpoint: usize, slower: f64) {
        let after = self.physics.answer_in(region, endpoint, slower, self.now);
        self.enter_in(after, Event::Head(id, 200));
    }

    pub(crate) fn head(&mut self, id: AttemptId, status: u16) {
        let (now, instant) = (self.now, self.instant());
        let Some((attempt, traits)) = self.requests.attempt(id) else {
            return;
        };
        let (region, endpoint) = (usize::from(attempt.position), attempt.endpoint);
        if self.physics.cut(region, endpoint, traits) {
            return;
        }
        if let Some(until) = self.physics.stalled(region).filter(|until| *until > now) {
            return self.agenda.enter(until, Event::Head(id, status));
        }
        let listed = self.live.plan.upstreams[0].retry.on.lists(status);
        let took = now - attempt.sent_at;
        attempt.in_flight.answered(took, status, listed, instant);
        if !listed && status == 200 && self.requests.get(id.request).download.is_some() {
            return self.body_begins(id);
        }
        self.physics.offer_connection(region, endpoint);
        match listed || self.requests.get(id.request).is_downloading() {
            true => self.failed(id, Failure::Status(status), Phase::HeadReceived),
            false => self.answered(id, status),
        }
    }

    fn answered(&mut self, id: AttemptId, status: u16) {
        self.learn(id);
        self.finish(id.request, End::Answered(status));
    }

    /// A head came: what the request's first attempt took, or would have taken at least, is known.
    pub(crate) fn learn(&mut self, id: AttemptId) {
        let (now, instant) = (self.now, self.instant());
        let first = self.requests.get(id.request).first.take();
        if let (Some(cell), Some(began)) = (self.hedge_cell(), first) {
            cell.observe(now - began, instant);
        }
    }

    pub(crate) fn hedge_cell(&self) -> Option<&HedgeCell> {
        self.live.hedge(RouteIdx(0)).map(|cell| &**cell)
    }

    /// The attempt ends without an answer.
    pub(crate) fn broken(&mut self, id: AttemptId, how: Event) {
        let instant = self.instant();
        let Some((attempt, _)) = self.requests.attempt(id) else {
            return;
        };
        let (failure, class) = match how {
            Event::Refused(_) => (Failure::Connect, ErrorClass::Connect),
            Event::ConnectTimeout(_) => (Failure::ConnectTimeout, ErrorClass::Connect),
            Event::Reset(_) => (Failure::Reset, ErrorClass::Reset),
            _ => (Failure::Timeout, ErrorClass::Timeout),
        };
        let (phase, position) = (attempt.phase, attempt.position);
        if phase == Phase::BodyUnderWay {
            return self.body_breaks(id, how);
        }
        if failure == Failure::Timeout && self.outlasts(id, phase, position) {
            return;
        }
        let Some((attempt, _)) = self.requests.attempt(id) else {
            return;
        };
        attempt.in_flight.failed(class, instant);
        self.failed(id, failure, phase);
    }

    /// Whether an attempt is kept until the deadline, although its own limit has passed.
    fn outlasts(&mut self, id: AttemptId, phase: Phase, position: u8) -> bool {
        let situation = self.situation(id.request, Failure::Timeout, phase);
        let reach = self.reach(id.request, position);
        let policy = &self.live.plan.upstreams[0].retry;
        let kept = retry::outlasts(policy, &situation, reach);
        if kept {
            self.enter_in(situation.left, Event::TimeUp(id));
        }
        kept
    }

    /// An attempt has failed; if there is another beside it, that one goes on.
    pub(crate) fn failed(&mut self, id: AttemptId, failure: Failure, phase: Phase) {
        let slot = id.request;
        let situation = self.situation(slot, failure, phase);
        let Attempt {
            region, position, ..
        } = self.requests.end(id);
        let request = self.requests.get(slot);
        if !request.under_way.is_empty() {
            return;
        }
        request.first = None;
        if request.is_downloading() {
            return self.resume(slot, region, position);
        }
        match self.next(slot, position, &situation) {
            Ok(next) => self.follow(slot, &next, region, position),
            Err(why) => self.lose(slot, lost(failure), why),
        }
    }

    pub(crate) fn situation(&mut self, slot: usize, failure: Failure, phase: Phase) -> Situation {
        let now = self.now;
        let request = self.requests.get(slot);
        Situation {
            failure,
            phase,
            idempotency: request.idempotency,
            body: BodyState::Untouched,
            scope: retry::replay_scope(ReplayScope::Auto, request.idempotency),
            retry_after: None,
            attempts: request.attempts,
            left: (request.began + DEADLINE).saturating_sub(now),
        }
    }

    pub(crate) fn reach(&mut self, slot: usize, position: u8) -> Reach {
        let now = self.instant();
        let request = self.requests.get(slot);
        request.ask.now = now;
        reach(self.live.upstream(UPSTREAM), &request.ask, position)
    }

    fn next(&mut self, slot: usize, position: u8, of: &Situation) -> Result<NextTry, WhyNot> {
        let policy = &self.live.plan.upstreams[0].retry;
        let scope = match retry::verdict(policy, of) {
            Verdict::Retry(scope) => scope,
            Verdict::Stop(why) => return Err(why),
        };
        let reach = self.reach(slot, position);
        let policy = &self.live.plan.upstreams[0].retry;
        let tries = retry::next_try(policy, of, scope, reach);
        let paid = tries.pay(&self.upstream().budget, self.instant())?;
        self.promises.retried(self.now, paid.purse());
        Ok(paid)
    }

    pub(crate) fn follow(&mut self, slot: usize, next: &NextTry, region: RegionIdx, position: u8) {
        let last = self.live.plan.upstreams[0].retry.attempts;
        let request = self.requests.get(slot);
        request.ask.follow(next, region, position);
        request.ask.repeatable &= request.attempts + 1 < last;
        match next.wait(&mut self.draws) {
            Duration::ZERO => self.attempt(slot),
            wait => self.enter_in(wait, Event::Again(slot)),
        }
    }

    /// The request ends without its answer, because there is no other attempt: for this reason.
    pub(crate) fn lose(&mut self, slot: usize, end: End, why: WhyNot) {
        let request = self.requests.get(slot);
        request.ask.now = self.origin + self.now;
        self.promises.lost(&self.live, request, why, self.now);
        if matches!(
            request.idempotency,
            Idempotency::Safe | Idempotency::Idempotent
        ) {
            *self.ledger.unsaved.entry(format!("{why:?}")).or_default() += 1;
        }
        self.finish(slot, end);
    }

    pub(crate) fn finish(&mut self, slot: usize, end: End) {
        let request = self.requests.remove(slot);
        self.ledger.ended(&request, end, self.now);
    }
}

/// What the client is told when this failure is the last.
fn lost(failure: Failure) -> End {
    match failure {
        Failure::Status(status) => End::Answered(status),
        Failure::Timeout => End::Lost(Termination::UpstreamTimeout),
        Failure::Reset => End::Lost(Termination::UpstreamReset),
        _ => End::Lost(Termination::ConnectFailed),
    }
}
