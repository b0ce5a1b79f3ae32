//! What a scrape gathers: the sums of shards, and the gauges that the plan and the board hold.

mod failover;
mod steering;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tidegate_core::retry::WhyNot;
use tidegate_core::{EndpointCell, Live, LiveRegion, Part, Stage, Termination};

use super::listener::{established_total, failures_total, open_total};
use super::shard::{BOUNDS, Counts, Distribution, Shards, total};
use super::{Metrics, Name, OTHER, UpstreamSeries};
use crate::catalogue::{self, Metric};
use crate::exposition::{Exposition, Samples};
use crate::labels::{
    AttemptOutcome, FaultKind, Label, Limit, ProbeResult, RetryScope, StatusClass,
};

type Upstreams = [((Name, Name), Shards<UpstreamSeries>)];

/// The whole text, in the order of the catalogue.
pub(super) fn render(metrics: &Metrics, live: Option<&Live>, stage: Option<&Stage>) -> String {
    let mut out = Exposition::default();
    let overflow = requests(metrics, &mut out);
    failover::rescued(metrics, &mut out);
    let upstreams = metrics.upstreams.sorted();
    failover::rescue_added(&upstreams, &mut out);
    terminations(metrics, &mut out);
    out.family(&catalogue::SERIES_OVERFLOW).add(&[], overflow);
    attempts(metrics, &upstreams, &mut out);
    failover::budgets(live, &mut out);
    failover::redispatches(&upstreams, &mut out);
    failover::hedges(&upstreams, &mut out);
    failover::resumes(metrics, &mut out);
    failover::replay(metrics, &mut out);
    steering::traffic(metrics, &upstreams, &mut out);
    connections(&upstreams, &mut out);
    regions(live, &mut out);
    turns(metrics, &mut out);
    steering::starts(metrics, &mut out);
    endpoints(live, &mut out);
    ejections(metrics, &mut out);
    probes(&upstreams, &mut out);
    listeners(metrics, &mut out);
    plan(live, &mut out);
    staged(live, stage, &mut out);
    process(metrics, &mut out);
    out.finish()
}

/// Adds what was counted for each value of a label, zeros left out: most combinations never occur.
fn add_counted<L: Label>(family: &mut Samples<'_>, labels: &[&str], count: impl Fn(L) -> u64) {
    for label in L::ALL {
        let count = count(*label);
        if count > 0 {
            family.add(&[labels, &[label.word()]].concat(), count);
        }
    }
}

fn add_distribution(family: &mut Samples<'_>, labels: &[&str], taken: &Distribution) {
    if !taken.is_empty() {
        family.add_histogram(labels, &BOUNDS, &taken.counts, taken.sum);
    }
}

/// Returns how many requests were counted beyond the bound on series.
fn requests(metrics: &Metrics, out: &mut Exposition) -> u64 {
    let routes = metrics.routes.sorted();
    let mut family = out.family(&catalogue::REQUESTS);
    for ((route, region), shards) in &routes {
        add_counted(&mut family, &[route, region], |class: StatusClass| {
            total(shards, |shard| &shard.classes, class)
        });
    }
    let mut family = out.family(&catalogue::REQUEST_DURATION);
    let mut overflow = 0;
    for ((route, region), shards) in &routes {
        let taken = Distribution::of(shards, |shard| &shard.duration);
        add_distribution(&mut family, &[route, region], &taken);
        if (&**route, &**region) == (OTHER, OTHER) {
            overflow = taken.counts.iter().sum();
        }
    }
    overflow
}

/// Zeros are written here: these are the series that alerts are made of, and a rate needs a start.
fn terminations(metrics: &Metrics, out: &mut Exposition) {
    let count = |reason| total(&metrics.global, |shard| &shard.terminations, reason);
    let mut family = out.family(&catalogue::REQUESTS_LOST);
    for reason in Termination::ALL.iter().filter(|reason| reason.lost()) {
        family.add(&[reason.word()], count(*reason));
    }
    let mut family = out.family(&catalogue::TERMINATIONS);
    for reason in Termination::ALL {
        family.add(&[reason.word()], count(*reason));
    }
}

