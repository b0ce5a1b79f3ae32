//! What a route does besides sending requests on: it answers by itself, rewrites what upstreams get to
//! see, edits fields, or injects faults. What each of it comes to for a request is reckoned in
//! [`action`](crate::action).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::action::{Hole, PathRewrite, Template, Word};
use crate::standing::Dial;

/// Everything that a route does besides sending requests on. A route that does nothing of it has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actions {
    /// What it answers by itself. Exactly those routes have one that have no upstream.
    pub reply: Option<Reply>,
    /// How the path is rewritten that upstreams get.
    pub path: Option<PathRewrite>,
    /// What upstreams get as the host. None: the client's.
    pub host: Option<HostRewrite>,
    /// What is edited of the fields that upstreams get.
    pub request: FieldEdits,
    /// What is edited of the fields that clients get.
    pub response: FieldEdits,
    /// What is injected.
    pub fault: Fault,
}

/// What a route answers by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Clients are sent elsewhere.
    Redirect(Redirect),
    /// Always the same.
    Respond(Respond),
}

/// Where clients are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The address.
    pub to: RedirectTo,
    /// Whether the request's query goes along.
    pub keep_query: bool,
}

/// The address to which clients are sent.
#[derive(Clone, Debug, PartialEq)]
pub enum RedirectTo {
    /// The whole of it.
    Url(UrlTemplate),
    /// The request's own, but for some parts.
    Parts(UrlParts),
}

/// An address with holes, cut where a query can be put in.
#[derive(Clone, Debug, PartialEq)]
pub struct UrlTemplate {
    /// Up to where the host ends: `https://{host}`. Empty for an address on the same host.
    pub origin: Template<Hole>,
    /// From the path on, the query included if there is one.
    pub rest: Template<Hole>,
    /// What follows `#`.
    pub fragment: Option<Arc<str>>,
}

/// Parts of an address that differ from those of the request. At least one is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UrlParts {
    /// `http` or `https`.
    pub scheme: Option<&'static str>,
    /// Host without port.
    pub host: Option<Template<Hole>>,
    /// Port. None: the scheme's own, if scheme or host are others.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathRewrite>,
}

/// An answer that is always the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// 200 to 599; without content at 204, 205 and 304.
    pub status: StatusCode,
    /// Its `Content-Type`, if it has content.
    pub content_type: Arc<str>,
    /// May be empty; at most 64 KiB.
    pub body: Arc<[u8]>,
    /// Its other fields.
    pub fields: Box<[Edit]>,
}

/// What upstreams get as the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// Always this: a host, perhaps with a port.
    Fixed(Arc<str>),
    /// The address of the endpoint that the attempt goes to.
    Upstream,
}

/// What is edited of the fields of a head: first some are taken out, then some are set, then some added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldEdits {
    /// Fields that are taken out.
    pub remove: Box<[HeaderName]>,
    /// Fields that have this value and no other.
    pub set: Box<[Edit]>,
    /// Fields that are added to those of their name.
    pub append: Box<[Edit]>,
}

/// A field and what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Its name. None that a connection, its framing or we ourselves need.
    pub name: HeaderName,
    /// Its value.
    pub value: Template<Word>,
}

/// What is injected into requests, for tests of what depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fault {
    /// Some wait before anything is attempted for them.
    pub delay: Option<Delay>,
    /// Some are answered with an error, and nothing is attempted for them.
    pub abort: Option<Abort>,
}

/// A wait for some requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    /// How long.
    pub time: Duration,
    /// For which part of them.
    pub share: Dial,
}

/// An error for some requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Abort {
    /// 400 to 599.
    pub status: StatusCode,
    /// For which part of them.
    pub share: Dial,
}

impl FieldEdits {
    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.append.is_empty()
    }

    /// Whether a field of this name, in any case, stays out of what goes on: it is taken out, or it
    /// is given another value. Underscores count as hyphens, because CGI-like services read them so: a
    /// client's `x_user` would be taken for the `x-user` that is set.
    pub fn drops(&self, name: &[u8]) -> bool {
        let is_it = |edited: &HeaderName| reads_as(edited.as_str().as_bytes(), name);
        self.remove.iter().any(is_it) || self.set.iter().any(|edit| is_it(&edit.name))
    }

    /// What is written: what is set, then what is added.
    pub fn written(&self) -> impl Iterator<Item = &Edit> + Clone {
        self.set.iter().chain(&self.append)
    }
}

impl Fault {
    /// Whether nothing is ever injected.
    pub fn is_none(&self) -> bool {
        self.delay.is_none() && self.abort.is_none()
    }
}

/// Whether two names are one to those who read underscores as hyphens, and no case.
fn reads_as(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(plain).eq(other.iter().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_edited_however_its_name_is_written() {
        let edits = FieldEdits {
            remove: [HeaderName::from_static("x-internal")].into(),
            set: [Edit {
                name: HeaderName::from_static("x_user"),
                value: Template::parse("robot", Word::named).unwrap(),
            }]
            .into(),
            append: [].into(),
        };
        for name in ["x-internal", "X-Internal", "x_internal", "X_INTERNAL"] {
            assert!(edits.drops(name.as_bytes()), "{name}");
        }
        for name in ["x-user", "x_user"] {
            assert!(edits.drops(name.as_bytes()), "{name}");
        }
        for name in ["x-internals", "xinternal", "x-use", ""] {
            assert!(!edits.drops(name.as_bytes()), "{name}");
        }
    }
}
