//! Exponentially weighted moving averages that threads share without a lock.
//!
//! A value and the time of its last update are packed into one 64-bit word, so that a reader never
//! sees one without the other: an `f32` of microseconds above a `u32` of milliseconds since the
//! owner's origin. Reads project to `now`; they never write, so that a comparison of two endpoints
//! costs no cache line its owner. The clock wraps after 49.7 days, which [`age_ms`] allows for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Peak EWMA of an endpoint's time to answer (ALGORITHMS 5.4): jumps up at once, sinks slowly.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

/// Plain EWMA of a duration, weighted by time; none before the first sample.
#[derive(Debug, Default)]
pub struct AtomicEwma(AtomicU64);

/// Geometric EWMA of a duration, weighted by time; none before the first sample. Where most durations
/// are short and a few very long it stays with the many: about as many are longer as are shorter.
#[derive(Debug, Default)]
pub struct TypicalEwma(AtomicU64);

/// Expected time to answer before anything is known, in microseconds.
pub const DEFAULT_RTT_US: f64 = 30_000.0;
/// Time constant of decay, in microseconds.
pub const TAU_US: f64 = 10_000_000.0;
/// What a failure counts as, in microseconds.
pub const PENALTY_US: f64 = 5_000_000.0;

/// No wish to be asked later counts for longer.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// No average is smaller, in microseconds. Keeps a word with a value apart from an empty one, and
/// the number of attempts in flight in force however long an endpoint was idle.
const FLOOR_US: f64 = 1.0;
/// Threads' readings of the clock may differ by so much before a sample counts as old.
const SKEW_MS: u32 = 60_000;

/// A value of `us` microseconds as of `at_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    us: f64,
    at_ms: u32,
}

impl PeakEwma {
    /// The expected time to answer at `now`, in microseconds: what was observed, sinking towards
    /// nothing while no sample comes. At least 1; 30,000 before the first sample.
    pub fn get(&self, origin: Instant, now: Instant) -> f64 {
        Sample::unpack(self.0.load(Ordering::Relaxed)).map_or(DEFAULT_RTT_US, |sample| {
            (sample.us * keep(age_ms(sample.at_ms, ms_since(origin, now)))).max(FLOOR_US)
        })
    }

    /// Enters one time to answer.
    pub fn observe(&self, took: Duration, origin: Instant, now: Instant) {
        self.enter(took.as_secs_f64() * 1e6, origin, now);
    }

    /// Enters a failure, as an answer after 5 seconds: failing fast must not look like being fast.
    pub fn penalise(&self, origin: Instant, now: Instant) {
        self.enter(PENALTY_US, origin, now);
    }

    /// Enters a failure whose endpoint asked not to be asked again for `wait`, 300 s at most: until then
    /// it costs at least as much as a failure of this moment, whatever is observed in between.
    pub fn penalise_for(&self, wait: Duration, origin: Instant, now: Instant) {
        let wait_us = wait.min(WAIT_MAX).as_secs_f64() * 1e6;
        self.enter(PENALTY_US * (wait_us / TAU_US).exp(), origin, now);
    }

    /// Enters an answer that is an error, but may be the request's own fault: it counts as 5 seconds
    /// (or as long as it took), as an average and not as a peak. The estimate then is what a request
    /// costs on the whole: where every endpoint has its few errors nothing is drowned by them, and who
    /// has more of them than others is the dearer, however fast it has them.
    pub fn observe_error(&self, took: Duration, origin: Instant, now: Instant) {
        let (us, now_ms) = (took.as_secs_f64() * 1e6, ms_since(origin, now));
        let us = us.max(PENALTY_US);
        update(&self.0, |last| match last {
            Some(last) => last.blend(us, now_ms),
            None => Sample { us, at_ms: now_ms },
        });
    }

    fn enter(&self, us: f64, origin: Instant, now: Instant) {
        let now_ms = ms_since(origin, now);
        update(&self.0, |last| match last {
            Some(last) if us <= last.us => last.blend(us, now_ms),
            _ => Sample { us, at_ms: now_ms },
        });
    }
}

impl AtomicEwma {
    /// The average as of the last sample; none before the first.
    pub fn get(&self) -> Option<Duration> {
        let sample = Sample::unpack(self.0.load(Ordering::Relaxed))?;
        Some(Duration::from_secs_f64(sample.us / 1e6))
    }

    /// The same, if a sample came within the last `within`.
    pub fn lately(&self, within: Duration, origin: Instant, now: Instant) -> Option<Duration> {
        lately(&self.0, within, origin, now)
    }

    /// Enters one sample. Of several within one millisecond only the first has weight.
    pub fn observe(&self, took: Duration, origin: Instant, now: Instant) {
        let (us, now_ms) = (took.as_secs_f64() * 1e6, ms_since(origin, now));
        update(&self.0, |last| match last {
            Some(last) => last.blend(us, now_ms),
            None => Sample { us, at_ms: now_ms },
        });
    }
}

