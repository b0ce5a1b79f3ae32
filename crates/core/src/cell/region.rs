//! What is observed of one region of one upstream.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::allotment::{Allotment, AtomicAllotment};
use super::demand::{Demand, DemandCounters};
use super::drain::{AtomicDrain, Drain};
use super::reported::Reported;
use super::said::Said;
use super::tally::{Counters, ErrorClass, Tally};
use super::under_way::UnderWay;
use super::{Line, stepped};
use crate::ewma::{AtomicEwma, TypicalEwma};
use crate::health::Health;
use crate::news::News;
use crate::recent_min::RecentMin;
use crate::standing::{AtomicStanding, Dial, Standing};

/// So long what attempts took tells what the next will take.
const USUAL_FOR: Duration = Duration::from_secs(60);

/// No operator dials the region.
const NOT_DIALED: u32 = u32::MAX;
/// No operator has put it into an order.
const NO_PLACE: u8 = u8::MAX;

/// What is observed of one region of one upstream.
#[derive(Debug)]
pub struct RegionCell {
    state: Line<RegionState>,
    load: Line<RegionLoad>,
}

#[derive(Debug)]
struct RegionState {
    origin: Instant,
    standing: AtomicStanding,
    drain: AtomicDrain,
    /// In millionths, or [`NOT_DIALED`].
    dial: AtomicU32,
    /// Or [`NO_PLACE`].
    place: AtomicU8,
    allotment: AtomicAllotment,
    said: Said,
    release: AtomicBool,
    epoch: AtomicU64,
    version: AtomicU64,
    rtt: AtomicEwma,
    fastest: RecentMin,
    news: News,
}

#[derive(Debug, Default)]
struct RegionLoad {
    under_way: UnderWay,
    service: TypicalEwma,
    counters: Counters,
    demand: DemandCounters,
    reported: Reported,
}

impl RegionCell {
    /// A cell that has seen nothing and tells nobody; `origin` is the moment from which it counts
    /// time.
    pub fn new(origin: Instant) -> Self {
        Self::with_news(origin, News::default())
    }

    /// A cell that has seen nothing; changes are told to `news`.
    pub fn with_news(origin: Instant, news: News) -> Self {
        let state = RegionState {
            origin,
            standing: AtomicStanding::default(),
            drain: AtomicDrain::default(),
            dial: AtomicU32::new(NOT_DIALED),
            place: AtomicU8::new(NO_PLACE),
            allotment: AtomicAllotment::default(),
            said: Said::default(),
            release: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            version: AtomicU64::new(0),
            rtt: AtomicEwma::default(),
            fastest: RecentMin::default(),
            news,
        };
        Self {
            state: Line(state),
            load: Line::default(),
        }
    }

    /// What is believed of the region.
    pub fn health(&self) -> Health {
        self.standing().health
    }

    /// How the region stands.
    pub fn standing(&self) -> Standing {
        self.state.0.standing.load()
    }

    /// Puts `standing` in place; says whether anything but the dial changed, and tells it.
    pub fn set_standing(&self, standing: Standing) -> bool {
        let before = self.state.0.standing.swap(standing);
        let dial = standing.dial;
        stepped(before.dial != dial, &self.state.0.version);
        self.changed(Standing { dial, ..before } != standing)
    }

    /// Sets health alone; says whether it changed.
    pub fn set_health(&self, health: Health) -> bool {
        let before = self.state.0.standing.swap_health(health);
        self.changed(before != health)
    }

    /// Whether an operator drains the region, however fast: no new attempts, even when nothing else is
    /// left.
    pub fn draining(&self) -> bool {
        self.drain() != Drain::No
    }

    /// How an operator drains the region.
    pub fn drain(&self) -> Drain {
        self.state.0.drain.load()
    }

    /// Starts or ends the drain; says whether that changed anything. A drain that runs keeps its pace.
    pub fn set_draining(&self, draining: bool) -> bool {
        let drain = &self.state.0.drain;
        self.changed(match draining {
            true => drain.raise(Drain::Soft),
            false => drain.set(Drain::No),
        })
    }

    /// Starts or ends the drain at this pace; says whether that changed anything, and tells it.
    pub fn set_drain(&self, drain: Drain) -> bool {
        self.changed(self.state.0.drain.set(drain))
    }

