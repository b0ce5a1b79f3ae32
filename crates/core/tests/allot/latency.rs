//! Latencies that waver move nobody.

use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;
use tidegate_core::plan::{Policy, Tolerance};
use tidegate_core::{Allotter, Ask, RegionIdx, RegionSet, choose};

use crate::support::{UPSTREAM, World};

/// So far apart are measurements that nothing is left of the one before in their average.
const APART: Duration = Duration::from_secs(200);

/// Two regions, the order that steering puts them in, and the latencies that it compares, after each
/// pair of measurements in microseconds.
fn follow(hysteresis: Tolerance, measured: &[(f64, f64)]) -> Vec<(RegionIdx, [f64; 2])> {
    let policy = Policy::Latency {
        tolerance: Tolerance::Absolute(Duration::ZERO),
        hysteresis,
    };
    let world = World::new(policy.into(), &[1, 1]);
    let ((wanted, live), mut allotter) = (world.live.upstream(UPSTREAM), Allotter::default());
    let mut now = world.now;
    let step = |&(a, b): &(f64, f64)| {
        now += APART;
        for (region, us) in live.regions.iter().zip([a, b]) {
            let took = Duration::from_secs_f64(us / 1e6);
            region.cell.observe_rtt(took, now);
        }
        allotter.look(wanted, live, now);
        let ask = Ask::new(RegionSet::ALL, now);
        let decision = choose(world.live.upstream(UPSTREAM), &ask, &mut Rng::with_seed(1)).0;
        let held = [0, 1].map(|at| {
            let held = live.regions[at].cell.allotment().latency;
            held.expect("it was measured").as_secs_f64() * 1e6
        });
        (decision.candidates[0].region, held)
    };
    measured.iter().map(step).collect()
}

/// Measurements that stray by at most so much, either way, from what they are of.
fn straying(part: f64) -> impl Strategy<Value = Vec<(f64, f64)>> {
    let stray = move || 1.0 - part..1.0 + part;
    let bases = (1_000.0..200_000.0, 1_000.0..200_000.0f64);
    (bases, prop::collection::vec((stray(), stray()), 1..60)).prop_map(|((a, b), strays)| {
        let pairs = strays.into_iter();
        pairs.map(|(x, y)| (a * x, b * y)).collect()
    })
}

/// Measurements may stray by so much either way without differing by more than 5 % of any of them.
const WITHIN: f64 = 0.024;

proptest! {
    #[test]
    fn noise_below_the_hysteresis_never_changes_the_order(measured in straying(WITHIN)) {
        let seen = follow(Tolerance::Relative(0.05), &measured);
        prop_assert!(seen.iter().all(|one| one == &seen[0]), "{seen:?}");
    }

    #[test]
    fn it_changes_at_most_as_often_as_measurements_go_the_hysteresis(measured in straying(0.5)) {
        let seen = follow(Tolerance::Relative(0.05), &measured);
        let (mut changes, mut ways) = (0, [0.0, 0.0f64]);
        let least = measured.iter().fold([f64::INFINITY; 2], |least, (a, b)| {
            [least[0].min(*a), least[1].min(*b)]
        });
        for (two, pairs) in seen.windows(2).zip(measured.windows(2)) {
            changes += usize::from(two[0].0 != two[1].0);
            ways[0] += (pairs[0].0 - pairs[1].0).abs() / least[0];
            ways[1] += (pairs[0].1 - pairs[1].1).abs() / least[1];
        }
        let most = (ways[0] + ways[1]) / 0.05 + 0.01;
        prop_assert!(changes as f64 <= most, "{changes} changes, at most {most}");
    }

    #[test]
    fn what_counts_was_measured_and_is_near_what_is(measured in straying(0.9)) {
        for (pair, (_, held)) in measured.iter().zip(follow(Tolerance::Relative(0.05), &measured)) {
            for (measured, held) in [pair.0, pair.1].into_iter().zip(held) {
                let width = (0.0502 * held).max(500.5);
                prop_assert!((measured - held).abs() <= width, "{measured} {held}");
            }
        }
    }
}

#[test]
fn without_hysteresis_noise_does_change_the_order() {
    let measured = [
        (10_000.0, 10_100.0),
        (10_200.0, 10_100.0),
        (10_000.0, 10_100.0),
    ];
    let firsts = |hysteresis| -> Vec<u8> {
        let seen = follow(hysteresis, &measured);
        seen.iter().map(|(first, _)| first.0).collect()
    };
    assert_eq!(firsts(Tolerance::Relative(0.0)), [0, 1, 0]);
    assert_eq!(firsts(Tolerance::Relative(0.05)), [0, 0, 0]);
    assert_eq!(
        firsts(Tolerance::Absolute(Duration::from_micros(300))),
        [0, 0, 0]
    );
}
