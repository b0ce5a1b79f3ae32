//! Attempts under way in one place.

use std::sync::atomic::{AtomicU32, Ordering};

/// Attempts under way at an endpoint or in a region, and those of them that are retries.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    attempts: AtomicU32,
    retries: AtomicU32,
}

impl UnderWay {
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// One that has begun is a retry.
    pub(super) fn is_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, retry: bool) {
        if retry {
            self.retries.fetch_sub(1, Ordering::Relaxed);
        }
        self.attempts.fetch_sub(1, Ordering::Relaxed);
    }
}
