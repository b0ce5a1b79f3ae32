//! A decision told with names, for people and for records.
//!
//! The same [`Decision`] that served a request becomes the story that `explain`, the access log and
//! the dashboard show; nothing is decided again here, so the story cannot differ from the deed.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::choose::Choice;
use crate::decision::{Because, Decision, Exclusion};
use crate::geo::Origin;
use crate::ids::{RegionIdx, RouteIdx, UpstreamIdx};
use crate::plan::{HashKey, Plan, Policy, Upstream};

/// What a policy hashes of a request that has none of its keys.
const NO_KEY: &str = "nothing: drawn at random";

/// One decision, told with names. `Display` prints it in aligned lines, without a line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The route that matched.
    pub route: Arc<str>,
    /// The upstream that it leads to.
    pub upstream: Arc<str>,
    /// The policy by which regions are ordered.
    pub steering: &'static str,
    /// Whether too little is usable to heed health (`panic: fail_open`).
    pub panic: bool,
    /// The policy by which an endpoint of the region is chosen.
    pub balance: &'static str,
    /// What of the request decides about its endpoint; none if the policy hashes nothing.
    pub hashed_on: Option<Box<str>>,
    /// Where its client is, `unknown` if nothing tells; none if steering does not ask.
    pub origin: Option<Box<str>>,
    /// The jurisdictions that the route allows; empty without a residency rule.
    pub residency: Box<[Arc<str>]>,
    /// Regions in the order in which they would be tried.
    pub candidates: Vec<Ranked>,
    /// Regions left out.
    pub excluded: Vec<LeftOut>,
    /// Where the attempt goes; none when no region is eligible.
    pub chosen: Option<Chosen>,
}

/// A candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ranked {
    /// The region's name.
    pub region: Arc<str>,
    /// Why it has its rank.
    pub because: Because,
}

/// A region that is no candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The region's name.
    pub region: Arc<str>,
    /// Why not.
    pub why: Exclusion,
}

/// The end of a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The region's name.
    pub region: Arc<str>,
    /// The endpoint's address.
    pub endpoint: Arc<str>,
}

impl Explanation {
    /// Tells `decision` and `choice`, made for a request of `route`, which is not split, with the names
    /// of `plan`. None for a route that answers by itself.
    pub fn new(
        plan: &Plan,
        route: RouteIdx,
        decision: &Decision,
        choice: Option<&Choice>,
    ) -> Option<Self> {
        let upstream = plan.route(route).upstream?;
        Some(Self::within(plan, (route, upstream), decision, choice))
    }

    /// The same of a request of a route that went to this upstream.
    pub fn within(
        plan: &Plan,
        (route, upstream): (RouteIdx, UpstreamIdx),
        decision: &Decision,
        choice: Option<&Choice>,
    ) -> Self {
        let name = |region: RegionIdx| plan.region(region).name.clone();
        let (route, upstream) = (plan.route(route), plan.upstream(upstream));
        let ranked = decision.candidates.iter();
        let left_out = decision.excluded.iter();
        Self {
            route: route.name.clone(),
            upstream: upstream.name.clone(),
            steering: upstream.steering.policy.as_str(),
            panic: decision.panic,
            balance: upstream.balance.as_str(),
            hashed_on: upstream.balance.hashing().map(|_| NO_KEY.into()),
            origin: asks_for_places(upstream).then(|| Origin::default().to_string().into()),
            residency: route.residency.clone(),
            candidates: ranked
                .map(|c| Ranked {
                    region: name(c.region),
                    because: c.because,
                })
                .collect(),
            excluded: left_out
                .map(|e| LeftOut {
                    region: name(e.region),
                    why: e.why,
                })
                .collect(),
            chosen: choice.map(|choice| Chosen {
                region: name(choice.region),
                endpoint: choice.endpoint().address.clone(),
            }),
        }
    }

    /// Adds what of the request was hashed for the choice, if there was anything.
    #[must_use]
    pub fn hashed_on(mut self, key: Option<&HashKey>) -> Self {
        if let Some(key) = key {
            self.hashed_on = Some(key.to_string().into());
        }
        self
    }

