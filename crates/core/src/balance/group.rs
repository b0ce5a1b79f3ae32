//! The endpoints of one zone of a region, with what their policy needs to know of them.
//!
//! They stand next to each other in their set, best zone first. Where zones do not matter there is one
//! group, of all.

use std::ops::Range;

use super::hashed::Hashed;
use super::prequal::Prober;
use super::stride::Stride;
use super::{Picked, Preference};
use crate::endpoint::Endpoint;
use crate::plan::Balance;

/// Some endpoints of a set, at least one.
#[derive(Debug)]
pub(crate) struct Group {
    start: usize,
    /// Sum of the weights up to and including each endpoint, for draws by weight.
    cumulative: Box<[u32]>,
    pub(super) tables: Tables,
}

#[derive(Debug)]
pub(super) enum Tables {
    None,
    Stride(Stride),
    Hashed(Box<Hashed>),
    Probed(Box<Prober>),
}

impl Group {
    /// The groups of `endpoints`, which stand in the order of their zones.
    pub(crate) fn all_of(endpoints: &[Endpoint], preference: &Preference) -> Box<[Self]> {
        let zone = |endpoint: &Endpoint| preference.rank(endpoint.zone.as_deref());
        let mut start = 0;
        let runs = endpoints.chunk_by(|a, b| zone(a) == zone(b));
        let group = |run: &[Endpoint]| {
            let group = Self::new(start, run, &preference.balance);
            start += run.len();
            group
        };
        runs.map(group).collect()
    }

    fn new(start: usize, endpoints: &[Endpoint], balance: &Balance) -> Self {
        let running = |sum: &mut u32, endpoint: &Endpoint| {
            *sum = sum.saturating_add(endpoint.weight);
            Some(*sum)
        };
        Self {
            start,
            cumulative: endpoints.iter().scan(0, running).collect(),
            tables: Tables::new(endpoints, balance),
        }
    }

    /// The positions of its endpoints in the set.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.cumulative.len()
    }

    /// Enters that an attempt was made with what was picked.
    pub(crate) fn taken(&self, picked: Picked, weight: u32) {
        match &self.tables {
            Tables::None | Tables::Hashed(_) => {}
            Tables::Stride(stride) => stride.taken(picked.after),
            Tables::Probed(prober) => prober.taken(picked.at, weight, self.cumulative.len()),
        }
    }

    /// What probes of its endpoints find, where they are probed.
    pub(super) fn prober(&self) -> Option<&Prober> {
        match &self.tables {
            Tables::Probed(prober) => Some(prober),
            _ => None,
        }
    }

    /// Sum of its weights.
    pub(super) fn total_weight(&self) -> u32 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The endpoint that holds the share number `share`, below the total weight.
    pub(super) fn at_share(&self, share: u32) -> usize {
        let within = match self.total_weight() as usize == self.cumulative.len() {
            true => share as usize,
            false => self.cumulative.partition_point(|&sum| sum <= share),
        };
        self.start + within
    }
}

impl Tables {
    fn new(endpoints: &[Endpoint], balance: &Balance) -> Self {
        let members = endpoints.iter();
        let members = members.map(|one| (one.address.as_ref(), one.weight));
        match balance {
            Balance::RoundRobin => Self::Stride(Stride::new(members.map(|(_, weight)| weight))),
            Balance::RingHash(_) | Balance::Maglev(_) => {
                let hashed = Hashed::new(&members.collect::<Vec<_>>(), balance);
                hashed.map_or(Self::None, |hashed| Self::Hashed(Box::new(hashed)))
            }
            Balance::Prequal(policy) => Self::Probed(Box::new(Prober::new(policy))),
            Balance::PeakEwma | Balance::LeastRequest { .. } | Balance::Random => Self::None,
        }
    }
}
