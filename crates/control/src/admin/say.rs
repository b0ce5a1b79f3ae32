//! What an operator says of regions and endpoints: `/regions/{name}/health` and `/failback`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use tidegate_core::Health;

use super::problem::Problem;
use super::regions::unknown;
use super::{AdminOptions, Context};
use crate::say::{Released, Said, Whom, release, say};

/// Longest that a word may last.
const LASTS_MAX: Duration = Duration::from_secs(30 * 86_400);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Words {
    is: Option<Word>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    upstream: Option<String>,
    endpoint: Option<String>,
}

/// What can be said of health.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Degraded,
    Unhealthy,
    Draining,
}

type Asked = Result<Query<Words>, QueryRejection>;

pub(super) async fn post(
    State(context): Context,
    Path(region): Path<String>,
    words: Asked,
) -> Result<Json<Said>, Problem> {
    let words = understood(words)?;
    let said = match words.is {
        Some(Word::Degraded) => Health::Degraded,
        Some(Word::Unhealthy) => Health::Unhealthy,
        Some(Word::Draining) => Health::Draining,
        None => {
            let detail = "say what it is: `?is=degraded`, `unhealthy` or `draining`, and with \
                          `&for=10m` for how long";
            return Err(Problem::bad_request(detail));
        }
    };
    let lasts = words.lasts.as_deref().map(lasts).transpose()?;
    speak(&context, &region, &words, said, lasts)
}

pub(super) async fn delete(
    State(context): Context,
    Path(region): Path<String>,
    words: Asked,
) -> Result<Json<Said>, Problem> {
    let words = understood(words)?;
    if words.is.is_some() || words.lasts.is_some() {
        let detail = "to take a word back, name only whom it is about";
        return Err(Problem::bad_request(detail));
    }
    speak(&context, &region, &words, Health::Unknown, None)
}

pub(super) async fn failback(
    State(context): Context,
    Path(region): Path<String>,
    words: Asked,
) -> Result<Json<Released>, Problem> {
    let words = understood(words)?;
    if words.is.is_some() || words.lasts.is_some() || words.endpoint.is_some() {
        let detail = "a region comes back as a whole: `?upstream=` is all that can be said";
        return Err(Problem::bad_request(detail));
    }
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let released = release(&live, words.whom(&region));
    released.map(Json).map_err(|error| unknown(&error))
}

fn understood(words: Asked) -> Result<Words, Problem> {
    let Query(words) = words.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(words)
}

impl Words {
    fn whom<'a>(&'a self, region: &'a str) -> Whom<'a> {
        Whom {
            region,
            upstream: self.upstream.as_deref(),
            endpoint: self.endpoint.as_deref(),
        }
    }
}

fn lasts(text: &str) -> Result<Duration, Problem> {
    let parsed = tidegate_config::parse_duration(text);
    let lasts = parsed.map_err(|why| Problem::bad_request(format!("`for`: {why}")))?;
    if lasts.is_zero() || lasts > LASTS_MAX {
        return Err(Problem::bad_request(
            "`for` is more than 0 and at most 30 days",
        ));
    }
    Ok(lasts)
}

fn speak(
    context: &AdminOptions,
    region: &str,
    words: &Words,
    said: Health,
    lasts: Option<Duration>,
) -> Result<Json<Said>, Problem> {
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    let done = say(&live, words.whom(region), said, lasts, Instant::now());
    done.map(Json).map_err(|error| unknown(&error))
}
