//! The regions that an attempt was kept from for the sake of their load, counted.

use tidegate_core::decision::{Decision, Excluded, Exclusion};
use tidegate_core::limits::fills_only_retries;
use tidegate_telemetry::labels::Limit;

use crate::pipeline::Serving;

impl Serving {
    /// Counts the regions that shed the attempt of this decision, and those that are full.
    pub(crate) fn count_passed_over(&self, decision: &Decision) {
        self.count_shed(decision);
        self.count_full(decision);
    }

    fn count_shed(&self, decision: &Decision) {
        for candidate in decision.shed() {
            let series = &self.admitted.upstream.series;
            series.region(candidate.position).shed();
        }
    }

    fn count_full(&self, decision: &Decision) {
        let full = |excluded: &&Excluded| excluded.why == Exclusion::Full;
        for excluded in decision.excluded.iter().filter(full) {
            let (upstream, live) = self.upstream();
            let mut regions = upstream.regions.iter();
            let Some(at) = regions.position(|region| region.region == excluded.region) else {
                continue;
            };
            let limit = match fills_only_retries(&upstream.circuit_breaker, &live.regions[at]) {
                true => Limit::MaxRetries,
                false => Limit::MaxRequests,
            };
            let series = &self.admitted.upstream.series;
            series.region(at as u8).refused(limit);
        }
    }
}
