//! The connections to one region of one upstream, counted, and the requests that wait for one.
//!
//! `max_connections` and `max_pending` bound the whole process, so every thread counts here: each
//! time a connection is opened or closed, never when one is used again. What a request on a pooled
//! connection pays is one load of a number that stays 0 until somebody waits.
//!
//! Who waits is served in order, by whoever frees something: a connection that is put down, or a
//! stream of one, goes to the first request for its endpoint; a place for a new connection to the
//! first request whose endpoint has room. Locks are taken in this order: gate, shelf; and nothing
//! that takes a lock when it ends is dropped under one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use smallvec::SmallVec;
use tidegate_core::plan::{CircuitBreaker, Limits};
use tidegate_core::{EndpointCell, RegionCell};
use tidegate_telemetry::metrics::UpstreamHandle;

use super::directory::{Scope, WeakDirectory};
use super::key::Key;
use super::queue::{Grant, Queue, Waiter};
use super::shelf::Evicted;
use super::target::Target;

/// So many requests may wait where `max_connections` is given and `max_pending` is not, as with
/// Envoy: a line without a bound makes an outage of an overload.
const PENDING: u32 = 1024;

/// What `circuit_breaker` allows, as one plan has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowed {
    /// Whose word it is: the newest plan's stands. 0: nobody's, 1: that of a plan which serves a part, and
    /// is heard where nobody else has spoken; 2 and above by the number of a plan that serves.
    rank: u64,
    endpoint: Limits,
    region: Limits,
}

/// One region of one upstream.
pub(crate) struct Gate {
    /// Keeps the region's address taken, not the region.
    region: Weak<RegionCell>,
    directory: WeakDirectory,
    waiting: Apart<AtomicUsize>,
    inside: Mutex<Inside>,
}

/// On cache lines of its own: every request reads it, and its neighbours are written.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Default)]
struct Inside {
    allowed: Allowed,
    open: u32,
    /// By the address of the endpoint's cell; only those with something open.
    endpoints: HashMap<usize, u32>,
    queue: Queue,
}

/// Counts one connection as open, or being opened, until it is dropped. One word, because it moves
/// with its connection and is looked at only in the end.
pub(crate) struct Ticket(Box<(Arc<Gate>, Seat)>);

/// Whose connection it is. Keeps the address of the endpoint's cell taken.
#[derive(Clone)]
pub(super) struct Seat {
    endpoint: Arc<EndpointCell>,
    series: UpstreamHandle,
}

/// Tells a gate that a stream of an HTTP/2 connection has become free.
pub(crate) struct FreeStream {
    gate: Arc<Gate>,
    key: Key,
}

/// A bound on who may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// `endpoint` or `region`, as in `circuit_breaker`.
    pub(super) level: &'static str,
    /// Connections that may be open there.
    pub(super) max_connections: u32,
    /// Requests that may wait for one.
    pub(super) max_pending: u32,
}

/// What could not be given, to be dropped once no lock is held.
type Leftovers = SmallVec<[Grant; 1]>;

impl Allowed {
    /// What the plan of this number (1 and above) says.
    pub(crate) fn new(generation: u64, breaker: &CircuitBreaker) -> Self {
        Self::of(generation.saturating_add(1), breaker)
    }

    /// What a plan says that serves a part beside another.
    pub(crate) fn beside(breaker: &CircuitBreaker) -> Self {
        Self::of(1, breaker)
    }

    fn of(rank: u64, breaker: &CircuitBreaker) -> Self {
        Self {
            rank,
            endpoint: breaker.endpoint,
            region: breaker.region,
        }
    }
}

impl Gate {
    pub(super) fn new(region: &Arc<RegionCell>, directory: WeakDirectory) -> Self {
        Self {
            region: Arc::downgrade(region),
            directory,
            waiting: Apart::default(),
            inside: Mutex::default(),
        }
    }

    /// Whether anybody else still knows the region.
    pub(super) fn is_known(&self) -> bool {
        self.region.strong_count() > 0
    }

