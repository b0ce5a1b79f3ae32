//! A world of regions and clients in virtual time, judged as it goes. Every event is drawn from one
//! seed; nothing waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::cell::{ErrorClass, InFlight};
use tidegate_core::health::{Change, Judge, Stage};
use tidegate_core::ids::{Generation, RegionIdx, RegionSet};
use tidegate_core::plan::Upstream;
use tidegate_core::plan::{
    Failback, HealthPolicy, Probe, ProbeKind, RegionPolicy, Silence, Steering,
};
use tidegate_core::route::RouteMatch;
use tidegate_core::{Ask, Board, Health, Live, choose};

use crate::support::{self, UPSTREAM};

/// What is wrong with a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    Refuse,
    Reset,
    BlackHole,
    /// This part of the answers is a 500.
    Errors(f64),
    /// Answers take so many times as long.
    Slow(f64),
}

/// One region as it really is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) fault: Fault,
    pub(crate) rtt: Duration,
    /// Median of the service time, and the sigma of its logarithm.
    pub(crate) service: (Duration, f64),
    /// This part of requests takes so long.
    pub(crate) slow_route: (f64, Duration),
    /// This part of answers is a 500 in the best of times.
    pub(crate) noise: f64,
}

struct Flight {
    attempt: InFlight,
    ask: Ask,
    position: u8,
    began: Instant,
    tries: u8,
    refused: bool,
}

/// The world.
pub(crate) struct World {
    pub(crate) live: Live,
    pub(crate) board: Board,
    pub(crate) judge: Judge,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) sites: Vec<Site>,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) probes: bool,
    /// How many regions a request may try.
    pub(crate) attempts: u8,
    /// What was told, and when.
    pub(crate) told: Vec<(Duration, Change)>,
    pub(crate) lost: u64,
    /// First attempts by second and region.
    pub(crate) taken: BTreeMap<(u64, u8), u64>,
    rng: Rng,
    flying: BTreeMap<u64, Flight>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    next_id: u64,
    next_arrival: Instant,
    next_look: Instant,
    next_probe: Vec<Instant>,
}

const PER_TRY: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// Millisecond durations.
pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Second durations.
pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The policy that the configuration gives by default.
pub(crate) fn policy() -> HealthPolicy {
    HealthPolicy {
        probe: None,
        region: RegionPolicy {
            min_healthy: 0.3,
            error_rate: Some(0.5),
            window: secs(1),
            min_requests: 20,
            silence: Some(Silence::Auto { at_least: ms(300) }),
            degraded_latency: Some(3.0),
        },
        failback: Failback {
            manual: false,
            hold: secs(10),
            hold_max: secs(300),
            probation: 0.01,
            ramp: secs(60),
            drain: None,
        },
        ..HealthPolicy::default()
    }
}

impl World {
    /// Regions at 10, 80 and 160 ms with so many endpoints each and 5 ms of service; the upstream
    /// may be changed first.
    pub(crate) fn with(
        seed: u64,
        rate: f64,
        steering: Steering,
        endpoints: &[usize],
        change: impl FnOnce(&mut Upstream),
    ) -> Self {
        let start = Instant::now();
        let board = Board::new(start);
        let mut plan = support::plan(steering, endpoints, vec![RouteMatch::default()]);
        let upstream = support::own(&mut plan.upstreams[0]);
        upstream.health = policy();
        change(upstream);
        let probes = plan.upstreams[0].health.probe.is_some();
        let live = Live::bind(Arc::new(plan), &board, Generation(1));
        let rtts = [10, 80, 160, 200].map(ms);
        for (region, rtt) in live.upstreams[0].regions.iter().zip(rtts) {
            region.cell.observe_rtt(rtt, start);
        }
        let site = |rtt| Site {
            fault: Fault::None,
            rtt,
            service: (ms(5), 0.5),
            slow_route: (0.0, secs(5)),
            noise: 0.0,
        };
        Self {
            sites: rtts
                .iter()
                .copied()
                .take(endpoints.len())
                .map(site)
                .collect(),
            next_probe: vec![start; endpoints.len()],
            live,
            board,
            judge: Judge::default(),
            now: start,
            start,
            rate,
            probes,
            attempts: 3,
            told: Vec::new(),
            lost: 0,
            taken: BTreeMap::new(),
            rng: Rng::with_seed(seed),
            flying: BTreeMap::new(),
            due: BinaryHeap::new(),
            next_id: 0,
            next_arrival: start,
            next_look: start,
        }
    }

    /// A TCP probe every second.
    pub(crate) fn probe() -> Probe {
        Probe {
            interval: secs(1),
            timeout: PROBE_TIMEOUT,
            ..Probe::new(ProbeKind::Tcp)
        }
    }

