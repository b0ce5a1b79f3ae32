//! What control shares with the other parts of the process.

use std::sync::Arc;
use std::time::Instant;

use tidegate_core::{Board, PlanHandle};
use tidegate_telemetry::{Events, Metrics};

use crate::orders::Orders;
use crate::standby::Starts;

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
    /// What an operator orders of regions.
    pub orders: Arc<Orders>,
    /// Which cold regions are being started.
    pub(crate) starts: Arc<Starts>,
}

impl Shared {
    /// Meeting points at which nothing has happened yet. The board counts time from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            plan: Arc::new(PlanHandle::new()),
            board: Arc::new(Board::new(origin)),
            metrics: Metrics::new(),
            events: Events::new(),
            orders: Arc::new(Orders::default()),
            starts: Arc::default(),
        }
    }
}
