//! What a seed stands for: regions, load, policies, and what goes wrong when.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::plan::{
    Failback, Hedge, HedgeAfter, HedgeTo, Policy, Probe, ProbeKind, RegionPolicy, RetryPolicy,
    Silence, Steering, Upstream,
};

use crate::kind::Kind;
use crate::support::latency;

/// After the time within which 95 % were answered, one request in twenty at most.
const HEDGE: Hedge = Hedge {
    after: HedgeAfter::Percentile(0.95),
    budget: 0.05,
    to: HedgeTo::Endpoint,
};

/// What a fault does to an attempt that it strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Connections are refused, those that are open were reset.
    Refuse,
    /// The connection is reset once the request is there.
    Reset,
    /// Nothing comes any more.
    Silence,
    /// Answers wait until the fault is over.
    Stall,
    /// The answer has this status.
    Status(u16),
    /// The answer takes so many times as long.
    Slow(f64),
    /// No fault: an operator drains the region at once.
    Drain,
}

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    Region(usize),
    Endpoint(usize, usize),
    /// The bad route, in every region or in one.
    Route(Option<usize>),
    /// The bad client.
    Client,
}

/// One fault, from and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) effect: Effect,
    pub(crate) scope: Scope,
    /// The part of the attempts in its scope that it strikes.
    pub(crate) share: f64,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// A region as it really is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) rtt: Duration,
    /// Service times are log-normal: this is the median.
    pub(crate) service: Duration,
    /// Standard deviation of their logarithm.
    pub(crate) sigma: f64,
    pub(crate) endpoints: usize,
    /// Requests that an endpoint works at at a time; more wait.
    pub(crate) workers: usize,
}

/// How long things take: small worlds for every test run, true times for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Short holds and ramps, so that a way back fits in half a minute.
    Small,
    /// The defaults of the configuration.
    True,
}

/// One seed's world.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) scale: Scale,
    pub(crate) steering: Steering,
    pub(crate) sites: Vec<Site>,
    /// Requests a second.
    pub(crate) rate: f64,
    /// The region that is struck, if one is.
    pub(crate) target: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) length: Duration,
    /// Probes are requests, and so see more than whether something listens.
    pub(crate) http_probe: bool,
    /// One connection to an endpoint carries all its requests (HTTP/2), instead of one each.
    pub(crate) multiplexed: bool,
    /// The only route hedges what is slow.
    pub(crate) hedge: Option<Hedge>,
    /// Some answers have a long body.
    pub(crate) downloads: bool,
    /// Retries under way in a region at most.
    pub(crate) max_retries: Option<u32>,
    /// Nobody judges: a dead region gets its requests until it is alive again, and every one of them has
    /// to be saved by itself.
    pub(crate) blind: bool,
}

impl Scenario {
    pub(crate) fn new(seed: u64, kind: Kind, scale: Scale) -> Self {
        let rng = &mut Rng::with_seed(seed ^ (kind as u64) << 48);
        let shared = rng.bool() && !kind.is_idle();
        let regions = rng.usize(if kind.is_double() { 3..5 } else { 2..5 });
        let own_rate = match (kind.is_outage(), scale) {
            _ if kind.is_rescue() => spread(rng, 100.0, 300.0),
            (true, Scale::Small) => spread(rng, 60.0, 110.0),
            (true, Scale::True) => spread(rng, 60.0, 200.0),
            (false, _) => spread(rng, 2.0, 150.0),
        };
        let rate = own_rate * if shared { regions as f64 } else { 1.0 };
        let sites: Vec<_> = (0..regions).map(|at| site(at, rate, rng)).collect();
        let target = usize::from(kind.is_idle());
        let mut scenario = Self {
            seed,
            kind,
            scale,
            steering: if shared {
                Policy::weighted().into()
            } else {
                latency(10)
            },
            sites,
            rate,
            target,
            faults: Vec::new(),
            length: kind.onset() + kind.lasts(scale) + scale.way_back(kind),
            http_probe: rng.bool(),
            multiplexed: rng.bool(),
            hedge: matches!(kind, Kind::TwoRegionsDie | Kind::HedgedSlow).then_some(HEDGE),
            downloads: kind.is_rescue(),
            max_retries: None,
            blind: false,
        };
        if kind.is_rescue() {
            scenario.max_retries = rng.bool().then(|| rng.u32(20..200));
            scenario.blind = kind == Kind::TwoRegionsDie && rng.bool();
        }
        if kind == Kind::HedgedSlow {
            // Where all regions take their part, the far ones are the tail.
            scenario.steering = latency(10);
            scenario.sites[target].endpoints = rng.usize(2..5);
        }
        if kind == Kind::OneEndpoint {
            // Of fewer, one is so many that the region really is degraded.
            scenario.sites[target].endpoints = 4;
        }
        scenario.faults = scenario.faults_of(rng);
        scenario.faults.extend(scenario.weather(rng));
        scenario
    }

