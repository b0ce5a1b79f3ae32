//! Tables of decisions.

mod policies;
mod prefer;

use std::time::Duration;

use super::*;
use crate::decision::{Pin, PinnedBy};
use crate::health::Health;
use crate::ids::{RegionIdx, RegionSet};
use crate::plan::{Tolerance, WhenGone};
use crate::standing::{Dial, Standing};

const BAND: Policy = Policy::Latency {
    hysteresis: Tolerance::HYSTERESIS,
    tolerance: Tolerance::Absolute(Duration::from_millis(10)),
};
const ANY: Eligibility = Eligibility::ANY;

const ROW: RegionRow = RegionRow {
    standing: Standing::full(Health::Healthy),
    ..RegionRow::new(RegionIdx(0), 0)
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
        standing: Standing::full(Health::Degraded),
        healthy: Dial::NONE,
        degraded: Dial::FULL,
        ..row
    }
}

fn set(regions: &[u8]) -> RegionSet {
    regions.iter().copied().map(RegionIdx).collect()
}

fn decided(policy: &Policy, rows: &[RegionRow], eligibility: &Eligibility, seed: u64) -> Decision {
    let placed = rows.iter().enumerate().map(|(at, row)| RegionRow {
        region: RegionIdx(at as u8),
        position: at as u8,
        ..*row
    });
    let steering = policy.clone().into();
    let view = View {
        steering: &steering,
        rows: placed.collect(),
    };
    decide(&view, eligibility, &mut Rng::with_seed(seed))
}

/// The client is bound to this region by its affinity.
fn bound(region: u8, when_gone: WhenGone) -> Pin {
    Pin {
        region: RegionIdx(region),
        endpoint: None,
        by: PinnedBy::Affinity(when_gone),
    }
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
            standing: Standing::UNKNOWN,
            ..row
        },
        eligibility,
        None,
    );
    check_exclusion(
        RegionRow {
            standing: Standing::full(Health::Degraded),
            ..row
        },
        eligibility,
        None,
    );
    row.endpoints = 0;
    check_exclusion(row, eligibility, Some(Exclusion::NoEndpoint));
    row.full = true;
    check_exclusion(row, eligibility, Some(Exclusion::Full));
    eligibility.too_slow = set(&[0]);
    check_exclusion(row, eligibility, Some(Exclusion::TooSlow));
    row.standing = Standing::full(Health::Unhealthy);
    check_exclusion(row, eligibility, Some(Exclusion::Unhealthy));
    eligibility.tried = set(&[0]);
    check_exclusion(row, eligibility, Some(Exclusion::Tried));
    row.cold = true;
    check_exclusion(row, eligibility, Some(Exclusion::Cold));
    row.dial = Dial::NONE;
    check_exclusion(row, eligibility, Some(Exclusion::DialedOut));
    row.draining = true;
    check_exclusion(row, eligibility, Some(Exclusion::Draining));
    eligibility.within = set(&[1]);
    check_exclusion(row, eligibility, Some(Exclusion::Scope));
    eligibility.isolation = Isolation::Strict;
    check_exclusion(row, eligibility, Some(Exclusion::Isolation));
    eligibility.pin = Some(bound(1, WhenGone::Strict));
    check_exclusion(row, eligibility, Some(Exclusion::Affinity));
    eligibility.allowed = set(&[1]);
    check_exclusion(row, eligibility, Some(Exclusion::Residency));
    let drained = RegionRow {
        standing: Standing::full(Health::Draining),
        ..ROW
    };
    check_exclusion(drained, ANY, Some(Exclusion::Draining));
}

