//! The question put to steering ([`View`], [`Eligibility`]) and its answer ([`Decision`]).
//!
//! A decision is the ordered list of candidates and, for every region that is not on it, why not.
//! The access log, `explain` and the dashboard print this same record. Everything is inline:
//! deciding allocates nothing.

use std::time::Duration;

use arrayvec::ArrayVec;
use serde::Serialize;

use crate::ids::{MAX_REGIONS, RegionIdx, RegionSet};
use crate::plan::{Isolation, Steering, WhenGone};
use crate::standing::{Dial, Standing};
use crate::termination::Termination;

/// What steering sees of one upstream at one moment.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The policy.
    pub steering: &'a Steering,
    /// One row per region of the upstream, in the plan's order.
    pub rows: ArrayVec<RegionRow, MAX_REGIONS>,
}

/// What steering sees of one region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionRow {
    /// Which region.
    pub region: RegionIdx,
    /// Its position among the upstream's regions.
    pub position: u8,
    /// What draws know it by for requests that stay together: a hash of its name, so that they stay
    /// together across plans and processes.
    pub key: u64,
    /// How it stands.
    pub standing: Standing,
    /// Whether an operator drains it.
    pub draining: bool,
    /// Endpoints that may take an attempt now, those already tried left out. Counting stops at the
    /// first on the hot path, because steering only asks whether there is one.
    pub endpoints: u32,
    /// Whether it has none only because something is at a bound of `circuit_breaker`: its endpoints,
    /// or the region as a whole.
    pub full: bool,
    /// Whether it has no such endpoint, and one that only its health keeps from the attempt. Asked
    /// only of upstreams that fail open.
    pub ailing: bool,
    /// Measured latency, held steady against noise: see `Allotment::latency`, `RegionCell::latency`.
    pub latency: Option<Duration>,
    /// Great-circle distance from this PoP in kilometres, if both locations are known.
    pub distance_km: Option<f64>,
    /// The same from the client, under `geo` only.
    pub client_km: Option<f64>,
    /// Its place in the rule of `geo` that fits the client, best first; none if it has none.
    pub named: Option<u8>,
    /// Its place among the regions that the request prefers, best first, whatever the policy; none if it
    /// is none of them.
    pub preferred: Option<u8>,
    /// Whether that is an operator's order, which goes before what the request prefers.
    pub ordered: bool,
    /// Share under `weighted`, and within a band or tier.
    pub weight: u32,
    /// Tier under `priority`.
    pub tier: u16,
    /// Whether it serves only where others do not suffice.
    pub standby: bool,
    /// Whether it has to be started first, and is not known to be healthy yet.
    pub cold: bool,
    /// The part of its share that an operator lets it take.
    pub dial: Dial,
    /// The part of what is offered to it that it takes; the rest is beyond its capacity.
    pub take: Dial,
    /// Requests a second that it can serve for this PoP; 0 if it was not told.
    pub capacity: f32,
    /// Of them, those that it could still take; none if it was not told.
    pub spare: Option<f32>,
    /// The usable part of its endpoints' weight that is not degraded.
    pub healthy: Dial,
    /// The usable part of its endpoints' weight that is degraded.
    pub degraded: Dial,
    /// Attempts under way, and the utilization that its endpoints report (0 to 1), if they do: under
    /// `least_load` only.
    pub load: (u32, Option<f32>),
}

impl RegionRow {
    /// A region of which nothing is known and against which nothing speaks.
    pub const fn new(region: RegionIdx, position: u8) -> Self {
        Self {
            region,
            position,
            key: region.0 as u64,
            standing: Standing::UNKNOWN,
            draining: false,
            endpoints: 1,
            full: false,
            ailing: false,
            latency: None,
            distance_km: None,
            client_km: None,
            named: None,
            preferred: None,
            ordered: false,
            weight: 1,
            tier: 0,
            standby: false,
            cold: false,
            dial: Dial::FULL,
            take: Dial::FULL,
            capacity: 0.0,
            spare: None,
            healthy: Dial::FULL,
            degraded: Dial::NONE,
            load: (0, None),
        }
    }
}

