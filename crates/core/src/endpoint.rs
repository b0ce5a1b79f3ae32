//! Who is there: the endpoints of one region of one upstream.
//!
//! A set is immutable and versioned; discovery swaps it in its [`EndpointSlot`] without minting a
//! plan generation. Each endpoint carries its [`EndpointCell`], so that the hot path goes from
//! choice to observed state by pointer, never by name. The set carries its policy too, with the tables
//! that the policy needs: they are made once for each change of the set and shared like it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::balance::{Barred, Method, Picked};
use crate::board::Board;
use crate::cell::EndpointCell;
use crate::hash::xxh64;
use crate::limits::Room;
use crate::plan::{Balance, EndpointSpec};

/// One endpoint with its observed state.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`.
    pub address: Arc<str>,
    /// Relative share within its region, at least 1.
    pub weight: u32,
    /// What is observed of it. The same cell for the same identity, across plans.
    pub cell: Arc<EndpointCell>,
}

/// The endpoints of one region of one upstream, at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Counts up with every swap of its slot.
    pub version: u64,
    /// The endpoints. May be empty when discovery found none.
    pub endpoints: Box<[Endpoint]>,
    /// Sum of the weights up to and including each endpoint, for draws by weight.
    cumulative: Box<[u32]>,
    /// [`EndpointSet::name_of`] each address with its position, in order.
    names: Box<[(u64, u32)]>,
    method: Method,
}

impl EndpointSet {
    /// The set of `endpoints` under the number `version`, chosen from by `balance`.
    pub fn new(version: u64, endpoints: Box<[Endpoint]>, balance: &Balance) -> Self {
        let running = |sum: &mut u32, endpoint: &Endpoint| {
            *sum = sum.saturating_add(endpoint.weight);
            Some(*sum)
        };
        let cumulative = endpoints.iter().scan(0, running).collect();
        let method = Method::new(balance, &endpoints);
        let name =
            |(at, endpoint): (usize, &Endpoint)| (Self::name_of(&endpoint.address), at as u32);
        let mut names: Box<[_]> = endpoints.iter().enumerate().map(name).collect();
        names.sort_unstable();
        Self {
            version,
            endpoints,
            cumulative,
            names,
            method,
        }
    }

    /// What an endpoint of this address is named by where the address itself would be too long, or
    /// nobody's business: XXH64 with seed 0 of its bytes.
    pub fn name_of(address: &str) -> u64 {
        xxh64(0, address.as_bytes())
    }

    /// The position of the endpoint of this name ([`Self::name_of`]); none if it is not there.
    pub fn named(&self, name: u64) -> Option<usize> {
        let found = self.names.binary_search_by_key(&name, |(name, _)| *name);
        found.ok().map(|found| self.names[found].1 as usize)
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Enters that an attempt was made with what was picked: under `round_robin` it is the next one's
    /// turn.
    pub fn taken(&self, picked: Picked) {
        self.method.taken(picked);
    }

    /// Sum of all weights; 0 for an empty set.
    pub fn total_weight(&self) -> u32 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The endpoint that holds the share number `share`, below the total weight.
    pub fn at_share(&self, share: u32) -> usize {
        if self.total_weight() as usize == self.endpoints.len() {
            return share as usize;
        }
        self.cumulative.partition_point(|&sum| sum <= share)
    }

    /// Whether the endpoint at `at` may take an attempt.
    pub fn open(&self, at: usize, barred: &Barred) -> bool {
        self.room(at, barred) == Room::Open
    }

    /// Whether the endpoint at `at` has room for an attempt.
    pub fn room(&self, at: usize, barred: &Barred) -> Room {
        let cell = &self.endpoints[at].cell;
        let open = || cell.open() || (barred.any_health && !cell.draining());
        match () {
            () if barred.tried.contains(at) || !open() => Room::Closed,
            () if barred.bound.fills(cell) => Room::Full,
            () => Room::Open,
        }
    }
}

/// Holds the current [`EndpointSet`] of one region of one upstream; survives reloads by identity.
#[derive(Debug, Default)]
pub struct EndpointSlot(ArcSwap<EndpointSet>);

impl EndpointSlot {
    /// The set of this moment.
    pub fn load(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.0.load()
    }

    /// The set of this moment, to keep.
    pub fn load_full(&self) -> Arc<EndpointSet> {
        self.0.load_full()
    }

    /// Puts `specs` in place unless they are what is there already; cells are found by identity
    /// on `board`, so what was observed carries over. The policy stays. Says whether anything changed.
    pub fn replace(
        &self,
        upstream: &str,
        region: &str,
        specs: &[EndpointSpec],
        board: &Board,
    ) -> bool {
        let balance = self.0.load().method.balance().clone();
        self.replace_with(upstream, region, specs, &balance, board)
    }

    /// The same with a policy, which is put in place as well.
    pub fn replace_with(
        &self,
        upstream: &str,
        region: &str,
        specs: &[EndpointSpec],
        balance: &Balance,
        board: &Board,
    ) -> bool {
        let current = self.0.load();
        if same(&current.endpoints, specs) && current.method.balance() == balance {
            return false;
        }
        let endpoints = specs
            .iter()
            .map(|spec| Endpoint {
                address: spec.address.clone(),
                weight: spec.weight.max(1),
                cell: board.endpoint(upstream, region, &spec.address),
            })
            .collect();
        let set = EndpointSet::new(current.version + 1, endpoints, balance);
        self.0.store(Arc::new(set));
        true
    }
}

fn same(endpoints: &[Endpoint], specs: &[EndpointSpec]) -> bool {
    endpoints.len() == specs.len()
        && endpoints
            .iter()
            .zip(specs)
            .all(|(have, want)| have.address == want.address && have.weight == want.weight)
}
