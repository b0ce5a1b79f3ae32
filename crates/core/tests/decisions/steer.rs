//! Steering: whatever the rows, eligibility is kept and every region is accounted for.

use std::time::Duration;

use fastrand::Rng;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidegate_core::decision::{Because, Candidate, Eligibility, Pin, PinnedBy, RegionRow};
use tidegate_core::ids::MAX_REGIONS;
use tidegate_core::plan::{Isolation, Panic, Policy, Spread, Steering, Tolerance, WhenGone};
use tidegate_core::steer::{Gate, decide, exclusion};
use tidegate_core::{Decision, Dial, Exclusion, Health, RegionIdx, RegionSet, Standing, View};

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        Just(Health::Unknown),
        Just(Health::Healthy),
        Just(Health::Degraded),
        Just(Health::Unhealthy),
        Just(Health::Draining),
    ]
}

fn part() -> impl Strategy<Value = Dial> {
    prop_oneof![4 => Just(1.0), 1 => Just(0.0), 3 => 0.0..=1.0f64].prop_map(Dial::new)
}

fn standing() -> impl Strategy<Value = Standing> {
    let rarely = || prop::bool::weighted(0.2);
    (health(), rarely(), rarely(), part()).prop_map(|(health, suspected, probation, dial)| {
        Standing {
            health,
            suspected,
            probation,
            dial,
        }
    })
}

fn row() -> impl Strategy<Value = RegionRow> {
    let rarely = || prop::bool::weighted(0.1);
    let facts = (
        standing(),
        rarely(),
        0..4u32,
        rarely(),
        rarely(),
        rarely(),
        rarely(),
    );
    let places = (
        option::of(0..300u64),
        option::of(0.0..20_000.0f64),
        option::of(0.0..20_000.0f64),
        option::of(0..4u8),
    );
    let sizes = (
        0..5u32,
        0..4u16,
        prop_oneof![Just(0.0), 1.0..1_000.0f32],
        option::of(0.0..500.0f32),
    );
    let parts = (part(), part(), part(), part());
    let load = (0..1_000u32, option::of(0.0..2.0f32));
    (facts, places, sizes, parts, load).prop_map(|(facts, places, sizes, parts, load)| {
        let (standing, draining, endpoints, full, ailing, standby, cold) = facts;
        let (latency, distance_km, client_km, named) = places;
        let (weight, tier, capacity, spare) = sizes;
        let (dial, take, healthy, degraded) = parts;
        RegionRow {
            standing,
            draining,
            endpoints,
            full,
            ailing: ailing && endpoints == 0 && !full,
            latency: latency.map(Duration::from_millis),
            distance_km,
            client_km,
            named,
            weight,
            tier,
            standby,
            cold: cold && standby,
            dial,
            take,
            capacity,
            spare,
            healthy,
            degraded,
            load,
            ..RegionRow::new(RegionIdx(0), 0)
        }
    })
}

fn placed(mut rows: Vec<RegionRow>) -> Vec<RegionRow> {
    for (at, row) in rows.iter_mut().enumerate() {
        (row.region, row.position) = (RegionIdx(at as u8), at as u8);
        row.key = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(at as u64 + 1);
    }
    rows
}

fn rows() -> impl Strategy<Value = Vec<RegionRow>> {
    vec(row(), 1..MAX_REGIONS).prop_map(placed)
}

fn policy() -> impl Strategy<Value = Policy> {
    let absolute = (0..50u64).prop_map(|ms| Tolerance::Absolute(Duration::from_millis(ms)));
    let relative = (0.0..1.0f64).prop_map(Tolerance::Relative);
    let latency = prop_oneof![absolute, relative].prop_map(Policy::latency);
    let capacity = |spread| Just(Policy::Capacity { spread });
    prop_oneof![
        latency,
        Just(Policy::priority()),
        Just(Policy::weighted()),
        capacity(Spread::Waterfall),
        capacity(Spread::Spray),
        Just(Policy::Geo {
            rules: Box::default()
        }),
        Just(Policy::LeastLoad),
    ]
}

