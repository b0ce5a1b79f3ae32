//! Which route a request takes.
//!
//! The most specific match wins, and the earlier of two equals: host (exact, then the longest
//! wildcard suffix, then any), then path (exact, template, prefix, regular expression, any), then the
//! number of further conditions. Routes are found by hash of the host and a trie of path segments, so
//! the cost grows with the request, not with the number of routes; only routes that share host and
//! path are gone through one by one, and a host's regular expressions.
//!
//! Paths are compared byte for byte, as the client wrote them: nothing is decoded or normalised, so
//! `//`, `%2F`, `.` and `..` match literally, and what matched is what the upstream gets to see.

mod captures;
mod index;
mod networks;
mod path;
mod pattern;
mod shadow;
mod template;
mod value;
mod window;

use std::sync::Arc;
use std::time::SystemTime;

use http::Method;

use crate::expression::Expression;
use crate::hash::KeyFacts;
use crate::ids::RouteIdx;

pub use captures::{CAPTURES_MAX, Captures};
pub use index::RouteTable;
pub use networks::Networks;
pub use path::PathMatch;
pub use pattern::{InvalidPattern, PATTERN_MAX, Pattern};
pub use shadow::shadowed;
pub use template::{InvalidTemplate, Template};
pub use value::ValueMatch;
pub use window::{DAY_NAMES, Days, TimeWindow, Zone};

/// What a route matches. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMatch {
    /// Host without port, lower case: `shop.example.com`, or `*.example.com` for any name below it
    /// (at least one label). None: any host.
    pub host: Option<Arc<str>>,
    /// Path. None: any path.
    pub path: Option<PathMatch>,
    /// Methods; empty: any.
    pub methods: Box<[Method]>,
    /// Header fields, each name once, and what their values must be.
    pub headers: Box<[(http::HeaderName, ValueMatch)]>,
    /// Query parameters, each name once, and what their values must be.
    pub query: Box<[(Arc<str>, ValueMatch)]>,
    /// Cookies, each name once, and what their values must be.
    pub cookies: Box<[(Arc<str>, ValueMatch)]>,
    /// Where the client's address must lie.
    pub clients: Option<Arc<Networks>>,
    /// The name that the client asked for in its TLS handshake, written like `host`.
    pub server_name: Option<Arc<str>>,
    /// What the subject of the client's certificate must be.
    pub client_subject: Option<ValueMatch>,
    /// When the request must come.
    pub time: Option<Arc<TimeWindow>>,
    /// What else must hold, as an expression says it.
    pub when: Option<Arc<Expression>>,
}

/// The facts of a request that routing, its conditions and expressions look at. What a request is
/// not known to have is none.
pub trait RequestFacts: KeyFacts {
    /// Method.
    fn method(&self) -> &Method;

    /// Host without port, as the client wrote it.
    fn host(&self) -> &str;

    /// Path without query.
    fn path(&self) -> &str {
        let target = self.path_and_query();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The same as bytes, for who only compares it.
    fn path_bytes(&self) -> &[u8] {
        self.path().as_bytes()
    }

    /// Query without `?`, as it is written; empty without one.
    fn query(&self) -> &str {
        let target = self.path_and_query();
        target.split_once('?').map_or("", |(_, query)| query)
    }

    /// `https` or `http`, as the client sees it.
    fn scheme(&self) -> &'static str {
        "http"
    }

    /// The name that the client asked for in its TLS handshake (SNI).
    fn server_name(&self) -> Option<&str> {
        None
    }

    /// The subject of the client's certificate, as RFC 4514 writes it.
    fn client_subject(&self) -> Option<&str> {
        None
    }

    /// The moment of the request by the wall clock.
    fn at(&self) -> SystemTime;

    /// Shows every field, in its order: name and value.
    fn each_field<'s>(&'s self, show: impl FnMut(&'s [u8], &'s [u8]));

    /// Whether a field of this name has this value.
    fn has_header(&self, name: &http::HeaderName, value: &str) -> bool {
        let found = self.find_field(name, |have| (have == value.as_bytes()).then_some(()));
        found.is_some()
    }
}

/// The host that a route asks for, ready to be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostKey {
    Exact(Box<str>),
    /// What follows `*.`.
    Below(Box<str>),
    Any,
}

impl RouteMatch {
    /// What the names and groups of the path match stand for in `path`, which it matches. Nothing for
    /// a match without names, and for a path that it does not match.
    pub fn captures<'a>(&'a self, path: &'a str) -> Captures<'a> {
        let captures = self.path.as_ref().and_then(|wanted| wanted.captures(path));
        captures.unwrap_or_default()
    }

