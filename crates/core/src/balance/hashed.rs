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

use super::among::Among;
use super::eyes::{Eyes, Sight};
use super::kept::{drawn, heaviest};
use super::maglev::Maglev;
use super::ring::Ring;
use crate::hash::{mixed, unit};
use crate::plan::{Balance, Hashing};

/// Seats that are looked at in their order. Beyond them, where next to nothing is open, the endpoint
/// with the highest score of hash and address is taken, which is as consistent.
const SEATS: usize = 64;

/// Whose a hash is.
#[derive(Debug)]
pub(super) struct Hashed {
    table: Table,
    /// See [`Hashing::balance_factor`].
    factor: Option<f64>,
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
        Some(Self {
            table,
            factor: balance
                .hashing()
                .and_then(|hashing: &Hashing| hashing.balance_factor),
        })
    }

    /// The endpoint for `hash`.
    pub(super) fn pick(&self, among: &Among<'_, impl Eyes>, hash: u64) -> Option<usize> {
        let fits = |&at: &usize| among.open(at) && self.takes(among, at, hash);
        let first = self.seats(among, hash).find(fits);
        let first = first.or_else(|| self.best(among, hash, Cap::NONE))?;
        let Some(factor) = self.factor else {
            return Some(first);
        };
        let cap = Cap::new(factor, among);
        if cap.has_room(among, first) {
            return Some(first);
        }
        let mut seats = self.seats(among, hash);
        let roomy = seats.find(|at| cap.has_room(among, *at) && fits(at));
        roomy
            .or_else(|| self.best(among, hash, cap))
            .or(Some(first))
    }

    fn seats(&self, among: &Among<'_, impl Eyes>, hash: u64) -> impl Iterator<Item = usize> {
        let seats = match &self.table {
            Table::Ring(ring) => Seats::Ring(ring, ring.find(hash)),
            Table::Maglev(maglev) => Seats::Maglev(maglev, hash, 0),
        };
        let start = among.range().start;
        seats.take(SEATS).map(move |owner| start + owner)
    }

    /// Whether the key is of the part that the endpoint takes.
    fn takes(&self, among: &Among<'_, impl Eyes>, at: usize, hash: u64) -> bool {
        let part = among.part(at);
        part >= 1.0 || self.score(among, at, hash) < part
    }

    /// A number from 0 up to 1 that belongs to this key and endpoint.
    fn score(&self, among: &Among<'_, impl Eyes>, at: usize, hash: u64) -> f64 {
        unit(mixed(hash ^ among.set.name_at(at).rotate_left(32)))
    }

    /// The highest score by weight of those that are open and have room (D. G. Thaler, C. V.
    /// Ravishankar, "Using name-based mappings to increase hit rates", 1998). None if none has.
    fn best(&self, among: &Among<'_, impl Eyes>, hash: u64, cap: Cap) -> Option<usize> {
        let roomy = among.range().filter(|&at| cap.has_room(among, at));
        let open = roomy.filter(|&at| among.open(at));
        heaviest(open.map(|at| (drawn(hash, among.set.name_at(at)), among.weight_of(at), at)))
    }
}

/// For the key of this hash, a number from 0 up to 1 that says which zone it goes to.
pub(super) fn zone_draw(hash: u64) -> f64 {
    unit(mixed(hash))
}

/// How much an endpoint may have under way for each unit of its weight.
#[derive(Clone, Copy, Debug)]
struct Cap(f64);

impl Cap {
    const NONE: Self = Self(f64::INFINITY);

    /// So many times the average of those that are well, once there is one more.
    fn new(factor: f64, among: &Among<'_, impl Eyes>) -> Self {
        let in_flight = || among.seek.region.in_flight().into();
        let in_flight = among.eyes.see(Sight::RegionInFlight, 0, in_flight) as u32;
        let under_way = f64::from(in_flight) * among.load();
        Self(factor * (under_way + 1.0) / among.weight())
    }

    /// Whether one more stays within it. An endpoint that takes anything has room for one.
    fn has_room(self, among: &Among<'_, impl Eyes>, at: usize) -> bool {
        let room = (self.0 * among.weight_of(at)).ceil().max(1.0);
        f64::from(among.in_flight(at)) < room
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
