//! Why nothing becomes of a candidate.

use std::sync::Arc;

use tidegate_config::Report;
use tidegate_core::InvalidStage;

use crate::outcome::Outcome;

/// Why nothing becomes of a candidate. What serves goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum Unwanted {
    /// There is none.
    #[error("there is no candidate; `tidegate try FILE` makes one")]
    None,
    /// It has problems.
    #[error("the candidate has problems\n{0}")]
    Problems(Report),
    /// It is fine, but touches what only a restart can change.
    #[error("a restart is needed to change {}", .0.join(", "))]
    RestartNeeded(Vec<String>),
    /// The one before it serves a part.
    #[error(
        "a candidate serves a part already; activate it whole, or abandon it, before another is tried"
    )]
    Staged,
    /// It serves nothing.
    #[error("the candidate serves nothing that could be given back")]
    NotStaged,
    /// It cannot serve this part.
    #[error(transparent)]
    Part(#[from] InvalidStage),
    /// It was accepted once, and is not any more.
    #[error("{0}")]
    Refused(Arc<Outcome>),
    /// It failed in a way that it never should.
    #[error("it was not done to its end: {0}")]
    Broken(String),
}