fn attempts(metrics: &Metrics, upstreams: &Upstreams, out: &mut Exposition) {
    let mut family = out.family(&catalogue::ATTEMPTS);
    for ((upstream, region), shards) in upstreams {
        add_counted(
            &mut family,
            &[upstream, region],
            |outcome: AttemptOutcome| total(shards, |shard| &shard.attempts, outcome),
        );
    }
    retries(upstreams, out);
    let mut family = out.family(&catalogue::RETRY_REFUSED);
    add_counted(&mut family, &[], |why: WhyNot| {
        total(&metrics.global, |shard| &shard.refused, why)
    });
    let mut family = out.family(&catalogue::FAULTS_INJECTED);
    add_counted(&mut family, &[], |kind: FaultKind| {
        total(&metrics.global, |shard| &shard.faults, kind)
    });
}

fn retries(upstreams: &Upstreams, out: &mut Exposition) {
    let mut by_upstream = BTreeMap::<&str, Counts<RetryScope, { RetryScope::ALL.len() }>>::new();
    for ((upstream, _), shards) in upstreams {
        let sums = by_upstream.entry(upstream).or_default();
        for scope in RetryScope::ALL {
            sums.add_many(*scope, total(shards, |shard| &shard.retries, *scope));
        }
    }
    let mut family = out.family(&catalogue::RETRIES);
    for (upstream, sums) in &by_upstream {
        add_counted(&mut family, &[upstream], |scope: RetryScope| {
            sums.get(scope)
        });
    }
}

fn connections(upstreams: &Upstreams, out: &mut Exposition) {
    let taken: Vec<_> = upstreams
        .iter()
        .map(|(_, shards)| Distribution::of(shards, |shard| &shard.connect))
        .collect();
    let mut family = out.family(&catalogue::CONNECTIONS_OPENED);
    for (((upstream, region), _), taken) in upstreams.iter().zip(&taken) {
        family.add(&[upstream, region], taken.counts.iter().sum::<u64>());
    }
    let mut family = out.family(&catalogue::CONNECT_DURATION);
    for (((upstream, region), _), taken) in upstreams.iter().zip(&taken) {
        add_distribution(&mut family, &[upstream, region], taken);
    }
    let mut family = out.family(&catalogue::IDLE_CONNECTIONS);
    for ((upstream, region), shards) in upstreams {
        family.add(&[upstream, region], UpstreamSeries::idle_total(shards));
    }
    let mut family = out.family(&catalogue::OPEN_CONNECTIONS);
    for ((upstream, region), shards) in upstreams {
        family.add(&[upstream, region], UpstreamSeries::open_total(shards));
    }
    let mut family = out.family(&catalogue::BREAKER_REFUSED);
    for ((upstream, region), shards) in upstreams {
        add_counted(&mut family, &[upstream, region], |limit: Limit| {
            total(shards, |shard| &shard.refused, limit)
        });
    }
}

fn regions(live: Option<&Live>, out: &mut Exposition) {
    let mut gauge = |metric: &Metric, value| region_gauge(live, metric, value, out);
    gauge(&catalogue::IN_FLIGHT, |bound| {
        Some(bound.cell.in_flight().into())
    });
    gauge(&catalogue::REGION_HEALTH, |bound| {
        Some((bound.cell.health() as u8).into())
    });
    gauge(&catalogue::REGION_DIAL, |bound| {
        Some(bound.cell.standing().dial.share())
    });
    steering::shares(live, out);
    let mut gauge = |metric: &Metric, value| region_gauge(live, metric, value, out);
    gauge(&catalogue::REGION_SUSPECTED, |bound| {
        Some(u8::from(bound.cell.standing().suspected).into())
    });
    gauge(&catalogue::REGION_PROBATION, |bound| {
        Some(u8::from(bound.cell.standing().probation).into())
    });
    gauge(&catalogue::REGION_DRAINING, |bound| {
        Some(u8::from(bound.cell.draining()).into())
    });
    gauge(&catalogue::REGION_RTT, |bound| {
        bound.cell.rtt().map(|rtt| rtt.as_secs_f64())
    });
}

fn region_gauge(
    live: Option<&Live>,
    metric: &Metric,
    value: fn(&LiveRegion) -> Option<f64>,
    out: &mut Exposition,
) {
    let mut family = out.family(metric);
    for_each_region(live, |upstream, region, bound| {
        if let Some(value) = value(bound) {
            family.add(&[upstream, region], value);
        }
    });
}

fn turns(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::REGION_TRANSITIONS);
    for ((upstream, region, to, why), count) in metrics.turns.sorted() {
        family.add(&[&upstream, &region, to, why], count);
    }
}

