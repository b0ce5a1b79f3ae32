//! Counters of what happens rarely: one lock, and no memory before the first event.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts by key, at most so many keys.
#[derive(Debug)]
pub(super) struct Rare<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Rare<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone> Rare<K> {
    /// Counts one of `key`; of `other` if it is new and there are `limit` already.
    pub(super) fn add(&self, key: K, limit: usize, other: impl FnOnce() -> K) {
        let mut all = self.lock();
        let key = match all.len() < limit || all.contains_key(&key) {
            true => key,
            false => other(),
        };
        *all.entry(key).or_default() += 1;
    }

    /// Everything, in the order of keys.
    pub(super) fn sorted(&self) -> Vec<(K, u64)> {
        let all = self.lock();
        all.iter()
            .map(|(key, count)| (key.clone(), *count))
            .collect()
    }

    /// Forgets the keys that `keep` denies.
    pub(super) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.lock().retain(|key, _| keep(key));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_rest_is_counted_together() {
        let rare = Rare::default();
        for key in ["b", "a", "c", "b", "d"] {
            rare.add(key, 2, || "other");
        }
        assert_eq!(rare.sorted(), [("a", 1), ("b", 2), ("other", 2)]);
        rare.retain(|key| *key != "a");
        assert_eq!(rare.sorted().len(), 2);
    }
}
