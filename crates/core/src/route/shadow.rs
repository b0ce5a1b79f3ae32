//! Which routes can never be taken, for `check` to warn about.

use std::collections::HashMap;

use http::Method;

use super::{HostKey, PathMatch, RouteMatch, prefix_key};
use crate::ids::RouteIdx;

/// Host and path as they are compared; the flag says that the path is a prefix.
type Place<'a> = (HostKey, &'a str, bool);

/// Routes that can never be taken, each with the first earlier route that takes all its requests.
/// In the order of the configuration.
///
/// The more specific route wins whatever the order, so only a route for the same host and path, with
/// the same header conditions and at least the same methods, can take everything from a later one.
/// Routes that several others cover only together are not found.
pub fn shadowed<'a>(routes: impl IntoIterator<Item = &'a RouteMatch>) -> Vec<(RouteIdx, RouteIdx)> {
    let mut places: HashMap<Place<'a>, Vec<(RouteIdx, &'a RouteMatch)>> = HashMap::new();
    let mut found = Vec::new();
    for (at, route) in routes.into_iter().enumerate() {
        let at = RouteIdx(at as u32);
        let earlier = places.entry(place(route)).or_default();
        match earlier.iter().find(|(_, earlier)| covers(earlier, route)) {
            Some(&(by, _)) => found.push((at, by)),
            None => earlier.push((at, route)),
        }
    }
    found
}

fn place(route: &RouteMatch) -> Place<'_> {
    let (path, prefix) = match &route.path {
        None => ("", true),
        Some(PathMatch::Prefix(path)) => (prefix_key(path), true),
        Some(PathMatch::Exact(path)) => (&**path, false),
    };
    (route.host_key(), path, prefix)
}

fn covers(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    methods_cover(&earlier.methods, &later.methods)
        && earlier.when == later.when
        && earlier.headers.len() == later.headers.len()
        && earlier
            .headers
            .iter()
            .all(|header| later.headers.contains(header))
        && later
            .headers
            .iter()
            .all(|header| earlier.headers.contains(header))
}

/// Whether `earlier` has every method of `later` and is as specific: a list counts as a condition,
/// so a route without one comes after it.
fn methods_cover(earlier: &[Method], later: &[Method]) -> bool {
    earlier.is_empty() == later.is_empty() && later.iter().all(|method| earlier.contains(method))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::{ACCEPT, HOST, HeaderName};

    use super::*;

    fn route(
        host: &str,
        path: PathMatch,
        methods: &[Method],
        headers: &[HeaderName],
    ) -> RouteMatch {
        RouteMatch {
            host: Some(host.into()),
            path: Some(path),
            methods: methods.into(),
            headers: headers
                .iter()
                .map(|name| (name.clone(), Arc::from("v")))
                .collect(),
            when: None,
        }
    }

    fn check(earlier: RouteMatch, later: RouteMatch, expected: bool) {
        let found = shadowed([&earlier, &later]);
        let pair = (RouteIdx(1), RouteIdx(0));
        assert_eq!(
            found == [pair],
            expected,
            "{earlier:?} then {later:?}: {found:?}"
        );
    }

    #[test]
    fn a_route_is_shadowed_by_one_that_takes_all_it_could() {
        let exact = || PathMatch::Exact("/a".into());
        let prefix = |path: &str| PathMatch::Prefix(path.into());
        let plain = || route("h", exact(), &[], &[]);
        let (get, put) = (Method::GET, Method::PUT);
        check(plain(), plain(), true);
        check(route("H.", exact(), &[], &[]), plain(), true);
        check(
            route("h", prefix("/a/"), &[], &[]),
            route("h", prefix("/a"), &[], &[]),
            true,
        );
        check(
            route("h", prefix("/"), &[], &[]),
            RouteMatch {
                path: None,
                ..plain()
            },
            true,
        );
        check(
            route("*", exact(), &[], &[]),
            RouteMatch {
                host: None,
                ..plain()
            },
            true,
        );
        check(
            route("h", exact(), &[get.clone(), put.clone()], &[]),
            route("h", exact(), std::slice::from_ref(&put), &[]),
            true,
        );
        check(
            route("h", exact(), &[], &[HOST, ACCEPT]),
            route("h", exact(), &[], &[ACCEPT, HOST]),
            true,
        );
        check(
            plain(),
            route("h", exact(), std::slice::from_ref(&get), &[]),
            false,
        );
        check(
            route("h", exact(), std::slice::from_ref(&get), &[]),
            plain(),
            false,
        );
        check(
            route("h", exact(), &[get], &[]),
            route("h", exact(), &[put], &[]),
            false,
        );
        check(route("h", prefix("/a"), &[], &[]), plain(), false);
        check(route("g", exact(), &[], &[]), plain(), false);
        check(plain(), route("h", exact(), &[], &[ACCEPT]), false);
    }

    #[test]
    fn each_is_reported_once_with_the_first_that_covers_it() {
        let same = RouteMatch::default();
        let found = shadowed([&same, &same, &same]);
        assert_eq!(
            found,
            [(RouteIdx(1), RouteIdx(0)), (RouteIdx(2), RouteIdx(0))]
        );
    }
}
