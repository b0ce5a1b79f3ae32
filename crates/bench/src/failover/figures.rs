//! From what was seen to figures: pure, in milliseconds since the start of the load.
//!
//! A region's share is taken from the answers that clients got, not from arrivals: what a black hole
//! has held arrives when it heals, long after its sender went elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An answer that took longer is late.
pub(super) const LATE_MS: u64 = 500;

/// An answer that took longer is very late.
const VERY_LATE_MS: u64 = 1_000;

/// Share of what a region had before its fault from which it has it back.
const BACK: f64 = 0.95;

/// Below this share of the requests a region has been left.
const LEFT: f64 = 0.5;

/// A second counts as at least this share of all requests when the next is compared with it, so that
/// three requests after one are no step.
const STEP_FLOOR: f64 = 0.05;

/// Samples are ten a second; when none was taken for this long, everything here stood still.
const STALL_MS: u64 = 400;

/// A second, in milliseconds.
const SECOND: u64 = 1_000;

/// The counts at one moment, since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// When.
    pub(super) at_ms: u64,
    /// Answers that clients got, by region.
    pub(super) answered: [u64; 3],
    /// Requests that regions saw.
    pub(super) arrived: [u64; 3],
}

/// A request that failed or was late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mishap {
    /// When it was over.
    pub(super) ended_ms: u64,
    /// What it took from its intended time.
    pub(super) took_ms: u64,
    /// How it failed; `None` when it was only late.
    pub(super) error: Option<String>,
    /// Whether it was a POST.
    pub(super) post: bool,
}

/// When what happened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) fault_ms: u64,
    pub(super) heal_ms: u64,
    pub(super) end_ms: u64,
}

/// What clients met after the fault began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Harm {
    /// Requests that failed.
    pub(super) errors: u64,
    /// Of them, those that were POST.
    pub(super) errors_post: u64,
    /// Failed requests by how.
    pub(super) kinds: BTreeMap<String, u64>,
    /// Right answers that took more than half a second.
    pub(super) late: u64,
    /// Right answers that took more than a second.
    pub(super) very_late: u64,
    /// From the fault to the end of the last failed request.
    pub(super) last_error_s: Option<f64>,
    /// From the fault to the end of the last late one.
    pub(super) last_late_s: Option<f64>,
    /// Failed and late requests before the fault: 0, or something else is wrong.
    pub(super) before: u64,
}

/// How the near region got its share back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Return {
    /// Whether it had lost its share at all.
    pub(super) left: bool,
    /// From the end of the fault to the first answer that it gave; `None`: not within the run.
    pub(super) first_s: Option<f64>,
    /// From there to 95 % of the share that it had before; `None`: not within the run.
    pub(super) full_s: Option<f64>,
    /// The most that it got more in one second than in the second before, as a share of all requests.
    pub(super) step: f64,
    /// The most requests of one second by those of the second before, which counts as 5 % at least.
    pub(super) ratio: f64,
}

/// What clients met.
pub(super) fn harm(mishaps: &[Mishap], times: Times) -> Harm {
    let mut harm = Harm::default();
    for mishap in mishaps {
        if mishap.ended_ms < times.fault_ms {
            harm.before += 1;
            continue;
        }
        let since = Some(seconds(mishap.ended_ms - times.fault_ms));
        if let Some(error) = &mishap.error {
            harm.errors += 1;
            harm.errors_post += u64::from(mishap.post);
            *harm.kinds.entry(error.clone()).or_default() += 1;
            harm.last_error_s = later(harm.last_error_s, since);
        } else if mishap.took_ms > LATE_MS {
            harm.late += 1;
            harm.very_late += u64::from(mishap.took_ms > VERY_LATE_MS);
            harm.last_late_s = later(harm.last_late_s, since);
        }
    }
    harm
}

