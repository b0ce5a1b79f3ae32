//! What all threads see: their shelves of idle connections, and the gates that count the open ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tidegate_core::RegionCell;

use super::gate::{Allowed, Gate};
use super::key::Key;
use super::shelf::{Evicted, Picked, Shelf};
use super::target::Target;

/// The shelves and gates of the process. Clones share.
#[derive(Clone)]
pub(crate) struct Directory(Arc<Inner>);

/// The same, without keeping it.
pub(super) struct WeakDirectory(Weak<Inner>);

struct Inner {
    shelves: Box<[Shelf]>,
    /// By the address of the region's cell, which the gate keeps taken.
    gates: Mutex<HashMap<usize, Arc<Gate>>>,
}

/// Which idle connections are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// Those of the gate's region.
    Region,
    /// Those to the endpoint whose cell has this address.
    Endpoint(usize),
    /// Those of this key.
    Key(Key),
}

impl Directory {
    /// Shelves for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self(Arc::new(Inner {
            shelves: (0..threads).map(|_| Shelf::default()).collect(),
            gates: Mutex::default(),
        }))
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.0.shelves.len()
    }

    /// The shelf of the thread with this index.
    pub(super) fn shelf(&self, index: usize) -> &Shelf {
        &self.0.shelves[index]
    }

    /// The shelves of all threads but one.
    pub(super) fn others(&self, index: usize) -> impl Iterator<Item = &Shelf> {
        let shelves = self.0.shelves.iter().enumerate();
        shelves
            .filter(move |(at, _)| *at != index)
            .map(|(_, shelf)| shelf)
    }

    /// The gate of a region of an upstream, made at first use.
    pub(super) fn gate(&self, region: &Arc<RegionCell>) -> Arc<Gate> {
        let mut gates = self.gates();
        let address = Arc::as_ptr(region) as usize;
        if let Some(gate) = gates.get(&address) {
            return gate.clone();
        }
        gates.retain(|_, gate| gate.is_known() || Arc::strong_count(gate) > 1);
        let gate = Arc::new(Gate::new(region, WeakDirectory(Arc::downgrade(&self.0))));
        gates.insert(address, gate.clone());
        gate
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<usize, Arc<Gate>>> {
        self.0.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters what a new plan allows, where there are connections already.
    pub(super) fn allow(&self, region: &Arc<RegionCell>, allowed: Allowed) {
        let address = Arc::as_ptr(region) as usize;
        let gate = self.gates().get(&address).cloned();
        if let Some(gate) = gate {
            gate.learn(allowed);
        }
    }

    /// How many requests could be sent to `target` at the moment `at` without connecting, if nobody
    /// sends one before; an HTTP/2 connection counts as `share`.
    pub(super) fn warm(&self, target: &Target<'_>, at: Instant, share: u32) -> u32 {
        let shelves = self.0.shelves.iter();
        let warm = shelves.map(|shelf| shelf.warm(target.key(), at));
        let (idle, h2) = warm.fold((0, 0), |(idle, h2), warm| {
            (idle + warm.idle, if warm.h2 { share } else { h2 })
        });
        idle.max(h2)
    }

    /// What lies on any shelf under `key`; an HTTP/1.1 connection is still to be checked, and to be
    /// brought to the thread that will use it.
    pub(super) fn pick(&self, key: Key, since: Option<Instant>) -> Option<Picked> {
        let mut shelves = self.0.shelves.iter();
        shelves.find_map(|shelf| shelf.lock().get_mut(&key)?.pick(since))
    }

    /// Takes out the idle connection of this scope that has idled longest. It must not be dropped
    /// under a lock.
    pub(super) fn evict(&self, gate: &Gate, scope: Scope) -> Option<Evicted> {
        if let Scope::Key(key) = scope {
            let mut shelves = self.0.shelves.iter();
            return shelves.find_map(|shelf| shelf.evict(key));
        }
        let oldest = |shelf: &Shelf| shelf.longest_idle(gate, scope);
        let found = self
            .0
            .shelves
            .iter()
            .filter_map(|shelf| Some((shelf, oldest(shelf)?)));
        let (shelf, (_, key)) = found.min_by_key(|(_, (since, _))| *since)?;
        shelf.evict(key)
    }
}

impl WeakDirectory {
    /// The directory, unless it is gone.
    pub(super) fn get(&self) -> Option<Directory> {
        self.0.upgrade().map(Directory)
    }
}
