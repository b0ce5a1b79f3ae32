//! How traffic was steered: what was shed, dials, bonds, copies, starts of cold regions.

use std::time::Instant;

use tidegate_core::plan::UpstreamRegion;
use tidegate_core::{Live, RegionCell};

use super::{Upstreams, add_counted};
use crate::catalogue::{self, Metric};
use crate::exposition::Exposition;
use crate::metrics::shard::total;
use crate::metrics::{Metrics, ServiceSeries, UpstreamSeries};

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
    let mut family = out.family(&catalogue::LOAD_REPORTS_MALFORMED);
    for (upstream, shards) in &services {
        let count = ServiceSeries::misreported_total(shards);
        if count > 0 {
            family.add(&[upstream], count);
        }
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
    let now = Instant::now();
    let mut gauge =
        |metric: &Metric, value: &dyn Fn(&UpstreamRegion, &RegionCell) -> Option<f64>| {
            let mut family = out.family(metric);
            let Some(live) = live else { return };
            for (upstream, bound) in live.plan.upstreams.iter().zip(&live.upstreams) {
                for (spec, bound) in upstream.regions.iter().zip(&bound.regions) {
                    if let Some(value) = value(spec, &bound.cell) {
                        let region = &live.plan.region(spec.region).name;
                        family.add(&[&upstream.name, region], value);
                    }
                }
            }
        };
    gauge(&catalogue::REGION_DIAL_RATIO, &|spec, cell| {
        Some(cell.dial().unwrap_or(spec.dial).share())
    });
    gauge(&catalogue::REGION_TAKE_RATIO, &|_, cell| {
        Some(cell.allotment().take.share())
    });
    gauge(&catalogue::REGION_OFFERED, &|_, cell| {
        Some(cell.allotment().offered.into())
    });
    gauge(&catalogue::REGION_UTILIZATION, &|_, cell| {
        cell.utilization(now).map(f64::from)
    });
}

pub(super) fn starts(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::STANDBY_STARTS);
    for ((upstream, region, result), count) in metrics.starts.sorted() {
        family.add(&[&upstream, &region, result], count);
    }
}
