//! The smallest of recent durations, shared by threads without a lock.
//!
//! The fastest answer of late is the network's share of it, as nearly as anybody can tell from
//! outside: queues and slow handlers only add. Two windows of 30 s, so that a path that becomes
//! longer shows within a minute, and one slow request never.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WINDOW_SECS: u64 = 30;

/// The minimum over the current window and the one before it; none before the first sample. Without
/// new samples it keeps what it has.
#[derive(Debug, Default)]
pub struct RecentMin {
    /// Microseconds as `f32` above the number of the window, counted from 1.
    current: AtomicU64,
    /// Microseconds as `f32`; 0 is none.
    before: AtomicU32,
}

impl RecentMin {
    /// The minimum.
    pub fn get(&self) -> Option<Duration> {
        let (_, current) = unpack(self.current.load(Ordering::Relaxed))?;
        let before = f32::from_bits(self.before.load(Ordering::Relaxed));
        let least = if before > 0.0 {
            current.min(before)
        } else {
            current
        };
        Some(Duration::from_secs_f64(f64::from(least) / 1e6))
    }

    /// Enters one sample. A sample of an older window than the current one counts into the current.
    pub fn observe(&self, took: Duration, origin: Instant, now: Instant) {
        let us = (took.as_secs_f64() * 1e6).max(1.0) as f32;
        let window = (now.saturating_duration_since(origin).as_secs() / WINDOW_SECS) as u32 + 1;
        let entered = self
            .current
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                match unpack(word) {
                    Some((at, least)) if window <= at => (us < least).then(|| pack(at, us)),
                    _ => Some(pack(window, us)),
                }
            });
        if let Ok(word) = entered
            && let Some((at, least)) = unpack(word)
            && at < window
        {
            self.before.store(least.to_bits(), Ordering::Relaxed);
        }
    }
}

fn pack(window: u32, us: f32) -> u64 {
    u64::from(us.to_bits()) << 32 | u64::from(window)
}

fn unpack(word: u64) -> Option<(u32, f32)> {
    (word != 0).then(|| (word as u32, f32::from_bits((word >> 32) as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_two_windows_counts() {
        let origin = Instant::now();
        let least = RecentMin::default();
        let at = |secs| origin + Duration::from_secs(secs);
        let check = |ms: u64, what: &str| {
            let got = least.get().expect("a sample").as_secs_f64() * 1e3;
            assert!((got - ms as f64).abs() < 0.01, "{what}: {got}");
        };
        assert_eq!(least.get(), None);
        least.observe(Duration::from_millis(20), origin, at(0));
        least.observe(Duration::from_millis(90), origin, at(1));
        check(20, "a slow one changes nothing");
        least.observe(Duration::from_millis(50), origin, at(31));
        check(20, "the window before still counts");
        least.observe(Duration::from_millis(60), origin, at(61));
        check(50, "two windows later it does not");
        least.observe(Duration::from_millis(10), origin, at(62));
        check(10, "a faster one counts at once");
    }
}
