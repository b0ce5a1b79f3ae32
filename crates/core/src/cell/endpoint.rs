//! What is observed of one endpoint of one region of one upstream.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::changes::Changes;
use super::said::Said;
use super::tally::{EndpointTally, ErrorClass, RowCounters};
use super::under_way::UnderWay;
use super::{Line, stepped};
use crate::ewma::PeakEwma;
use crate::health::{Health, ProbeCounts, Transition};
use crate::plan::Probe;
use crate::standing::Dial;

/// What is observed of one endpoint of one region of one upstream.
#[derive(Debug)]
pub struct EndpointCell {
    state: Line<EndpointState>,
    load: Line<EndpointLoad>,
}

#[derive(Debug)]
struct EndpointState {
    /// By its probes, or set outright.
    health: AtomicU8,
    said: Said,
    ejected: AtomicBool,
    /// The part of its weight that it takes, in thousandths.
    share: AtomicU32,
    epoch: AtomicU64,
    changes: Changes,
    probes: ProbeCounts,
}

#[derive(Debug)]
struct EndpointLoad {
    origin: Instant,
    under_way: UnderWay,
    cost: PeakEwma,
    attempts: AtomicU64,
    local_errors: AtomicU64,
    server_errors: AtomicU64,
    rows: RowCounters,
    /// Bits of an `f32`, one more than the load; 0 is none.
    reported: AtomicU32,
}

/// How an attempt ended, as far as the endpoint's record is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The head came after so long; its time is the endpoint's own.
    Answered(Duration),
    /// So was the head of a 429 that nobody calls a failure: it is usually about one client, so it is
    /// none of the endpoint's, but to say no is not to be fast.
    Throttled(Duration),
    /// It failed.
    Failed {
        /// What it met.
        class: ErrorClass,
        /// Whether that was the status 502, 503 or 504.
        gateway: bool,
        /// The time to the head, of an answer whose error may be the request's own: it is charged as an
        /// average. None charges a peak. Fast errors attract nobody either way.
        took: Option<Duration>,
    },
    /// Ended for a reason that is not the endpoint's (the client left): nothing is recorded.
    Abandoned,
}

impl Outcome {
    /// A failure on this side of the wire, or an answer that is not valid.
    pub fn failed(class: ErrorClass) -> Self {
        Self::Failed {
            class,
            gateway: false,
            took: None,
        }
    }
}

const WHOLE: f64 = 1_000.0;

impl EndpointState {
    fn changed(&self, changed: bool) -> bool {
        if stepped(changed, &self.epoch) {
            self.changes.step();
        }
        changed
    }
}

impl EndpointCell {
    /// A cell that has seen nothing; `origin` is the moment from which it counts time.
    pub fn new(origin: Instant) -> Self {
        Self::with_changes(origin, Changes::default())
    }

    /// A cell that has seen nothing; what changes is counted in `changes`.
    pub fn with_changes(origin: Instant, changes: Changes) -> Self {
        let state = EndpointState {
            health: AtomicU8::new(Health::Unknown as u8),
            said: Said::default(),
            ejected: AtomicBool::new(false),
            share: AtomicU32::new(WHOLE as u32),
            epoch: AtomicU64::new(0),
            changes,
            probes: ProbeCounts::default(),
        };
        let load = EndpointLoad {
            origin,
            under_way: UnderWay::default(),
            cost: PeakEwma::default(),
            attempts: AtomicU64::new(0),
            local_errors: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            rows: RowCounters::default(),
            reported: AtomicU32::new(0),
        };
        Self {
            state: Line(state),
            load: Line(load),
        }
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.load.0.under_way.attempts()
    }

    /// Those of them that are retries.
    pub fn retries_in_flight(&self) -> u32 {
        self.load.0.under_way.retries()
    }

