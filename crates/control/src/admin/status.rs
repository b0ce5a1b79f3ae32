//! The whole state in one document: what is wanted, and what is observed of it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::{Dial, Health, Live, LiveRegion, LiveUpstream, Standing};

use super::Context;
use super::steered::{Dials, Steered, place, standby};
use crate::candidate::staged;
use crate::generations::Instead;
use crate::orders::waiting;
use crate::places::PlacesStatus;
use crate::readiness::takes_requests;
use crate::shared::Shared;

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_s: f64,
    ready: bool,
    /// Why it is not.
    not_ready: Option<Cow<'static, str>>,
    pop: Option<Arc<str>>,
    generation: u64,
    hash: Arc<str>,
    /// The plan that serves a part beside it; null while one serves everything.
    stage: Value,
    last_reload: Option<Value>,
    /// What serves instead of the file, and why; null while the file does.
    instead_of_file: Option<Instead>,
    draining: Vec<Arc<str>>,
    orders: Orders,
    listeners: Vec<Listener>,
    /// What tells where clients are; null where nothing does.
    geo: Option<PlacesStatus>,
    upstreams: Vec<Upstream>,
}

/// What operators have ordered; `GET /orders` tells each.
#[derive(Serialize)]
struct Orders {
    in_force: usize,
    /// Whether they outlive the process.
    kept: bool,
    /// Why not, although there is a state directory.
    problem: Option<String>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    address: SocketAddr,
}

#[derive(Serialize)]
struct Upstream {
    name: Arc<str>,
    regions: Vec<Region>,
}

#[derive(Serialize)]
struct Region {
    name: Arc<str>,
    #[serde(flatten)]
    standing: Standing,
    /// What an operator said of it; `unknown` when nothing.
    said: Health,
    draining: bool,
    takes_requests: bool,
    /// `hot`, `warm` or `cold`.
    standby: &'static str,
    dials: Dials,
    /// Its place in an operator's order of the regions, from 1; null where it has none.
    place: Option<u8>,
    steered: Steered,
    rtt_us: Option<u64>,
    /// Time to a response's head, the network included.
    service_us: Option<u64>,
    in_flight: u32,
    /// Those of them that wait for an answer; the others are answers, uploads and tunnels.
    waiting: u32,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    address: Arc<str>,
    weight: u32,
    health: Health,
    /// What it or an operator said of it; `unknown` when nothing.
    said: Health,
    /// Whether requests found it to be an outlier.
    ejected: bool,
    /// The part of its weight that it takes.
    share: Dial,
    /// What it reported of its own load.
    load: Option<f32>,
    in_flight: u32,
    /// Peak EWMA: microseconds to the head x (attempts under way + 1).
    cost: f64,
    attempts: u64,
    failures: u64,
}

pub(super) async fn status(State(context): Context) -> Json<Status> {
    let live = context.shared.plan.newest();
    let not_ready = context.readiness.missing(live.as_deref());
    let document = context.reloader.document();
    let named = |(name, address): &(String, SocketAddr)| Listener {
        name: name.clone(),
        address: *address,
    };
    Json(Status {
        version: context.version,
        uptime_s: context.started.elapsed().as_secs_f64(),
        ready: not_ready.is_none(),
        not_ready,
        pop: live.as_ref().map(|live| live.plan.pop.name.clone()),
        generation: document.generation,
        hash: document.hash.clone(),
        stage: staged(&context.shared.plan),
        last_reload: context.reloader.last().map(|outcome| outcome.to_json()),
        instead_of_file: context.reloader.generations().instead(),
        draining: context.shared.orders.drained(),
        orders: Orders::of(&context.shared),
        listeners: context.listeners.iter().map(named).collect(),
        geo: live
            .as_ref()
            .and_then(|live| context.reloader.places().status(&live.plan)),
        upstreams: live.as_deref().map(upstreams).unwrap_or_default(),
    })
}

impl Orders {
    fn of(shared: &Shared) -> Self {
        let problem = shared.orders.unkept();
        Self {
            in_force: shared.orders.list().len(),
            kept: shared.state().is_some() && problem.is_none(),
            problem,
        }
    }
}

fn upstreams(live: &Live) -> Vec<Upstream> {
    let now = Instant::now();
    let pairs = live.plan.upstreams.iter().zip(&live.upstreams);
    let told = pairs.map(|(wanted, observed)| Upstream {
        name: wanted.name.clone(),
        regions: regions(live, wanted, observed, now),
    });
    told.collect()
}

fn regions(
    live: &Live,
    wanted: &tidegate_core::plan::Upstream,
    observed: &LiveUpstream,
    now: Instant,
) -> Vec<Region> {
    let pairs = wanted.regions.iter().zip(&observed.regions);
    let told = pairs.map(|(spec, observed)| Region {
        name: live.plan.region(spec.region).name.clone(),
        standing: observed.cell.standing(),
        said: observed.cell.said(),
        draining: observed.cell.draining(),
        takes_requests: takes_requests(spec, observed),
        standby: standby(spec),
        dials: Dials::of(spec, &observed.cell),
        place: place(&observed.cell),
        steered: Steered::of(&observed.cell, now),
        rtt_us: micros(observed.cell.rtt()),
        service_us: micros(observed.cell.service()),
        in_flight: observed.cell.in_flight(),
        waiting: waiting(&observed.cell),
        endpoints: endpoints(observed, now),
    });
    told.collect()
}

fn endpoints(observed: &LiveRegion, now: Instant) -> Vec<Endpoint> {
    let set = observed.endpoints.load();
    let told = set.endpoints.iter().map(|endpoint| {
        let (attempts, failures) = endpoint.cell.totals();
        Endpoint {
            address: endpoint.address.clone(),
            weight: endpoint.weight,
            health: endpoint.cell.health(),
            said: endpoint.cell.said(),
            ejected: endpoint.cell.ejected(),
            share: endpoint.cell.share(),
            load: endpoint.cell.reported_load(),
            in_flight: endpoint.cell.in_flight(),
            cost: endpoint.cell.cost_per_weight(endpoint.weight, now),
            attempts,
            failures,
        }
    });
    told.collect()
}

/// Whole microseconds, as the documents tell times.
pub(super) fn micros(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_micros().try_into().unwrap_or(u64::MAX))
}
