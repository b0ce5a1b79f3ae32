//! What part of the load each tier of `priority` takes, from how much of each is usable.
//!
//! The rule is Envoy's (ALGORITHMS 5.1), because people have learnt to reckon with it: a tier keeps
//! everything as long as what is healthy of it, overprovisioned, suffices; what it lacks goes to the
//! next tiers, and degraded endpoints serve once all healthy ones together do not suffice. Two things
//! differ. Envoy reckons in whole percent, so that a tier of which 71.4 % are well takes 99 %; here it
//! takes 99.96 %. And Envoy takes every tier to be as large as the first; here a tier of half the
//! size takes half as much. Nothing here draws, allocates or remembers.

use arrayvec::ArrayVec;

use crate::ids::MAX_REGIONS;

/// What steering knows of one tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tier {
    /// The part of it that is usable and not degraded, 0 to 1.
    pub healthy: f64,
    /// The part of it that is usable but degraded, 0 to 1.
    pub degraded: f64,
    /// Its size in any unit, the same for all: requests a second. 0 or below: not told.
    pub capacity: f64,
}

/// The part of the load that a tier takes, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TierLoad {
    /// What its healthy endpoints take.
    pub healthy: f64,
    /// What its degraded endpoints take.
    pub degraded: f64,
}

/// Which endpoints of a tier take an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
}

/// The loads of all tiers, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TierLoads(ArrayVec<TierLoad, MAX_REGIONS>);

impl TierLoads {
    /// The loads of `tiers`, best first. They sum up to 1; to 0 if nothing is usable.
    ///
    /// `overprovisioning`, 1 or more, says how much more than its part a healthy endpoint can carry.
    /// Sizes are relative to the first tier, which is taken to be made for all of the load: so tiers
    /// that are out belong into `tiers` as well, with nothing usable. If one does not tell its size,
    /// all count alike. Of more than [`MAX_REGIONS`] tiers, the rest is ignored.
    pub fn of(tiers: &[Tier], overprovisioning: f64) -> Self {
        let tiers = &tiers[..tiers.len().min(MAX_REGIONS)];
        let told = tiers.iter().all(|tier| tier.capacity > 0.0);
        let carries = |tier: &Tier, part: f64| {
            let size = if told {
                tier.capacity / tiers[0].capacity
            } else {
                1.0
            };
            (part.clamp(0.0, 1.0) * overprovisioning * size).clamp(0.0, 1.0)
        };
        let carried = tiers.iter().map(|tier| TierLoad {
            healthy: carries(tier, tier.healthy),
            degraded: carries(tier, tier.degraded),
        });
        let mut loads = Self(carried.collect());
        loads.fill();
        loads
    }

    /// From what each tier can carry to what it takes.
    fn fill(&mut self) {
        let all: f64 = self.0.iter().map(TierLoad::total).sum();
        let scale = if all > 0.0 { all.min(1.0).recip() } else { 0.0 };
        let mut left = 1.0;
        let mut take = |part: &mut f64| {
            *part = (*part * scale).min(left);
            left -= *part;
        };
        self.0.iter_mut().for_each(|load| take(&mut load.healthy));
        self.0.iter_mut().for_each(|load| take(&mut load.degraded));
    }

    /// Per tier.
    pub fn as_slice(&self) -> &[TierLoad] {
        &self.0
    }

    /// The tier, and what of it, for an attempt for which `draw` was drawn evenly from 0 to 1, 1
    /// excluded. None if nothing is usable.
    pub fn pick(&self, draw: f64) -> Option<(usize, Grade)> {
        let healthy = self.0.iter().map(|load| (load.healthy, Grade::Healthy));
        let degraded = self.0.iter().map(|load| (load.degraded, Grade::Degraded));
        let passes = healthy.enumerate().chain(degraded.enumerate());
        let mut last = None;
        let mut below = 0.0;
        for (tier, (load, grade)) in passes.filter(|(_, (load, _))| *load > 0.0) {
            last = Some((tier, grade));
            below += load;
            if draw < below {
                break;
            }
        }
        // What sums miss of 1 by rounding falls to the last.
        last
    }
}

