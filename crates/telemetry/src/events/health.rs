//! A change of health, and what it was concluded from.

use std::fmt;

use serde::Serialize;
use tidegate_core::Health;
use tidegate_core::health::{Evidence, Stage};

use super::write::word;
use crate::labels::ProbeResult;

/// A change of health; in an event, its fields stand among the event's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthChange {
    /// Health before.
    pub from: Health,
    /// Health after; the same when only the stage changed, or nothing did.
    pub to: Health,
    /// What it goes through from now on. Of an endpoint: `out` (ejected, or failing its probes),
    /// `probation` (ejected lately, and tried again) or `serving`.
    pub stage: Stage,
    /// What it was concluded from, in words.
    pub evidence: String,
    /// The same in figures.
    pub facts: Facts,
}

/// The figures behind a change of health: an object whose `kind` says which there are, times in
/// seconds, shares as 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Facts {
    /// What the judge of the upstream saw.
    Judged(Evidence),
    /// What probes of the endpoint saw.
    Probed(Probes),
}

/// Equal results of probes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename = "probes")]
pub struct Probes {
    /// How many.
    pub in_a_row: u32,
    /// The last one's.
    #[serde(serialize_with = "word")]
    pub result: ProbeResult,
    /// The time it took to connect, in seconds; null if the last one did not need to, or could not.
    pub connected: Option<f64>,
}
impl HealthChange {
    /// Whether it is for the worse, or something that an operator must know although nothing
    /// changed. The first news of a start-up are not.
    pub fn is_bad(&self) -> bool {
        let bad_news = matches!(
            self.facts,
            Facts::Judged(Evidence::Shared { .. } | Evidence::Reversed { .. })
        );
        let returning = matches!(self.stage, Stage::Probation | Stage::Ramp);
        let well = self.to.usable() && self.to != Health::Degraded;
        bad_news || self.stage == Stage::Suspected || !(well || returning)
    }

    pub(super) fn log(&self, what: &str, name: fmt::Arguments<'_>) {
        let Self {
            from,
            to,
            stage,
            evidence,
            ..
        } = self;
        if self.is_bad() {
            tracing::warn!("{what} {name} is {to} (was {from}), {stage}: {evidence}");
        } else {
            tracing::info!("{what} {name} is {to} (was {from}), {stage}: {evidence}");
        }
    }
}