impl TypicalEwma {
    /// The average as of the last sample; none before the first.
    pub fn get(&self) -> Option<Duration> {
        let sample = Sample::unpack(self.0.load(Ordering::Relaxed))?;
        Some(Duration::from_secs_f64(sample.us / 1e6))
    }

    /// The same, if a sample came within the last `within`.
    pub fn lately(&self, within: Duration, origin: Instant, now: Instant) -> Option<Duration> {
        lately(&self.0, within, origin, now)
    }

    /// Enters one sample. Of several within one millisecond only the first has weight.
    pub fn observe(&self, took: Duration, origin: Instant, now: Instant) {
        let (us, now_ms) = (took.as_secs_f64() * 1e6, ms_since(origin, now));
        update(&self.0, |last| match last {
            Some(last) => last.blend_ratios(us, now_ms),
            None => Sample { us, at_ms: now_ms },
        });
    }
}

impl Sample {
    /// The average after a sample of `us` at `now_ms`; a sample older than the average has no weight.
    fn blend(self, us: f64, now_ms: u32) -> Self {
        let age = age_ms(self.at_ms, now_ms);
        let keep = keep(age);
        Self {
            us: self.us * keep + us * (1.0 - keep),
            at_ms: self.at_ms.wrapping_add(age),
        }
    }

    /// The same of logarithms.
    fn blend_ratios(self, us: f64, now_ms: u32) -> Self {
        let age = age_ms(self.at_ms, now_ms);
        if age == 0 {
            return self;
        }
        Self {
            us: self.us * (us.max(FLOOR_US) / self.us).powf(1.0 - keep(age)),
            at_ms: self.at_ms.wrapping_add(age),
        }
    }

    fn pack(self) -> u64 {
        u64::from((self.us.max(FLOOR_US) as f32).to_bits()) << 32 | u64::from(self.at_ms)
    }

    fn unpack(word: u64) -> Option<Self> {
        let us = f64::from(f32::from_bits((word >> 32) as u32));
        (word != 0).then_some(Self {
            us,
            at_ms: word as u32,
        })
    }
}

fn lately(word: &AtomicU64, within: Duration, origin: Instant, now: Instant) -> Option<Duration> {
    let sample = Sample::unpack(word.load(Ordering::Relaxed))?;
    let age = age_ms(sample.at_ms, ms_since(origin, now));
    let lately = u128::from(age) <= within.as_millis();
    lately.then(|| Duration::from_secs_f64(sample.us / 1e6))
}

/// Under load most samples are of one millisecond and change nothing: then nothing is written, either.
fn update(word: &AtomicU64, next: impl Fn(Option<Sample>) -> Sample) {
    let step = |word| Some(next(Sample::unpack(word)).pack()).filter(|next| *next != word);
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
}

/// The part of an average that `age` milliseconds leave.
fn keep(age: u32) -> f64 {
    if age == 0 {
        1.0
    } else {
        (-f64::from(age) * 1e3 / TAU_US).exp()
    }
}

fn ms_since(origin: Instant, now: Instant) -> u32 {
    now.saturating_duration_since(origin).as_millis() as u32
}

