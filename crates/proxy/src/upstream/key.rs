//! What an upstream connection is kept under: the endpoint's identity and how it is spoken to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use tidegate_core::EndpointCell;

/// Endpoint (by its cell's address, which whoever keeps the key must keep alive) and profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    cell: usize,
    profile: u64,
}

impl Key {
    /// The address of the endpoint's cell.
    pub(crate) fn endpoint(self) -> usize {
        self.cell
    }

    /// The key of connections to `cell` under the profile with this id.
    pub(crate) fn new(cell: &Arc<EndpointCell>, profile: u64) -> Self {
        Self {
            cell: Arc::as_ptr(cell) as usize,
            profile,
        }
    }
}

/// A map by [`Key`]. Keys are our own pointers and counters, so a cheap hash is safe.
pub(crate) type ByKey<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// Multiplies and rotates; only for keys that no outsider chooses.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // An odd constant with well spread bits: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
