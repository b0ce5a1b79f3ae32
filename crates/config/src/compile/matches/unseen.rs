//! Conditions on what no listener ever learns: a route that asks for it takes nothing.

use tidegate_core::route::{RouteMatch, ValueMatch};

use crate::compile::Context;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;

/// Warns of routes that ask for names of TLS or certificates where nobody could show any.
pub(crate) fn check<'a>(
    cx: &mut Context<'_>,
    config: &raw::Config,
    matches: impl Iterator<Item = &'a RouteMatch>,
) {
    let listeners = config.listeners.get().into_iter().flatten();
    let tls: Vec<_> = listeners
        .filter_map(|listener| listener.get()?.tls.get())
        .collect();
    let (has_tls, has_ca) = (
        !tls.is_empty(),
        tls.iter().any(|tls| !tls.client_ca.is_absent()),
    );
    let routes = config.routes.get().into_iter().flatten();
    for (route, matches) in routes.zip(matches) {
        let Some(raw) = route.get().and_then(|route| route.r#match.get()) else {
            continue;
        };
        if matches.server_name.is_some() && !has_tls {
            warn(cx, raw.server_name.span(), "no listener has `tls`");
        }
        let subject = matches.client_subject.as_ref();
        if subject.is_some_and(|subject| *subject != ValueMatch::Absent) && !has_ca {
            let why = "no listener has a `client_ca`";
            warn(cx, raw.client_certificate.span(), why);
        }
    }
}

fn warn(cx: &mut Context<'_>, span: Option<Span>, why: &str) {
    let message = format!("this never holds: {why}");
    let problem = Problem::warning("never_holds", message).at(span);
    cx.report(problem.help("the route takes no request; remove it, or add a listener".to_owned()));
}
