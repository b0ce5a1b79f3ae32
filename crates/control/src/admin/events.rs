//! What happened lately.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tidegate_telemetry::Event;

use super::Context;
use super::asked::Asked;
use super::problem::Problem;

/// The events, oldest first, and the number to ask with next time.
#[derive(Serialize)]
pub(super) struct Events {
    events: Vec<Arc<Event>>,
    next: u64,
}

pub(super) async fn since(State(context): Context, asked: Asked) -> Result<Json<Events>, Problem> {
    let asked = asked.knowing(&["since"])?;
    let since = asked.number("since", "the number of an event, as `next` says it")?;
    let since = since.unwrap_or(0);
    let events = context.shared.events.since(since);
    let next = events.last().map_or(since, |event| event.number);
    Ok(Json(Events { events, next }))
}
