//! Steering: whatever the rows, eligibility is kept and every region is accounted for.

use std::time::Duration;

use fastrand::Rng;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidegate_core::decision::{Because, Candidate, Eligibility, RegionRow};
use tidegate_core::ids::MAX_REGIONS;
use tidegate_core::plan::{Policy, Steering, Tolerance};
use tidegate_core::steer::{decide, exclusion};
use tidegate_core::{Dial, Exclusion, Health, RegionIdx, RegionSet, Standing, View};

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        Just(Health::Unknown),
        Just(Health::Healthy),
        Just(Health::Degraded),
        Just(Health::Unhealthy),
        Just(Health::Draining),
    ]
}

fn standing() -> impl Strategy<Value = Standing> {
    let rarely = || prop::bool::weighted(0.2);
    let dial = prop_oneof![Just(1.0), 0.0..=1.0f64];
    (health(), rarely(), rarely(), dial).prop_map(|(health, suspected, probation, dial)| Standing {
        health,
        suspected,
        probation,
        dial: Dial::new(dial),
    })
}

fn row() -> impl Strategy<Value = RegionRow> {
    let rarely = || prop::bool::weighted(0.1);
    let facts = (standing(), rarely(), 0..4u32, rarely());
    let places = (option::of(0..300u64), option::of(0.0..20_000.0f64));
    (facts, places, 0..5u32, 0..4u16).prop_map(
        |((standing, draining, endpoints, full), (rtt, distance_km), weight, tier)| {
            let rtt = rtt.map(Duration::from_millis);
            RegionRow {
                standing,
                draining,
                endpoints,
                full,
                latency: rtt,
                distance_km,
                weight,
                tier,
                ..RegionRow::new(RegionIdx(0), 0)
            }
        },
    )
}

fn rows() -> impl Strategy<Value = Vec<RegionRow>> {
    vec(row(), 1..MAX_REGIONS).prop_map(|mut rows| {
        for (at, row) in rows.iter_mut().enumerate() {
            (row.region, row.position) = (RegionIdx(at as u8), at as u8);
        }
        rows
    })
}

fn steering() -> impl Strategy<Value = Steering> {
    let absolute = (0..50u64).prop_map(|ms| Tolerance::Absolute(Duration::from_millis(ms)));
    let relative = (0.0..1.0f64).prop_map(Tolerance::Relative);
    let latency = prop_oneof![absolute, relative].prop_map(Policy::latency);
    let others = prop_oneof![Just(Policy::priority()), Just(Policy::weighted())];
    prop_oneof![latency, others].prop_map(Steering::from)
}

fn regions() -> impl Strategy<Value = RegionSet> {
    let some = vec(0..MAX_REGIONS as u8, 0..MAX_REGIONS)
        .prop_map(|set| set.into_iter().map(RegionIdx).collect());
    prop_oneof![Just(RegionSet::ALL), some]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn every_region_is_a_candidate_or_excluded_for_a_reason_that_holds(
        rows in rows(), steering in steering(), seed: u64,
        allowed in regions(), within in regions(), tried in vec(0..MAX_REGIONS as u8, 0..3),
        slow in vec(0..MAX_REGIONS as u8, 0..3), repeatable: bool,
    ) {
        let tried = tried.into_iter().map(RegionIdx).collect();
        let too_slow = slow.into_iter().map(RegionIdx).collect();
        let eligibility = Eligibility { allowed, within, tried, too_slow, repeatable, ..Eligibility::ANY };
        let view = View { steering: &steering, rows: rows.iter().copied().collect() };
        let decision = decide(&view, &eligibility, &mut Rng::with_seed(seed));

        let listed = decision.candidates.iter().map(|c| c.region).chain(decision.excluded.iter().map(|e| e.region));
        let mut listed: Vec<_> = listed.collect();
        listed.sort();
        prop_assert_eq!(listed, rows.iter().map(|row| row.region).collect::<Vec<_>>());

        for candidate in &decision.candidates {
            let row = &rows[candidate.region.get()];
            prop_assert!(allowed.contains(candidate.region) && exclusion(row, &eligibility).is_none());
        }
        for excluded in &decision.excluded {
            let row = &rows[excluded.region.get()];
            let weightless = steering.policy == Policy::weighted() && row.weight == 0 && tried.is_empty();
            let expected = exclusion(row, &eligibility).or(weightless.then_some(Exclusion::NoWeight));
            prop_assert_eq!(Some(excluded.why), expected);
        }
        let doubt = |c: &Candidate| match (c.because, rows[c.region.get()].standing.health) {
            (Because::Suspected, _) => 3,
            (Because::HeldBack, _) => 2,
            (_, Health::Degraded) => 1,
            _ => 0,
        };
        // What a tier lacks for health goes to the next, whose degraded regions may be all there is.
        let spilt = usize::from(steering.policy == Policy::priority());
        let after = decision.candidates.get(spilt..).unwrap_or_default();
        prop_assert!(after.is_sorted_by_key(doubt), "the better it stands, the earlier it comes");
        for candidate in &decision.candidates {
            let standing = rows[candidate.region.get()].standing;
            prop_assert_eq!(standing.suspected, candidate.because == Because::Suspected);
            let may_wait = standing.dial != Dial::FULL || standing.probation;
            prop_assert!(may_wait || candidate.because != Because::HeldBack);
            prop_assert!(repeatable || candidate.because != Because::Probation);
        }
        let any_open = rows.iter().any(|row| exclusion(row, &eligibility).is_none());
        prop_assert_eq!(any_open, !decision.candidates.is_empty(), "nobody is turned away in vain");
    }

    #[test]
    fn the_same_seed_decides_alike(rows in rows(), steering in steering(), seed: u64) {
        let view = View { steering: &steering, rows: rows.iter().copied().collect() };
        let decide = || decide(&view, &Eligibility::ANY, &mut Rng::with_seed(seed));
        prop_assert_eq!(decide(), decide());
    }
}
