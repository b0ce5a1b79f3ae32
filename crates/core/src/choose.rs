//! One attempt's whole choice: view, eligibility, steering, balancing.
//!
//! The data plane calls [`choose`] anew for *every* attempt, so that residency, drain, health and
//! what was tried already are checked against this moment and not against the first one. Between
//! two attempts it asks [`reach`] what is left, lets [`retry::next_try`](crate::retry::next_try)
//! decide where to go, and enters the answer with [`Ask::follow`]. Nothing here allocates, and
//! nothing here records: a choice changes no state until an attempt is made of it.

mod asked;
mod left;
mod offer;
mod tried;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use arrayvec::ArrayVec;
use fastrand::Rng;

use crate::balance::{self, Barred, Direct, Eyes, Picked, Seek, Sight};
use crate::cell::InFlight;
use crate::decision::{Because, Candidate, Decision, Eligibility, Pin, PinnedBy, View};
use crate::endpoint::{Endpoint, EndpointSet};
use crate::geo::Origin;
use crate::handle::LiveUpstream;
use crate::ids::{RegionIdx, RegionSet};
use crate::limits::{Bounds, Turn};
use crate::plan::{Affinity, AffinityBy, AffinityScope, Isolation, Upstream, WhenGone};
use crate::recall::{self, Marks};
use crate::retry::{Destination, NextTry, Scope};
use crate::sets::{Loaded, Sets};
use crate::steer;
use crate::view::Look;
use offer::Offer;

pub use left::{reach, should_leave};
pub use tried::TriedEndpoints;

/// The most attempts that one request may make (`retry.attempts` has the same bound).
pub const MAX_ATTEMPTS: usize = 16;

/// What one request asks for: made once, narrowed after each failed attempt.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Regions that residency allows. Set once; nothing ever widens it.
    pub allowed: RegionSet,
    /// Regions that attempts may go to. `RegionSet::ALL` until an attempt that another region must
    /// not repeat (an `Idempotency-Key` that only one region has seen); never widened after that.
    pub within: RegionSet,
    /// The region that the next attempt prefers while it is eligible.
    pub stay: Option<RegionIdx>,
    /// Regions that this request has left. It goes back to one only if no other is open, and never to
    /// the one that it left last.
    pub tried_regions: RegionSet,
    /// The region that it left last.
    pub left: Option<RegionIdx>,
    /// Endpoints that this request has tried.
    pub tried_endpoints: TriedEndpoints,
    /// Whether the attempt, should it fail, can be made again elsewhere: what doing it twice would
    /// mean and what is left of its body and attempts say so. Only such an attempt tries out a region
    /// that comes back. True at first.
    pub repeatable: bool,
    /// When the request must be answered. No retry goes where the answer usually takes longer than what
    /// is left at `now`. None: it is not known yet.
    pub deadline: Option<Instant>,
    /// Whether it is the first attempt: retries have bounds of their own.
    pub turn: Turn,
    /// The hash of the request, if its upstream's policy hashes: [`Hashing::of`](crate::plan::Hashing::of)
    /// makes it, once for all attempts. If it does not, that by which its client is bound to an endpoint.
    /// None: endpoints are drawn at random, or as their policy says.
    pub hash: Option<u64>,
    /// Whether load or failure may move the request to another region. Set once.
    pub isolation: Isolation,
    /// The region, or region and endpoint, that the request is to go to. Set once.
    pub pin: Option<Pin>,
    /// The hash by which regions are drawn, for requests that stay together. Set once.
    pub sticky: Option<u64>,
    /// The position of the upstream's preference that holds of it ([`Steering::prefer`](crate::plan::Steering::prefer)).
    /// Set once.
    pub prefer: Option<u8>,
    /// Where its client is. None: that is not known, or steering does not ask.
    pub origin: Option<Origin>,
    /// The moment of the attempt.
    pub now: Instant,
}

/// The endpoint for one attempt.
///
/// It pins a version of the endpoint set without counting a reference. That is cheap while short:
/// take what the attempt needs ([`Choice::begin`], the address) rather than keep it across waits.
#[derive(Debug)]
pub struct Choice {
    /// Which region.
    pub region: RegionIdx,
    /// The region's position among the upstream's regions.
    pub position: u8,
    /// Why this region.
    pub because: Because,
    /// The endpoint's position in `set`.
    pub at: usize,
    /// Whether it is for a first attempt.
    pub turn: Turn,
    /// Whether the client's affinity must be set to this place, should it answer.
    pub bind: bool,
    /// The set that was chosen from.
    pub set: Guard<Arc<EndpointSet>>,
    after: u64,
    offer: Offer,
}