/// What narrows the choice for one attempt of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eligibility {
    /// Regions that residency allows. Nothing ever overrides it.
    pub allowed: RegionSet,
    /// Regions that the attempt may go to; a retry that must stay in its region has one here.
    pub within: RegionSet,
    /// Regions that this request must not try again.
    pub tried: RegionSet,
    /// Regions whose answers usually take longer than the time that is left. None for a first attempt.
    pub too_slow: RegionSet,
    /// Whether the attempt, should it fail, can be made again elsewhere: only such ones try out a
    /// region that comes back.
    pub repeatable: bool,
    /// Whether load or failure may move the request to another region than steering prefers.
    pub isolation: Isolation,
    /// What speaks for one region before steering does.
    pub pin: Option<Pin>,
    /// What decides instead of chance where regions share, for requests that stay together.
    pub sticky: Option<u64>,
}

impl Eligibility {
    /// Nothing narrows the choice.
    pub const ANY: Self = Self {
        allowed: RegionSet::ALL,
        within: RegionSet::ALL,
        tried: RegionSet::EMPTY,
        too_slow: RegionSet::EMPTY,
        repeatable: true,
        isolation: Isolation::Off,
        pin: None,
        sticky: None,
    };
}

/// A region that a request is to go to, whatever steering says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which region.
    pub region: RegionIdx,
    /// XXH64 of the address of its endpoint, if that is named too.
    pub endpoint: Option<u64>,
    /// Who says so.
    pub by: PinnedBy,
}

/// Who pins a request to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedBy {
    /// A trusted peer, by the `tidegate-region` field: the region comes first, if it may be used.
    Override,
    /// Affinity, and what it does when the region may not be used.
    Affinity(WhenGone),
}

/// The ordered candidates, and why the others are not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Best first.
    pub candidates: ArrayVec<Candidate, MAX_REGIONS>,
    /// Everyone else.
    pub excluded: ArrayVec<Excluded, MAX_REGIONS>,
    /// Whether so little is usable that health excludes nobody: what is out of order comes last.
    pub panic: bool,
}

/// One region that may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which region.
    pub region: RegionIdx,
    /// Its position among the upstream's regions.
    pub position: u8,
    /// Why it stands where it stands.
    pub because: Because,
}

/// One region that may not be used, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Which region.
    pub region: RegionIdx,
    /// Why not.
    pub why: Exclusion,
}

/// Why a candidate has its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The nearest by measured latency.
    Nearest,
    /// Within the tolerance of the nearest; drawn among equals.
    WithinTolerance,
    /// Farther than the nearest.
    Farther,
    /// Not measured yet: ranked by distance or by the configured order.
    Unmeasured,
    /// The lowest usable tier, or a higher one behind it.
    Tier,
    /// Drawn by weight.
    Weight,
    /// It comes back and is being tried, with this attempt among others.
    Probation,
    /// It comes back, and the attempt belongs to the part of its share that it takes by now.
    Ramp,
    /// Usable, but degraded: behind every healthy one.
    Degraded,
    /// It comes back, and the attempt does not belong to the part of its share that it takes by now.
    HeldBack,
    /// It has fallen silent: behind all others until that is found out.
    Suspected,
    /// A retry that stays in its region, at another endpoint.
    Stay,
    /// A trusted peer named it.
    Override,
    /// The client is bound to it.
    Affinity,
    /// Drawn by the hash of the request, by weight.
    Hash,
    /// By capacity, or by what of it is spare.
    Capacity,
    /// An operator has put it into an order.
    Ordered,
    /// The request is of those that prefer it.
    Preferred,
    /// A rule for the client's place names it.
    GeoRule,
    /// By its distance from the client.
    Distance,
    /// The least loaded, or a more loaded one behind it.
    LeastLoad,
    /// It takes part, and this attempt is beyond its capacity: behind those that have room.
    Shed,
    /// An operator dials it down, and this attempt is not of the part that it takes.
    DialedDown,
    /// It stands by: behind all that serve.
    Standby,
    /// It is out of order, and so is too much else: better than nothing.
    Panic,
}

