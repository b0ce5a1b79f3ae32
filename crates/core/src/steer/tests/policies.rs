//! Tables for capacity, places, load, tiers that spill and whatever keeps a share.

use super::*;
use crate::plan::{GeoRule, Spread};

const WATERFALL: Policy = Policy::Capacity {
    spread: Spread::Waterfall,
};
const SPRAY: Policy = Policy::Capacity {
    spread: Spread::Spray,
};

fn geo() -> Policy {
    Policy::Geo {
        rules: Box::default(),
    }
}

/// What of a capacity a region takes, and how much of it is spare.
fn sized(capacity: f32, take: f64, spare: f32, row: RegionRow) -> RegionRow {
    RegionRow {
        capacity,
        take: Dial::new(take),
        spare: Some(spare),
        ..row
    }
}

fn dialed(part: f64, row: RegionRow) -> RegionRow {
    RegionRow {
        dial: Dial::new(part),
        ..row
    }
}

fn standby(row: RegionRow) -> RegionRow {
    RegionRow {
        standby: true,
        ..row
    }
}

fn down(row: RegionRow) -> RegionRow {
    RegionRow {
        standing: Standing::full(Health::Unhealthy),
        ..row
    }
}

/// These parts of its endpoints are well, and degraded.
fn parts(healthy: f64, degraded: f64, row: RegionRow) -> RegionRow {
    RegionRow {
        healthy: Dial::new(healthy),
        degraded: Dial::new(degraded),
        ..row
    }
}

#[test]
fn a_band_shares_by_what_is_spare() {
    let near = |capacity, spare| sized(capacity, 1.0, spare, rtt(10));
    check_shares(&BAND, &[near(100.0, 30.0), near(900.0, 10.0)], &[75, 25]);
    // Nothing is spare: by capacity. One has none: by weight.
    check_shares(&BAND, &[near(100.0, 0.0), near(900.0, 0.0)], &[10, 90]);
    check_shares(&BAND, &[near(900.0, 10.0), rtt(12)], &[50, 50]);
}

#[test]
fn a_region_sheds_only_its_excess_and_to_the_next() {
    let full = |take, row| sized(100.0, take, 0.0, row);
    let rows = [full(0.6, rtt(10)), full(1.0, rtt(80)), rtt(160)];
    for policy in [BAND, WATERFALL, geo()] {
        check_shares(&policy, &rows, &[60, 40, 0]);
    }
    let rows = [full(0.5, rtt(10)), full(0.5, rtt(80)), rtt(160)];
    check_shares(&WATERFALL, &rows, &[50, 25, 25]);
    let rows = [full(0.5, weight(80)), full(1.0, weight(20))];
    check_shares(&Policy::weighted(), &rows, &[40, 60]);
}

#[test]
fn where_all_are_full_the_excess_is_shared_by_capacity() {
    let full = |capacity, ms| sized(capacity, 0.0, 0.0, rtt(ms));
    let rows = [full(100.0, 10), full(300.0, 80), suspected(rtt(5))];
    check_shares(&WATERFALL, &rows, &[25, 75, 0]);
    let decision = decided(&WATERFALL, &rows, &ANY, 1);
    let because = decision.candidates.iter().map(|one| one.because);
    assert_eq!(
        because.collect::<Vec<_>>(),
        [Because::Shed, Because::Shed, Because::Suspected]
    );
}

#[test]
fn who_sheds_ranks_behind_all_that_were_not_asked() {
    use Because::{Degraded, Farther, Shed, Standby, Suspected};
    let full = sized(100.0, 0.0, 0.0, rtt(10));
    check(
        &WATERFALL,
        &[
            full,
            suspected(rtt(5)),
            standby(rtt(20)),
            sick(rtt(30)),
            rtt(80),
            rtt(90),
        ],
        &[
            (4, Farther),
            (5, Farther),
            (3, Degraded),
            (2, Standby),
            (0, Shed),
            (1, Suspected),
        ],
    );
}

#[test]
fn a_spray_shares_by_capacity() {
    let row = |capacity| sized(capacity, 1.0, 0.0, rtt(10));
    check_shares(&SPRAY, &[row(500.0), row(300.0), row(200.0)], &[50, 30, 20]);
    let decision = decided(&SPRAY, &[row(1.0)], &ANY, 1);
    assert_eq!(decision.candidates[0].because, Because::Capacity);
}

