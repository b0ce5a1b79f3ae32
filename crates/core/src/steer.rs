//! Which regions, in which order.
//!
//! Eligibility comes first and is never a matter of rank: a region that may not be used is not on
//! the list, whatever its latency. Then the regions that work come before the degraded ones, and
//! the policy orders each of the two groups. Nothing here allocates or remembers.

use arrayvec::ArrayVec;
use fastrand::Rng;

use crate::decision::{
    Because, Candidate, Decision, Eligibility, Excluded, Exclusion, RegionRow, View,
};
use crate::health::Health;
use crate::ids::MAX_REGIONS;
use crate::plan::{Steering, Tolerance};

/// Round-trip kilometres that count as one millisecond until a region is measured: light in fibre
/// makes 100 km of distance a round trip of one millisecond.
pub const KM_PER_MS: f64 = 100.0;

type Group<'a> = ArrayVec<&'a RegionRow, MAX_REGIONS>;

/// Orders the eligible regions of `view` for one attempt; every other one gets its reason.
///
/// * `latency`: ascending by round trip; those within the tolerance of the nearest are drawn by
///   weight. While nothing is measured: ascending by distance if every region has one, else in the
///   configured order. A region not measured yet among measured ones counts with an estimate from
///   its distance ([`KM_PER_MS`]), and comes last without one.
/// * `priority`: ascending by tier; those of one tier are drawn by weight.
/// * `weighted`: drawn by weight, without replacement. A region of weight 0 takes no first attempt
///   while one with weight is there; it takes failovers, after the others.
///
/// Ties keep the configured order. No eligible region: no candidate.
pub fn decide(view: &View<'_>, eligibility: &Eligibility, rng: &mut Rng) -> Decision {
    let mut decision = Decision::default();
    let mut open = Group::new();
    for row in &view.rows {
        match exclusion(row, eligibility) {
            Some(why) => decision.excluded.push(Excluded {
                region: row.region,
                why,
            }),
            None => open.push(row),
        }
    }
    if *view.steering == Steering::Weighted && eligibility.tried.is_empty() {
        keep_weighted(&mut open, &mut decision);
    }
    let (mut fit, mut degraded): (Group<'_>, Group<'_>) = open
        .into_iter()
        .partition(|row| row.health != Health::Degraded);
    order(view.steering, &mut fit, &mut decision, rng);
    let first_degraded = decision.candidates.len();
    order(view.steering, &mut degraded, &mut decision, rng);
    for candidate in &mut decision.candidates[first_degraded..] {
        candidate.because = Because::Degraded;
    }
    decision
}

/// Why a region may not take the attempt; none if it may. The first reason of a fixed order: what
/// is forbidden comes before what was tried, and that before what is out of order.
pub fn exclusion(row: &RegionRow, eligibility: &Eligibility) -> Option<Exclusion> {
    let region = row.region;
    match () {
        () if !eligibility.allowed.contains(region) => Some(Exclusion::Residency),
        () if !eligibility.within.contains(region) => Some(Exclusion::Scope),
        () if eligibility.tried.contains(region) => Some(Exclusion::Tried),
        () if row.draining || row.health == Health::Draining => Some(Exclusion::Draining),
        () if !row.health.usable() => Some(Exclusion::Unhealthy),
        () if row.endpoints == 0 => Some(Exclusion::NoEndpoint),
        () => None,
    }
}

/// Leaves out the regions of weight 0 as long as another one is there.
fn keep_weighted(open: &mut Group<'_>, decision: &mut Decision) {
    if open.iter().all(|row| row.weight == 0) {
        return;
    }
    open.retain(|row| {
        if row.weight == 0 {
            decision.excluded.push(Excluded {
                region: row.region,
                why: Exclusion::NoWeight,
            });
        }
        row.weight > 0
    });
}

fn order(steering: &Steering, group: &mut Group<'_>, decision: &mut Decision, rng: &mut Rng) {
    match steering {
        Steering::Latency { tolerance } => by_latency(*tolerance, group, decision, rng),
        Steering::Priority => by_tier(group, decision, rng),
        Steering::Weighted => {
            draw(group, rng);
            accept(group, decision, |_| Because::Weight);
        }
    }
}

fn by_tier(group: &mut Group<'_>, decision: &mut Decision, rng: &mut Rng) {
    group.sort_unstable_by_key(|row| (row.tier, row.position));
    for tier in group.chunk_by_mut(|a, b| a.tier == b.tier) {
        draw(tier, rng);
    }
    accept(group, decision, |_| Because::Tier);
}

fn by_latency(tolerance: Tolerance, group: &mut Group<'_>, decision: &mut Decision, rng: &mut Rng) {
    if group.iter().all(|row| row.rtt.is_none()) {
        return by_distance(group, decision);
    }
    group.sort_unstable_by(|a, b| {
        latency_ms(a)
            .total_cmp(&latency_ms(b))
            .then(a.position.cmp(&b.position))
    });
    let nearest = group[0].position;
    let limit = limit_ms(latency_ms(group[0]), tolerance);
    let band = group.partition_point(|row| latency_ms(row) <= limit);
    draw(&mut group[..band], rng);
    accept(group, decision, |row| match () {
        () if row.rtt.is_none() => Because::Unmeasured,
        () if row.position == nearest => Because::Nearest,
        () if latency_ms(row) <= limit => Because::WithinTolerance,
        () => Because::Farther,
    });
}

fn by_distance(group: &mut Group<'_>, decision: &mut Decision) {
    if group.iter().all(|row| row.distance_km.is_some()) {
        let km = |row: &RegionRow| row.distance_km.unwrap_or(f64::INFINITY);
        group.sort_unstable_by(|a, b| km(a).total_cmp(&km(b)).then(a.position.cmp(&b.position)));
    }
    accept(group, decision, |_| Because::Unmeasured);
}

/// Milliseconds of round trip: measured, else estimated, else endless.
fn latency_ms(row: &RegionRow) -> f64 {
    match (row.rtt, row.distance_km) {
        (Some(rtt), _) => rtt.as_secs_f64() * 1e3,
        (None, Some(km)) => km / KM_PER_MS,
        (None, None) => f64::INFINITY,
    }
}

fn limit_ms(nearest: f64, tolerance: Tolerance) -> f64 {
    match tolerance {
        Tolerance::Absolute(width) => nearest + width.as_secs_f64() * 1e3,
        Tolerance::Relative(part) => nearest * (1.0 + part),
    }
}

fn accept(group: &[&RegionRow], decision: &mut Decision, because: impl Fn(&RegionRow) -> Because) {
    for row in group {
        let because = because(row);
        decision.candidates.push(Candidate {
            region: row.region,
            position: row.position,
            because,
        });
    }
}

/// Puts `rows` into an order drawn by weight without replacement; those of weight 0 come last, as
/// they are.
fn draw(rows: &mut [&RegionRow], rng: &mut Rng) {
    let mut total: u64 = rows.iter().map(|row| u64::from(row.weight)).sum();
    for next in 0..rows.len() {
        if total == 0 || next + 1 == rows.len() {
            return;
        }
        let drawn = next + at_share(&rows[next..], rng.u64(..total));
        total -= u64::from(rows[drawn].weight);
        rows[next..=drawn].rotate_right(1);
    }
}

fn at_share(rows: &[&RegionRow], mut share: u64) -> usize {
    rows.iter()
        .position(|row| {
            let weight = u64::from(row.weight);
            let here = share < weight;
            share = share.saturating_sub(weight);
            here
        })
        .unwrap_or(0)
}
