//! What an endpoint or a region said of itself, and until when that holds.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::health::Health;

/// A word that holds until its moment, or until it is taken back. Empty at first.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// `Unknown` is nothing.
    health: AtomicU8,
    /// Milliseconds since the owner's origin, plus one; 0: until it is said otherwise.
    until: AtomicU64,
}

impl Said {
    pub(super) fn get(&self) -> Health {
        Health::from_u8(self.health.load(Ordering::Relaxed))
    }

    /// Enters a word, `until` counted from the owner's origin. Says whether the word changed.
    pub(super) fn set(&self, health: Health, until: Option<Duration>) -> bool {
        let until = until.map_or(0, |until| until.as_millis() as u64 + 1);
        self.until.store(until, Ordering::Relaxed);
        self.health.swap(health as u8, Ordering::Relaxed) != health as u8
    }

    /// Whether the word's moment has come, `now` counted from the owner's origin.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && now.as_millis() as u64 + 1 >= until
    }
}
