//! The plan: read it again, show it, ask it.

use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

use super::Context;
use super::author::By;
use super::problem::Problem;
use crate::origin::{Cause, Origin};
use crate::outcome::{CertificateOutcome, Outcome, Verdict};
use crate::question::{Question, Told};

/// 200 only when everything that the files say serves now.
pub(super) async fn reload(State(context): Context, By(author): By) -> Response {
    let origin = Origin::by(Cause::Api, author);
    let outcome = context.reloader.reload(origin).await;
    match refusal(&outcome) {
        None => Json(outcome.to_json()).into_response(),
        Some(problem) => problem.into_response(),
    }
}

fn refusal(outcome: &Outcome) -> Option<Problem> {
    let (name, title, detail) = match (&outcome.verdict, &outcome.certificates) {
        (Verdict::Refused { report }, _) => {
            let title = "The configuration has problems; nothing changed";
            ("configuration_refused", title, report.to_string())
        }
        (verdict @ Verdict::RestartNeeded { .. }, _) => {
            let title = "Only a restart can change this; nothing changed";
            ("restart_needed", title, verdict.to_string())
        }
        (_, CertificateOutcome::Kept { problem }) => {
            let title = "The certificates cannot be used; those before go on serving";
            ("certificates_refused", title, problem.clone())
        }
        _ => return None,
    };
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, name, title, detail);
    Some(problem.with("reload", outcome.to_json()))
}

pub(super) async fn document(State(context): Context) -> impl IntoResponse {
    let document = context.reloader.document();
    let headers = [
        (header::CONTENT_TYPE, "application/yaml".to_owned()),
        (header::ETAG, format!("\"{}\"", document.hash)),
    ];
    (headers, document.resolved.clone())
}

type Pairs = Vec<(String, String)>;

pub(super) async fn explain(
    State(context): Context,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Told>, Problem> {
    let Query(pairs) = pairs.map_err(|error| Problem::bad_request(error.body_text()))?;
    let question = question(&pairs)?;
    let live = context.shared.plan.newest().ok_or_else(Problem::no_plan)?;
    Ok(Json(question.ask(
        &live,
        Instant::now(),
        &mut fastrand::Rng::new(),
    )))
}

fn question(pairs: &Pairs) -> Result<Question, Problem> {
    let (mut method, mut url, mut headers) = ("GET", None, Vec::new());
    for (name, value) in pairs {
        match name.as_str() {
            "method" => method = value,
            "url" => url = Some(value),
            "header" => headers.push(value),
            _ => {
                let detail = "the parameters are method, url and header (which may be repeated)";
                return Err(Problem::bad_request(detail).with("parameter", json!(name)));
            }
        }
    }
    let url = url.ok_or_else(|| Problem::bad_request("the parameter url is missing"))?;
    Question::new(method, url, &headers).map_err(|error| Problem::bad_request(error.to_string()))
}
