//! Whether requests fare worse under a new plan than they did before it: the judgement behind an
//! automatic rollback.
//!
//! Pure: what was counted before and since goes in, a reason comes out or none. It errs on the side of
//! the new plan. A rise must be beyond what chance does with so few requests (the lower bound of
//! Wilson's interval, Wilson 1927), a fault that began before the activation is held against what was
//! before, and a mean that a few slow requests have raised is no regression unless the many have
//! become slower too.

use std::fmt;
use std::time::Duration;

use tidegate_core::plan::Rollback;
use tidegate_telemetry::labels::RollbackCause;
use tidegate_telemetry::metrics::Totals;

/// How sure it must be that the share of failures has risen, in standard deviations: one in 160 looks
/// at a plan that is as good as the one before would be wrong at 2.5.
const SURE: f64 = 2.5;
/// Times that differ by less are no regression, whatever the factor.
const LATENCY_FLOOR: Duration = Duration::from_millis(5);
/// The quantiles of which one at least must have risen when the mean has.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// What is worse, and by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Regression {
    /// The share of requests that fail, 0 to 1.
    Errors { before: f64, since: f64 },
    /// The mean time of a request.
    Latency { before: Duration, since: Duration },
}

/// What was counted under a plan that is trusted: one moment a watch before its end, one shortly before,
/// and its end. All are counts since the start of the process.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    /// As long before the end as the plan is watched, or less.
    pub(crate) first: Totals,
    /// Shortly before it.
    pub(crate) shortly: Totals,
    /// At the end: usually the activation of what is watched.
    pub(crate) last: Totals,
}

/// What came of two times that are held against each other.
struct Times {
    was: Totals,
    shortly: Totals,
    is: Totals,
}

impl Before {
    /// None when too few requests came to say anything.
    fn against(&self, is: &Totals, limits: &Rollback) -> Option<Times> {
        let was = self.last.since(&self.first);
        let enough = |totals: &Totals| totals.requests >= limits.min_requests;
        (enough(&was) && enough(is)).then(|| Times {
            shortly: self.last.since(&self.shortly),
            was,
            is: is.clone(),
        })
    }
}

impl Regression {
    /// What is worse in `is`, which was counted since the activation, than before; none when nothing is,
    /// or when too few requests came to say so.
    pub(crate) fn find(before: &Before, is: &Totals, limits: &Rollback) -> Option<Self> {
        let times = before.against(is, limits)?;
        let Times { was, shortly, is } = &times;
        errors(&times, limits, |totals| totals.failed).or_else(|| latency(was, shortly, is, limits))
    }

    /// The same, done without failures on routes that are `excused`. They stay among the requests, so
    /// what is left must weigh as much as it had to before. Times are not compared: of the requests
    /// that are excused nobody knows how long they would have taken.
    pub(crate) fn find_but(
        before: &Before,
        is: &Totals,
        limits: &Rollback,
        excused: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let times = before.against(is, limits)?;
        errors(&times, limits, |totals| totals.failed_but(&excused))
    }

    /// Which limit it exceeds, for the metric.
    pub(crate) fn cause(&self) -> RollbackCause {
        match self {
            Self::Errors { .. } => RollbackCause::Errors,
            Self::Latency { .. } => RollbackCause::Latency,
        }
    }
}

fn errors(times: &Times, limits: &Rollback, failed: impl Fn(&Totals) -> u64) -> Option<Regression> {
    let allowed = limits.max_error_rate?;
    let share = |totals: &Totals| match totals.requests {
        0 => 0.0,
        requests => failed(totals) as f64 / requests as f64,
    };
    // A fault that began just before the activation is not the plan's.
    let before = share(&times.was).max(share(&times.shortly));
    let surely = lower_bound(failed(&times.is) as f64, times.is.requests as f64);
    (surely > before + allowed).then(|| Regression::Errors {
        before,
        since: share(&times.is),
    })
}

