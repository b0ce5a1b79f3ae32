//! A candidate for people and programs: what it is, what came of it, what it serves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::stage::staged;
use super::{Current, State};
use crate::changes::Changes;
use crate::shared::Shared;

impl State {
    /// The word for documents.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Kept(_) => "kept",
            Self::Staged => "staged",
            Self::Abandoned(_) => "abandoned",
            Self::Activated(_) => "activated",
        }
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Self::Kept(why) | Self::Abandoned(why) => Some(why),
            Self::Tried | Self::Staged | Self::Activated(_) => None,
        }
    }
}

/// The whole of it.
pub(super) fn document(current: &Current, shared: &Shared) -> Value {
    let candidate = current.trial.plan();
    let serving = shared.plan.newest();
    let changes = serving.map(|live| Changes::between(&live.plan, candidate));
    let tried = current.trial.tried();
    let elapsed = tried.began.map_or(Duration::ZERO, |began| {
        let until = tried.ended.unwrap_or_else(std::time::Instant::now);
        until.saturating_duration_since(began)
    });
    let left = current.trial.lasts().saturating_sub(elapsed);
    let over = tried.ended.is_some();
    let limits = &current.terms.limits;
    let broken = limits.broken(&tried.tally);
    let words: Vec<_> = broken.iter().map(ToString::to_string).collect();
    let aspects = limits.aspects.iter();
    let allowed = aspects.map(|(aspect, part)| (format!("max_{aspect}_change"), json!(part)));
    let mut allowed: serde_json::Map<_, _> = allowed.collect();
    allowed.insert("max_change".to_owned(), json!(limits.change));
    allowed.insert("min_requests".to_owned(), json!(limits.min_requests));
    json!({
        "candidate": current.number,
        "state": current.state.as_str(),
        "detail": current.state.detail(),
        "generation": match current.state {
            State::Activated(generation) => json!(generation),
            _ => Value::Null,
        },
        "hash": candidate.content_hash,
        "who": current.author.who,
        "reason": current.author.reason,
        "since": unix(current.since),
        "warnings": current.parts.warnings.to_json()["problems"].take(),
        "changes": changes.unwrap_or_default(),
        "compared_with": tried.compared_with.0,
        "began_anew": tried.anew,
        "over": over,
        "elapsed_s": elapsed.as_secs_f64(),
        "left_s": if over { 0.0 } else { left.as_secs_f64() },
        "activate": current.terms.activate,
        "compared": tried.tally.compared(),
        "limits": { "allowed": allowed, "hold": broken.is_empty(), "broken": broken, "words": words },
        "stage": staged(&shared.plan),
    })
}

fn unix(at: SystemTime) -> f64 {
    let since = at.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
