//! Steering: how a region is chosen, what is done when too little is usable, what keeps a client at
//! one region.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::HashOn;
use crate::raw::text::{
    Duration, Expression, Name, OffOrDuration, OffOrMap, OffOrPercent, Percent, Tolerance,
};
use crate::yaml::{Field, WordOr};

/// How a region is chosen.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Steering {
    /// `latency` (nearest as measured), `priority` (lowest tier that is usable), `weighted` (by weight), `capacity` (by what each region can serve), `geo` (by where the client is) or `least_load` (least loaded first: attempts under way against `capacity_rps`, else `weight`, and the load that upstreams report in `endpoint-load-metrics`).
    #[schemars(extend("default" = defaults::POLICY))]
    pub(crate) policy: Field<Policy>,
    /// With `latency`: regions so much above the nearest, a duration or a percentage, count as equally near and share: by spare capacity if all of them have `capacity_rps`, else by weight.
    #[schemars(extend("default" = defaults::TOLERANCE))]
    pub(crate) tolerance: Field<Tolerance>,
    /// With `latency`: a region's latency counts as changed once it differs by so much, a duration or a percentage, so that noise moves nobody.
    #[schemars(extend("default" = defaults::HYSTERESIS))]
    pub(crate) hysteresis: Field<Tolerance>,
    /// With `priority`: how many times its part of the load a healthy endpoint can carry, 1 to 10. 1.4 keeps everything in a tier until less than 71.4% of its endpoints are healthy; below that the missing part goes to the next tiers.
    #[schemars(extend("default" = defaults::OVERPROVISIONING))]
    pub(crate) overprovisioning: Field<f64>,
    /// With `weighted`: what decides about a request's region, the first that the request has. One that has none, or an empty list: drawn at random.
    #[schemars(extend("default" = []))]
    pub(crate) hash_on: Field<Vec<Field<HashOn>>>,
    /// With `capacity`: `waterfall` (the nearest region until it is full, then the next) or `spray` (all at once, in proportion to capacity).
    #[schemars(extend("default" = defaults::SPREAD))]
    pub(crate) spread: Field<Spread>,
    /// With `geo`: which regions clients of which places prefer. The first rule that fits counts; without one the nearest region by distance comes first.
    #[schemars(extend("default" = []))]
    pub(crate) rules: Field<Vec<Field<GeoRule>>>,
    /// Which requests prefer which regions, whatever the policy. The first rule that holds counts; its regions come first where they may be used and are as good as the others, then the policy orders the rest.
    #[schemars(extend("default" = []))]
    pub(crate) prefer: Field<Vec<Field<Preference>>>,
    /// Beyond this part of its `capacity_rps` a region sheds the excess, and no more than that, to the others. With `latency`, `capacity`, `geo` and `weighted`, where a region has a capacity.
    #[schemars(extend("default" = defaults::SPILL_AT))]
    pub(crate) spill_at: Field<Percent>,
    /// Below this part of its `capacity_rps` a region takes everything again. At most `spill_at`. By default `90%`, or 90% of `spill_at` where that is less.
    #[schemars(extend("default" = defaults::RETURN_AT))]
    pub(crate) return_at: Field<Percent>,
    /// Demand is averaged over about so long (the time constant of a moving average), 10ms to 10m.
    #[schemars(extend("default" = defaults::SMOOTHING))]
    pub(crate) smoothing: Field<Duration>,
    /// What is done when too little is usable: `fail_closed` (requests fail), `fail_open` (health is no reason any more to leave a region out, once less than 50% of the capacity is usable; never beyond the route's residency), or a mapping.
    #[schemars(extend("default" = defaults::PANIC))]
    pub(crate) panic: Field<WordOr<PanicWord, Panic>>,
    /// What keeps a client at one region; `off`: each request is steered on its own.
    #[schemars(extend("default" = "off"))]
    pub(crate) affinity: Field<OffOrMap<Affinity>>,
}

/// A steering policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    Latency,
    Priority,
    Weighted,
    Capacity,
    Geo,
    LeastLoad,
}

/// How `capacity` fills regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spread {
    Waterfall,
    Spray,
}

/// Clients of these places prefer these regions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["regions"]))]
pub(crate) struct GeoRule {
    /// Countries, two capital letters each (ISO 3166-1): `DE`.
    #[schemars(extend("default" = []))]
    pub(crate) countries: Field<Vec<Field<String>>>,
    /// Continents: `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`. A rule fits by its countries or by its continents.
    #[schemars(extend("default" = []))]
    pub(crate) continents: Field<Vec<Field<String>>>,
    /// Regions of the upstream, best first. Every other one comes after them, by distance.
    pub(crate) regions: Field<Vec<Field<Name>>>,
}

