//! Plain rows out of what is wanted and what is observed, for one upstream at one moment.
//!
//! This runs for every attempt, so it reads only what steering needs: a few atomics per region, and
//! of the endpoints only as many as it takes to find one that may be used. What only one policy asks for
//! is left out for the others.

use std::time::Instant;

use arrayvec::ArrayVec;

use crate::balance::Barred;
use crate::choose::{Ask, TriedEndpoints};
use crate::decision::{RegionRow, View};
use crate::endpoint::EndpointSet;
use crate::geo::{Direction, Origin};
use crate::handle::{LiveRegion, LiveUpstream};
use crate::health::Health;
use crate::ids::RegionIdx;
use crate::limits::{Bounds, Room, Turn};
use crate::plan::{GeoRule, Policy, Spread, Standby, Steering, Upstream, UpstreamRegion};
use crate::sets::{Loaded, Sets};
use crate::standing::Dial;

/// What an attempt asks of a view.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    /// What its request has tried.
    pub(crate) tried: &'a TriedEndpoints,
    /// Whether it is the first one.
    pub(crate) turn: Turn,
    /// Which of the upstream's preferences holds of its request.
    pub(crate) prefer: Option<u8>,
    /// Where its client is.
    pub(crate) origin: Option<Origin>,
    /// In this region only the endpoint of this name may take it.
    pub(crate) only: Option<(RegionIdx, u64)>,
    /// The moment of the attempt; without it, what upstreams report of their load is left out.
    pub(crate) now: Option<Instant>,
}

impl<'a> Look<'a> {
    /// That of the next attempt of this request.
    pub(crate) fn of(ask: &'a Ask) -> Self {
        Self {
            tried: &ask.tried_endpoints,
            turn: ask.turn,
            prefer: ask.prefer,
            origin: ask.origin,
            only: ask.only_endpoint(),
            now: Some(ask.now),
        }
    }
}

impl<'a> View<'a> {
    /// The rows of `upstream`, in the plan's order, for an attempt on its `turn` of a client of whom
    /// nothing is known. `live` is the upstream's binding.
    pub fn of(
        upstream: &'a Upstream,
        live: &LiveUpstream,
        tried: &TriedEndpoints,
        turn: Turn,
    ) -> Self {
        let look = Look {
            tried,
            turn,
            prefer: None,
            origin: None,
            only: None,
            now: None,
        };
        Self::by(upstream, live, &look)
    }

    /// The same for the next attempt of this request.
    pub fn for_ask(upstream: &'a Upstream, live: &LiveUpstream, ask: &Ask) -> Self {
        Self::by(upstream, live, &Look::of(ask))
    }

    pub(crate) fn by(upstream: &'a Upstream, live: &LiveUpstream, look: &Look<'_>) -> Self {
        let mut view = Self {
            steering: &upstream.steering,
            rows: ArrayVec::new(),
        };
        view.fill(upstream, live, look, &Loaded);
        view
    }

    /// Adds the rows of `upstream` to a view that has none, in its place: there is room for many,
    /// and moving a view copies all of it.
    pub(crate) fn fill(
        &mut self,
        upstream: &Upstream,
        live: &LiveUpstream,
        look: &Look<'_>,
        sets: &impl Sets,
    ) {
        let needs = Needs::of(self.steering, look.origin.as_ref());
        let preference = look
            .prefer
            .and_then(|at| self.steering.prefer.get(usize::from(at)));
        let bounds = Bounds::of(&upstream.circuit_breaker, look.turn);
        let mut barred = Barred {
            bound: bounds.endpoint,
            ..Barred::default()
        };
        let regions = upstream.regions.iter().zip(&live.regions).enumerate();
        for (position, (wanted, observed)) in regions {
            self.rows.push(row(position as u8, wanted, observed));
            let row = &mut self.rows[position];
            let seen = sets.look(position, &observed.endpoints, |set| {
                if !look.tried.is_empty() {
                    barred.tried = look.tried.within(row.position, set.version);
                }
                Seen::of(row.region, set, look, &mut barred, needs.any_health)
            });
            row.ailing = seen.ailing;
            (row.endpoints, row.full) = match seen.room {
                Room::Open if bounds.region.fills_region(&observed.cell) => (0, true),
                room => (u32::from(room == Room::Open), room == Room::Full),
            };
            needs.fill(row, observed);
            let place = observed.cell.place();
            row.ordered = place.is_some();
            row.preferred = place.or_else(|| preference.and_then(|one| one.place_of(row.region)));
            if needs.load {
                let reported = look.now.and_then(|now| observed.cell.utilization(now));
                row.load = (observed.cell.in_flight(), reported);
            }
        }
    }
}