    /// The part of its share that an operator lets the region take at most; none while nobody has said:
    /// then it is the plan's.
    pub fn dial(&self) -> Option<Dial> {
        let parts = self.state.0.dial.load(Ordering::Relaxed);
        (parts != NOT_DIALED).then(|| Dial::from_parts(parts))
    }

    /// Dials the region, or leaves that to the plan again; says whether that changed anything, and
    /// tells it.
    pub fn set_dial(&self, dial: Option<Dial>) -> bool {
        let parts = dial.map_or(NOT_DIALED, Dial::parts);
        let before = self.state.0.dial.swap(parts, Ordering::Relaxed);
        self.changed(before != parts)
    }

    /// Its place in an operator's order of the upstream's regions, from 0; none if it has none.
    pub fn place(&self) -> Option<u8> {
        let place = self.state.0.place.load(Ordering::Relaxed);
        (place != NO_PLACE).then_some(place)
    }

    /// Gives it that place, or takes it back; says whether that changed anything, and tells it.
    pub fn set_place(&self, place: Option<u8>) -> bool {
        let place = place.unwrap_or(NO_PLACE);
        let before = self.state.0.place.swap(place, Ordering::Relaxed);
        self.changed(before != place)
    }

    /// What steering found out at its last look.
    pub fn allotment(&self) -> Allotment {
        self.state.0.allotment.load()
    }

    /// Of that, the part that the region takes, and what it could still take. Decisions ask for no more
    /// than they need.
    pub(crate) fn allotted_take(&self) -> (Dial, Option<f32>) {
        self.state.0.allotment.take()
    }

    /// Of that, what of its endpoints is usable: healthy, and degraded.
    pub(crate) fn allotted_usable(&self) -> (Dial, Dial) {
        self.state.0.allotment.usable()
    }

    /// The latency that steering compares: as the last look held it steady, else as it is measured.
    pub(crate) fn steady_latency(&self) -> Option<Duration> {
        self.state.0.allotment.latency().or_else(|| self.latency())
    }

    /// Puts what a look found in place.
    pub fn set_allotment(&self, allotment: Allotment) {
        let state = &self.state.0;
        state.allotment.store(allotment);
        stepped(true, &state.version);
    }

    /// What the region was offered since the cell was made.
    pub fn demand(&self) -> Demand {
        self.load.0.demand.read()
    }

    /// The region shed an attempt that is made elsewhere. For the data plane, once an attempt begins:
    /// what is merely decided is not counted. Not for the region where it is made after all.
    pub fn shed(&self) {
        self.load.0.demand.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn begun(&self) {
        self.load.0.demand.begun.fetch_add(1, Ordering::Release);
    }

    pub(super) fn begun_bound(&self) {
        self.load.0.demand.bound.fetch_add(1, Ordering::Release);
    }

    /// Enters the utilization that an endpoint of the region reports of itself (ORCA's
    /// `application_utilization`, else `cpu_utilization`): 0 is idle, 1 is all that it can do. What is
    /// negative or no number is not believed.
    pub fn reported(&self, utilization: f32, now: Instant) {
        let origin = self.state.0.origin;
        self.load.0.reported.enter(utilization, origin, now);
    }

    /// What its endpoints report, averaged over about 10 s. None without a report in the last 180 s.
    pub fn utilization(&self, now: Instant) -> Option<f32> {
        self.load.0.reported.get(self.state.0.origin, now)
    }

    /// What was said of the whole region, by itself or by an operator, and is still in force;
    /// `Unknown` when nothing. Judges heed it; it is no part of the standing until they have.
    pub fn said(&self) -> Health {
        self.state.0.said.get()
    }

    /// Enters what is said of the whole region, to be believed until then; without a moment, until
    /// it is said otherwise. `Unknown` takes it back. Says whether what is said changed, and tells
    /// it.
    pub fn say(&self, health: Health, until: Option<Instant>) -> bool {
        let origin = self.state.0.origin;
        let until = until.map(|until| until.saturating_duration_since(origin));
        self.changed(self.state.0.said.set(health, until))
    }

    /// Forgets what was said if that is over; says whether it did.
    pub fn expire_said(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.state.0.origin);
        self.state.0.said.is_over(since) && self.say(Health::Unknown, None)
    }