    /// The moment from which the fault is over for good.
    pub(crate) fn over(&self) -> Duration {
        self.kind.onset() + self.kind.lasts(self.scale)
    }

    /// Enters policies and probes into the plan.
    pub(crate) fn configure(&self, upstream: &mut Upstream) {
        let seeing = |is: f64| Some(is).filter(|_| !self.blind);
        upstream.health.probe = Some(self.probe()).filter(|_| !self.blind);
        upstream.health.region = RegionPolicy {
            min_healthy: 0.3,
            error_rate: seeing(0.5),
            window: Duration::from_secs(1),
            min_requests: 20,
            silence: Some(Silence::Auto {
                at_least: Duration::from_millis(300),
            })
            .filter(|_| !self.blind),
            degraded_latency: seeing(3.0),
        };
        upstream.health.failback = self.scale.failback();
        upstream.circuit_breaker.region.max_retries = self.max_retries;
        upstream.retry = RetryPolicy {
            per_try: Some(Duration::from_secs(2)),
            ..upstream.retry.clone()
        };
    }

    pub(crate) fn probe(&self) -> Probe {
        Probe::new(match self.http_probe {
            true => ProbeKind::Http(Default::default()),
            false => ProbeKind::Tcp,
        })
    }

    fn faults_of(&self, rng: &mut Rng) -> Vec<Fault> {
        let target = self.target;
        let region = |effect| vec![self.fault(effect, Scope::Region(target), 1.0)];
        let anywhere = |effect, scope, share| vec![self.fault(effect, scope, share)];
        match self.kind {
            Kind::Refuse | Kind::IdleRefuse => region(Effect::Refuse),
            Kind::Reset => region(Effect::Reset),
            Kind::BlackHole | Kind::IdleBlackHole => region(Effect::Silence),
            Kind::Unavailable => region(Effect::Status(503)),
            Kind::Errors => region(Effect::Status(500)),
            Kind::Slow => {
                // Of the whole time, the way there and back included.
                let Site { rtt, service, .. } = self.sites[target];
                region(Effect::Slow(10.0 + 9.0 * rtt.div_duration_f64(service)))
            }
            Kind::Gray => {
                let effect = [Effect::Status(500), Effect::Status(503), Effect::Reset];
                anywhere(effect[rng.usize(..3)], Scope::Region(target), 0.3)
            }
            Kind::Flap => self.flapping(rng),
            Kind::TwoDie | Kind::TwoRegionsDie => {
                let mut second = self.fault(Effect::Silence, Scope::Region(1), 1.0);
                second.from += Duration::from_secs(3);
                let first = if rng.bool() {
                    Effect::Silence
                } else {
                    Effect::Refuse
                };
                vec![self.fault(first, Scope::Region(0), 1.0), second]
            }
            Kind::Noise => Vec::new(),
            Kind::BadRoute | Kind::BadRouteHere => {
                let place = (self.kind == Kind::BadRouteHere).then_some(target);
                let effect = [Effect::Status(500), Effect::Reset][rng.usize(..2)];
                anywhere(effect, Scope::Route(place), 1.0)
            }
            Kind::SlowRoute => anywhere(Effect::Slow(40.0), Scope::Route(Some(target)), 1.0),
            Kind::BadClient => anywhere(Effect::Status(500), Scope::Client, 1.0),
            Kind::SlowClient => Vec::new(),
            Kind::Shared => anywhere(Effect::Status(500), Scope::Everything, 0.7),
            Kind::DrainNow => region(Effect::Drain),
            Kind::HedgedSlow => anywhere(Effect::Slow(40.0), Scope::Region(target), 0.03),
            Kind::SharedSlow => anywhere(Effect::Slow(10.0), Scope::Everything, 1.0),
            Kind::OneEndpoint => {
                let effect = [Effect::Refuse, Effect::Silence, Effect::Status(503)];
                anywhere(effect[rng.usize(..3)], Scope::Endpoint(target, 0), 1.0)
            }
        }
    }