fn row(position: u8, wanted: &UpstreamRegion, observed: &LiveRegion) -> RegionRow {
    let standing = observed.cell.standing();
    let known = matches!(standing.health, Health::Healthy | Health::Degraded);
    RegionRow {
        standing,
        key: observed.key,
        draining: observed.cell.draining(),
        distance_km: observed.distance_km,
        weight: wanted.weight,
        tier: wanted.tier,
        standby: !matches!(wanted.standby, Standby::Hot),
        cold: !known && matches!(wanted.standby, Standby::Cold(_)),
        dial: observed.cell.dial().unwrap_or(wanted.dial),
        capacity: wanted.capacity().map_or(0.0, |capacity| capacity as f32),
        ..RegionRow::new(wanted.region, position)
    }
}

/// Whether the policy looks at how long regions take.
pub(crate) fn compares_latency(policy: &Policy) -> bool {
    matches!(
        policy,
        Policy::Latency { .. }
            | Policy::Geo { .. }
            | Policy::Capacity {
                spread: Spread::Waterfall
            }
    )
}

/// What a policy needs to know beyond how regions stand.
struct Needs<'a> {
    latency: bool,
    /// What a region that has a capacity takes, and could still take.
    take: bool,
    /// What of a region is usable.
    usable: bool,
    load: bool,
    /// Whether it matters that an endpoint is only unhealthy.
    any_health: bool,
    /// What is known of the client's place, where that decides.
    place: Option<Whereabouts<'a>>,
}

/// What one policy asks of where a client is.
struct Whereabouts<'a> {
    /// The rule that fits the client.
    rule: Option<&'a GeoRule>,
    /// Where the client is.
    client: Option<Direction>,
}

impl<'a> Whereabouts<'a> {
    #[inline(never)]
    fn of(rules: &'a [GeoRule], origin: &Origin) -> Self {
        Self {
            rule: rules.iter().find(|rule| rule.fits(origin)),
            client: origin.location.map(Direction::from),
        }
    }

    /// By itself, so that policies that do not ask do not pay for it.
    #[inline(never)]
    fn fill(&self, row: &mut RegionRow, observed: &LiveRegion) {
        row.named = self.rule.and_then(|rule| {
            let mut named = rule.regions.iter();
            let named = named.position(|named| *named == row.region);
            named.and_then(|named| u8::try_from(named).ok())
        });
        let places = self.client.zip(observed.direction);
        row.client_km = places.map(|(client, region)| client.distance_km(region));
    }
}

impl<'a> Needs<'a> {
    fn of(steering: &'a Steering, origin: Option<&Origin>) -> Self {
        let policy = &steering.policy;
        let nearest = matches!(policy, Policy::Latency { .. } | Policy::Geo { .. });
        let capacity = matches!(policy, Policy::Capacity { .. });
        let any_health = steering.panic.fail_open.is_some();
        let rules = match policy {
            Policy::Geo { rules } => origin.map(|origin| (rules, origin)),
            _ => None,
        };
        Self {
            latency: compares_latency(policy),
            take: nearest || capacity || matches!(policy, Policy::Weighted { .. }),
            usable: any_health || matches!(policy, Policy::Priority { .. } | Policy::LeastLoad),
            load: matches!(policy, Policy::LeastLoad),
            any_health,
            place: rules.map(|(rules, origin)| Whereabouts::of(rules, origin)),
        }
    }

    fn fill(&self, row: &mut RegionRow, observed: &LiveRegion) {
        let cell = &observed.cell;
        if self.latency {
            row.latency = cell.steady_latency();
        }
        if self.take {
            (row.take, row.spare) = cell.allotted_take();
        }
        // Where too few endpoints are well, it matters how many are.
        let lacks = row.standing.health == Health::Degraded || row.take != Dial::FULL;
        if self.usable || lacks {
            (row.healthy, row.degraded) = cell.allotted_usable();
        }
        if let Some(place) = &self.place {
            place.fill(row, observed);
        }
    }
}

/// What the endpoints of a region have for an attempt.
struct Seen {
    room: Room,
    ailing: bool,
}

impl Seen {
    fn of(
        region: RegionIdx,
        set: &EndpointSet,
        look: &Look<'_>,
        barred: &mut Barred,
        any_health: bool,
    ) -> Self {
        let only = look.only.filter(|(only, _)| *only == region);
        let room = |barred: &Barred| match only {
            None => set.any_room(barred),
            Some((_, name)) => set
                .named(name)
                .map_or(Room::Closed, |at| set.room(at, barred)),
        };
        let seen = room(barred);
        let ailing = any_health && seen == Room::Closed && ails(barred, room);
        Self { room: seen, ailing }
    }
}

/// Whether there is room where it does not matter that an endpoint is only unhealthy.
#[cold]
fn ails(barred: &mut Barred, room: impl Fn(&Barred) -> Room) -> bool {
    barred.any_health = true;
    let ails = room(barred) == Room::Open;
    barred.any_health = false;
    ails
}
