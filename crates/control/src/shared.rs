//! What control shares with the other parts of the process.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tidegate_core::record::Records;
use tidegate_core::{Board, PlanHandle};
use tidegate_telemetry::{Events, Metrics};

use crate::orders::Orders;
use crate::standby::Starts;
use crate::state::StateDir;

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
    /// What was decided for requests.
    pub records: Arc<Records>,
    /// Which cold regions are being started.
    pub(crate) starts: Arc<Starts>,
    /// Where what outlives the process is kept.
    state: Arc<OnceLock<StateDir>>,
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
            records: Arc::default(),
            starts: Arc::default(),
            state: Arc::default(),
        }
    }

    /// The state directory; none before the first configuration was read, and where there is none.
    pub fn state(&self) -> Option<&StateDir> {
        self.state.get()
    }

    /// Says where what outlives the process is kept. Only the first call counts.
    pub(crate) fn set_state(&self, state: Option<&StateDir>) {
        if let Some(state) = state {
            let _ = self.state.set(state.clone());
        }
    }
}
