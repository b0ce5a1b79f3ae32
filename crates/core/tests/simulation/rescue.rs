//! What moves requests that are under way: leaving a region, hedges, and answers that are continued
//! elsewhere.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::choose::should_leave;
use tidegate_core::plan::HedgeTo;
use tidegate_core::retry::{
    self, BodyState, Failure, Idempotency, NextTry, Phase, Scope, Situation, WhyNot,
};
use tidegate_core::{Drain, Health, RegionIdx, RouteIdx, Termination, resume};

use crate::clock::{AttemptId, Event};
use crate::ledger::End;
use crate::request::Request;
use crate::support::UPSTREAM;
use crate::world::World;

/// A body of which nothing came for so long is dead.
const IDLE: Duration = Duration::from_secs(1);
/// Whoever found no room asks again after this.
const ROOM: Duration = Duration::from_millis(100);
/// A body that was broken off has so long to be continued.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer whose body takes long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Download {
    /// How much longer, once it flows.
    left: Duration,
    /// Since when it flows.
    since: Option<Duration>,
    /// Attempts since something came; 0 before the first head.
    attempts: u8,
    /// Until when it has to be continued, once it is broken off.
    until: Duration,
}

impl Download {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            left: Duration::from_millis(rng.u64(500..6_000)),
            since: None,
            attempts: 0,
            until: Duration::MAX,
        }
    }
}

impl Request {
    /// Whether its client has got a part of its answer.
    pub(crate) fn is_downloading(&self) -> bool {
        self.download.is_some_and(|download| download.attempts > 0)
    }
}

impl World {
    /// Whoever waits in a region that went down or is drained at once goes elsewhere, if it may; in one
    /// that fell silent, a second attempt is made beside it, if that is safe.
    pub(crate) fn leave(&mut self, position: u8) {
        let now = self.instant();
        for id in self.requests.waiting_in(position) {
            let request = self.requests.get(id.request);
            request.ask.now = now;
            if !should_leave(self.live.upstream(UPSTREAM), &request.ask, position) {
                continue;
            }
            let (alone, safe) = (
                request.under_way.len() == 1,
                request.idempotency == Idempotency::Safe && !request.hedged,
            );
            let sent = request.under_way[0].phase >= Phase::Sent;
            let cell = &self.upstream().regions[usize::from(position)].cell;
            let out = cell.health() == Health::Unhealthy || cell.drain() == Drain::Now;
            match out {
                true if !alone => drop(self.requests.end(id)),
                false if !alone => {}
                false if sent && safe => self.hedge_silence(id.request, position),
                false if sent => {}
                _ => self.give_up(id, position),
            }
        }
    }

    fn give_up(&mut self, id: AttemptId, position: u8) {
        if let Some((next, region)) = self.way_out(id.request, position) {
            self.ledger.redispatches += 1;
            drop(self.requests.end(id));
            self.requests.get(id.request).first = None;
            self.follow(id.request, &next, region, position);
        }
    }

    fn hedge_silence(&mut self, slot: usize, position: u8) {
        if let Some((next, region)) = self.way_out(slot, position) {
            self.race(slot, &next, region, position);
        }
    }

    fn way_out(&mut self, slot: usize, position: u8) -> Option<(NextTry, RegionIdx)> {
        let request = self.requests.get(slot);
        let attempts = &mut request.under_way.iter();
        let attempt = attempts.find(|attempt| attempt.position == position)?;
        let (phase, region) = (attempt.phase, attempt.region);
        let downloading = request.is_downloading();
        let mut situation = self.situation(slot, Failure::RegionDown, phase);
        if downloading {
            situation = self.resuming(slot);
        }
        let reach = self.reach(slot, position);
        let (policy, budget) = (&self.live.plan.upstreams[0].retry, &self.upstream().budget);
        let next = retry::leave(policy, &situation, reach, budget, self.instant()).ok()?;
        self.promises.retried(self.now, next.purse());
        Some((next, region))
    }

    /// Makes an attempt beside the one that is under way.
    fn race(&mut self, slot: usize, next: &NextTry, region: RegionIdx, position: u8) {
        let request = self.requests.get(slot);
        request.hedged = true;
        let before = request.ask.clone();
        request.ask.follow(next, region, position);
        match self.choose(slot) {
            (_, Some(choice)) => self.begin_attempt(slot, &choice),
            (_, None) => self.requests.get(slot).ask = before,
        }
    }

    /// A request was sent: if it is still without an answer after a while, another is made beside it.
    pub(crate) fn hold_hedge(&mut self, id: AttemptId) {
        let now = self.instant();
        let Some(hedge) = self.live.plan.routes[0].hedge else {
            return;
        };
        let delay = self.hedge_cell().and_then(|cell| cell.delay(&hedge, now));
        let request = self.requests.get(id.request);
        let first = !request.hedged && request.under_way.len() == 1 && !request.is_downloading();
        if let Some(delay) = delay.filter(|_| first) {
            self.enter_in(delay, Event::Late(id));
        }
    }

