//! What changed, told: an event with its evidence, and a count.

use std::sync::Arc;

use tidegate_core::Health;
use tidegate_core::health::{Change, Evidence, Stage, Transition};
use tidegate_telemetry::events::{Facts, HealthChange, Probes};
use tidegate_telemetry::labels::{Cause, RegionTurn};
use tidegate_telemetry::{EventKind, Events, Metrics};

use crate::target::{Group, Target};

type Name = Arc<str>;

/// Where changes are told.
pub(crate) struct Report {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
}

impl Report {
    /// Tells what a judge changed; `cause` is what a probe had just changed in the region, in words.
    pub(crate) fn changed(
        &self,
        upstream: &Name,
        region: &Name,
        change: &Change,
        cause: Option<&str>,
    ) {
        let (upstream, region) = (upstream.clone(), region.clone());
        let told = judged(change, cause);
        self.events.record(match &change.endpoint {
            None => {
                let turn = RegionTurn::of(change.to, change.stage);
                let why = Cause::from(&change.evidence);
                self.metrics.region_turned(&upstream, &region, turn, why);
                EventKind::RegionHealth {
                    upstream,
                    region,
                    change: told,
                }
            }
            Some(endpoint) => {
                if change.stage == Stage::Out {
                    let why = Cause::from(&change.evidence);
                    self.metrics.endpoint_ejected(&upstream, &region, why);
                }
                EventKind::EndpointHealth {
                    upstream,
                    region,
                    endpoint: endpoint.clone(),
                    change: told,
                }
            }
        });
    }

    /// Tells what probes of `target` changed. That an endpoint turns out to be well at the start is
    /// no news: with a thousand endpoints it would push everything else out of the history.
    pub(crate) fn probed(
        &self,
        target: &Target,
        change: Transition,
        evidence: &str,
        probes: Probes,
    ) {
        let Group {
            upstream, region, ..
        } = &*target.group;
        let (endpoint, Transition { from, to }) = (target.address.clone(), change);
        if (from, to) == (Health::Unknown, Health::Healthy) {
            tracing::debug!("endpoint {upstream}/{region}/{endpoint} is {to}: {evidence}");
            return;
        }
        let stage = match to.usable() {
            true if !target.cell.ejected() => Stage::Serving,
            _ => Stage::Out,
        };
        self.events.record(EventKind::EndpointHealth {
            upstream: upstream.clone(),
            region: region.clone(),
            endpoint,
            change: HealthChange {
                from,
                to,
                stage,
                evidence: evidence.to_owned(),
                facts: Facts::Probed(probes),
            },
        });
    }
}

fn judged(change: &Change, cause: Option<&str>) -> HealthChange {
    let mut evidence = change.evidence.to_string();
    // How many endpoints are usable says nothing of why the others are not.
    if let (Evidence::Endpoints { .. }, Some(cause)) = (&change.evidence, cause) {
        evidence = format!("{evidence}; {cause}");
    }
    HealthChange {
        from: change.from,
        to: change.to,
        stage: change.stage,
        evidence,
        facts: Facts::Judged(change.evidence.clone()),
    }
}
