//! Routes whose redirect leads back to itself, alone or through others.
//!
//! Each is followed from a request that it would take, hop by hop, as a browser would, for as long as
//! it is certain that the next address comes to this process as well: an address with a host counts
//! only if it is the one that was asked for, or a route names it; and only if a listener speaks its
//! scheme, on its port if it has one.

use std::collections::HashSet;

use http::{Method, Uri};
use tidegate_core::Snapshot;
use tidegate_core::plan::{Plan, Redirect, Reply, Route};
use tidegate_core::route::PathMatch;
use tidegate_core::settings::Settings;

/// Browsers give up after about as many.
const HOPS_MAX: usize = 20;

/// What stands for a host where a route takes any.
const ANY_HOST: &str = "any.invalid";

/// The routes that lead to themselves, each circle by its first route.
pub(super) fn circles(settings: &Settings, plan: &Plan) -> Vec<usize> {
    let mut known = HashSet::new();
    let routes = 0..plan.routes.len();
    let mut found = Vec::new();
    for start in routes.filter(|at| redirect(&plan.routes[*at]).is_some()) {
        if known.contains(&start) {
            continue;
        }
        let Some(circle) = circle(settings, plan, start) else {
            continue;
        };
        if circle.contains(&start) {
            found.push(start);
        }
        known.extend(circle);
    }
    found
}

fn redirect(route: &Route) -> Option<&Redirect> {
    match route.actions.as_ref()?.reply.as_ref()? {
        Reply::Redirect(redirect) => Some(redirect),
        Reply::Respond(_) => None,
    }
}

/// The routes that a request of this one comes by, if it comes by one of them twice at the same
/// address, or for ever.
fn circle(settings: &Settings, plan: &Plan, start: usize) -> Option<Vec<usize>> {
    let mut at = example(settings, &plan.routes[start])?;
    let mut seen = HashSet::new();
    let mut way = Vec::new();
    for _ in 0..HOPS_MAX {
        let index = plan.table.find(&at)?.get();
        // What another route takes is no example of this one.
        if way.is_empty() && index != start {
            return None;
        }
        if !seen.insert((at.scheme, at.host.clone(), at.target.clone())) {
            return Some(way);
        }
        way.push(index);
        at = next(settings, plan, index, &at)?;
    }
    Some(way)
}

/// A request that the route takes, as far as host and path tell.
fn example(settings: &Settings, route: &Route) -> Option<Snapshot> {
    let host = match route.matches.host.as_deref() {
        None => ANY_HOST.to_owned(),
        Some(host) => host.replace('*', "any"),
    };
    let path = match &route.matches.path {
        None => "/x".to_owned(),
        Some(PathMatch::Exact(path)) => path.to_string(),
        Some(PathMatch::Prefix(prefix)) => format!("{}/x", prefix.trim_end_matches('/')),
        Some(PathMatch::Template(template)) => {
            let names = template.text().split('/').map(|segment| match segment {
                "**" => "x",
                name if name.starts_with('{') => "x",
                segment => segment,
            });
            names.collect::<Vec<_>>().join("/")
        }
        Some(PathMatch::Regex(_)) => return None,
    };
    let method = route.matches.methods.first().cloned();
    let asked = Snapshot::new(method.unwrap_or(Method::GET), &host, &path);
    let plaintext = settings.listeners.iter().any(|one| one.tls.is_none());
    Some(Snapshot {
        // Where both are spoken, a client that is sent to `https` comes again by that.
        scheme: if plaintext { "http" } else { "https" },
        ..asked
    })
}

/// The request that follows the redirect of a route, if it certainly comes here.
fn next(settings: &Settings, plan: &Plan, index: usize, at: &Snapshot) -> Option<Snapshot> {
    let route = &plan.routes[index];
    let redirect = redirect(route)?;
    let path = at.target.split('?').next().unwrap_or_default();
    let location = redirect.location(at, &route.matches.captures(path));
    let location: Uri = location.ok()?.split('#').next()?.parse().ok()?;
    let target = location.path_and_query()?.as_str();
    let host = location.host().unwrap_or(&at.host);
    let scheme = match location.scheme_str() {
        Some("https") => "https",
        Some(_) => "http",
        None => at.scheme,
    };
    let followed = Snapshot {
        scheme,
        ..Snapshot::new(at.method.clone(), host, target)
    };
    let named = || {
        let found = plan.table.find(&followed);
        found.is_some_and(|found| plan.route(found).matches.host.is_some())
    };
    let port = location.port_u16();
    let fits = |tls: bool, own: u16| tls == (scheme == "https") && port.is_none_or(|p| p == own);
    let mut listeners = settings.listeners.iter();
    let spoken = listeners.any(|one| fits(one.tls.is_some(), one.bind.port()));
    let certain = (host == &*at.host || named()) && (location.scheme().is_none() || spoken);
    certain.then_some(followed)
}
