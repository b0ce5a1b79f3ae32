//! The endpoint of a request's hash, whichever table says whose it is.
//!
//! A table is made of the set, not of who is well: an endpoint that is out keeps its seats, and its
//! keys go to whoever sits next for each of them until it is back. So an outage moves the keys of
//! what is out, and no others, and its end moves them back. One that takes a part of its share takes
//! the same keys all the time, and more of them as the part grows.
//!
//! With a bound on load (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads",
//! SODA 2018) a key whose endpoint has more than so many times its part under way goes on to the next
//! seat as well, for this one request.

use super::Seek;
use super::draw::{effective_weight, open};
use super::maglev::Maglev;
use super::ring::Ring;
use crate::endpoint::EndpointSet;
use crate::hash::xxh64;
use crate::plan::{Balance, Hashing};
use crate::standing::Dial;

/// Seats that are looked at in their order. Beyond them, where next to nothing is open, the endpoint
/// with the highest score of hash and address is taken, which is as consistent.
const SEATS: usize = 64;

/// Whose a hash is.
#[derive(Debug)]
pub(super) struct Hashed {
    table: Table,
    /// See [`Hashing::balance_factor`].
    factor: Option<f64>,
    /// A hash of each endpoint's address.
    names: Box<[u64]>,
}

#[derive(Debug)]
enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// Endpoints in the order in which a hash asks them.
#[derive(Clone)]
enum Seats<'a> {
    Ring(&'a Ring, usize),
    Maglev(&'a Maglev, u64, u64),
}

impl Hashed {
    /// The table that the policy wants; none if it hashes nothing.
    pub(super) fn new(members: &[(&str, u32)], balance: &Balance) -> Option<Self> {
        let table = match balance {
            Balance::RingHash(policy) => Table::Ring(Ring::new(members, policy)),
            Balance::Maglev(policy) => Table::Maglev(Maglev::new(members, policy.table_size)),
            _ => return None,
        };
        let name = |(address, _): &(&str, u32)| xxh64(0, address.as_bytes());
        Some(Self {
            table,
            factor: balance
                .hashing()
                .and_then(|hashing: &Hashing| hashing.balance_factor),
            names: members.iter().map(name).collect(),
        })
    }

    /// The endpoint for `hash`.
    pub(super) fn pick(&self, set: &EndpointSet, seek: &Seek<'_>, hash: u64) -> Option<usize> {
        let fits = |&at: &usize| set.open(at, &seek.barred) && self.takes(set, at, hash);
        let first = self.seats(hash).find(fits);
        let first = first.or_else(|| self.best(set, seek, hash, Cap::NONE))?;
        let Some(factor) = self.factor else {
            return Some(first);
        };
        let under_way = seek.region.in_flight();
        let cap = |weight| Cap::new(factor, under_way, weight);
        // What is not open makes the others' parts larger; that is looked at only if it matters.
        if cap(f64::from(set.total_weight())).has_room(set, first) {
            return Some(first);
        }
        let cap = cap(open(set, seek).map(|at| effective_weight(set, at)).sum());
        let roomy = self
            .seats(hash)
            .find(|at| fits(at) && cap.has_room(set, *at));
        roomy
            .or_else(|| self.best(set, seek, hash, cap))
            .or(Some(first))
    }

    fn seats(&self, hash: u64) -> impl Iterator<Item = usize> {
        let seats = match &self.table {
            Table::Ring(ring) => Seats::Ring(ring, ring.find(hash)),
            Table::Maglev(maglev) => Seats::Maglev(maglev, hash, 0),
        };
        seats.take(SEATS)
    }

    /// Whether the key is of the part that the endpoint takes.
    fn takes(&self, set: &EndpointSet, at: usize, hash: u64) -> bool {
        let part = set.endpoints[at].cell.share();
        part == Dial::FULL || part.passes(self.score(at, hash))
    }

    /// A number from 0 up to 1 that belongs to this key and endpoint.
    fn score(&self, at: usize, hash: u64) -> f64 {
        (mixed(hash ^ self.names[at].rotate_left(32)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The highest score by weight of those that are open and have room (D. G. Thaler, C. V.
    /// Ravishankar, "Using name-based mappings to increase hit rates", 1998). None if none has.
    fn best(&self, set: &EndpointSet, seek: &Seek<'_>, hash: u64, cap: Cap) -> Option<usize> {
        let roomy = open(set, seek).filter(|at| cap.has_room(set, *at));
        let score = |at: usize| {
            // An endpoint that takes nothing is still better than none.
            let weight = effective_weight(set, at).max(1e-6);
            self.score(at, hash).max(f64::MIN_POSITIVE).ln() / weight
        };
        roomy.max_by(|&a, &b| score(a).total_cmp(&score(b)))
    }
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output's.
fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// How much an endpoint may have under way for each unit of its weight.
#[derive(Clone, Copy, Debug)]
struct Cap(f64);

impl Cap {
    const NONE: Self = Self(f64::INFINITY);

    /// With so many attempts under way at endpoints of this weight together.
    fn new(factor: f64, under_way: u32, weight: f64) -> Self {
        Self(factor * (f64::from(under_way) + 1.0) / weight)
    }

    /// Whether one more stays within it. An endpoint that takes anything has room for one.
    fn has_room(self, set: &EndpointSet, at: usize) -> bool {
        let room = (self.0 * effective_weight(set, at)).ceil().max(1.0);
        f64::from(set.endpoints[at].cell.in_flight()) < room
    }
}

impl Iterator for Seats<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match self {
            Self::Ring(ring, point) => {
                let owner = ring.owner(*point);
                *point += 1;
                if *point == ring.len() {
                    *point = 0;
                }
                Some(owner)
            }
            Self::Maglev(maglev, hash, passed) => {
                let owner = maglev.owner(*hash, *passed);
                *passed += 1;
                Some(owner)
            }
        }
    }
}
