//! Routes and fallbacks that send clients in a circle. A fallback does it by a redirect to a place that
//! is served, through the routes of this configuration, by an upstream whose own fallback leads back.
//! While both are down a browser would go round until it gives up, and load us meanwhile. Redirects of
//! routes, which always do so, are followed in `redirects`.

mod redirects;

use http::{Method, Uri};
use tidegate_core::Snapshot;
use tidegate_core::plan::{Plan, Route};
use tidegate_core::settings::Settings;

use crate::compile::{Context, given};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::WordOr;

/// Reports every circle once. `plan` is that of `config`, without what has errors.
pub(crate) fn check(cx: &mut Context<'_>, config: &raw::Config, settings: &Settings, plan: &Plan) {
    // What a broken match takes would not go round.
    if !cx.knows("routes", &["match"], usize::MAX) || !cx.gaps.is_whole("listeners") {
        return;
    }
    check_fallbacks(cx, config, plan);
    for at in redirects::circles(settings, plan) {
        let route = quoted(&plan.routes[at].name);
        let message = format!("the redirect of {route} leads back to itself");
        let raw = given(config).nth(at).map(|(_, raw)| raw);
        let problem = Problem::error("redirect_cycle", message);
        let problem = problem.at(raw.and_then(|raw| raw.redirect.span()));
        let problem = problem.label(place(config, at), "which this route takes again");
        let help = "clients would be sent in a circle; send them to what another route takes, or make the match narrower";
        cx.report(problem.help(help.to_owned()));
    }
}

fn check_fallbacks(cx: &mut Context<'_>, config: &raw::Config, plan: &Plan) {
    let next = plan.routes.iter().map(|route| next(plan, route));
    for at in circles(&next.collect::<Vec<_>>()) {
        let Some(upstream) = plan.routes[at].upstream else {
            continue;
        };
        let message = format!(
            "the fallback of {} leads back to itself",
            quoted(&plan.upstream(upstream).name)
        );
        let problem = Problem::error("fallback_cycle", message);
        let problem = problem.at(redirect(config, upstream.get()));
        let help = "while it is down clients would be sent in a circle; send them to a place that does not depend on it";
        let problem = problem.label(place(config, at), "by this route");
        cx.report(problem.help(help.to_owned()));
    }
}

/// The place of an upstream's redirect.
fn redirect(config: &raw::Config, upstream: usize) -> Option<Span> {
    let entry = config.upstreams.get()?.0.get(upstream)?;
    let panic = &entry.value.get()?.steering.get()?.panic;
    match panic.get()? {
        WordOr::Value(panic) => panic.fallback.get()?.redirect.span(),
        WordOr::Word(_) => None,
    }
}

fn place(config: &raw::Config, route: usize) -> Option<Span> {
    let (index, raw) = given(config).nth(route)?;
    let span = config.routes.get()?.get(index)?.span();
    raw.r#match.span().or(span)
}

/// The route that serves what a route's fallback sends its clients to, if that is certain: an
/// address counts only if a route names its host, as one for any host may never get to see it.
fn next(plan: &Plan, route: &Route) -> Option<usize> {
    let panic = &plan.upstream(route.upstream?).steering.panic;
    let location: Uri = panic.fallback.as_ref()?.location.as_ref()?.parse().ok()?;
    let own = route
        .matches
        .host
        .as_deref()
        .filter(|host| !host.starts_with('*'));
    let host = location.host().or(own).unwrap_or_default();
    let target = location.path_and_query()?.as_str();
    let followed = Snapshot::new(Method::GET, host, target);
    let index = plan.table.find(&followed)?.get();
    let certain = location.host().is_none() || plan.routes[index].matches.host.is_some();
    certain.then_some(index)
}

/// One index of each circle.
fn circles(next: &[Option<usize>]) -> Vec<usize> {
    let mut seen = vec![None; next.len()];
    let mut found = Vec::new();
    for start in 0..next.len() {
        let mut at = Some(start);
        while let Some(here) = at {
            match seen[here] {
                None => {
                    seen[here] = Some(start);
                    at = next[here];
                }
                Some(by) => {
                    found.extend((by == start).then_some(here));
                    break;
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once() {
        let check = |next: &[Option<usize>], expected: &[usize]| {
            assert_eq!(circles(next), expected, "{next:?}");
        };
        check(&[], &[]);
        check(&[None, Some(0), Some(1)], &[]);
        check(&[Some(0)], &[0]);
        check(&[Some(1), Some(2), Some(0)], &[0]);
        check(&[Some(1), Some(2), Some(1)], &[1]);
        check(&[Some(0), Some(0), Some(3), Some(2)], &[0, 2]);
    }
}
