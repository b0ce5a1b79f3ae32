//! The life of a request in the virtual world: what the proxy does with one, without a proxy.

use std::time::Duration;

use tidegate_core::cell::ErrorClass;
use tidegate_core::choose::{Choice, should_leave};
use tidegate_core::plan::ReplayScope;
use tidegate_core::retry::{
    self, BodyState, Failure, Idempotency, NextTry, Phase, Situation, Verdict,
};
use tidegate_core::{
    Ask, Decision, Health, InFlight, RegionIdx, RegionSet, Termination, choose, reach,
};

use crate::clock::{AttemptId, Event};
use crate::ledger::End;
use crate::physics::Traits;
use crate::scenario::{Effect, Kind, exponential};
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
    traits: Traits,
    ask: Ask,
    attempts: u8,
    /// At most two: the second is a hedge.
    under_way: Vec<Attempt>,
    hedged: bool,
}

/// One of its attempts.
#[derive(Debug)]
struct Attempt {
    number: u64,
    in_flight: InFlight,
    region: RegionIdx,
    position: u8,
    endpoint: usize,
    phase: Phase,
    sent_at: Duration,
}

/// All requests under way.
#[derive(Default)]
pub(crate) struct Requests {
    slots: Vec<Option<Request>>,
    free: Vec<usize>,
    attempts: u64,
}

impl Requests {
    fn insert(&mut self, request: Request) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(request);
                slot
            }
            None => {
                self.slots.push(Some(request));
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Request {
        self.free.push(slot);
        self.slots[slot].take().expect("a request ends once")
    }

    fn get(&mut self, slot: usize) -> &mut Request {
        self.slots[slot].as_mut().expect("its request lives on")
    }

    /// The attempt, if it is still under way.
    fn attempt(&mut self, id: AttemptId) -> Option<(&mut Attempt, Traits)> {
        let request = self.slots[id.request].as_mut()?;
        let mut attempts = request.under_way.iter_mut();
        let attempt = attempts.find(|attempt| attempt.number == id.number)?;
        Some((attempt, request.traits))
    }

    /// Ends the attempt, which is under way.
    fn end(&mut self, id: AttemptId) -> Attempt {
        let under_way = &mut self.get(id.request).under_way;
        let at = under_way
            .iter()
            .position(|attempt| attempt.number == id.number);
        under_way.remove(at.expect("it is under way"))
    }

    /// The attempts under way in a region.
    pub(crate) fn waiting_in(&self, position: u8) -> Vec<AttemptId> {
        let mut there = Vec::new();
        for (slot, request) in self.slots.iter().enumerate() {
            let under_way = request.iter().flat_map(|request| &request.under_way);
            let here = under_way.filter(|attempt| attempt.position == position);
            there.extend(here.map(|attempt| AttemptId {
                request: slot,
                number: attempt.number,
            }));
        }
        there
    }
}

impl World {
    pub(crate) fn arrive(&mut self) {
        let wait = Duration::from_secs_f64(exponential(&mut self.physics.rng) / self.scenario.rate);
        self.enter_in(wait, Event::Arrival);
        let request = self.new_request();
        let now = self.instant();
        self.upstream().budget.deposit(now);
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
        let mut ask = Ask::new(RegionSet::ALL, self.instant());
        ask.repeatable = matches!(idempotency, Idempotency::Safe | Idempotency::Idempotent);
        Request {
            began: self.now,
            idempotency,
            traits,
            ask,
            attempts: 0,
            under_way: Vec::new(),
            hedged: false,
        }
    }

    /// Makes the request's next attempt.
    pub(crate) fn attempt(&mut self, slot: usize) {
        match self.choose(slot) {
            (_, Some(choice)) => self.begin_attempt(slot, &choice),
            (decision, None) => self.finish(slot, End::Lost(decision.termination())),
        }
    }

    fn choose(&mut self, slot: usize) -> (Decision, Option<Choice>) {
        let now = self.instant();
        let request = self.requests.get(slot);
        request.ask.now = now;
        let (decision, choice) = choose(&self.live, UPSTREAM, &request.ask, &mut self.draws);
        self.promises
            .chosen(&self.live, &request.ask, choice.as_ref());
        (decision, choice)
    }

