//! When an endpoint is probed again.
//!
//! Calm endpoints are probed once per interval. A doubt (a result that contradicts what is
//! believed, or a probe that is late) is settled at a faster pace, chosen so that an endpoint that
//! falls silent is found out within two intervals, whatever `fall` is, down to 250 ms; or at the
//! pace that is configured for it. Intervals vary by the probe's jitter either way, so that probes
//! of many PoPs do not march in step.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::plan::Probe;

/// Doubts are not settled faster than this, unless the interval itself is shorter.
const FASTEST: Duration = Duration::from_millis(250);
/// More jitter than this would leave no pace.
const JITTER_MAX: f64 = 0.5;
/// Calm probes start at common moments, so many to an interval: a thread that wakes for ten probes
/// pays for one waking, which in a machine that has little else to do is most of the cost.
const MOMENTS: u32 = 20;
/// The moments are at least so far apart, and in doubt exactly so far.
const CLOSEST: Duration = Duration::from_millis(10);
/// And at most, so that probes that start together are not too many.
const FARTHEST: Duration = Duration::from_millis(100);
/// The first probes start within so much for each endpoint: at once for a few, spread for many.
const SPREAD: Duration = Duration::from_millis(2);

/// The pace at which one endpoint is probed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    interval: Duration,
    fast: Duration,
    jitter: f64,
}

impl Pace {
    /// The pace for `probe`. Silence from just after a good probe on is noticed after an interval,
    /// `fall - 1` fast ones and a timeout.
    pub(crate) fn new(probe: &Probe) -> Self {
        let spare = probe.interval.saturating_sub(probe.timeout);
        let within_two = spare / probe.fall.saturating_sub(1).max(1);
        let made = within_two.min(probe.interval / 4).max(FASTEST);
        Self {
            interval: probe.interval,
            fast: probe.fast_interval.unwrap_or(made).min(probe.interval),
            jitter: probe.jitter.clamp(0.0, JITTER_MAX),
        }
    }

    /// Time from the start of one probe to the start of the next.
    pub(crate) fn next(self, doubt: bool, rng: &mut Rng) -> Duration {
        let base = if doubt { self.fast } else { self.interval };
        base.mul_f64(1.0 - self.jitter + 2.0 * self.jitter * rng.f64())
    }

    /// The common moment nearest to `at`, a time since the prober started; in doubt, the next one,
    /// and they are close.
    pub(crate) fn moment(self, at: Duration, doubt: bool) -> Duration {
        if doubt {
            return up_to(at, CLOSEST);
        }
        let apart = (self.interval / MOMENTS).clamp(CLOSEST, FARTHEST);
        up_to(at.saturating_sub(apart / 2), apart)
    }

    /// A probe that takes longer than this raises a doubt before it has failed.
    pub(crate) fn late(self) -> Duration {
        self.fast
    }

    /// Time to the first probe of an endpoint that is one of `endpoints` new ones.
    pub(crate) fn first(self, endpoints: usize, rng: &mut Rng) -> Duration {
        let spread = SPREAD.saturating_mul(u32::try_from(endpoints).unwrap_or(u32::MAX));
        self.interval.min(spread).mul_f64(rng.f64())
    }
}

/// The first multiple of `unit` that is not before `at`.
fn up_to(at: Duration, unit: Duration) -> Duration {
    let nanos = at.as_nanos().next_multiple_of(unit.as_nanos());
    Duration::from_nanos_u128(nanos)
}

#[cfg(test)]
mod tests {
    use tidegate_core::plan::ProbeKind;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn probe(interval: u64, timeout: u64, fall: u32) -> Probe {
        let (interval, timeout) = (ms(interval), ms(timeout));
        Probe {
            interval,
            timeout,
            fall,
            ..Probe::new(ProbeKind::Tcp)
        }
    }

    #[test]
    fn doubts_are_settled_within_two_intervals() {
        let check = |interval, timeout, fall, fast| {
            let probe = probe(interval, timeout, fall);
            let pace = Pace::new(&probe);
            assert_eq!(pace.fast, ms(fast), "{probe:?}");
            let noticed = probe.interval + pace.fast * fall.saturating_sub(1) + probe.timeout;
            let bound = if pace.fast > FASTEST {
                2 * probe.interval
            } else {
                Duration::MAX
            };
            assert!(noticed <= bound, "{probe:?}: {noticed:?}");
        };
        check(2_000, 1_000, 3, 500);
        check(2_000, 1_000, 1, 500);
        check(10_000, 1_000, 3, 2_500);
        check(10_000, 5_000, 6, 1_000);
        check(2_000, 2_000, 3, 250);
        check(1_000, 500, 9, 250);
        check(100, 50, 3, 100);
        check(1_000, 5_000, 0, 250);
    }

    #[test]
    fn a_pace_of_its_own_counts_up_to_the_interval() {
        let check = |fast, expected| {
            let probe = Probe {
                fast_interval: Some(ms(fast)),
                ..probe(2_000, 1_000, 3)
            };
            assert_eq!(Pace::new(&probe).late(), ms(expected));
        };
        check(50, 50);
        check(1_500, 1_500);
        check(9_000, 2_000);
    }

    #[test]
    fn intervals_vary_by_the_jitter() {
        let check = |jitter, least, most| {
            let probe = Probe {
                jitter,
                ..probe(2_000, 1_000, 3)
            };
            let (pace, mut rng) = (Pace::new(&probe), Rng::with_seed(7));
            let mut seen: Vec<Duration> = (0..1_000).map(|_| pace.next(false, &mut rng)).collect();
            seen.sort();
            let (first, last) = (seen[0], seen[999]);
            assert!(
                first >= ms(least) && last <= ms(most),
                "{jitter}: {first:?} {last:?}"
            );
            // The whole width is used.
            let margin = (ms(most) - ms(least)) / 50;
            assert!(first <= ms(least) + margin && last + margin >= ms(most));
            assert!((0..1_000).all(|_| pace.next(true, &mut rng) <= ms(most) / 4));
        };
        check(0.0, 2_000, 2_000);
        check(0.1, 1_800, 2_200);
        check(0.5, 1_000, 3_000);
        check(9.0, 1_000, 3_000);
    }

    #[test]
    fn calm_probes_start_together() {
        let check = |interval, at, calm, doubtful| {
            let pace = Pace::new(&probe(interval, 10, 3));
            let found = [false, true].map(|doubt| pace.moment(ms(at), doubt));
            assert_eq!(found, [ms(calm), ms(doubtful)], "{at} of {interval}");
        };
        check(2_000, 0, 0, 0);
        check(2_000, 1_049, 1_000, 1_050);
        check(2_000, 1_051, 1_100, 1_060);
        check(400, 31, 40, 40);
        check(40, 41, 40, 50);
        check(60_000, 1_049, 1_000, 1_050);
        check(60_000, 1_051, 1_100, 1_060);
    }

    #[test]
    fn first_probes_are_spread_when_there_are_many() {
        let (pace, mut rng) = (Pace::new(&probe(2_000, 1_000, 3)), Rng::with_seed(7));
        assert!(pace.first(1, &mut rng) <= ms(2));
        let mut early = 0;
        for _ in 0..1_000 {
            let first = pace.first(100_000, &mut rng);
            assert!(first <= ms(2_000));
            early += usize::from(first < ms(1_000));
        }
        assert!((400..600).contains(&early), "{early}");
    }
}
