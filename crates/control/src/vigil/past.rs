//! What was counted lately: what the next plan is held against.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_telemetry::metrics::Totals;
use tokio::time::Instant;

use crate::regression::Before;

/// How often is counted within a watch.
pub(super) const LOOKS: u32 = 24;
/// What is shortly before: the last of so many parts of a watch.
const SHORTLY: usize = 6;

/// What was counted at each look, oldest first, of about one watch.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<(Instant, Totals)>);

impl Past {
    /// Enters what is counted `now`, and forgets what is more than a watch ago.
    pub(super) fn remember(&mut self, now: Instant, totals: Totals, watch: Duration) {
        let pause = watch / LOOKS;
        let last = self.0.back();
        if last.is_none_or(|(at, _)| now.duration_since(*at) >= pause / 2) {
            self.0.push_back((now, totals));
        }
        let old = |(at, _): &(Instant, Totals)| now.duration_since(*at) > watch;
        while self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
    }

    /// What was before a moment at which `last` was counted; none without any look before it.
    pub(super) fn before(&self, last: Totals) -> Option<Before> {
        let (_, first) = self.0.front()?;
        let shortly = self.0.len().checked_sub(LOOKS as usize / SHORTLY);
        let shortly = shortly.and_then(|at| self.0.get(at));
        Some(Before {
            first: first.clone(),
            shortly: shortly.map_or(first, |(_, totals)| totals).clone(),
            last,
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
