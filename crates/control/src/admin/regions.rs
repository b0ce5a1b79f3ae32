//! Regions by name: what every upstream sees of them, and their drains.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate_core::cell::Drain;
use tidegate_core::{Health, Live, RegionIdx, Standing};

use super::problem::Problem;
use super::status::micros;
use super::{AdminOptions, Context};
use crate::drains::Drained;
use crate::named::{Kind, UnknownName};
use crate::readiness::takes_requests;

/// One region of the plan.
#[derive(Serialize)]
pub(super) struct Region {
    name: Arc<str>,
    /// Whether an operator drains it.
    draining: bool,
    jurisdictions: Box<[Arc<str>]>,
    upstreams: Vec<Seen>,
}

/// A region as one upstream sees it.
#[derive(Serialize)]
struct Seen {
    upstream: Arc<str>,
    /// Whether attempts that wait there are to be made elsewhere.
    leaving: bool,
    #[serde(flatten)]
    standing: Standing,
    /// What an operator said of it; `unknown` when nothing.
    said: Health,
    takes_requests: bool,
    rtt_us: Option<u64>,
    in_flight: u32,
}

pub(super) async fn list(State(context): Context) -> Result<Json<Vec<Region>>, Problem> {
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let drained: BTreeSet<_> = context.shared.drains.names().into_iter().collect();
    let regions = live.plan.regions.iter().enumerate();
    let told = regions.map(|(at, region)| Region {
        name: region.name.clone(),
        draining: drained.contains(&region.name),
        jurisdictions: region.jurisdictions.clone(),
        upstreams: seen(&live, RegionIdx(at as u8)),
    });
    Ok(Json(told.collect()))
}

fn seen(live: &Live, region: RegionIdx) -> Vec<Seen> {
    let mut all = Vec::new();
    for (wanted, observed) in live.plan.upstreams.iter().zip(&live.upstreams) {
        let regions = wanted.regions.iter().zip(&observed.regions);
        all.extend(
            regions
                .filter(|(spec, _)| spec.region == region)
                .map(|(_, live)| Seen {
                    upstream: wanted.name.clone(),
                    leaving: live.cell.drain() == Drain::Now,
                    standing: live.cell.standing(),
                    said: live.cell.said(),
                    takes_requests: takes_requests(live),
                    rtt_us: micros(live.cell.rtt()),
                    in_flight: live.cell.in_flight(),
                }),
        );
    }
    all
}

/// How a drain is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pace {
    /// Whether the attempts that wait there are made elsewhere at once.
    now: bool,
}

pub(super) async fn drain(
    State(context): Context,
    Path(name): Path<String>,
    pace: Result<Query<Pace>, QueryRejection>,
) -> Result<Json<Drained>, Problem> {
    let Query(pace) = pace.map_err(|error| Problem::bad_request(error.body_text()))?;
    let drain = match pace.now {
        true => Drain::Now,
        false => Drain::Soft,
    };
    set(&context, &name, drain)
}

pub(super) async fn undrain(
    State(context): Context,
    Path(name): Path<String>,
) -> Result<Json<Drained>, Problem> {
    set(&context, &name, Drain::No)
}

fn set(context: &AdminOptions, name: &str, drain: Drain) -> Result<Json<Drained>, Problem> {
    let shared = &context.shared;
    let drained = shared.drains.set_drain(name, drain, shared);
    drained.map(Json).map_err(|error| unknown(&error))
}

/// The problem of a name that names nothing.
pub(super) fn unknown(error: &UnknownName) -> Problem {
    let (name, title, list) = match error.kind {
        Kind::Region => ("no_region", "No such region", "regions"),
        Kind::Upstream => ("no_upstream", "No such upstream there", "upstreams"),
        Kind::Endpoint => ("no_endpoint_there", "No such endpoint there", "endpoints"),
    };
    Problem::new(StatusCode::NOT_FOUND, name, title, error.to_string())
        .with("closest", json!(error.closest))
        .with(list, json!(error.known))
}