fn steering() -> impl Strategy<Value = Steering> {
    (policy(), option::of(0.0..=1.0f64)).prop_map(|(policy, fail_open)| Steering {
        panic: Panic {
            fail_open,
            fallback: None,
        },
        ..policy.into()
    })
}

fn regions() -> impl Strategy<Value = RegionSet> {
    let some = vec(0..MAX_REGIONS as u8, 0..MAX_REGIONS)
        .prop_map(|set| set.into_iter().map(RegionIdx).collect());
    prop_oneof![Just(RegionSet::ALL), some]
}

fn pin() -> impl Strategy<Value = Option<Pin>> {
    let by = prop_oneof![
        Just(PinnedBy::Override),
        Just(PinnedBy::Affinity(WhenGone::Rebind)),
        Just(PinnedBy::Affinity(WhenGone::Temporary)),
        Just(PinnedBy::Affinity(WhenGone::Strict)),
    ];
    let pin = (0..MAX_REGIONS as u8, by).prop_map(|(region, by)| Pin {
        region: RegionIdx(region),
        endpoint: None,
        by,
    });
    option::of(pin)
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![
        Just(Isolation::Off),
        Just(Isolation::Nearest),
        Just(Isolation::Strict)
    ]
}

fn eligibility() -> impl Strategy<Value = Eligibility> {
    let few =
        || vec(0..MAX_REGIONS as u8, 0..3).prop_map(|set| set.into_iter().map(RegionIdx).collect());
    let sets = (regions(), regions(), few(), few());
    (
        sets,
        any::<bool>(),
        isolation(),
        pin(),
        option::of(any::<u64>()),
    )
        .prop_map(
            |((allowed, within, tried, too_slow), repeatable, isolation, pin, sticky)| {
                Eligibility {
                    allowed,
                    within,
                    tried,
                    too_slow,
                    repeatable,
                    isolation,
                    pin,
                    sticky,
                }
            },
        )
}

fn decided(
    rows: &[RegionRow],
    steering: &Steering,
    eligibility: &Eligibility,
    seed: u64,
) -> Decision {
    let view = View {
        steering,
        rows: rows.iter().copied().collect(),
    };
    decide(&view, eligibility, &mut Rng::with_seed(seed))
}

