//! Choosing by what probes found (Wydrowski et al., "Load is not what you should balance: introducing
//! Prequal", NSDI 2024; ALGORITHMS 5.5).
//!
//! A few endpoints are probed for each request, beside it: how many requests are in flight there, and
//! how long one takes. What they say is kept in a small pool, and the next requests go to the best of
//! it: of the *cold* ones, which have no more in flight than most, to the fastest; where all are hot, to
//! the one with the least in flight. Requests in flight say what latency will say only later.
//!
//! What a probe said is worth less with every use and every moment: an entry goes once it is too old or
//! was used so many times, each use counts as one more in flight, and the oldest and the worst make
//! room in turns, or in the end the pool would hold nobody but those whom nobody wants.
//!
//! One pool serves all threads, as one client has in the paper: more would need more probes. No choice
//! waits for it: who finds it taken, or with fewer than two entries that he may use, draws at random.

use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use fastrand::Rng;

use super::among::Among;
use super::eyes::{Eyes, Sight};
use crate::plan::Prequal;

/// The most entries that a pool has room for.
pub const POOL_MAX: usize = 64;
/// The most probes that one request causes.
pub const PROBES_MAX: usize = 8;

/// Entries that make room at each request.
const REMOVED: f64 = 1.0;
/// How much faster entries come than go.
const SURPLUS: f64 = 1.0;
/// How often an entry may be used where the formula has no answer, and at most.
const REUSE_MAX: f64 = 4.0;
/// An endpoint that we expect to take so long, and [`AVERSION`] times what it says, has failed us: a
/// failure counts as 5 s and is forgotten with a time constant of 10 s.
const FAILED_US: f64 = 1_000_000.0;
const AVERSION: f64 = 10.0;

/// What an endpoint said of itself when it was probed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// Requests in flight there, from everybody. None: it does not say.
    pub in_flight: Option<u32>,
    /// How long requests take that find so many in flight. None: it does not say.
    pub latency: Option<Duration>,
}

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The endpoint's position in its set.
    pub at: usize,
    /// Requests in flight there, for each unit of its weight, those since sent included.
    pub in_flight: f64,
    /// How long requests take, in microseconds.
    pub latency_us: f64,
    /// Whether that is what we know of it ourselves: then it grows with what we have in flight there.
    pub guessed: bool,
    /// How often it may still be used.
    pub uses: u32,
    /// When it was probed.
    pub since: Instant,
}

/// What probes of the endpoints of one group found.
#[derive(Debug)]
pub(super) struct Prober {
    policy: Prequal,
    pool: Mutex<Pool>,
}

/// The last probes' findings, at most one for each endpoint, oldest first.
#[derive(Debug, Default)]
pub struct Pool {
    entries: ArrayVec<Entry, POOL_MAX>,
    /// The next one that makes room is the worst, not the oldest.
    worst: bool,
    /// Endpoints whose probe is under way.
    asked: ArrayVec<usize, POOL_MAX>,
}

/// How often an entry may be used where a pool of `pool` is filled by `rate` probes a request from
/// `endpoints`: so often that entries come a little faster than they go. At least 1. Where the pool
/// could hold everybody there is no such number, and a constant serves.
pub fn reuse(pool: usize, endpoints: usize, rate: f64) -> f64 {
    let new = (1.0 - pool as f64 / endpoints.max(1) as f64) * rate - REMOVED;
    if new <= 0.0 {
        return REUSE_MAX;
    }
    ((1.0 + SURPLUS) / new).clamp(1.0, REUSE_MAX)
}

/// `value` rounded down, or up as often as its fraction says, for a `draw` from 0 to 1, 1 excluded.
pub fn rounded(value: f64, draw: f64) -> u32 {
    (value.floor() + f64::from(u8::from(draw < value.fract()))) as u32
}

/// Above how many requests in flight an entry is hot: the quantile of all entries. None has more if it
/// is 1; all have if it is 0. None if there is no entry.
pub fn threshold(entries: &[Entry], quantile: f64) -> Option<f64> {
    let mut in_flight: ArrayVec<f64, POOL_MAX> = entries
        .iter()
        .take(POOL_MAX)
        .map(|entry| entry.in_flight)
        .collect();
    in_flight.sort_unstable_by(f64::total_cmp);
    let cold = (quantile * in_flight.len() as f64).ceil() as usize;
    match cold.checked_sub(1) {
        None => (!in_flight.is_empty()).then_some(f64::NEG_INFINITY),
        Some(last) => in_flight
            .get(last.min(in_flight.len().saturating_sub(1)))
            .copied(),
    }
}

