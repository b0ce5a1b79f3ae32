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
use crate::recent_min::RecentMin;

/// What is observed of one endpoint of one region of one upstream.
#[derive(Debug)]
pub struct EndpointCell {
    state: Line<EndpointState>,
    load: Line<EndpointLoad>,
}

/// What is observed of one region of one upstream.
#[derive(Debug)]
pub struct RegionCell {
    state: Line<RegionState>,
    load: Line<RegionLoad>,
}

/// Two cache lines of its own (processors fetch them in pairs). What every attempt writes is kept
/// apart from what every decision reads, and neighbours are written by different cores.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

#[derive(Debug, Default)]
struct EndpointState {
    health: AtomicU8,
    epoch: AtomicU64,
    probes: ProbeCounts,
}

#[derive(Debug)]
struct EndpointLoad {
    origin: Instant,
    in_flight: AtomicU32,
    cost: PeakEwma,
    requests: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug)]
struct RegionState {
    origin: Instant,
    health: AtomicU8,
    draining: AtomicBool,
    epoch: AtomicU64,
    rtt: AtomicEwma,
    fastest: RecentMin,
}

#[derive(Debug, Default)]
struct RegionLoad {
    in_flight: AtomicU32,
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
        let load = EndpointLoad {
            origin,
            in_flight: AtomicU32::new(0),
            cost: PeakEwma::default(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self {
            state: Line::default(),
            load: Line(load),
        }
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.load.0.in_flight.load(Ordering::Relaxed)
    }

    /// Peak-EWMA cost: expected time to the head in microseconds x (attempts under way + 1).
    pub fn cost(&self, now: Instant) -> f64 {
        self.cost_per_weight(1, now)
    }

    /// The cost of an endpoint that stands for `weight` (at least 1) servers sharing its attempts.
    pub fn cost_per_weight(&self, weight: u32, now: Instant) -> f64 {
        let load = &self.load.0;
        let queue = f64::from(self.in_flight()) / f64::from(weight.max(1));
        load.cost.get(load.origin, now) * (queue + 1.0)
    }

    /// Enters the outcome of one attempt.
    pub fn record(&self, outcome: Outcome, now: Instant) {
        let load = &self.load.0;
        match outcome {
            Outcome::Answered(took) => load.cost.observe(took, load.origin, now),
            Outcome::Failed => {
                load.failures.fetch_add(1, Ordering::Relaxed);
                load.cost.penalise(load.origin, now);
            }
            Outcome::Abandoned => return,
        }
        load.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Attempts with an outcome, and those of them that failed, since the cell was made.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.load.0.requests.load(Ordering::Relaxed),
            self.load.0.failures.load(Ordering::Relaxed),
        )
    }

    /// What is believed of the endpoint.
    pub fn health(&self) -> Health {
        Health::from_u8(self.state.0.health.load(Ordering::Relaxed))
    }

    /// Enters the result of one active probe; says what changed, if anything did. A change that
    /// somebody else made in the meantime (a drain) stands.
    pub fn probed(&self, success: bool, probe: &Probe) -> Option<Transition> {
        let EndpointState {
            health,
            epoch,
            probes,
        } = &self.state.0;
        let from = self.health();
        let to = probes.step(success, from, probe)?;
        health
            .compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        epoch.fetch_add(1, Ordering::Release);
        Some(Transition { from, to })
    }

    /// Sets health outright; says whether it changed.
    pub fn set_health(&self, health: Health) -> bool {
        let state = &self.state.0;
        stepped(
            state.health.swap(health as u8, Ordering::Relaxed) != health as u8,
            &state.epoch,
        )
    }

    /// Steps with every change of health.
    pub fn epoch(&self) -> u64 {
        self.state.0.epoch.load(Ordering::Acquire)
    }
}

impl RegionCell {
    /// A cell that has seen nothing; `origin` is the moment from which it counts time.
    pub fn new(origin: Instant) -> Self {
        let state = RegionState {
            origin,
            health: AtomicU8::new(Health::Unknown as u8),
            draining: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            rtt: AtomicEwma::default(),
            fastest: RecentMin::default(),
        };
        Self {
            state: Line(state),
            load: Line::default(),
        }
    }

    /// What is believed of the region.
    pub fn health(&self) -> Health {
        Health::from_u8(self.state.0.health.load(Ordering::Relaxed))
    }

    /// Sets health; says whether it changed.
    pub fn set_health(&self, health: Health) -> bool {
        let state = &self.state.0;
        stepped(
            state.health.swap(health as u8, Ordering::Relaxed) != health as u8,
            &state.epoch,
        )
    }

    /// Whether an operator drains the region: no new attempts, even when nothing else is left.
    pub fn draining(&self) -> bool {
        self.state.0.draining.load(Ordering::Relaxed)
    }

    /// Starts or ends the drain; says whether that changed anything.
    pub fn set_draining(&self, draining: bool) -> bool {
        let state = &self.state.0;
        stepped(
            state.draining.swap(draining, Ordering::Relaxed) != draining,
            &state.epoch,
        )
    }

    /// Steps with every change of health or drain.
    pub fn epoch(&self) -> u64 {
        self.state.0.epoch.load(Ordering::Acquire)
    }

    /// Attempts under way in the region.
    pub fn in_flight(&self) -> u32 {
        self.load.0.in_flight.load(Ordering::Relaxed)
    }

    /// Enters one network round trip (TCP connect, h2 ping, probe connect).
    pub fn observe_rtt(&self, rtt: std::time::Duration, now: Instant) {
        self.state.0.rtt.observe(rtt, self.state.0.origin, now);
    }

