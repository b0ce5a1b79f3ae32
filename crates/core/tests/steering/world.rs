//! A world under a virtual clock: clients ask, PoPs choose, regions answer as well as they can.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::ledger::Ledger;
use crate::scene::{Event, PopSpec, Scene};
use crate::site::{Meets, Site, State};
use crate::steerer::{Failed, Place, Request, Steerer};

const TICK: Duration = Duration::from_millis(50);
/// So often each round trip is measured.
const MEASURE: Duration = Duration::from_secs(2);

struct Attempt {
    request: Request,
    place: Place,
    began: Duration,
    /// None: answered.
    fails: Option<Failed>,
}

pub(crate) struct World {
    scene: Scene,
    now: Duration,
    sites: Vec<Site>,
    pops: Vec<(Box<dyn Steerer>, Instant)>,
    specs: Vec<PopSpec>,
    under_way: HashMap<u64, Attempt>,
    ends: BinaryHeap<Reverse<(Duration, u64)>>,
    numbers: u64,
    /// The region where each client was last: by PoP and client.
    homes: HashMap<(usize, u64), usize>,
    demand: f64,
    /// For the world.
    rng: Rng,
    /// For decisions.
    draws: Rng,
    ledger: Ledger,
}

impl World {
    /// A world whose PoPs steer as `steerer` makes them; it says what their clocks start from.
    pub(crate) fn new(
        scene: &Scene,
        seed: u64,
        steerer: impl Fn(&Scene, usize) -> (Box<dyn Steerer>, Instant),
    ) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7164);
        Self {
            now: Duration::ZERO,
            sites: scene.regions.iter().map(Site::new).collect(),
            pops: (0..scene.pops.len())
                .map(|pop| steerer(scene, pop))
                .collect(),
            specs: scene.pops.clone(),
            under_way: HashMap::new(),
            ends: BinaryHeap::new(),
            numbers: 0,
            homes: HashMap::new(),
            demand: 1.0,
            draws: rng.fork(),
            rng,
            ledger: Ledger::new(scene),
            scene: scene.clone(),
        }
    }

    pub(crate) fn run(mut self) -> Ledger {
        let mut events = std::mem::take(&mut self.scene.events)
            .into_iter()
            .peekable();
        self.measure(true);
        while self.now < self.scene.length {
            while let Some((_, event)) = events.next_if(|(at, _)| *at <= self.now) {
                self.happen(event);
            }
            self.tick();
            self.now += TICK;
        }
        self.ledger
    }

    fn tick(&mut self) {
        self.measure(false);
        self.probe();
        self.look();
        self.end_what_is_over();
        for (at, site) in self.sites.iter_mut().enumerate() {
            site.pass(TICK);
            if site.works() {
                self.ledger.waits(self.now, at, site.wait());
            }
        }
        for pop in 0..self.pops.len() {
            let mut at = self.pause(pop);
            while at < TICK {
                self.arrive(pop, self.now + at);
                at += self.pause(pop);
            }
        }
    }

    /// The time until the next request of a PoP.
    fn pause(&mut self, pop: usize) -> Duration {
        let spec = &self.specs[pop];
        let turn = self.now.as_secs_f64() / self.scene.day.as_secs_f64() + spec.phase;
        let swing = 1.0 + self.scene.swing * (turn * std::f64::consts::TAU).sin();
        let rate = spec.rate * swing * self.demand;
        Duration::from_secs_f64((-(1.0 - self.rng.f64()).ln() / rate.max(1e-3)).min(3_600.0))
    }

    fn arrive(&mut self, pop: usize, at: Duration) {
        self.ledger.requests += 1;
        self.ledger.second(at).demand += 1;
        let client = self.scene.clients.map(|clients| self.rng.u64(..clients));
        let request = Request {
            pop,
            began: at,
            attempts: 0,
            client: client.map(|client| (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ask: None,
            left: None,
        };
        self.attempt(request, at);
    }

    fn attempt(&mut self, mut request: Request, at: Duration) {
        let pop = request.pop;
        let (steerer, origin) = &mut self.pops[pop];
        let now = *origin + at;
        let Some(place) = steerer.choose(&mut request, now, &mut self.draws) else {
            return self.lose(at);
        };
        request.attempts += 1;
        let first = request.attempts == 1;
        self.ledger.attempted(at, pop, place.region, first);
        if first {
            self.enter_home(&request, place.region);
        }
        let way = self.way(pop, place.region);
        let patience = self.pops[pop].0.patience();
        let (after, fails) = match self.sites[place.region].takes(place.endpoint) {
            Meets::Answers(took) => (way + took, None),
            Meets::Late => (way, Some(Failed::TurnedAway)),
            Meets::Refuses => (way, Some(Failed::Refused)),
            Meets::Nothing => (patience, Some(Failed::TimedOut)),
        };
        self.numbers += 1;
        self.ends.push(Reverse((at + after, self.numbers)));
        let attempt = Attempt {
            request,
            place,
            began: at,
            fails,
        };
        self.under_way.insert(self.numbers, attempt);
    }

    fn enter_home(&mut self, request: &Request, region: usize) {
        if let Some(client) = request.client {
            let before = self.homes.insert((request.pop, client), region);
            self.ledger.moved += u64::from(before.is_some_and(|before| before != region));
        }
    }

    fn way(&self, pop: usize, region: usize) -> Duration {
        Duration::from_secs_f64(self.specs[pop].rtt_ms[region] / 1e3)
    }

    fn end_what_is_over(&mut self) {
        while let Some(Reverse((at, number))) = self.ends.peek().copied() {
            if at > self.now {
                break;
            }
            self.ends.pop();
            if let Some(attempt) = self.under_way.remove(&number) {
                self.end(attempt, at);
            }
        }
    }

    fn end(&mut self, mut attempt: Attempt, at: Duration) {
        let now = self.pops[attempt.request.pop].1 + at;
        let took = at - attempt.began;
        if let Some(in_flight) = &mut attempt.place.in_flight {
            match attempt.fails {
                None => in_flight.answered(took, 200, false, now),
                Some(Failed::TurnedAway) => in_flight.answered(took, 503, true, now),
                Some(how) => how
                    .class()
                    .into_iter()
                    .for_each(|class| in_flight.failed(class, now)),
            }
        }
        match attempt.fails {
            None => self.answer(&attempt.request, at),
            Some(how) => self.fail(attempt, how, at),
        }
    }

    fn answer(&mut self, request: &Request, at: Duration) {
        // The way from the client to its PoP is the same for all and counts nowhere.
        self.ledger
            .took
            .push((at - request.began).as_secs_f32() * 1e3);
        self.ledger.rescued += u64::from(request.attempts > 1);
    }

    fn fail(&mut self, attempt: Attempt, how: Failed, at: Duration) {
        let Attempt {
            mut request, place, ..
        } = attempt;
        let (steerer, origin) = &mut self.pops[request.pop];
        let now = *origin + at;
        let again = steerer.failed(&mut request, &place, how, now);
        drop(place);
        match again {
            true => self.attempt(request, at),
            false => self.lose(at),
        }
    }

    fn lose(&mut self, at: Duration) {
        self.ledger.lost += 1;
        self.ledger.second(at).lost += 1;
    }

    fn look(&mut self) {
        for (steerer, origin) in &mut self.pops {
            steerer.look(*origin + self.now, &mut self.draws);
        }
        let mut leaving = Vec::new();
        for (number, attempt) in &self.under_way {
            let (steerer, origin) = &mut self.pops[attempt.request.pop];
            let waits = attempt.fails == Some(Failed::TimedOut);
            if waits && steerer.leaves(&attempt.request, &attempt.place, *origin + self.now) {
                leaving.push(*number);
            }
        }
        leaving.sort_unstable();
        for number in leaving {
            if let Some(attempt) = self.under_way.remove(&number) {
                self.fail(attempt, Failed::Left, self.now);
            }
        }
    }

    fn is_time(&self, every: Duration, turn: usize, of: usize) -> bool {
        let offset = every * turn as u32 / of.max(1) as u32;
        let ticks = |time: Duration| (time.as_millis() / TICK.as_millis()) as u64;
        ticks(self.now) % ticks(every).max(1) == ticks(offset) % ticks(every).max(1)
    }

    fn probe(&mut self) {
        for pop in 0..self.pops.len() {
            for region in 0..self.sites.len() {
                let (steerer, origin) = &self.pops[pop];
                let every = steerer.probe_every(region, *origin + self.now);
                for endpoint in 0..self.sites[region].alive.len() {
                    if self.now.is_zero()
                        || self.is_time(every, endpoint, self.sites[region].alive.len())
                    {
                        let site = &self.sites[region];
                        let well = site.state == State::Up && site.alive[endpoint];
                        let (steerer, origin) = &mut self.pops[pop];
                        steerer.probed(region, endpoint, well, *origin + self.now);
                    }
                }
            }
        }
    }

    fn measure(&mut self, all: bool) {
        for pop in 0..self.pops.len() {
            for region in 0..self.sites.len() {
                let due = self.is_time(MEASURE, region, self.sites.len());
                if (all || due) && self.sites[region].state == State::Up {
                    let spread = 1.0 + self.scene.noise * (self.rng.f64() + self.rng.f64() - 1.0);
                    let rtt = self.way(pop, region).mul_f64(spread);
                    let (steerer, origin) = &mut self.pops[pop];
                    steerer.measured(region, rtt, *origin + self.now);
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Silent(region) => self.sites[region].state = State::Silent,
            Event::Down(region) => self.sites[region].state = State::Down,
            Event::Up(region) => self.sites[region].state = State::Up,
            Event::Fewer(region, part) => self.sites[region].lose(part),
            Event::Demand(times) => self.demand = times,
            Event::Way(pop, region, ms) => self.specs[pop].rtt_ms[region] = ms,
            Event::Dial(region, to) => {
                let pops = self.pops.iter_mut();
                pops.for_each(|(steerer, _)| steerer.dial(region, to));
            }
        }
    }
}
