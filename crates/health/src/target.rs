//! Who is probed, as the plan and discovery want it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_core::{EndpointCell, EndpointSlot, RegionCell};
use tidegate_telemetry::Metrics;
use tidegate_telemetry::metrics::UpstreamHandle;

use crate::check::Check;
use crate::followed::Followed;

type Name = Arc<str>;

/// The checks of the upstreams that have a probe, by the upstream's name, and whether it is one of a
/// plan that serves a part.
pub(crate) type Checks = HashMap<(Name, bool), Arc<Check>>;

/// Upstream, region, address.
pub(crate) type Key = (Name, Name, Name);

/// One region of one upstream that is probed.
pub(crate) struct Group {
    pub(crate) upstream: Name,
    /// The upstream's position among those that are followed.
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

/// The checks that are wanted; those of `known` that are still right are kept.
pub(crate) fn checks(followed: &[Followed], known: &Checks) -> Checks {
    let wanted = followed.iter().filter_map(|one| {
        let upstream = &one.upstream;
        let probe = upstream.health.probe.as_ref()?;
        let same = |check: &&Arc<Check>| check.is_for(probe, &upstream.connection);
        // What served a part may have become the whole.
        let mut kept = [one.beside, !one.beside].into_iter();
        let kept = kept.find_map(|beside| {
            let known = known.get(&(upstream.name.clone(), beside));
            known.filter(same).cloned()
        });
        let fresh = || Arc::new(Check::new(probe.clone(), upstream.connection.clone()));
        let key = (upstream.name.clone(), one.beside);
        Some((key, kept.unwrap_or_else(fresh)))
    });
    wanted.collect()
}

/// The regions that are probed.
pub(crate) fn groups(followed: &[Followed], checks: &Checks, metrics: &Metrics) -> Vec<Arc<Group>> {
    let mut groups = Vec::new();
    for (position, one) in followed.iter().enumerate() {
        let upstream = &one.upstream.name;
        let Some(check) = checks.get(&(upstream.clone(), one.beside)) else {
            continue;
        };
        for (region, bound) in one.regions.iter().zip(&one.bound.regions) {
            groups.push(Arc::new(Group {
                upstream: upstream.clone(),
                position,
                region: region.clone(),
                check: check.clone(),
                doubted: AtomicBool::new(false),
                cell: bound.cell.clone(),
                slot: bound.endpoints.clone(),
                series: metrics.upstream(upstream, region),
            }));
        }
    }
    groups
}

/// The endpoints that are probed: each once, as the first group that has it wants.
pub(crate) fn targets(groups: &[Arc<Group>]) -> HashMap<Key, Target> {
    let mut targets = HashMap::new();
    for group in groups {
        for endpoint in &group.slot.load().endpoints {
            let target = Target {
                group: group.clone(),
                address: endpoint.address.clone(),
                cell: endpoint.cell.clone(),
            };
            targets.entry(target.key()).or_insert(target);
        }
    }
    targets
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
