//! A change of a region's or an endpoint's state, as the judge tells it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::Health;
use super::evidence::Evidence;

/// What a region is going through. In a breaker's words `Out` and `Waiting` are open, `Probation` is
/// half open, and the rest is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It takes its share, as its health lets it.
    #[default]
    Serving,
    /// It has fallen silent: nothing new goes there while that is found out.
    Suspected,
    /// It is down, or held out for some time after it was.
    Out,
    /// It could come back, and waits for an operator to let it (`failback.manual`).
    Waiting,
    /// It is tried with a small part of its share, of what can be repeated elsewhere.
    Probation,
    /// Its share grows back.
    Ramp,
}

/// A change of a region's or an endpoint's state, with what caused it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The region's position in the upstream.
    pub position: u8,
    /// The address of the endpoint that changed; none when the region itself did.
    pub endpoint: Option<Arc<str>>,
    /// Health before.
    pub from: Health,
    /// Health after; the same when only the stage changed, or when there is something to tell
    /// although nothing changed (all regions fail alike).
    pub to: Health,
    /// What the region goes through from now on; of an endpoint: `Out` (ejected), `Probation`
    /// (half open) or `Serving`.
    pub stage: Stage,
    /// Why.
    pub evidence: Evidence,
}

impl Stage {
    /// The word for logs, metrics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Suspected => "suspected",
            Self::Out => "out",
            Self::Waiting => "waiting",
            Self::Probation => "probation",
            Self::Ramp => "ramp",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
