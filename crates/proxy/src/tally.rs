//! How many things are still under way, counted by guards, and the moment when none is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A count that any thread raises and one task waits on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    empty: Notify,
}

/// Counts as one until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Inner>);

impl Tally {
    /// One more.
    pub(crate) fn count(&self) -> Counted {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Counted(self.0.clone())
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Waits until none is left. For one task at a time.
    pub(crate) async fn empty(&self) {
        while self.open() > 0 {
            // A notice that was given before we ask is kept for us.
            self.0.empty.notified().await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.empty.notify_one();
        }
    }
}
