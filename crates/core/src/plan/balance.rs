//! How an endpoint is chosen inside a region, as wanted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

/// How an endpoint is chosen inside the region. Weights, slow start, ejection, bounds and what was
/// tried already hold for each of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Balance {
    /// The cheaper of two drawn at random by weight, by peak EWMA x (in flight / weight + 1).
    #[default]
    PeakEwma,
    /// The one with the fewest attempts under way for its weight, of some drawn at random by weight.
    LeastRequest {
        /// How many are drawn, at least 2.
        choice_count: u32,
    },
    /// One after the other, each as often as its weight says, spread evenly.
    RoundRobin,
    /// Drawn at random by weight.
    Random,
    /// The next on a ring on which each has points by weight, from the request's hash on.
    RingHash(RingHash),
    /// The one that the request's hash has in a table that all share by weight.
    Maglev(Maglev),
    /// The best of those that were probed of late, by requests in flight and latency as they tell.
    Prequal(Prequal),
}

/// Probing for the sake of balance (see [`prequal`](crate::balance::prequal)). Probes are no evidence
/// of health.
#[derive(Clone, Debug, PartialEq)]
pub struct Prequal {
    /// Path and query of what is asked for, by GET.
    pub path: Arc<str>,
    /// Probes for each attempt, above 0 to 8. A fraction is rounded by chance.
    pub rate: f64,
    /// What is known is kept of so many endpoints of a region, or zone, 2 to 64.
    pub pool_size: u8,
    /// And for so long.
    pub max_age: Duration,
    /// A probe without an answer has failed after this.
    pub timeout: Duration,
    /// An endpoint with more in flight than this part of those that are known is hot, 0 to 1.
    pub hot_quantile: f64,
}

/// Consistent hashing on a ring.
#[derive(Clone, Debug, PartialEq)]
pub struct RingHash {
    /// The ring has at least so many points.
    pub minimum_ring_size: u32,
    /// And about so many at most: each endpoint has one in any case.
    pub maximum_ring_size: u32,
    /// What is hashed, and how uneven the load may get.
    pub hashing: Hashing,
}

/// Consistent hashing by Maglev's table.
#[derive(Clone, Debug, PartialEq)]
pub struct Maglev {
    /// Slots of the table.
    pub table_size: TableSize,
    /// What is hashed, and how uneven the load may get.
    pub hashing: Hashing,
}

/// What both ways of consistent hashing need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hashing {
    /// The first of these that a request has is hashed. A request that has none, or an empty list:
    /// its endpoint is drawn at random by weight.
    pub on: Box<[HashKey]>,
    /// No endpoint has more under way than so many times its part of all (1 or more); requests beyond
    /// that go to the next one. None: there is no such bound.
    pub balance_factor: Option<f64>,
}

/// A part of a request that decides which endpoint serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without its port.
    ClientAddress,
    /// The first field of this name.
    Header(HeaderName),
    /// The cookie of this name.
    Cookie(Arc<str>),
    /// The path, without the query.
    Path,
    /// The query parameter of this name, as it is written: nothing is decoded.
    Query(Arc<str>),
}

/// Number of slots in a table of Maglev: a prime, or permutations would not reach every slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize(u32);

impl Balance {
    /// The policy's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PeakEwma => "peak_ewma",
            Self::LeastRequest { .. } => "least_request",
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::RingHash(_) => "ring_hash",
            Self::Maglev(_) => "maglev",
            Self::Prequal(_) => "prequal",
        }
    }

    /// What is hashed; none for a policy that hashes nothing.
    pub fn hashing(&self) -> Option<&Hashing> {
        match self {
            Self::RingHash(ring) => Some(&ring.hashing),
            Self::Maglev(maglev) => Some(&maglev.hashing),
            Self::PeakEwma
            | Self::LeastRequest { .. }
            | Self::RoundRobin
            | Self::Random
            | Self::Prequal(_) => None,
        }
    }
}

impl Prequal {
    /// Asking for `path` with the defaults: the paper's, but that a probe may be as slow as it is old.
    pub fn new(path: impl Into<Arc<str>>) -> Self {
        Self {
            path: path.into(),
            rate: 3.0,
            pool_size: 16,
            max_age: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            hot_quantile: 0.84,
        }
    }
}

impl TableSize {
    /// 65,537, as in Envoy and in the paper.
    pub const DEFAULT: Self = Self(65_537);

    /// A table of `slots`; none unless that is a prime.
    pub fn new(slots: u32) -> Option<Self> {
        is_prime(slots).then_some(Self(slots))
    }

    /// How many slots.
    pub fn get(self) -> u32 {
        self.0
    }
}

fn is_prime(number: u32) -> bool {
    let number = u64::from(number);
    let divides = |divisor: u64| number.is_multiple_of(divisor);
    number >= 2 && !(2..).take_while(|d| d * d <= number).any(divides)
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientAddress => f.write_str("client_address"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Path => f.write_str("path"),
            Self::Query(name) => write!(f, "query {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_prime_number_of_slots() {
        for prime in [2, 3, 7, 10_007, 65_537, 5_000_011] {
            assert_eq!(TableSize::new(prime).map(TableSize::get), Some(prime));
        }
        for other in [0, 1, 4, 9, 10_005, 65_536, u32::MAX] {
            assert_eq!(TableSize::new(other), None, "{other}");
        }
    }
}