/// The best of those that may be used, by its place among them: of the cold the fastest, else the one
/// with the least in flight. The first of equals. None if there is none.
pub fn best<'a>(entries: impl Iterator<Item = &'a Entry>, threshold: f64) -> Option<&'a Entry> {
    let rank = |entry: &Entry| match entry.in_flight > threshold {
        false => (0, entry.latency_us),
        true => (1, entry.in_flight),
    };
    entries.min_by(|a, b| {
        let ((a, by), (b, than)) = (rank(a), rank(b));
        a.cmp(&b).then(by.total_cmp(&than))
    })
}

/// The place of the worst: of the hot the one with the most in flight, else the slowest. None if there
/// is none.
pub fn worst(entries: &[Entry], threshold: f64) -> Option<usize> {
    let rank = |entry: &Entry| match entry.in_flight > threshold {
        false => (0, entry.latency_us),
        true => (1, entry.in_flight),
    };
    let ranked = entries.iter().map(rank).enumerate();
    let worst = ranked.max_by(|(_, (a, by)), (_, (b, than))| a.cmp(b).then(by.total_cmp(than)));
    worst.map(|(at, _)| at)
}

impl Pool {
    /// Its entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Enters what a probe found, in the place of what an older one of the same endpoint did. Of more
    /// than `size` the oldest goes.
    pub fn enter(&mut self, entry: Entry, size: usize) {
        self.forget(entry.at);
        while self.entries.len() >= size.clamp(1, POOL_MAX) {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }

    /// Forgets what is known of an endpoint.
    pub fn forget(&mut self, at: usize) {
        self.entries.retain(|entry| entry.at != at);
    }

    /// Enters that a request was sent to an endpoint.
    pub fn used(&mut self, at: usize, weight: u32) {
        for entry in self.entries.iter_mut().filter(|entry| entry.at == at) {
            entry.in_flight += 1.0 / f64::from(weight.max(1));
            entry.uses = entry.uses.saturating_sub(1);
        }
        self.entries.retain(|entry| entry.uses > 0);
    }

    /// Lets what is older than `max_age` go.
    pub fn expire(&mut self, now: Instant, max_age: Duration) {
        let fresh = |entry: &mut Entry| now.saturating_duration_since(entry.since) <= max_age;
        self.entries.retain(fresh);
    }

    /// Makes room: the oldest and the worst go in turns.
    pub fn make_room(&mut self, quantile: f64) {
        let turn = self.worst;
        self.worst = !turn;
        let worst = match turn {
            true => threshold(&self.entries, quantile).and_then(|hot| worst(&self.entries, hot)),
            false => (!self.entries.is_empty()).then_some(0),
        };
        if let Some(at) = worst {
            self.entries.remove(at);
        }
    }
}

impl Prober {
    pub(super) fn new(policy: &Prequal) -> Self {
        Self {
            policy: policy.clone(),
            pool: Mutex::default(),
        }
    }

