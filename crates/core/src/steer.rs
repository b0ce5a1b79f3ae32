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
    let (mut fit, mut degraded) = (Group::new(), Group::new());
    for row in &view.rows {
        match exclusion(row, eligibility) {
            Some(why) => decision.excluded.push(Excluded {
                region: row.region,
                why,
            }),
            None if row.health == Health::Degraded => degraded.push(row),
            None => fit.push(row),
        }
    }
    if *view.steering == Steering::Weighted && eligibility.tried.is_empty() {
        keep_weighted([&mut fit, &mut degraded], &mut decision);
    }
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
fn keep_weighted(open: [&mut Group<'_>; 2], decision: &mut Decision) {
    if open
        .iter()
        .all(|group| group.iter().all(|row| row.weight == 0))
    {
        return;
    }
    for group in open {
        group.retain(|row| {
            if row.weight == 0 {
                decision.excluded.push(Excluded {
                    region: row.region,
                    why: Exclusion::NoWeight,
                });
            }
            row.weight > 0
        });
    }
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
    if group.iter().all(|row| row.latency.is_none()) {
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
        () if row.latency.is_none() => Because::Unmeasured,
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
    match (row.latency, row.distance_km) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::{RegionIdx, RegionSet};

    const BAND: Steering = Steering::Latency {
        tolerance: Tolerance::Absolute(Duration::from_millis(10)),
    };
    const ANY: Eligibility = Eligibility {
        allowed: RegionSet::ALL,
        within: RegionSet::ALL,
        tried: RegionSet::EMPTY,
    };

    const ROW: RegionRow = RegionRow {
        region: RegionIdx(0),
        position: 0,
        health: Health::Healthy,
        draining: false,
        endpoints: 1,
        latency: None,
        distance_km: None,
        weight: 1,
        tier: 0,
    };

    fn rtt(ms: u64) -> RegionRow {
        RegionRow {
            latency: Some(Duration::from_millis(ms)),
            ..ROW
        }
    }

    fn km(distance: f64) -> RegionRow {
        RegionRow {
            distance_km: Some(distance),
            ..ROW
        }
    }

    fn weight(weight: u32) -> RegionRow {
        RegionRow { weight, ..ROW }
    }

    fn tier(tier: u16) -> RegionRow {
        RegionRow { tier, ..ROW }
    }

    fn sick(row: RegionRow) -> RegionRow {
        RegionRow {
            health: Health::Degraded,
            ..row
        }
    }

    fn set(regions: &[u8]) -> RegionSet {
        regions.iter().copied().map(RegionIdx).collect()
    }

    fn decided(
        steering: &Steering,
        rows: &[RegionRow],
        eligibility: &Eligibility,
        seed: u64,
    ) -> Decision {
        let placed = rows.iter().enumerate().map(|(at, row)| RegionRow {
            region: RegionIdx(at as u8),
            position: at as u8,
            ..*row
        });
        let view = View {
            steering,
            rows: placed.collect(),
        };
        decide(&view, eligibility, &mut Rng::with_seed(seed))
    }

    fn check_exclusion(row: RegionRow, eligibility: Eligibility, expected: Option<Exclusion>) {
        let decision = decided(&BAND, &[row], &eligibility, 0);
        let excluded = decision.excluded.first().map(|excluded| excluded.why);
        assert_eq!(excluded, expected, "{row:?}");
        assert_eq!(decision.candidates.len() + decision.excluded.len(), 1);
    }

    #[test]
    fn every_exclusion_has_its_reason_and_the_gravest_is_told() {
        let mut row = ROW;
        let mut eligibility = ANY;
        check_exclusion(row, eligibility, None);
        check_exclusion(
            RegionRow {
                health: Health::Unknown,
                ..row
            },
            eligibility,
            None,
        );
        check_exclusion(
            RegionRow {
                health: Health::Degraded,
                ..row
            },
            eligibility,
            None,
        );
        row.endpoints = 0;
        check_exclusion(row, eligibility, Some(Exclusion::NoEndpoint));
        row.health = Health::Unhealthy;
        check_exclusion(row, eligibility, Some(Exclusion::Unhealthy));
        row.draining = true;
        check_exclusion(row, eligibility, Some(Exclusion::Draining));
        eligibility.tried = set(&[0]);
        check_exclusion(row, eligibility, Some(Exclusion::Tried));
        eligibility.within = set(&[1]);
        check_exclusion(row, eligibility, Some(Exclusion::Scope));
        eligibility.allowed = set(&[1]);
        check_exclusion(row, eligibility, Some(Exclusion::Residency));
        let drained = RegionRow {
            health: Health::Draining,
            ..ROW
        };
        check_exclusion(drained, ANY, Some(Exclusion::Draining));
    }

    /// The order and the reasons, where no draw is involved (whatever the seed).
    fn check(steering: &Steering, rows: &[RegionRow], expected: &[(u8, Because)]) {
        for seed in 0..20 {
            let decision = decided(steering, rows, &ANY, seed);
            let actual: Vec<_> = decision
                .candidates
                .iter()
                .map(|c| (c.region.0, c.because))
                .collect();
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn latency_orders_by_round_trip() {
        use Because::{Degraded, Farther, Nearest, Unmeasured};
        check(
            &BAND,
            &[rtt(80), rtt(10), rtt(160)],
            &[(1, Nearest), (0, Farther), (2, Farther)],
        );
        check(&BAND, &[rtt(21), rtt(10)], &[(1, Nearest), (0, Farther)]);
        check(
            &BAND,
            &[sick(rtt(10)), rtt(80)],
            &[(1, Nearest), (0, Degraded)],
        );
        check(
            &BAND,
            &[sick(rtt(80)), sick(rtt(10))],
            &[(1, Degraded), (0, Degraded)],
        );
        let relative = Steering::Latency {
            tolerance: Tolerance::Relative(0.1),
        };
        check(
            &relative,
            &[rtt(112), rtt(100)],
            &[(1, Nearest), (0, Farther)],
        );
        check(&BAND, &[], &[]);
        check(&BAND, &[ROW, rtt(300)], &[(1, Nearest), (0, Unmeasured)]);
    }

    #[test]
    fn unmeasured_regions_rank_by_distance_or_order() {
        use Because::{Farther, Nearest, Unmeasured};
        let by = |order: [u8; 3]| order.map(|at| (at, Unmeasured));
        check(&BAND, &[km(900.0), km(100.0), km(500.0)], &by([1, 2, 0]));
        check(&BAND, &[km(900.0), km(100.0), ROW], &by([0, 1, 2]));
        check(&BAND, &[ROW, ROW, ROW], &by([0, 1, 2]));
        // 5,000 km are taken for 50 ms, 1,000 for 10.
        check(
            &BAND,
            &[rtt(70), km(5_000.0), rtt(20)],
            &[(2, Nearest), (1, Unmeasured), (0, Farther)],
        );
        check(
            &BAND,
            &[rtt(70), km(1_000.0)],
            &[(1, Unmeasured), (0, Farther)],
        );
    }

    #[test]
    fn priority_orders_by_tier() {
        use Because::{Degraded, Tier};
        check(
            &Steering::Priority,
            &[tier(2), tier(0), tier(1)],
            &[(1, Tier), (2, Tier), (0, Tier)],
        );
        check(
            &Steering::Priority,
            &[tier(1), sick(tier(0))],
            &[(0, Tier), (1, Degraded)],
        );
        let rows = [
            RegionRow {
                weight: 0,
                ..tier(0)
            },
            tier(0),
            tier(1),
        ];
        check(
            &Steering::Priority,
            &rows,
            &[(1, Tier), (0, Tier), (2, Tier)],
        );
    }

    /// How often each region comes first, in percent.
    fn check_shares(steering: &Steering, rows: &[RegionRow], expected: &[u32]) {
        let mut first = vec![0u32; rows.len()];
        for seed in 0..20_000 {
            let decision = decided(steering, rows, &ANY, seed);
            first[decision.candidates[0].region.get()] += 1;
        }
        for (count, percent) in first.iter().zip(expected) {
            assert!(
                count.abs_diff(percent * 200) < 200,
                "{first:?} for {expected:?} %"
            );
        }
    }

    #[test]
    fn equals_share_by_weight() {
        let near = |ms, share| RegionRow {
            weight: share,
            ..rtt(ms)
        };
        check_shares(
            &Steering::Weighted,
            &[weight(70), weight(20), weight(10)],
            &[70, 20, 10],
        );
        check_shares(
            &Steering::Weighted,
            &[weight(1), weight(0), weight(1)],
            &[50, 0, 50],
        );
        check_shares(
            &Steering::Weighted,
            &[sick(weight(9)), weight(1)],
            &[0, 100],
        );
        check_shares(
            &Steering::Priority,
            &[tier(0), tier(0), tier(1)],
            &[50, 50, 0],
        );
        check_shares(
            &BAND,
            &[near(19, 3), near(10, 1), near(21, 9)],
            &[75, 25, 0],
        );
        let relative = Steering::Latency {
            tolerance: Tolerance::Relative(0.5),
        };
        check_shares(
            &relative,
            &[near(10, 1), near(15, 1), near(16, 1)],
            &[50, 50, 0],
        );
    }

    #[test]
    fn the_second_place_is_drawn_among_the_rest() {
        let rows = [weight(50), weight(40), weight(10)];
        let mut second = [0u32; 3];
        for seed in 0..20_000 {
            let decision = decided(&Steering::Weighted, &rows, &ANY, seed);
            second[decision.candidates[1].region.get()] += 1;
        }
        // P(i second) = sum over j first of w_j x w_i / (1 - w_j): 38.9, 44.4 and 16.7 %.
        for (count, expected) in second.iter().zip([7_778u32, 8_889, 3_333]) {
            assert!(count.abs_diff(expected) < 250, "{second:?}");
        }
    }

    #[test]
    fn weight_zero_takes_failovers_only() {
        let rows = [weight(0), weight(5), weight(5)];
        let first = decided(&Steering::Weighted, &rows, &ANY, 1);
        assert_eq!(
            first.excluded.as_slice(),
            [Excluded {
                region: RegionIdx(0),
                why: Exclusion::NoWeight
            }]
        );
        for seed in 0..20 {
            let failover = Eligibility {
                tried: set(&[1]),
                ..ANY
            };
            let order = decided(&Steering::Weighted, &rows, &failover, seed).candidates;
            assert_eq!(order.iter().map(|c| c.region.0).collect::<Vec<_>>(), [2, 0]);
        }
        let down = RegionRow {
            health: Health::Unhealthy,
            ..weight(5)
        };
        let alone = decided(&Steering::Weighted, &[weight(0), down], &ANY, 1);
        assert_eq!(alone.candidates[0].region, RegionIdx(0));
    }

    #[test]
    fn the_nearest_keeps_its_reason_when_another_of_the_band_is_drawn() {
        let rows = [rtt(15), rtt(10)];
        for seed in 0..20 {
            for candidate in decided(&BAND, &rows, &ANY, seed).candidates {
                let nearest = candidate.region == RegionIdx(1);
                let expected = if nearest {
                    Because::Nearest
                } else {
                    Because::WithinTolerance
                };
                assert_eq!(candidate.because, expected);
            }
        }
    }
}
