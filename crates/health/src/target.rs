//! Who is probed, as the plan and discovery want it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_core::plan::Plan;
use tidegate_core::{EndpointCell, EndpointSlot, Live, RegionCell};
use tidegate_telemetry::Metrics;
use tidegate_telemetry::metrics::UpstreamHandle;

use crate::check::Check;

type Name = Arc<str>;

/// The checks of the upstreams that have a probe, by the upstream's name.
pub(crate) type Checks = HashMap<Name, Arc<Check>>;

/// Upstream, region, address.
pub(crate) type Key = (Name, Name, Name);

/// One region of one upstream that is probed.
pub(crate) struct Group {
    pub(crate) upstream: Name,
    /// The upstream's position in the plan that serves.
    pub(crate) position: usize,
    pub(crate) region: Name,
    pub(crate) check: Arc<Check>,
    /// Whether its judge wants it probed at once, and often.
    pub(crate) doubted: AtomicBool,
    pub(crate) cell: Arc<RegionCell>,
    pub(crate) slot: Arc<EndpointSlot>,
    pub(crate) series: UpstreamHandle,
}

/// One endpoint that is probed.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) group: Arc<Group>,
    pub(crate) address: Name,
    pub(crate) cell: Arc<EndpointCell>,
}

/// The checks that `plan` wants; those of `known` that are still right are kept.
pub(crate) fn checks(plan: &Plan, known: &Checks) -> Checks {
    let wanted = plan.upstreams.iter().filter_map(|upstream| {
        let probe = upstream.health.probe.as_ref()?;
        let kept = known.get(&upstream.name);
        let kept = kept
            .filter(|check| check.is_for(probe, &upstream.connection))
            .cloned();
        let fresh = || Arc::new(Check::new(probe.clone(), upstream.connection.clone()));
        Some((upstream.name.clone(), kept.unwrap_or_else(fresh)))
    });
    wanted.collect()
}

/// The regions that are probed.
pub(crate) fn groups(live: &Live, checks: &Checks, metrics: &Metrics) -> Vec<Arc<Group>> {
    let mut groups = Vec::new();
    let upstreams = live.plan.upstreams.iter().zip(&live.upstreams);
    for (position, (upstream, bound)) in upstreams.enumerate() {
        let Some(check) = checks.get(&upstream.name) else {
            continue;
        };
        for (spec, bound) in upstream.regions.iter().zip(&bound.regions) {
            let region = &live.plan.region(spec.region).name;
            groups.push(Arc::new(Group {
                upstream: upstream.name.clone(),
                position,
                region: region.clone(),
                check: check.clone(),
                doubted: AtomicBool::new(false),
                cell: bound.cell.clone(),
                slot: bound.endpoints.clone(),
                series: metrics.upstream(&upstream.name, region),
            }));
        }
    }
    groups
}

/// The endpoints that are probed.
pub(crate) fn targets(groups: &[Arc<Group>]) -> HashMap<Key, Target> {
    let mut targets = HashMap::new();
    for group in groups {
        for endpoint in &group.slot.load().endpoints {
            let target = Target {
                group: group.clone(),
                address: endpoint.address.clone(),
                cell: endpoint.cell.clone(),
            };
            targets.insert(target.key(), target);
        }
    }
    targets
}

/// Changes whenever [`groups`] or [`targets`] may have changed.
pub(crate) fn fingerprint(live: &Live) -> (u64, u64) {
    let slots = live.upstreams.iter().flat_map(|upstream| &upstream.regions);
    let versions = slots.map(|region| region.endpoints.load().version).sum();
    (live.generation.0, versions)
}

impl Target {
    /// Whether doubt about its region concerns it: an endpoint that is down has nothing to tell.
    pub(crate) fn doubted(&self) -> bool {
        self.group.doubted.load(Ordering::Relaxed) && self.cell.probed_health().usable()
    }

    /// Its identity, across plans.
    pub(crate) fn key(&self) -> Key {
        (
            self.group.upstream.clone(),
            self.group.region.clone(),
            self.address.clone(),
        )
    }
}