    /// The answer is late: a hedge, if it may be and can be paid.
    pub(crate) fn late(&mut self, id: AttemptId) {
        let Some((attempt, _)) = self.requests.attempt(id) else {
            return;
        };
        let (phase, region, position) = (attempt.phase, attempt.region, attempt.position);
        let request = self.requests.get(id.request);
        if phase != Phase::Sent || request.hedged || request.under_way.len() > 1 {
            return;
        }
        let situation = self.situation(id.request, Failure::Timeout, phase);
        let reach = self.reach(id.request, position);
        let (policy, now) = (&self.live.plan.upstreams[0].retry, self.instant());
        let ways = retry::beside(policy, HedgeTo::Endpoint, &situation, reach);
        let Some(cell) = self.live.hedge(RouteIdx(0)) else {
            return;
        };
        if let Ok(next) = ways.pay_beside(cell, &self.upstream().budget, now) {
            self.promises.retried(self.now, next.purse());
            self.promises.hedged(self.now);
            self.ledger.hedges += 1;
            self.race(id.request, &next, region, position);
        }
    }

    /// The head of a long answer came: its client has it, and the body flows.
    pub(crate) fn body_begins(&mut self, id: AttemptId) {
        self.learn(id);
        let now = self.now;
        let request = self.requests.get(id.request);
        request.ask.deadline = None;
        let Some(download) = &mut request.download else {
            return;
        };
        self.ledger.resumed += u64::from(download.attempts > 0);
        (download.since, download.attempts) = (Some(now), 1);
        let left = download.left;
        let losers = request
            .under_way
            .iter()
            .map(|attempt| attempt.id(id.request));
        let losers: Vec<_> = losers.filter(|other| *other != id).collect();
        for loser in losers {
            drop(self.requests.end(loser));
        }
        if let Some((attempt, _)) = self.requests.attempt(id) {
            attempt.phase = Phase::BodyUnderWay;
        }
        self.enter_in(left, Event::Body(id));
    }

    /// The body's last byte is due.
    pub(crate) fn body_ends(&mut self, id: AttemptId) {
        let Some((attempt, traits)) = self.requests.attempt(id) else {
            return;
        };
        let (region, endpoint) = (usize::from(attempt.position), attempt.endpoint);
        if !self.physics.cut(region, endpoint, traits) {
            self.physics.offer_connection(region, endpoint);
            self.finish(id.request, End::Answered(200));
        }
    }

    /// Nothing comes from there any more: after a while it is noticed.
    pub(crate) fn freeze_bodies(&mut self, region: usize) {
        for id in self.requests.under_way_in(region as u8) {
            let attempt = self.requests.attempt(id).map(|(attempt, _)| attempt.phase);
            if attempt == Some(Phase::BodyUnderWay) {
                self.enter_in(IDLE, Event::Idle(id));
            }
        }
    }

    pub(crate) fn body_idles(&mut self, id: AttemptId) {
        if self.requests.attempt(id).is_some() {
            self.body_breaks(id, Event::Idle(id));
        }
    }

    /// The body ended too early, or nothing comes of it: it is continued elsewhere. Limits of the time
    /// until the head are over.
    pub(crate) fn body_breaks(&mut self, id: AttemptId, how: Event) {
        let frozen = match how {
            Event::TimeUp(_) => return,
            Event::Idle(_) => IDLE,
            _ => Duration::ZERO,
        };
        let now = self.now;
        let ended = self.requests.end(id);
        let (region, position) = (ended.region, ended.position);
        drop(ended);
        if let Some(download) = &mut self.requests.get(id.request).download {
            let flowed = now - download.since.take().unwrap_or(now);
            download.left = download.left.saturating_sub(flowed.saturating_sub(frozen));
            download.until = now + PATIENCE;
        }
        self.resume(id.request, region, position);
    }

    /// Asks another place for the rest of an answer.
    pub(crate) fn resume(&mut self, slot: usize, region: RegionIdx, position: u8) {
        let situation = self.resuming(slot);
        let reach = self.reach(slot, position);
        let (policy, budget) = (&self.live.plan.upstreams[0].retry, &self.upstream().budget);
        match resume::next(policy, &situation, reach, budget, self.instant()) {
            Ok(next) => {
                self.promises.retried(self.now, next.purse());
                self.ledger.resumes += 1;
                if let Some(download) = &mut self.requests.get(slot).download {
                    download.attempts += 1;
                }
                self.follow(slot, &next, region, position);
            }
            // There will be room: what moved before is answered meanwhile.
            Err(WhyNot::RetriesFull) => {
                self.enter_in(ROOM, Event::Rest(slot, region.0, position));
            }
            Err(why) => self.lose(slot, End::Lost(Termination::UpstreamTruncated), why),
        }
    }

    fn resuming(&mut self, slot: usize) -> Situation {
        let now = self.now;
        let request = self.requests.get(slot);
        let until = request.download.map_or(now, |download| download.until);
        Situation {
            failure: Failure::Reset,
            phase: Phase::Sent,
            idempotency: request.idempotency,
            body: BodyState::Untouched,
            scope: Scope::Global,
            retry_after: None,
            attempts: request.download.map_or(1, |download| download.attempts),
            left: until.saturating_sub(now).min(PATIENCE),
        }
    }
}