impl Ask {
    /// The ask of a request that has tried nothing yet.
    pub fn new(allowed: RegionSet, now: Instant) -> Self {
        Self {
            allowed,
            within: RegionSet::ALL,
            stay: None,
            tried_regions: RegionSet::EMPTY,
            left: None,
            tried_endpoints: TriedEndpoints::default(),
            repeatable: true,
            deadline: None,
            turn: Turn::First,
            hash: None,
            isolation: Isolation::Off,
            pin: None,
            sticky: None,
            prefer: None,
            origin: None,
            now,
        }
    }

    /// The part of the ask that steering looks at, but for the time that is left.
    pub fn eligibility(&self) -> Eligibility {
        Eligibility {
            allowed: self.allowed,
            within: self.within,
            tried: self.tried_regions,
            too_slow: RegionSet::EMPTY,
            repeatable: self.repeatable,
            isolation: self.isolation,
            pin: self.pin,
            sticky: self.sticky,
        }
    }

    /// The same with what is observed at this moment of the time that answers take, which counts for
    /// attempts that are not the first.
    #[inline]
    pub(crate) fn eligibility_now(&self, upstream: (&Upstream, &LiveUpstream)) -> Eligibility {
        match self.turn {
            Turn::First => self.eligibility(),
            Turn::Retry => self.eligibility_of_retry(upstream.0, upstream.1),
        }
    }

    /// The same for an attempt that is not the first.
    fn eligibility_of_retry(&self, wanted: &Upstream, observed: &LiveUpstream) -> Eligibility {
        Eligibility {
            too_slow: self.too_slow(wanted, observed),
            ..self.eligibility()
        }
    }

    /// The regions where an answer usually takes longer than what is left ([`RegionCell::usual`](crate::RegionCell::usual)). An
    /// attempt there would be load for nothing.
    fn too_slow(&self, wanted: &Upstream, observed: &LiveUpstream) -> RegionSet {
        let Some(deadline) = self.deadline else {
            return RegionSet::EMPTY;
        };
        let left = deadline.saturating_duration_since(self.now);
        let regions = wanted.regions.iter().zip(&observed.regions);
        regions
            .filter(|(_, observed)| observed.cell.usual(self.now) > Some(left))
            .map(|(wanted, _)| wanted.region)
            .collect()
    }

    /// The same once no region is open for it: those are forgiven that it left before the last one. One
    /// endpoint may have been the cause there, and a region that refuses everybody is no better.
    fn forgiving(&self, eligibility: &Eligibility) -> Option<Eligibility> {
        let tried = RegionSet::from_iter(self.left);
        (eligibility.tried != tried).then_some(Eligibility {
            tried,
            ..*eligibility
        })
    }

    /// What narrows `eligibility` for a request that is in `region`: under strict isolation it stays.
    fn confined(&self, eligibility: Eligibility, region: RegionIdx) -> Eligibility {
        match self.isolation {
            Isolation::Strict => Eligibility {
                within: RegionSet::from_iter([region]),
                ..eligibility
            },
            _ => eligibility,
        }
    }

    /// The only endpoint that the request may use, by region and name: its client is strictly bound to
    /// it.
    pub(crate) fn only_endpoint(&self) -> Option<(RegionIdx, u64)> {
        let pin = self.pin?;
        let strictly = pin.by == PinnedBy::Affinity(WhenGone::Strict);
        Some((pin.region, pin.endpoint.filter(|_| strictly)?))
    }

    /// Enters that an attempt was made with `choice`.
    pub fn tried(&mut self, choice: &Choice) {
        self.settle(choice.region);
        self.tried_endpoints
            .insert(choice.position, choice.set.version, choice.at);
    }

    /// Under strict isolation a request stays where it began.
    fn settle(&mut self, region: RegionIdx) {
        if self.isolation == Isolation::Strict {
            self.within = RegionSet::from_iter([region]);
        }
    }