fn later(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

/// How the near region came back. Samples are in the order of time, several a second.
pub(super) fn come_back(samples: &[Sample], times: Times) -> Return {
    let Times {
        fault_ms,
        heal_ms,
        end_ms,
    } = times;
    let had = share(samples, fault_ms.saturating_sub(2 * SECOND), fault_ms);
    let left = samples.iter().map(|sample| sample.at_ms).any(|at| {
        let within = at >= fault_ms + SECOND && at <= end_ms;
        within && share(samples, at - SECOND, at) < LEFT * had
    });
    let since_heal = |at: u64| seconds(at.saturating_sub(heal_ms));
    let healed = near(samples, heal_ms);
    let after: Vec<u64> = samples
        .iter()
        .map(|sample| sample.at_ms)
        .filter(|at| *at > heal_ms)
        .collect();
    let first = after.iter().find(|at| near(samples, **at) > healed);
    let full = after
        .iter()
        .filter(|at| **at >= heal_ms + SECOND)
        .find(|at| share(samples, **at - SECOND, **at) >= BACK * had);
    let steps = after.iter().filter(|at| **at + SECOND <= end_ms);
    let (mut step, mut ratio) = (0.0_f64, 0.0_f64);
    for at in steps {
        let (more, times) = step_at(samples, *at);
        (step, ratio) = (step.max(more), ratio.max(times));
    }
    Return {
        left,
        first_s: first.map(|at| since_heal(*at)),
        full_s: full.map(|at| since_heal(*at)),
        step,
        ratio,
    }
}

/// What the near region gained in the second after `at` over the one before: as a share of all
/// requests of that second, and as a multiple.
fn step_at(samples: &[Sample], at: u64) -> (f64, f64) {
    let second = |from, to| near(samples, to) - near(samples, from);
    let (before, now) = (
        second(at.saturating_sub(SECOND), at),
        second(at, at + SECOND),
    );
    let all = all(samples, at + SECOND) - all(samples, at);
    if all <= 0.0 {
        return (0.0, 0.0);
    }
    ((now - before) / all, now / before.max(STEP_FLOOR * all))
}

/// The near region's share of the answers in this time; 0 when there are none.
pub(super) fn share(samples: &[Sample], from: u64, to: u64) -> f64 {
    let all = all(samples, to) - all(samples, from);
    let near = near(samples, to) - near(samples, from);
    if all > 0.0 { near / all } else { 0.0 }
}

/// Answers of the near region until then, between two samples by their line.
fn near(samples: &[Sample], at: u64) -> f64 {
    counted(samples, at, |sample| sample.answered[0])
}

fn all(samples: &[Sample], at: u64) -> f64 {
    counted(samples, at, |sample| sample.answered.iter().sum())
}

/// A count at a moment, between two samples by their line; before the first and after the last as
/// there.
pub(super) fn counted(samples: &[Sample], at: u64, of: impl Fn(&Sample) -> u64) -> f64 {
    let next = samples.partition_point(|sample| sample.at_ms < at);
    let upper = samples.get(next).or(samples.last());
    let lower = samples.get(next.saturating_sub(1));
    let (Some(lower), Some(upper)) = (lower, upper) else {
        return 0.0;
    };
    let (low, high) = (of(lower) as f64, of(upper) as f64);
    let span = upper.at_ms.saturating_sub(lower.at_ms);
    if span == 0 {
        return high;
    }
    let part = at.saturating_sub(lower.at_ms) as f64 / span as f64;
    low + (high - low) * part.min(1.0)
}

/// When the whole bench stood still, and for how long, in milliseconds: others had the machine.
pub(super) fn stalls(samples: &[Sample]) -> impl Iterator<Item = (u64, u64)> {
    let pairs = samples
        .windows(2)
        .map(|pair| (pair[0].at_ms, pair[1].at_ms));
    let gaps = pairs.map(|(before, after)| (before, after.saturating_sub(before)));
    gaps.filter(|(_, gap)| *gap >= STALL_MS)
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        fault_ms: 4_000,
        heal_ms: 10_000,
        end_ms: 30_000,
    };

    /// Samples every 100 ms of 100 requests a second, of which the near region gets `share(second)`.
    fn run(share: impl Fn(f64) -> f64) -> Vec<Sample> {
        let (mut near, mut samples) = (0.0, Vec::new());
        for tick in 0..=300_u64 {
            let all = tick * 10;
            samples.push(Sample {
                at_ms: tick * 100,
                answered: [near as u64, all - near as u64, 0],
                arrived: [0; 3],
            });
            near += 10.0 * share(tick as f64 / 10.0);
        }
        samples
    }

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 0.25)
    }

    #[test]
    fn a_cliff_is_a_step_of_everything() {
        let samples = run(|s| if (4.0..13.0).contains(&s) { 0.0 } else { 1.0 });
        let back = come_back(&samples, TIMES);
        assert!(back.left && close(back.first_s, 3.1), "{back:?}");
        assert!(close(back.full_s, 4.0), "{back:?}");
        assert!(
            (back.step - 1.0).abs() < 0.01 && (back.ratio - 20.0).abs() < 0.1,
            "{back:?}"
        );
    }

    #[test]
    fn a_ramp_has_small_steps() {
        let ramp = |s: f64| ((s - 12.0) / 10.0).clamp(0.0, 1.0);
        let samples = run(|s| if s < 4.0 { 1.0 } else { ramp(s) });
        let back = come_back(&samples, TIMES);
        assert!(back.left && close(back.first_s, 2.5), "{back:?}");
        assert!(close(back.full_s, 12.0), "{back:?}");
        assert!(back.step < 0.13 && back.ratio < 3.5, "{back:?}");
    }

    #[test]
    fn who_never_left_has_nothing_to_come_back() {
        let back = come_back(&run(|_| 1.0), TIMES);
        assert!(!back.left && back.step < 0.02, "{back:?}");
        let gone = come_back(&run(|s| if s < 4.0 { 1.0 } else { 0.0 }), TIMES);
        assert!(gone.left);
        assert_eq!((gone.first_s, gone.full_s, gone.step), (None, None, 0.0));
    }

    #[test]
    fn nothing_seen_is_nothing() {
        assert_eq!(come_back(&[], TIMES), Return::default());
        assert_eq!(harm(&[], TIMES), Harm::default());
    }

    #[test]
    fn harm_counts_from_the_fault() {
        let mishap = |ended_ms, took_ms, error: Option<&str>, post| Mishap {
            ended_ms,
            took_ms,
            error: error.map(str::to_owned),
            post,
        };
        let harm = harm(
            &[
                mishap(3_999, 20, Some("503"), false),
                mishap(4_000, 20, Some("503"), false),
                mishap(6_500, 15_000, Some("timed out"), true),
                mishap(5_000, 700, None, false),
                mishap(12_000, 1_100, None, false),
            ],
            TIMES,
        );
        assert_eq!((harm.errors, harm.errors_post, harm.before), (2, 1, 1));
        assert_eq!((harm.late, harm.very_late), (2, 1));
        assert_eq!(
            (harm.last_error_s, harm.last_late_s),
            (Some(2.5), Some(8.0))
        );
        assert_eq!(harm.kinds["timed out"], 1);
    }

    #[test]
    fn counts_between_samples_lie_on_their_line_and_gaps_are_told() {
        let at = |at_ms, near| Sample {
            at_ms,
            answered: [near, 0, 0],
            arrived: [0; 3],
        };
        let samples = [at(100, 10), at(200, 20), at(400, 20)];
        let table = [
            (0, 10.0),
            (100, 10.0),
            (150, 15.0),
            (200, 20.0),
            (300, 20.0),
            (900, 20.0),
        ];
        let stood: Vec<_> = stalls(&[at(100, 0), at(200, 0), at(900, 0)]).collect();
        assert_eq!(stood, [(200, 700)]);
        for (moment, expected) in table {
            let counted = counted(&samples, moment, |sample| sample.answered[0]);
            assert!((counted - expected).abs() < 1e-9, "{moment}: {counted}");
        }
    }
}
