//! The plan: read it again, show it, ask it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::Context;
use super::author::By;
use super::problem::Problem;
use crate::origin::{Cause, Origin};
use crate::outcome::{CertificateOutcome, Outcome, Verdict};

/// 200 only when everything that the files say serves now.
pub(super) async fn reload(State(context): Context, By(author): By) -> Response {
    let origin = Origin::by(Cause::Api, author);
    let outcome = context.reloader.reload(origin).await;
    answer(&outcome)
}

/// What came of it, and 200 only when it serves.
pub(super) fn answer(outcome: &Outcome) -> Response {
    match refusal(outcome) {
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
