//! The observed state of one region and of one endpoint: atomics that any thread updates and reads
//! without a lock.
//!
//! A cell belongs to an identity (upstream, region, address), not to a plan, so a reload carries it
//! over. It holds no clock: `now` comes with every call. The *epoch* steps on every change of
//! health or drain, so that whoever waits on a region can notice cheaply.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::ewma::{AtomicEwma, PeakEwma};
use crate::health::{Health, ProbeCounts, Transition};
use crate::plan::Probe;

/// What is observed of one endpoint of one region of one upstream.
///
/// Aligned to two cache lines: neighbours in a set are written by different cores.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointCell {
    origin: Instant,
    in_flight: AtomicU32,
    cost: PeakEwma,
    health: AtomicU8,
    probes: ProbeCounts,
    epoch: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// What is observed of one region of one upstream.
#[derive(Debug)]
#[repr(align(128))]
pub struct RegionCell {
    origin: Instant,
    health: AtomicU8,
    draining: AtomicBool,
    epoch: AtomicU64,
    in_flight: AtomicU32,
    rtt: AtomicEwma,
    service: AtomicEwma,
}

/// Counts one attempt as in flight until it is dropped, on whatever path that happens.
#[derive(Debug)]
pub struct InFlight {
    endpoint: std::sync::Arc<EndpointCell>,
    region: std::sync::Arc<RegionCell>,
}

/// How an attempt ended, as far as the endpoint's record is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The head came after so long; its time is the endpoint's own.
    Answered(std::time::Duration),
    /// The endpoint failed to answer; charged with a penalty so that fast errors attract nobody.
    Failed,
    /// Ended for a reason that is not the endpoint's (the client left): nothing is recorded.
    Abandoned,
}

impl EndpointCell {
    /// A cell that has seen nothing; `origin` is the moment from which it counts time.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            in_flight: AtomicU32::new(0),
            cost: PeakEwma::default(),
            health: AtomicU8::new(Health::Unknown as u8),
            probes: ProbeCounts::default(),
            epoch: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Peak-EWMA cost: expected time to the head in microseconds x (attempts under way + 1).
    pub fn cost(&self, now: Instant) -> f64 {
        self.cost.get(self.origin, now) * f64::from(self.in_flight() + 1)
    }

    /// Enters the outcome of one attempt.
    pub fn record(&self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Answered(took) => self.cost.observe(took, self.origin, now),
            Outcome::Failed => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.cost.penalise(self.origin, now);
            }
            Outcome::Abandoned => return,
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Attempts with an outcome, and those of them that failed, since the cell was made.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.requests.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    /// What is believed of the endpoint.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Ordering::Relaxed))
    }

    /// Enters the result of one active probe; says what changed, if anything did.
    pub fn probed(&self, success: bool, probe: &Probe) -> Option<Transition> {
        let from = self.health();
        let to = self.probes.step(success, from, probe)?;
        self.set_health(to).then_some(Transition { from, to })
    }

    /// Sets health outright; says whether it changed.
    pub fn set_health(&self, health: Health) -> bool {
        let changed = self.health.swap(health as u8, Ordering::Relaxed) != health as u8;
        if changed {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// Steps with every change of health.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

impl RegionCell {
    /// A cell that has seen nothing; `origin` is the moment from which it counts time.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            health: AtomicU8::new(Health::Unknown as u8),
            draining: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            rtt: AtomicEwma::default(),
            service: AtomicEwma::default(),
        }
    }

    /// What is believed of the region.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Ordering::Relaxed))
    }

    /// Sets health; says whether it changed.
    pub fn set_health(&self, health: Health) -> bool {
        let changed = self.health.swap(health as u8, Ordering::Relaxed) != health as u8;
        if changed {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// Whether an operator drains the region: no new attempts, unless nothing else is left.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Starts or ends the drain; says whether that changed anything.
    pub fn set_draining(&self, draining: bool) -> bool {
        let changed = self.draining.swap(draining, Ordering::Relaxed) != draining;
        if changed {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// Steps with every change of health or drain.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Attempts under way in the region.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Enters one network round trip (TCP connect, h2 ping, probe connect).
    pub fn observe_rtt(&self, rtt: std::time::Duration, now: Instant) {
        self.rtt.observe(rtt, self.origin, now);
    }

    /// Enters one service time: head received minus request sent minus nothing else.
    pub fn observe_service(&self, took: std::time::Duration, now: Instant) {
        self.service.observe(took, self.origin, now);
    }

    /// The network round trip, averaged; none before the first.
    pub fn rtt(&self) -> Option<std::time::Duration> {
        self.rtt.get()
    }

    /// The time to a response's head as attempts saw it (network included), averaged; none before the first.
    pub fn service(&self) -> Option<std::time::Duration> {
        self.service.get()
    }
}

impl InFlight {
    /// Counts an attempt at `endpoint` in `region`.
    pub fn begin(
        endpoint: std::sync::Arc<EndpointCell>,
        region: std::sync::Arc<RegionCell>,
    ) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        region.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, region }
    }

    /// The endpoint's cell.
    pub fn endpoint(&self) -> &EndpointCell {
        &self.endpoint
    }

    /// The region's cell.
    pub fn region(&self) -> &RegionCell {
        &self.region
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.region.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
