//! Splits: shares follow weights, and a change of weights moves the difference and nothing else.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::UpstreamIdx;
use tidegate_core::hash::xxh64;
use tidegate_core::plan::{Split, SplitTarget};

const NAMES: [&str; 6] = ["stable", "canary", "next", "old", "shop-eu", "shop-us"];

fn split(weights: &[u32]) -> Split {
    let target = |(at, &weight): (usize, &u32)| SplitTarget {
        upstream: UpstreamIdx(at as u16),
        weight,
    };
    Split {
        targets: weights.iter().enumerate().map(target).collect(),
        hash_on: Box::default(),
    }
}

fn pick(split: &Split, hash: u64) -> Option<usize> {
    let picked = split.pick(hash, |upstream| NAMES[upstream.get()]);
    picked.map(UpstreamIdx::get)
}

fn hashes(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|at: u64| xxh64(7, &at.to_le_bytes()))
}

/// The share of each target among so many clients.
fn shares(weights: &[u32], clients: u64) -> Vec<f64> {
    let split = split(weights);
    let mut counts = vec![0_u64; weights.len()];
    for hash in hashes(clients) {
        counts[pick(&split, hash).expect("a target")] += 1;
    }
    let share = |count: &u64| *count as f64 / clients as f64;
    counts.iter().map(share).collect()
}

/// No farther from the weight's share than four standard deviations of an honest draw.
fn check(weights: &[u32], clients: u64) {
    let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    for (weight, found) in weights.iter().zip(shares(weights, clients)) {
        let share = f64::from(*weight) / sum;
        let bound = 4.0 * (share * (1.0 - share) / clients as f64).sqrt();
        assert!((found - share).abs() <= bound, "{weights:?}: {found}");
    }
}

#[test]
fn shares_are_those_of_the_weights() {
    check(&[1], 1_000);
    check(&[95, 5], 200_000);
    check(&[0, 5, 0], 1_000);
    check(&[1, 1, 1, 1], 100_000);
    check(&[999, 1], 200_000);
    check(&[1_000_000, 250_000, 3], 100_000);
}

#[test]
fn a_share_is_within_one_in_ten_thousand() {
    for (share, expected) in shares(&[99, 1], 4_000_000).iter().zip([0.99, 0.01]) {
        assert!((share - expected).abs() < 1e-4, "{share}");
    }
}

/// Another function, or another use of it, would move clients with an upgrade.
#[test]
fn clients_keep_their_upstream_from_version_to_version() {
    let split = split(&[50, 30, 20]);
    let picks: String = hashes(40)
        .filter_map(|hash| pick(&split, hash))
        .map(|at| char::from(b'0' + at as u8))
        .collect();
    assert_eq!(picks, "0011220200121002101021120101100001001000");
}

#[test]
fn without_any_weight_nothing_is_picked() {
    assert_eq!(pick(&split(&[0, 0]), 1), None);
    assert_eq!(pick(&split(&[]), 1), None);
}

#[test]
fn order_and_new_neighbours_without_weight_move_nobody() {
    let (split, mut turned) = (split(&[90, 10, 30]), split(&[90, 10, 30, 0]));
    turned.targets.reverse();
    assert!(hashes(10_000).all(|hash| pick(&split, hash) == pick(&turned, hash)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// Whoever moves goes to the target that gained, or leaves the one that lost; and between two targets
    /// nothing but the difference of their shares moves.
    #[test]
    fn a_change_of_one_weight_moves_only_to_it_or_from_it(
        weights in vec(0..100u32, 2..6),
        at in 0..6usize,
        weight in 0..100u32,
    ) {
        const CLIENTS: u64 = 2_000;
        let at = at % weights.len();
        let mut changed = weights.clone();
        changed[at] = weight;
        let (before, after) = (split(&weights), split(&changed));
        let mut moved = 0;
        for hash in hashes(CLIENTS) {
            let (from, to) = (pick(&before, hash), pick(&after, hash));
            if from == to || from.is_none() || to.is_none() {
                continue;
            }
            moved += 1;
            match weight > weights[at] {
                true => prop_assert_eq!(to, Some(at)),
                false => prop_assert_eq!(from, Some(at)),
            }
        }
        let share = |weights: &[u32]| {
            let sum: u32 = weights.iter().sum();
            f64::from(weights[at]) / f64::from(sum.max(1))
        };
        let difference = (share(&changed) - share(&weights)).abs();
        let bound = difference + 5.0 * (difference / CLIENTS as f64).sqrt() + 1e-3;
        prop_assert!(moved as f64 / CLIENTS as f64 <= bound, "{} moved, {}", moved, difference);
    }

    /// A weight of 0 gets nothing, whatever the others are.
    #[test]
    fn a_weight_of_zero_gets_nothing(weights in vec(0..3u32, 1..6), hash: u64) {
        if let Some(at) = pick(&split(&weights), hash) {
            prop_assert!(weights[at] > 0);
        }
    }
}
