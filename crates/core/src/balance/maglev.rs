//! Maglev's table (Eisenbud et al., "Maglev: a fast and reliable software network load balancer",
//! NSDI 2016, section 3.4): every endpoint claims slots by a permutation of its own, in turns.
//!
//! Shares are within about `endpoints / slots` of what weights say, far closer than a ring's, and a
//! look-up is one step. The price: an endpoint that comes or goes moves, besides its own keys, about
//! one in a hundred of the others. Slots are whose Envoy has them.

use crate::hash::xxh64;
use crate::plan::TableSize;

const FREE: u32 = u32::MAX;

/// Whose slot each is.
#[derive(Debug)]
pub(super) struct Maglev(Box<[u32]>);

/// A member while the table is filled.
struct Claim {
    owner: u32,
    /// The slot that it claims next, if that is free.
    slot: u32,
    skip: u32,
    weight: u64,
    /// Its turn comes when the number of the round times its weight reaches this.
    due: u64,
}

impl Maglev {
    /// The table of these addresses and weights, at least one. Their order does not count.
    pub(super) fn new(members: &[(&str, u32)], size: TableSize) -> Self {
        let size = size.get();
        let mut table = vec![FREE; size as usize];
        let mut claims = claims(members, size);
        let heaviest = claims.iter().map(|claim| claim.weight).max().unwrap_or(1);
        let (mut left, mut round) = (if claims.is_empty() { 0 } else { size }, 0);
        while left > 0 {
            round += 1;
            let in_turn = |claim: &&mut Claim| round * claim.weight >= claim.due;
            for claim in claims.iter_mut().filter(in_turn).take(left as usize) {
                claim.due += heaviest;
                claim.take(&mut table);
                left -= 1;
            }
        }
        Self(table.into())
    }

    /// Whose slot the hash has, after so many that could not be used.
    pub(super) fn owner(&self, hash: u64, passed: u64) -> usize {
        // All high bits change, so that keys of one endpoint do not all go to the same other one.
        let hash = hash ^ passed.wrapping_neg();
        self.0[(hash % self.0.len() as u64) as usize] as usize
    }
}

fn claims(members: &[(&str, u32)], size: u32) -> Vec<Claim> {
    let below = |hash: u64, bound: u32| (hash % u64::from(bound)) as u32;
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_unstable_by_key(|&at| members[at].0);
    let claim = |owner: usize| {
        let (address, weight) = members[owner];
        Claim {
            owner: owner as u32,
            slot: below(xxh64(0, address.as_bytes()), size),
            skip: below(xxh64(1, address.as_bytes()), size - 1) + 1,
            weight: weight.into(),
            due: 0,
        }
    };
    order.into_iter().map(claim).collect()
}

impl Claim {
    fn take(&mut self, table: &mut [u32]) {
        while table[self.slot as usize] != FREE {
            self.step(table.len());
        }
        table[self.slot as usize] = self.owner;
        self.step(table.len());
    }

    fn step(&mut self, size: usize) {
        let slot = self.slot as usize + self.skip as usize;
        self.slot = if slot >= size { slot - size } else { slot } as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[String], weights: &[u32], size: u32) -> Maglev {
        let members = names
            .iter()
            .map(String::as_str)
            .zip(weights.iter().copied());
        let size = TableSize::new(size).expect("a prime");
        Maglev::new(&members.collect::<Vec<_>>(), size)
    }

    fn ports(ports: impl Iterator<Item = u32>) -> Vec<String> {
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    #[test]
    fn slots_are_those_of_envoy() {
        let six = table(&ports(90..96), &[1; 6], 7);
        assert_eq!(*six.0, [2, 4, 0, 1, 5, 0, 3]);
        let two = table(&ports(90..92), &[1, 2], 17);
        assert_eq!(*two.0, [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]);
        let named: Vec<_> = (90..96).map(|name| name.to_string()).collect();
        assert_eq!(*table(&named, &[1; 6], 7).0, [2, 5, 0, 3, 4, 1, 0]);
        // Its second try: the hash is changed for another slot.
        let tries = [0, 1, 2].map(|passed| six.owner(10, passed));
        assert_eq!(tries, [1, 0, 5]);
    }

    #[test]
    fn the_order_of_members_does_not_count() {
        let (there, mut back) = (ports(1..9), ports(1..9));
        back.reverse();
        let (a, b) = (table(&there, &[1; 8], 503), table(&back, &[1; 8], 503));
        assert!(
            a.0.iter()
                .zip(&b.0)
                .all(|(a, b)| there[*a as usize] == back[*b as usize])
        );
    }

    #[test]
    fn ten_share_a_table_evenly_and_one_that_goes_moves_little_else() {
        let names = ports(1..11);
        let ten = table(&names, &[1; 10], 10_007);
        let mut counts = [0; 10];
        ten.0.iter().for_each(|owner| counts[*owner as usize] += 1);
        assert!(
            counts.iter().all(|count| (1_000..=1_001).contains(count)),
            "{counts:?}"
        );
        let nine = table(&names[..9], &[1; 9], 10_007);
        let moved = |own: bool| {
            let pairs = ten.0.iter().zip(&nine.0);
            pairs.filter(|(a, b)| a != b && (**a == 9) == own).count()
        };
        assert_eq!(moved(true), counts[9]);
        assert!(
            moved(false) < 10_007 / 50,
            "{} moved without need",
            moved(false)
        );
    }

    #[test]
    fn the_lightest_has_a_slot_beside_the_heaviest() {
        let names = ports(0..1_024);
        let mut weights = [1; 1_024];
        weights[0] = 1_000;
        let lopsided = table(&names, &weights, 65_537);
        let mut counts = [0u32; 1_024];
        lopsided
            .0
            .iter()
            .for_each(|owner| counts[*owner as usize] += 1);
        assert!(counts.iter().all(|count| *count > 0));
        assert!(
            counts[0].abs_diff(65_537 * 1_000 / 2_023) < 500,
            "{}",
            counts[0]
        );
    }
}
