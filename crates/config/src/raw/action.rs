//! What routes do besides sending requests on: redirects, fixed replies, rewrites, edits of headers,
//! injected faults.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, Percent};
use crate::yaml::{Entries, Field, WordOr};

/// Where clients are sent: a whole address in `to`, or the parts that differ from the address that they asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redirect {
    /// The whole address: `https://new.example.com{path}`, or a path on the same host. `{scheme}`, `{host}` (without port), `{path}` and `{query}` are the request's, `{name}` and `{1}` what the route's `path` captures; `{{` and `}}` are single braces.
    pub(crate) to: Field<String>,
    /// Another scheme.
    pub(crate) scheme: Field<Scheme>,
    /// Another host, without port. It may hold what `to` may.
    pub(crate) host: Field<String>,
    /// Another port. Absent: with another `scheme` or `host` the scheme's own, else the request's.
    pub(crate) port: Field<u64>,
    /// Another path, as in `rewrite`.
    pub(crate) path: Field<PathRewrite>,
    /// The status: 301, 302, 303, 307 or 308.
    #[schemars(extend("default" = defaults::ROUTE_REDIRECT_STATUS))]
    pub(crate) status: Field<u64>,
    /// Whether the query of the request goes along. By default it does, unless `to` has one of its own.
    #[schemars(extend("default" = true))]
    pub(crate) keep_query: Field<bool>,
}

/// A scheme of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// What is always answered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Respond {
    /// The status, 200 to 599; a redirect needs `redirect`.
    #[schemars(extend("default" = defaults::RESPOND_STATUS))]
    pub(crate) status: Field<u64>,
    /// Its content, at most 64 KiB. Answers of 204, 205 and 304 have none.
    pub(crate) body: Field<String>,
    /// What the content is.
    #[schemars(extend("default" = defaults::CONTENT_TYPE))]
    pub(crate) content_type: Field<String>,
    /// Its other header fields. Values may hold what those of `headers` may.
    #[schemars(extend("default" = {}))]
    pub(crate) headers: Field<Entries<String>>,
}

/// What upstreams get to see instead of what the client asked for. Routes, hashes and logs keep to what it asked for; the query stays as it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// The path: another prefix (`{ prefix: /v2 }`), what an expression matches (`{ regex: "^/a/(.*)", to: "/b/$1" }`), or the whole of it (`/fixed`, `/u/{id}`).
    pub(crate) path: Field<PathRewrite>,
    /// The host: a fixed one, perhaps with a port, or `upstream`: the address of the endpoint. `x-forwarded-host` keeps the client's.
    pub(crate) host: Field<String>,
}

/// Another path: the whole of it, or the part that changes.
pub(crate) type PathRewrite = WordOr<String, PathEdit>;

/// The part of a path that changes: the prefix that the route matches, or what an expression matches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PathEdit {
    /// What stands for the prefix that the route's `path` matches (`/api` of `/api/**`).
    pub(crate) prefix: Field<String>,
    /// An expression; what it matches first of the path is replaced by `to`.
    pub(crate) regex: Field<String>,
    /// With `regex`: what stands there instead. `$1` is what the first group matches, `{name}` what the route's `path` captures, `{path}` the whole path, `$$` a `$`.
    pub(crate) to: Field<String>,
}

/// What is edited of header fields.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Headers {
    /// Of the fields that upstreams get.
    pub(crate) request: Field<HeaderEdits>,
    /// Of the fields that clients get, in answers of the upstream's and in ours.
    pub(crate) response: Field<HeaderEdits>,
}

/// Edits of the fields of a head: first some are removed, then some are set, then some are added. Values may hold `{client.address}`, `{request.id}`, `{request.host}`, `{request.path}`, `{request.scheme}`, `{route}`, `{upstream}`, `{region}` and `{pop}`; `{{` and `}}` are single braces.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderEdits {
    /// Fields that get this value, whatever they had.
    #[schemars(extend("default" = {}))]
    pub(crate) set: Field<Entries<String>>,
    /// Fields that are added to those of their name.
    #[schemars(extend("default" = {}))]
    pub(crate) append: Field<Entries<String>>,
    /// Fields that are taken out.
    #[schemars(extend("default" = []))]
    pub(crate) remove: Field<Vec<Field<String>>>,
}

/// Faults that are injected into some requests, to see how what depends on them takes it. Copies get none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fault {
    /// Some requests wait before they are sent.
    pub(crate) delay: Field<Delay>,
    /// Some requests are answered with an error and never sent.
    pub(crate) abort: Field<Abort>,
}

/// A wait for some requests. It counts against the route's `timeout`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["time", "share"]))]
pub(crate) struct Delay {
    /// How long.
    pub(crate) time: Field<Duration>,
    /// The part of the requests.
    pub(crate) share: Field<Percent>,
}

/// An error for some requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["status", "share"]))]
pub(crate) struct Abort {
    /// The status, 400 to 599. A call of gRPC gets the code that stands for it.
    pub(crate) status: Field<u64>,
    /// The part of the requests.
    pub(crate) share: Field<Percent>,
}
