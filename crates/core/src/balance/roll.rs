//! Who of a set is open, and how much of its weight each takes, added up.
//!
//! Draws by weight, the parts of zones and the average that a bound on load is relative to need sums
//! over all endpoints. They change when an endpoint's health, ejection or part does, which is seldom,
//! so they are kept, together with the count of changes of which they tell, and made anew by the first
//! decision that finds the count gone on. That happens in place: nothing is allocated, nobody waits.
//! Whoever decides while another makes them goes by sums that are old or half made; what he draws is
//! looked at before it is taken, so that costs an even share and never a wrong endpoint. That something
//! is *not* there is believed of sums that are current only.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arrayvec::ArrayVec;

use super::group::Group;
use crate::endpoint::Endpoint;
use crate::health::{Health, OVERPROVISIONING};
use crate::ids::MAX_REGIONS;
use crate::priority::{Tier, TierLoads};
use crate::standing::Dial;

/// The whole of a weight of 1.
const WHOLE: f64 = (1u64 << 20) as f64;

/// No set has seen so many changes.
const NEVER: u64 = u64::MAX;

/// The sums over the endpoints of one set.
#[derive(Debug)]
pub(crate) struct Roll {
    /// The count of changes of which the rest tells.
    of: AtomicU64,
    making: AtomicBool,
    /// Whether all are open, none is degraded and each takes all of its weight.
    plain: AtomicBool,
    /// The weight that endpoints take, up to and including each, in parts of [`WHOLE`].
    sums: Box<[AtomicU64]>,
    zones: Box<[Zone]>,
    found: Found,
}

/// What is known of one group. Bits of `f64`.
#[derive(Debug, Default)]
struct Zone {
    /// The part of the load that it and the groups before it take.
    below: AtomicU64,
    /// The part of their weight that its degraded endpoints take.
    fade: AtomicU64,
}

/// Where the last look for room ended. Written now and then, so away from what is read always.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Found(AtomicU32);

/// Weights of one group.
#[derive(Clone, Copy, Default)]
struct Weights {
    healthy: f64,
    degraded: f64,
    all: f64,
}

impl Default for Roll {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Roll {
    /// For so many endpoints in so many groups. It tells of nothing yet.
    pub(crate) fn new(endpoints: usize, groups: usize) -> Self {
        Self {
            of: AtomicU64::new(NEVER),
            making: AtomicBool::new(false),
            plain: AtomicBool::new(false),
            sums: (0..endpoints).map(|_| AtomicU64::new(0)).collect(),
            zones: (0..groups).map(|_| Zone::default()).collect(),
            found: Found::default(),
        }
    }

    /// Brings the sums to this count of `changes`; whether they tell of it now. Not while another
    /// thread is at it.
    pub(crate) fn is_of(&self, changes: u64, endpoints: &[Endpoint], groups: &[Group]) -> bool {
        if self.of.load(Ordering::Acquire) == changes {
            return true;
        }
        if self.making.swap(true, Ordering::Acquire) {
            return false;
        }
        self.make(endpoints, groups);
        self.of.store(changes, Ordering::Release);
        self.making.store(false, Ordering::Release);
        true
    }

    #[cold]
    fn make(&self, endpoints: &[Endpoint], groups: &[Group]) {
        let weights: ArrayVec<Weights, MAX_REGIONS> = groups
            .iter()
            .map(|group| Weights::of(&endpoints[group.range()]))
            .collect();
        let tiers: ArrayVec<Tier, MAX_REGIONS> = weights.iter().map(Weights::tier).collect();
        let loads = TierLoads::of(&tiers, OVERPROVISIONING);
        let mut below = 0.0;
        for ((zone, load), weights) in self.zones.iter().zip(loads.as_slice()).zip(&weights) {
            below += load.total();
            let fade = fade([load.healthy, load.degraded], weights);
            zone.below.store(below.to_bits(), Ordering::Relaxed);
            zone.fade.store(fade.to_bits(), Ordering::Relaxed);
        }
        let (mut sum, mut plain) = (0, true);
        for (at, group) in groups.iter().enumerate() {
            let fade = self.fade(at);
            for at in group.range() {
                let (taken, whole) = taken(&endpoints[at], fade);
                sum += taken;
                plain &= whole;
                self.sums[at].store(sum, Ordering::Relaxed);
            }
        }
        self.plain.store(plain, Ordering::Relaxed);
    }