    fn fault(&self, effect: Effect, scope: Scope, share: f64) -> Fault {
        Fault {
            effect,
            scope,
            share,
            from: self.kind.onset(),
            until: self.over(),
        }
    }

    /// Two seconds down, two seconds up.
    fn flapping(&self, rng: &mut Rng) -> Vec<Fault> {
        let effect = if rng.bool() {
            Effect::Silence
        } else {
            Effect::Refuse
        };
        let period = Duration::from_secs(4);
        let mut fault = self.fault(effect, Scope::Region(self.target), 1.0);
        let mut faults = Vec::new();
        while fault.from < self.over() {
            fault.until = fault.from + period / 2;
            faults.push(fault);
            fault.from += period;
        }
        faults
    }

    /// What always goes on: a rare error and a slow answer; with noise, more of it, and moments in
    /// which a path stands still.
    fn weather(&self, rng: &mut Rng) -> Vec<Fault> {
        let factor = if self.kind == Kind::Noise { 10.0 } else { 1.0 };
        let always = |effect, share| Fault {
            from: Duration::ZERO,
            until: self.length,
            ..self.fault(effect, Scope::Everything, share * factor)
        };
        let mut faults = vec![
            always(Effect::Status(500), 0.001),
            always(Effect::Slow(10.0), 0.002),
        ];
        // Where one region is dead, another that breaks a connection just then can cost a request its
        // last attempt: that would hide what the dead one alone costs.
        if !self.kind.is_total() {
            faults.push(always(Effect::Reset, 0.000_2));
        }
        if self.kind == Kind::Noise {
            faults.extend(self.stalls(rng));
        }
        faults
    }

    /// A lost packet now and then holds up a region for up to a quarter of a second.
    fn stalls(&self, rng: &mut Rng) -> Vec<Fault> {
        let (mut faults, mut at) = (Vec::new(), Duration::ZERO);
        loop {
            at += Duration::from_secs(10).mul_f64(exponential(rng));
            if at > self.length {
                return faults;
            }
            let lasts = Duration::from_millis(rng.u64(20..250));
            faults.push(Fault {
                from: at,
                until: at + lasts,
                ..self.fault(
                    Effect::Stall,
                    Scope::Region(rng.usize(..self.sites.len())),
                    1.0,
                )
            });
        }
    }
}

impl Scale {
    fn failback(self) -> Failback {
        let seconds = Duration::from_secs;
        let (hold, ramp) = match self {
            Self::Small => (seconds(2), seconds(10)),
            Self::True => (seconds(10), seconds(60)),
        };
        Failback {
            manual: false,
            hold,
            hold_max: seconds(300),
            probation: 0.01,
            ramp,
            drain: None,
        }
    }

    fn way_back(self, kind: Kind) -> Duration {
        let seconds = Duration::from_secs;
        match self {
            Self::Small if kind == Kind::Flap => seconds(10),
            Self::Small if kind.is_outage() => seconds(20),
            Self::True if kind.is_rescue() => seconds(60),
            Self::Small => seconds(4),
            Self::True if kind == Kind::Flap => seconds(420),
            Self::True if kind.is_outage() => seconds(150),
            Self::True => seconds(10),
        }
    }
}

/// The first region is the nearest.
fn site(at: usize, rate: f64, rng: &mut Rng) -> Site {
    let rtt_ms = spread(rng, 2.0, 30.0) + 50.0 * at as f64;
    let service_ms = spread(rng, 3.0, 40.0);
    let sigma = 0.3 + 0.5 * rng.f64();
    let endpoints = rng.usize(1..5);
    let busy = rate * service_ms / 1e3 * (sigma * sigma / 2.0).exp() / endpoints as f64;
    Site {
        rtt: Duration::from_secs_f64(rtt_ms / 1e3),
        service: Duration::from_secs_f64(service_ms / 1e3),
        sigma,
        endpoints,
        workers: 4 + (3.0 * busy) as usize,
    }
}

/// Evenly by order of magnitude.
fn spread(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low * (high / low).powf(rng.f64())
}

/// Of mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// The factor by which a log-normal time differs from its median.
pub(crate) fn log_normal(sigma: f64, rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    (sigma * radius * (std::f64::consts::TAU * rng.f64()).cos()).exp()
}
