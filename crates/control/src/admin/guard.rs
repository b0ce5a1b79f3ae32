//! Keeps web pages from using an operator's browser against the admin listener.
//!
//! Without authentication, being able to connect is the permission, and a browser on the same
//! machine can connect for any page. Two doors are shut: a page of another origin cannot change
//! anything (`Origin`, `Sec-Fetch-Site`), and a name that an attacker points at loopback is not
//! taken for ours (`Host`; DNS rebinding). Command-line tools send neither `Origin` nor odd hosts.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, header};

use super::problem::Problem;

/// What the guard knows of its listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    loopback: bool,
}

impl Guard {
    pub(super) fn new(bind: SocketAddr) -> Self {
        Self {
            loopback: bind.ip().is_loopback(),
        }
    }

    /// Why a request is not let in; none when it is.
    fn objection(self, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or_default())
        };
        let host = text(header::HOST);
        if self.loopback && !host.is_none_or(names_loopback) {
            return Some("the Host is not a name of this listener; use localhost or its address");
        }
        let foreign = text(header::ORIGIN).is_some_and(|origin| !is_same_origin(origin, host))
            || text(header::HeaderName::from_static("sec-fetch-site"))
                .is_some_and(|site| !matches!(site, "same-origin" | "none"));
        (foreign && !method.is_safe()).then_some("pages of other origins may not change anything")
    }
}

pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.objection(request.method(), request.headers()) {
        None => next.run(request).await,
        Some(why) => {
            let title = "Refused for the safety of browsers";
            Problem::new(StatusCode::FORBIDDEN, "foreign_origin", title, why).into_response()
        }
    }
}

fn names_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn is_same_origin(origin: &str, host: Option<&str>) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or(origin.strip_prefix("https://"));
    authority
        .zip(host)
        .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bind: &str, method: Method, headers: &[(&'static str, &'static str)], allowed: bool) {
        let guard = Guard::new(bind.parse().unwrap());
        let map = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let objection = guard.objection(&method, &map);
        assert_eq!(objection.is_none(), allowed, "{bind} {method} {headers:?}");
    }

    #[test]
    fn tools_are_let_in() {
        check(
            "127.0.0.1:9901",
            Method::POST,
            &[("host", "127.0.0.1:9901")],
            true,
        );
        check(
            "127.0.0.1:9901",
            Method::POST,
            &[("host", "LocalHost:9901")],
            true,
        );
        check("[::1]:9901", Method::POST, &[("host", "[::1]:9901")], true);
        check("127.0.0.1:9901", Method::POST, &[], true);
        check(
            "10.0.0.1:9901",
            Method::POST,
            &[("host", "admin.example")],
            true,
        );
    }

    #[test]
    fn pages_of_our_own_are_let_in() {
        let own = [("host", "localhost:1"), ("origin", "http://localhost:1")];
        check("127.0.0.1:1", Method::POST, &own, true);
        let own = [("host", "localhost:1"), ("sec-fetch-site", "same-origin")];
        check("127.0.0.1:1", Method::POST, &own, true);
    }

    #[test]
    fn foreign_pages_change_nothing() {
        let foreign: [&[(&str, &str)]; 5] = [
            &[("host", "localhost:1"), ("origin", "http://evil.example")],
            &[("host", "localhost:1"), ("origin", "http://localhost:2")],
            &[("host", "localhost:1"), ("origin", "null")],
            &[("host", "localhost:1"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:1")],
        ];
        for headers in foreign {
            check("127.0.0.1:1", Method::POST, headers, false);
            check("127.0.0.1:1", Method::DELETE, headers, false);
            check("127.0.0.1:1", Method::GET, headers, true);
        }
    }

    #[test]
    fn names_that_point_at_loopback_are_not_ours() {
        for host in [
            "evil.example:9901",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "a b",
        ] {
            check("127.0.0.1:9901", Method::GET, &[("host", host)], false);
        }
    }
}
