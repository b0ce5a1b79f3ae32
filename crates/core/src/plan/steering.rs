//! How a region is chosen: the policy, and what holds where it cannot be followed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::HashKey;
use crate::expression::Expression;
use crate::ids::{RegionIdx, UpstreamIdx};
use crate::route::RequestFacts;
use crate::standing::Dial;

/// How an upstream's regions are ordered for an attempt, and what happens when too few are usable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    /// The order.
    pub policy: Policy,
    /// When a region that has a capacity sheds what is beyond it.
    pub spill: Spill,
    /// What is done when too little is usable.
    pub panic: Panic,
    /// What keeps a client at one region. None: each request is steered on its own.
    pub affinity: Option<Affinity>,
    /// Which requests prefer which regions, whatever the policy. The first that holds counts.
    pub prefer: Box<[Preference]>,
}

/// Requests of which something holds prefer some regions: these come first of those that are as good
/// as they.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// What must hold of a request.
    pub when: Arc<Expression>,
    /// The regions, best first, each once. Never empty.
    pub regions: Box<[RegionIdx]>,
}

/// How regions are ordered.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Nearest by measured latency. Regions within `tolerance` of the nearest share the traffic, by
    /// spare capacity where all have one, else by weight.
    Latency {
        /// Width of the band in which regions count as equally near.
        tolerance: Tolerance,
        /// A region's latency counts as changed only once it differs by so much: noise moves nobody.
        hysteresis: Tolerance,
    },
    /// Lowest tier that is usable; what a tier cannot carry for lack of healthy endpoints goes to the
    /// next ones. Regions of one tier share by weight.
    Priority {
        /// How much more than its part of the load a healthy endpoint can carry, 1 or more: 1.4 keeps
        /// all of the traffic in a tier until less than 71.4 % of it are healthy.
        overprovisioning: f64,
    },
    /// Drawn in proportion to weight: at random, or by what is hashed.
    Weighted {
        /// The first of these that a request has decides for it. Empty: at random.
        hash_on: Box<[HashKey]>,
    },
    /// By capacity (GCP's waterfall, or its spray). Every region has a capacity.
    Capacity {
        /// Whether the nearest region is filled first.
        spread: Spread,
    },
    /// By the client's place: the first rule that fits it, else the region that is nearest to it.
    Geo {
        /// Tried in this order.
        rules: Box<[GeoRule]>,
    },
    /// Least load first: attempts under way against capacity, and the load that upstreams report.
    LeastLoad,
}

/// Width of the band of equal latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// So much above the nearest.
    Absolute(Duration),
    /// So many parts of the nearest's latency, 0.1 for 10 %.
    Relative(f64),
}

/// How `capacity` fills regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// The nearest region until it is full, then the next.
    #[default]
    Waterfall,
    /// All regions at once, in proportion to capacity.
    Spray,
}

/// When a region that has a capacity sheds what is beyond it, and when it takes all again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spill {
    /// Beyond this part of its capacity a region sheds the excess, and no more than that. Above 0, 1 by
    /// default.
    pub at: f64,
    /// Below this part of its capacity it takes everything again. At most `at`, 0.9 by default.
    pub back: f64,
    /// Demand is averaged over about so long (time constant). 2 s by default.
    pub smoothing: Duration,
}

/// A rule of `geo`: clients of these places prefer these regions.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoRule {
    /// ISO 3166-1 countries, two capital letters each.
    pub countries: Box<[[u8; 2]]>,
    /// Continents: AF, AN, AS, EU, NA, OC, SA.
    pub continents: Box<[[u8; 2]]>,
    /// The regions, best first. Every other one comes after them, by distance.
    pub regions: Box<[RegionIdx]>,
}

/// What is done when too little of an upstream is usable. By default nothing: the request fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panic {
    /// Below this usable part of the capacity that a request may go to (0 to 1), health is no reason
    /// any more to leave a region or an endpoint out; what is healthy still comes first. None: health
    /// is always heeded.
    pub fail_open: Option<f64>,
    /// What is answered when no region is left. None: a problem document.
    pub fallback: Option<Arc<Fallback>>,
}

/// An answer of our own in place of an upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// 200 to 599, without 304 and 204 where there is a body.
    pub status: StatusCode,
    /// Its `Location`, for a redirect.
    pub location: Option<Arc<str>>,
    /// Its `Content-Type`.
    pub content_type: Arc<str>,
    /// May be empty.
    pub body: Arc<[u8]>,
}

/// What keeps a client at one region.
#[derive(Clone, Debug, PartialEq)]
pub struct Affinity {
    /// By what a client is known.
    pub by: AffinityBy,
    /// How much is kept.
    pub scope: AffinityScope,
    /// What happens when the place is gone that a client is bound to.
    pub when_gone: WhenGone,
}

/// By what a client is known again.
#[derive(Clone, Debug, PartialEq)]
pub enum AffinityBy {
    /// The first of these that a request has is hashed. One without any is steered on its own.
    Hash(Box<[HashKey]>),
    /// A cookie that we set, which names the place.
    Cookie(Arc<AffinityCookie>),
}

