//! Which routes can never be taken, for `check` to warn about.
//!
//! Only what is proven is said. The more specific route wins whatever the order, so only a route of the
//! same host and path can take everything from a later one: one of two regular expressions that are
//! written differently is never said to be hidden, nor a route that several others cover only together.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::path::Place;
use super::{HostKey, RouteMatch, ValueMatch};
use crate::ids::RouteIdx;

/// Routes that can never be taken, each with the first earlier route that takes all its requests.
/// In the order of the configuration.
///
/// Such a route has as many conditions (one with fewer comes after it), and each of them holds
/// wherever those of the later route do: more methods, a wider network, a prefix of a value.
pub fn shadowed<'a>(routes: impl IntoIterator<Item = &'a RouteMatch>) -> Vec<(RouteIdx, RouteIdx)> {
    let mut places: HashMap<_, Vec<(RouteIdx, &'a RouteMatch)>> = HashMap::new();
    let mut found = Vec::new();
    for (at, route) in routes.into_iter().enumerate() {
        let at = RouteIdx(at as u32);
        let place = (route.host_key(), Place::of(route.path.as_ref()));
        let earlier = places.entry(place).or_default();
        match earlier.iter().find(|(_, earlier)| covers(earlier, route)) {
            Some(&(by, _)) => found.push((at, by)),
            None => earlier.push((at, route)),
        }
    }
    found
}

/// Whether `earlier`, of the same host and path, takes every request of `later`.
fn covers(earlier: &RouteMatch, later: &RouteMatch) -> bool {
    let names = |wanted: &Arc<str>, given: &Arc<str>| {
        HostKey::of(Some(wanted)).covers(&HostKey::of(Some(given)))
    };
    earlier.conditions() == later.conditions()
        && methods_cover(&earlier.methods, &later.methods)
        && values_cover(&earlier.headers, &later.headers)
        && values_cover(&earlier.query, &later.query)
        && values_cover(&earlier.cookies, &later.cookies)
        && holds(&earlier.clients, &later.clients, |a, b| a.covers(b))
        && holds(&earlier.server_name, &later.server_name, names)
        && holds(
            &earlier.client_subject,
            &later.client_subject,
            ValueMatch::covers,
        )
        && holds(&earlier.time, &later.time, |a, b| a.covers(b))
        && holds(&earlier.when, &later.when, |a, b| a == b)
}

/// Whether a condition, if there is one, holds wherever the other does.
fn holds<T>(wanted: &Option<T>, given: &Option<T>, covers: impl Fn(&T, &T) -> bool) -> bool {
    match (wanted, given) {
        (None, _) => true,
        (Some(wanted), Some(given)) => covers(wanted, given),
        (Some(_), None) => false,
    }
}

/// Whether every method of `later` is one of `earlier`, an empty list being all of them.
fn methods_cover(earlier: &[Method], later: &[Method]) -> bool {
    let all = !later.is_empty() && later.iter().all(|method| earlier.contains(method));
    earlier.is_empty() || all
}

/// Whether every condition of `earlier` holds where those of `later` do. Several values of one name may
/// each meet another condition, which is no matter: whatever meets the later meets the earlier.
fn values_cover<N: PartialEq>(earlier: &[(N, ValueMatch)], later: &[(N, ValueMatch)]) -> bool {
    earlier.iter().all(|(name, wanted)| {
        let given = later.iter().find(|(other, _)| other == name);
        given.is_some_and(|(_, given)| wanted.covers(given))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::{ACCEPT, HOST, HeaderName};

    use super::*;
    use crate::route::{Days, Networks, PathMatch, Pattern, Template, TimeWindow, Zone};

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
                .map(|name| (name.clone(), ValueMatch::Exact("v".into())))
                .collect(),
            ..RouteMatch::default()
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

    fn path(text: &str) -> PathMatch {
        match text {
            _ if text.contains('{') => {
                PathMatch::Template(Arc::new(Template::new(text).expect("a template")))
            }
            _ => match (text.strip_prefix('~'), text.strip_suffix("/**")) {
                (Some(pattern), _) => {
                    PathMatch::Regex(Arc::new(Pattern::new(pattern).expect("a pattern")))
                }
                (None, Some(prefix)) => PathMatch::Prefix(prefix.into()),
                (None, None) => PathMatch::Exact(text.into()),
            },
        }
    }

    #[test]
    fn places_are_the_same_if_they_match_the_same_paths() {
        let check = |earlier: &str, later: &str, expected| {
            let route = |text| route("h", path(text), &[], &[]);
            check(route(earlier), route(later), expected);
        };
        check("/users/{id}", "/users/{name}", true);
        check("/users/{id}/**", "/users/{id}/{rest=**}", true);
        check("/files/**", "/files/{rest=**}", true);
        check("/{all=**}", "/**", true);
        check("~^/v[0-9]", "~^/v[0-9]", true);
        check("~^/v", "~^/v[0-9]", false);
        check("~.*", "~^/v", false);
        check("/{x}/**", "/users/**", false);
        check("/**", "~^/v", false);
        check("/users/{id}", "/users/{id}/", false);
        check("/users/{id}", "/users/7", false);
    }

    #[test]
    fn a_condition_covers_what_it_holds_for() {
        let values = |name: &str, value| [(Arc::from(name), value)].into();
        let nets = |texts: &[(&str, u8)]| {
            let net = |(address, prefix): &(&str, u8)| crate::settings::Network {
                address: address.parse().expect("an address"),
                prefix: *prefix,
            };
            Some(Arc::new(texts.iter().map(net).collect::<Networks>()))
        };
        let window = |from, to| {
            let zone = Zone::named("UTC").expect("a zone");
            let days = Days::ALL;
            Some(Arc::new(TimeWindow {
                days,
                from,
                to,
                zone,
            }))
        };
        let any = RouteMatch::default;
        let query = |name, value| RouteMatch {
            query: values(name, value),
            ..any()
        };
        let cookie = |name, value| RouteMatch {
            cookies: values(name, value),
            ..any()
        };
        let clients = |list| RouteMatch {
            clients: nets(list),
            ..any()
        };
        let server_name = |name: &str| RouteMatch {
            server_name: Some(name.into()),
            ..any()
        };
        let subject = |value| RouteMatch {
            client_subject: Some(value),
            ..any()
        };
        let time = |from, to| RouteMatch {
            time: window(from, to),
            ..any()
        };
        check(
            query("k", ValueMatch::Present),
            query("k", "v".into()),
            true,
        );
        check(
            query("k", "v".into()),
            query("k", ValueMatch::Present),
            false,
        );
        check(
            query("k", ValueMatch::Present),
            query("l", "v".into()),
            false,
        );
        check(query("k", "v".into()), cookie("k", "v".into()), false);
        check(
            cookie("k", ValueMatch::Absent),
            cookie("k", ValueMatch::Absent),
            true,
        );
        check(
            clients(&[("10.0.0.0", 8)]),
            clients(&[("10.1.0.0", 16)]),
            true,
        );
        check(
            clients(&[("10.1.0.0", 16)]),
            clients(&[("10.0.0.0", 8)]),
            false,
        );
        check(clients(&[("0.0.0.0", 0), ("::", 0)]), any(), false);
        check(server_name("*.x"), server_name("a.x"), true);
        check(server_name("a.x"), server_name("*.x"), false);
        check(subject(ValueMatch::Present), subject("CN=a".into()), true);
        check(subject("CN=a".into()), subject("CN=b".into()), false);
        check(time(480, 1080), time(540, 600), true);
        check(time(540, 600), time(480, 1080), false);
        check(any(), query("k", "v".into()), false);
        check(query("k", "v".into()), any(), false);
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
