//! Who may take an attempt at all.
//!
//! Three kinds of reason keep a region from it. A rule (residency, affinity and isolation that are
//! strict, a drain, a dial of 0, a cold region) is a promise to somebody, and nothing overrides it. That
//! the request was there already is next. What is out of order comes last, and health, of all reasons,
//! is ignored in a panic: then too little would be left to serve anybody.

use crate::decision::{Eligibility, Exclusion, Pin, PinnedBy, RegionRow, View};
use crate::health::Health;
use crate::ids::{RegionIdx, RegionSet};
use crate::plan::{Isolation, WhenGone};
use crate::standing::Dial;

/// What keeps regions from one attempt at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    eligibility: &'a Eligibility,
    /// The regions against which, as far as the attempt is concerned, nothing speaks.
    open: RegionSet,
    /// Whether health excludes nobody ([`Panic::fail_open`](crate::plan::Panic::fail_open)).
    pub panic: bool,
}

impl<'a> Gate<'a> {
    /// The gate of an attempt.
    #[inline]
    pub fn new(view: &View<'_>, eligibility: &'a Eligibility) -> Self {
        Self::with(eligibility, panics(view, eligibility))
    }

    fn with(eligibility: &'a Eligibility, panic: bool) -> Self {
        let bound = strictly_bound(eligibility.pin);
        let bound = bound.map_or(RegionSet::ALL, |region| RegionSet::from_iter([region]));
        let within = eligibility.allowed.both(eligibility.within).both(bound);
        Self {
            eligibility,
            open: within
                .without(eligibility.tried)
                .without(eligibility.too_slow),
            panic,
        }
    }

    /// Why a region may not take the attempt; none if it may.
    pub fn exclusion(&self, row: &RegionRow) -> Option<Exclusion> {
        match self.open.contains(row.region) && is_sound(row) {
            true => None,
            false => self.reason(row),
        }
    }

    #[cold]
    fn reason(&self, row: &RegionRow) -> Option<Exclusion> {
        rule(row, self.eligibility).or_else(|| disorder(row, self.eligibility, self.panic))
    }
}

/// Why a region may not take the attempt as long as health counts; none if it may. The first reason of
/// a fixed order: what is forbidden comes before what was tried, and that before what is out of order.
pub fn exclusion(row: &RegionRow, eligibility: &Eligibility) -> Option<Exclusion> {
    Gate::with(eligibility, false).exclusion(row)
}

/// The rule that forbids the region, if there is one.
pub(super) fn rule(row: &RegionRow, eligibility: &Eligibility) -> Option<Exclusion> {
    let region = row.region;
    match () {
        () if !eligibility.allowed.contains(region) => Some(Exclusion::Residency),
        () if is_foreign(row, eligibility.pin) => Some(Exclusion::Affinity),
        () if !eligibility.within.contains(region) => Some(match eligibility.isolation {
            Isolation::Strict => Exclusion::Isolation,
            _ => Exclusion::Scope,
        }),
        () if row.draining || row.standing.health == Health::Draining => Some(Exclusion::Draining),
        () if row.dial == Dial::NONE => Some(Exclusion::DialedOut),
        () if row.cold => Some(Exclusion::Cold),
        () => None,
    }
}

/// Whether the client is strictly bound to another region.
fn is_foreign(row: &RegionRow, pin: Option<Pin>) -> bool {
    strictly_bound(pin).is_some_and(|region| region != row.region)
}

/// The only region that the client may use.
fn strictly_bound(pin: Option<Pin>) -> Option<RegionIdx> {
    let pin = pin.filter(|pin| pin.by == PinnedBy::Affinity(WhenGone::Strict));
    pin.map(|pin| pin.region)
}

/// Whether nothing in the row itself speaks against the region: the usual case, seen at a glance. Why it
/// may not be used is asked only of the others.
fn is_sound(row: &RegionRow) -> bool {
    let serves = row.standing.health.usable() && row.endpoints > 0 && !row.full;
    serves && !row.draining && !row.cold && row.dial != Dial::NONE
}

fn disorder(row: &RegionRow, eligibility: &Eligibility, panic: bool) -> Option<Exclusion> {
    match () {
        () if eligibility.tried.contains(row.region) => Some(Exclusion::Tried),
        () if !panic && !row.standing.health.usable() => Some(Exclusion::Unhealthy),
        () if eligibility.too_slow.contains(row.region) => Some(Exclusion::TooSlow),
        () if row.full => Some(Exclusion::Full),
        () if row.endpoints == 0 && !(panic && row.ailing) => Some(Exclusion::NoEndpoint),
        () => None,
    }
}

/// Whether less is usable than the upstream needs to heed health, of what no rule forbids.
fn panics(view: &View<'_>, eligibility: &Eligibility) -> bool {
    let Some(threshold) = view.steering.panic.fail_open else {
        return false;
    };
    let told = view.rows.iter().all(|row| row.capacity > 0.0);
    let (mut usable, mut all) = (0.0, 0.0);
    for row in view
        .rows
        .iter()
        .filter(|row| rule(row, eligibility).is_none())
    {
        let size = match told {
            true => f64::from(row.capacity),
            false => f64::from(row.weight.max(1)),
        };
        all += size;
        usable += size * usable_part(row);
    }
    usable < threshold * all
}

fn usable_part(row: &RegionRow) -> f64 {
    match row.standing.health.usable() && !row.ailing {
        true => (row.healthy.share() + row.degraded.share()).min(1.0),
        false => 0.0,
    }
}
