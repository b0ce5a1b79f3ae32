//! Streams of a connection that were given up before their answer.
//!
//! When a region falls silent, all that may go elsewhere does, and a peer that thaws then finds a
//! hundred requests with a hundred resets behind them. Servers take that for an attack (CVE-2023-44487)
//! and end the connection, with the requests on it that must not be done twice and had to wait. So of
//! many streams that are given up between two signs of life only the first are reset at once; the
//! others are kept, and reset when the peer is heard, a few at first.

use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use h2::client::ResponseFuture;
use parking_lot::Mutex;

use super::body::SendBody;
use super::client::Permit;

/// So many streams are reset without a sign of life. Servers put up with some twenty.
const RESETS: usize = 8;
/// Each sign of life lets so many times as many follow: the peer has read what it was sent before.
const GROWTH: usize = 4;

/// The streams of one connection that were given up.
pub(super) struct GivenUp {
    /// Resets since the peer was last heard.
    resets: AtomicUsize,
    waiting: AtomicUsize,
    /// None once the connection has ended.
    kept: Mutex<Option<Kept>>,
}

/// The streams that are to be reset later.
struct Kept {
    streams: Vec<Abandoned>,
    /// As many as this at the next sign of life.
    next: usize,
}

/// A stream whose answer nobody waits for.
pub(super) struct Abandoned {
    pub(super) upload: SendBody,
    /// Dropped, it would reset the stream.
    pub(super) _response: ResponseFuture,
    /// The stream is in use until it is reset.
    pub(super) _permit: Permit,
}

impl Default for GivenUp {
    fn default() -> Self {
        Self {
            resets: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            kept: Mutex::new(Some(Kept::default())),
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            next: RESETS * GROWTH,
        }
    }
}

impl GivenUp {
    /// Resets the stream, now or later.
    pub(super) fn add(&self, stream: Abandoned) {
        if self.resets.fetch_add(1, Ordering::Relaxed) < RESETS {
            return stream.reset();
        }
        if let Some(kept) = &mut *self.kept.lock() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            return kept.streams.push(stream);
        }
        // Without the lock, for what goes may tell others.
        drop(stream);
    }

    /// The peer was heard; says whether streams still wait for it to be heard again. Costs a load or
    /// two as long as nothing was given up.
    pub(super) fn heard(&self) -> bool {
        if self.resets.load(Ordering::Relaxed) > 0 {
            self.resets.store(0, Ordering::Relaxed);
        }
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.reset_some();
        }
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn reset_some(&self) {
        let some = self.kept.lock().as_mut().map_or_else(Vec::new, Kept::take);
        self.waiting.fetch_sub(some.len(), Ordering::Relaxed);
        some.into_iter().for_each(Abandoned::reset);
    }

    /// The connection has ended: nothing has to be reset any more.
    pub(super) fn forget(&self) {
        let kept = self.kept.lock().take();
        drop(kept);
    }
}

impl Kept {
    fn take(&mut self) -> Vec<Abandoned> {
        let from = self.streams.len().saturating_sub(self.next);
        let last = if from == 0 { RESETS } else { self.next };
        self.next = last.saturating_mul(GROWTH);
        self.streams.drain(from..).collect()
    }
}

impl Abandoned {
    fn reset(mut self) {
        self.upload.reset(Reason::CANCEL);
    }
}