#[test]
fn places_decide_before_distances_and_those_before_latencies() {
    use Because::{Distance, Farther, GeoRule, Nearest, Unmeasured};
    let named = |place, row| RegionRow {
        named: Some(place),
        ..row
    };
    let far = |km, row| RegionRow {
        client_km: Some(km),
        ..row
    };
    check(
        &geo(),
        &[
            rtt(10),
            far(900.0, rtt(90)),
            far(100.0, rtt(99)),
            named(1, rtt(50)),
            named(0, rtt(60)),
        ],
        &[
            (4, GeoRule),
            (3, GeoRule),
            (2, Distance),
            (1, Distance),
            (0, Farther),
        ],
    );
    // Of a client of whom nothing is known, the nearest to the PoP.
    check(&geo(), &[rtt(15), rtt(10)], &[(1, Nearest), (0, Farther)]);
    check(
        &geo(),
        &[km(9.0), km(5.0)],
        &[(1, Unmeasured), (0, Unmeasured)],
    );
}

#[test]
fn a_rule_fits_by_country_or_continent() {
    let rule = GeoRule {
        countries: [*b"CH"].into(),
        continents: [*b"EU"].into(),
        regions: Box::default(),
    };
    let check = |country: Option<&[u8; 2]>, continent: Option<&[u8; 2]>, expected| {
        let origin = crate::geo::Origin {
            country: country.copied(),
            continent: continent.copied(),
            location: None,
        };
        assert_eq!(rule.fits(&origin), expected, "{origin:?}");
    };
    check(Some(b"CH"), None, true);
    check(None, Some(b"EU"), true);
    check(Some(b"US"), Some(b"NA"), false);
    check(None, None, false);
}

#[test]
fn the_least_loaded_comes_first_by_its_size() {
    use Because::LeastLoad;
    let row = |under_way, reported, capacity| RegionRow {
        load: (under_way, reported),
        capacity,
        ..ROW
    };
    let order = |rows: &[RegionRow], expected: &[u8]| {
        let expected: Vec<_> = expected.iter().map(|&at| (at, LeastLoad)).collect();
        check(&Policy::LeastLoad, rows, &expected);
    };
    order(&[row(9, None, 100.0), row(4, None, 100.0)], &[1, 0]);
    order(&[row(9, None, 300.0), row(4, None, 100.0)], &[0, 1]);
    order(
        &[row(4, Some(0.9), 100.0), row(9, Some(0.1), 100.0)],
        &[1, 0],
    );
    order(&[row(0, Some(7.0), 100.0), row(50, None, 100.0)], &[1, 0]);
    order(
        &[
            row(0, None, 0.0),
            RegionRow {
                weight: 5,
                ..row(3, None, 100.0)
            },
        ],
        &[1, 0],
    );
    check_shares(
        &Policy::LeastLoad,
        &[row(3, None, 1.0), row(3, None, 1.0)],
        &[50, 50],
    );
}

#[test]
fn a_tier_keeps_what_it_can_carry() {
    let rows = |healthy| [parts(healthy, 0.0, tier(0)), tier(1)];
    check_shares(&Policy::priority(), &rows(0.72), &[100, 0]);
    check_shares(&Policy::priority(), &rows(0.5), &[70, 30]);
    check_shares(&Policy::priority(), &rows(0.25), &[35, 65]);
    let degraded = [
        parts(0.1, 0.2, tier(0)),
        parts(0.2, 0.1, tier(1)),
        parts(0.1, 0.0, tier(2)),
    ];
    check_shares(&Policy::priority(), &degraded, &[43, 43, 14]);
}

#[test]
fn who_is_out_leaves_a_gap_in_his_tier() {
    let two = |other: RegionRow| [tier(0), other, tier(1)];
    check_shares(&Policy::priority(), &two(down(tier(0))), &[70, 0, 30]);
    check_shares(
        &Policy::priority(),
        &two(dialled(0.0, tier(0))),
        &[70, 0, 30],
    );
    // Half of the attempts go on as if it were whole, of which it takes its half.
    check_shares(
        &Policy::priority(),
        &two(dialed(0.5, tier(0))),
        &[60, 25, 15],
    );
    // What an operator forbids is no gap.
    check_shares(
        &Policy::priority(),
        &two(dialed(0.0, tier(0))),
        &[100, 0, 0],
    );
    let [small, large] = [100.0, 300.0].map(|capacity| sized(capacity, 1.0, 0.0, tier(0)));
    let next = sized(400.0, 1.0, 0.0, tier(1));
    check_shares(
        &Policy::priority(),
        &[small, down(large), next],
        &[35, 0, 65],
    );
}

