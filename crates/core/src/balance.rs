//! Which endpoint of the chosen region.

use std::time::Instant;

use fastrand::Rng;

use crate::endpoint::EndpointSet;

/// The endpoints that a request has tried already, by position in the set of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried(u64);

impl Tried {
    /// Adds the endpoint at `position`. Beyond 63 it is not remembered: it may be tried again.
    pub fn insert(&mut self, position: usize) {
        if position < 64 {
            self.0 |= 1 << position;
        }
    }

    /// Whether the endpoint at `position` was tried.
    pub fn contains(self, position: usize) -> bool {
        position < 64 && self.0 & (1 << position) != 0
    }
}

/// The position of the endpoint to use; none when no usable one is left that was not tried.
pub fn pick(set: &EndpointSet, tried: Tried, _now: Instant, _rng: &mut Rng) -> Option<usize> {
    (0..set.endpoints.len()).find(|&at| set.open(at, tried))
}
