//! The admin listener: what an operator, a load balancer in front and a scraper ask.
//!
//! | endpoint | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process lives |
//! | `GET /readyz` | 200 when it should get traffic, else 503 with the reason |
//! | `GET /metrics` | Prometheus text format |
//! | `GET /status` | plan, uptime, every upstream, region and endpoint as observed |
//! | `GET /regions` | the regions by name, with what each upstream sees of them |
//! | `POST /regions/{name}/drain` | no new attempts go there; with `?now=true`, or after `?deadline=5m`, those that wait there are made elsewhere; `DELETE` or `/undrain` ends it |
//! | `POST /regions/{name}/dial?to=25%` | it takes at most that part of its share, with `&upstream=` of one upstream only; `DELETE` or `?to=plan` leaves that to the plan again |
//! | `POST /upstreams/{name}/order?regions=a,b` | these regions come first, in this order, as far as they may be used; `DELETE` takes it back |
//! | `GET /orders` | every drain, dial and order of regions: by whom, why, since when, until when |
//! | `POST /regions/{name}/health?is=&for=` | an operator's word on it, or with `&endpoint=` on one endpoint; `DELETE` takes it back |
//! | `POST /regions/{name}/failback` | a region that waits for an operator may come back |
//! | `POST /reload` | reads the configuration again: 200 with the verdict, 422 with the problems |
//! | `POST /rollback?to=N` | lets the generation before, or this one, serve again |
//! | `GET /generations` | which plans are alive and what holds them, and which can be gone back to |
//! | `POST /candidate?for=&activate=&max_region_change=` | tries another configuration (in the body as `{main, files}`, or on this machine by `&path=`) on what comes; `GET` tells what would change, `DELETE` forgets it |
//! | `POST /candidate/activate?share=10%` | it serves a share of the connections, or with `&route=` requests of routes, or else everything |
//! | `POST /candidate/abandon` | what it serves goes back to the plan beside it |
//! | `GET /plan` | the serving configuration as YAML, defaults written out |
//! | `GET /explain?method=&url=&header=` | what would happen to such a request now |
//! | `GET /explain/{request-id}` | what was decided for that request; with `?replay`, its decisions made again, `&generation=` by that plan |
//! | `GET /explain/recent` | the newest records; `?failed` only of requests that failed |
//! | `GET /events?since=` | what happened after that number |
//!
//! Drains, dials and orders take `for=2h`, and `tidegate-author` and `tidegate-reason` as fields; they are kept
//! through reloads, and through restarts if there is a state directory (`kept` in the answer).
//! What would leave an upstream, or a route, without any region is refused unless `force=true` says so.
//! Errors are `application/problem+json` (RFC 9457). There is no authentication: bind it to
//! loopback or to a network of operators. Pages in a browser can change nothing (see `guard`).
//! Bodies of requests are never read, but for that of `POST /candidate` (16 MiB at most); connections and their time are bounded (see `serve`).

mod asked;
pub(crate) mod author;
mod candidate;
mod events;
mod explain;
mod generations;
mod guard;
mod orders;
mod plan;
mod probes;
mod problem;
mod regions;
mod say;
mod serve;
mod status;
mod steered;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};

use crate::candidate::Candidates;
use crate::readiness::Readiness;
use crate::reload::Reloader;
use crate::shared::Shared;
use problem::Problem;
pub use serve::{Admin, AdminError};

/// What the admin listener tells about, and where it listens.
pub struct AdminOptions {
    /// Address and port; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// The meeting points of the process.
    pub shared: Shared,
    /// Where a reload is asked for.
    pub reloader: Arc<Reloader>,
    /// Where another plan is tried.
    pub candidates: Arc<Candidates>,
    /// Whether the process should get traffic.
    pub readiness: Arc<Readiness>,
    /// The listeners for clients, by name, with their real addresses.
    pub listeners: Vec<(String, SocketAddr)>,
    /// When the process started.
    pub started: Instant,
    /// The version of the process.
    pub version: &'static str,
}

type Context = axum::extract::State<Arc<AdminOptions>>;

/// What `GET /` and unknown paths point to.
const ENDPOINTS: &str = "/healthz /readyz /metrics /status /regions /regions/{name}/drain \
                         /regions/{name}/undrain /regions/{name}/dial /regions/{name}/health /regions/{name}/failback /upstreams/{name}/order /orders /reload /rollback /generations /candidate /candidate/activate /candidate/abandon /plan /explain /explain/recent /explain/{request-id} /events";

fn router(options: AdminOptions) -> Router {
    let guarded = guard::Guard::new(options.bind);
    Router::new()
        .route(
            "/",
            get(async || format!("{}\n", ENDPOINTS.replace(' ', "\n"))),
        )
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/status", get(status::status))
        .route("/regions", get(regions::list))
        .route(
            "/regions/{name}/drain",
            post(orders::drain).delete(orders::undrain),
        )
        .route("/regions/{name}/undrain", post(orders::undrain))
        .route(
            "/regions/{name}/dial",
            post(orders::dial).delete(orders::undial),
        )
        .route(
            "/regions/{name}/health",
            post(say::post).delete(say::delete),
        )
        .route("/regions/{name}/failback", post(say::failback))
        .route(
            "/upstreams/{name}/order",
            post(orders::order).delete(orders::unorder),
        )
        .route("/orders", get(orders::list))
        .route("/reload", post(plan::reload))
        .route("/rollback", post(generations::rollback))
        .route("/generations", get(generations::list))
        .route(
            "/candidate",
            post(candidate::put)
                .get(candidate::get)
                .delete(candidate::delete),
        )
        .route("/candidate/activate", post(candidate::activate))
        .route("/candidate/abandon", post(candidate::abandon))
        .route("/plan", get(plan::document))
        .route("/explain", get(explain::ask))
        .route("/explain/recent", get(explain::recent))
        .route("/explain/{id}", get(explain::recorded))
        .route("/events", get(events::since))
        .fallback(async || Problem::no_endpoint(ENDPOINTS))
        .method_not_allowed_fallback(async || Problem::wrong_method())
        .layer(axum::middleware::from_fn_with_state(guarded, guard::check))
        .with_state(Arc::new(options))
}
