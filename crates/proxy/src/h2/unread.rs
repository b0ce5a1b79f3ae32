//! Streams of one connection whose bytes lie here because their clients do not read.
//!
//! All streams together may fill `CONNECTION_WINDOW`, each of them `STREAM_WINDOW`. As many as fill
//! it unread hold up every other stream: then silence says nothing of the peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{CONNECTION_WINDOW, STREAM_WINDOW};

/// Fewer than this leave the peer some of the window.
const ENOUGH: usize = (CONNECTION_WINDOW / STREAM_WINDOW) as usize;

/// Counts the unread streams of one connection.
#[derive(Clone, Default)]
pub(super) struct UnreadStreams(Arc<AtomicUsize>);

/// One of them, until it is dropped.
pub(super) struct Unread(UnreadStreams);

impl UnreadStreams {
    /// One more.
    pub(super) fn begin(&self) -> Unread {
        self.0.fetch_add(1, Ordering::Relaxed);
        Unread(self.clone())
    }

    /// Whether they may hold up all the others.
    pub(super) fn may_fill_the_window(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENOUGH
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_fill_the_window_hold_up_the_others() {
        let streams = UnreadStreams::default();
        let mut unread: Vec<_> = (1..ENOUGH).map(|_| streams.begin()).collect();
        assert!(!streams.may_fill_the_window());
        unread.push(streams.begin());
        assert!(streams.may_fill_the_window());
        unread.pop();
        assert!(!streams.may_fill_the_window());
    }
}
