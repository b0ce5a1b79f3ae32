//! Shows what requests come, while somebody tries another plan on them.
//!
//! A tap that is closed costs a request one load. One that is open costs some of them a copy of their
//! head: each worker puts what it sees into a basket of its own, of which nobody hears, and whoever
//! looks empties the baskets when it likes. What does not fit is counted and left out, so nothing waits
//! for the one who looks, and how often that is bounds what is shown in a second. No body is ever shown.
//! Heads may hold secrets (cookies, keys): they stay in memory and are gone when the tap is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_core::decision::{Pin, PinnedBy};
use tidegate_core::shadow::{Case, Pinned};
use tidegate_core::{Ask, RegionSet, Snapshot, Termination};

use crate::admit::{Admitted, Turned};
use crate::clock::now;
use crate::context::Context;
use crate::head::RequestHead;
use crate::keys::Parts;

/// Requests that a worker keeps until somebody takes them.
const BASKET: usize = 256;
/// A head that is longer is left out: its copy would cost too much.
const FIELDS_BYTES_MAX: usize = 32 * 1024;

/// Where requests are shown. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Tap(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: AtomicBool,
    baskets: Box<[Basket]>,
}

/// What one worker has put down. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Basket {
    cases: Mutex<Vec<Case>>,
    missed: AtomicU64,
}

impl Tap {
    /// A closed tap of so many workers.
    pub(crate) fn new(threads: usize) -> Self {
        Self(Arc::new(Inner {
            open: AtomicBool::new(false),
            baskets: (0..threads).map(|_| Basket::default()).collect(),
        }))
    }

    /// From now on requests are shown.
    pub fn open(&self) {
        self.0.open.store(true, Ordering::Relaxed);
    }

    /// No more requests are shown; those that nobody took are thrown away.
    pub fn close(&self) {
        self.0.open.store(false, Ordering::Relaxed);
        self.take(&mut Vec::new());
    }

    /// Moves what was shown since the last time to the end of `cases`; says how many requests besides
    /// were not, for want of room.
    pub fn take(&self, cases: &mut Vec<Case>) -> u64 {
        let mut missed = 0;
        for basket in &self.0.baskets {
            // The worker waits for no more than the exchange of two pointers.
            let taken = std::mem::take(&mut *basket.cases.lock());
            cases.extend(taken);
            missed += basket.missed.swap(0, Ordering::Relaxed);
        }
        missed
    }

    /// Whether requests are to be shown.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Puts a case down in the basket of this worker, unless that is full.
    fn put(&self, worker: usize, case: impl FnOnce() -> Option<Case>) {
        let basket = &self.0.baskets[worker];
        // Only this worker adds, so what has room now has room afterwards.
        let full = basket.cases.lock().len() >= BASKET;
        match (!full).then(case).flatten() {
            Some(case) => basket.cases.lock().push(case),
            None => {
                basket.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Shows a request that was admitted, or refused, unless it was no good request.
#[cold]
pub(crate) fn show<T>(
    context: &Context,
    head: &RequestHead,
    admitted: &Result<(Admitted, T), Turned>,
) {
    let pinned = match admitted {
        Ok((admitted, _)) => pinned(head, admitted),
        Err(Turned::Refused(refusal, _)) if refusal.termination == Termination::BadRequest => {
            return;
        }
        Err(_) => None,
    };
    let worker = &context.worker;
    worker.shared.tap.put(worker.pool.index(), || {
        let request = Snapshot::of(&Parts { context, head });
        let bytes: usize = request.fields.iter().map(|(_, value)| value.len()).sum();
        (bytes <= FIELDS_BYTES_MAX).then(|| Case {
            request,
            pinned,
            seed: worker.rng.borrow_mut().u64(..),
        })
    });
}

/// The place that the request has to go to, by name.
fn pinned(head: &RequestHead, admitted: &Admitted) -> Option<Pinned> {
    let Pin {
        region,
        endpoint,
        by,
    } = pin(head, admitted)?;
    Some(Pinned {
        region: admitted.route.region(region).clone(),
        endpoint,
        by,
    })
}

fn pin(head: &RequestHead, admitted: &Admitted) -> Option<Pin> {
    if let Some(region) = admitted.named {
        return Some(Pin {
            region,
            endpoint: None,
            by: PinnedBy::Override,
        });
    }
    let bonds = admitted.upstream.bonds.as_ref()?;
    let mut ask = Ask::new(RegionSet::ALL, now());
    bonds.read(head, &mut ask);
    ask.pin
}
