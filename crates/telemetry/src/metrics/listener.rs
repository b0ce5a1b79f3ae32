//! Connections of clients, by listener.

use super::shard::{Counts, Gauge, Shards, mine, total};
use crate::labels::{HandshakeFailure, Label, TlsVersion};

/// The series of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ListenerSeries(Shards<Shard>);

/// Counts one connection as open until it is dropped, on whatever thread that happens.
#[derive(Debug)]
pub struct OpenConnection(ListenerSeries);

/// One thread's part of a listener's series.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Shard {
    established: Counts<TlsVersion, { TlsVersion::ALL.len() }>,
    failures: Counts<HandshakeFailure, { HandshakeFailure::ALL.len() }>,
    open: Gauge,
}

impl ListenerSeries {
    pub(super) fn new(shards: Shards<Shard>) -> Self {
        Self(shards)
    }

    /// Counts a connection that was accepted as open, its TLS handshake included.
    pub fn open(&self) -> OpenConnection {
        mine(&self.0).open.step(1);
        OpenConnection(self.clone())
    }

    /// Counts a connection that is ready for requests: after its handshake, or at once in plaintext.
    pub fn established(&self, tls: TlsVersion) {
        mine(&self.0).established.add(tls);
    }

    /// Counts a connection that ended within its handshake.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        mine(&self.0).failures.add(why);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        mine(&self.0.0).open.step(-1);
    }
}

/// Connections open now.
pub(super) fn open_total(shards: &[Shard]) -> i64 {
    shards.iter().map(|shard| shard.open.get()).sum()
}

/// Connections established with this version of TLS.
pub(super) fn established_total(shards: &[Shard], tls: TlsVersion) -> u64 {
    total(shards, |shard| &shard.established, tls)
}

/// Connections that ended within the handshake for this reason.
pub(super) fn failures_total(shards: &[Shard], why: HandshakeFailure) -> u64 {
    total(shards, |shard| &shard.failures, why)
}