    /// Narrows the ask to where the next attempt goes after one failed in `region` at `position`.
    pub fn follow(&mut self, next: &NextTry, region: RegionIdx, position: u8) {
        self.settle(region);
        self.turn = Turn::Retry;
        self.stay = (next.to != Destination::OtherRegion).then_some(region);
        match next.to {
            Destination::OtherRegion => {
                self.tried_regions.insert(region);
                self.left = Some(region);
                self.tried_endpoints = TriedEndpoints::default();
            }
            Destination::OtherEndpoint => {}
            Destination::SameEndpoint => self.tried_endpoints.forget(position),
        }
        if next.scope == Scope::Region {
            self.within = RegionSet::from_iter([region]);
        }
    }
}

impl Choice {
    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.set.endpoints[self.at]
    }

    /// Counts an attempt at the endpoint as in flight until the guard drops, and as a retry if it is
    /// one. `upstream` is the one that was chosen from.
    pub fn begin(&self, upstream: &LiveUpstream) -> InFlight {
        let region = &upstream.regions[usize::from(self.position)].cell;
        self.set.taken(Picked {
            at: self.at,
            after: self.after,
        });
        let attempt = InFlight::begin(self.endpoint().cell.clone(), region.clone());
        let attempt = self.offer.tell(attempt, upstream);
        match self.turn {
            Turn::First => attempt,
            Turn::Retry => attempt.retry(),
        }
    }
}

/// Chooses region and endpoint for one attempt. Without a choice the decision has no candidate and
/// a reason for every region; see [`Decision::termination`].
///
/// A retry that was meant to stay in its region stays if the region is still eligible, and moves on
/// if it went down or fell silent during the backoff. A region whose endpoints turn out to be used
/// up in the same instant is closed and steering asked again, so the loop ends after as many rounds
/// as there are regions.
pub fn choose(
    upstream: (&Upstream, &LiveUpstream),
    ask: &Ask,
    rng: &mut Rng,
) -> (Decision, Option<Choice>) {
    let mut decision = Decision::default();
    let choice = choose_into(&mut decision, upstream, &Loaded, ask, rng);
    (decision, choice)
}

/// The same, with the decision in the place of `decision`: moving one copies all of it.
pub fn choose_into(
    decision: &mut Decision,
    upstream: (&Upstream, &LiveUpstream),
    sets: &impl Sets,
    ask: &Ask,
    rng: &mut Rng,
) -> Option<Choice> {
    let (wanted, observed) = upstream;
    let recall = sets.recall().filter(|_| recall::is_usual(wanted, ask));
    let seed = rng.get_seed();
    if recall.is_some_and(|recall| recall.get(observed, ask, sets, decision)) {
        let found = first_of(decision, upstream, (ask, sets), rng, &Direct);
        if found.is_some() {
            return found;
        }
        rng.seed(seed);
    }
    let marks = recall.map(|recall| (recall, Marks::of(observed, sets)));
    let mut view = View {
        steering: &wanted.steering,
        rows: ArrayVec::new(),
    };
    view.fill(wanted, observed, &Look::of(ask), sets);
    let eligibility = ask.eligibility_now(upstream);
    steer::decide_into(decision, &view, &eligibility, rng);
    if let Some((recall, marks)) = marks.filter(|_| rng.get_seed() == seed) {
        recall.keep(upstream, ask, marks, decision);
    }
    settle_decided(
        decision,
        &mut view,
        eligibility,
        upstream,
        (ask, sets),
        rng,
        &Direct,
    )
}

