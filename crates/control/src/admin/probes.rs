//! The endpoints that machines ask often: alive, ready, metrics.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::Context;
use super::problem::Problem;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(context): Context) -> Response {
    let live = context.shared.plan.newest();
    match context.readiness.missing(live.as_deref()) {
        None => "ready\n".into_response(),
        Some(why) => {
            let title = "Not ready for traffic";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", title, why).into_response()
        }
    }
}

pub(super) async fn metrics(State(context): Context) -> impl IntoResponse {
    let live = context.shared.plan.newest();
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    let stage = context.shared.plan.stage();
    let text = context
        .shared
        .metrics
        .render_staged(live.as_deref(), stage.as_deref());
    (kind, text)
}
