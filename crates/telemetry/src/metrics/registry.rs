//! Where series live by name: the same shards for the same names, whichever plan asks.
//!
//! Looked up once per name and plan, under a lock; the hot path holds what it got. A bound keeps
//! names from a configuration with many routes from filling memory here and in every scraper.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shard::{Shards, fresh};

/// Shards by key.
#[derive(Debug)]
pub(crate) struct Registry<K, T>(Mutex<HashMap<K, Shards<T>>>);

impl<K, T> Default for Registry<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Ord + Clone, T: Default> Registry<K, T> {
    /// The shards of `key`, made at first use.
    pub(crate) fn get(&self, key: K) -> Shards<T> {
        self.lock().entry(key).or_insert_with(fresh).clone()
    }

    /// The shards of `key`; those of `other` if it is new and there are `limit` already.
    pub(crate) fn get_within(&self, key: K, limit: usize, other: impl FnOnce() -> K) -> Shards<T> {
        let mut all = self.lock();
        let key = if all.len() < limit || all.contains_key(&key) {
            key
        } else {
            other()
        };
        all.entry(key).or_insert_with(fresh).clone()
    }

    /// Everything, in the order of keys.
    pub(crate) fn sorted(&self) -> Vec<(K, Shards<T>)> {
        let mut all: Vec<_> = self
            .lock()
            .iter()
            .map(|(key, shards)| (key.clone(), shards.clone()))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The keys that `wanted` takes, in no order.
    pub(crate) fn keys(&self, mut wanted: impl FnMut(&K) -> bool) -> Vec<K> {
        let all = self.lock();
        all.keys().filter(|key| wanted(key)).cloned().collect()
    }

    /// Forgets a key, and returns its shards if there are any. Who holds them records unseen.
    pub(crate) fn remove(&self, key: &K) -> Option<Shards<T>> {
        self.lock().remove(key)
    }

    /// Forgets the keys that `keep` denies. Who holds shards of theirs records unseen.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&K, &Shards<T>) -> bool) {
        self.lock().retain(|key, shards| keep(key, shards));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Shards<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn names_keep_their_shards() {
        let registry = Registry::<&str, u8>::default();
        assert!(Arc::ptr_eq(&registry.get("a"), &registry.get("a")));
        assert!(!Arc::ptr_eq(&registry.get("a"), &registry.get("b")));
        registry.retain(|name, _| *name == "b");
        assert_eq!(registry.sorted().len(), 1);
    }

    #[test]
    fn beyond_the_limit_names_share_the_other_series() {
        let registry = Registry::<&str, u8>::default();
        let first = registry.get_within("a", 1, || "other");
        let second = registry.get_within("b", 1, || "other");
        let third = registry.get_within("c", 1, || "other");
        assert!(Arc::ptr_eq(&second, &third) && !Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(
            &first,
            &registry.get_within("a", 1, || "other")
        ));
        assert_eq!(registry.len(), 2);
    }
}
