//! What a request has tried.

use smallvec::SmallVec;

use super::MAX_ATTEMPTS;
use crate::balance::Tried;

/// The endpoints that a request has tried, in all its regions.
///
/// A try counts for the version of the set in which it was made: when discovery swaps the set in
/// between, positions mean something else, and the tries in that region are forgotten.
///
/// Asks are moved and copied, and few requests try more than four in a region: room for more lies
/// elsewhere.
#[derive(Clone, Debug, Default)]
pub struct TriedEndpoints(SmallVec<[Try; 4]>);

#[derive(Clone, Copy, Debug)]
struct Try {
    version: u64,
    endpoint: u32,
    position: u8,
}

impl TriedEndpoints {
    /// Whether nothing was tried.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Enters a try. Beyond [`MAX_ATTEMPTS`] it is not remembered.
    pub fn insert(&mut self, position: u8, version: u64, endpoint: usize) {
        if self.0.len() >= MAX_ATTEMPTS {
            return;
        }
        self.0.push(Try {
            version,
            endpoint: u32::try_from(endpoint).unwrap_or(u32::MAX),
            position,
        });
    }

    /// What was tried in the region at `position`, in this version of its set.
    pub fn within(&self, position: u8, version: u64) -> Tried {
        let mut tried = Tried::default();
        for entry in self
            .0
            .iter()
            .filter(|entry| (entry.position, entry.version) == (position, version))
        {
            tried.insert(entry.endpoint as usize);
        }
        tried
    }

    /// Forgets the tries in the region at `position`: its endpoints may be asked again.
    pub fn forget(&mut self, position: u8) {
        self.0.retain(|entry| entry.position != position);
    }
}
