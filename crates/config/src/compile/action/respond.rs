//! Answers that are always the same.

use http::StatusCode;
use tidegate_core::plan::Respond;

use super::fields;
use crate::compile::Context;
use crate::compile::fallback;
use crate::defaults;
use crate::problem::Problem;
use crate::raw;

/// Statuses whose answers never have content (RFC 9110).
const EMPTY: [u16; 3] = [204, 205, 304];

pub(super) fn compile(cx: &mut Context<'_>, raw: &raw::Respond) -> Respond {
    let status = status(cx, raw);
    check_content(cx, raw, status);
    Respond {
        status,
        content_type: fallback::content_type(cx, &raw.content_type),
        body: fallback::body(cx, &raw.body),
        fields: fields::listed(cx, &raw.headers, fields::To::Clients),
    }
}

fn status(cx: &mut Context<'_>, raw: &raw::Respond) -> StatusCode {
    let default = defaults::RESPOND_STATUS;
    let written = raw.status.get().copied().unwrap_or(default.into());
    let fits = |status: &u16| (200..600).contains(status) && !fallback::REDIRECTS.contains(status);
    let known = u16::try_from(written).ok().filter(fits);
    if known.is_none() {
        let help = "200 to 599; for a redirect write `redirect`";
        let written = written.to_string();
        cx.invalid(
            raw.status.span(),
            "status",
            "a status of a reply",
            &written,
            help,
        );
    }
    StatusCode::from_u16(known.unwrap_or(default)).unwrap_or(StatusCode::OK)
}

/// Content where none is sent, and its type where there is none.
fn check_content(cx: &mut Context<'_>, raw: &raw::Respond, status: StatusCode) {
    if EMPTY.contains(&status.as_u16()) && !raw.body.is_absent() {
        let message = format!("an answer of {} never has a body", status.as_u16());
        let problem = Problem::error("conflicting_keys", message).at(raw.body.span());
        let problem = problem.label(raw.status.span(), "its status");
        cx.report(problem.help("remove the body, or answer 200".to_owned()));
    } else if raw.body.is_absent() {
        cx.unused_if_given(raw.content_type.span(), "content_type", "`body`");
    }
}
