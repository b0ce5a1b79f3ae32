//! Long streams go home: one that had to begin elsewhere, because a better region was not whole then,
//! is ended some time after that region is whole again, so that it begins anew there.
//!
//! It may stay for `failback.drain`, and streams are not ended all in one instant: each has a moment
//! of its own, drawn evenly from a span of up to half a minute behind the bound. Only what has no end
//! of its own in sight is ended: tunnels and bodies of unknown length. A stream that began where it
//! belongs, or where its client is bound to, has no `Homing`, and costs nothing.

use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tidegate_core::decision::{Because, Eligibility, Exclusion, RegionRow};
use tidegate_core::geo::Origin;
use tidegate_core::plan::{Policy, Spread, Standby, Steering, UpstreamRegion};
use tidegate_core::{
    Ask, Decision, Dial, Health, LiveRegion, RegionIdx, RegionSet, Standing, View, steer,
};

use crate::attempt::Place;
use crate::clock::now;
use crate::context::Context;
use crate::grpc::Dialect;
use crate::head::ResponseHead;
use crate::held::HeldUpstream;
use crate::pipeline::Serving;
use crate::wheel::Timer;

/// Streams are ended over this time at most.
const PACE: Duration = Duration::from_secs(30);
/// The board is looked at so often at least, and eight times while streams may stay.
const LOOK: Duration = Duration::from_secs(5);

/// What is watched for a stream that had to begin elsewhere.
pub(crate) struct Homing {
    context: Rc<Context>,
    upstream: Rc<HeldUpstream>,
    /// Where it runs.
    place: Place,
    /// What narrows the choice for its request.
    eligibility: Eligibility,
    /// Where its client is.
    origin: Option<Origin>,
    /// Which of the upstream's preferences holds of its request.
    prefer: Option<u8>,
    /// The regions that were not whole when it began.
    missing: RegionSet,
    /// How long it may stay once one of them is.
    stay: Duration,
    look: Duration,
    timer: Timer,
    /// When it ends; none while there is nothing to go home to.
    ends: Option<Instant>,
    /// Whether the stream speaks gRPC, so that its end can be said in its own words.
    pub(crate) grpc: bool,
}

impl Homing {
    /// For a stream that begins now, the body that follows this head or else a tunnel; none if it begins where it belongs, or may stay for ever.
    pub(crate) fn begin(
        serving: &Serving,
        place: Place,
        body: Option<&ResponseHead>,
    ) -> Option<Box<Self>> {
        let (upstream, live) = serving.upstream();
        let drain = upstream.health.failback.drain?;
        let pin = serving.ask.pin;
        if place.bind || pin.is_some_and(|pin| pin.region == place.region) {
            return None;
        }
        let regions = upstream.regions.iter().zip(&live.regions);
        let mine = regions.clone().nth(usize::from(place.position))?;
        let absent = regions.filter(|home| {
            let is_bond = pin.is_some_and(|pin| pin.region == home.0.region);
            !is_whole(home.1.cell.standing())
                && (is_bond || may_come_first(&upstream.steering, serving.ask.prefer, *home, mine))
        });
        let missing = RegionSet::from_iter(absent.map(|(wanted, _)| wanted.region));
        if missing.is_empty() {
            return None;
        }
        let context = serving.context.clone();
        let turn = context.worker.rng.borrow_mut().f64();
        let look = (drain / 8).min(LOOK);
        let timer = context.worker.wheel.timer();
        timer.set(now() + look);
        Some(Box::new(Self {
            context,
            upstream: serving.admitted.upstream.clone(),
            place,
            eligibility: eligibility(&serving.ask),
            origin: serving.ask.origin,
            prefer: serving.ask.prefer,
            missing,
            stay: drain + drain.min(PACE).mul_f64(turn),
            look,
            timer,
            ends: None,
            grpc: body.is_some_and(Dialect::ends_in_trailers),
        }))
    }

    /// Ready once the stream is to be ended.
    pub(crate) fn poll_due(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        while self.timer.poll_expired(cx).is_ready() {
            let at = now();
            self.ends = match self.ends {
                _ if !self.has_home() => None,
                Some(ends) if ends <= at => return Poll::Ready(()),
                ends => ends.or(Some(at + self.stay)),
            };
            let look = at + self.look;
            self.timer
                .set(self.ends.map_or(look, |ends| ends.min(look)));
        }
        Poll::Pending
    }