    /// The best endpoint that probes found; none if nobody knows enough, or somebody else is looking.
    pub(super) fn pick(&self, among: &Among<'_, impl Eyes>, rng: &mut Rng) -> Option<usize> {
        let pool = match self.pool.try_lock() {
            Ok(pool) => Some(pool),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let entries = pool.as_ref().map(|pool| &*pool.entries);
        let found = || entries.map_or(u64::MAX, |entries| entries.len() as u64);
        let found = match among.eyes.see(Sight::Found, 0, found) {
            u64::MAX => return None,
            found => (found as usize).min(POOL_MAX),
        };
        let found =
            (0..found).filter_map(|nth| self.found(entries.unwrap_or_default(), nth, among));
        let usable = found.filter(|entry| among.open(entry.at) && among.passes(entry.at, rng));
        let usable: ArrayVec<Entry, POOL_MAX> = usable.map(|entry| as_of(entry, among)).collect();
        if usable.len() < 2 {
            return None;
        }
        let hot = threshold(&usable, self.policy.hot_quantile)?;
        best(usable.iter(), hot).map(|entry| entry.at)
    }

    /// The entry with this number, if it is fresh.
    fn found(&self, entries: &[Entry], nth: usize, among: &Among<'_, impl Eyes>) -> Option<Entry> {
        let (eyes, now) = (among.eyes, among.seek.now);
        let entry = entries.get(nth).copied().unwrap_or(Entry {
            at: among.range().start,
            in_flight: 0.0,
            latency_us: 0.0,
            guessed: true,
            uses: 0,
            since: now,
        });
        let fresh = || now.saturating_duration_since(entry.since) <= self.policy.max_age;
        let is_fresh = eyes.is(Sight::FoundFresh, nth, fresh);
        is_fresh.then(|| Entry {
            at: eyes.see(Sight::FoundAt, nth, || entry.at as u64) as usize,
            in_flight: eyes.part(Sight::FoundInFlight, nth, || entry.in_flight),
            latency_us: eyes.part(Sight::FoundLatency, nth, || entry.latency_us),
            guessed: eyes.is(Sight::FoundGuessed, nth, || entry.guessed),
            ..entry
        })
    }

    /// Enters that an attempt was made at an endpoint of this weight, one of so many.
    pub(super) fn taken(&self, at: usize, weight: u32, endpoints: usize) {
        let mut pool = self.lock();
        pool.used(at, weight);
        // Where everybody is known nobody keeps the better ones out.
        if endpoints > usize::from(self.policy.pool_size) {
            pool.make_room(self.policy.hot_quantile);
        }
    }

    /// The endpoints of `among` to probe now: some that are open and are not being probed, drawn evenly.
    /// They count as being probed until [`Self::heard`].
    pub(super) fn to_ask(
        &self,
        among: &Among<'_, impl Eyes>,
        rng: &mut Rng,
    ) -> ArrayVec<usize, PROBES_MAX> {
        let wanted = rounded(self.policy.rate, rng.f64()) as usize;
        let mut pool = self.lock();
        pool.expire(among.seek.now, self.policy.max_age);
        let (range, mut drawn) = (among.range(), ArrayVec::new());
        // Enough draws to find those who are free, if most are; the rest have been asked anyway.
        for _ in 0..4 * wanted.min(PROBES_MAX) {
            let at = rng.usize(range.clone());
            let free = !pool.asked.contains(&at) && !pool.asked.is_full();
            if free && among.open(at) {
                pool.asked.push(at);
                drawn.push(at);
            }
            if drawn.len() == wanted.min(PROBES_MAX) {
                break;
            }
        }
        drawn
    }

    /// Enters what the probe of an endpoint found. None: it failed, and the endpoint is forgotten.
    pub(super) fn heard(&self, found: Option<Entry>, at: usize) {
        let mut pool = self.lock();
        pool.asked.retain(|asked| *asked != at);
        match found {
            Some(entry) => pool.enter(entry, self.policy.pool_size.into()),
            None => pool.forget(at),
        }
    }

    /// How often what is found now may be used.
    pub(super) fn uses(&self, endpoints: usize, draw: f64) -> u32 {
        let size = usize::from(self.policy.pool_size);
        rounded(reuse(size, endpoints, self.policy.rate), draw)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry as it is at `now`. What has failed us is no place to go to, however little it has to do: it
/// is hot, and stays so with whatever else is.
fn as_of(mut entry: Entry, among: &Among<'_, impl Eyes>) -> Entry {
    let cell = &among.set.endpoints[entry.at].cell;
    let expected = || cell.expected_us(among.seek.now);
    let expected = among.eyes.part(Sight::Expected, entry.at, expected);
    let told = if entry.guessed { 0.0 } else { entry.latency_us };
    if entry.guessed {
        entry.latency_us = among.cost(entry.at);
    }
    if expected >= FAILED_US && expected >= AVERSION * told {
        entry.in_flight += expected;
        entry.latency_us = expected;
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(found: &[(f64, f64)], since: Instant) -> Vec<Entry> {
        let entry = |(at, &(in_flight, latency_us)): (usize, &(f64, f64))| Entry {
            at,
            in_flight,
            latency_us,
            guessed: false,
            uses: 2,
            since,
        };
        found.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn entries_are_used_as_often_as_the_paper_says() {
        let check = |pool, endpoints, rate, expected: f64| {
            let found = reuse(pool, endpoints, rate);
            assert!(
                (found - expected).abs() < 5e-4,
                "{pool} of {endpoints}: {found}"
            );
        };
        check(16, 100, 3.0, 1.316);
        check(16, 1_000_000, 3.0, 1.0);
        check(16, 100, 5.0, 1.0);
        // Too few probes to fill the pool, or everybody in it.
        check(16, 100, 1.1, REUSE_MAX);
        check(16, 16, 3.0, REUSE_MAX);
        check(16, 3, 3.0, REUSE_MAX);
        check(16, 0, 3.0, REUSE_MAX);
    }

    #[test]
    fn fractions_are_rounded_by_chance() {
        let check = |value, draw, expected| assert_eq!(rounded(value, draw), expected, "{value}");
        check(1.316, 0.315, 2);
        check(1.316, 0.317, 1);
        check(3.0, 0.0, 3);
        check(0.0, 0.0, 0);
        check(0.25, 0.249, 1);
        let mut rng = Rng::with_seed(1);
        let sum: u32 = (0..100_000).map(|_| rounded(1.316, rng.f64())).sum();
        assert!(sum.abs_diff(131_600) < 600, "{sum}");
    }

    /// In flight and latency of each; who is best and who is worst.
    fn check(found: &[(f64, f64)], quantile: f64, expected: Option<(usize, usize)>) {
        let entries = entries(found, Instant::now());
        let hot = threshold(&entries, quantile);
        let picked = hot.and_then(|hot| {
            let best = best(entries.iter(), hot)?;
            Some((best.at, worst(&entries, hot)?))
        });
        assert_eq!(picked, expected, "{found:?} {quantile}");
    }

    #[test]
    fn the_fastest_of_the_cold_is_best_and_the_busiest_of_the_hot_worst() {
        // 84 % of 6 are 5.04: only who is above all others would be hot; of 7, one is.
        check(&[(1.0, 9.0), (2.0, 5.0), (3.0, 7.0)], 0.84, Some((1, 0)));
        let seven = [
            (1.0, 9.0),
            (2.0, 8.0),
            (2.0, 7.0),
            (3.0, 6.0),
            (3.0, 5.0),
            (3.0, 4.0),
            (9.0, 1.0),
        ];
        check(&seven, 0.84, Some((5, 6)));
        check(&seven, 1.0, Some((6, 0)));
        check(&seven, 0.0, Some((0, 6)));
        check(&[(5.0, 1.0)], 0.84, Some((0, 0)));
        check(&[], 0.84, None);
    }

    #[test]
    fn entries_wear_off_and_make_room_in_turns() {
        let now = Instant::now();
        let mut pool = Pool::default();
        for entry in entries(&[(1.0, 1.0), (5.0, 50.0), (2.0, 2.0), (3.0, 3.0)], now) {
            pool.enter(entry, 16);
        }
        let who = |pool: &Pool| {
            pool.entries()
                .iter()
                .map(|entry| entry.at)
                .collect::<Vec<_>>()
        };
        pool.used(2, 2);
        assert_eq!(
            pool.entries()[2].in_flight,
            2.5,
            "half a request for each server of two"
        );
        pool.used(2, 2);
        assert_eq!(who(&pool), [0, 1, 3], "used up");
        pool.make_room(0.5);
        assert_eq!(who(&pool), [1, 3], "the oldest");
        pool.make_room(0.5);
        assert_eq!(who(&pool), [3], "the worst");
        pool.make_room(0.5);
        pool.make_room(0.5);
        assert!(pool.entries().is_empty());
    }

    #[test]
    fn a_probe_replaces_the_last_one_and_the_oldest_leave() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut pool = Pool::default();
        let found = entries(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], now);
        found.iter().for_each(|entry| pool.enter(*entry, 2));
        let who = |pool: &Pool| {
            pool.entries()
                .iter()
                .map(|entry| entry.at)
                .collect::<Vec<_>>()
        };
        assert_eq!(who(&pool), [1, 2]);
        let again = Entry {
            since: now + second,
            ..found[1]
        };
        pool.enter(again, 2);
        assert_eq!(who(&pool), [2, 1]);
        pool.expire(now + second, second);
        assert_eq!(who(&pool), [2, 1]);
        pool.expire(now + second + Duration::from_millis(1), second);
        assert_eq!(who(&pool), [1]);
        pool.forget(1);
        assert!(pool.entries().is_empty());
    }
}
