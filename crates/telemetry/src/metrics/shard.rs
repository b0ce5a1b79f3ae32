//! Counters that cores do not share: each thread adds to its own shard, a scrape sums the shards.
//!
//! A shard starts on a cache line of its own, an addition is one relaxed atomic add, and a
//! histogram is a fixed array of buckets, so recording never waits, never allocates, and what is
//! kept does not grow between two scrapes.

use std::cell::Cell;
use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::labels::Label;

/// More shards than this cost memory and gain nothing.
const MAX_SHARDS: usize = 64;

/// Upper bounds of the buckets of every histogram.
pub const BOUNDS: [Duration; 16] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

const BOUNDS_NS: [u64; BOUNDS.len()] = {
    let mut nanos = [0; BOUNDS.len()];
    let mut at = 0;
    while at < BOUNDS.len() {
        nanos[at] = BOUNDS[at].as_nanos() as u64;
        at += 1;
    }
    nanos
};

/// One shard per thread that records (more threads than shards share).
pub(crate) type Shards<T> = std::sync::Arc<[T]>;

/// A value on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// One counter for each value of a label. `N` is the number of values.
#[derive(Debug)]
pub(crate) struct Counts<L, const N: usize>([AtomicU64; N], PhantomData<fn(L)>);

/// Durations, counted by upper bound. The sum lies beside the buckets of the shortest.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Histogram {
    sum_ns: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

/// What a histogram held when it was asked, summed over its shards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    pub(crate) sum: Duration,
}

/// Fresh shards: one for each core and one for the threads beside them, at most [`MAX_SHARDS`].
pub(crate) fn fresh<T: Default>() -> Shards<T> {
    (0..shard_count()).map(|_| T::default()).collect()
}

/// The calling thread's shard. `shards` come from [`fresh`], so their number is a power of two.
pub(crate) fn mine<T>(shards: &[T]) -> &T {
    &shards[thread_number() & (shards.len() - 1)]
}

fn shard_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        (cores + 1).next_power_of_two().min(MAX_SHARDS)
    })
}

fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

impl<L, const N: usize> Default for Counts<L, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)), PhantomData)
    }
}

impl<L: Label, const N: usize> Counts<L, N> {
    const COMPLETE: () = assert!(N == L::ALL.len(), "one counter for each value");

    /// Adds one to the counter of `label`.
    pub(crate) fn add(&self, label: L) {
        self.add_many(label, 1);
    }

    /// Adds `count` to the counter of `label`.
    pub(crate) fn add_many(&self, label: L, count: u64) {
        let () = Self::COMPLETE;
        self.0[label.index()].fetch_add(count, Ordering::Relaxed);
    }

    /// The counter of `label`.
    pub(crate) fn get(&self, label: L) -> u64 {
        self.0[label.index()].load(Ordering::Relaxed)
    }
}

/// The sum of one label's counters over shards; `of` picks the counters from a shard.
pub(crate) fn total<T, L: Label, const N: usize>(
    shards: &[T],
    of: impl Fn(&T) -> &Counts<L, N>,
    label: L,
) -> u64 {
    shards.iter().map(|shard| of(shard).get(label)).sum()
}

impl Histogram {
    /// Enters one duration.
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Counting without branches beats a search among so few bounds.
        let bucket: usize = BOUNDS_NS
            .iter()
            .map(|bound| usize::from(nanos > *bound))
            .sum();
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Distribution {
    /// The sum over shards; `of` picks the histogram from a shard.
    pub(crate) fn of<T>(shards: &[T], of: impl Fn(&T) -> &Histogram) -> Self {
        let mut all = Self::default();
        for histogram in shards.iter().map(of) {
            for (sum, bucket) in all.counts.iter_mut().zip(&histogram.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            all.sum += Duration::from_nanos(histogram.sum_ns.load(Ordering::Relaxed));
        }
        all
    }

    /// Adds what another one held.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum += other.sum;
    }

    /// Whether nothing was recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::RetryScope;

    #[test]
    fn durations_fall_into_the_first_bucket_that_holds_them() {
        let check = |took: Duration, bucket: usize| {
            let shards = [Histogram::default()];
            shards[0].record(took);
            let found = Distribution::of(&shards, |histogram| histogram);
            assert_eq!(
                found.counts.iter().position(|count| *count == 1),
                Some(bucket),
                "{took:?}"
            );
            assert_eq!(found.sum, took);
        };
        check(Duration::ZERO, 0);
        check(Duration::from_micros(500), 0);
        check(Duration::from_nanos(500_001), 1);
        check(Duration::from_millis(250), 8);
        check(Duration::from_secs(60), 15);
        check(Duration::from_secs(61), 16);
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn threads_add_up() {
        type Scopes = Counts<RetryScope, { RetryScope::ALL.len() }>;
        let shards: Shards<Padded<Scopes>> = fresh();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        mine(&shards).0.add(RetryScope::CrossRegion);
                    }
                });
            }
        });
        assert_eq!(
            total(&shards, |shard| &shard.0, RetryScope::CrossRegion),
            80_000
        );
        assert_eq!(total(&shards, |shard| &shard.0, RetryScope::InRegion), 0);
    }

    #[test]
    fn a_thread_keeps_its_shard() {
        let shards: Shards<Padded<u8>> = fresh();
        assert!(std::ptr::eq(mine(&shards), mine(&shards)));
    }
}
