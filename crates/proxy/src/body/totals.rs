//! What all requests together keep of their bodies, counted against the limits of the plan.
//!
//! [`Totals`] is shared. Memory is counted for every request with a body, so each thread leases it
//! from there in larger parts and hands it out by itself ([`Ledger`]): threads do not contend, at the
//! price of a few leased and unused parts. What goes to the disk is counted in the totals directly,
//! because its guards travel to other threads. Every count is a guard's: whatever way a request ends,
//! it is given back.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_core::plan::ReplayLimits;
use tidegate_telemetry::labels::{Label, ReplayLost, ReplayStore};
use tidegate_telemetry::metrics::Metrics;

use super::disk::Disk;
use crate::wheel::{Timer, Wheel};

/// A thread leases so much memory at a time, in bytes, and keeps up to twice as much unused.
const LEASE: u64 = 256 * 1024;
/// But no larger part of the limit than this, so that a low limit is not used up by leases.
const LEASES: u64 = 1024;

/// What all threads keep.
pub(crate) struct Totals {
    taken: [AtomicU64; ReplayStore::ALL.len()],
    pub(super) disk: Disk,
    pub(super) metrics: Arc<Metrics>,
}

/// Bytes that count in the totals until this is dropped, on whatever thread.
pub(super) struct Held {
    totals: Arc<Totals>,
    store: ReplayStore,
    bytes: AtomicU64,
}

/// One thread's part of the totals.
pub(crate) struct Ledger {
    pub(super) totals: Arc<Totals>,
    wheel: Wheel,
    limits: RefCell<ReplayLimits>,
    leased: Cell<u64>,
    used: Cell<u64>,
}

/// Memory of one request, given back when this is dropped.
pub(super) struct Lease {
    pub(super) ledger: Rc<Ledger>,
    bytes: u64,
}

impl Totals {
    /// Nothing is kept yet.
    pub(crate) fn new(metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            taken: Default::default(),
            disk: Disk::new()?,
            metrics,
        }))
    }

    pub(super) fn taken(&self, store: ReplayStore) -> u64 {
        self.taken[store.index()].load(Ordering::Relaxed)
    }

    fn try_add(&self, store: ReplayStore, bytes: u64, limit: u64) -> bool {
        let add = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        self.taken[store.index()]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    fn add(&self, store: ReplayStore, bytes: u64) {
        self.taken[store.index()].fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, store: ReplayStore, bytes: u64) {
        self.taken[store.index()].fetch_sub(bytes, Ordering::Relaxed);
    }

    fn tell(&self, store: ReplayStore, bytes: u64, more: bool) {
        let delta = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics
            .replay_kept(store, if more { delta } else { -delta });
    }
}

impl Held {
    /// Holds nothing yet.
    pub(super) fn new(totals: &Arc<Totals>, store: ReplayStore) -> Self {
        Self {
            totals: totals.clone(),
            store,
            bytes: AtomicU64::new(0),
        }
    }

    /// Holds more if all together then hold no more than `limit`.
    pub(super) fn try_more(&self, bytes: u64, limit: u64) -> bool {
        let added = self.totals.try_add(self.store, bytes, limit);
        if added {
            self.enter(bytes);
        }
        added
    }

    /// Holds more, whatever the others do: for what is in memory already and leaves it soon.
    pub(super) fn more(&self, bytes: u64) {
        self.totals.add(self.store, bytes);
        self.enter(bytes);
    }

    fn enter(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.totals.tell(self.store, bytes, true);
    }

    /// Where it counts.
    pub(super) fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes > 0 {
            self.totals.sub(self.store, bytes);
            self.totals.tell(self.store, bytes, false);
        }
    }
}

impl Ledger {
    /// A thread's part, with nothing leased. `wheel` is the thread's own.
    pub(crate) fn new(totals: Arc<Totals>, wheel: Wheel) -> Rc<Self> {
        Rc::new(Self {
            totals,
            wheel,
            limits: RefCell::default(),
            leased: Cell::new(0),
            used: Cell::new(0),
        })
    }

    /// From now on these limits hold. What is kept beyond them stays until its request ends.
    pub(crate) fn limit(&self, limits: &ReplayLimits) {
        self.limits.replace(limits.clone());
    }

    /// Bytes that all may keep on disk.
    pub(super) fn spool_limit(&self) -> u64 {
        self.limits.borrow().spool_bytes
    }

    /// Where spooled bodies lie.
    pub(super) fn spool_dir(&self) -> Arc<Path> {
        self.limits.borrow().spool_dir.clone()
    }