    fn begin_attempt(&mut self, slot: usize, choice: &Choice) {
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
        self.ledger
            .attempted(self.now, region, choice.because, retry);
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
        let deadline = request.began + DEADLINE;
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
        let rtt = self.physics.sites[region].rtt;
        match self.physics.strikes(region, endpoint, traits) {
            Some(Effect::Refuse | Effect::Reset) => self.enter_in(rtt, Event::Reset(id)),
            Some(Effect::Silence) => {}
            Some(Effect::Status(status)) => self.enter_in(rtt, Event::Head(id, status)),
            Some(Effect::Slow(times)) => self.answer(id, region, endpoint, times),
            Some(Effect::Stall) | None => self.answer(id, region, endpoint, 1.0),
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
        self.physics.offer_connection(region, endpoint);
        match listed {
            true => self.failed(id, Failure::Status(status), Phase::HeadReceived),
            false => self.finish(id.request, End::Answered(status)),
        }
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
        let phase = attempt.phase;
        attempt.in_flight.failed(class, instant);
        self.failed(id, failure, phase);
    }

    /// An attempt has failed; if there is another beside it, that one goes on.
    fn failed(&mut self, id: AttemptId, failure: Failure, phase: Phase) {
        let slot = id.request;
        let situation = self.situation(slot, failure, phase);
        let Attempt {
            region, position, ..
        } = self.requests.end(id);
        if !self.requests.get(slot).under_way.is_empty() {
            return;
        }
        match self.next(slot, position, &situation) {
            Some(next) => self.follow(slot, &next, region, position),
            None => self.finish(slot, lost(failure)),
        }
    }

    fn situation(&mut self, slot: usize, failure: Failure, phase: Phase) -> Situation {
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

    fn next(&mut self, slot: usize, position: u8, situation: &Situation) -> Option<NextTry> {
        let instant = self.instant();
        let policy = &self.live.plan.upstreams[0].retry;
        let Verdict::Retry(scope) = retry::verdict(policy, situation) else {
            return None;
        };
        let reach = reach(&self.live, UPSTREAM, &self.requests.get(slot).ask, position);
        let tries = retry::next_try(policy, situation, scope, reach);
        let paid = tries.pay(&self.upstream().budget, instant).ok()?;
        self.promises.retried(self.now, paid.purse());
        Some(paid)
    }

    fn follow(&mut self, slot: usize, next: &NextTry, region: RegionIdx, position: u8) {
        let last = self.live.plan.upstreams[0].retry.attempts;
        let request = self.requests.get(slot);
        request.ask.follow(next, region, position);
        request.ask.repeatable &= request.attempts + 1 < last;
        match next.wait(&mut self.draws) {
            Duration::ZERO => self.attempt(slot),
            wait => self.enter_in(wait, Event::Again(slot)),
        }
    }

    /// Whoever waits in a region that went down goes elsewhere, if it may; in one that fell silent, a
    /// second attempt is made beside it, if that is safe.
    pub(crate) fn leave(&mut self, position: u8) {
        for id in self.requests.waiting_in(position) {
            let request = self.requests.get(id.request);
            if !should_leave(&self.live, UPSTREAM, &request.ask, position) {
                continue;
            }
            let (alone, safe) = (
                request.under_way.len() == 1,
                request.idempotency == Idempotency::Safe && !request.hedged,
            );
            let sent = request.under_way[0].phase >= Phase::Sent;
            let health = self.upstream().regions[usize::from(position)].cell.health();
            match health == Health::Unhealthy {
                true if !alone => drop(self.requests.end(id)),
                false if !alone => {}
                false if sent && safe => self.hedge(id.request, position),
                false if sent => {}
                _ => self.give_up(id, position),
            }
        }
    }

    fn give_up(&mut self, id: AttemptId, position: u8) {
        if let Some((next, region)) = self.way_out(id.request, position) {
            drop(self.requests.end(id));
            self.follow(id.request, &next, region, position);
        }
    }

    fn hedge(&mut self, slot: usize, position: u8) {
        let Some((next, region)) = self.way_out(slot, position) else {
            return;
        };
        let request = self.requests.get(slot);
        request.hedged = true;
        let before = request.ask.clone();
        request.ask.follow(&next, region, position);
        match self.choose(slot) {
            (_, Some(choice)) => self.begin_attempt(slot, &choice),
            (_, None) => self.requests.get(slot).ask = before,
        }
    }

    fn way_out(&mut self, slot: usize, position: u8) -> Option<(NextTry, RegionIdx)> {
        let attempt = self.requests.get(slot).under_way.first()?;
        let (phase, region) = (attempt.phase, attempt.region);
        let situation = self.situation(slot, Failure::RegionDown, phase);
        let reach = reach(&self.live, UPSTREAM, &self.requests.get(slot).ask, position);
        let (policy, budget) = (&self.live.plan.upstreams[0].retry, &self.upstream().budget);
        let next = retry::leave(policy, &situation, reach, budget, self.instant()).ok()?;
        self.promises.retried(self.now, next.purse());
        Some((next, region))
    }

    fn finish(&mut self, slot: usize, end: End) {
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
