//! One thread's idle connections, where the other threads can reach them.
//!
//! Its owner takes the lock for every request, uncontended; the others only before they would open
//! a new connection, and they do not wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tidegate_core::EndpointCell;
use tidegate_telemetry::metrics::UpstreamHandle;

use super::checked::Origin;
use super::directory::Scope;
use super::gate::Gate;
use super::key::{ByKey, Key};
use crate::conn::Conn;
use crate::h2::client::{Channel, Handle, Reserved};

/// The idle connections of one thread.
#[derive(Default)]
pub(super) struct Shelf(Mutex<ByKey<Place>>);

/// The connections of one endpoint and profile.
pub(super) struct Place {
    /// Keeps the key's address taken.
    _cell: Arc<EndpointCell>,
    series: UpstreamHandle,
    gate: Arc<Gate>,
    idle_timeout: Duration,
    /// HTTP/1.1, the most recently used last.
    idle: Vec<Idle>,
    /// HTTP/2, whether streams are open or not.
    channels: Vec<Kept>,
    /// What the endpoint chose when it had the choice; none before.
    pub(super) speaks_h2: Option<bool>,
}

/// What a place had for a request.
pub(super) enum Picked {
    /// An HTTP/1.1 connection, still to be checked.
    Conn(Box<Conn>, Box<Origin>),
    /// A stream of an HTTP/2 connection.
    Stream(Handle),
}

/// An idle connection that was taken out to be closed.
pub(super) enum Evicted {
    Conn(#[expect(dead_code, reason = "to be dropped")] Box<Conn>),
    Channel(#[expect(dead_code, reason = "to be dropped")] Channel),
}

/// What became of a connection that was put down.
pub(super) struct PutDown {
    /// The one that idled longest, if there are too many now.
    pub(super) surplus: Option<Box<Conn>>,
    /// Where requests wait that may want it.
    pub(super) waiting: Option<Arc<Gate>>,
}

/// Connections that would be there for a request, and will be for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Warm {
    /// Of HTTP/1.1.
    pub(super) idle: u32,
    /// Whether there is one of HTTP/2 with streams to spare.
    pub(super) h2: bool,
}

struct Idle {
    conn: Box<Conn>,
    since: Instant,
    origin: Counted<Box<Origin>>,
}

struct Kept {
    channel: Channel,
    started: u64,
    since: Instant,
    /// Set while no stream is open, as far as the last sweep saw.
    counted: Option<Counted<UpstreamHandle>>,
}

/// Counts a connection as idle until it is dropped or taken out.
struct Counted<T: AsRef<UpstreamHandle>>(Option<T>);

impl Shelf {
    pub(super) fn lock(&self) -> MutexGuard<'_, ByKey<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless another thread holds it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, ByKey<Place>>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The place for connections of this origin, made if there is none.
    pub(super) fn with<R>(&self, origin: &Origin, run: impl FnOnce(&mut Place) -> R) -> R {
        let mut places = self.lock();
        let place = places.entry(origin.key);
        run(place.or_insert_with(|| Place::new(origin)))
    }

    /// Puts a connection down.
    pub(super) fn put(&self, origin: Box<Origin>, conn: Box<Conn>, since: Instant) -> PutDown {
        let mut places = self.lock();
        let place = places.entry(origin.key);
        let place = place.or_insert_with(|| Place::new(&origin));
        let surplus = place.put(conn, origin, since);
        let waiting = place.gate.waits().then(|| place.gate.clone());
        PutDown { surplus, waiting }
    }

    /// Takes out the connection of this key that has idled longest.
    pub(super) fn evict(&self, key: Key) -> Option<Evicted> {
        self.lock().get_mut(&key)?.evict()
    }

    /// Which of the gate's connections in `scope` has idled longest: since when, and its key.
    pub(super) fn longest_idle(&self, gate: &Gate, scope: Scope) -> Option<(Instant, Key)> {
        let places = self.lock();
        let meant = places.iter().filter(|(key, place)| {
            std::ptr::eq(&*place.gate, gate)
                && match scope {
                    Scope::Region => true,
                    Scope::Endpoint(endpoint) => key.endpoint() == endpoint,
                    Scope::Key(only) => **key == only,
                }
        });
        let idle = meant.filter_map(|(key, place)| Some((place.idle_since()?, *key)));
        idle.min_by_key(|(since, _)| *since)
    }

    /// What of this key will be there at the moment `at`, if nobody takes it before.
    pub(super) fn warm(&self, key: Key, at: Instant) -> Warm {
        let places = self.lock();
        places
            .get(&key)
            .map(|place| place.warm(at))
            .unwrap_or_default()
    }

    /// Drops what has idled too long or died. Says whether anything is left.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut dropped = Vec::new();
        let mut places = self.lock();
        for place in places.values_mut() {
            dropped.extend(place.expire(now));
        }
        places.retain(|_, place| !place.is_empty());
        !places.is_empty()
    }
}

impl Place {
    fn new(origin: &Origin) -> Self {
        Self {
            _cell: origin.cell.clone(),
            series: origin.series.clone(),
            gate: origin.gate.clone(),
            idle_timeout: origin.profile.idle_timeout,
            idle: Vec::new(),
            channels: Vec::new(),
            speaks_h2: None,
        }
    }