/// How doubtful a candidate is, by what is told of it.
fn doubt(candidate: &Candidate) -> u8 {
    match candidate.because {
        Because::Panic => 3,
        Because::Suspected => 2,
        Because::HeldBack | Because::DialedDown | Because::Shed => 1,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn every_region_is_a_candidate_or_excluded_for_a_reason_that_holds(
        rows in rows(), steering in steering(), seed: u64, asked in eligibility(),
    ) {
        let eligibility = Eligibility { isolation: Isolation::Off, ..asked };
        let view = View { steering: &steering, rows: rows.iter().copied().collect() };
        let decision = decide(&view, &eligibility, &mut Rng::with_seed(seed));

        let listed = decision.candidates.iter().map(|c| c.region).chain(decision.excluded.iter().map(|e| e.region));
        let mut listed: Vec<_> = listed.collect();
        listed.sort();
        prop_assert_eq!(listed, rows.iter().map(|row| row.region).collect::<Vec<_>>());

        let gate = Gate::new(&view, &eligibility);
        prop_assert_eq!(gate.panic, decision.panic);
        for candidate in &decision.candidates {
            prop_assert_eq!(gate.exclusion(&rows[candidate.region.get()]), None);
        }
        for excluded in &decision.excluded {
            let row = &rows[excluded.region.get()];
            let weightless = steering.policy == Policy::weighted() && row.weight == 0 && eligibility.tried.is_empty();
            let expected = gate.exclusion(row).or(weightless.then_some(Exclusion::NoWeight));
            prop_assert_eq!(Some(excluded.why), expected);
        }
        let any_open = rows.iter().any(|row| gate.exclusion(row).is_none());
        prop_assert_eq!(any_open, !decision.candidates.is_empty(), "nobody is turned away in vain");
    }

    #[test]
    fn the_better_a_region_stands_the_earlier_it_comes(
        rows in rows(), steering in steering(), seed: u64, asked in eligibility(),
    ) {
        let eligibility = Eligibility { pin: None, ..asked };
        let decision = decided(&rows, &steering, &eligibility, seed);
        prop_assert!(decision.candidates.is_sorted_by_key(doubt), "{:?}", decision.candidates);
        for candidate in &decision.candidates {
            let row = &rows[candidate.region.get()];
            let standing = row.standing;
            let out = !standing.health.usable() || row.endpoints == 0;
            prop_assert_eq!(out, candidate.because == Because::Panic);
            prop_assert_eq!(!out && standing.suspected, candidate.because == Because::Suspected);
            let may_wait = standing.dial != Dial::FULL || standing.probation;
            prop_assert!(may_wait || candidate.because != Because::HeldBack);
            prop_assert!(eligibility.repeatable || candidate.because != Because::Probation);
            prop_assert!(row.take != Dial::FULL || candidate.because != Because::Shed);
            prop_assert!(row.dial != Dial::FULL || candidate.because != Because::DialedDown);
        }
    }

    #[test]
    fn no_policy_panic_pin_or_isolation_overrides_a_rule(
        rows in rows(), steering in steering(), seed: u64, eligibility in eligibility(),
    ) {
        let decision = decided(&rows, &steering, &eligibility, seed);
        for candidate in &decision.candidates {
            let row = &rows[candidate.region.get()];
            prop_assert!(eligibility.allowed.contains(candidate.region), "residency");
            prop_assert!(eligibility.within.contains(candidate.region));
            prop_assert!(!eligibility.tried.contains(candidate.region));
            prop_assert!(!row.draining && row.standing.health != Health::Draining && !row.cold);
            prop_assert!(row.dial != Dial::NONE && !row.full);
            let usable = row.standing.health.usable() && row.endpoints > 0;
            prop_assert!(usable || decision.panic && candidate.because == Because::Panic);
        }
        if let Some(Pin { region, by: PinnedBy::Affinity(WhenGone::Strict), .. }) = eligibility.pin {
            prop_assert!(decision.candidates.iter().all(|one| one.region == region));
        }
        if eligibility.isolation == Isolation::Strict {
            prop_assert!(decision.candidates.len() <= 1);
        }
        let all = rows.iter().all(|row| exclusion(row, &eligibility) == Some(Exclusion::Residency));
        let blocked = decision.termination() == tidegate_core::Termination::ResidencyBlocked;
        prop_assert!(!all || blocked && decision.candidates.is_empty());
    }

    #[test]
    fn the_same_seed_decides_alike_and_the_same_hash_whatever_the_seed(
        rows in rows(), steering in steering(), eligibility in eligibility(), seeds: [u64; 2],
    ) {
        let decide = |seed| decided(&rows, &steering, &eligibility, seed);
        prop_assert_eq!(decide(seeds[0]), decide(seeds[0]));
        if eligibility.sticky.is_some() {
            prop_assert_eq!(decide(seeds[0]), decide(seeds[1]));
        }
    }

    #[test]
    fn a_region_that_goes_moves_only_its_own_clients(
        weights in vec(0..100u32, 2..12), gone in 0..12usize, hashes in vec(any::<u64>(), 200),
    ) {
        let rows: Vec<_> = weights.iter().map(|&weight| RegionRow { weight, ..RegionRow::new(RegionIdx(0), 0) }).collect();
        let rows = placed(rows);
        let mut without = rows.clone();
        without[gone % rows.len()].standing.health = Health::Unhealthy;
        let steering = Policy::weighted().into();
        let first = |rows: &[RegionRow], hash| {
            let eligibility = Eligibility { sticky: Some(hash), ..Eligibility::ANY };
            decided(rows, &steering, &eligibility, 1).candidates.first().map(|one| one.region.get())
        };
        for hash in hashes {
            let (before, after) = (first(&rows, hash), first(&without, hash));
            prop_assert!(before == after || before == Some(gone % rows.len()));
        }
    }
}

/// Of so many decisions, how many put the region at 0 first.
fn firsts(rows: &[RegionRow], steering: &Steering, sticky: bool) -> f64 {
    const DRAWS: u64 = 4_000;
    let first = |seed: &u64| {
        let hash = seed.wrapping_mul(0xD134_2543_DE82_EF95);
        let eligibility = Eligibility {
            sticky: sticky.then_some(hash),
            ..Eligibility::ANY
        };
        let decision = decided(rows, steering, &eligibility, *seed);
        decision.candidates.first().map(|one| one.region) == Some(RegionIdx(0))
    };
    (0..DRAWS).filter(first).count() as f64 / DRAWS as f64
}

/// Regions that are in order, and differ in what shares hang on. Nothing of them is degraded: where only one
/// of a tier has degraded endpoints and the healthy ones do not suffice, those of that one carry what is left,
/// so that it gets more of it the less is healthy.
fn sound() -> impl Strategy<Value = Vec<RegionRow>> {
    let row = row().prop_map(|row| RegionRow {
        standing: Standing::full(Health::Healthy),
        draining: false,
        endpoints: 1,
        full: false,
        ailing: false,
        weight: row.weight + 1,
        degraded: Dial::NONE,
        ..row
    });
    vec(row, 2..5).prop_map(placed)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn shares_follow_weight_and_dial(weights in vec(1..100u32, 2..6), dial in 0.05..=1.0f64, sticky: bool) {
        let row = |&weight: &u32| RegionRow { weight, ..RegionRow::new(RegionIdx(0), 0) };
        let mut rows = placed(weights.iter().map(row).collect());
        rows[0].dial = Dial::new(dial);
        let expected = dial * f64::from(weights[0]) / f64::from(weights.iter().sum::<u32>());
        let share = firsts(&rows, &Policy::weighted().into(), sticky);
        prop_assert!((share - expected).abs() < 0.04, "{} is not {}", share, expected);
    }

    #[test]
    fn shares_follow_capacity_and_what_of_it_is_taken(
        sizes in vec(1.0..100.0f32, 2..6), take in 0.0..=1.0f64, sticky: bool,
    ) {
        let row = |&capacity: &f32| RegionRow { capacity, ..RegionRow::new(RegionIdx(0), 0) };
        let mut rows = placed(sizes.iter().map(row).collect());
        rows[0].take = Dial::new(take);
        let spray = Policy::Capacity { spread: Spread::Spray }.into();
        let expected = take * f64::from(sizes[0] / sizes.iter().sum::<f32>());
        let share = firsts(&rows, &spray, sticky);
        prop_assert!((share - expected).abs() < 0.04, "{} is not {}", share, expected);
    }

    #[test]
    fn worse_health_never_attracts_more(
        rows in sound(), policy in policy(), worse in 0..5u8, by in 0.0..1.0f64,
    ) {
        let mut sicker = rows.clone();
        let row = &mut sicker[0];
        match worse {
            0 => row.standing.health = Health::Unhealthy,
            1 => row.standing.suspected = true,
            2 => row.standing.dial = Dial::new(by),
            3 => (row.standing.health, row.healthy, row.degraded) = (Health::Degraded, Dial::NONE, row.healthy),
            _ => row.healthy = Dial::new(row.healthy.share() * by),
        }
        let steering = policy.into();
        let (before, after) = (firsts(&rows, &steering, false), firsts(&sicker, &steering, false));
        prop_assert!(after <= before + 0.04, "{} after {}", after, before);
    }
}