    pub(super) fn under_way(&self) -> &UnderWay {
        &self.load.0.under_way
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

    /// The expected time to the head in microseconds, whatever is under way.
    pub fn expected_us(&self, now: Instant) -> f64 {
        let load = &self.load.0;
        load.cost.get(load.origin, now)
    }

    /// Enters the outcome of one attempt.
    pub fn record(&self, outcome: Outcome, now: Instant) {
        let load = &self.load.0;
        match outcome {
            Outcome::Answered(took) => {
                load.cost.observe(took, load.origin, now);
                load.rows.succeeded();
            }
            Outcome::Throttled(took) => {
                load.cost.observe_error(took, load.origin, now);
                load.rows.succeeded();
            }
            Outcome::Failed {
                class,
                gateway,
                took,
            } => self.record_failure(class, gateway, took, now),
            Outcome::Abandoned => return,
        }
        load.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters that it asked, with an answer that failed, not to be asked again for `wait`
    /// (`Retry-After`): until then it costs as much as if it had just failed. 300 s at most.
    pub fn charge_wait(&self, wait: Duration, now: Instant) {
        let load = &self.load.0;
        load.cost.penalise_for(wait, load.origin, now);
    }

    fn record_failure(
        &self,
        class: ErrorClass,
        gateway: bool,
        took: Option<Duration>,
        now: Instant,
    ) {
        let load = &self.load.0;
        match took {
            Some(took) => load.cost.observe_error(took, load.origin, now),
            None => load.cost.penalise(load.origin, now),
        }
        let errors = match class.is_local_origin() {
            true => &load.local_errors,
            false => &load.server_errors,
        };
        errors.fetch_add(1, Ordering::Relaxed);
        load.rows.failed(class, gateway);
    }

    /// Attempts with an outcome, and those of them that failed, since the cell was made.
    pub fn totals(&self) -> (u64, u64) {
        let tally = self.tally();
        (tally.attempts, tally.server_errors + tally.local_errors)
    }

    /// What its attempts met.
    pub fn tally(&self) -> EndpointTally {
        let load = &self.load.0;
        EndpointTally {
            attempts: load.attempts.load(Ordering::Relaxed),
            server_errors: load.server_errors.load(Ordering::Relaxed),
            local_errors: load.local_errors.load(Ordering::Relaxed),
            rows: load.rows.read(),
        }
    }

    /// Forgets what came in a row: a verdict was reached on it.
    pub fn forget_rows(&self) {
        self.load.0.rows.succeeded();
    }

    /// What is believed of the endpoint, all in all: the worst of what probes found, what it said of
    /// itself and, while it is ejected, `Unhealthy`.
    pub fn health(&self) -> Health {
        let probed = self.probed_health();
        match self.said() {
            _ if self.ejected() || probed == Health::Unhealthy => Health::Unhealthy,
            Health::Unknown | Health::Healthy => probed,
            _ if probed == Health::Draining => probed,
            said => said,
        }
    }

    /// What its probes found, or what was set outright.
    pub fn probed_health(&self) -> Health {
        Health::from_u8(self.state.0.health.load(Ordering::Relaxed))
    }

    /// What it said of itself and is still in force; `Unknown` when nothing.
    pub fn said(&self) -> Health {
        self.state.0.said.get()
    }

    /// Enters what it said of itself, to be believed until then; without a moment, until it says
    /// otherwise. `Unknown` takes it back. Says whether what it said changed.
    pub fn say(&self, health: Health, until: Option<Instant>) -> bool {
        let state = &self.state.0;
        let until = until.map(|until| self.since_origin(until));
        state.changed(state.said.set(health, until))
    }

    /// Forgets what it said if that is over; says whether it did.
    pub fn expire_said(&self, now: Instant) -> bool {
        self.state.0.said.is_over(self.since_origin(now)) && self.say(Health::Unknown, None)
    }

    fn since_origin(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.load.0.origin)
    }

    /// Whether it may take a new attempt.
    pub fn open(&self) -> bool {
        self.health().usable()
    }

    /// Whether it is being emptied, by what was set or by what it said of itself.
    pub fn draining(&self) -> bool {
        self.probed_health() == Health::Draining || self.said() == Health::Draining
    }

    /// Whether requests found it to be an outlier and it is out for a while.
    pub fn ejected(&self) -> bool {
        self.state.0.ejected.load(Ordering::Relaxed)
    }

    /// Ejects it or takes it back; says whether that changed anything.
    pub fn set_ejected(&self, ejected: bool) -> bool {
        let state = &self.state.0;
        let before = state.ejected.swap(ejected, Ordering::Relaxed);
        state.changed(before != ejected)
    }

    /// The part of its weight that it takes (slow start): 1 for all of it, the usual case.
    pub fn share(&self) -> Dial {
        Dial::new(f64::from(self.state.0.share.load(Ordering::Relaxed)) / WHOLE)
    }

    /// Sets the part of its weight that it takes, to a thousandth.
    pub fn set_share(&self, share: Dial) {
        let (state, thousandths) = (&self.state.0, (share.share() * WHOLE).round() as u32);
        if state.share.swap(thousandths, Ordering::Relaxed) != thousandths {
            state.changes.step();
        }
    }

    /// What it last reported of its own load, 0 to 1 and above; none if it never did.
    pub fn reported_load(&self) -> Option<f32> {
        let bits = self.load.0.reported.load(Ordering::Relaxed);
        (bits != 0).then(|| f32::from_bits(bits) - 1.0)
    }

    /// Enters what it reports of its own load. What is negative or no number is not believed.
    pub fn report_load(&self, load: f32) {
        if load >= 0.0 && load.is_finite() {
            let bits = (load + 1.0).to_bits();
            self.load.0.reported.store(bits, Ordering::Relaxed);
        }
    }

    /// Enters the result of one active probe; says what changed, if anything did. A change that
    /// somebody else made in the meantime (a drain) stands.
    pub fn probed(&self, success: bool, probe: &Probe) -> Option<Transition> {
        let state = &self.state.0;
        let from = self.probed_health();
        let to = state.probes.step(success, from, probe)?;
        state
            .health
            .compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        state.changed(true);
        Some(Transition { from, to })
    }

    /// Sets health outright; says whether it changed.
    pub fn set_health(&self, health: Health) -> bool {
        let state = &self.state.0;
        state.changed(state.health.swap(health as u8, Ordering::Relaxed) != health as u8)
    }

    /// Where its changes are counted, those of its share included.
    pub fn changes(&self) -> &Changes {
        &self.state.0.changes
    }

    /// Steps with every change of health, of what it said, or of its ejection.
    pub fn epoch(&self) -> u64 {
        self.state.0.epoch.load(Ordering::Acquire)
    }
}
