//! What is kept of requests' bodies, so that they can be sent again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::shard::{Counts, Gauge, add};
use crate::labels::{Label, ReplayLost, ReplayStore};

/// One thread's part.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: [Gauge; ReplayStore::ALL.len()],
    spooled: AtomicU64,
    gathered: AtomicU64,
    pub(super) lost: Counts<ReplayLost, { ReplayLost::ALL.len() }>,
}

impl Replay {
    pub(super) fn kept(&self, store: ReplayStore, delta: i64) {
        self.kept[store.index()].step(delta);
    }

    pub(super) fn spooled(&self, bytes: u64) {
        add(&self.spooled, bytes);
    }

    pub(super) fn gathered(&self) {
        add(&self.gathered, 1);
    }

    /// Bytes kept there. One thread's part can be negative, as another may have freed what it kept.
    pub(super) fn bytes(&self, store: ReplayStore) -> i64 {
        self.kept[store.index()].get()
    }

    pub(super) fn spooled_total(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    pub(super) fn gathered_total(&self) -> u64 {
        self.gathered.load(Ordering::Relaxed)
    }
}
