//! A plan that was replaced, until nothing uses it any more.
//!
//! It is thrown away on the quiet thread: the threads that serve would take milliseconds for one with
//! many routes. They hold it no longer than until they hear that another one serves; a stream that
//! began under it holds parts of it, which are its own to drop.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Board, Live};
use tidegate_telemetry::Metrics;
use tidegate_telemetry::metrics::PlanSeries;

use crate::quiet::Quiet;

/// How soon is looked whether it is still in use, and how seldom at last. Those who hold it look for
/// another one a few times a second, and reloads may follow each other as fast: what is not thrown away
/// adds up.
const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_millis(100);

/// Who holds a plan that is bound once: what it is bound to, and its series.
const PLAN_HOLDERS: usize = 2;

/// A plan that is about to be replaced, and what was resolved for it: held, so that nobody else drops
/// the last of it.
pub(crate) struct Leaving {
    series: PlanSeries,
    live: Arc<Live>,
}

impl Leaving {
    /// Holds the plan that serves. To be called while it does.
    pub(crate) fn of(live: Arc<Live>, metrics: &Arc<Metrics>) -> Self {
        Self {
            series: metrics.route_series(&live.plan),
            live,
        }
    }

    /// Throws it away once nobody else has it, with what only it had on the board.
    pub(crate) fn retire(self, quiet: Quiet, board: Arc<Board>) {
        tokio::spawn(async move {
            let mut pause = FIRST;
            while self.is_used() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST);
            }
            // Without the thread it goes away here.
            let _ = quiet
                .run(move || {
                    drop(self);
                    board.forget_unused();
                })
                .await;
        });
    }

    fn is_used(&self) -> bool {
        // A plan that was bound twice (a part that was given back and taken again) has one set of series:
        // whoever leaves last throws it away, and none waits for the other.
        let alone = || Arc::strong_count(&self.live.plan) <= PLAN_HOLDERS;
        Arc::strong_count(&self.live) > 1 || (alone() && self.series.is_shared())
    }
}
