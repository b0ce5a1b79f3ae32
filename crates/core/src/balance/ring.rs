//! A ring of points on which a request's hash finds its endpoint (Karger et al., "Consistent hashing
//! and random trees", STOC 1997; the number of points is Ketama's).
//!
//! An endpoint's points depend on its address alone, and their number on its weight alone as long as
//! the ring stays within its bounds. So an endpoint that comes or goes takes or leaves its own keys
//! and moves no other. `pingora-ketama` was looked at: it takes socket addresses and no names, hashes
//! to 32 bits, has no bounds on the ring (weights of 1000 would make it 160,000 points an endpoint)
//! and hashes the key itself. Points are where Envoy has them: XXH64 of `address_n`.

use std::fmt::Write;

use crate::hash::xxh64;
use crate::plan::RingHash;

/// Points for each unit of weight: Ketama's. Shares are within about 8 % of what weights say.
const POINTS: f64 = 160.0;

/// Points in order, and whose each is.
#[derive(Debug)]
pub(super) struct Ring {
    points: Box<[u64]>,
    owners: Box<[u32]>,
}

impl Ring {
    /// The ring of these addresses and weights.
    pub(super) fn new(members: &[(&str, u32)], policy: &RingHash) -> Self {
        let total: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let least = (f64::from(policy.minimum_ring_size) / total).ceil();
        let most = f64::from(policy.maximum_ring_size) / total;
        Self::with_points(members, POINTS.max(least).min(most))
    }

    /// With so many points for each unit of weight, rounded for each member and at least one.
    fn with_points(members: &[(&str, u32)], per_weight: f64) -> Self {
        let mut all = Vec::new();
        let mut name = String::new();
        for (owner, (address, weight)) in members.iter().enumerate() {
            let points = (f64::from(*weight) * per_weight).round().max(1.0) as u32;
            all.extend((0..points).map(|n| {
                name.clear();
                // Writing to a string cannot fail.
                let _ = write!(name, "{address}_{n}");
                (xxh64(0, name.as_bytes()), owner as u32)
            }));
        }
        all.sort_unstable();
        Self {
            points: all.iter().map(|(point, _)| *point).collect(),
            owners: all.iter().map(|(_, owner)| *owner).collect(),
        }
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The number of the first point at or after `hash`.
    pub(super) fn find(&self, hash: u64) -> usize {
        let at = self.points.partition_point(|point| *point < hash);
        if at == self.points.len() { 0 } else { at }
    }

    /// Whose point the one of this number is.
    pub(super) fn owner(&self, point: usize) -> usize {
        self.owners[point] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Hashing;

    fn policy(minimum_ring_size: u32, maximum_ring_size: u32) -> RingHash {
        RingHash {
            minimum_ring_size,
            maximum_ring_size,
            hashing: Hashing::default(),
        }
    }

    /// Ports of 127.0.0.1, as in Envoy's tests.
    fn check_points(ports: &[u32], per_weight: f64, expected: &[(u32, u64)]) -> Ring {
        let names: Vec<_> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let members: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let ring = Ring::with_points(&members, per_weight);
        let points = (0..ring.len()).map(|point| (ports[ring.owner(point)], ring.points[point]));
        assert_eq!(points.collect::<Vec<_>>(), expected);
        ring
    }

    #[test]
    fn points_are_those_of_envoy() {
        let ring = check_points(
            &[90, 91, 92, 93, 94, 95],
            2.0,
            &[
                (94, 833_437_586_790_550_860),
                (92, 928_266_305_478_181_108),
                (90, 1_033_482_794_131_418_490),
                (95, 3_551_244_743_356_806_947),
                (93, 3_851_675_632_748_031_481),
                (91, 5_583_722_120_771_150_861),
                (91, 6_311_230_543_546_372_928),
                (93, 7_700_377_290_971_790_572),
                (95, 13_144_177_310_400_110_813),
                (92, 13_444_792_449_719_432_967),
                (94, 15_516_499_411_664_133_160),
                (90, 16_117_243_373_044_804_889),
            ],
        );
        for (hash, port) in [
            (0, 94),
            (u64::MAX, 94),
            (3_551_244_743_356_806_947, 95),
            (3_551_244_743_356_806_948, 93),
            (16_117_243_373_044_804_880, 90),
        ] {
            assert_eq!(ring.owner(ring.find(hash)) + 90, port, "{hash}");
        }
        check_points(
            &[80, 81],
            2.0,
            &[
                (80, 5_454_692_015_285_649_509),
                (81, 7_859_399_908_942_313_493),
                (80, 13_838_424_394_637_650_569),
                (81, 16_064_866_803_292_627_174),
            ],
        );
    }

    #[test]
    fn a_ring_has_points_by_weight_within_its_bounds() {
        let check = |weights: &[u32], min, max, expected: &[usize]| {
            let names: Vec<_> = (0..weights.len())
                .map(|n| format!("10.0.0.{n}:80"))
                .collect();
            let members = names
                .iter()
                .map(String::as_str)
                .zip(weights.iter().copied());
            let ring = Ring::new(&members.collect::<Vec<_>>(), &policy(min, max));
            let mut counts = vec![0; weights.len()];
            (0..ring.len()).for_each(|point| counts[ring.owner(point)] += 1);
            assert_eq!(counts, expected, "{weights:?} {min} {max}");
        };
        check(&[1, 1, 2], 1, 1 << 20, &[160, 160, 320]);
        check(&[1, 1, 2], 1_024, 1 << 20, &[256, 256, 512]);
        check(&[1, 1, 2], 1, 40, &[10, 10, 20]);
        check(&[1, 1000], 1, 100, &[1, 100]);
        check(&[1; 3], 1_000, 1 << 20, &[334; 3]);
    }
}
