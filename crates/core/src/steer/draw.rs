//! Where regions share: by chance, or by what keeps a client's requests together.
//!
//! A sticky draw is a function of the request's hash, the region and what is drawn for, and of nothing
//! else. So the same client gets the same place while nothing changes, and a change of one region's
//! share moves only the clients that it gains or loses (weighted rendezvous hashing: each region's
//! share has its own exponential draw, the least wins). Whoever can choose the key can choose the
//! region; it is no secret and keeps nobody out.

use arrayvec::ArrayVec;
use fastrand::Rng;

use crate::decision::RegionRow;
use crate::hash::{mixed, unit};
use crate::ids::MAX_REGIONS;
use crate::standing::Dial;

/// What a draw is for: those of one request must not hang together.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Place = 1,
    Ramp,
    Dial,
    Take,
    Tier,
}

/// Where draws come from.
pub(super) enum Draws<'a> {
    Chance(&'a mut Rng),
    Sticky(u64),
}

impl<'a> Draws<'a> {
    pub(super) fn new(sticky: Option<u64>, rng: &'a mut Rng) -> Self {
        sticky.map_or(Self::Chance(rng), Self::Sticky)
    }

    pub(super) fn is_sticky(&self) -> bool {
        matches!(self, Self::Sticky(_))
    }

    /// Evenly from 0 to 1, 1 excluded.
    pub(super) fn part(&mut self, key: u64, purpose: Purpose) -> f64 {
        match self {
            Self::Chance(rng) => rng.f64(),
            Self::Sticky(hash) => evenly(*hash, key, purpose),
        }
    }

    /// Whether the attempt is of the part that `dial` lets pass. Draws only if that is not all.
    pub(super) fn passes(&mut self, dial: Dial, row: &RegionRow, purpose: Purpose) -> bool {
        dial == Dial::FULL || dial.passes(self.part(row.key, purpose))
    }

    /// Puts `rows` into an order drawn by share without replacement. Those without a share come last, as
    /// they are.
    pub(super) fn order(&mut self, rows: &mut [&RegionRow], share: impl Fn(&RegionRow) -> f64) {
        match self {
            _ if rows.len() < 2 => {}
            Self::Chance(rng) => order_by_chance(rows, share, rng),
            Self::Sticky(hash) => order_by_hash(rows, share, *hash),
        }
    }
}

fn order_by_chance(rows: &mut [&RegionRow], share: impl Fn(&RegionRow) -> f64, rng: &mut Rng) {
    for next in 0..rows.len() - 1 {
        let rest = &mut rows[next..];
        let total: f64 = rest.iter().map(|row| share(row)).sum();
        if total <= 0.0 {
            return;
        }
        let mut left = rng.f64() * total;
        let mut drawn = 0;
        for (at, row) in rest.iter().enumerate() {
            let here = share(row);
            if here > 0.0 {
                drawn = at;
                if left < here {
                    break;
                }
            }
            left -= here;
        }
        rest[..=drawn].rotate_right(1);
    }
}

fn order_by_hash(rows: &mut [&RegionRow], share: impl Fn(&RegionRow) -> f64, hash: u64) {
    let key = |row: &RegionRow| match share(row) {
        share if share > 0.0 => -(1.0 - evenly(hash, row.key, Purpose::Place)).ln() / share,
        _ => f64::INFINITY,
    };
    let keyed = rows.iter().map(|row| (key(row), *row));
    let mut keyed: ArrayVec<(f64, &RegionRow), MAX_REGIONS> = keyed.collect();
    keyed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.position.cmp(&b.1.position)));
    for (place, (_, row)) in rows.iter_mut().zip(keyed) {
        *place = row;
    }
}

