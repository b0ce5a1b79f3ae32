//! What an operator orders of regions: `/regions/{name}/drain` and `/dial`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::problem::Problem;
use super::regions::unknown;
use crate::orders::{Bereft, Dialed, DrainOrder, Drained, Refused, parse_dial};

/// Longest time that a drain may be given.
const DEADLINE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// How a drain is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pace {
    /// Whether the attempts that wait there are made elsewhere at once.
    now: bool,
    /// After how long they are.
    deadline: Option<String>,
    force: bool,
}

/// How a dial is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct To {
    to: Option<String>,
    upstream: Option<String>,
    force: bool,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) async fn drain(
    State(context): Context,
    Path(name): Path<String>,
    pace: Asked<Pace>,
) -> Result<Json<Drained>, Problem> {
    let order = understood(pace)?.order()?;
    let shared = &context.shared;
    let drained = shared.orders.drain(&name, order, shared, Instant::now());
    drained.map(Json).map_err(|refused| problem(&refused))
}

pub(super) async fn undrain(
    State(context): Context,
    Path(name): Path<String>,
) -> Result<Json<Drained>, Problem> {
    let shared = &context.shared;
    let drained = shared.orders.undrain(&name, shared, Instant::now());
    drained.map(Json).map_err(|refused| problem(&refused))
}

pub(super) async fn dial(
    State(context): Context,
    Path(name): Path<String>,
    to: Asked<To>,
) -> Result<Json<Dialed>, Problem> {
    let to = understood(to)?;
    if to.to.is_none() {
        return Err(Problem::bad_request(
            "say how far: `?to=25%`, or `?to=plan`",
        ));
    }
    set_dial(&context, &name, &to)
}

pub(super) async fn undial(
    State(context): Context,
    Path(name): Path<String>,
    to: Asked<To>,
) -> Result<Json<Dialed>, Problem> {
    let to = understood(to)?;
    if to.to.is_some() {
        let detail = "to leave the dial to the plan again, say only where";
        return Err(Problem::bad_request(detail));
    }
    set_dial(&context, &name, &to)
}

fn set_dial(context: &super::AdminOptions, name: &str, to: &To) -> Result<Json<Dialed>, Problem> {
    let dial = parse_dial(to.to.as_deref().unwrap_or("plan"));
    let dial = dial.map_err(|error| Problem::bad_request(format!("`to`: {error}")))?;
    let (shared, upstream) = (&context.shared, to.upstream.as_deref());
    let dialed = shared.orders.dial(name, upstream, dial, to.force, shared);
    dialed.map(Json).map_err(|refused| problem(&refused))
}

impl Pace {
    fn order(&self) -> Result<DrainOrder, Problem> {
        if self.now && self.deadline.is_some() {
            let detail = "a drain is either `now` or has a `deadline`";
            return Err(Problem::bad_request(detail));
        }
        Ok(DrainOrder {
            now: self.now,
            deadline: self.deadline.as_deref().map(deadline).transpose()?,
            force: self.force,
        })
    }
}

fn deadline(text: &str) -> Result<Duration, Problem> {
    let parsed = tidegate_config::parse_duration(text);
    let after = parsed.map_err(|why| Problem::bad_request(format!("`deadline`: {why}")))?;
    match after.is_zero() || after > DEADLINE_MAX {
        true => Err(Problem::bad_request(
            "`deadline` is more than 0 and at most 30 days; for at once there is `now`",
        )),
        false => Ok(after),
    }
}

fn understood<T>(asked: Asked<T>) -> Result<T, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(asked)
}

fn problem(refused: &Refused) -> Problem {
    match refused {
        Refused::Unknown(error) => unknown(error),
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
