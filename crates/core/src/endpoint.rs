//! Who is there: the endpoints of one region of one upstream.
//!
//! A set is immutable and versioned; discovery swaps it in its [`EndpointSlot`] without minting a
//! plan generation. Each endpoint carries its [`EndpointCell`], so that the hot path goes from
//! choice to observed state by pointer, never by name. The set carries its policy too, with the tables
//! that the policy needs: they are made once for each change of the set and shared like it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::balance::{Barred, Ground, Group, Picked, Preference, Roll};
use crate::board::Board;
use crate::cell::{Changes, EndpointCell};
use crate::hash::xxh64;
use crate::limits::{Bound, Room};
use crate::plan::{Balance, EndpointSpec};

/// One endpoint with its observed state.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`.
    pub address: Arc<str>,
    /// Relative share within its region, at least 1.
    pub weight: u32,
    /// The zone of its region in which it is, if that was told.
    pub zone: Option<Arc<str>>,
    /// What is observed of it. The same cell for the same identity, across plans.
    pub cell: Arc<EndpointCell>,
}

/// The endpoints of one region of one upstream, at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Counts up with every swap of its slot.
    pub version: u64,
    /// The endpoints, by their zones, best first, and else as they were given. May be empty when
    /// discovery found none.
    pub endpoints: Box<[Endpoint]>,
    /// [`EndpointSet::name_of`] each address with its position, in order.
    names: Box<[(u64, u32)]>,
    /// The same by position.
    hashes: Box<[u64]>,
    preference: Preference,
    groups: Box<[Group]>,
    roll: Roll,
    /// Where changes of the endpoints are counted: the same counter for all of them where a board has
    /// made them.
    changes: Box<[Changes]>,
}

impl EndpointSet {
    /// The set of `endpoints` under the number `version`, chosen from as `preference` says.
    pub fn new(
        version: u64,
        mut endpoints: Box<[Endpoint]>,
        preference: impl Into<Preference>,
    ) -> Self {
        let preference = preference.into();
        endpoints.sort_by_key(|endpoint| preference.rank(endpoint.zone.as_deref()));
        let groups = Group::all_of(&endpoints, &preference);
        let hash = |endpoint: &Endpoint| Self::name_of(&endpoint.address);
        let hashes: Box<[u64]> = endpoints.iter().map(hash).collect();
        let numbered = hashes.iter().zip(0..);
        let mut names: Box<[_]> = numbered.map(|(name, at)| (*name, at)).collect();
        names.sort_unstable();
        Self {
            version,
            names,
            hashes,
            roll: Roll::new(endpoints.len(), groups.len()),
            changes: counters(&endpoints),
            preference,
            groups,
            endpoints,
        }
    }

    /// What an endpoint of this address is named by where the address itself would be too long, or
    /// nobody's business: XXH64 with seed 0 of its bytes.
    pub fn name_of(address: &str) -> u64 {
        xxh64(0, address.as_bytes())
    }

    /// What the endpoint at `at` is named by.
    pub(crate) fn name_at(&self, at: usize) -> u64 {
        self.hashes[at]
    }

    /// The position of the endpoint of this name ([`Self::name_of`]); none if it is not there.
    pub fn named(&self, name: u64) -> Option<usize> {
        let found = self.names.binary_search_by_key(&name, |(name, _)| *name);
        found.ok().map(|found| self.names[found].1 as usize)
    }

    /// The policy.
    pub fn balance(&self) -> &Balance {
        &self.preference.balance
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) fn roll(&self) -> &Roll {
        &self.roll
    }

    /// How often anything has changed at its endpoints. Whoever sees the number sees the changes.
    #[inline]
    pub fn changes(&self) -> u64 {
        match &*self.changes {
            [changes] => changes.count(),
            all => all.iter().map(Changes::count).sum(),
        }
    }

    /// What a pick goes by; brings the sums up to this moment.
    #[inline]
    pub(crate) fn ground(&self, barred: &Barred) -> Ground {
        if barred.any_health {
            return Ground::Blind;
        }
        match self
            .roll
            .is_of(self.changes(), &self.endpoints, &self.groups)
        {
            true if self.roll.is_plain() => Ground::Plain,
            true => Ground::Current,
            false => Ground::Old,
        }
    }

