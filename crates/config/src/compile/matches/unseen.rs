//! Conditions on what no listener ever learns: a route that asks for it takes nothing.

use tidegate_core::plan::Plan;
use tidegate_core::route::ValueMatch;

use crate::compile::{Context, given};
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;

/// Warns of routes that ask for names of TLS or certificates where nobody could show any.
/// `plan` is that of `config`.
pub(crate) fn check(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    if !cx.knows("listeners", &["tls"], usize::MAX) {
        return;
    }
    let listeners = config.listeners.get().into_iter().flatten();
    let tls: Vec<_> = listeners
        .filter_map(|listener| listener.get()?.tls.get())
        .collect();
    let (has_tls, has_ca) = (
        !tls.is_empty(),
        tls.iter().any(|tls| !tls.client_ca.is_absent()),
    );
    for (route, (index, raw)) in plan.routes.iter().zip(given(config)) {
        let matches = &route.matches;
        let (Some(raw), true) = (raw.r#match.get(), cx.flaws.is_sound("routes", index)) else {
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