impl TierLoad {
    /// What the tier takes, all in all.
    pub fn total(&self) -> f64 {
        self.healthy + self.degraded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiers of one size, from percent.
    fn tiers(healthy: &[f64], degraded: &[f64]) -> Vec<Tier> {
        let degraded = degraded.iter().copied().chain(std::iter::repeat(0.0));
        let pairs = healthy.iter().zip(degraded);
        let tier = |(healthy, degraded): (&f64, f64)| Tier {
            healthy: healthy / 100.0,
            degraded: degraded / 100.0,
            capacity: 0.0,
        };
        pairs.map(tier).collect()
    }

    /// Envoy's own reckoning, in whole percent, with its overprovisioning of 140.
    fn envoy(healthy: &[u64], degraded: &[u64]) -> [Vec<u64>; 2] {
        let carried = |parts: &[u64]| -> Vec<u64> {
            parts
                .iter()
                .map(|part| (part * 140 / 100).min(100))
                .collect()
        };
        let (healthy, degraded) = (carried(healthy), carried(degraded));
        let norm = healthy.iter().chain(&degraded).sum::<u64>().min(100);
        let mut left = 100;
        let mut take = |carried: &[u64]| -> Vec<u64> {
            let one = |part: &u64| {
                let load = (part * 100 / norm).min(left);
                left -= load;
                load
            };
            carried.iter().map(one).collect()
        };
        let mut loads = [take(&healthy), take(&degraded)];
        match healthy.iter().position(|part| *part > 0) {
            Some(first) => loads[0][first] += left,
            None => loads[1][degraded.iter().position(|part| *part > 0).expect("one")] += left,
        }
        loads
    }

    /// Percent in: what Envoy makes of them, and what we do, healthy and degraded in turn.
    fn check(parts: [&[u64]; 2], in_envoy: [&[u64]; 2], ours: [&[f64]; 2]) {
        assert_eq!(envoy(parts[0], parts[1]), in_envoy.map(<[u64]>::to_vec));
        let of = |parts: &[u64]| -> Vec<f64> { parts.iter().map(|part| *part as f64).collect() };
        let loads = TierLoads::of(&tiers(&of(parts[0]), &of(parts[1])), 1.4);
        for (at, load) in loads.as_slice().iter().enumerate() {
            let degraded = ours[1].get(at).copied().unwrap_or(0.0);
            let off = (load.healthy * 100.0 - ours[0][at]).abs();
            let off = off.max((load.degraded * 100.0 - degraded).abs());
            assert!(off < 1e-9, "{parts:?}: {loads:?}");
        }
    }

    /// The same without anything degraded.
    fn check_healthy(parts: &[u64], in_envoy: &[u64], ours: &[f64]) {
        check([parts, &[]], [in_envoy, &[]], [ours, &[]]);
    }

    #[test]
    fn loads_are_those_of_envoy_but_for_its_rounding() {
        check_healthy(&[100, 100], &[100, 0], &[100.0, 0.0]);
        check_healthy(&[72, 100], &[100, 0], &[100.0, 0.0]);
        check_healthy(&[71, 100], &[99, 1], &[99.4, 0.6]);
        check_healthy(&[50, 100], &[70, 30], &[70.0, 30.0]);
        check_healthy(&[25, 100], &[35, 65], &[35.0, 65.0]);
        check_healthy(&[25, 25], &[50, 50], &[50.0, 50.0]);
        check_healthy(&[25, 25, 100], &[35, 35, 30], &[35.0, 35.0, 30.0]);
        let (a, b) = (3500.0 / 98.0, 2800.0 / 98.0);
        check_healthy(&[25, 25, 20], &[37, 35, 28], &[a, a, b]);
        check_healthy(&[0, 1], &[0, 100], &[0.0, 100.0]);
    }

    #[test]
    fn the_degraded_serve_once_the_healthy_do_not_suffice() {
        let part = |percent: f64| percent * 1.4 / 0.98;
        check(
            [&[10, 20, 10], &[20, 10, 0]],
            [&[16, 28, 14], &[28, 14, 0]],
            [
                &[part(10.0), part(20.0), part(10.0)],
                &[part(20.0), part(10.0), 0.0],
            ],
        );
        check(
            [&[0, 100], &[100, 0]],
            [&[0, 100], &[0, 0]],
            [&[0.0, 100.0], &[]],
        );
        check(
            [&[0, 0], &[30, 0]],
            [&[0, 0], &[100, 0]],
            [&[0.0, 0.0], &[100.0]],
        );
        check(
            [&[50, 0], &[50, 0]],
            [&[70, 0], &[30, 0]],
            [&[70.0, 0.0], &[30.0]],
        );
    }

    #[test]
    fn spill_begins_without_a_step() {
        let first = |healthy| {
            let loads = TierLoads::of(&tiers(&[healthy, 100.0], &[]), 1.4);
            loads.as_slice()[0].healthy
        };
        assert_eq!(first(100.0 / 1.4 + 1e-6), 1.0);
        assert!((first(71.42) - 0.999_88).abs() < 1e-9);
        assert!((first(71.0) - first(70.99) - 1.4e-4).abs() < 1e-9);
    }

    /// Sizes and healthy parts in, loads out.
    fn check_sizes(sizes: &[f64], healthy: &[f64], expected: &[f64]) {
        let tier = |(capacity, healthy): (&f64, &f64)| Tier {
            healthy: *healthy,
            degraded: 0.0,
            capacity: *capacity,
        };
        let tiers: Vec<Tier> = sizes.iter().zip(healthy).map(tier).collect();
        let loads = TierLoads::of(&tiers, 1.4);
        for (load, expected) in loads.as_slice().iter().zip(expected) {
            assert!(
                (load.total() - expected).abs() < 1e-9,
                "{sizes:?}: {loads:?}"
            );
        }
    }

    #[test]
    fn a_smaller_tier_carries_less() {
        check_sizes(&[1000.0, 500.0, 1000.0], &[0.0, 1.0, 1.0], &[0.0, 0.7, 0.3]);
        check_sizes(
            &[1000.0, 100.0, 1000.0],
            &[0.5, 1.0, 1.0],
            &[0.7, 0.14, 0.16],
        );
        check_sizes(&[1000.0, 4000.0], &[0.5, 0.1], &[0.7, 0.3]);
        check_sizes(&[1000.0, 500.0], &[0.0, 1.0], &[0.0, 1.0]);
        check_sizes(&[1000.0, 0.0, 1000.0], &[0.0, 1.0, 1.0], &[0.0, 1.0, 0.0]);
    }

    #[test]
    fn nothing_usable_takes_nothing() {
        for parts in [&[][..], &[0.0, 0.0]] {
            let loads = TierLoads::of(&tiers(parts, &[]), 1.4);
            assert!(loads.as_slice().iter().all(|load| load.total() == 0.0));
            assert_eq!(loads.pick(0.5), None);
        }
    }

    #[test]
    fn draws_pick_by_load() {
        let loads = TierLoads::of(&tiers(&[25.0, 25.0], &[0.0, 100.0]), 1.4);
        let check = |draw, tier, grade| assert_eq!(loads.pick(draw), Some((tier, grade)), "{draw}");
        check(0.0, 0, Grade::Healthy);
        check(0.349_9, 0, Grade::Healthy);
        check(0.350_1, 1, Grade::Healthy);
        check(0.699_9, 1, Grade::Healthy);
        check(0.700_1, 1, Grade::Degraded);
        check(1.0, 1, Grade::Degraded);
    }
}