    /// Whether a region that was missing is whole again and steering would put it before this one.
    fn has_home(&self) -> bool {
        let (wanted, observed) = self.upstream.parts();
        let ask = Ask {
            origin: self.origin,
            prefer: self.prefer,
            ..Ask::new(self.eligibility.allowed, now())
        };
        let view = View::for_ask(wanted, observed, &ask);
        let mut rng = self.context.worker.rng.borrow_mut();
        let decision = steer::decide(&view, &self.eligibility, &mut rng);
        let back = |row: &&RegionRow| {
            self.missing.contains(row.region) && !row.draining && is_whole(row.standing)
        };
        view.rows
            .iter()
            .filter(back)
            .any(|home| is_behind(&view, &decision, self.place.region, home.region))
    }
}

/// What narrows the choice for the request as a whole, none of its attempts in particular.
fn eligibility(ask: &Ask) -> Eligibility {
    Eligibility {
        allowed: ask.allowed,
        isolation: ask.isolation,
        pin: ask.pin,
        sticky: ask.sticky,
        ..Eligibility::ANY
    }
}

/// Whether a region takes all of its share, and nothing speaks against it.
fn is_whole(standing: Standing) -> bool {
    let well = matches!(standing.health, Health::Healthy | Health::Unknown);
    well && !standing.suspected && !standing.probation && standing.dial == Dial::FULL
}

type Region<'a> = (&'a UpstreamRegion, &'a LiveRegion);

/// Whether steering could put `home`, were it whole, before `mine`.
fn may_come_first(
    steering: &Steering,
    prefer: Option<u8>,
    home: Region<'_>,
    mine: Region<'_>,
) -> bool {
    let preference = prefer.and_then(|at| steering.prefer.get(usize::from(at)));
    let place = |region: Region<'_>| preference?.place_of(region.0.region);
    match (place(home), place(mine)) {
        (Some(home), Some(mine)) => return home < mine,
        (Some(_), None) => return true,
        (None, Some(_)) => return false,
        (None, None) => {}
    }
    let stands_by = |region: Region<'_>| !matches!(region.0.standby, Standby::Hot);
    if stands_by(home) != stands_by(mine) {
        return stands_by(mine);
    }
    match steering.policy {
        Policy::Priority { .. } => home.0.tier < mine.0.tier,
        // By hash each client has an order of its own.
        Policy::Weighted { ref hash_on } => mine.0.weight == 0 || !hash_on.is_empty(),
        Policy::Latency { .. }
        | Policy::Capacity {
            spread: Spread::Waterfall,
        } => match (home.1.cell.latency(), mine.1.cell.latency()) {
            (Some(home), Some(mine)) => home < mine,
            _ => true,
        },
        Policy::Geo { .. } => true,
        Policy::Capacity {
            spread: Spread::Spray,
        }
        | Policy::LeastLoad => false,
    }
}

