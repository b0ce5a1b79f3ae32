//! How traffic was steered: what was shed, dials, bonds, copies, starts of cold regions.

use tidegate_core::Live;

use super::{Upstreams, add_counted};
use crate::catalogue;
use crate::exposition::Exposition;
use crate::metrics::shard::total;
use crate::metrics::{Metrics, UpstreamSeries};

pub(super) fn traffic(metrics: &Metrics, upstreams: &Upstreams, out: &mut Exposition) {
    let mut family = out.family(&catalogue::SPILLOVERS);
    for ((upstream, region), shards) in upstreams {
        let count = UpstreamSeries::shed_total(shards);
        if count > 0 {
            family.add(&[upstream, region], count);
        }
    }
    let services = metrics.services.sorted();
    let mut family = out.family(&catalogue::AFFINITY);
    for (upstream, shards) in &services {
        add_counted(&mut family, &[upstream], |result| {
            total(shards, |shard| &shard.affinity, result)
        });
    }
    let mut family = out.family(&catalogue::MIRRORED);
    for (upstream, shards) in &services {
        add_counted(&mut family, &[upstream], |result| {
            total(shards, |shard| &shard.mirrored, result)
        });
    }
}

/// The dial that decisions heed is the operator's, and the plan's where there is none.
pub(super) fn shares(live: Option<&Live>, out: &mut Exposition) {
    let Some(live) = live else { return };
    let regions = || {
        let bound = live.plan.upstreams.iter().zip(&live.upstreams);
        bound.flat_map(|(upstream, bound)| {
            let regions = upstream.regions.iter().zip(&bound.regions);
            regions.map(move |(spec, bound)| (&*upstream.name, spec, bound))
        })
    };
    let mut family = out.family(&catalogue::REGION_DIAL_RATIO);
    for (upstream, spec, bound) in regions() {
        let dial = bound.cell.dial().unwrap_or(spec.dial);
        let region = &live.plan.region(spec.region).name;
        family.add(&[upstream, region], dial.share());
    }
    let mut family = out.family(&catalogue::REGION_TAKE_RATIO);
    for (upstream, spec, bound) in regions() {
        let take = bound.cell.allotment().take;
        let region = &live.plan.region(spec.region).name;
        family.add(&[upstream, region], take.share());
    }
}

pub(super) fn starts(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::STANDBY_STARTS);
    for ((upstream, region, result), count) in metrics.starts.sorted() {
        family.add(&[&upstream, &region, result], count);
    }
}
