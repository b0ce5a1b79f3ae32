//! What control shares with the other parts of the process.

use std::sync::Arc;
use std::time::Instant;

use tidegate_core::{Board, PlanHandle};
use tidegate_telemetry::{Events, Metrics};

use crate::drains::Drains;

/// The meeting points of the process. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where the serving plan is kept.
    pub plan: Arc<PlanHandle>,
    /// What is observed.
    pub board: Arc<Board>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What happened lately.
    pub events: Events,
    /// Which regions an operator drains.
    pub drains: Arc<Drains>,
}

impl Shared {
    /// Meeting points at which nothing has happened yet. The board counts time from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            plan: Arc::new(PlanHandle::new()),
            board: Arc::new(Board::new(origin)),
            metrics: Metrics::new(),
            events: Events::new(),
            drains: Arc::new(Drains::default()),
        }
    }
}