    /// Whether all are open, none is degraded and each takes all of its weight.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    /// Whether nobody is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.sums
            .last()
            .is_none_or(|_| self.sum(self.sums.len()) == 0)
    }

    /// The weight, in parts, that the endpoints before `at` take.
    pub(super) fn sum(&self, at: usize) -> u64 {
        match at {
            0 => 0,
            at => self.sums[at - 1].load(Ordering::Relaxed),
        }
    }

    /// The endpoint of `range` that holds the part number `part`, counted from the first endpoint of
    /// all.
    pub(super) fn at(&self, range: std::ops::Range<usize>, part: u64) -> usize {
        let last = range.end - 1;
        let sums = &self.sums[range.clone()];
        let before = sums.partition_point(|sum| sum.load(Ordering::Relaxed) <= part);
        (range.start + before).min(last)
    }

    /// The weight that the endpoints of `range` take.
    pub(super) fn weight(&self, range: std::ops::Range<usize>) -> f64 {
        let parts = self.sum(range.end).saturating_sub(self.sum(range.start));
        parts as f64 / WHOLE
    }

    /// The part of their weight that the degraded endpoints of a group take.
    pub(super) fn fade(&self, group: usize) -> f64 {
        f64::from_bits(self.zones[group].fade.load(Ordering::Relaxed))
    }

    /// The part of the load that a group takes.
    pub(super) fn load(&self, group: usize) -> f64 {
        let before = if group == 0 {
            0.0
        } else {
            self.below(group - 1)
        };
        (self.below(group) - before).max(0.0)
    }

    fn below(&self, group: usize) -> f64 {
        f64::from_bits(self.zones[group].below.load(Ordering::Relaxed))
    }

    /// The group for an attempt for which `draw` was drawn evenly from 0 to 1, 1 excluded. The first
    /// where nobody is open.
    pub(super) fn group(&self, draw: f64) -> usize {
        let taking = (0..self.zones.len()).filter(|at| self.load(*at) > 0.0);
        let mut taking = taking.peekable();
        while let Some(at) = taking.next() {
            // What sums miss of 1 by rounding falls to the last.
            if draw < self.below(at) || taking.peek().is_none() {
                return at;
            }
        }
        0
    }

    /// Where a look for room ended when one was last entered.
    pub(crate) fn last_found(&self) -> usize {
        self.found.0.load(Ordering::Relaxed) as usize
    }

    /// Enters where a look for room ended.
    pub(crate) fn found(&self, at: usize) {
        self.found.0.store(at as u32, Ordering::Relaxed);
    }
}

impl Weights {
    fn of(endpoints: &[Endpoint]) -> Self {
        let mut weights = Self::default();
        for endpoint in endpoints {
            let weight = f64::from(endpoint.weight);
            weights.all += weight;
            match endpoint.cell.health() {
                Health::Degraded => weights.degraded += weight,
                health if health.usable() => weights.healthy += weight,
                _ => {}
            }
        }
        weights
    }

    fn tier(&self) -> Tier {
        Tier {
            healthy: self.healthy / self.all,
            degraded: self.degraded / self.all,
            capacity: self.all,
        }
    }
}

/// The part of their weight that degraded endpoints take, so that they and the healthy ones have these
/// loads.
fn fade([healthy, degraded]: [f64; 2], weights: &Weights) -> f64 {
    if weights.healthy == 0.0 || weights.degraded == 0.0 {
        return 1.0;
    }
    if healthy == 0.0 {
        return 0.0;
    }
    ((degraded / weights.degraded) / (healthy / weights.healthy)).min(1.0)
}

/// The parts of its weight that an endpoint takes, and whether that is all of it and always. Who is
/// open takes one part at least.
fn taken(endpoint: &Endpoint, fade: f64) -> (u64, bool) {
    let (health, share) = (endpoint.cell.health(), endpoint.cell.share());
    let part = match health {
        Health::Degraded => fade * share.share(),
        health if health.usable() => share.share(),
        _ => return (0, false),
    };
    let whole = share == Dial::FULL && health != Health::Degraded;
    let parts = (f64::from(endpoint.weight) * part * WHOLE) as u64;
    (parts.max(1), whole)
}