/// Why a region is no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The route's residency does not allow its jurisdictions.
    Residency,
    /// It is down.
    Unhealthy,
    /// It is being drained.
    Draining,
    /// Its answers usually take longer than the time that the request has left. First attempts go
    /// there all the same.
    TooSlow,
    /// It has no endpoint that may take the attempt.
    NoEndpoint,
    /// It, or every endpoint that could take the attempt, is at a bound of `circuit_breaker`.
    Full,
    /// The attempt has to stay in another region.
    Scope,
    /// This request tried it already.
    Tried,
    /// Its weight is 0: it takes failovers only.
    NoWeight,
    /// It is dialed to 0.
    DialedOut,
    /// It is cold: it has to be started, and to be healthy.
    Cold,
    /// The route's isolation forbids to leave the region that steering prefers.
    Isolation,
    /// The client is bound to another region, strictly.
    Affinity,
}

impl Decision {
    /// The regions that shed the attempt that the first candidate takes. None if that one was not asked,
    /// and so nobody was offered the attempt before it ([`Because::is_bound`]).
    pub fn shed(&self) -> impl Iterator<Item = &Candidate> {
        let others = match self.candidates.split_first() {
            Some((first, others)) if !first.because.is_bound() => others,
            _ => &[],
        };
        others.iter().filter(|one| one.because == Because::Shed)
    }

    /// Why a request without a candidate ends: residency when that alone left no region; a region that
    /// is full before those that are down, because it would have served, and then one for which the
    /// time is too short. Where strict affinity or isolation kept it from the other regions, that is
    /// what it ends by.
    pub fn termination(&self) -> Termination {
        let forbidden = |excluded: &Excluded| excluded.why == Exclusion::Residency;
        match () {
            () if self.excluded.iter().all(forbidden) => Termination::ResidencyBlocked,
            () if self.excludes(Exclusion::Full) => Termination::UpstreamFull,
            () if self.excludes(Exclusion::TooSlow) => Termination::DeadlineExceeded,
            () if self.excludes(Exclusion::Affinity) => Termination::AffinityLost,
            () if self.excludes(Exclusion::Isolation) => Termination::Isolated,
            () => Termination::NoHealthyRegion,
        }
    }

    fn excludes(&self, why: Exclusion) -> bool {
        self.excluded.iter().any(|excluded| excluded.why == why)
    }
}

impl Because {
    /// Whether the attempt has to be there: a peer or a bond names the region, or a retry stays in it.
    pub fn is_bound(self) -> bool {
        matches!(self, Self::Affinity | Self::Override | Self::Stay)
    }

    /// Every reason, for documents.
    pub const ALL: [Self; 25] = [
        Self::Nearest,
        Self::WithinTolerance,
        Self::Farther,
        Self::Unmeasured,
        Self::Tier,
        Self::Weight,
        Self::Probation,
        Self::Ramp,
        Self::Degraded,
        Self::HeldBack,
        Self::Suspected,
        Self::Stay,
        Self::Override,
        Self::Affinity,
        Self::Hash,
        Self::Capacity,
        Self::Ordered,
        Self::Preferred,
        Self::GeoRule,
        Self::Distance,
        Self::LeastLoad,
        Self::Shed,
        Self::DialedDown,
        Self::Standby,
        Self::Panic,
    ];

