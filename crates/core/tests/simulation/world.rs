//! The world of one seed: the real core under a virtual clock.
//!
//! Plan, board, judge, steering, balancing, retries and budget are the ones that serve; only clients,
//! networks, endpoints and probes are pretended. Two sources of chance, one for the world and one for
//! decisions, so that a decision that draws differently meets the same weather.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::health::Judge;
use tidegate_core::{Drain, Health, Live, LiveUpstream, RegionIdx};

use crate::clock::{Agenda, AttemptId, Event};
use crate::ledger::Ledger;
use crate::physics::Physics;
use crate::probes::Probers;
use crate::promises::Promises;
use crate::requests::Requests;
use crate::scenario::{Effect, Scenario, Scope};
use crate::support;

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: Duration,
    pub(crate) agenda: Agenda,
    pub(crate) physics: Physics,
    pub(crate) live: Live,
    pub(crate) judge: Judge,
    pub(crate) probers: Probers,
    pub(crate) requests: Requests,
    pub(crate) ledger: Ledger,
    pub(crate) promises: Promises,
    /// For decisions.
    pub(crate) draws: Rng,
    pub(crate) origin: Instant,
    epochs: Vec<u64>,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let endpoints: Vec<_> = scenario.sites.iter().map(|site| site.endpoints).collect();
        let bound = support::World::planned(scenario.steering.clone(), &endpoints, |plan| {
            scenario.configure(support::own(&mut plan.upstreams[0]));
            support::own(&mut plan.routes[0]).hedge = scenario.hedge;
        });
        let mut rng = Rng::with_seed(scenario.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = Self {
            now: Duration::ZERO,
            agenda: Agenda::default(),
            physics: Physics::new(&scenario.sites, scenario.multiplexed, rng.fork()),
            origin: bound.now,
            live: bound.live,
            judge: Judge::default(),
            probers: Probers::new(&endpoints),
            requests: Requests::default(),
            ledger: Ledger::new(&scenario),
            promises: Promises::new(&scenario),
            draws: rng.fork(),
            epochs: vec![0; endpoints.len()],
            scenario,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            self.agenda.enter(fault.from, Event::Turn(number, true));
            self.agenda.enter(fault.until, Event::Turn(number, false));
        }
        if !self.scenario.blind {
            self.begin_probes();
        }
        self.agenda
            .enter(Duration::from_millis(500), Event::Arrival);
        self.agenda.enter(Duration::ZERO, Event::Look);
        self.agenda.enter(Duration::from_secs(1), Event::Second);
    }

    /// Lives through the scenario to its end.
    pub(crate) fn run(mut self) -> Ledger {
        while let Some((at, event)) = self.agenda.next() {
            if at > self.scenario.length {
                break;
            }
            self.now = at;
            self.happen(event);
        }
        self.ledger.most = self.promises.most;
        self.ledger.broken = self.promises.broken;
        self.ledger
    }

    pub(crate) fn instant(&self) -> Instant {
        self.origin + self.now
    }

    pub(crate) fn upstream(&self) -> &LiveUpstream {
        &self.live.upstreams[0]
    }

    pub(crate) fn enter_in(&mut self, after: Duration, event: Event) {
        self.agenda.enter(self.now + after, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Again(request) => self.attempt(request),
            Event::Connected(id) => self.connected(id),
            Event::Sent(id) => self.sent(id),
            Event::Head(id, status) => self.head(id, status),
            Event::Refused(id)
            | Event::Reset(id)
            | Event::ConnectTimeout(id)
            | Event::TimeUp(id) => self.broken(id, event),
            Event::Late(id) => self.late(id),
            Event::Body(id) => self.body_ends(id),
            Event::Idle(id) => self.body_idles(id),
            Event::Rest(request, region, position) => {
                self.resume(request, RegionIdx(region), position);
            }
            Event::Probe(region, endpoint, number) => self.probe(region, endpoint, number),
            Event::Probed(region, endpoint, well, took) => {
                self.probed(region, endpoint, well, took);
            }
            Event::Look => self.look_and_go_on(),
            Event::Turn(number, on) => self.turn(number, on),
            Event::Second => self.second(),
        }
    }

    fn look_and_go_on(&mut self) {
        self.look();
        let next = self.judge.next_look();
        self.enter_in(next, Event::Look);
    }

    /// The judge looks, and everybody who waits or probes learns what changed.
    pub(crate) fn look(&mut self) {
        let now = self.instant();
        let (wanted, live) = (&self.live.plan.upstreams[0], &self.live.upstreams[0]);
        let changes = self.judge.look(wanted, live, now);
        self.ledger.changed(self.now, changes);
        self.ledger.standings(self.now, &self.live.upstreams[0]);
        if !self.scenario.blind {
            self.hasten_probes();
        }
        self.wake_those_who_wait();
    }

    /// Those who wait in a region of which something has become ask at once; those who could not leave
    /// then, for want of room or budget, ask again at every look.
    fn wake_those_who_wait(&mut self) {
        for region in 0..self.epochs.len() {
            let cell = &self.upstream().regions[region].cell;
            let (epoch, standing) = (cell.epoch(), cell.standing());
            let out = standing.health == Health::Unhealthy || cell.drain() == Drain::Now;
            if std::mem::replace(&mut self.epochs[region], epoch) != epoch || out {
                self.leave(region as u8);
            }
        }
    }

    fn turn(&mut self, number: usize, on: bool) {
        let fault = self.scenario.faults[number];
        match (fault.effect, fault.scope) {
            (Effect::Drain, Scope::Region(region)) => return self.drain(region, on),
            (Effect::Refuse | Effect::Reset, Scope::Region(region)) if on => {
                self.break_connections(region);
            }
            (Effect::Silence, Scope::Region(region)) if on => self.freeze_bodies(region),
            _ => {}
        }
        self.physics.turn(&fault, on);
    }

    fn drain(&mut self, region: usize, on: bool) {
        let drain = if on { Drain::Now } else { Drain::No };
        self.upstream().regions[region].cell.set_drain(drain);
        self.wake_those_who_wait();
    }

    /// Whoever waits there is cut off, and so is what idles.
    fn break_connections(&mut self, region: usize) {
        self.physics.break_connections(region);
        let there: Vec<AttemptId> = self.requests.under_way_in(region as u8);
        let after = self.physics.sites[region].rtt / 2;
        for id in there {
            self.enter_in(after, Event::Reset(id));
        }
    }

    fn second(&mut self) {
        self.promises.second(&self.ledger, self.now);
        self.enter_in(Duration::from_secs(1), Event::Second);
    }
}
