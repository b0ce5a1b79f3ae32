//! Counters that cores do not share: each thread adds to its own shard, a scrape sums the shards.
//!
//! A shard starts on a cache line of its own, and a histogram is a fixed array of buckets, so recording
//! never waits, never allocates, and what is kept does not grow between two scrapes. Of a thread that has
//! its shards for itself ([`own`]), an addition is a load and a store; the others share the first shard,
//! and add by a locked operation.

use std::cell::Cell;
use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// One shard for each thread that has its own, after the one that the others share.
pub(crate) type Shards<T> = std::sync::Arc<[T]>;

/// A value on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// One counter for each value of a label. `N` is the number of values.
#[derive(Debug)]
pub(crate) struct Counts<L, const N: usize>([AtomicU64; N], PhantomData<fn(L)>);

/// One thread's part of a number that rises and falls; negative where other threads let it rise.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

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

/// Where the calling thread counts.
#[derive(Clone, Copy)]
struct Place(usize);

/// The shard that threads without one of their own share.
const COMMON: Place = Place(0);

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(COMMON) };
}

/// The places that threads have for themselves, a bit each. That of [`COMMON`] is never free.
static TAKEN: AtomicU64 = AtomicU64::new(1);

/// A thread's shards are its own as long as this lives.
#[derive(Debug)]
pub struct OwnShards(PhantomData<*const ()>);

/// Gives the calling thread shards that no other one writes to. None if it has them, or if none is left:
/// there are as many as cores, at most 63. Then it counts as before, a little slower.
pub fn own() -> Option<OwnShards> {
    let free = |taken: u64| {
        let place = taken.trailing_ones() as usize;
        (place < shard_count()).then(|| taken | 1 << place)
    };
    if PLACE.get().is_own() {
        return None;
    }
    // Whoever had the place before has left its last counts in it.
    let before = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, free);
    PLACE.set(Place(before.ok()?.trailing_ones() as usize));
    Some(OwnShards(PhantomData))
}

impl Drop for OwnShards {
    fn drop(&mut self) {
        let place = PLACE.replace(COMMON);
        TAKEN.fetch_and(!(1 << place.0), Ordering::Release);
    }
}

impl Place {
    fn is_own(self) -> bool {
        self.0 != COMMON.0
    }
}

/// Adds to a counter of the calling thread's shard, which is [`mine`]; the sum wraps.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if PLACE.get().is_own() {
        let before = counter.load(Ordering::Relaxed);
        counter.store(before.wrapping_add(count), Ordering::Relaxed);
    } else {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// Fresh shards: one for each core and one for the threads beside them, at most [`MAX_SHARDS`].
pub(crate) fn fresh<T: Default>() -> Shards<T> {
    (0..shard_count()).map(|_| T::default()).collect()
}

/// The calling thread's shard. `shards` come from [`fresh`], so their number is a power of two. Not to be
/// handed to another thread: it would count in the wrong place.
pub(crate) fn mine<T>(shards: &[T]) -> &T {
    &shards[PLACE.get().0 & (shards.len() - 1)]
}

fn shard_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        (cores + 1).next_power_of_two().min(MAX_SHARDS)
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
        add(&self.0[label.index()], count);
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

impl Gauge {
    /// Lets it rise, or fall if `by` is negative, in the calling thread's shard.
    pub(crate) fn step(&self, by: i64) {
        add(&self.0, by as u64);
    }

    /// What it is at.
    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed) as i64
    }
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
        add(&self.buckets[bucket], 1);
        add(&self.sum_ns, nanos);
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

    /// All of it in one test: there are few places, and tests run side by side.
    #[test]
    fn a_thread_has_its_shard_for_itself_and_gives_it_back() {
        let shards: Shards<Padded<Gauge>> = fresh();
        let place = || std::ptr::from_ref(mine(&shards)) as usize;
        let count = || {
            let own = own();
            (0..1_000).for_each(|_| mine(&shards).0.step(1));
            (own.is_some(), place())
        };
        let common = place();
        let held = own().expect("one is free");
        let alone = place();
        assert!(own().is_none(), "it has one");
        let others = std::thread::scope(|scope| {
            let many = [(); MAX_SHARDS].map(|()| scope.spawn(count));
            many.map(|one| one.join().expect("no panic"))
        });
        assert_ne!(alone, common);
        assert!(others.iter().all(|(own, place)| *own == (*place != common)));
        assert!(others.iter().all(|(_, place)| *place != alone));
        mine(&shards).0.step(-64_000);
        drop(held);
        assert_eq!(place(), common);
        let sum: i64 = shards.iter().map(|one| one.0.get()).sum();
        assert_eq!(sum, 0);
    }
}
