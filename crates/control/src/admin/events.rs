//! What happened lately.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tidegate_telemetry::Event;

use super::Context;
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    #[serde(default)]
    since: u64,
}

/// The events, oldest first, and the number to ask with next time.
#[derive(Serialize)]
pub(super) struct Events {
    events: Vec<Arc<Event>>,
    next: u64,
}

pub(super) async fn since(
    State(context): Context,
    query: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Events>, Problem> {
    let Query(Since { since }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let events = context.shared.events.since(since);
    let next = events.last().map_or(since, |event| event.number);
    Ok(Json(Events { events, next }))
}