/// The same of what was looked at already: `view` and `eligibility`, and endpoints through these `eyes`.
/// Whatever else it depends on is in the plan, in `ask`, or drawn from `rng`.
pub(crate) fn settle(
    view: &mut View<'_>,
    eligibility: Eligibility,
    upstream: (&Upstream, &LiveUpstream),
    ask: &Ask,
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> (Decision, Option<Choice>) {
    let mut decision = Decision::default();
    let with = (ask, &Loaded);
    steer::decide_into(&mut decision, view, &eligibility, rng);
    let choice = settle_decided(&mut decision, view, eligibility, upstream, with, rng, eyes);
    (decision, choice)
}

/// The same of what steering has decided.
fn settle_decided(
    decision: &mut Decision,
    view: &mut View<'_>,
    mut eligibility: Eligibility,
    upstream: (&Upstream, &LiveUpstream),
    with: (&Ask, &impl Sets),
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> Option<Choice> {
    let ask = with.0;
    loop {
        prefer(ask.stay, decision);
        if let Some(position) = decision.candidates.first().map(|first| first.position) {
            let found = first_of(decision, upstream, with, rng, eyes);
            if found.is_some() {
                return found;
            }
            let row = &mut view.rows[usize::from(position)];
            (row.endpoints, row.ailing) = (0, false);
        } else {
            eligibility = ask.forgiving(&eligibility)?;
        }
        steer::decide_into(decision, view, &eligibility, rng);
    }
}

/// An endpoint of the first candidate, if there is one that has room.
#[inline(always)]
fn first_of(
    decision: &Decision,
    upstream: (&Upstream, &LiveUpstream),
    with: (&Ask, &impl Sets),
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> Option<Choice> {
    let first = *decision.candidates.first()?;
    let mut choice = endpoint_of((first, decision.panic), upstream, with, rng, eyes)?;
    choice.offer = Offer::of(decision, with.0);
    Some(choice)
}

fn prefer(stay: Option<RegionIdx>, decision: &mut Decision) {
    let candidates = &mut decision.candidates;
    let at = |region| {
        let mut candidates = candidates.iter();
        candidates.position(|candidate| candidate.region == region)
    };
    let Some(at) = stay.and_then(at) else {
        return;
    };
    if doubt(candidates[at].because) <= doubt(candidates[0].because) {
        candidates[at].because = Because::Stay;
        candidates[..=at].rotate_right(1);
    }
}

/// How much speaks against staying: what is silent or down is left for what is not.
fn doubt(because: Because) -> u8 {
    match because {
        Because::Panic => 2,
        Because::Suspected => 1,
        _ => 0,
    }
}

/// By itself, so that the usual pick has one caller and is compiled into it.
#[cold]
#[inline(never)]
fn pick_in_panic(
    set: &EndpointSet,
    seek: &mut Seek<'_>,
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> Option<Picked> {
    seek.barred.any_health = true;
    balance::pick_seeing(set, seek, rng, eyes)
}

fn endpoint_of(
    (candidate, panic): (Candidate, bool),
    upstream: (&Upstream, &LiveUpstream),
    (ask, sets): (&Ask, &impl Sets),
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> Option<Choice> {
    let Candidate {
        region,
        position,
        because,
    } = candidate;
    let (wanted, observed) = (upstream.0, &upstream.1.regions[usize::from(position)]);
    let set = sets.pin(position.into(), &observed.endpoints);
    let version = eyes.see(Sight::Set, position.into(), || set.version);
    let pin = ask.pin.filter(|pin| pin.region == region);
    let mut seek = Seek {
        barred: Barred {
            tried: ask.tried_endpoints.within(position, version),
            bound: Bounds::of(&wanted.circuit_breaker, ask.turn).endpoint,
            any_health: false,
        },
        hash: ask.hash,
        named: pin.and_then(|pin| pin.endpoint),
        region: &observed.cell,
        now: ask.now,
    };
    let picked = balance::pick_seeing(&set, &seek, rng, eyes);
    let Picked { at, after } = match picked {
        None if panic => pick_in_panic(&set, &mut seek, rng, eyes)?,
        picked => picked?,
    };
    let only = ask.only_endpoint().map(|(_, name)| name);
    if only.is_some_and(|name| set.named(name) != Some(at)) {
        return None;
    }
    Some(Choice {
        region,
        position,
        because,
        at,
        turn: ask.turn,
        bind: binds(
            wanted.steering.affinity.as_ref(),
            ask.pin,
            region,
            &set.endpoints[at],
        ),
        set,
        after,
        offer: Offer::default(),
    })
}

/// Whether the client's cookie has to be set to this place, should it answer: it has none that holds, or
/// its place is gone and it is to have another. What a trusted peer does to one request binds nobody.
fn binds(
    affinity: Option<&Affinity>,
    pin: Option<Pin>,
    region: RegionIdx,
    endpoint: &Endpoint,
) -> bool {
    let Some(affinity) = affinity.filter(|one| matches!(one.by, AffinityBy::Cookie(_))) else {
        return false;
    };
    let Some(pin) = pin else {
        return true;
    };
    let by_endpoint = affinity.scope == AffinityScope::Endpoint;
    let is_there = || pin.endpoint == Some(EndpointSet::name_of(&endpoint.address));
    let kept = pin.region == region && (!by_endpoint || is_there());
    match pin.by {
        PinnedBy::Override => false,
        PinnedBy::Affinity(WhenGone::Rebind) => !kept,
        // A cookie that names no endpoint was set when affinity was to regions.
        PinnedBy::Affinity(_) => by_endpoint && pin.endpoint.is_none() && pin.region == region,
    }
}