    fn put(&mut self, conn: Box<Conn>, origin: Box<Origin>, since: Instant) -> Option<Box<Conn>> {
        let max = origin.profile.idle_max as usize;
        let origin = Counted::new(origin);
        self.idle.push(Idle {
            conn,
            since,
            origin,
        });
        (self.idle.len() > max).then(|| self.idle.remove(0).conn)
    }

    /// A stream if one is to be had, else the HTTP/1.1 connection that was used last, unless that
    /// was before `since`.
    pub(super) fn pick(&mut self, since: Option<Instant>) -> Option<Picked> {
        let stream = self.reserve().map(Picked::Stream);
        stream.or_else(|| self.take(since))
    }

    fn take(&mut self, since: Option<Instant>) -> Option<Picked> {
        let last = self.idle.last()?;
        if since.is_some_and(|since| last.since < since) {
            return None;
        }
        let idle = self.idle.pop()?;
        Some(Picked::Conn(idle.conn, idle.origin.take()?))
    }

    /// Keeps an HTTP/2 connection.
    pub(super) fn keep(&mut self, channel: Channel, since: Instant) {
        self.channels.push(Kept {
            channel,
            started: 0,
            since,
            counted: None,
        });
    }

    /// A stream of the first connection that has one to spare. Connections that take no more are
    /// forgotten; they end with their last stream.
    fn reserve(&mut self) -> Option<Handle> {
        let mut found = None;
        self.channels.retain(|kept| {
            if found.is_some() {
                return true;
            }
            match kept.channel.reserve() {
                Reserved::Handle(handle) => found = Some(handle),
                Reserved::Full => {}
                Reserved::Gone => return false,
            }
            true
        });
        found
    }

    /// Whether there is an HTTP/2 connection, with a spare stream or without.
    pub(super) fn has_channel(&self) -> bool {
        !self.channels.is_empty()
    }

    fn idle_since(&self) -> Option<Instant> {
        let idle = self.idle.first().map(|idle| idle.since);
        idle.or_else(|| self.idle_channel().map(|at| self.channels[at].since))
    }

    fn idle_channel(&self) -> Option<usize> {
        let idle = |kept: &Kept| kept.channel.in_use() == 0;
        self.channels.iter().position(idle)
    }

    fn evict(&mut self) -> Option<Evicted> {
        if !self.idle.is_empty() {
            return Some(Evicted::Conn(self.idle.remove(0).conn));
        }
        let at = self.idle_channel()?;
        Some(Evicted::Channel(self.channels.remove(at).channel))
    }

    fn warm(&self, at: Instant) -> Warm {
        let stays = |since: Instant| at.saturating_duration_since(since) < self.idle_timeout;
        let idle = self.idle.iter().filter(|idle| stays(idle.since)).count();
        let spare = |kept: &Kept| kept.channel.has_spare() && (kept.is_used() || stays(kept.since));
        Warm {
            idle: u32::try_from(idle).unwrap_or(u32::MAX),
            h2: self.channels.iter().any(spare),
        }
    }

    fn expire(&mut self, now: Instant) -> Vec<Idle> {
        let limit = self.idle_timeout;
        self.channels
            .retain_mut(|kept| !kept.is_expired(now, limit, &self.series));
        self.idle
            .extract_if(.., |idle| idle.is_expired(now, limit))
            .collect()
    }

    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.channels.is_empty()
    }
}

impl<T: AsRef<UpstreamHandle>> Counted<T> {
    fn new(by: T) -> Self {
        by.as_ref().idle_began();
        Self(Some(by))
    }

    /// Counts no longer. There is always something to take.
    fn take(mut self) -> Option<T> {
        self.end()
    }

    fn end(&mut self) -> Option<T> {
        let by = self.0.take()?;
        by.as_ref().idle_ended();
        Some(by)
    }
}

impl<T: AsRef<UpstreamHandle>> Drop for Counted<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsRef<UpstreamHandle> for Box<Origin> {
    fn as_ref(&self) -> &UpstreamHandle {
        &self.series
    }
}

impl Idle {
    fn is_expired(&mut self, now: Instant, limit: Duration) -> bool {
        let expired =
            now.saturating_duration_since(self.since) >= limit || !is_quiet(&mut self.conn);
        self.conn.release();
        expired
    }
}

impl Kept {
    /// Whether a stream is open, or one was started since the last look.
    fn is_used(&self) -> bool {
        self.channel.started() != self.started || self.channel.in_use() > 0
    }

    /// Idle time counts from the sweep that first saw no stream open and none started since.
    fn is_expired(&mut self, now: Instant, limit: Duration, series: &UpstreamHandle) -> bool {
        if self.is_used() {
            self.started = self.channel.started();
            self.since = now;
            self.counted = None;
        } else {
            self.counted
                .get_or_insert_with(|| Counted::new(series.clone()));
        }
        self.channel.is_gone() || now.saturating_duration_since(self.since) >= limit
    }
}

/// Whether an idle connection is as it must be: open, with nothing to read.
pub(super) fn is_quiet(conn: &mut Conn) -> bool {
    conn.is_quiet(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