    /// Enters one service time: head received minus request sent minus nothing else.
    pub fn observe_service(&self, took: std::time::Duration, now: Instant) {
        self.load.0.service.observe(took, self.state.0.origin, now);
    }

    /// Enters the time in which an active probe was answered, from its request to the head.
    pub fn observe_probe(&self, took: std::time::Duration, now: Instant) {
        self.state.0.fastest.observe(took, self.state.0.origin, now);
    }

    /// What steering compares: the network round trip, but not less than the fastest probe of the
    /// last minute took. Where something near accepts connections for a region that is far (a
    /// middlebox, a tunnel), connecting is fast and only an answer tells the distance. None before
    /// anything was measured.
    pub fn latency(&self) -> Option<std::time::Duration> {
        self.rtt().max(self.state.0.fastest.get())
    }

    /// The network round trip, averaged; none before the first.
    pub fn rtt(&self) -> Option<std::time::Duration> {
        self.state.0.rtt.get()
    }

    /// The time to a response's head as attempts saw it (network included), averaged; none before the first.
    pub fn service(&self) -> Option<std::time::Duration> {
        self.load.0.service.get()
    }
}

impl InFlight {
    /// Counts an attempt at `endpoint` in `region`.
    pub fn begin(
        endpoint: std::sync::Arc<EndpointCell>,
        region: std::sync::Arc<RegionCell>,
    ) -> Self {
        endpoint.load.0.in_flight.fetch_add(1, Ordering::Relaxed);
        region.load.0.in_flight.fetch_add(1, Ordering::Relaxed);
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
        self.endpoint
            .load
            .0
            .in_flight
            .fetch_sub(1, Ordering::Relaxed);
        self.region.load.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Steps `epoch` after a change, so that whoever sees the new number sees the new state.
fn stepped(changed: bool, epoch: &AtomicU64) -> bool {
    if changed {
        epoch.fetch_add(1, Ordering::Release);
    }
    changed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::plan::ProbeKind;

    const PROBE: Probe = Probe {
        kind: ProbeKind::Tcp,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };

    /// Probes in order (`+` success, `-` failure) and the health after each, by first letter (`x`
    /// for draining).
    fn check_probes(start: Health, probes: &str, expected: &str) {
        let cell = EndpointCell::new(Instant::now());
        cell.set_health(start);
        let letter = |health: Health| match health {
            Health::Draining => 'x',
            other => other.as_str().chars().next().unwrap_or('?'),
        };
        let after = |probe| {
            let (from, epoch) = (cell.health(), cell.epoch());
            let transition = cell.probed(probe == '+', &PROBE);
            let to = cell.health();
            assert_eq!(transition, (from != to).then_some(Transition { from, to }));
            assert_eq!(
                cell.epoch() - epoch,
                u64::from(from != to),
                "one step a change"
            );
            letter(to)
        };
        assert_eq!(
            probes.chars().map(after).collect::<String>(),
            expected,
            "{start} {probes}"
        );
    }

    #[test]
    fn probes_move_an_endpoint_by_rise_and_fall() {
        check_probes(Health::Unknown, "+", "h");
        check_probes(Health::Unknown, "-", "u");
        check_probes(Health::Healthy, "--+---", "hhhhhu");
        check_probes(Health::Unhealthy, "+-++-", "uuuhh");
        check_probes(Health::Degraded, "++", "dh");
        check_probes(Health::Draining, "++---+++", "xxxxxxxx");
    }

    #[test]
    fn attempts_count_while_their_guard_lives() {
        let now = Instant::now();
        let (endpoint, region) = (
            Arc::new(EndpointCell::new(now)),
            Arc::new(RegionCell::new(now)),
        );
        let guards = [(); 3].map(|()| InFlight::begin(endpoint.clone(), region.clone()));
        assert_eq!((endpoint.in_flight(), region.in_flight()), (3, 3));
        assert_eq!(endpoint.cost(now), 4.0 * crate::ewma::DEFAULT_RTT_US);
        assert_eq!(
            endpoint.cost_per_weight(3, now),
            2.0 * crate::ewma::DEFAULT_RTT_US
        );
        drop(guards);
        assert_eq!((endpoint.in_flight(), region.in_flight()), (0, 0));
    }

    #[test]
    fn outcomes_are_counted_unless_abandoned() {
        let (now, cell) = (Instant::now(), EndpointCell::new(Instant::now()));
        for outcome in [
            Outcome::Answered(Duration::ZERO),
            Outcome::Failed,
            Outcome::Abandoned,
        ] {
            cell.record(outcome, now);
        }
        assert_eq!(cell.totals(), (2, 1));
    }

    #[test]
    fn a_region_steps_its_epoch_with_each_change_only() {
        let cell = RegionCell::new(Instant::now());
        let steps = [
            (cell.set_health(Health::Healthy), true),
            (cell.set_health(Health::Healthy), false),
            (cell.set_draining(true), true),
            (cell.set_draining(true), false),
            (cell.set_draining(false), true),
        ];
        assert!(
            steps.iter().all(|(changed, expected)| changed == expected),
            "{steps:?}"
        );
        assert_eq!(cell.epoch(), 3);
    }

    #[test]
    fn a_region_keeps_network_and_service_time_apart() {
        let (now, cell) = (Instant::now(), RegionCell::new(Instant::now()));
        assert_eq!((cell.rtt(), cell.service()), (None, None));
        cell.observe_rtt(Duration::from_millis(80), now);
        cell.observe_service(Duration::from_millis(200), now);
        assert_eq!(cell.rtt(), Some(Duration::from_millis(80)));
        assert_eq!(cell.service(), Some(Duration::from_millis(200)));
    }
}