/// The order and the reasons, where no draw is involved (whatever the seed).
fn check(policy: &Policy, rows: &[RegionRow], expected: &[(u8, Because)]) {
    for seed in 0..20 {
        let decision = decided(policy, rows, &ANY, seed);
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
    let relative = Policy::Latency {
        hysteresis: Tolerance::HYSTERESIS,
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
        &Policy::priority(),
        &[tier(2), tier(0), tier(1)],
        &[(1, Tier), (2, Tier), (0, Tier)],
    );
    check(
        &Policy::priority(),
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
        &Policy::priority(),
        &rows,
        &[(1, Tier), (0, Tier), (2, Tier)],
    );
}

/// How often each region comes first, in percent.
fn check_shares(policy: &Policy, rows: &[RegionRow], expected: &[u32]) {
    let mut first = vec![0u32; rows.len()];
    for seed in 0..20_000 {
        let decision = decided(policy, rows, &ANY, seed);
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
        &Policy::weighted(),
        &[weight(70), weight(20), weight(10)],
        &[70, 20, 10],
    );
    check_shares(
        &Policy::weighted(),
        &[weight(1), weight(0), weight(1)],
        &[50, 0, 50],
    );
    check_shares(
        &Policy::weighted(),
        &[sick(weight(9)), weight(1)],
        &[0, 100],
    );
    check_shares(
        &Policy::priority(),
        &[tier(0), tier(0), tier(1)],
        &[50, 50, 0],
    );
    check_shares(
        &BAND,
        &[near(19, 3), near(10, 1), near(21, 9)],
        &[75, 25, 0],
    );
    let relative = Policy::Latency {
        hysteresis: Tolerance::HYSTERESIS,
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
        let decision = decided(&Policy::weighted(), &rows, &ANY, seed);
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
    let first = decided(&Policy::weighted(), &rows, &ANY, 1);
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
        let order = decided(&Policy::weighted(), &rows, &failover, seed).candidates;
        assert_eq!(order.iter().map(|c| c.region.0).collect::<Vec<_>>(), [2, 0]);
    }
    let down = RegionRow {
        standing: Standing::full(Health::Unhealthy),
        ..weight(5)
    };
    let alone = decided(&Policy::weighted(), &[weight(0), down], &ANY, 1);
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

fn dialled(share: f64, row: RegionRow) -> RegionRow {
    let standing = Standing {
        dial: Dial::new(share),
        ..row.standing
    };
    RegionRow { standing, ..row }
}

fn on_probation(row: RegionRow) -> RegionRow {
    let standing = Standing {
        probation: true,
        ..row.standing
    };
    RegionRow { standing, ..row }
}

fn suspected(row: RegionRow) -> RegionRow {
    let standing = Standing {
        suspected: true,
        ..row.standing
    };
    RegionRow { standing, ..row }
}

#[test]
fn regions_rank_by_how_they_stand() {
    use Because::{Degraded, HeldBack, Nearest, Probation, Ramp, Suspected};
    let held = dialled(0.0, rtt(20));
    check(
        &BAND,
        &[suspected(rtt(10)), held, sick(rtt(80)), rtt(160)],
        &[(3, Nearest), (2, Degraded), (1, HeldBack), (0, Suspected)],
    );
    check(
        &BAND,
        &[suspected(dialled(0.0, rtt(10))), on_probation(held)],
        &[(1, HeldBack), (0, Suspected)],
    );
    check(&BAND, &[suspected(rtt(10))], &[(0, Suspected)]);
    check(&BAND, &[held], &[(0, HeldBack)]);
    check(&BAND, &[on_probation(rtt(10))], &[(0, Probation)]);
    let almost = dialled(0.999_999, rtt(10));
    check(&BAND, &[almost, held], &[(0, Ramp), (1, HeldBack)]);
    check(
        &BAND,
        &[on_probation(almost), sick(rtt(9))],
        &[(0, Probation), (1, Degraded)],
    );
}

#[test]
fn a_region_that_comes_back_takes_its_part_of_its_share() {
    let probation = on_probation(dialled(0.01, rtt(10)));
    check_shares(&BAND, &[probation, rtt(80)], &[1, 99]);
    check_shares(&BAND, &[rtt(10), dialled(0.5, rtt(80))], &[100, 0]);
    check_shares(&BAND, &[dialled(0.3, rtt(10)), rtt(11)], &[15, 85]);
    let ramp = dialled(0.5, weight(40));
    check_shares(&Policy::weighted(), &[ramp, weight(60)], &[20, 80]);
    let tiers = [dialled(0.25, tier(0)), tier(1)];
    check_shares(&Policy::priority(), &tiers, &[25, 75]);
}

#[test]
fn what_cannot_be_repeated_tries_out_nobody() {
    let once = Eligibility {
        repeatable: false,
        ..ANY
    };
    let first = |rows: &[RegionRow], seed| {
        let decision = decided(&BAND, rows, &once, seed);
        (
            decision.candidates[0].region.0,
            decision.candidates[0].because,
        )
    };
    let probation = on_probation(dialled(0.9, rtt(10)));
    for seed in 0..200 {
        assert_eq!(first(&[probation, rtt(80)], seed), (1, Because::Nearest));
        assert_eq!(first(&[probation], seed), (0, Because::HeldBack));
    }
    let ramp = [dialled(0.9, rtt(10)), rtt(80)];
    assert!((0..200).any(|seed| first(&ramp, seed) == (0, Because::Ramp)));
}

#[test]
fn nothing_is_drawn_while_every_dial_is_full() {
    let rows = [rtt(10), suspected(rtt(20)), sick(rtt(30))];
    let placed = rows.iter().enumerate().map(|(at, row)| RegionRow {
        position: at as u8,
        ..*row
    });
    let view = View {
        steering: &BAND.into(),
        rows: placed.collect(),
    };
    let (mut used, mut fresh) = (Rng::with_seed(1), Rng::with_seed(1));
    decide(&view, &ANY, &mut used);
    assert_eq!(used.u64(..), fresh.u64(..));
}

#[test]
fn weight_zero_stands_in_for_what_is_suspected_or_held_back() {
    let stand_in = weight(0);
    for away in [suspected(weight(5)), dialled(0.0, weight(5))] {
        let order = decided(&Policy::weighted(), &[away, stand_in], &ANY, 1).candidates;
        assert_eq!(order.iter().map(|c| c.region.0).collect::<Vec<_>>(), [1, 0]);
    }
}
