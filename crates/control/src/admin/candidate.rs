//! The candidate: bring one, look at it, let it serve a part or everything, take it back.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tidegate_config::{Bundle, Report};
use tokio::time::timeout;

use super::Context;
use super::asked::Asked;
use super::author::By;
use super::problem::Problem;
use crate::candidate::{InvalidTerms, StageTerms, Terms, Unwanted};

/// A configuration that is sent has no more bytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// It has arrived within this.
const ARRIVES: Duration = Duration::from_secs(30);

type Told = Result<Json<Value>, Problem>;

/// The texts are in the body, as JSON, or in a file on this machine that `path` names. Browsers are kept
/// out by `guard`, and by the type that only a page of our own could send.
pub(super) async fn put(
    State(context): Context,
    asked: Asked,
    By(author): By,
    headers: HeaderMap,
    body: Body,
) -> Told {
    let path = asked.text("path");
    let terms = asked.pairs().filter(|(name, _)| *name != "path");
    let terms = Terms::of(terms).map_err(|error| invalid(&error))?;
    let candidates = &context.candidates;
    // One configuration at a time until it is compiled, so that many of them cannot fill the memory.
    let _alone = candidates.receiving().await;
    let bundle = match path {
        Some(path) => read(PathBuf::from(path)).await?,
        None => receive(&headers, body).await?,
    };
    let told = candidates.put(bundle, terms, author).await;
    told.map(Json).map_err(|why| match (why, path) {
        (Unwanted::Problems(report), Some(_)) => unshown(&report),
        (why, _) => problem(&why),
    })
}

/// Where the problems of a file are that `path` named, and not what it says there: this process may read
/// what whoever asks may not, keys for instance.
fn unshown(report: &Report) -> Problem {
    let places = report.problems.iter().map(|problem| {
        let place = problem.span.map(|span| report.place(span).position);
        let place = place.map(|place| json!({ "line": place.line, "column": place.column }));
        json!({ "code": problem.code, "place": place })
    });
    let places: Vec<_> = places.collect();
    let name = &report.source_name;
    let detail = format!(
        "{name} has {} problem(s); `tidegate check {name}` on that machine shows them, or send the texts",
        report.errors(),
    );
    let title = "The candidate has problems; nothing changed";
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "configuration_refused", title, detail).with("problems", json!(places))
}

pub(super) async fn get(State(context): Context) -> Told {
    let told = context.candidates.told();
    told.map(Json).map_err(|why| problem(&why))
}

pub(super) async fn delete(State(context): Context) -> Told {
    let told = context.candidates.withdraw().await;
    told.map(Json).map_err(|why| problem(&why))
}

/// Whole, or the part that is asked for.
pub(super) async fn activate(State(context): Context, asked: Asked, By(author): By) -> Told {
    let terms = StageTerms::of(asked.pairs());
    let (part, terms) = terms.map_err(|error| invalid(&error))?;
    let candidates = &context.candidates;
    let told = match part {
        Some(part) => candidates.stage(part, terms).await,
        None => candidates
            .activate(author)
            .await
            .map(|(mut told, outcome)| {
                told["reload"] = outcome.to_json();
                told
            }),
    };
    told.map(Json).map_err(|why| problem(&why))
}

pub(super) async fn abandon(State(context): Context, By(author): By) -> Told {
    let told = context.candidates.abandon(&author).await;
    told.map(Json).map_err(|why| problem(&why))
}

async fn read(path: PathBuf) -> Result<Bundle, Problem> {
    if !path.is_absolute() {
        let detail = "`path` is that of a file on the machine of the process, from the root on";
        return Err(Problem::bad_request(detail));
    }
    let read = tokio::task::spawn_blocking(move || Bundle::read(&path)).await;
    let read = read.map_err(|error| Problem::bad_request(error.to_string()))?;
    // Only what the system says about the file.
    read.map_err(|report| problem(&Unwanted::Problems(report)))
}

async fn receive(headers: &HeaderMap, body: Body) -> Result<Bundle, Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map(|kind| kind.as_bytes());
    if kind.is_none_or(|kind| !kind.starts_with(b"application/json")) {
        let detail = "send the texts as application/json, or name a file by `path`";
        let title = "The body is of another type";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "not_json", title, detail));
    }
    let bytes = timeout(ARRIVES, to_bytes(body, BYTES_MAX)).await;
    let bytes = match bytes {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let title = "The configuration is too large";
            let detail = format!("it did not arrive, or has more than {BYTES_MAX} bytes");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(Problem::new(status, "too_large", title, detail));
        }
        Err(_elapsed) => return Err(Problem::bad_request("the body did not arrive in time")),
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        let words = format!("the body is no configuration: {error}; it is {{main, files}}");
        Problem::bad_request(words)
    })
}

fn invalid(error: &InvalidTerms) -> Problem {
    Problem::bad_request(error.to_string())
}

fn problem(why: &Unwanted) -> Problem {
    let detail = why.to_string();
    let new = |status, name, title| Problem::new(status, name, title, detail.clone());
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    match why {
        Unwanted::None => new(
            StatusCode::NOT_FOUND,
            "no_candidate",
            "There is no candidate",
        ),
        Unwanted::Problems(report) => {
            let title = "The candidate has problems; nothing changed";
            new(unprocessable, "configuration_refused", title).with("report", report.to_json())
        }
        Unwanted::RestartNeeded(fields) => {
            let title = "Only a restart can change this; nothing changed";
            new(unprocessable, "restart_needed", title).with("fields", json!(fields))
        }
        Unwanted::Staged | Unwanted::NotStaged => {
            let title = "Not while the candidate is as it is";
            new(StatusCode::CONFLICT, "wrong_state", title)
        }
        Unwanted::Part(_) => new(unprocessable, "no_such_part", "It cannot serve this part"),
        Unwanted::Broken(_) => new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "It failed; see the log",
        ),
        Unwanted::Refused(outcome) => {
            let title = "The candidate is refused by now; nothing changed";
            new(unprocessable, "candidate_refused", title).with("reload", outcome.to_json())
        }
    }
}