    /// The word for logs and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::WithinTolerance => "within_tolerance",
            Self::Farther => "farther",
            Self::Unmeasured => "unmeasured",
            Self::Tier => "tier",
            Self::Weight => "weight",
            Self::Probation => "probation",
            Self::Ramp => "ramp",
            Self::Degraded => "degraded",
            Self::HeldBack => "held_back",
            Self::Suspected => "suspected",
            Self::Stay => "stay",
            Self::Override => "override",
            Self::Affinity => "affinity",
            Self::Hash => "hash",
            Self::Capacity => "capacity",
            Self::Ordered => "ordered",
            Self::Preferred => "preferred",
            Self::GeoRule => "geo_rule",
            Self::Distance => "distance",
            Self::LeastLoad => "least_load",
            Self::Shed => "shed",
            Self::DialedDown => "dialed_down",
            Self::Standby => "standby",
            Self::Panic => "panic",
        }
    }
}

impl Exclusion {
    /// Every reason, for documents.
    pub const ALL: [Self; 13] = [
        Self::Residency,
        Self::Unhealthy,
        Self::Draining,
        Self::TooSlow,
        Self::NoEndpoint,
        Self::Full,
        Self::Scope,
        Self::Tried,
        Self::NoWeight,
        Self::DialedOut,
        Self::Cold,
        Self::Isolation,
        Self::Affinity,
    ];

    /// The word for logs and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Residency => "residency",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::TooSlow => "too_slow",
            Self::NoEndpoint => "no_endpoint",
            Self::Full => "full",
            Self::Scope => "scope",
            Self::Tried => "tried",
            Self::NoWeight => "no_weight",
            Self::DialedOut => "dialed_out",
            Self::Cold => "cold",
            Self::Isolation => "isolation",
            Self::Affinity => "affinity",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_their_serialised_form() {
        for because in Because::ALL {
            let json = serde_json::to_string(&because).expect("a word");
            assert_eq!(json, format!("\"{}\"", because.as_str()));
        }
        for why in Exclusion::ALL {
            let json = serde_json::to_string(&why).expect("a word");
            assert_eq!(json, format!("\"{}\"", why.as_str()));
        }
    }

    #[test]
    fn no_two_reasons_are_told_alike() {
        let because: HashSet<_> = Because::ALL.iter().map(|it| it.told()).collect();
        assert_eq!(because.len(), Because::ALL.len());
        let why: HashSet<_> = Exclusion::ALL.iter().map(|it| it.told()).collect();
        assert_eq!(why.len(), Exclusion::ALL.len());
    }

    #[test]
    fn residency_is_blamed_only_when_it_left_no_region_and_bounds_before_the_dead() {
        let check = |reasons: &[Exclusion], expected| {
            let excluded = reasons.iter().map(|&why| Excluded {
                region: RegionIdx(0),
                why,
            });
            let decision = Decision {
                excluded: excluded.collect(),
                ..Decision::default()
            };
            assert_eq!(decision.termination(), expected, "{reasons:?}");
        };
        check(&[Exclusion::Residency; 2], Termination::ResidencyBlocked);
        check(
            &[Exclusion::Residency, Exclusion::Unhealthy],
            Termination::NoHealthyRegion,
        );
        check(&[Exclusion::Draining], Termination::NoHealthyRegion);
        check(
            &[Exclusion::Residency, Exclusion::Unhealthy, Exclusion::Full],
            Termination::UpstreamFull,
        );
        check(
            &[Exclusion::Unhealthy, Exclusion::TooSlow],
            Termination::DeadlineExceeded,
        );
        check(
            &[Exclusion::TooSlow, Exclusion::Full],
            Termination::UpstreamFull,
        );
        check(
            &[Exclusion::Unhealthy, Exclusion::Affinity],
            Termination::AffinityLost,
        );
        check(
            &[Exclusion::Full, Exclusion::Affinity],
            Termination::UpstreamFull,
        );
        check(
            &[Exclusion::Residency, Exclusion::Affinity],
            Termination::AffinityLost,
        );
        check(
            &[Exclusion::DialedOut, Exclusion::Isolation],
            Termination::Isolated,
        );
        check(
            &[Exclusion::Cold, Exclusion::DialedOut],
            Termination::NoHealthyRegion,
        );
    }
}