    /// An operator lets the region come back, if it waits for that (`failback.manual`).
    pub fn ask_release(&self) {
        self.state.0.release.store(true, Ordering::Relaxed);
    }

    /// Whether [`ask_release`](Self::ask_release) was called since the last call of this.
    pub fn take_release(&self) -> bool {
        self.state.0.release.swap(false, Ordering::Relaxed)
    }

    /// Steps with every change of health, suspicion, probation or drain, and of what is said.
    pub fn epoch(&self) -> u64 {
        self.state.0.epoch.load(Ordering::Acquire)
    }

    /// Steps with every change of what decisions read of the cell, but for what is measured all the time:
    /// latency that no look has held steady, load, attempts under way. Whoever sees the number sees the
    /// changes.
    pub fn version(&self) -> u64 {
        self.state.0.version.load(Ordering::Acquire)
    }

    fn changed(&self, changed: bool) -> bool {
        stepped(changed, &self.state.0.version);
        if stepped(changed, &self.state.0.epoch) {
            self.state.0.news.tell();
        }
        changed
    }

    /// Attempts under way in the region.
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

    /// What the region's attempts met since the cell was made.
    pub fn tally(&self) -> Tally {
        self.load.0.counters.tally()
    }

    /// The moment from which [`Tally::heard`] counts.
    pub fn origin(&self) -> Instant {
        self.state.0.origin
    }

    /// A byte came from a connection to the region.
    pub fn heard(&self, now: Instant) {
        let since = now.saturating_duration_since(self.state.0.origin);
        self.load.0.counters.heard(since);
    }

    /// An attempt failed, or was answered with an error.
    pub fn failed(&self, class: ErrorClass) {
        self.load.0.counters.failed(class);
    }

    /// An active probe of one of its endpoints ended.
    pub fn probed(&self, success: bool) {
        self.load.0.counters.probed(success);
    }

    pub(super) fn sent(&self) {
        self.load.0.counters.sent.fetch_add(1, Ordering::Release);
    }

    pub(super) fn settled(&self) {
        self.load.0.counters.settled.fetch_add(1, Ordering::Release);
    }

    /// Enters one network round trip (TCP connect, h2 ping, probe connect).
    pub fn observe_rtt(&self, rtt: Duration, now: Instant) {
        self.state.0.rtt.observe(rtt, self.state.0.origin, now);
    }

    /// Enters one service time: head received minus request sent minus nothing else.
    pub fn observe_service(&self, took: Duration, now: Instant) {
        self.load.0.service.observe(took, self.state.0.origin, now);
        self.load.0.counters.answered(took);
    }

    /// Enters the time in which an active probe was answered, from its request to the head.
    pub fn observe_probe(&self, took: Duration, now: Instant) {
        self.state.0.fastest.observe(took, self.state.0.origin, now);
    }

    /// What steering compares: the network round trip, but not less than the fastest probe of the
    /// last minute took. Where something near accepts connections for a region that is far (a
    /// middlebox, a tunnel), connecting is fast and only an answer tells the distance. None before
    /// anything was measured.
    pub fn latency(&self) -> Option<Duration> {
        self.rtt().max(self.state.0.fastest.get())
    }

    /// The network round trip, averaged; none before the first.
    pub fn rtt(&self) -> Option<Duration> {
        self.state.0.rtt.get()
    }

    /// The time to a response's head as attempts saw it (network included), as a geometric average:
    /// the few that take very long do not make the many look slow. None before the first.
    pub fn service(&self) -> Option<Duration> {
        self.load.0.service.get()
    }

    /// The least time that an attempt made at `now` has to be given if it is to be worth making: what
    /// answers usually took ([`service`](Self::service), of the last minute; an older one may be of a
    /// trouble that is over), and the network's round trip, which is never less. A new connection takes
    /// longer. None before anything was measured.
    ///
    /// Probes do not count: what they ask for may take longer than what clients ask for.
    pub fn usual(&self, now: Instant) -> Option<Duration> {
        let origin = self.state.0.origin;
        let service = self.load.0.service.lately(USUAL_FOR, origin, now);
        self.rtt().max(service)
    }
}
