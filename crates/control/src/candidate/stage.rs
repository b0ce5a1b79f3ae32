//! A candidate serves a part, and somebody looks after it: when its requests fail more often than those of
//! the plan beside it, everything goes back to that one.
//!
//! The rule is simple on purpose. Both plans' requests are counted from the stage's begin; once enough came
//! to the candidate, its ratio of errors may exceed the other's by so many points and no more. A stage by
//! routes compares these routes with everything else: there it is a guard against breakage, not a measure.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tidegate_core::{Part, PlanHandle, Served, Stage};

use crate::orders::parse_dial;

/// How often it is looked after.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// When a stage is abandoned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// By how much the ratio of errors may exceed that of the plan beside it, 0 to 1. None: it is never
    /// abandoned for errors.
    pub max_error_rate: Option<f64>,
    /// Not before so many requests have ended under the candidate.
    pub min_requests: u64,
}

/// What requests under one plan came to while the stage lasted.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Came {
    generation: u64,
    requests: u64,
    errors: u64,
    error_rate: f64,
    mean_ms: f64,
}

impl Default for Guard {
    /// Five points, after 100 requests.
    fn default() -> Self {
        Self {
            max_error_rate: Some(0.05),
            min_requests: 100,
        }
    }
}

impl Guard {
    /// Why `stage` has to be abandoned, in words; none while it may go on.
    pub fn objection(&self, stage: &Stage) -> Option<String> {
        self.judge(stage.serving(), stage.staged())
    }

    fn judge(&self, serving: Served, staged: Served) -> Option<String> {
        let allowed = self.max_error_rate?;
        let (was, is) = (serving.error_ratio(), staged.error_ratio());
        if staged.requests < self.min_requests || is - was <= allowed {
            return None;
        }
        let percent = |part: f64| (part * 1e4).round() / 1e2;
        Some(format!(
            "{}% of {} requests failed under it, {}% of {} beside it; {} points more are allowed",
            percent(is),
            staged.requests,
            percent(was),
            serving.requests,
            percent(allowed),
        ))
    }
}

/// Reads `+5%`, `5%` or `off`.
pub(super) fn max_error_rate(text: &str) -> Option<Option<f64>> {
    if text == "off" {
        return Some(None);
    }
    let dial = parse_dial(text.strip_prefix('+').unwrap_or(text)).ok()?;
    Some(Some(dial?.share()))
}

/// Which part a stage serves, for people.
pub(crate) fn part_in_words(part: &Part) -> String {
    match part {
        Part::Share(share) => format!("{}% of connections", (share.share() * 1e4).round() / 1e2),
        Part::Routes(names) => format!("routes {}", names.join(", ")),
    }
}

/// What serves a part beside the plan that serves, if anything does: `{generation, hash, part, share,
/// routes, serving, staged}`, null if nothing.
pub(crate) fn staged(handle: &PlanHandle) -> Value {
    let stage = handle.stage();
    let (Some(stage), Some(serving)) = (&*stage, handle.newest()) else {
        return Value::Null;
    };
    document(stage, serving.generation.0)
}

fn document(stage: &Arc<Stage>, serving: u64) -> Value {
    let (share, routes) = match &stage.part {
        Part::Share(share) => (json!(share.share()), Value::Null),
        Part::Routes(names) => (Value::Null, json!(names)),
    };
    json!({
        "generation": stage.generation().0,
        "hash": stage.live.plan.content_hash,
        "part": part_in_words(&stage.part),
        "share": share,
        "routes": routes,
        "serving": Came::of(serving, stage.serving()),
        "staged": Came::of(stage.generation().0, stage.staged()),
    })
}

impl Came {
    fn of(generation: u64, served: Served) -> Self {
        let each = served.took.as_secs_f64() * 1e3 / served.requests.max(1) as f64;
        Self {
            generation,
            requests: served.requests,
            errors: served.errors,
            error_rate: served.error_ratio(),
            mean_ms: (each * 1e3).round() / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(serving: (u64, u64), staged: (u64, u64), abandoned: bool) {
        let served = |(requests, errors)| Served {
            requests,
            errors,
            ..Served::default()
        };
        let found = Guard::default().judge(served(serving), served(staged));
        assert_eq!(
            found.is_some(),
            abandoned,
            "{serving:?} {staged:?} {found:?}"
        );
    }

    #[test]
    fn a_stage_is_abandoned_when_it_fails_more_often_and_not_before_that_is_known() {
        check((1_000, 0), (99, 99), false);
        check((1_000, 0), (100, 5), false);
        check((1_000, 0), (100, 6), true);
        check((1_000, 900), (100, 95), false);
        check((0, 0), (100, 6), true);
        let off = Guard {
            max_error_rate: None,
            ..Guard::default()
        };
        let all = Served {
            requests: 500,
            errors: 500,
            ..Served::default()
        };
        assert_eq!(off.judge(Served::default(), all), None);
    }

    #[test]
    fn a_rate_is_given_in_points() {
        assert_eq!(max_error_rate("+5%"), Some(Some(0.05)));
        assert_eq!(max_error_rate("0"), Some(Some(0.0)));
        assert_eq!(max_error_rate("off"), Some(None));
        assert_eq!(max_error_rate("plan"), None);
        assert_eq!(max_error_rate("5"), None);
    }
}