fn latency(was: &Totals, shortly: &Totals, is: &Totals, limits: &Rollback) -> Option<Regression> {
    let factor = limits.max_latency?;
    let before = was.mean().max(shortly.mean());
    let since = is.mean();
    let slower = since > before.mul_f64(factor) && since > before + LATENCY_FLOOR;
    let many = |at: &f64| is.bucket_of(*at) > was.bucket_of(*at).max(shortly.bucket_of(*at));
    (slower && QUANTILES.iter().any(many)).then_some(Regression::Latency { before, since })
}

/// The lower bound of Wilson's score interval for `hits` of `all`, [`SURE`] deviations wide.
fn lower_bound(hits: f64, all: f64) -> f64 {
    let (p, z2) = (hits / all, SURE * SURE);
    let centre = p + z2 / (2.0 * all);
    let width = SURE * (p * (1.0 - p) / all + z2 / (4.0 * all * all)).sqrt();
    ((centre - width) / (1.0 + z2 / all)).max(0.0)
}

/// The reason of a rollback, in words.
impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors { before, since } => write!(
                f,
                "{:.1}% of the requests failed since, {:.1}% before",
                since * 100.0,
                before * 100.0
            ),
            Self::Latency { before, since } => write!(
                f,
                "requests took {:.1} ms on average since, {:.1} ms before",
                since.as_secs_f64() * 1e3,
                before.as_secs_f64() * 1e3
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Rollback = Rollback {
        watch: Duration::from_secs(120),
        max_error_rate: Some(0.05),
        max_latency: Some(2.0),
        min_requests: 100,
    };

    /// So many requests, of which so many failed, all of this many milliseconds.
    fn totals(requests: u64, failed: u64, millis: u64) -> Totals {
        let mut totals = Totals::default();
        totals.record(requests, Duration::from_millis(millis));
        totals.failed = failed;
        totals
    }

    /// Each is (requests, failed, milliseconds): within the watch before, shortly before, since.
    fn find(limits: &Rollback, parts: [(u64, u64, u64); 3]) -> Option<Regression> {
        let first = totals(1_000, 900, 40_000);
        let shortly = first.plus(&totals(parts[0].0, parts[0].1, parts[0].2));
        let last = shortly.plus(&totals(parts[1].0, parts[1].1, parts[1].2));
        let now = last.plus(&totals(parts[2].0, parts[2].1, parts[2].2));
        let is = now.since(&last);
        let before = Before {
            first,
            shortly,
            last,
        };
        Regression::find(&before, &is, limits)
    }

    #[test]
    fn failures_beyond_the_limit_are_found() {
        let check = |parts, expected: bool| {
            let found = find(&LIMITS, parts);
            let errors = matches!(found, Some(Regression::Errors { .. }));
            assert_eq!(errors, expected, "{parts:?}: {found:?}");
        };
        let calm = (900, 0, 10);
        check([calm, (100, 0, 10), (100, 100, 10)], true);
        check([calm, (100, 0, 10), (100, 20, 10)], true);
        // Within what chance does with a hundred requests, and not with ten thousand.
        check([calm, (100, 0, 10), (100, 8, 10)], false);
        check([calm, (100, 0, 10), (10_000, 800, 10)], true);
        check([calm, (100, 0, 10), (10_000, 400, 10)], false);
        // Too few to say anything, before or since.
        check([calm, (100, 0, 10), (99, 99, 10)], false);
        check([(50, 0, 10), (49, 0, 10), (100, 100, 10)], false);
        // It began before: all the time, or just now.
        check([(900, 300, 10), (100, 33, 10), (1_000, 350, 10)], false);
        check([calm, (100, 90, 10), (1_000, 900, 10)], false);
        // It was bad before, and is worse by more than the limit.
        check([(900, 90, 10), (100, 10, 10), (1_000, 300, 10)], true);
        check([(900, 90, 10), (100, 10, 10), (1_000, 0, 10)], false);
    }

    #[test]
    fn times_beyond_the_limit_are_found() {
        let check = |parts, expected: bool| {
            let found = find(&LIMITS, parts);
            let latency = matches!(found, Some(Regression::Latency { .. }));
            assert_eq!(latency, expected, "{parts:?}: {found:?}");
        };
        let calm = (900, 0, 20);
        check([calm, (100, 0, 20), (100, 0, 60)], true);
        check([calm, (100, 0, 20), (100, 0, 39)], false);
        check([calm, (100, 0, 20), (99, 0, 600)], false);
        // It was slow just before.
        check([calm, (100, 0, 60), (100, 0, 60)], false);
        // Three times as long as next to nothing is next to nothing.
        check([(900, 0, 1), (100, 0, 1), (1_000, 0, 5)], false);
    }

    /// Each is (requests, failed on `a`, failed on `b`); the first is before, the second since.
    #[test]
    fn failures_that_are_excused_are_left_out_of_both_times() {
        let check = |parts: [(u64, u64, u64); 2], all: bool, but_a: bool| {
            let [before, since] = parts.map(|(requests, a, b)| {
                let mut part = totals(requests, 0, 10);
                part.fail(&"a".into(), a);
                part.fail(&"b".into(), b);
                part
            });
            let before = Before {
                first: Totals::default(),
                shortly: Totals::default(),
                last: before,
            };
            let found = Regression::find(&before, &since, &LIMITS).is_some();
            assert_eq!(found, all, "{parts:?}");
            let excused = |route: &str| route == "a";
            let found = Regression::find_but(&before, &since, &LIMITS, excused).is_some();
            assert_eq!(found, but_a, "{parts:?} but a");
        };
        check([(1_000, 0, 0), (1_000, 500, 0)], true, false);
        check([(1_000, 0, 0), (1_000, 500, 100)], true, true);
        check([(1_000, 0, 0), (1_000, 500, 60)], true, false);
        // What was excused before as well hides nothing.
        check([(1_000, 300, 0), (1_000, 0, 200)], false, true);
        check([(1_000, 0, 0), (99, 50, 49)], false, false);
    }

    /// One request that hung says nothing of the thousand others.
    #[test]
    fn a_mean_that_few_have_raised_is_none() {
        let first = Totals::default();
        let last = first.plus(&totals(1_000, 0, 20));
        let mut now = last.plus(&totals(1_000, 0, 20));
        now.record(2, Duration::from_secs(60));
        let is = now.since(&last);
        let before = Before {
            first,
            shortly: last.clone(),
            last,
        };
        assert!(is.mean() > Duration::from_millis(100));
        assert_eq!(Regression::find(&before, &is, &LIMITS), None);
    }

    #[test]
    fn a_limit_that_is_off_finds_nothing() {
        let parts = [(900, 0, 10), (100, 0, 10), (1_000, 1_000, 1_000)];
        let check = |limits: Rollback, expected: Option<RollbackCause>| {
            let found = find(&limits, parts).map(|found| found.cause());
            assert_eq!(found, expected, "{limits:?}");
        };
        check(LIMITS, Some(RollbackCause::Errors));
        let slow_only = Rollback {
            max_error_rate: None,
            ..LIMITS
        };
        check(slow_only, Some(RollbackCause::Latency));
        let neither = Rollback {
            max_latency: None,
            ..slow_only
        };
        check(neither, None);
    }

    #[test]
    fn the_bound_is_below_what_was_seen() {
        for (hits, all) in [(0.0, 100.0), (1.0, 100.0), (50.0, 100.0), (100.0, 100.0)] {
            let bound = lower_bound(hits, all);
            assert!((0.0..=hits / all).contains(&bound), "{hits} {all} {bound}");
        }
        assert!(lower_bound(100.0, 100.0) > 0.9);
    }
}