    /// Whether the conditions beside host and path hold. What costs most to find out comes last.
    fn conditions_hold(&self, request: &impl RequestFacts) -> bool {
        (self.methods.is_empty() || self.methods.contains(request.method()))
            && self.connection_holds(request)
            && self.fields_hold(request)
            && self
                .time
                .as_ref()
                .is_none_or(|time| time.contains(request.at()))
            && self.when.as_ref().is_none_or(|when| when.holds(request))
    }

    /// Whether the conditions on what the request says hold.
    fn fields_hold(&self, request: &impl RequestFacts) -> bool {
        let (headers, query, cookies) = (&self.headers, &self.query, &self.cookies);
        headers
            .iter()
            .all(|(name, wanted)| wanted.holds_for_field(request, name))
            && query
                .iter()
                .all(|(name, wanted)| wanted.holds_for_parameter(request.query(), name))
            && cookies
                .iter()
                .all(|(name, wanted)| wanted.holds_for_cookie(request, name))
    }

    /// Whether the conditions on who asks, and over which connection, hold.
    fn connection_holds(&self, request: &impl RequestFacts) -> bool {
        let name = |wanted: &Arc<str>| request.server_name().is_some_and(|is| is_name(is, wanted));
        let subject = |wanted: &ValueMatch| wanted.holds_for(request.client_subject());
        let client = |wanted: &Arc<Networks>| {
            let client = request.client();
            client.is_some_and(|client| wanted.contains(client))
        };
        self.server_name.as_ref().is_none_or(name)
            && self.client_subject.as_ref().is_none_or(subject)
            && self.clients.as_ref().is_none_or(client)
    }

    /// How many conditions there are beside host and path; a list of methods or networks is one.
    fn conditions(&self) -> usize {
        let lists = [self.headers.len(), self.query.len(), self.cookies.len()];
        let others = [
            !self.methods.is_empty(),
            self.clients.is_some(),
            self.server_name.is_some(),
            self.client_subject.is_some(),
            self.time.is_some(),
            self.when.is_some(),
        ];
        lists.into_iter().sum::<usize>() + others.into_iter().filter(|given| *given).count()
    }

    fn host_key(&self) -> HostKey {
        HostKey::of(self.host.as_deref())
    }
}

impl HostKey {
    fn of(host: Option<&str>) -> Self {
        let host = host
            .unwrap_or("*")
            .trim_end_matches('.')
            .to_ascii_lowercase();
        match host.strip_prefix("*.") {
            Some(below) => Self::Below(below.into()),
            None if host.is_empty() || host == "*" => Self::Any,
            None => Self::Exact(host.into()),
        }
    }

    /// Whether every name of `other` is one of this.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(suffix), Self::Exact(name)) => is_below(name, suffix),
            (Self::Below(suffix), Self::Below(other)) => suffix == other || is_below(other, suffix),
            (one, other) => one == other,
        }
    }
}

/// Whether a name that a client wrote is `wanted`: a name, or `*.` and what it must lie below.
fn is_name(name: &str, wanted: &str) -> bool {
    let name = name.trim_end_matches('.');
    match wanted.strip_prefix("*.") {
        Some(suffix) => is_below(name, suffix),
        None => name.eq_ignore_ascii_case(wanted),
    }
}

/// Whether `name` is at least one label more than `suffix`.
fn is_below(name: &str, suffix: &str) -> bool {
    let Some(at) = name.len().checked_sub(suffix.len()) else {
        return false;
    };
    let (before, end) = name.as_bytes().split_at(at);
    before.len() > 1 && before.ends_with(b".") && end.eq_ignore_ascii_case(suffix.as_bytes())
}

/// Sorts the routes of one place: more conditions first, then the earlier.
fn by_rank(routes: &[&RouteMatch], group: &mut [RouteIdx]) {
    group.sort_by_key(|&route| (std::cmp::Reverse(routes[route.get()].conditions()), route));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_hosts_are() {
        let check = |name: &str, wanted: &str, expected| {
            assert_eq!(is_name(name, wanted), expected, "{name} {wanted}");
        };
        check("Shop.example.com.", "shop.example.com", true);
        check("shop.example.com", "*.example.com", true);
        check("a.b.EXAMPLE.com", "*.example.com", true);
        check("example.com", "*.example.com", false);
        check(".example.com", "*.example.com", false);
        check("badexample.com", "*.example.com", false);
        check("", "*.example.com", false);
    }

    #[test]
    fn a_host_covers_those_below_it() {
        let key = |host: &str| HostKey::of((host != "*").then_some(host));
        let check = |a: &str, b: &str, expected| {
            assert_eq!(key(a).covers(&key(b)), expected, "{a} {b}");
        };
        check("*", "*.x", true);
        check("*.x", "a.x", true);
        check("*.x", "*.a.x", true);
        check("*.x", "*.x", true);
        check("*.a.x", "*.x", false);
        check("*.x", "x", false);
        check("a", "b", false);
        check("a", "*", false);
    }
}
