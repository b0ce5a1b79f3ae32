//! The starts that are under way, for whoever tells how regions stand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::Place;

/// The starts under way, by upstream and region.
#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<BTreeSet<Place>>);

/// A start that is under way until this is dropped.
pub(super) struct UnderWay {
    starts: Arc<Starts>,
    place: Place,
}

impl Starts {
    /// Enters a start.
    pub(super) fn begin(self: &Arc<Self>, place: &Place) -> UnderWay {
        self.lock().insert(place.clone());
        UnderWay {
            starts: self.clone(),
            place: place.clone(),
        }
    }

    /// Whether this region of this upstream is being started.
    pub(crate) fn has(&self, upstream: &Arc<str>, region: &Arc<str>) -> bool {
        self.lock().contains(&(upstream.clone(), region.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.starts.lock().remove(&self.place);
    }
}
