//! Errors of the admin listener, as problem documents (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

/// One error: status, a stable name, and what a person needs to act.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem of the kind `urn:tidegate:problem:{name}`.
    pub(super) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// A question that cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        let title = "The request cannot be understood";
        Self::new(StatusCode::BAD_REQUEST, "bad_request", title, detail)
    }

    /// Nothing serves yet, so there is nothing to ask.
    pub(super) fn no_plan() -> Self {
        let title = "No plan serves yet";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_plan",
            title,
            "try again in a moment",
        )
    }

    pub(super) fn no_endpoint(endpoints: &str) -> Self {
        let detail = format!("there are: {endpoints}");
        Self::new(
            StatusCode::NOT_FOUND,
            "no_endpoint",
            "There is nothing at this path",
            detail,
        )
    }

    pub(super) fn wrong_method() -> Self {
        let detail = "the methods of this path are in the Allow header";
        let title = "The path exists, but not for this method";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "wrong_method",
            title,
            detail,
        )
    }

    /// Adds a member beside the standard ones.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    fn document(self) -> Value {
        let mut document = json!({
            "type": format!("urn:tidegate:problem:{}", self.name),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(members) = &mut document {
            members.extend(self.more);
        }
        document
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let body = Body::from(format!("{:#}\n", self.document()));
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, body).into_response()
    }
}