#[test]
fn a_region_takes_what_it_is_dialed_to() {
    check_shares(&BAND, &[dialed(0.3, rtt(10)), rtt(80)], &[30, 70]);
    check_shares(
        &Policy::priority(),
        &[dialed(0.3, tier(0)), tier(1)],
        &[30, 70],
    );
    check_shares(
        &Policy::weighted(),
        &[dialed(0.5, weight(60)), weight(40)],
        &[30, 70],
    );
    // An answer is worth more than a share, and a promise more than an answer.
    check_shares(&BAND, &[dialed(0.01, rtt(10)), down(rtt(80))], &[100, 0]);
    check(&BAND, &[dialed(0.0, rtt(10)), down(rtt(80))], &[]);
}

#[test]
fn who_stands_by_carries_what_others_do_not() {
    use Because::{Degraded, HeldBack, Nearest, Standby};
    check(
        &BAND,
        &[standby(rtt(10)), rtt(80)],
        &[(1, Nearest), (0, Standby)],
    );
    check(
        &BAND,
        &[standby(rtt(10)), sick(rtt(80))],
        &[(1, Degraded), (0, Standby)],
    );
    check(
        &BAND,
        &[standby(rtt(10)), dialled(0.0, rtt(80))],
        &[(0, Standby), (1, HeldBack)],
    );
    check_shares(&BAND, &[standby(rtt(10)), dialed(0.5, rtt(80))], &[50, 50]);
    check_shares(
        &Policy::priority(),
        &[standby(tier(0)), parts(0.5, 0.0, tier(1))],
        &[30, 70],
    );
    let cold = RegionRow {
        cold: true,
        ..standby(rtt(10))
    };
    check(&BAND, &[cold, down(rtt(80))], &[]);
}

fn first(policy: &Policy, rows: &[RegionRow], eligibility: &Eligibility) -> Option<(u8, Because)> {
    let decision = decided(policy, rows, eligibility, 3);
    let first = decision.candidates.first();
    first.map(|first| (first.region.0, first.because))
}

fn pinned(by: PinnedBy) -> Eligibility {
    Eligibility {
        pin: Some(Pin {
            region: RegionIdx(1),
            endpoint: None,
            by,
        }),
        ..ANY
    }
}

#[test]
fn a_pinned_region_comes_first_if_it_may_be_used() {
    use Because::{Affinity, Nearest, Override, Suspected};
    use WhenGone::{Rebind, Strict, Temporary};
    type Placed = [Option<(u8, Because)>; 4];
    let table: [(RegionRow, Placed); 7] = [
        (
            rtt(80),
            [
                Some((1, Override)),
                Some((1, Affinity)),
                Some((1, Affinity)),
                Some((1, Affinity)),
            ],
        ),
        (
            dialed(0.01, rtt(80)),
            [
                Some((1, Override)),
                Some((1, Affinity)),
                Some((1, Affinity)),
                Some((1, Affinity)),
            ],
        ),
        (
            sized(1.0, 0.0, 0.0, rtt(80)),
            [
                Some((1, Override)),
                Some((1, Affinity)),
                Some((1, Affinity)),
                Some((1, Affinity)),
            ],
        ),
        (
            dialled(0.0, rtt(80)),
            [
                Some((1, Override)),
                Some((1, Affinity)),
                Some((0, Nearest)),
                Some((1, Affinity)),
            ],
        ),
        (
            suspected(rtt(80)),
            [
                Some((1, Override)),
                Some((0, Nearest)),
                Some((0, Nearest)),
                Some((1, Suspected)),
            ],
        ),
        (
            down(rtt(80)),
            [
                Some((0, Nearest)),
                Some((0, Nearest)),
                Some((0, Nearest)),
                None,
            ],
        ),
        (
            dialed(0.0, rtt(80)),
            [
                Some((0, Nearest)),
                Some((0, Nearest)),
                Some((0, Nearest)),
                None,
            ],
        ),
    ];
    for (row, expected) in table {
        let by = [
            PinnedBy::Override,
            PinnedBy::Affinity(Rebind),
            PinnedBy::Affinity(Temporary),
            PinnedBy::Affinity(Strict),
        ];
        let actual = by.map(|by| first(&BAND, &[rtt(10), row], &pinned(by)));
        assert_eq!(actual, expected, "{row:?}");
    }
    let strict = pinned(PinnedBy::Affinity(Strict));
    let lost = decided(&BAND, &[rtt(10), down(rtt(80))], &strict, 1);
    assert_eq!(lost.termination(), crate::Termination::AffinityLost);
    let foreign = Eligibility {
        allowed: set(&[0]),
        ..strict
    };
    assert_eq!(first(&BAND, &[rtt(10), rtt(80)], &foreign), None);
}

