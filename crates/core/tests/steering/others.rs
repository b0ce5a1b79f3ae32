//! Models of what people run today, in the settings that favour them: Envoy with one priority for each
//! region, and DNS that answers with the region of least latency.
//!
//! They are models, of the rules that their documentation states, and not the programs.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::scene::{PopSpec, Scene};
use crate::steerer::{Failed, Place, Request, Steerer};

/// What checks say of one endpoint: three failures put it out, two successes bring it back.
#[derive(Clone, Copy, Default)]
struct Checked {
    out: bool,
    in_a_row: u32,
}

impl Checked {
    fn enter(&mut self, well: bool) {
        self.in_a_row = if well == self.out {
            self.in_a_row + 1
        } else {
            0
        };
        let needed = if self.out { 2 } else { 3 };
        if self.in_a_row >= needed {
            (self.out, self.in_a_row) = (!self.out, 0);
        }
    }
}

struct Checks(Vec<Vec<Checked>>);

impl Checks {
    fn new(scene: &Scene) -> Self {
        Self(
            scene
                .regions
                .iter()
                .map(|region| vec![Checked::default(); region.endpoints])
                .collect(),
        )
    }

    fn healthy(&self, region: usize) -> f64 {
        let well = self.0[region].iter().filter(|checked| !checked.out).count();
        well as f64 / self.0[region].len() as f64
    }

    /// Any endpoint that is in, or any at all if `panic`.
    fn pick(&self, region: usize, panic: bool, rng: &mut Rng) -> Option<usize> {
        let usable = |at: &usize| panic || !self.0[region][*at].out;
        let usable: Vec<_> = (0..self.0[region].len()).filter(usable).collect();
        rng.choice(usable)
    }
}

fn nearest_first(pop: &PopSpec) -> Vec<usize> {
    let mut order: Vec<_> = (0..pop.rtt_ms.len()).collect();
    order.sort_by(|a, b| pop.rtt_ms[*a].total_cmp(&pop.rtt_ms[*b]));
    order
}

/// Envoy in the PoP: one priority for each region, nearest first; active checks every 2 s (3 to fail, 2
/// to rise); overprovisioning 1.4; panic below 50 %; one retry in another priority, and 2 s a try.
pub(crate) struct Envoy {
    order: Vec<usize>,
    checks: Checks,
}

impl Envoy {
    pub(crate) fn new(scene: &Scene, pop: &PopSpec) -> Self {
        Self {
            order: nearest_first(pop),
            checks: Checks::new(scene),
        }
    }

    /// The priority for a draw of 1 to 100, in whole percents as Envoy computes them.
    fn priority(&self, but: Option<usize>, drawn: u32) -> Option<usize> {
        let health = |region: &usize| match Some(*region) == but {
            true => 0,
            false => ((140.0 * self.checks.healthy(*region)) as u32).min(100),
        };
        let health: Vec<_> = self.order.iter().map(health).collect();
        let norm = health.iter().sum::<u32>().min(100);
        if norm == 0 {
            return self
                .order
                .iter()
                .copied()
                .find(|region| Some(*region) != but);
        }
        let (mut left, mut sum) = (100, 0);
        for (at, health) in health.iter().enumerate() {
            let load = left.min(health * 100 / norm);
            left -= load;
            sum += load;
            if sum >= drawn {
                return Some(self.order[at]);
            }
        }
        health
            .iter()
            .position(|health| *health > 0)
            .map(|at| self.order[at])
    }
}

impl Steerer for Envoy {
    fn choose(&mut self, request: &mut Request, _: Instant, rng: &mut Rng) -> Option<Place> {
        let region = self.priority(request.left, rng.u32(1..=100))?;
        let panic = self.checks.healthy(region) < 0.5;
        let endpoint = self.checks.pick(region, panic, rng)?;
        Some(Place {
            region,
            endpoint,
            in_flight: None,
        })
    }

    fn failed(&mut self, request: &mut Request, place: &Place, _: Failed, _: Instant) -> bool {
        request.left = Some(place.region);
        request.attempts < 2
    }

    fn look(&mut self, _: Instant, _: &mut Rng) {}

    fn probed(&mut self, region: usize, endpoint: usize, well: bool, _: Instant) {
        self.checks.0[region][endpoint].enter(well);
    }

    fn measured(&mut self, _: usize, _: Duration, _: Instant) {}

    fn leaves(&mut self, _: &Request, _: &Place, _: Instant) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn probe_every(&self, _: usize, _: Instant) -> Duration {
        Duration::from_secs(2)
    }
}

/// DNS by latency: clients behind 60 resolvers go to the region that their resolver heard of last, each
/// answer being good for 60 s; a region is taken out of the answers after three checks of 10 s. In the
/// region a balancer of its own picks an endpoint, checked as Envoy's are. Nothing is retried.
pub(crate) struct Dns {
    order: Vec<usize>,
    regions: Vec<Checked>,
    checks: Checks,
    resolvers: Vec<(usize, Option<Instant>)>,
    probes: Vec<u32>,
}

const TTL: Duration = Duration::from_secs(60);
const RESOLVERS: usize = 60;

impl Dns {
    pub(crate) fn new(scene: &Scene, pop: &PopSpec) -> Self {
        let order = nearest_first(pop);
        Self {
            regions: vec![Checked::default(); order.len()],
            checks: Checks::new(scene),
            resolvers: vec![(order[0], None); RESOLVERS],
            probes: vec![0; order.len()],
            order,
        }
    }

    fn best(&self) -> usize {
        let mut regions = self.order.iter();
        *regions
            .find(|region| !self.regions[**region].out)
            .unwrap_or(&self.order[0])
    }
}

impl Steerer for Dns {
    fn choose(&mut self, _: &mut Request, now: Instant, rng: &mut Rng) -> Option<Place> {
        let best = self.best();
        let resolver = &mut self.resolvers[rng.usize(..RESOLVERS)];
        match resolver.1 {
            // At the start each one's answer has been there for a while.
            None => resolver.1 = Some(now + TTL.mul_f64(rng.f64())),
            Some(until) if until <= now => *resolver = (best, Some(now + TTL)),
            Some(_) => {}
        }
        let region = resolver.0;
        let endpoint = self
            .checks
            .pick(region, self.checks.healthy(region) == 0.0, rng)?;
        Some(Place {
            region,
            endpoint,
            in_flight: None,
        })
    }

    fn failed(&mut self, _: &mut Request, _: &Place, _: Failed, _: Instant) -> bool {
        false
    }

    fn look(&mut self, _: Instant, _: &mut Rng) {}

    fn probed(&mut self, region: usize, endpoint: usize, well: bool, _: Instant) {
        self.checks.0[region][endpoint].enter(well);
        // Of the checks every 2 s, those of the first endpoint every 10 s are the DNS provider's.
        if endpoint == 0 {
            self.probes[region] += 1;
            if self.probes[region].is_multiple_of(5) {
                let any = self.checks.healthy(region) > 0.0;
                self.regions[region].enter(well || any);
            }
        }
    }

    fn measured(&mut self, _: usize, _: Duration, _: Instant) {}

    fn leaves(&mut self, _: &Request, _: &Place, _: Instant) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn probe_every(&self, _: usize, _: Instant) -> Duration {
        Duration::from_secs(2)
    }
}
