//! What an operator says of regions and endpoints: `/regions/{name}/health` and `/failback`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use tidegate_core::Health;

use super::asked::Asked;
use super::author::By;
use super::problem::Problem;
use super::regions::unknown;
use super::{AdminOptions, Context};
use crate::origin::Author;
use crate::say::{Released, Said, Whom, release, say};

pub(super) async fn post(
    State(context): Context,
    Path(region): Path<String>,
    By(author): By,
    asked: Asked,
) -> Result<Json<Said>, Problem> {
    let asked = asked.knowing(&["is", "for", "upstream", "endpoint"])?;
    let said = match asked.text("is") {
        Some("degraded") => Health::Degraded,
        Some("unhealthy") => Health::Unhealthy,
        Some("draining") => Health::Draining,
        _ => {
            let detail = "say what it is: `?is=degraded`, `unhealthy` or `draining`, and with \
                          `&for=10m` for how long";
            return Err(Problem::bad_request(detail));
        }
    };
    let lasts = asked.time("for")?;
    speak(&context, whom(&region, &asked), said, lasts, &author)
}

pub(super) async fn delete(
    State(context): Context,
    Path(region): Path<String>,
    By(author): By,
    asked: Asked,
) -> Result<Json<Said>, Problem> {
    if asked.has_any(&["is", "for"]) {
        let detail = "to take a word back, name only whom it is about";
        return Err(Problem::bad_request(detail));
    }
    let asked = asked.knowing(&["upstream", "endpoint"])?;
    let whom = whom(&region, &asked);
    speak(&context, whom, Health::Unknown, None, &author)
}

pub(super) async fn failback(
    State(context): Context,
    Path(region): Path<String>,
    By(author): By,
    asked: Asked,
) -> Result<Json<Released>, Problem> {
    if asked.has_any(&["is", "for", "endpoint"]) {
        let detail = "a region comes back as a whole: `?upstream=` is all that can be said";
        return Err(Problem::bad_request(detail));
    }
    let asked = asked.knowing(&["upstream"])?;
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let whom = whom(&region, &asked);
    let released = release(&live, whom, &author, &context.shared.events);
    released.map(Json).map_err(|error| unknown(&error))
}

fn whom<'a>(region: &'a str, asked: &'a Asked) -> Whom<'a> {
    Whom {
        region,
        upstream: asked.text("upstream"),
        endpoint: asked.text("endpoint"),
    }
}

fn speak(
    context: &AdminOptions,
    whom: Whom<'_>,
    said: Health,
    lasts: Option<Duration>,
    author: &Author,
) -> Result<Json<Said>, Problem> {
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let now = Instant::now();
    let done = say(
        &live,
        whom,
        (said, lasts),
        now,
        author,
        &context.shared.events,
    );
    done.map(Json).map_err(|error| unknown(&error))
}