    /// Whether all together keep as much in memory as they may.
    pub(super) fn is_short(&self) -> bool {
        self.totals.taken(ReplayStore::Memory) >= self.limits.borrow().memory_bytes
    }

    /// Counts a body that can no longer be sent again.
    pub(super) fn lost(&self, why: ReplayLost) {
        self.totals.metrics.replay_lost(why);
    }

    /// A timer of this thread.
    pub(super) fn timer(&self) -> Timer {
        self.wheel.timer()
    }

    fn take(&self, bytes: u64) -> bool {
        let used = self.used.get() + bytes;
        let fits = used <= self.leased.get() || self.lease(used - self.leased.get());
        if fits {
            self.used.set(used);
            self.totals.tell(ReplayStore::Memory, bytes, true);
        }
        fits
    }

    /// Leases what is missing, and some more if there is enough.
    fn lease(&self, missing: u64) -> bool {
        let limit = self.limits.borrow().memory_bytes;
        let ample = missing.max(self.step());
        let try_lease = |bytes: u64| {
            let leased = self.totals.try_add(ReplayStore::Memory, bytes, limit);
            if leased {
                self.leased.set(self.leased.get() + bytes);
            }
            leased
        };
        try_lease(ample) || try_lease(missing)
    }

    fn step(&self) -> u64 {
        LEASE.min(self.limits.borrow().memory_bytes / LEASES)
    }

    fn give_back(&self, bytes: u64) {
        self.used.set(self.used.get() - bytes);
        self.totals.tell(ReplayStore::Memory, bytes, false);
        let (unused, step) = (self.leased.get() - self.used.get(), self.step());
        if unused > 2 * step {
            self.totals.sub(ReplayStore::Memory, unused - step);
            self.leased.set(self.leased.get() - (unused - step));
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.totals.sub(ReplayStore::Memory, self.leased.get());
    }
}

impl Lease {
    /// Memory of a request that keeps nothing yet.
    pub(super) fn new(ledger: Rc<Ledger>) -> Self {
        Self { ledger, bytes: 0 }
    }

    /// Takes more if all together then keep no more than they may.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let taken = self.ledger.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.ledger.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn ledger(totals: &Arc<Totals>, memory_bytes: u64) -> Rc<Ledger> {
        let ledger = Ledger::new(totals.clone(), Wheel::new(crate::clock::now()));
        ledger.limit(&ReplayLimits {
            memory_bytes,
            ..ReplayLimits::default()
        });
        ledger
    }

    fn totals() -> Arc<Totals> {
        Totals::new(Metrics::new()).unwrap()
    }

    /// Two threads share one limit, and neither goes beyond it, nor are leases in each other's way.
    #[test]
    fn threads_share_a_limit() {
        let totals = totals();
        let (one, other) = (ledger(&totals, 100 * KIB), ledger(&totals, 100 * KIB));
        let (mut a, mut b) = (Lease::new(one.clone()), Lease::new(other.clone()));
        assert!(a.take(60 * KIB) && b.take(39 * KIB));
        assert!(!b.take(2 * KIB) && !a.take(2 * KIB) && b.take(KIB));
        drop(a);
        assert!(b.take(59 * KIB));
        drop(b);
        assert!(totals.taken(ReplayStore::Memory) <= 4 * one.step());
        drop((one, other));
        assert_eq!(totals.taken(ReplayStore::Memory), 0);
    }

    #[test]
    fn a_thread_asks_the_others_once_for_many_requests() {
        let totals = totals();
        let ledger = ledger(&totals, 1 << 30);
        let first = {
            let mut lease = Lease::new(ledger.clone());
            assert!(lease.take(1));
            totals.taken(ReplayStore::Memory)
        };
        for _ in 0..100 {
            let mut lease = Lease::new(ledger.clone());
            assert!(lease.take(10 * KIB));
            assert_eq!(totals.taken(ReplayStore::Memory), first);
        }
        let mut large = Lease::new(ledger.clone());
        assert!(large.take(100 << 20));
        drop(large);
        assert!(totals.taken(ReplayStore::Memory) <= 2 * LEASE);
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_allowed() {
        let totals = totals();
        let ledger = ledger(&totals, 0);
        assert!(ledger.is_short() && !Lease::new(ledger.clone()).take(1));
        let held = Held::new(&totals, ReplayStore::Spool);
        assert!(!held.try_more(11, 10) && held.try_more(10, 10) && !held.try_more(1, 10));
        held.more(5);
        assert_eq!(totals.taken(ReplayStore::Spool), 15);
        drop(held);
        assert_eq!(totals.taken(ReplayStore::Spool), 0);
    }
}