    /// Whether anybody waits. To be asked after what may end the waiting was done under a shelf's
    /// lock, or in a sequentially consistent step: then nobody who came too late to see it is missed.
    pub(super) fn waits(&self) -> bool {
        self.waiting.0.load(Ordering::SeqCst) > 0
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a plan allows, if it is the newest, and lets in whom it makes room for.
    pub(super) fn learn(self: &Arc<Self>, allowed: Allowed) {
        let mut inside = self.lock();
        let leftovers = self.relearn(&mut inside, allowed);
        drop(inside);
        drop(leftovers);
    }

    fn relearn(self: &Arc<Self>, inside: &mut Inside, allowed: Allowed) -> Leftovers {
        if allowed.rank <= inside.allowed.rank {
            return Leftovers::new();
        }
        inside.allowed = allowed;
        self.let_in(inside)
    }

    /// The right to open a connection to `target`, if there is room for one more. Whoever waits has
    /// no room, or would have been let in: nobody is overtaken.
    pub(super) fn enter(self: &Arc<Self>, target: &Target<'_>) -> Option<Ticket> {
        let mut inside = self.lock();
        let leftovers = self.relearn(&mut inside, target.profile.allowed);
        let room = inside.has_room(target.key().endpoint());
        let ticket = room.then(|| self.admit(&mut inside, Seat::of(target)));
        drop(inside);
        drop(leftovers);
        ticket
    }

    /// Whether there is room for one more connection to `target`.
    pub(super) fn has_room(&self, target: &Target<'_>) -> bool {
        self.lock().has_room(target.key().endpoint())
    }

    fn admit(self: &Arc<Self>, inside: &mut Inside, seat: Seat) -> Ticket {
        inside.open += 1;
        *inside.endpoints.entry(seat.address()).or_default() += 1;
        seat.series.opening();
        Ticket(Box::new((self.clone(), seat)))
    }

    fn leave(self: &Arc<Self>, endpoint: usize) {
        let mut inside = self.lock();
        inside.close(endpoint);
        let leftovers = self.let_in(&mut inside);
        drop(inside);
        drop(leftovers);
    }

    /// Lets in those whose turn it is, as far as there is room.
    fn let_in(self: &Arc<Self>, inside: &mut Inside) -> Leftovers {
        let mut leftovers = Leftovers::new();
        while let Some(waiter) = inside.next_with_room() {
            let ticket = self.admit(inside, waiter.seat.clone());
            leftovers.extend(waiter.tell(Grant::Place(ticket)));
        }
        self.count_waiting(inside);
        leftovers
    }

    fn count_waiting(&self, inside: &Inside) {
        self.waiting.0.store(inside.queue.len(), Ordering::SeqCst);
    }

    /// Stands in line, and makes room by closing what idles in the way. An error is the bound that
    /// forbids to wait.
    pub(super) fn join(self: &Arc<Self>, waiter: Waiter) -> Result<(), Reached> {
        let (key, id) = (waiter.key, waiter.id());
        let mut inside = self.lock();
        if let Some(reached) = inside.refuses(key.endpoint()) {
            return Err(reached);
        }
        inside.queue.push(waiter);
        let leftovers = self.look_around(&mut inside, key);
        let idle = inside
            .queue
            .holds(id)
            .then(|| self.evict(&inside, key.endpoint()));
        drop(inside);
        drop((leftovers, idle));
        Ok(())
    }

    /// Stands in line again, before everybody else: what was given turned out to be of no use.
    pub(super) fn join_first(self: &Arc<Self>, waiter: Waiter) {
        let key = waiter.key;
        let mut inside = self.lock();
        inside.queue.push_first(waiter);
        let leftovers = self.look_around(&mut inside, key);
        drop(inside);
        drop(leftovers);
    }

    /// Whatever became free before somebody stood in line, nobody was told of.
    fn look_around(self: &Arc<Self>, inside: &mut Inside, key: Key) -> [Leftovers; 2] {
        self.count_waiting(inside);
        [self.let_in(inside), self.serve(inside, key)]
    }

    /// Leaves the line, if it still stands there.
    pub(super) fn quit(&self, id: usize) {
        let mut inside = self.lock();
        let waiter = inside.queue.remove(id);
        self.count_waiting(&inside);
        drop(inside);
        drop(waiter);
    }

    /// A connection of this key was put down, or a stream of one became free: those who wait for it
    /// get it. One that nobody wants and that keeps somebody waiting is closed.
    #[cold]
    pub(super) fn freed(&self, key: Key) {
        let mut inside = self.lock();
        let leftovers = self.serve(&mut inside, key);
        let idle = inside
            .is_blocked_by(key.endpoint())
            .then(|| self.directory.get()?.evict(self, Scope::Key(key)));
        drop(inside);
        drop((leftovers, idle));
    }

    /// Gives what is free on any shelf under `key` to those who wait for it, in order.
    fn serve(&self, inside: &mut Inside, key: Key) -> Leftovers {
        let mut leftovers = Leftovers::new();
        let Some(directory) = self.directory.get() else {
            return leftovers;
        };
        while let Some((at, since)) = inside.queue.first_for(key) {
            let Some(picked) = directory.pick(key, since) else {
                break;
            };
            leftovers.extend(inside.queue.give(at, Grant::Link(Box::new(picked))));
        }
        self.count_waiting(inside);
        leftovers
    }

    /// The connection that idled longest of those that keep a request for this endpoint waiting.
    fn evict(&self, inside: &Inside, endpoint: usize) -> Option<Evicted> {
        let scope = if inside.is_full(endpoint) {
            Scope::Endpoint(endpoint)
        } else {
            Scope::Region
        };
        self.directory.get()?.evict(self, scope)
    }
}

impl Inside {
    fn has_room(&self, endpoint: usize) -> bool {
        !self.is_region_full() && !self.is_full(endpoint)
    }

