//! What whoever probes endpoints asks of their set, and tells it.

use std::time::Instant;

use arrayvec::ArrayVec;
use fastrand::Rng;

use super::Seek;
use super::among::Among;
use super::eyes::Direct;
use super::prequal::{Entry, PROBES_MAX, Told};
use crate::endpoint::EndpointSet;

impl EndpointSet {
    /// The positions of those to probe for an attempt that was made at `at`, which lie in its zone.
    /// None where the policy does not probe. Each has to be told of by [`Self::probed`], or it is never
    /// probed again.
    pub fn to_probe(
        &self,
        at: usize,
        seek: &Seek<'_>,
        rng: &mut Rng,
    ) -> ArrayVec<usize, PROBES_MAX> {
        let numbered = self.groups().iter().enumerate();
        let mut own = numbered.filter(|(_, group)| group.range().contains(&at));
        let Some((number, prober)) = own.find_map(|(at, group)| Some((at, group.prober()?))) else {
            return ArrayVec::new();
        };
        let among = Among::new(self, number, seek, self.ground(&seek.barred), &Direct);
        prober.to_ask(&among, rng)
    }

    /// Enters what the endpoint at `at` said when it was probed; for what it did not say stand what we
    /// have in flight there, and what that makes of the time that its answers take us. None: the probe failed. `draw` is drawn evenly from
    /// 0 to 1, 1 excluded.
    pub fn probed(&self, at: usize, told: Option<Told>, draw: f64, now: Instant) {
        let mut groups = self.groups().iter();
        let Some(group) = groups.find(|group| group.range().contains(&at)) else {
            return;
        };
        let Some(prober) = group.prober() else {
            return;
        };
        let endpoint = &self.endpoints[at];
        let found = told.map(|told| {
            let in_flight = told.in_flight.unwrap_or_else(|| endpoint.cell.in_flight());
            let latency = told.latency.map(|latency| latency.as_secs_f64() * 1e6);
            Entry {
                at,
                in_flight: f64::from(in_flight) / f64::from(endpoint.weight),
                latency_us: latency.unwrap_or_default(),
                guessed: latency.is_none(),
                uses: prober.uses(group.range().len(), draw),
                since: now,
            }
        });
        prober.heard(found, at);
    }
}