/// Milliseconds from `then` to `now` on a clock that wraps; 0 if `then` is a little ahead.
fn age_ms(then: u32, now: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age > u32::MAX - SKEW_MS { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn near(actual: f64, expected: f64) {
        assert!(
            (actual - expected).abs() <= expected.abs() * 1e-5,
            "{actual} is not {expected}"
        );
    }

    /// Enters (at, took) in milliseconds and checks the value at `read_ms`, in milliseconds.
    fn check_peak(samples: &[(u32, u32)], read_ms: u32, expected_ms: f64) {
        let (origin, ewma) = (Instant::now(), PeakEwma::default());
        for &(at, took) in samples {
            ewma.observe(MS * took, origin, origin + MS * at);
        }
        near(ewma.get(origin, origin + MS * read_ms), expected_ms * 1e3);
    }

    #[test]
    fn peak_jumps_up_and_sinks_with_time() {
        let decade = (-1.0f64).exp();
        check_peak(&[], 0, 30.0);
        check_peak(&[], 1_000_000, 30.0);
        check_peak(&[(0, 100)], 0, 100.0);
        check_peak(&[(0, 100)], 10_000, 100.0 * decade);
        check_peak(&[(0, 100), (0, 200)], 0, 200.0);
        check_peak(&[(0, 100), (0, 20)], 0, 100.0);
        check_peak(
            &[(0, 100), (10_000, 20)],
            10_000,
            100.0 * decade + 20.0 * (1.0 - decade),
        );
        check_peak(&[(0, 100)], 10_000_000, 0.001);
        check_peak(&[(0, 0)], 0, 0.001);
    }

    #[test]
    fn a_failure_counts_as_five_seconds() {
        let (origin, ewma) = (Instant::now(), PeakEwma::default());
        ewma.penalise(origin, origin);
        near(ewma.get(origin, origin), PENALTY_US);
        near(
            ewma.get(origin, origin + MS * 20_000),
            PENALTY_US * (-2.0f64).exp(),
        );
    }

    #[test]
    fn a_wish_to_wait_holds_until_it_is_over() {
        let (origin, ewma) = (Instant::now(), PeakEwma::default());
        let at = |seconds| origin + MS * 1_000 * seconds;
        ewma.penalise_for(MS * 20_000, origin, origin);
        near(ewma.get(origin, at(20)), PENALTY_US);
        near(ewma.get(origin, at(30)), PENALTY_US * (-1.0f64).exp());
        // Good answers do not shorten it.
        for second in 0..20 {
            ewma.observe(MS, origin, at(second));
            assert!(ewma.get(origin, at(second)) > PENALTY_US);
        }
        ewma.penalise_for(Duration::MAX, origin, at(20));
        near(ewma.get(origin, at(320)), PENALTY_US);
    }

    #[test]
    fn an_error_moves_the_average_and_makes_no_peak() {
        let average = |errors_in_100: u32| {
            let (origin, ewma) = (Instant::now(), PeakEwma::default());
            for n in 0..6_000u32 {
                let at = origin + MS * 10 * n;
                match n % 100 < errors_in_100 {
                    true => ewma.observe_error(MS, origin, at),
                    false => ewma.observe(MS * 40, origin, at),
                }
            }
            ewma.get(origin, origin + MS * 60_000) / 1e3
        };
        let (none, few, half, all) = (average(0), average(1), average(50), average(100));
        assert!((39.0..41.0).contains(&none), "{none}");
        assert!((70.0..110.0).contains(&few), "{few}");
        assert!((2_000.0..3_000.0).contains(&half), "{half}");
        assert!((4_900.0..5_001.0).contains(&all), "{all}");
    }

    fn check_plain(samples: &[(u32, u32)], expected_ms: Option<f64>) {
        let (origin, ewma) = (Instant::now(), AtomicEwma::default());
        for &(at, took) in samples {
            ewma.observe(MS * took, origin, origin + MS * at);
        }
        match (ewma.get(), expected_ms) {
            (Some(actual), Some(expected)) => near(actual.as_secs_f64() * 1e3, expected),
            (actual, expected) => assert_eq!(actual.is_some(), expected.is_some()),
        }
    }

    #[test]
    fn plain_moves_both_ways_by_the_time_that_passed() {
        let decade = (-1.0f64).exp();
        check_plain(&[], None);
        check_plain(&[(5, 80)], Some(80.0));
        check_plain(
            &[(0, 80), (10_000, 160)],
            Some(80.0 * decade + 160.0 * (1.0 - decade)),
        );
        check_plain(
            &[(0, 80), (10_000, 40)],
            Some(80.0 * decade + 40.0 * (1.0 - decade)),
        );
        check_plain(&[(9, 80), (9, 40)], Some(80.0));
        check_plain(&[(9_000, 80), (8_000, 40)], Some(80.0));
    }

    #[test]
    fn the_typical_stays_with_the_many() {
        let (origin, ewma) = (Instant::now(), TypicalEwma::default());
        let at = |ms| origin + MS * ms;
        assert_eq!(ewma.get(), None);
        // Nine answers of 10 ms, and every tenth of 5 s: the mean would be half a second.
        for n in 0..2_000 {
            let took = if n % 10 == 5 { 5_000 } else { 10 };
            ewma.observe(MS * took, origin, at(n * 100));
        }
        let typical = ewma.get().expect("samples").as_millis();
        assert!((17..22).contains(&typical), "{typical} ms");
        let last = 199_900;
        let lately = |ms| ewma.lately(MS * 1_000, origin, at(ms)).is_some();
        assert!(lately(last) && lately(last + 1_000) && !lately(last + 1_001));
        ewma.observe(Duration::ZERO, origin, at(last + 10_000));
        assert!(ewma.get().is_some_and(|typical| typical < MS * 20));
    }

    #[test]
    fn age_survives_the_wrap_and_a_little_skew() {
        for (then, now, age) in [
            (0, 0, 0),
            (5, 9, 4),
            (u32::MAX, 3, 4),
            (9, 5, 0),
            (SKEW_MS, 1, 0),
            (SKEW_MS + 10, 5, u32::MAX - SKEW_MS - 4),
        ] {
            assert_eq!(age_ms(then, now), age, "{then} -> {now}");
        }
    }

    #[test]
    fn threads_lose_no_peak() {
        let (origin, ewma) = (Instant::now(), PeakEwma::default());
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let ewma = &ewma;
                scope.spawn(move || {
                    (1..=1_000).for_each(|n| ewma.observe(MS * n * thread, origin, origin))
                });
            }
        });
        near(ewma.get(origin, origin), 4_000_000.0);
    }
}
