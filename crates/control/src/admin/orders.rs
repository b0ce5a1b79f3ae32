//! What an operator orders of regions: `/regions/{name}/drain` and `/dial`, `/upstreams/{name}/order`, and
//! `/orders` with all of it.
//!
//! Whoever orders something is answered when it is in force and written down, or told why it is not.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Context;
use super::author::By;
use super::problem::Problem;
use super::regions::unknown;
use crate::orders::{Bereft, DialOrder, DrainOrder, Orders, Refused, Terms, parse_dial};
use crate::origin::Author;
use crate::shared::Shared;

/// Longest time that an order may be given.
const TIME_MAX: Duration = Duration::from_secs(30 * 86_400);

/// How a drain is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pace {
    /// Whether the attempts that wait there are made elsewhere at once.
    now: bool,
    /// After how long they are.
    deadline: Option<String>,
    /// After how long it is taken back.
    #[serde(rename = "for")]
    lasts: Option<String>,
    force: bool,
}

/// How a dial is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct To {
    to: Option<String>,
    upstream: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    force: bool,
}

/// How an order of regions is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sequence {
    regions: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

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
    pace: Asked<Pace>,
) -> Result<Json<Value>, Problem> {
    let pace = understood(pace)?;
    let (order, terms) = (pace.order()?, terms(author, pace.lasts.as_deref())?);
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
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
    to: Asked<To>,
) -> Result<Json<Value>, Problem> {
    let to = understood(to)?;
    if to.to.is_none() {
        return Err(Problem::bad_request(
            "say how far: `?to=25%`, or `?to=plan`",
        ));
    }
    set_dial(&context.shared, &name, author, &to).await
}

pub(super) async fn undial(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
    to: Asked<To>,
) -> Result<Json<Value>, Problem> {
    let to = understood(to)?;
    if to.to.is_some() || to.lasts.is_some() {
        let detail = "to leave the dial to the plan again, say only where";
        return Err(Problem::bad_request(detail));
    }
    set_dial(&context.shared, &name, author, &to).await
}

pub(super) async fn order(
    State(context): Context,
    Path(name): Path<String>,
    By(author): By,
    sequence: Asked<Sequence>,
) -> Result<Json<Value>, Problem> {
    let sequence = understood(sequence)?;
    let Some(regions) = &sequence.regions else {
        let detail = "say which regions, the first first: `?regions=eu-west,us-east`";
        return Err(Problem::bad_request(detail));
    };
    let regions: Vec<_> = regions.split(',').map(str::trim).collect();
    let terms = terms(author, sequence.lasts.as_deref())?;
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

async fn set_dial(
    shared: &Shared,
    name: &str,
    author: Author,
    to: &To,
) -> Result<Json<Value>, Problem> {
    let dial = parse_dial(to.to.as_deref().unwrap_or("plan"));
    let order = DialOrder {
        upstream: to.upstream.as_deref(),
        to: dial.map_err(|error| Problem::bad_request(format!("`to`: {error}")))?,
        force: to.force,
    };
    let terms = terms(author, to.lasts.as_deref())?;
    let now = SystemTime::now();
    let dialed = shared.orders.dial(name, order, &terms, shared, now);
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

fn terms(author: Author, lasts: Option<&str>) -> Result<Terms, Problem> {
    let lasts = lasts.map(|text| time("for", text)).transpose()?;
    Ok(Terms { author, lasts })
}

impl Pace {
    fn order(&self) -> Result<DrainOrder, Problem> {
        if self.now && self.deadline.is_some() {
            let detail = "a drain is either `now` or has a `deadline`";
            return Err(Problem::bad_request(detail));
        }
        let deadline = self.deadline.as_deref();
        let deadline = deadline.map(|text| time("deadline", text));
        Ok(DrainOrder {
            now: self.now,
            deadline: deadline.transpose()?,
            force: self.force,
        })
    }
}

fn time(name: &str, text: &str) -> Result<Duration, Problem> {
    let parsed = tidegate_config::parse_duration(text);
    let time = parsed.map_err(|why| Problem::bad_request(format!("`{name}`: {why}")))?;
    match time.is_zero() || time > TIME_MAX {
        true => Err(Problem::bad_request(format!(
            "`{name}` is more than 0 and at most 30 days"
        ))),
        false => Ok(time),
    }
}

fn understood<T>(asked: Asked<T>) -> Result<T, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(asked)
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
