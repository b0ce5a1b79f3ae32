//! Regions by name: what every upstream sees of them, what is ordered of them, and how traffic is
//! steered there.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tidegate_core::{Drain, Health, Live, RegionIdx, Standing};

use super::Context;
use super::problem::Problem;
use super::status::micros;
use super::steered::{Dials, Steered, place, standby};
use crate::named::{Kind, UnknownName};
use crate::orders::{Pending, waiting};
use crate::readiness::takes_requests;
use crate::standby::Starts;

/// One region of the plan.
#[derive(Serialize)]
pub(super) struct Region {
    name: Arc<str>,
    /// Whether an operator drains it.
    draining: bool,
    /// How, and how long it has until it is emptied.
    drain: Option<Pending>,
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
    /// `hot`, `warm` or `cold`.
    standby: &'static str,
    /// Whether a cold one is being started.
    starting: bool,
    dials: Dials,
    /// Its place in an operator's order of the regions, from 1; null where it has none.
    place: Option<u8>,
    steered: Steered,
    rtt_us: Option<u64>,
    in_flight: u32,
    /// Those of them that wait for an answer; the others are answers, uploads and tunnels.
    waiting: u32,
}

pub(super) async fn list(State(context): Context) -> Result<Json<Vec<Region>>, Problem> {
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let now = Instant::now();
    let mut drains = context.shared.orders.pending(SystemTime::now());
    let regions = live.plan.regions.iter().enumerate();
    let told = regions.map(|(at, region)| Region {
        name: region.name.clone(),
        draining: drains.contains_key(&region.name),
        drain: drains.remove(&region.name),
        jurisdictions: region.jurisdictions.clone(),
        upstreams: seen(&live, RegionIdx(at as u8), &context.shared.starts, now),
    });
    Ok(Json(told.collect()))
}

fn seen(live: &Live, region: RegionIdx, starts: &Starts, now: Instant) -> Vec<Seen> {
    let name = &live.plan.region(region).name;
    let mut all = Vec::new();
    for (wanted, observed) in live.plan.upstreams.iter().zip(&live.upstreams) {
        let regions = wanted.regions.iter().zip(&observed.regions);
        let there = regions.filter(|(spec, _)| spec.region == region);
        all.extend(there.map(|(spec, live)| Seen {
            upstream: wanted.name.clone(),
            leaving: live.cell.drain() == Drain::Now,
            standing: live.cell.standing(),
            said: live.cell.said(),
            takes_requests: takes_requests(spec, live),
            standby: standby(spec),
            starting: starts.has(&wanted.name, name),
            dials: Dials::of(spec, &live.cell),
            place: place(&live.cell),
            steered: Steered::of(&live.cell, now),
            rtt_us: micros(live.cell.rtt()),
            in_flight: live.cell.in_flight(),
            waiting: waiting(&live.cell),
        }));
    }
    all
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