/// Each step is mixed on its own, so that keys and purposes that lie close together, or hang together in
/// a simple way, draw apart.
fn evenly(hash: u64, key: u64, purpose: Purpose) -> f64 {
    let place = mixed(key ^ mixed(purpose as u64));
    unit(mixed(hash ^ place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RegionIdx;

    const DRAWS: u64 = 40_000;

    fn rows(weights: &[u32]) -> Vec<RegionRow> {
        let row = |(at, &weight): (usize, &u32)| RegionRow {
            weight,
            key: mixed(at as u64 + 1),
            ..RegionRow::new(RegionIdx(at as u8), at as u8)
        };
        weights.iter().enumerate().map(row).collect()
    }

    fn weight(row: &RegionRow) -> f64 {
        f64::from(row.weight)
    }

    /// How often each region comes first, by hash or by chance.
    fn firsts(rows: &[RegionRow], sticky: bool) -> Vec<u64> {
        let (mut rng, mut counts) = (Rng::with_seed(1), vec![0; rows.len()]);
        for hash in 0..DRAWS {
            let mut order: Vec<_> = rows.iter().collect();
            Draws::new(sticky.then_some(hash), &mut rng).order(&mut order, weight);
            counts[order[0].region.get()] += 1;
        }
        counts
    }

    fn check(weights: &[u32]) {
        let total: u32 = weights.iter().sum();
        for sticky in [false, true] {
            let counts = firsts(&rows(weights), sticky);
            for (count, weight) in counts.iter().zip(weights) {
                let expected = DRAWS as f64 * f64::from(*weight) / f64::from(total.max(1));
                let off = (*count as f64 - expected).abs();
                assert!(
                    total == 0 || off < 5.0 * expected.sqrt() + 1.0,
                    "{weights:?} -> {counts:?}"
                );
            }
        }
    }

    #[test]
    fn shares_follow_weights_by_hash_as_by_chance() {
        check(&[1]);
        check(&[1, 1]);
        check(&[70, 20, 10]);
        check(&[0, 3, 1]);
        check(&[1, 9_999]);
        check(&[1; 32]);
    }

    #[test]
    fn what_has_no_share_comes_last_in_its_order() {
        for sticky in [None, Some(7)] {
            let rows = rows(&[0, 0, 5, 0]);
            let mut order: Vec<_> = rows.iter().collect();
            Draws::new(sticky, &mut Rng::with_seed(1)).order(&mut order, weight);
            let order: Vec<_> = order.iter().map(|row| row.position).collect();
            assert_eq!(order, [2, 0, 1, 3]);
        }
    }

    #[test]
    fn a_change_moves_only_its_share() {
        let before = rows(&[1, 1, 1, 1]);
        let first = |rows: &[RegionRow], hash| {
            let mut order: Vec<_> = rows.iter().collect();
            Draws::Sticky(hash).order(&mut order, weight);
            order[0].key
        };
        let [removed, mut heavier] = [before[..3].to_vec(), before.clone()];
        heavier[0].weight = 2;
        for hash in 0..DRAWS {
            let was = first(&before, hash);
            let without = first(&removed, hash);
            assert!(without == was || was == before[3].key, "moved for nothing");
            let with_more = first(&heavier, hash);
            assert!(
                with_more == was || with_more == before[0].key,
                "moved elsewhere"
            );
        }
    }

    #[test]
    fn draws_of_one_request_do_not_hang_together() {
        let row = rows(&[1])[0];
        let both = (0..DRAWS).filter(|&hash| {
            let mut draws = Draws::Sticky(hash);
            let half = Dial::new(0.5);
            draws.passes(half, &row, Purpose::Dial) && draws.passes(half, &row, Purpose::Take)
        });
        let both = both.count() as f64 / DRAWS as f64;
        assert!((both - 0.25).abs() < 0.01, "{both}");
    }

    #[test]
    fn a_full_dial_draws_nothing() {
        let (mut used, mut fresh) = (Rng::with_seed(1), Rng::with_seed(1));
        assert!(Draws::Chance(&mut used).passes(Dial::FULL, &rows(&[1])[0], Purpose::Take));
        assert_eq!(used.u64(..), fresh.u64(..));
    }
}