/// A trusted peer may try a region that gets nothing yet; a client's bond opens none.
#[test]
fn a_named_region_needs_no_weight() {
    let policy = Policy::Weighted {
        hash_on: Box::default(),
    };
    let check = |by, expected| {
        let found = first(&policy, &[weight(1), weight(0)], &pinned(by));
        assert_eq!(found, Some(expected), "{by:?}");
    };
    check(PinnedBy::Override, (1, Because::Override));
    check(PinnedBy::Affinity(WhenGone::Rebind), (0, Because::Weight));
    check(PinnedBy::Affinity(WhenGone::Strict), (1, Because::Affinity));
    // Nobody else gets there for that.
    let other = Eligibility {
        pin: None,
        ..pinned(PinnedBy::Override)
    };
    let rows = [weight(1), weight(0)];
    let decision = decided(&policy, &rows, &other, 1);
    assert_eq!(decision.excluded[0].why, Exclusion::NoWeight);
}

#[test]
fn no_bond_has_a_region_tried_out_by_what_must_not_be_repeated() {
    let trying = RegionRow {
        standing: Standing {
            probation: true,
            ..Standing::full(Health::Healthy)
        },
        ..rtt(80)
    };
    let check = |by, repeatable, expected| {
        let eligibility = Eligibility {
            repeatable,
            ..pinned(by)
        };
        let found = first(&BAND, &[rtt(10), trying], &eligibility);
        assert_eq!(found, Some(expected), "{by:?} {repeatable}");
    };
    let rebind = PinnedBy::Affinity(WhenGone::Rebind);
    check(rebind, true, (1, Because::Affinity));
    check(rebind, false, (0, Because::Nearest));
    check(PinnedBy::Override, false, (1, Because::Override));
    let strict = PinnedBy::Affinity(WhenGone::Strict);
    check(strict, false, (1, Because::Affinity));
}

#[test]
fn isolation_lets_failures_move_requests_or_nothing() {
    use Because::Nearest;
    let near = Eligibility {
        isolation: Isolation::Nearest,
        ..ANY
    };
    let strict = Eligibility {
        isolation: Isolation::Strict,
        ..ANY
    };
    let full = sized(100.0, 0.0, 0.0, rtt(10));
    for row in [full, dialed(0.01, rtt(10))] {
        for isolated in [near, strict] {
            assert_eq!(first(&BAND, &[row, rtt(80)], &isolated), Some((0, Nearest)));
        }
        let again = Eligibility {
            tried: set(&[2]),
            ..near
        };
        let rows = [row, rtt(80), rtt(5)];
        let place = first(&BAND, &rows, &again).map(|(region, _)| region);
        assert_eq!(place, Some(1), "a failover prefers room");
    }
    for row in [
        down(rtt(10)),
        dialed(0.0, rtt(10)),
        RegionRow {
            draining: true,
            ..rtt(10)
        },
    ] {
        assert_eq!(first(&BAND, &[row, rtt(80)], &near), Some((1, Nearest)));
        let decision = decided(&BAND, &[row, rtt(80)], &strict, 1);
        assert!(decision.candidates.is_empty());
        assert_eq!(decision.termination(), crate::Termination::Isolated);
    }
    let spilling = [parts(0.1, 0.0, tier(0)), tier(1)];
    for isolated in [near, strict] {
        assert_eq!(
            first(&Policy::priority(), &spilling, &isolated),
            Some((0, Because::Tier))
        );
    }
    let only_far = Eligibility {
        allowed: set(&[1]),
        ..strict
    };
    assert_eq!(
        first(&BAND, &[rtt(10), rtt(80)], &only_far),
        Some((1, Nearest))
    );
    let weightless = [weight(0), weight(1)];
    assert_eq!(
        first(&Policy::weighted(), &weightless, &strict),
        Some((1, Because::Weight))
    );
    let home = Eligibility {
        isolation: Isolation::Strict,
        ..pinned(PinnedBy::Affinity(WhenGone::Rebind))
    };
    assert_eq!(
        first(&BAND, &[rtt(10), rtt(80)], &home),
        Some((1, Because::Affinity))
    );
    assert_eq!(first(&BAND, &[rtt(10), down(rtt(80))], &home), None);
    let named = Eligibility {
        isolation: Isolation::Strict,
        ..pinned(PinnedBy::Override)
    };
    assert_eq!(
        first(&BAND, &[rtt(10), down(rtt(80))], &named),
        Some((0, Nearest))
    );
}