    /// Breaks or mends a region.
    pub(crate) fn fault(&mut self, region: usize, fault: Fault) {
        self.sites[region].fault = fault;
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let flight = self.due.peek().map_or(end, |Reverse((at, _))| *at);
            let probe = self
                .next_probe
                .iter()
                .min()
                .copied()
                .filter(|_| self.probes);
            let next = [
                self.next_arrival,
                self.next_look,
                flight,
                probe.unwrap_or(end),
            ];
            let at = next.into_iter().min().expect("four");
            if at >= end {
                self.now = end;
                return;
            }
            self.now = self.now.max(at);
            match () {
                () if at == flight => self.land(),
                () if at == self.next_arrival => self.arrive(),
                () if at == self.next_look => self.look(),
                () => self.probe_all(),
            }
        }
    }

    /// Since the world began.
    pub(crate) fn time(&self) -> Duration {
        self.now - self.start
    }

    fn look(&mut self) {
        let (wanted, live) = self.live.upstream(UPSTREAM);
        let changes = self.judge.look(wanted, live, self.now);
        let time = self.time();
        self.told
            .extend(changes.into_iter().map(|change| (time, change)));
        self.next_look = self.now + self.judge.next_look();
    }

    fn arrive(&mut self) {
        let gap = -(1.0 - self.rng.f64()).ln() / self.rate;
        self.next_arrival = self.now + Duration::from_secs_f64(gap);
        let ask = Ask::new(RegionSet::ALL, self.now);
        self.attempt(ask, 0);
    }

    fn attempt(&mut self, ask: Ask, tries: u8) {
        let (_, choice) = choose(self.live.upstream(UPSTREAM), &ask, &mut self.rng);
        let Some(choice) = choice else {
            self.lost += 1;
            return;
        };
        let position = choice.position;
        if tries == 0 {
            let second = self.time().as_secs();
            *self.taken.entry((second, position)).or_default() += 1;
        }
        let mut attempt = choice.begin(self.live.upstream(UPSTREAM).1);
        let site = self.sites[usize::from(position)];
        let refused = site.fault == Fault::Refuse;
        let takes = if refused { site.rtt } else { self.takes(&site) };
        if !refused {
            attempt.sent();
        }
        let flight = Flight {
            attempt,
            ask,
            position,
            began: self.now,
            tries,
            refused,
        };
        self.next_id += 1;
        self.due.push(Reverse((self.now + takes, self.next_id)));
        self.flying.insert(self.next_id, flight);
    }

    /// Time to the head: log-normal, or a slow route's.
    fn takes(&mut self, site: &Site) -> Duration {
        if self.rng.f64() < site.slow_route.0 {
            return site.slow_route.1;
        }
        let (u, v) = (1.0 - self.rng.f64(), self.rng.f64());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let service = site.service.0.mul_f64((site.service.1 * normal).exp());
        match site.fault {
            Fault::Slow(times) => (site.rtt + service).mul_f64(times),
            _ => site.rtt + service,
        }
    }

    fn land(&mut self) {
        let Some(Reverse((_, id))) = self.due.pop() else {
            return;
        };
        let Some(mut flight) = self.flying.remove(&id) else {
            return;
        };
        let site = self.sites[usize::from(flight.position)];
        let took = self.now - flight.began;
        let failed = match site.fault {
            _ if flight.refused => Some(ErrorClass::Connect),
            Fault::BlackHole if took >= PER_TRY => Some(ErrorClass::Timeout),
            Fault::BlackHole => {
                self.due.push(Reverse((flight.began + PER_TRY, id)));
                self.flying.insert(id, flight);
                return;
            }
            Fault::Reset => Some(ErrorClass::Reset),
            // A server that refuses is gone, and so is what it was working at.
            Fault::Refuse => Some(ErrorClass::Reset),
            _ => None,
        };
        let errors = match site.fault {
            Fault::Errors(share) => share,
            _ => site.noise,
        };
        match failed {
            Some(class) => flight.attempt.failed(class, self.now),
            None if self.rng.f64() < errors => flight.attempt.answered(took, 500, true, self.now),
            None => return flight.attempt.answered(took, 200, false, self.now),
        }
        let (mut ask, position, tries) = (flight.ask, flight.position, flight.tries + 1);
        drop(flight.attempt);
        if tries >= self.attempts {
            self.lost += 1;
            return;
        }
        ask.now = self.now;
        ask.tried_regions.insert(RegionIdx(position));
        self.attempt(ask, tries);
    }

    /// Probes every region that is due; what is cut off fails after the probe's limit, which here
    /// comes before the next one.
    fn probe_all(&mut self) {
        for position in 0..self.sites.len() {
            if self.next_probe[position] > self.now {
                continue;
            }
            let region = &self.live.upstreams[0].regions[position];
            let fault = self.sites[position].fault;
            let well = !matches!(fault, Fault::Refuse | Fault::Reset | Fault::BlackHole);
            let probe = self.live.plan.upstreams[0]
                .health
                .probe
                .as_ref()
                .expect("probes");
            for endpoint in &region.endpoints.load().endpoints {
                endpoint.cell.probed(well, probe);
            }
            region.cell.probed(well);
            let fast = self.judge.in_doubt(position as u8);
            self.next_probe[position] = self.now + if fast { PROBE_TIMEOUT } else { secs(1) };
        }
    }

    /// What was told of a region after `from`: seconds, stage, health, sentence.
    pub(crate) fn story(&self, from: Duration) -> Vec<String> {
        let line = |(at, change): &(Duration, Change)| {
            let endpoint = change.endpoint.as_deref().unwrap_or_default();
            let (position, stage, to) = (change.position, change.stage, change.to);
            let at = at.as_secs_f64();
            format!(
                "{at:.2} r{position} {endpoint} {stage} {to}: {}",
                change.evidence
            )
        };
        let later = self.told.iter().filter(|(at, _)| *at >= from);
        later.map(line).collect()
    }

    /// When a region first reached a stage after `from`, counted from there.
    pub(crate) fn reached(&self, position: u8, stage: Stage, from: Duration) -> Option<Duration> {
        let reached = |(at, change): &&(Duration, Change)| {
            *at >= from
                && change.endpoint.is_none()
                && (change.position, change.stage) == (position, stage)
        };
        self.told.iter().find(reached).map(|(at, _)| *at - from)
    }

    /// The health of a region as decisions see it.
    pub(crate) fn health(&self, position: usize) -> Health {
        self.live.upstreams[0].regions[position].cell.health()
    }
}
