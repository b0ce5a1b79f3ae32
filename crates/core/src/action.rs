//! What actions of a route come to for a request: the path that upstreams get, the address to which a
//! client is sent, the value of a field, the fault that is drawn.
//!
//! What comes of it is written into heads, so it never holds what a head must not: whatever a path may
//! not hold is escaped, dot segments that a rewrite would move are refused, what stands for a host
//! cannot become another one, and lengths are bounded. Nothing here looks at more than it is given.

mod fault;
mod path;
mod redirect;
mod template;
mod told;

use std::fmt;
use std::sync::Arc;

use crate::route::Captures;

pub use fault::Injected;
pub use path::{PathRewrite, TARGET_MAX, is_origin_form};
pub use template::{InvalidTemplate, Piece, Template};
pub use told::Acted;

/// Why a request cannot be rewritten or redirected. Its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The path would have a segment `.` or `..`, which would name another place than it did.
    #[error("the rewritten path would have a dot segment")]
    DotSegment,
    /// Longer than [`TARGET_MAX`].
    #[error("the rewritten target would be longer than {TARGET_MAX} bytes")]
    TooLong,
    /// It has no host, and the address needs one.
    #[error("the request has no host to be sent to")]
    NoHost,
}

/// A part of the path that a match or an expression captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Its name as it is written: `id` of `/users/{id}`, its number, or `$1`.
    pub name: Arc<str>,
    /// Its number, from 1.
    pub at: usize,
}

impl Capture {
    /// What it stands for among those that were captured; empty if it is not there.
    fn of<'a>(&self, captured: &Captures<'a>) -> &'a str {
        captured.number(self.at).unwrap_or_default()
    }
}

/// What is filled into an address or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hole {
    /// `{scheme}`: the request's, as the client sees it.
    Scheme,
    /// `{host}`: the request's, without port.
    Host,
    /// `{path}`: the request's, as it is written.
    Path,
    /// `{query}`: the request's, as it is written, without `?`.
    Query,
    /// `{name}` or `{1}`: what the route's match captured of the path.
    Captured(Capture),
    /// `$1`: what a group of the rewrite's own expression captured.
    Group(Capture),
}

/// What is filled into the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `{client.address}`: the client's IP address, as it is told to upstreams.
    ClientAddress,
    /// `{request.id}`: the request's id.
    RequestId,
    /// `{request.host}`: the host that the client asked for, with its port.
    RequestHost,
    /// `{request.path}`: the path that the client asked for.
    RequestPath,
    /// `{request.scheme}`: `https` or `http`.
    RequestScheme,
    /// `{route}`: the route's name.
    Route,
    /// `{upstream}`: the upstream's name; `none` where the route answers.
    Upstream,
    /// `{region}`: the region of the attempt, or of the answer; `none` where no region answered.
    Region,
    /// `{pop}`: the name of this PoP.
    Pop,
}

impl Word {
    /// Every word.
    pub const ALL: [Self; 9] = [
        Self::ClientAddress,
        Self::RequestId,
        Self::RequestHost,
        Self::RequestPath,
        Self::RequestScheme,
        Self::Route,
        Self::Upstream,
        Self::Region,
        Self::Pop,
    ];

    /// How it is written between braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientAddress => "client.address",
            Self::RequestId => "request.id",
            Self::RequestHost => "request.host",
            Self::RequestPath => "request.path",
            Self::RequestScheme => "request.scheme",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Region => "region",
            Self::Pop => "pop",
        }
    }

    /// The word that is written so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == name)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.as_str())
    }
}

impl Hole {
    /// Those that need no match, as they are written between braces.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("scheme", Self::Scheme),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
    ];
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Captured(capture) => write!(f, "{{{}}}", capture.name),
            Self::Group(capture) => f.write_str(&capture.name),
            named => {
                let name = Self::NAMED.iter().find(|(_, hole)| hole == named);
                write!(f, "{{{}}}", name.map_or("", |(name, _)| name))
            }
        }
    }
}