fn panicking(rows: &[RegionRow], eligibility: &Eligibility) -> (Vec<(u8, Because)>, bool) {
    let steering = crate::plan::Steering {
        panic: crate::plan::Panic {
            fail_open: Some(0.5),
            fallback: None,
        },
        ..BAND.into()
    };
    let rows = (0..).zip(rows).map(|(at, row)| RegionRow {
        region: RegionIdx(at),
        position: at,
        ..*row
    });
    let view = View {
        steering: &steering,
        rows: rows.collect(),
    };
    let decision = decide(&view, eligibility, &mut Rng::with_seed(1));
    let candidates = decision.candidates.iter();
    (
        candidates.map(|one| (one.region.0, one.because)).collect(),
        decision.panic,
    )
}

#[test]
fn below_the_threshold_health_excludes_nobody_and_rules_do() {
    use Because::{Farther, Nearest, Panic};
    let ailing = RegionRow {
        endpoints: 0,
        ailing: true,
        ..rtt(25)
    };
    let empty = RegionRow {
        endpoints: 0,
        ..rtt(25)
    };
    let drained = RegionRow {
        draining: true,
        ..rtt(5)
    };
    let check =
        |rows: &[RegionRow], eligibility: &Eligibility, expected: &[(u8, Because)], panic| {
            assert_eq!(
                panicking(rows, eligibility),
                (expected.to_vec(), panic),
                "{rows:?}"
            );
        };
    check(&[rtt(10), down(rtt(25))], &ANY, &[(0, Nearest)], false);
    check(
        &[down(rtt(10)), down(rtt(25)), rtt(30)],
        &ANY,
        &[(2, Nearest), (0, Panic), (1, Panic)],
        true,
    );
    check(
        &[down(rtt(10)), ailing, rtt(30)],
        &ANY,
        &[(2, Nearest), (0, Panic), (1, Panic)],
        true,
    );
    check(
        &[down(rtt(10)), down(empty), rtt(30)],
        &ANY,
        &[(2, Nearest), (0, Panic)],
        true,
    );
    check(&[down(rtt(10)), drained], &ANY, &[(0, Panic)], true);
    check(
        &[down(rtt(10)), dialed(0.0, rtt(5))],
        &ANY,
        &[(0, Panic)],
        true,
    );
    // What the request may not use is no part of what is usable.
    let only = Eligibility {
        allowed: set(&[1]),
        ..ANY
    };
    check(&[rtt(10), down(rtt(25))], &only, &[(1, Panic)], true);
    check(&[down(rtt(10)), rtt(25)], &only, &[(1, Nearest)], false);
    // By capacity where that is told, and by what of each is well.
    let [small, large] = [100.0, 300.0].map(|capacity| sized(capacity, 1.0, 0.0, rtt(10)));
    check(
        &[small, down(large)],
        &ANY,
        &[(0, Nearest), (1, Panic)],
        true,
    );
    check(&[down(small), large], &ANY, &[(1, Nearest)], false);
    check(
        &[parts(0.3, 0.1, rtt(10)), rtt(80)],
        &ANY,
        &[(0, Nearest), (1, Farther)],
        false,
    );
    check(
        &[parts(0.3, 0.1, rtt(10)), down(rtt(80))],
        &ANY,
        &[(0, Nearest), (1, Panic)],
        true,
    );
}

#[test]
fn a_client_that_stays_together_gets_the_same_place_for_the_same_reason() {
    let hashed = |hash| Eligibility {
        sticky: Some(hash),
        ..ANY
    };
    let rows = [
        weight(3),
        dialed(0.5, weight(2)),
        sized(9.0, 0.5, 1.0, weight(1)),
    ];
    for hash in 0..500 {
        let place = |seed| decided(&Policy::weighted(), &rows, &hashed(hash), seed);
        assert_eq!(place(1), place(2));
        let because = place(1).candidates[0].because;
        assert!(matches!(
            because,
            Because::Hash | Because::Shed | Because::DialedDown
        ));
    }
}
