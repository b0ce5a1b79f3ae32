//! What a region saw: every arrival, every named request, every byte.
//!
//! An arrival is counted before anything else happens to the request, so a duplicate that later fails is still
//! proof of a duplicate. Label values come from fixed sets and the number of remembered ids is bounded; what does
//! not fit is counted as such and never silently dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use http::Method;
use serde::Serialize;

use crate::sync::locked;

const IDS_MAX: usize = 2_000_000;
const ID_BYTES_MAX: usize = 128;

/// Counts of one region since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RegionSnapshot {
    /// The region.
    pub region: String,
    /// Requests by method and path class, as in `GET /bytes`. Unusual methods count as `OTHER`.
    pub requests: BTreeMap<String, u64>,
    /// Requests whose answer has not been written or given up yet.
    pub in_flight: u64,
    /// Distinct values of `x-lab-id`.
    pub ids: u64,
    /// Arrivals beyond the first of their id: 0 proves that nothing came twice.
    pub duplicates: u64,
    /// Arrivals whose id was too long, or too late to be remembered. Must be 0 for the other two to be proof.
    pub ids_forgotten: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// HTTP bytes received, above TLS.
    pub bytes_in: u64,
    /// HTTP bytes sent, above TLS.
    pub bytes_out: u64,
}

impl RegionSnapshot {
    /// All requests together.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.requests.values().sum()
    }
}

#[derive(Default)]
struct Arrivals {
    requests: BTreeMap<(&'static str, &'static str), u64>,
    ids: HashMap<String, u64>,
    duplicates: u64,
    ids_forgotten: u64,
}

#[derive(Default)]
pub(super) struct Ledger {
    arrivals: Mutex<Arrivals>,
    in_flight: AtomicU64,
    connections: AtomicU64,
    connections_open: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Ledger {
    /// Writes an arrival down. The request is in flight for as long as the visit lives.
    pub(super) fn arrive(
        self: &Arc<Self>,
        method: &Method,
        class: &'static str,
        id: Option<&[u8]>,
    ) -> Visit {
        let mut arrivals = locked(&self.arrivals);
        *arrivals
            .requests
            .entry((method_label(method), class))
            .or_default() += 1;
        if let Some(id) = id {
            arrivals.note(id);
        }
        drop(arrivals);
        self.in_flight.fetch_add(1, Relaxed);
        Visit(Arc::clone(self))
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connect(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Relaxed);
        self.connections_open.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn times_seen(&self, id: &str) -> u64 {
        locked(&self.arrivals).ids.get(id).copied().unwrap_or(0)
    }

    pub(super) fn ids(&self) -> Vec<(String, u64)> {
        locked(&self.arrivals)
            .ids
            .iter()
            .map(|(id, count)| (id.clone(), *count))
            .collect()
    }

    pub(super) fn snapshot(&self, region: &str) -> RegionSnapshot {
        let arrivals = locked(&self.arrivals);
        let named = arrivals.requests.iter();
        RegionSnapshot {
            region: region.to_owned(),
            requests: named
                .map(|((method, class), n)| (format!("{method} {class}"), *n))
                .collect(),
            in_flight: self.in_flight.load(Relaxed),
            ids: arrivals.ids.len() as u64,
            duplicates: arrivals.duplicates,
            ids_forgotten: arrivals.ids_forgotten,
            connections: self.connections.load(Relaxed),
            connections_open: self.connections_open.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
        }
    }
}

impl Arrivals {
    fn note(&mut self, id: &[u8]) {
        let id = std::str::from_utf8(id)
            .ok()
            .filter(|id| id.len() <= ID_BYTES_MAX);
        let Some(id) = id else {
            self.ids_forgotten += 1;
            return;
        };
        if let Some(count) = self.ids.get_mut(id) {
            *count += 1;
            self.duplicates += 1;
        } else if self.ids.len() < IDS_MAX {
            self.ids.insert(id.to_owned(), 1);
        } else {
            self.ids_forgotten += 1;
        }
    }
}

/// A request in flight.
pub(super) struct Visit(Arc<Ledger>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A connection that is open.
pub(super) struct OpenConnection(Arc<Ledger>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Relaxed);
    }
}

fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_counted_beyond_the_first() {
        let ledger = Arc::new(Ledger::default());
        for id in ["a", "b", "a", "a"] {
            drop(ledger.arrive(&Method::GET, "/", Some(id.as_bytes())));
        }
        let seen = ledger.snapshot("eu");
        assert_eq!((seen.ids, seen.duplicates, seen.ids_forgotten), (2, 2, 0));
        assert_eq!((ledger.times_seen("a"), ledger.times_seen("c")), (3, 0));
        assert_eq!(seen.requests["GET /"], 4);
    }

    #[test]
    fn hostile_labels_are_bounded() {
        let ledger = Arc::new(Ledger::default());
        let odd = Method::from_bytes(b"BREW").unwrap();
        drop(ledger.arrive(&odd, "/", Some(&[b'x'; 129])));
        drop(ledger.arrive(&odd, "/", Some(&[0xff])));
        let seen = ledger.snapshot("eu");
        assert_eq!(seen.requests["OTHER /"], 2);
        assert_eq!((seen.ids, seen.ids_forgotten), (0, 2));
    }

    #[test]
    fn guards_are_gauges() {
        let ledger = Arc::new(Ledger::default());
        let visit = ledger.arrive(&Method::GET, "/", None);
        let connection = ledger.connect();
        let open = ledger.snapshot("eu");
        assert_eq!((open.in_flight, open.connections_open), (1, 1));
        drop((visit, connection));
        let shut = ledger.snapshot("eu");
        assert_eq!(
            (shut.in_flight, shut.connections_open, shut.connections),
            (0, 0, 1)
        );
    }
}
