//! A PoP that runs Tidegate: plan, board, judge, allotter and choice are the ones that serve.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::allot::Allotter;
use tidegate_core::choose::{Ask, choose, reach, should_leave};
use tidegate_core::geo::Origin;
use tidegate_core::health::Judge;
use tidegate_core::ids::RegionSet;
use tidegate_core::plan::{Failback, HttpProbe, Probe, ProbeKind, RegionPolicy, Silence, Upstream};
use tidegate_core::retry::{Destination, NextTry, Scope};
use tidegate_core::{Dial, Live};

use crate::scene::{PopSpec, Scene};
use crate::steerer::{Failed, Place, Request, Steerer};
use crate::support::{self, UPSTREAM};

const ATTEMPTS: u32 = 3;
/// Where nothing answers, the first check that doubt caused has failed only after this.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Tidegate {
    live: Live,
    _board: tidegate_core::Board,
    judge: Judge,
    allotter: Allotter,
    probe: Probe,
    origin: Option<Origin>,
    next_look: Option<Instant>,
    /// Since when each region is in doubt: then its endpoints are checked faster.
    doubted: Vec<Option<Instant>>,
}

impl Tidegate {
    pub(crate) fn new(scene: &Scene, pop: &PopSpec) -> (Self, Instant) {
        let endpoints: Vec<_> = scene
            .regions
            .iter()
            .map(|region| region.endpoints)
            .collect();
        let world = support::World::planned(scene.steering.clone(), &endpoints, |plan| {
            for (region, spec) in support::own(&mut plan.regions)
                .iter_mut()
                .zip(&scene.regions)
            {
                region.location = spec.location;
            }
            plan.pop.location = pop.clients;
            configure(support::own(&mut plan.upstreams[0]), scene, pop);
        });
        let tidegate = Self {
            judge: Judge::default(),
            allotter: Allotter::default(),
            probe: Probe::new(ProbeKind::Http(HttpProbe::default())),
            origin: pop.clients.map(|location| Origin {
                location: Some(location),
                ..Origin::default()
            }),
            next_look: None,
            doubted: vec![None; scene.regions.len()],
            live: world.live,
            _board: world.board,
        };
        (tidegate, world.now)
    }

    fn ask(&self, client: Option<u64>, now: Instant) -> Box<Ask> {
        let mut ask = Ask::new(RegionSet::ALL, now);
        ask.sticky = client;
        ask.origin = self.origin;
        Box::new(ask)
    }
}

fn configure(upstream: &mut Upstream, scene: &Scene, pop: &PopSpec) {
    upstream.health.region = RegionPolicy {
        min_healthy: 0.3,
        error_rate: Some(0.5),
        window: Duration::from_secs(1),
        min_requests: 20,
        silence: Some(Silence::Auto {
            at_least: Duration::from_millis(300),
        }),
        degraded_latency: Some(3.0),
    };
    upstream.health.probe = Some(Probe::new(ProbeKind::Http(HttpProbe::default())));
    upstream.health.failback = Failback {
        hold: Duration::from_secs(5),
        ramp: Duration::from_secs(20),
        ..Failback::default()
    };
    let shares = scene.regions.iter().zip(&pop.pop_shares);
    for (region, (spec, &share)) in upstream.regions.iter_mut().zip(shares) {
        region.capacity_rps = spec.told.then_some(spec.capacity_rps);
        region.pop_share = share;
        region.weight = spec.weight;
        region.tier = spec.tier;
        region.standby = spec.standby.clone();
        region.dial = spec.dial;
    }
}

impl Steerer for Tidegate {
    fn choose(&mut self, request: &mut Request, now: Instant, rng: &mut Rng) -> Option<Place> {
        let client = request.client;
        let ask = request.ask.get_or_insert_with(|| self.ask(client, now));
        ask.now = now;
        let (_, choice) = choose(self.live.upstream(UPSTREAM), ask, rng);
        let choice = choice?;
        ask.tried(&choice);
        let mut in_flight = choice.begin(&self.live.upstreams[0]);
        in_flight.sent();
        Some(Place {
            region: usize::from(choice.position),
            endpoint: choice.at,
            in_flight: Some(in_flight),
        })
    }

    fn failed(&mut self, request: &mut Request, place: &Place, _: Failed, now: Instant) -> bool {
        let Some(ask) = &mut request.ask else {
            return false;
        };
        ask.now = now;
        let at = place.region as u8;
        let reach = reach(self.live.upstream(UPSTREAM), ask, at);
        let to = match () {
            () if request.attempts >= ATTEMPTS => return false,
            () if reach.here && !reach.doubted && request.attempts == 1 => {
                Destination::OtherEndpoint
            }
            () if reach.elsewhere => Destination::OtherRegion,
            () if reach.here => Destination::OtherEndpoint,
            () => return false,
        };
        let region = self.live.plan.upstreams[0].regions[place.region].region;
        ask.follow(&NextTry::at_once(to, Scope::Global), region, at);
        true
    }

    fn look(&mut self, now: Instant, _: &mut Rng) {
        if self.next_look.is_some_and(|due| now < due) {
            return;
        }
        let (wanted, bound) = (&self.live.plan.upstreams[0], &self.live.upstreams[0]);
        self.judge.look(wanted, bound, now);
        self.allotter.look(wanted, bound, now);
        for (region, doubted) in self.doubted.iter_mut().enumerate() {
            *doubted = match self.judge.in_doubt(region as u8) {
                true => doubted.or(Some(now)),
                false => None,
            };
        }
        self.next_look = Some(now + self.judge.next_look());
    }

    fn probed(&mut self, region: usize, endpoint: usize, well: bool, _: Instant) {
        let region = &self.live.upstreams[0].regions[region];
        let set = region.endpoints.load_full();
        set.endpoints[endpoint].cell.probed(well, &self.probe);
        region.cell.probed(well);
    }

    fn measured(&mut self, region: usize, rtt: Duration, now: Instant) {
        let region = &self.live.upstreams[0].regions[region];
        region.cell.observe_rtt(rtt, now);
    }

    fn leaves(&mut self, request: &Request, place: &Place, now: Instant) -> bool {
        let Some(ask) = &request.ask else {
            return false;
        };
        let ask = Ask {
            now,
            ..(**ask).clone()
        };
        request.attempts < ATTEMPTS
            && should_leave(self.live.upstream(UPSTREAM), &ask, place.region as u8)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn probe_every(&self, region: usize, now: Instant) -> Duration {
        let doubted = self.doubted[region];
        match doubted.is_some_and(|since| now >= since + PROBE_TIMEOUT) {
            true => Duration::from_millis(250),
            false => Duration::from_secs(2),
        }
    }

    fn dial(&mut self, region: usize, to: f64) {
        let cell: &Arc<_> = &self.live.upstreams[0].regions[region].cell;
        cell.set_dial(Some(Dial::new(to)));
    }
}
