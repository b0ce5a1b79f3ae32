//! What is done when too little of an upstream is usable: health stops counting, or clients get a
//! reply of ours.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tidegate_core::plan::{Fallback, Panic};

use crate::compile::context::SHARE_MIN;
use crate::compile::{Context, urls};
use crate::defaults;
use crate::problem::Problem;
use crate::raw::{self, PanicWord};
use crate::units;
use crate::yaml::{Field, WordOr};

/// Longest content, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// Statuses that send a client elsewhere.
pub(crate) const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Statuses that never have content (RFC 9110).
const EMPTY: [u16; 2] = [204, 205];

/// Compiles `panic`.
pub(crate) fn panic(cx: &mut Context<'_>, field: &Field<WordOr<PanicWord, raw::Panic>>) -> Panic {
    match field.get() {
        None | Some(WordOr::Word(PanicWord::FailClosed)) => Panic::default(),
        Some(WordOr::Word(PanicWord::FailOpen)) => Panic {
            fail_open: units::percent(defaults::FAIL_OPEN).ok(),
            fallback: None,
        },
        Some(WordOr::Value(raw)) => Panic {
            fail_open: cx.unless_off(&raw.fail_open, "off", |cx, field| {
                cx.percent_within(field, SHARE_MIN..=1.0, defaults::FAIL_OPEN)
            }),
            fallback: raw.fallback.get().map(|raw| Arc::new(fallback(cx, raw))),
        },
    }
}

fn fallback(cx: &mut Context<'_>, raw: &raw::Fallback) -> Fallback {
    let status = status(cx, raw);
    check_content(cx, raw, status);
    let redirect = raw.redirect.get();
    Fallback {
        status,
        location: redirect.and_then(|to| urls::location(cx, to, raw.redirect.span())),
        content_type: content_type(cx, &raw.content_type),
        body: body(cx, &raw.body),
    }
}

fn status(cx: &mut Context<'_>, raw: &raw::Fallback) -> StatusCode {
    let redirects = !raw.redirect.is_absent();
    let default = match redirects {
        true => defaults::REDIRECT_STATUS,
        false => defaults::FALLBACK_STATUS,
    };
    let fits = |status: &u16| match redirects {
        true => REDIRECTS.contains(status),
        false => (200..300).contains(status) || (400..600).contains(status),
    };
    let written = raw.status.get().copied();
    let status = u16::try_from(written.unwrap_or(default.into()))
        .ok()
        .filter(fits);
    if let Some(written) = written.filter(|_| status.is_none()) {
        let (what, help) = match redirects {
            true => ("a status of a redirect", "301, 302, 303, 307 or 308"),
            false => (
                "a status of a reply",
                "200 to 299 or 400 to 599; for a redirect give `redirect`",
            ),
        };
        cx.invalid(
            raw.status.span(),
            "status",
            what,
            &written.to_string(),
            help,
        );
    }
    let status = StatusCode::from_u16(status.unwrap_or(default));
    status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Content where none is sent, and its type where there is none.
fn check_content(cx: &mut Context<'_>, raw: &raw::Fallback, status: StatusCode) {
    if !raw.redirect.is_absent() {
        if let Some(span) = raw.body.span() {
            let problem = Problem::error(
                "conflicting_keys",
                "a fallback either redirects or has a body",
            );
            let problem = problem.at(span).label(raw.redirect.span(), "it redirects");
            cx.report(problem.help("remove one; nobody sees the body of a redirect".to_owned()));
        }
        cx.unused_if_given(raw.content_type.span(), "content_type", "`body`");
    } else if EMPTY.contains(&status.as_u16()) && !raw.body.is_absent() {
        let message = format!("an answer of {} never has a body", status.as_u16());
        let problem = Problem::error("conflicting_keys", message).at(raw.body.span());
        let problem = problem.label(raw.status.span(), "its status");
        cx.report(problem.help("remove the body, or answer 200".to_owned()));
    } else if raw.body.is_absent() {
        cx.unused_if_given(raw.content_type.span(), "content_type", "`body`");
    }
}

pub(crate) fn content_type(cx: &mut Context<'_>, field: &Field<String>) -> Arc<str> {
    let text = field.get().map_or(defaults::CONTENT_TYPE, String::as_str);
    let (kind, rest) = text.split_once('/').unwrap_or_default();
    let valid = !kind.is_empty() && !rest.is_empty() && text.trim() == text;
    if !valid || !text.is_ascii() || HeaderValue::from_str(text).is_err() {
        let help = "like `text/html; charset=utf-8`";
        cx.invalid(field.span(), "value", "a type of content", text, help);
    }
    text.into()
}

pub(crate) fn body(cx: &mut Context<'_>, field: &Field<String>) -> Arc<[u8]> {
    let text = field.get().map_or("", String::as_str);
    if text.len() > BODY_MAX {
        let message = format!("{} bytes are too long for a fallback", text.len());
        let problem = Problem::error("out_of_range", message).at(field.span());
        cx.report(problem.help("at most 65536; redirect to a page instead".to_owned()));
    }
    text.as_bytes().into()
}
