//! The index finds what a plain search over all routes finds.

use std::cmp::Reverse;

use http::Method;
use http::header::{ACCEPT, HeaderName, RANGE};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tidegate_core::RouteIdx;
use tidegate_core::route::{PathMatch, RouteMatch, RouteTable, shadowed};

use crate::support::Asked;

/// Names short enough that routes and requests meet often.
fn host() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "shop"]), 1..4).prop_map(|labels| labels.join("."))
}

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["", "x", "y", "xy", "..", "%2F"]);
    let absolute = vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
    prop_oneof![20 => absolute, 1 => Just("*".to_owned()), 1 => Just(String::new())]
}

fn route_host() -> impl Strategy<Value = String> {
    prop_oneof![host(), host().prop_map(|host| format!("*.{host}"))]
}

fn route_path() -> impl Strategy<Value = PathMatch> {
    let exact = path().prop_map(|path| PathMatch::Exact(path.into()));
    let prefix = path().prop_map(|path| PathMatch::Prefix(path.into()));
    prop_oneof![exact, prefix]
}

fn headers() -> impl Strategy<Value = Vec<(HeaderName, String)>> {
    let all = vec![
        (ACCEPT, "1".to_owned()),
        (ACCEPT, "2".to_owned()),
        (RANGE, "1".to_owned()),
    ];
    subsequence(all, 0..=2)
}

fn route() -> impl Strategy<Value = RouteMatch> {
    let methods = subsequence(vec![Method::GET, Method::PUT], 0..=2);
    (
        option::of(route_host()),
        option::of(route_path()),
        methods,
        headers(),
    )
        .prop_map(|(host, path, methods, headers)| RouteMatch {
            host: host.map(Into::into),
            path,
            methods: methods.into(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
            when: None,
        })
}

fn request() -> impl Strategy<Value = Asked> {
    let dressed = (host(), any::<bool>(), "\\.{0,2}").prop_map(|(host, upper, dots)| {
        let host = if upper {
            host.to_ascii_uppercase()
        } else {
            host
        };
        host + &dots
    });
    let method = select(vec![Method::GET, Method::PUT, Method::POST]);
    (
        method,
        prop_oneof![20 => dressed, 1 => "[.a]{0,3}"],
        path(),
        headers(),
    )
        .prop_map(|(method, host, path, headers)| Asked {
            method,
            host,
            path,
            headers,
        })
}

/// How specific the host is that matched: exact, wildcard by length, any.
fn host_rank(route: &RouteMatch, host: &str) -> Option<usize> {
    let Some(wanted) = route.host.as_deref() else {
        return Some(0);
    };
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    match wanted.strip_prefix("*.") {
        None => (wanted == host).then_some(usize::MAX),
        Some(below) => host
            .strip_suffix(below)
            .and_then(|label| label.strip_suffix('.'))
            .filter(|label| !label.is_empty())
            .map(|_| below.len()),
    }
}

fn path_rank(route: &RouteMatch, path: &str) -> Option<usize> {
    match &route.path {
        None => Some(0),
        Some(PathMatch::Exact(wanted)) => (**wanted == *path).then_some(usize::MAX),
        Some(PathMatch::Prefix(prefix)) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let rest = path.strip_prefix(prefix)?;
            let whole = prefix.is_empty() || rest.is_empty() || rest.starts_with('/');
            whole.then_some(prefix.len())
        }
    }
}

fn conditions(route: &RouteMatch, request: &Asked) -> Option<usize> {
    let method = route.methods.is_empty() || route.methods.contains(&request.method);
    let has = |(name, value): &(HeaderName, std::sync::Arc<str>)| {
        request
            .headers
            .iter()
            .any(|(have, is)| have == name && **is == **value)
    };
    let hold = method && route.headers.iter().all(has);
    hold.then_some(usize::from(!route.methods.is_empty()) + route.headers.len())
}

/// Every route looked at, the best rank taken.
fn reference(routes: &[RouteMatch], request: &Asked) -> Option<RouteIdx> {
    let ranked = routes.iter().enumerate().filter_map(|(at, route)| {
        let host = host_rank(route, &request.host)?;
        let path = path_rank(route, &request.path)?;
        Some((host, path, conditions(route, request)?, Reverse(at)))
    });
    ranked.max().map(|(.., Reverse(at))| RouteIdx(at as u32))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn the_index_agrees_with_a_plain_search(routes in vec(route(), 0..40), requests in vec(request(), 1..20)) {
        let table = RouteTable::new(&routes);
        for request in requests {
            let (host, path) = (&request.host, &request.path);
            prop_assert_eq!(table.find(&request), reference(&routes, &request), "{} {}", host, path);
        }
    }

    #[test]
    fn a_shadowed_route_is_never_found(routes in vec(route(), 0..40), requests in vec(request(), 1..20)) {
        let never: Vec<_> = shadowed(&routes).into_iter().map(|(route, _)| route).collect();
        for request in requests {
            let found = reference(&routes, &request);
            prop_assert!(found.is_none_or(|found| !never.contains(&found)));
        }
    }

    #[test]
    fn any_text_is_a_request(host in ".{0,300}", path in ".{0,300}", routes in vec(route(), 0..10)) {
        let asked = Asked { method: Method::GET, host, path, headers: Vec::new() };
        let found = RouteTable::new(&routes).find(&asked);
        if asked.host.trim_end_matches('.').len() <= 253 {
            prop_assert_eq!(found, reference(&routes, &asked));
        }
    }
}
