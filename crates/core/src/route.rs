//! Which route a request takes.
//!
//! The most specific match wins, and the earlier of two equals: host (exact, then the longest
//! wildcard suffix, then any), then path (exact, then the longest prefix), then the number of
//! further conditions (methods, headers). Routes are found by hash of the host and a trie of path
//! segments, so the cost grows with the request, not with the number of routes; only routes that
//! share host and path are gone through one by one.
//!
//! Paths are compared byte for byte, as the client wrote them: nothing is decoded or normalised, so
//! `//`, `%2F`, `.` and `..` match literally, and what matched is what the upstream gets to see.

mod index;
mod shadow;

use std::sync::Arc;
use std::time::SystemTime;

use http::Method;

use crate::expression::Expression;
use crate::hash::KeyFacts;
use crate::ids::RouteIdx;

pub use index::RouteTable;
pub use shadow::shadowed;

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
    /// Header fields that must be present with this value.
    pub headers: Box<[(http::HeaderName, Arc<str>)]>,
    /// What else must hold, as an expression says it.
    pub when: Option<Arc<Expression>>,
}

/// What a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this, byte for byte.
    Exact(Arc<str>),
    /// This path and everything below it, by whole segments: `/api` matches `/api` and `/api/x`,
    /// not `/apix`. One `/` at the end makes no difference; `/` matches everything.
    Prefix(Arc<str>),
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
    /// Whether the conditions beside host and path hold.
    fn conditions_hold(&self, request: &impl RequestFacts) -> bool {
        (self.methods.is_empty() || self.methods.contains(request.method()))
            && self
                .headers
                .iter()
                .all(|(name, value)| request.has_header(name, value))
            && self.when.as_ref().is_none_or(|when| when.holds(request))
    }

    /// How many conditions there are beside host and path; a list of methods is one.
    fn conditions(&self) -> usize {
        usize::from(!self.methods.is_empty())
            + self.headers.len()
            + usize::from(self.when.is_some())
    }

    fn host_key(&self) -> HostKey {
        let host = self
            .host
            .as_deref()
            .unwrap_or("*")
            .trim_end_matches('.')
            .to_ascii_lowercase();
        match host.strip_prefix("*.") {
            Some(below) => HostKey::Below(below.into()),
            None if host.is_empty() || host == "*" => HostKey::Any,
            None => HostKey::Exact(host.into()),
        }
    }
}

/// Takes the first segment off a path, with the slash before it: `/api`, then `/x`. A slash at the
/// end is a segment of its own, so that `/api/` is not `/api`; a path without one (`*`) is too.
fn split_segment(path: &str) -> Option<(&str, &str)> {
    let after_first = path.as_bytes().get(1..)?;
    let end = after_first
        .iter()
        .position(|&byte| byte == b'/')
        .map_or(path.len(), |at| at + 1);
    path.split_at_checked(end)
}

/// A prefix without the slash at its end: `/` becomes empty and has no segment.
fn prefix_key(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// Sorts the routes of one place: more conditions first, then the earlier.
fn by_rank(routes: &[&RouteMatch], group: &mut [RouteIdx]) {
    group.sort_by_key(|&route| (std::cmp::Reverse(routes[route.get()].conditions()), route));
}
