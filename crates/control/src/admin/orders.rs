//! What an operator orders of regions: `/regions/{name}/drain` and `/dial`, `/upstreams/{name}/order`, and
//! `/orders` with all of it.
//!
//! Whoever orders something is answered when it is in force and written down, or told why it is not.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::asked::Asked;
use super::author::By;
use super::problem::Problem;
use super::regions::unknown;
use crate::orders::{Bereft, DialOrder, DrainOrder, Orders, Refused, Terms, parse_dial};
use crate::origin::Author;
use crate::shared::Shared;

pub(super) async fn list(State(context): Context) -> Json<Value> {
    let shared = &context.shared;
    let (live, now) = (shared.plan.newest(), SystemTime::now());
    let orders = shared.orders.list();
    let told = orders
        .iter()
        .map(|order| order.to_json(live.as_deref(), now));
    Json(json!({
        "orders": told.collect::<Vec<_>>(),
        "state_dir": shared.state().map(|store| store.path()),
        "problem": shared.orders.unkept(),
    }))
}

pub(super) async fn drain(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let asked = asked.knowing(&["now", "deadline", "for", "force"])?;
    let (order, terms) = (pace(&asked)?, terms(author, &asked)?);
    let shared = &context.shared;
    let now = SystemTime::now();
    let drained = shared.orders.drain(&name, order, &terms, shared, now);
    kept(drained, shared).await
}

pub(super) async fn undrain(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
) -> Result<Json<Value>, Problem> {
    let shared = &context.shared;
    let now = SystemTime::now();
    let drained = shared.orders.undrain(&name, &author, shared, now);
    kept(drained, shared).await
}

pub(super) async fn dial(
    context: Context,
    name: Path<String>,
    by: By,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let asked = asked.knowing(&["to", "upstream", "for", "force"])?;
    if asked.text("to").is_none() {
        let detail = "say how far: `?to=25%`, or `?to=plan`";
        return Err(Problem::bad_request(detail));
    }
    set_dial(context, name, by, &asked).await
}

pub(super) async fn undial(
    context: Context,
    name: Path<String>,
    by: By,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    if asked.has_any(&["to", "for"]) {
        let detail = "to leave the dial to the plan again, say only where";
        return Err(Problem::bad_request(detail));
    }
    let asked = asked.knowing(&["upstream", "force"])?;
    set_dial(context, name, by, &asked).await
}

pub(super) async fn order(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let asked = asked.knowing(&["regions", "for"])?;
    let Some(regions) = asked.text("regions") else {
        let detail = "say which regions, the first first: `?regions=eu-west,us-east`";
        return Err(Problem::bad_request(detail));
    };
    let regions: Vec<_> = regions.split(',').map(str::trim).collect();
    let terms = terms(author, &asked)?;
    let shared = &context.shared;
    let now = SystemTime::now();
    let ordered = shared.orders.order(&name, &regions, &terms, shared, now);
    kept(
        ordered.map(|order| json!({ "upstream": name, "order": order })),
        shared,
    )
    .await
}

pub(super) async fn unorder(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
) -> Result<Json<Value>, Problem> {
    let shared = &context.shared;
    let now = SystemTime::now();
    let ended = shared.orders.unorder(&name, &author, shared, now);
    let told = |ended| json!({ "upstream": name, "order": null, "taken_back": ended });
    kept(ended.map(told), shared).await
}

/// Without `to`, the dial is the plan's again.
async fn set_dial(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
    asked: &Asked,
) -> Result<Json<Value>, Problem> {
    let dial = parse_dial(asked.text("to").unwrap_or("plan"));
    let order = DialOrder {
        upstream: asked.text("upstream"),
        to: dial.map_err(|error| Problem::bad_request(format!("`to`: {error}")))?,
        force: asked.flag("force")?,
    };
    let terms = terms(author, asked)?;
    let (shared, now) = (&context.shared, SystemTime::now());
    let dialed = shared.orders.dial(&name, order, &terms, shared, now);
    kept(dialed, shared).await
}

/// The answer to an order, once it is written down.
async fn kept<T: Serialize>(
    done: Result<T, Refused>,
    shared: &Shared,
) -> Result<Json<Value>, Problem> {
    let done = done.map_err(|refused| problem(&refused))?;
    // Asked for before anything is awaited: whoever asked may go away.
    let keeping = Orders::keep(shared);
    let mut told = json!(done);
    told["kept"] = keeping.await.to_json();
    Ok(Json(told))
}

fn terms(author: Author, asked: &Asked) -> Result<Terms, Problem> {
    let lasts = asked.time("for")?;
    Ok(Terms { author, lasts })
}

/// `now`: the attempts that wait there are made elsewhere at once; `deadline`: after so long.
fn pace(asked: &Asked) -> Result<DrainOrder, Problem> {
    let (now, deadline) = (asked.flag("now")?, asked.time("deadline")?);
    if now && deadline.is_some() {
        let detail = "a drain is either `now` or has a `deadline`";
        return Err(Problem::bad_request(detail));
    }
    let force = asked.flag("force")?;
    Ok(DrainOrder {
        now,
        deadline,
        force,
    })
}

fn problem(refused: &Refused) -> Problem {
    match refused {
        Refused::Unknown(error) => unknown(error),
        Refused::NoOrder => Problem::bad_request(refused.to_string()),
        Refused::Bereft(error @ Bereft { left, .. }) => {
            let title =
                "Something would be left without a region; nothing changed, force=true does it";
            Problem::new(
                StatusCode::CONFLICT,
                "last_region",
                title,
                error.to_string(),
            )
            .with("left", json!(left))
        }
    }
}