/// Whether steering puts `mine` behind `home`, and not only by the draw among equals.
fn is_behind(view: &View<'_>, decision: &Decision, mine: RegionIdx, home: RegionIdx) -> bool {
    let at = |region| {
        let candidates = decision.candidates.iter();
        candidates
            .clone()
            .position(|candidate| candidate.region == region)
    };
    let Some(home_at) = at(home) else {
        return false;
    };
    // Its client is bound there, and only served here for a time.
    if decision.candidates[home_at].because == Because::Affinity {
        return true;
    }
    let Some(mine_at) = at(mine) else {
        let mut excluded = decision.excluded.iter();
        return excluded.any(|not| not.region == mine && not.why == Exclusion::NoWeight);
    };
    if matches!(
        decision.candidates[home_at].because,
        Because::Ordered | Because::Preferred
    ) {
        return home_at < mine_at;
    }
    let row = |region| view.rows.iter().find(|row| row.region == region);
    let tier = |region| row(region).map(|row| row.tier);
    match decision.candidates[mine_at].because {
        Because::Degraded => true,
        Because::Tier => tier(home) < tier(mine),
        Because::Standby => row(home).is_some_and(|home| !home.standby) && home_at < mine_at,
        // Neither is drawn by chance.
        Because::Hash | Because::GeoRule | Because::Distance => home_at < mine_at,
        Because::Farther | Because::Unmeasured => {
            home_at < mine_at && decision.candidates[home_at].because != Because::Farther
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrayvec::ArrayVec;
    use fastrand::Rng;
    use tidegate_core::plan::Tolerance;

    use super::*;

    const ROW: RegionRow = RegionRow {
        standing: Standing::full(Health::Healthy),
        ..RegionRow::new(RegionIdx(0), 0)
    };

    fn latency(ms: u64) -> RegionRow {
        RegionRow {
            latency: Some(Duration::from_millis(ms)),
            ..ROW
        }
    }

    /// The first row is the region that is back, the second the one where the stream runs.
    fn check(policy: Policy, rows: [RegionRow; 2], expected: bool) {
        let steering = policy.into();
        let mut view = View {
            steering: &steering,
            rows: ArrayVec::new(),
        };
        for (at, row) in (0..).zip(rows) {
            view.rows.push(RegionRow {
                region: RegionIdx(at),
                position: at,
                ..row
            });
        }
        let eligibility = Eligibility::ANY;
        for seed in 0..20 {
            let decision = steer::decide(&view, &eligibility, &mut Rng::with_seed(seed));
            let behind = is_behind(&view, &decision, RegionIdx(1), RegionIdx(0));
            assert_eq!(behind, expected, "{:?} {decision:?}", view.rows);
        }
    }

    #[test]
    fn a_stream_goes_home_only_to_what_steering_prefers_for_certain() {
        let tier = |tier| RegionRow { tier, ..ROW };
        check(Policy::priority(), [tier(0), tier(1)], true);
        check(Policy::priority(), [tier(1), tier(1)], false);
        check(Policy::priority(), [tier(2), tier(1)], false);
        let near = || Policy::latency(Tolerance::Absolute(Duration::from_millis(10)));
        check(near(), [latency(10), latency(80)], true);
        check(near(), [latency(10), latency(20)], false);
        check(near(), [latency(80), latency(10)], false);
        let km = |km| RegionRow {
            distance_km: Some(km),
            ..ROW
        };
        check(near(), [km(100.0), km(900.0)], true);
        check(near(), [km(900.0), km(100.0)], false);
        let standby = |row| RegionRow {
            standby: true,
            ..row
        };
        check(near(), [latency(80), standby(latency(10))], true);
        check(near(), [standby(latency(10)), latency(80)], false);
        let spray = Policy::Capacity {
            spread: Spread::Spray,
        };
        check(spray, [latency(10), latency(80)], false);
        let geo = || Policy::Geo {
            rules: Box::default(),
        };
        let from_client = |km| RegionRow {
            client_km: Some(km),
            ..ROW
        };
        check(geo(), [from_client(100.0), from_client(900.0)], true);
        check(geo(), [from_client(900.0), from_client(100.0)], false);
        let weight = |weight| RegionRow { weight, ..ROW };
        check(Policy::weighted(), [weight(9), weight(1)], false);
        check(Policy::weighted(), [weight(9), weight(0)], true);
        let degraded = RegionRow {
            standing: Standing::full(Health::Degraded),
            ..latency(10)
        };
        check(near(), [latency(10), degraded], true);
    }

    #[test]
    fn a_region_is_whole_when_it_takes_all_of_its_share() {
        let check = |change: fn(&mut Standing), expected| {
            let mut standing = Standing::full(Health::Healthy);
            change(&mut standing);
            assert_eq!(is_whole(standing), expected, "{standing:?}");
        };
        check(|_| {}, true);
        check(|standing| standing.health = Health::Unknown, true);
        check(|standing| standing.health = Health::Unhealthy, false);
        check(|standing| standing.health = Health::Degraded, false);
        check(|standing| standing.suspected = true, false);
        check(|standing| standing.probation = true, false);
        check(|standing| standing.dial = Dial::new(0.99), false);
    }
}
