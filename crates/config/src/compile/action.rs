//! What routes do besides sending requests on, and what of it cannot go together: a route has one of
//! `upstream`, `split`, `redirect` and `respond`, and what holds for requests that are sent on says
//! nothing on a route that answers by itself.

mod fault;
mod fields;
mod holes;
mod redirect;
mod respond;
mod rewrite;

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::{Actions, Reply};
use tidegate_core::route::RouteMatch;

use crate::compile::Context;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;

/// Whether a route answers by itself.
pub(crate) fn answers(raw: &raw::Route) -> bool {
    !raw.redirect.is_absent() || !raw.respond.is_absent()
}

/// Whether some route may need an upstream: one that does not answer by itself. Without routes that
/// is not known.
pub(crate) fn needs_upstreams(config: &raw::Config) -> bool {
    let routes = config.routes.get().map_or(&[][..], Vec::as_slice);
    let answer = |raw: Option<&raw::Route>| raw.is_some_and(answers);
    routes.is_empty() || !routes.iter().all(|field| answer(field.get()))
}

/// What a route does besides sending requests on. `timeout` is the route's.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    raw: &raw::Route,
    matches: &RouteMatch,
    timeout: Duration,
) -> Option<Arc<Actions>> {
    let reply = match answers(raw) {
        true => {
            check_keys(cx, raw);
            reply(cx, raw, matches)
        }
        false => None,
    };
    let headers = raw.headers.get();
    let edits = |cx: &mut Context<'_>, part, to| fields::edits(cx, part, to);
    let request = headers.map(|headers| edits(cx, &headers.request, fields::To::Upstreams));
    let response = headers.map(|headers| edits(cx, &headers.response, fields::To::Clients));
    let rewrite = raw.rewrite.get();
    let path = rewrite.and_then(|rewrite| rewrite::path(cx, &rewrite.path, matches));
    let actions = Actions {
        reply,
        path,
        host: rewrite.and_then(|rewrite| rewrite::host(cx, &rewrite.host)),
        request: request.unwrap_or_default(),
        response: response.unwrap_or_default(),
        fault: fault::compile(cx, &raw.fault, (timeout, raw.timeout.span())),
    };
    (actions != Actions::default()).then(|| Arc::new(actions))
}

fn reply(cx: &mut Context<'_>, raw: &raw::Route, matches: &RouteMatch) -> Option<Reply> {
    if let Some(redirect) = raw.redirect.get() {
        let redirect = redirect::compile(cx, redirect, raw.redirect.span(), matches);
        return redirect.map(Reply::Redirect);
    }
    let respond = raw.respond.get()?;
    Some(Reply::Respond(respond::compile(cx, respond)))
}

/// Keys that a route that answers by itself cannot have.
fn check_keys(cx: &mut Context<'_>, raw: &raw::Route) {
    let (own, other) = match raw.redirect.span() {
        Some(span) => (span, raw.respond.span()),
        None => match raw.respond.span() {
            Some(span) => (span, None),
            None => return,
        },
    };
    let others = [raw.upstream.span(), raw.split.span(), other];
    for place in others.into_iter().flatten() {
        let message = "a route has one of `upstream`, `split`, `redirect` and `respond`";
        let problem = Problem::error("conflicting_keys", message).at(place);
        let problem = problem.label(own.into(), "it answers by itself");
        cx.report(problem.help("remove one".to_owned()));
    }
    for (key, place) in without_effect(raw) {
        cx.unused_if_given(place, key, "`upstream` or `split`");
    }
    let request = raw.headers.get().map(|headers| &headers.request);
    let place = request.and_then(|request| request.span());
    cx.unused_if_given(place, "request", "`upstream` or `split`");
}

/// What says something of requests that are sent on, and nothing of others.
fn without_effect(raw: &raw::Route) -> [(&'static str, Option<Span>); 16] {
    [
        ("mirror", raw.mirror.span()),
        ("timeout", raw.timeout.span()),
        ("max_duration", raw.max_duration.span()),
        ("idle_timeout", raw.idle_timeout.span()),
        ("residency", raw.residency.span()),
        ("isolation", raw.isolation.span()),
        ("idempotent", raw.idempotent.span()),
        ("idempotency_key", raw.idempotency_key.span()),
        ("replay_scope", raw.replay_scope.span()),
        ("deadline_header", raw.deadline_header.span()),
        ("resume", raw.resume.span()),
        ("validators", raw.validators.span()),
        ("hedge", raw.hedge.span()),
        ("reveal", raw.reveal.span()),
        ("rewrite", raw.rewrite.span()),
        ("fault", raw.fault.span()),
    ]
}
