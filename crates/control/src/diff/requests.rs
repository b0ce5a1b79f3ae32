//! Whose requests a route takes: one request that fits it is put to both plans. A route that comes may
//! take them from another, one that goes leaves them to another or to nobody, and neither shows where
//! only the routes themselves are compared.

use std::sync::Arc;

use http::{HeaderName, Method, header};
use tidegate_core::plan::Route;
use tidegate_core::route::{PathMatch, RouteMatch, Template, ValueMatch};
use tidegate_core::{Plan, Snapshot};

/// What stands for a part that may be anything.
const ANY: &str = "any";

/// The plainest request that takes `route`, which is of `plan`; none where nothing plain is known to.
pub(crate) fn example(plan: &Plan, route: &Route) -> Option<Snapshot> {
    let matches = &route.matches;
    let method = matches.methods.first().cloned().unwrap_or(Method::GET);
    let host = match matches.host.as_deref() {
        None => format!("{ANY}.invalid"),
        Some(host) => host.replacen('*', ANY, 1),
    };
    let asked = Snapshot::new(method, &host, &target(matches)?).with_fields(fields(matches));
    let asked = Snapshot {
        server_name: matches
            .server_name
            .as_deref()
            .map(|name| name.replacen('*', ANY, 1).into()),
        client: matches
            .clients
            .as_ref()
            .and_then(|all| Some(all.iter().next()?.address)),
        ..asked
    };
    (taken_by(plan, &asked).as_ref() == Some(&route.name)).then_some(asked)
}

/// The route that takes `request` under `plan`; none if none does.
pub(crate) fn taken_by(plan: &Plan, request: &Snapshot) -> Option<Arc<str>> {
    let route = plan.table.find(request)?;
    Some(plan.route(route).name.clone())
}

fn target(matches: &RouteMatch) -> Option<String> {
    let path = match &matches.path {
        None => "/".to_owned(),
        Some(PathMatch::Exact(path)) => path.to_string(),
        Some(PathMatch::Prefix(path)) => {
            format!("{}/{ANY}", path.strip_suffix('/').unwrap_or(path))
        }
        Some(PathMatch::Template(template)) => filled(template),
        Some(PathMatch::Regex(_)) => return None,
    };
    let query = plain(&matches.query).map(|(name, value)| format!("{name}={value}"));
    let query: Vec<String> = query.collect();
    Some(match query.is_empty() {
        true => path,
        false => format!("{path}?{}", query.join("&")),
    })
}

/// A path that fits, something in the place of every name.
fn filled(template: &Template) -> String {
    let mut path = String::new();
    for (at, part) in template.text().split('{').enumerate() {
        let after = part.split_once('}').map_or(part, |(_, after)| after);
        path.push_str(if at > 0 { ANY } else { "" });
        path.push_str(after);
    }
    path
}

fn fields(matches: &RouteMatch) -> Vec<(HeaderName, String)> {
    let headers = plain(&matches.headers).map(|(name, value)| (name.clone(), value));
    let cookies =
        plain(&matches.cookies).map(|(name, value)| (header::COOKIE, format!("{name}={value}")));
    headers.chain(cookies).collect()
}

/// What must be there, as plainly as it may be.
fn plain<N>(conditions: &[(N, ValueMatch)]) -> impl Iterator<Item = (&N, String)> {
    conditions.iter().filter_map(|(name, value)| match value {
        ValueMatch::Exact(text) | ValueMatch::Prefix(text) => Some((name, text.to_string())),
        ValueMatch::Present => Some((name, ANY.to_owned())),
        _ => None,
    })
}
