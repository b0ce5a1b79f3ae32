//! How the world really is at a moment, which nobody in it sees: which faults strike an attempt, and
//! when an answer would leave.

use std::time::Duration;

use fastrand::Rng;

use crate::scenario::{Effect, Fault, Scope, Site, log_normal};

/// What distinguishes one request from another, as far as faults are concerned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traits {
    pub(crate) bad_route: bool,
    pub(crate) bad_client: bool,
    /// The client sends its body slowly.
    pub(crate) slow_upload: bool,
    /// Not a request but a probe.
    pub(crate) probe: bool,
}

/// The regions, and the faults that hold at this moment.
pub(crate) struct Physics {
    pub(crate) sites: Vec<Site>,
    /// Per region and endpoint, when each of its workers is free.
    workers: Vec<Vec<Vec<Duration>>>,
    /// Connections per region and endpoint that can take a request.
    idle: Vec<Vec<u32>>,
    multiplexed: bool,
    active: Vec<Fault>,
    pub(crate) rng: Rng,
}

impl Physics {
    pub(crate) fn new(sites: &[Site], multiplexed: bool, rng: Rng) -> Self {
        let workers = |site: &Site| vec![vec![Duration::ZERO; site.workers]; site.endpoints];
        Self {
            sites: sites.to_vec(),
            workers: sites.iter().map(workers).collect(),
            idle: sites.iter().map(|site| vec![0; site.endpoints]).collect(),
            multiplexed,
            active: Vec::new(),
            rng,
        }
    }

    /// Takes a connection that is open; false if a new one is needed.
    pub(crate) fn take_connection(&mut self, region: usize, endpoint: usize) -> bool {
        let idle = &mut self.idle[region][endpoint];
        let there = *idle > 0;
        if there && !self.multiplexed {
            *idle -= 1;
        }
        there
    }

    /// A new connection can take requests beside the one that it was made for, or one can again.
    pub(crate) fn offer_connection(&mut self, region: usize, endpoint: usize) {
        let idle = &mut self.idle[region][endpoint];
        *idle = if self.multiplexed { 1 } else { *idle + 1 };
    }

    /// All connections to the region are gone.
    pub(crate) fn break_connections(&mut self, region: usize) {
        self.idle[region].fill(0);
    }

    /// A fault begins or ends.
    pub(crate) fn turn(&mut self, fault: &Fault, on: bool) {
        if on {
            self.active.push(*fault);
        } else {
            let same = |other: &Fault| {
                (other.scope, other.effect, other.until) == (fault.scope, fault.effect, fault.until)
            };
            self.active.retain(|other| !same(other));
        }
    }

    /// What strikes an attempt of a request like this at the endpoint; the first of those that do.
    pub(crate) fn strikes(&mut self, region: usize, endpoint: usize, of: Traits) -> Option<Effect> {
        let rng = &mut self.rng;
        let mut faults = self.active.iter();
        let hits = |fault: &&Fault| {
            fault.covers(region, endpoint, of) && (fault.share >= 1.0 || rng.f64() < fault.share)
        };
        faults.find(hits).map(|fault| fault.effect)
    }

    /// Whether nothing gets through from there now, whatever was on its way.
    pub(crate) fn cut(&self, region: usize, endpoint: usize, of: Traits) -> bool {
        let mut faults = self.active.iter();
        faults.any(|fault| fault.effect == Effect::Silence && fault.covers(region, endpoint, of))
    }

    /// Until when what comes from there is held up.
    pub(crate) fn stalled(&self, region: usize) -> Option<Duration> {
        let stalls = self.active.iter().filter(|fault| {
            fault.effect == Effect::Stall && fault.covers(region, 0, Traits::default())
        });
        stalls.map(|fault| fault.until).max()
    }

    /// How long after the request's departure at `now` its answer arrives; it waits for a worker.
    pub(crate) fn answer_in(
        &mut self,
        region: usize,
        endpoint: usize,
        slower: f64,
        now: Duration,
    ) -> Duration {
        let site = self.sites[region];
        let service = site.service.mul_f64(log_normal(site.sigma, &mut self.rng));
        let arrives = now + site.rtt / 2;
        let workers = &mut self.workers[region][endpoint];
        let next = workers.iter_mut().min().expect("at least one worker");
        let begins = arrives.max(*next);
        *next = begins + service;
        begins - now + service.mul_f64(slower) + site.rtt / 2
    }
}

impl Fault {
    fn covers(&self, region: usize, endpoint: usize, of: Traits) -> bool {
        match self.scope {
            Scope::Everything => !of.probe,
            Scope::Region(its) => its == region,
            Scope::Endpoint(its, one) => (its, one) == (region, endpoint),
            Scope::Route(its) => of.bad_route && its.is_none_or(|its| its == region),
            Scope::Client => of.bad_client,
        }
    }
}