    /// Enters that an attempt was made with what was picked: under `round_robin` it is the next one's
    /// turn.
    pub fn taken(&self, picked: Picked) {
        let mut groups = self.groups.iter();
        if let Some(group) = groups.find(|group| group.range().contains(&picked.at)) {
            group.taken(picked, self.endpoints[picked.at].weight);
        }
    }

    /// Whether anything of the set has room for an attempt. Where all are well that is a look at a
    /// number, and a look at an endpoint or two where some are not, or are full, as long as they stay so.
    #[inline(always)]
    pub fn any_room(&self, barred: &Barred) -> Room {
        let unbound = barred.bound == Bound::NONE;
        match self.ground(barred) {
            Ground::Plain if unbound && barred.tried.len() < self.endpoints.len() => Room::Open,
            Ground::Plain | Ground::Current if self.roll.is_empty() => Room::Closed,
            _ => self.look_for_room(barred),
        }
    }

    /// The look begins where the last one ended, so that what is closed or full is not passed over
    /// again and again. By itself, so that whoever need not look does not pay for it.
    #[inline(never)]
    fn look_for_room(&self, barred: &Barred) -> Room {
        let (last, count) = (self.roll.last_found(), self.endpoints.len());
        let mut best = Room::Closed;
        for at in (last.min(count)..count).chain(0..last.min(count)) {
            best = best.max(self.room(at, barred));
            if best == Room::Open {
                if at != last {
                    self.roll.found(at);
                }
                break;
            }
        }
        best
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
pub struct EndpointSlot {
    set: ArcSwap<EndpointSet>,
    /// The set's number, or that of the one before for a moment.
    version: AtomicU64,
    /// Held while a set is put in place, so that no two have one number.
    replacing: Mutex<()>,
}

impl EndpointSlot {
    /// The set of this moment.
    pub fn load(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.set.load()
    }

    /// The number of the set of this moment: one load.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The set of this moment, to keep.
    pub fn load_full(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Whether it holds these endpoints, to be chosen from in this way.
    pub(crate) fn holds(&self, specs: &[EndpointSpec], preference: &Preference) -> bool {
        let set = self.set.load();
        set.preference == *preference && set.is_of(specs)
    }

    /// Puts `specs` in place unless they are what is there already; cells are found by identity
    /// on `board`, so what was observed carries over. What is preferred stays. Says whether anything
    /// changed.
    pub fn replace(
        &self,
        upstream: &str,
        region: &str,
        specs: &[EndpointSpec],
        board: &Board,
    ) -> bool {
        let preference = self.set.load().preference.clone();
        self.replace_with(upstream, region, specs, preference, board)
    }

    /// The same with what is preferred, which is put in place as well.
    pub fn replace_with(
        &self,
        upstream: &str,
        region: &str,
        specs: &[EndpointSpec],
        preference: Preference,
        board: &Board,
    ) -> bool {
        let _replacing = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.holds(specs, &preference) {
            return false;
        }
        let current = self.set.load();
        let endpoints = specs
            .iter()
            .map(|spec| Endpoint {
                address: spec.address.clone(),
                weight: spec.weight.max(1),
                zone: spec.zone.clone(),
                cell: board.endpoint(upstream, region, &spec.address),
            })
            .collect();
        let version = current.version + 1;
        let set = EndpointSet::new(version, endpoints, preference);
        self.set.store(Arc::new(set));
        self.version.store(version, Ordering::Release);
        true
    }
}

impl EndpointSet {
    /// Whether these are what it holds.
    fn is_of(&self, specs: &[EndpointSpec]) -> bool {
        let mut specs: Vec<&EndpointSpec> = specs.iter().collect();
        specs.sort_by_key(|spec| self.preference.rank(spec.zone.as_deref()));
        let same = |(have, want): (&Endpoint, &&EndpointSpec)| {
            have.address == want.address && have.weight == want.weight && have.zone == want.zone
        };
        self.endpoints.len() == specs.len() && self.endpoints.iter().zip(&specs).all(same)
    }
}

fn counters(endpoints: &[Endpoint]) -> Box<[Changes]> {
    let mut counters: Vec<Changes> = Vec::new();
    for endpoint in endpoints {
        let changes = endpoint.cell.changes();
        if !counters.iter().any(|counter| counter.is(changes)) {
            counters.push(changes.clone());
        }
    }
    counters.into()
}
