//! Routes: which requests go to which upstream, and what holds for them on the way. There are many of
//! them, so what is large and rare is boxed.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, Name, OffOrDuration, OffOrMap, Percent, Size};
use crate::raw::{
    Fault, HashOn, Headers, Hedge, Match, Redirect, ReplayScope, Respond, Resume, Rewrite,
    Validators,
};
use crate::yaml::Field;

/// A route: requests that match go to one upstream, are split between several, or are answered by the route itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["upstream"] }, { "required": ["split"] }, { "required": ["redirect"] }, { "required": ["respond"] }]))]
pub(crate) struct Route {
    /// Its unique name, for logs and metrics. By default made of the match.
    pub(crate) name: Field<String>,
    /// What it matches; everything that is given must hold. Absent: every request.
    pub(crate) r#match: Field<Match>,
    /// The upstream that serves it. Either this, `split`, `redirect` or `respond`.
    pub(crate) upstream: Field<Name>,
    /// Upstreams that share its requests, by weight: for a canary. A request stays with one of them, all its attempts included.
    pub(crate) split: Field<Vec<Field<SplitTarget>>>,
    /// With `split`: what decides about a request's upstream, the first that the request has, so that a client sees one version. One that has none, or an empty list: drawn at random.
    #[schemars(extend("default" = []))]
    pub(crate) split_on: Field<Vec<Field<HashOn>>>,
    /// An upstream that gets a copy of some requests, whose answers nobody sees. The original never waits for it.
    pub(crate) mirror: Field<Box<Mirror>>,
    /// Where its clients are sent, instead of an upstream that serves them.
    pub(crate) redirect: Field<Box<Redirect>>,
    /// What its clients are answered, instead of an upstream that serves them.
    pub(crate) respond: Field<Box<Respond>>,
    /// What upstreams get to see instead of the path and the host that the client asked for.
    pub(crate) rewrite: Field<Box<Rewrite>>,
    /// What is edited of header fields, of requests and of answers.
    pub(crate) headers: Field<Box<Headers>>,
    /// Faults that are injected into some of its requests.
    pub(crate) fault: Field<Box<Fault>>,
    /// Limit of the whole request, all attempts included, up to the response's head. What the client takes for its upload does not count.
    #[schemars(extend("default" = defaults::ROUTE_TIMEOUT))]
    pub(crate) timeout: Field<Duration>,
    /// Limit of the whole exchange, both bodies included. `timeout` is no longer than this by default.
    #[schemars(extend("default" = "off"))]
    pub(crate) max_duration: Field<OffOrDuration>,
    /// An exchange ends when no byte of a body moves, either way, for so long.
    #[schemars(extend("default" = defaults::ROUTE_IDLE_TIMEOUT))]
    pub(crate) idle_timeout: Field<Duration>,
    /// Where its requests may go. Absent: anywhere.
    pub(crate) residency: Field<Residency>,
    /// Whether load or failure may move a request to another region than steering prefers: both (`off`), only failure (`nearest`: nothing spills), or neither (`strict`: the request fails where its region does).
    #[schemars(extend("default" = defaults::ISOLATION))]
    pub(crate) isolation: Field<Isolation>,
    /// You declare that doing any request of this route twice is the same as doing it once. Requests of any method, calls of gRPC too, may then be sent again after they may have been processed.
    #[schemars(extend("default" = false))]
    pub(crate) idempotent: Field<bool>,
    /// The same for those requests that carry an `Idempotency-Key` header.
    #[schemars(extend("default" = false))]
    pub(crate) idempotency_key: Field<bool>,
    /// Where a request that may have been processed may be sent again: within its `region`, anywhere (`global`), or `auto`: within its region if only its `Idempotency-Key` makes it repeatable (another region has usually not seen the key), else anywhere.
    #[schemars(extend("default" = defaults::REPLAY_SCOPE))]
    pub(crate) replay_scope: Field<ReplayScope>,
    /// Request header in which clients say how much time they give: whole milliseconds (`1500`), or a number and a unit (`1.5s`). It shortens `timeout` (from clients that the listener trusts it may also be longer), and upstreams get what is left. 0 means that no time is left; what is not understood goes no further. `grpc-timeout` always counts for calls of gRPC, whose time includes their streams.
    pub(crate) deadline_header: Field<String>,
    /// Whether the answer to a GET whose upstream dies is continued from another region, with `Range` and `If-Range`, if that provably gives the same bytes: `auto` or `off`.
    #[schemars(extend("default" = defaults::RESUME))]
    pub(crate) resume: Field<Resume>,
    /// What proves that two regions have the same bytes: a strong ETag alone (`etag`), or Last-Modified too (`global`: it means the same in all regions).
    #[schemars(extend("default" = defaults::VALIDATORS))]
    pub(crate) validators: Field<Validators>,
    /// When a second attempt is made beside a slow one; `off`: never for slowness alone.
    #[schemars(extend("default" = "off"))]
    pub(crate) hedge: Field<OffOrMap<Hedge>>,
    /// Response headers that tell how a request was served.
    pub(crate) reveal: Field<Reveal>,
}

/// One of the upstreams that share a route's requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["upstream"]))]
pub(crate) struct SplitTarget {
    /// The upstream.
    pub(crate) upstream: Field<Name>,
    /// Its share; 0: none.
    #[schemars(extend("default" = defaults::WEIGHT))]
    pub(crate) weight: Field<u64>,
}

/// An upstream that gets a copy of some requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["upstream"]))]
pub(crate) struct Mirror {
    /// The upstream. The route's residency holds for it too.
    pub(crate) upstream: Field<Name>,
    /// The part of the requests that is copied.
    #[schemars(extend("default" = defaults::MIRROR_SHARE))]
    pub(crate) share: Field<Percent>,
    /// Requests with longer bodies are not copied; at most `64MiB`.
    #[schemars(extend("default" = defaults::MIRROR_BODY))]
    pub(crate) max_body: Field<Size>,
}

/// Whether load or failure may move a request to another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Isolation {
    Off,
    Nearest,
    Strict,
}

/// Where the requests of a route may go. It holds for every attempt; when no allowed region is usable the request fails.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["allow"]))]
pub(crate) struct Residency {
    /// Jurisdictions: only regions with at least one of them are used.
    pub(crate) allow: Field<Vec<Field<Name>>>,
}

/// Response headers that tell how a request was served.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reveal {
    /// `tidegate-region`: the region that answered.
    #[schemars(extend("default" = false))]
    pub(crate) region: Field<bool>,
    /// `tidegate-attempts`: how many attempts it took.
    #[schemars(extend("default" = false))]
    pub(crate) attempts: Field<bool>,
    /// `server-timing`: where the time went.
    #[schemars(extend("default" = false))]
    pub(crate) server_timing: Field<bool>,
}