fn endpoints(live: Option<&Live>, out: &mut Exposition) {
    let mut gauge = |metric: &Metric, value: fn(&EndpointCell) -> u8| {
        let mut family = out.family(metric);
        for_each_region(live, |upstream, region, bound| {
            for endpoint in &bound.endpoints.load().endpoints {
                let value = value(&endpoint.cell);
                family.add(&[upstream, region, &endpoint.address], value);
            }
        });
    };
    gauge(&catalogue::ENDPOINT_HEALTH, |cell| cell.health() as u8);
    gauge(&catalogue::ENDPOINT_EJECTED, |cell| cell.ejected().into());
}

fn ejections(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::ENDPOINT_EJECTIONS);
    for ((upstream, region, why), count) in metrics.ejections.sorted() {
        family.add(&[&upstream, &region, why], count);
    }
}

fn for_each_region(live: Option<&Live>, mut visit: impl FnMut(&str, &str, &LiveRegion)) {
    let Some(live) = live else { return };
    for (upstream, bound) in live.plan.upstreams.iter().zip(&live.upstreams) {
        for (spec, bound) in upstream.regions.iter().zip(&bound.regions) {
            visit(&upstream.name, &live.plan.region(spec.region).name, bound);
        }
    }
}

fn probes(upstreams: &Upstreams, out: &mut Exposition) {
    let mut family = out.family(&catalogue::PROBES);
    for ((upstream, region), shards) in upstreams {
        add_counted(&mut family, &[upstream, region], |result: ProbeResult| {
            total(shards, |shard| &shard.probes, result)
        });
    }
}

fn listeners(metrics: &Metrics, out: &mut Exposition) {
    let listeners = metrics.listeners.sorted();
    let mut family = out.family(&catalogue::DOWNSTREAM_OPEN);
    for (listener, shards) in &listeners {
        family.add(&[listener], open_total(shards));
    }
    let mut family = out.family(&catalogue::DOWNSTREAM_OPENED);
    for (listener, shards) in &listeners {
        add_counted(&mut family, &[listener], |tls| {
            established_total(shards, tls)
        });
    }
    let mut family = out.family(&catalogue::HANDSHAKE_FAILURES);
    for (listener, shards) in &listeners {
        add_counted(&mut family, &[listener], |why| failures_total(shards, why));
    }
}

fn plan(live: Option<&Live>, out: &mut Exposition) {
    if let Some(live) = live {
        out.family(&catalogue::PLAN_GENERATION)
            .add(&[], live.generation);
        out.family(&catalogue::PLAN_INFO)
            .add(&[&live.plan.content_hash], 1);
    }
}

/// Which plan serves how much, and how both do.
fn staged(live: Option<&Live>, stage: Option<&Stage>, out: &mut Exposition) {
    let Some(live) = live else { return };
    let taken = stage.map_or(0.0, |stage| match stage.part {
        Part::Share(share) => share.share(),
        Part::Routes(_) => 0.0,
    });
    let serving = live.generation.to_string();
    let mut family = out.family(&catalogue::PLAN_SHARE);
    family.add(&[&serving], 1.0 - taken);
    let Some(stage) = stage else { return };
    let generation = stage.generation().to_string();
    family.add(&[&generation], taken);
    let came = [(&serving, stage.serving()), (&generation, stage.staged())];
    let mut family = out.family(&catalogue::STAGE_REQUESTS);
    for (generation, served) in came {
        family.add(&[generation], served.requests);
    }
    let mut family = out.family(&catalogue::STAGE_ERRORS);
    for (generation, served) in came {
        family.add(&[generation], served.errors);
    }
}

fn process(metrics: &Metrics, out: &mut Exposition) {
    let mut family = out.family(&catalogue::RELOADS);
    add_counted(&mut family, &[], |result| metrics.reloads.get(result));
    let mut family = out.family(&catalogue::ROLLBACKS);
    add_counted(&mut family, &[], |why| metrics.rollbacks.get(why));
    let problems = metrics.state_problems.load(Ordering::Relaxed);
    out.family(&catalogue::STATE_PROBLEMS).add(&[], problems);
    let mut family = out.family(&catalogue::GEO_RELOADS);
    add_counted(&mut family, &[], |result| metrics.geo_reloads.get(result));
    let mut family = out.family(&catalogue::CERTIFICATE_NOT_AFTER);
    for (name, not_after) in &*metrics.certificates() {
        family.add(&[name], not_after);
    }
    let dropped = metrics.access_log_dropped.load(Ordering::Relaxed);
    out.family(&catalogue::ACCESS_LOG_DROPPED).add(&[], dropped);
    out.family(&catalogue::BUILD_INFO)
        .add(&[env!("CARGO_PKG_VERSION")], 1);
}