    /// Adds where the client is, if it is known and steering asks for it.
    #[must_use]
    pub fn seen_from(mut self, origin: Option<Origin>) -> Self {
        if let (Some(told), Some(origin)) = (&mut self.origin, origin) {
            *told = origin.to_string().into();
        }
        self
    }

    /// Width of the longest region name.
    fn width(&self) -> usize {
        let names = self.candidates.iter().map(|ranked| &ranked.region);
        let names = names.chain(self.excluded.iter().map(|left_out| &left_out.region));
        names.map(|name| name.chars().count()).max().unwrap_or(0)
    }
}

fn asks_for_places(upstream: &Upstream) -> bool {
    matches!(upstream.steering.policy, Policy::Geo { .. })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.width();
        writeln!(f, "route     {}", self.route)?;
        writeln!(f, "upstream  {}", self.upstream)?;
        match &self.hashed_on {
            Some(key) => writeln!(f, "balance   {} by {key}", self.balance)?,
            None => writeln!(f, "balance   {}", self.balance)?,
        }
        if let Some(origin) = &self.origin {
            writeln!(f, "client    {origin}")?;
        }
        if !self.residency.is_empty() {
            writeln!(f, "residency {}", self.residency.join(", "))?;
        }
        if self.panic {
            writeln!(
                f,
                "panic     too little is usable: health leaves nobody out"
            )?;
        }
        for (at, Ranked { region, because }) in self.candidates.iter().enumerate() {
            writeln!(f, "{:>7}.  {region:width$}  {}", at + 1, because.told())?;
        }
        for LeftOut { region, why } in &self.excluded {
            writeln!(f, "      -   {region:width$}  {}", why.told())?;
        }
        match &self.chosen {
            Some(chosen) => write!(f, "chosen    {} at {}", chosen.region, chosen.endpoint),
            None => write!(f, "chosen    none: no region is eligible"),
        }
    }
}

impl Because {
    /// The reason in words for people.
    pub fn told(self) -> &'static str {
        match self {
            Self::Nearest => "nearest by measured latency",
            Self::WithinTolerance => "as near as the nearest, within the tolerance",
            Self::Farther => "farther than the nearest",
            Self::Unmeasured => "not measured yet: ranked by distance or configured order",
            Self::Tier => "by its tier",
            Self::Weight => "drawn by weight",
            Self::Probation => "coming back: tried with a few attempts, this one among them",
            Self::Ramp => "coming back: this attempt is of the part that it takes by now",
            Self::Degraded => "degraded: after the regions that are not",
            Self::HeldBack => "coming back: this attempt is not of the part that it takes by now",
            Self::Suspected => "silent: after all others until it is known whether it is down",
            Self::Stay => "the retry stays here, at another endpoint",
            Self::Override => "named by a trusted peer",
            Self::Affinity => "the client is bound to it",
            Self::Hash => "drawn by the hash of the request, by weight",
            Self::Capacity => "by capacity",
            Self::Ordered => "put there by an operator's order",
            Self::Preferred => "preferred by a rule for requests like this one",
            Self::GeoRule => "by the rule for the client's place",
            Self::Distance => "by its distance from the client",
            Self::LeastLoad => "by its load",
            Self::Shed => "takes a part only, as it is full or not well: this attempt is not of it",
            Self::DialedDown => "dialed down: this attempt is not of the part that it takes",
            Self::Standby => "stands by: after all that serve",
            Self::Panic => "out of order, like too much else: better than nothing",
        }
    }
}

impl Exclusion {
    /// The reason in words for people.
    pub fn told(self) -> &'static str {
        match self {
            Self::Residency => "residency does not allow its jurisdictions",
            Self::Unhealthy => "down",
            Self::Draining => "being drained",
            Self::TooSlow => "its answers usually take longer than the time that is left",
            Self::NoEndpoint => "no endpoint left that may take the attempt",
            Self::Full => "full: as much is under way as its circuit_breaker allows",
            Self::Scope => "the retry must not leave its region",
            Self::Tried => "tried already",
            Self::NoWeight => "weight 0: takes failovers only",
            Self::DialedOut => "dialed to 0",
            Self::Cold => "cold: not started, or not healthy yet",
            Self::Isolation => "the route's isolation forbids to move there",
            Self::Affinity => "the client is strictly bound to another region",
        }
    }
}