/// The cookie that names a client's place.
#[derive(Clone, PartialEq, Eq)]
pub struct AffinityCookie {
    /// Its name: a token (RFC 6265 section 4.1.1).
    pub name: Arc<str>,
    /// Its `Max-Age`. None: until the browser closes.
    pub ttl: Option<Duration>,
    /// Its `Path`.
    pub path: Arc<str>,
    /// Whether it goes over TLS only.
    pub secure: bool,
    /// Its `SameSite`.
    pub same_site: SameSite,
    /// Secrets (32 bytes or more each): the first signs, all are accepted, so that they can be changed
    /// without unbinding anybody. Never empty.
    pub secrets: Box<[Arc<[u8]>]>,
}

impl fmt::Debug for AffinityCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AffinityCookie({:?}, ..)", self.name)
    }
}

/// When a browser sends a cookie along from other sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// When the user follows a link.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always; needs `Secure`.
    None,
}

/// How much affinity keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AffinityScope {
    /// The region; the endpoint is balanced.
    #[default]
    Region,
    /// The endpoint as well.
    Endpoint,
}

/// What happens when the place is gone that a client is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenGone {
    /// It is bound to another one, and stays there.
    #[default]
    Rebind,
    /// Another one serves it until its own is back.
    Temporary,
    /// Its requests fail.
    Strict,
}

/// What a region is to an upstream while others serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Standby {
    /// It serves like any other.
    #[default]
    Hot,
    /// It is probed and connections to it are kept, and it serves when the others do not suffice.
    Warm,
    /// The same, but it has to be started first, and serves only once it is healthy.
    Cold(Arc<ColdStart>),
}

/// How a cold region is started.
#[derive(Clone, Debug, PartialEq)]
pub struct ColdStart {
    /// It is started when less than this part (0 to 1) of what serves before it is usable.
    pub below: f64,
    /// What is done.
    pub by: Starter,
    /// What is done is given up after this, and done again after as long.
    pub timeout: Duration,
}

/// What starts a cold region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starter {
    /// A program with its arguments, run without a shell. It gets the names of the upstream and the
    /// region in `TIDEGATE_UPSTREAM` and `TIDEGATE_REGION`. Never empty.
    Command(Box<[Arc<str>]>),
    /// An `http` or `https` address that is sent a POST with a JSON object of the same names.
    Webhook(Arc<str>),
}

/// Whether load or failure may move a route's requests to another region than steering prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Both may.
    #[default]
    Off,
    /// Failure may, load may not: nothing spills.
    Nearest,
    /// Neither may: the request fails where its region does.
    Strict,
}

/// How a route's requests are split between upstreams.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The upstreams with their weights; at least one weight is above 0.
    pub targets: Box<[SplitTarget]>,
    /// The first of these that a request has decides for it, so that a client sees one version.
    /// Empty: drawn at random.
    pub hash_on: Box<[HashKey]>,
}

/// One upstream of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitTarget {
    /// Which upstream.
    pub upstream: UpstreamIdx,
    /// Its share; 0: none.
    pub weight: u32,
}

/// A copy of some of a route's requests for another upstream, whose answers nobody sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror {
    /// Which upstream.
    pub upstream: UpstreamIdx,
    /// The part of the requests that is copied.
    pub share: Dial,
    /// Requests with longer bodies (bytes) are not copied.
    pub max_body: u64,
}

impl Policy {
    /// The policy's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Priority { .. } => "priority",
            Self::Weighted { .. } => "weighted",
            Self::Capacity { .. } => "capacity",
            Self::Geo { .. } => "geo",
            Self::LeastLoad => "least_load",
        }
    }

    /// `priority` with the overprovisioning that Envoy uses.
    pub fn priority() -> Self {
        Self::Priority {
            overprovisioning: 1.4,
        }
    }

    /// `weighted` at random.
    pub fn weighted() -> Self {
        Self::Weighted {
            hash_on: Box::default(),
        }
    }

    /// `latency` with this tolerance and the usual hysteresis.
    pub fn latency(tolerance: Tolerance) -> Self {
        Self::Latency {
            tolerance,
            hysteresis: Tolerance::HYSTERESIS,
        }
    }
}

impl Tolerance {
    /// The default hysteresis of `latency`.
    pub const HYSTERESIS: Self = Self::Relative(0.05);
}

impl Default for Policy {
    fn default() -> Self {
        Self::latency(Tolerance::Absolute(Duration::from_millis(10)))
    }
}

impl Preference {
    /// The place of a region among those that are preferred, from 0.
    #[cold]
    pub fn place_of(&self, region: RegionIdx) -> Option<u8> {
        let at = self.regions.iter().position(|one| *one == region)?;
        u8::try_from(at).ok()
    }
}

impl Steering {
    /// The position of the first preference that holds of `request`.
    pub fn preference_of(&self, request: &impl RequestFacts) -> Option<u8> {
        let mut rules = self.prefer.iter();
        let found = rules.position(|rule| rule.when.holds(request))?;
        u8::try_from(found).ok()
    }
}

impl From<Policy> for Steering {
    fn from(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }
}

impl Default for Spill {
    fn default() -> Self {
        Self {
            at: 1.0,
            back: 0.9,
            smoothing: Duration::from_secs(2),
        }
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            upstream: UpstreamIdx(0),
            share: Dial::FULL,
            max_body: 1 << 20,
        }
    }
}