    fn is_region_full(&self) -> bool {
        reaches(self.open, self.allowed.region.max_connections)
    }

    fn is_full(&self, endpoint: usize) -> bool {
        let open = self.endpoints.get(&endpoint).copied().unwrap_or(0);
        reaches(open, self.allowed.endpoint.max_connections)
    }

    fn close(&mut self, endpoint: usize) {
        self.open -= 1;
        if let Some(open) = self.endpoints.get_mut(&endpoint) {
            *open -= 1;
            if *open == 0 {
                self.endpoints.remove(&endpoint);
            }
        }
    }

    fn next_with_room(&mut self) -> Option<Waiter> {
        if self.queue.is_empty() || self.is_region_full() {
            return None;
        }
        let queue = &self.queue;
        let at = queue.position(|waiter| !self.is_full(waiter.key.endpoint()))?;
        self.queue.take(at)
    }

    /// The bound that keeps a request for this endpoint from waiting.
    fn refuses(&self, endpoint: usize) -> Option<Reached> {
        let here = || self.queue.count_for(endpoint);
        let region = reached("region", &self.allowed.region, self.queue.len());
        let region = region.filter(|_| self.is_region_full());
        region.or_else(|| {
            reached("endpoint", &self.allowed.endpoint, here()).filter(|_| self.is_full(endpoint))
        })
    }

    /// Whether a connection of this endpoint keeps somebody waiting.
    fn is_blocked_by(&self, endpoint: usize) -> bool {
        (self.is_region_full() && !self.queue.is_empty())
            || (self.is_full(endpoint) && self.queue.count_for(endpoint) > 0)
    }
}

fn reaches(count: u32, max: Option<u32>) -> bool {
    max.is_some_and(|max| count >= max)
}

fn reached(level: &'static str, limits: &Limits, waiting: usize) -> Option<Reached> {
    let max_pending = limits.max_pending.unwrap_or(PENDING);
    (waiting >= max_pending as usize).then(|| Reached {
        level,
        max_connections: limits.max_connections.unwrap_or(u32::MAX),
        max_pending,
    })
}

impl Seat {
    pub(super) fn of(target: &Target<'_>) -> Self {
        Self {
            endpoint: target.endpoint.cell.clone(),
            series: target.series.clone(),
        }
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.endpoint) as usize
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (gate, seat) = &*self.0;
        seat.series.closed();
        gate.leave(seat.address());
    }
}

impl FreeStream {
    pub(super) fn new(gate: Arc<Gate>, key: Key) -> Self {
        Self { gate, key }
    }

    /// To be told after the sequentially consistent step that made the stream free. One load while
    /// nobody waits.
    pub(crate) fn tell(&self) {
        if self.gate.waits() {
            self.gate.freed(self.key);
        }
    }
}

#[cfg(test)]
mod tests;
