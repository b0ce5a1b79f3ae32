//! Each event as a line of diagnostics, as loud as it is grave.

use super::EventKind;
use crate::labels::{Label, StartResult};

/// Writes the line of one event.
pub(super) fn log(kind: &EventKind) {
    match kind {
        EventKind::RegionHealth {
            upstream,
            region,
            change,
        } => change.log("region", format_args!("{upstream}/{region}")),
        EventKind::EndpointHealth {
            upstream,
            region,
            endpoint,
            change,
        } => change.log("endpoint", format_args!("{upstream}/{region}/{endpoint}")),
        EventKind::StateProblem { problem } => {
            tracing::error!("state: {problem}");
        }
        EventKind::CertificatesReloaded { names } => {
            tracing::info!(?names, "certificates reloaded");
        }
        EventKind::CertificatesRefused { problem } => {
            tracing::error!("certificates not reloaded: {problem}");
        }
        EventKind::GeoReloaded { database, built } => {
            tracing::info!(database, built, "database of clients' places reloaded");
        }
        EventKind::GeoRefused { problem } => {
            tracing::error!("database of clients' places not reloaded: {problem}");
        }
        EventKind::ShuttingDown => tracing::info!("shutting down"),
        EventKind::Order {
            what,
            order,
            given_by,
            who,
            reason,
            ..
        } => log_order(what, order, given_by, who, reason.as_deref()),
        EventKind::StandbyStart {
            upstream,
            region,
            by,
            result,
            detail,
        } => log_start(upstream, region, by, *result, detail),
        EventKind::Drain { .. }
        | EventKind::DrainDue { .. }
        | EventKind::Dial { .. }
        | EventKind::Said { .. }
        | EventKind::Failback { .. } => of_orders(kind),
        EventKind::PlanActivated { .. }
        | EventKind::RolledBack { .. }
        | EventKind::RollbackHeld { .. }
        | EventKind::FileWithheld { .. }
        | EventKind::Candidate { .. }
        | EventKind::ReloadRefused { .. } => of_plans(kind),
    }
}

/// What operators want of regions, and what came of it.
fn of_orders(kind: &EventKind) {
    match kind {
        EventKind::Drain {
            upstream,
            region,
            draining,
            now,
            deadline_s,
            who,
            reason,
        } => {
            let reason = reason.as_deref();
            tracing::info!(%upstream, %region, draining, now, deadline_s, %who, reason, "drain changed");
        }
        EventKind::DrainDue {
            upstream,
            region,
            in_flight,
            left,
            waiting,
        } => {
            tracing::info!(%upstream, %region, in_flight, left, waiting, "drain is due");
        }
        EventKind::Dial {
            upstream,
            region,
            dial,
            operator,
            who,
            reason,
        } => {
            let reason = reason.as_deref();
            tracing::info!(%upstream, %region, dial, operator, %who, reason, "dial changed");
        }
        EventKind::Said {
            region,
            endpoint,
            said,
            for_s,
            who,
            reason,
            ..
        } => {
            let (endpoint, reason) = (endpoint.as_deref(), reason.as_deref());
            tracing::info!(%region, endpoint, %said, for_s, %who, reason, "an operator said it");
        }
        EventKind::Failback {
            region,
            who,
            reason,
            ..
        } => {
            let reason = reason.as_deref();
            tracing::info!(%region, %who, reason, "a region may come back");
        }
        _ => {}
    }
}

/// What became of plans.
fn of_plans(kind: &EventKind) {
    match kind {
        EventKind::PlanActivated {
            generation,
            hash,
            trigger,
        } => {
            tracing::info!(generation, %hash, trigger, "plan serves");
        }
        EventKind::RolledBack {
            from,
            generation,
            trigger,
            who,
            reason,
        } => {
            let reason = reason.as_deref().unwrap_or("no reason given");
            tracing::warn!(from, generation, trigger, who, "rolled back: {reason}");
        }
        EventKind::RollbackHeld {
            generation, detail, ..
        } => {
            tracing::warn!(generation, "not rolled back: {detail}");
        }
        EventKind::FileWithheld {
            generation,
            why,
            detail,
        } => {
            tracing::error!(generation, why, "serves instead of the file: {detail}");
        }
        EventKind::Candidate {
            what,
            hash,
            who,
            detail,
        } => {
            tracing::info!(what, %hash, %who, "candidate: {detail}");
        }
        EventKind::ReloadRefused {
            trigger,
            problem,
            problems,
        } => {
            tracing::error!(trigger, problems, "reload refused: {problem}");
        }
        _ => {}
    }
}

fn log_start(upstream: &str, region: &str, by: &str, result: Option<StartResult>, detail: &str) {
    match result {
        None => tracing::info!(upstream, region, by, "starts a cold region: {detail:?}"),
        Some(StartResult::Started) => {
            tracing::info!(upstream, region, by, "the start is done: {detail:?}");
        }
        Some(result) => {
            let result = result.word();
            tracing::warn!(upstream, region, by, result, "no start: {detail:?}");
        }
    }
}

fn log_order(what: &str, order: &str, given_by: &str, who: &str, reason: Option<&str>) {
    match what {
        "leaves_nothing" => tracing::error!(what, given_by, who, reason, "order: {order}"),
        "restored" | "expired" => tracing::warn!(what, given_by, who, reason, "order: {order}"),
        _ => tracing::info!(what, given_by, who, reason, "order: {order}"),
    }
}