/// Requests of which something holds prefer these regions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["when", "regions"]))]
pub(crate) struct Preference {
    /// What must hold of a request, as an expression in CEL: `request.headers["x-tier"] == "gold"`.
    pub(crate) when: Field<Expression>,
    /// Regions of the upstream, best first.
    pub(crate) regions: Field<Vec<Field<Name>>>,
}

/// What is done when too little is usable, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PanicWord {
    FailClosed,
    FailOpen,
}

/// What is done when too little is usable.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Panic {
    /// Below this usable part of the capacity that a request may go to, what is unhealthy is tried too, after everything that is not. `off`: never.
    #[schemars(extend("default" = "off"))]
    pub(crate) fail_open: Field<OffOrPercent>,
    /// What is answered when no region is left. Absent: a 503 that says why.
    pub(crate) fallback: Field<Fallback>,
}

/// What is answered when no region is left: a reply, or with `redirect` a redirect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fallback {
    /// Its status, 200 to 299 or 400 to 599; with `redirect` 301, 302, 303, 307 or 308. By default 503, with `redirect` 302.
    #[schemars(extend("default" = defaults::FALLBACK_STATUS))]
    pub(crate) status: Field<u64>,
    /// Its content, at most 64 KiB.
    pub(crate) body: Field<String>,
    /// What the content is.
    #[schemars(extend("default" = defaults::CONTENT_TYPE))]
    pub(crate) content_type: Field<String>,
    /// Where clients are sent instead: an `http` or `https` address, or a path.
    pub(crate) redirect: Field<String>,
}

/// What keeps a client at one region.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["by"]))]
pub(crate) struct Affinity {
    /// By what a client is known again: `client_address`, something in its requests that is hashed (`{ header: x-user }`), or `cookie`, which the proxy sets, signed, and which names the place.
    pub(crate) by: Field<AffinityBy>,
    /// With `by: cookie`: the cookie.
    pub(crate) cookie: Field<AffinityCookie>,
    /// What is kept, the `region` (endpoints are balanced as ever) or the `endpoint` too. A `balance` that hashes something itself (`ring_hash`, `maglev`) goes before the `endpoint` of a hash.
    #[schemars(extend("default" = defaults::AFFINITY_SCOPE))]
    pub(crate) scope: Field<AffinityScope>,
    /// With `by: cookie`: what happens when the place is gone: the client moves and stays there (`rebind`), is served elsewhere until it is back (`temporary`), or its requests fail (`strict`).
    #[schemars(extend("default" = defaults::WHEN_GONE))]
    pub(crate) when_gone: Field<WhenGone>,
}

/// By what a client is known again.
pub(crate) type AffinityBy = WordOr<AffinityWord, crate::raw::HashKey>;

/// By what a client is known again, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AffinityWord {
    ClientAddress,
    Cookie,
}

/// The cookie that names a client's place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["secret_files"]))]
pub(crate) struct AffinityCookie {
    /// Its name. By default `tidegate-` and the name of the upstream.
    pub(crate) name: Field<String>,
    /// How long browsers keep it, from 1s, in whole seconds. `off`: until they are closed.
    #[schemars(extend("default" = "off"))]
    pub(crate) ttl: Field<OffOrDuration>,
    /// The path below which browsers send it.
    #[schemars(extend("default" = defaults::COOKIE_PATH))]
    pub(crate) path: Field<String>,
    /// Whether browsers send it over TLS only. By default if a listener has `tls`.
    pub(crate) secure: Field<bool>,
    /// Whether browsers send it with requests from other sites: when a link is followed (`lax`), never (`strict`) or always (`none`; needs `secure`).
    #[schemars(extend("default" = defaults::SAME_SITE))]
    pub(crate) same_site: Field<SameSite>,
    /// Files with a secret each, 32 bytes or more, the same at all PoPs. The first signs, all are accepted: to change a secret without moving anybody, put the new one first and remove the old one later.
    pub(crate) secret_files: Field<Vec<Field<String>>>,
}

/// How much affinity keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AffinityScope {
    Region,
    Endpoint,
}

/// What happens when the place is gone that a client is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhenGone {
    Rebind,
    Temporary,
    Strict,
}

/// When browsers send a cookie along from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SameSite {
    Lax,
    Strict,
    None,
}
