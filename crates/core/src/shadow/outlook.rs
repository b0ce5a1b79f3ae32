//! What one plan would do with a request at this moment, told by names.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Case, Pinned};
use crate::choose::{Ask, choose};
use crate::decision::{Because, Decision, Exclusion, Pin, PinnedBy};
use crate::handle::Live;
use crate::ids::{RegionIdx, UpstreamIdx};
use crate::plan::{Actions, AffinityBy, AffinityScope, Plan, Reply, Route, Upstream};
use crate::termination::Termination;

/// Keeps the draws for regions apart from the draw for a split: a plan that draws for one thing more draws
/// for the others as before.
const FOR_REGIONS: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a plan would do with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The route that it takes; none if none matches.
    pub route: Option<Arc<str>>,
    /// What the route does with it.
    pub action: Action,
    /// The upstream that it goes to; none if it goes nowhere.
    pub upstream: Option<Arc<str>>,
    /// The regions in the order in which they would be tried.
    pub regions: Vec<Arc<str>>,
    /// Why the first of them is first.
    pub because: Option<Because>,
    /// The regions that are left out.
    pub excluded: Vec<(Arc<str>, Exclusion)>,
    /// What its route allows.
    pub residency: Residency,
    /// How much time it has; none without a route.
    pub times: Option<Times>,
    /// Whether there is somewhere to go.
    pub ending: Ending,
}

/// What a route does with its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Action {
    /// In words, without any value that it writes or any part of a request; `none` without a route.
    pub words: String,
    /// Everything besides sending them on.
    actions: Option<Arc<Actions>>,
}

/// Which jurisdictions a route allows, and what that means for the regions of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// The rule's words, sorted; empty without a rule.
    pub rule: Vec<Arc<str>>,
    /// Every region of the plan by name, sorted, and whether the rule allows it.
    pub regions: Vec<(Arc<str>, bool)>,
    /// Whether the rule leaves the request no region.
    pub blocked: bool,
}

/// How much time a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// `timeout` of its route.
    pub timeout: Duration,
    /// `max_duration` of its route.
    pub max_duration: Option<Duration>,
    /// `idle_timeout` of its route.
    pub idle_timeout: Duration,
    /// `retry.per_try` of its upstream.
    pub per_try: Option<Duration>,
    /// `retry.first_byte` of its upstream.
    pub first_byte: Option<Duration>,
}

/// Whether a request has somewhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It would be sent to a region, or answered by its route.
    Served,
    /// It would end at once for this reason.
    Ended(Termination),
}

impl Outlook {
    /// What `live` would do with the request of `case`.
    pub fn of(live: &Live, case: &Case, now: Instant) -> Self {
        let plan = &live.plan;
        let Some(index) = plan.table.find(&case.request) else {
            return Self::nowhere();
        };
        let route = plan.route(index);
        let mut outlook = Self {
            route: Some(route.name.clone()),
            action: Action::of(plan, route),
            residency: Residency::of(plan, route),
            times: Some(Times::of(route, None)),
            ending: Ending::Served,
            ..Self::nowhere()
        };
        let draw = || Rng::with_seed(case.seed).u64(..);
        if let Some(upstream) = plan.upstream_for(route, &case.request, draw) {
            outlook.send(live, (route, upstream), case, now);
        }
        outlook
    }

    /// That of a request which no route takes.
    fn nowhere() -> Self {
        Self {
            route: None,
            action: Action::default(),
            upstream: None,
            regions: Vec::new(),
            because: None,
            excluded: Vec::new(),
            residency: Residency::default(),
            times: None,
            ending: Ending::Ended(Termination::NoRoute),
        }
    }

    /// Whether it goes to an upstream.
    pub(super) fn is_sent(&self) -> bool {
        self.upstream.is_some()
    }

    fn send(&mut self, live: &Live, way: (&Route, UpstreamIdx), case: &Case, now: Instant) {
        let (plan, (route, index)) = (&live.plan, way);
        let upstream = plan.upstream(index);
        let ask = ask(plan, (route, upstream), case, now);
        let mut rng = Rng::with_seed(case.seed ^ FOR_REGIONS);
        let (decision, choice) = choose(live.upstream(index), &ask, &mut rng);
        self.upstream = Some(upstream.name.clone());
        self.times = Some(Times::of(route, Some(upstream)));
        self.tell(plan, &decision);
        if choice.is_none() {
            let why = decision.termination();
            self.residency.blocked = why == Termination::ResidencyBlocked;
            self.ending = Ending::Ended(why);
        }
    }

    fn tell(&mut self, plan: &Plan, decision: &Decision) {
        let name = |region: RegionIdx| plan.region(region).name.clone();
        let candidates = &decision.candidates;
        self.because = candidates.first().map(|first| first.because);
        self.regions = candidates.iter().map(|one| name(one.region)).collect();
        let excluded = decision.excluded.iter();
        self.excluded = excluded.map(|one| (name(one.region), one.why)).collect();
    }
}

fn ask(plan: &Plan, way: (&Route, &Upstream), case: &Case, now: Instant) -> Ask {
    let mut ask = Ask::of(way.0, way.1, &case.request, now);
    let atlas = plan.atlas.as_ref();
    ask.origin = atlas.and_then(|atlas| atlas.find(case.request.client?));
    let pinned = case.pinned.as_ref();
    ask.pin = pinned.and_then(|pinned| pin(plan, way.1, pinned));
    ask
}

/// The same place in this plan. An upstream that binds nobody by cookie heeds no cookie.
fn pin(plan: &Plan, upstream: &Upstream, pinned: &Pinned) -> Option<Pin> {
    let there = |region: RegionIdx| plan.region(region).name == pinned.region;
    let mut regions = upstream.regions.iter().map(|spec| spec.region);
    let region = regions.find(|region| there(*region))?;
    let affinity = upstream.steering.affinity.as_ref();
    let affinity = affinity.filter(|one| matches!(one.by, AffinityBy::Cookie(_)));
    Some(match pinned.by {
        PinnedBy::Override => Pin {
            region,
            endpoint: None,
            by: PinnedBy::Override,
        },
        PinnedBy::Affinity(_) => Pin {
            region,
            endpoint: pinned
                .endpoint
                .filter(|_| affinity.is_some_and(|one| one.scope == AffinityScope::Endpoint)),
            by: PinnedBy::Affinity(affinity?.when_gone),
        },
    })
}

impl Action {
    fn of(plan: &Plan, route: &Route) -> Self {
        let actions = route.actions.as_deref();
        let mut words = vec![match actions.and_then(|actions| actions.reply.as_ref()) {
            Some(Reply::Redirect(redirect)) => format!("redirect {}", redirect.status.as_u16()),
            Some(Reply::Respond(respond)) => format!("respond {}", respond.status.as_u16()),
            None => "forward".to_owned(),
        }];
        if let Some(actions) = actions {
            let also = [
                (actions.path.is_some(), "rewrites the path"),
                (actions.host.is_some(), "rewrites the host"),
                (actions.request != Default::default(), "edits the request"),
                (actions.response != Default::default(), "edits the response"),
                (actions.fault != Default::default(), "injects faults"),
            ];
            let also = also.iter().filter(|(does, _)| *does);
            words.extend(also.map(|(_, what)| (*what).to_owned()));
        }
        if let Some(mirror) = &route.mirror {
            let to = &plan.upstream(mirror.upstream).name;
            let percent = (mirror.share.share() * 1e4).round() / 1e2;
            words.push(format!("copies {percent}% to {to}"));
        }
        Self {
            words: words.join(", "),
            actions: route.actions.clone(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.words.is_empty() {
            "none"
        } else {
            &self.words
        })
    }
}

impl Residency {
    fn of(plan: &Plan, route: &Route) -> Self {
        let mut rule = route.residency.to_vec();
        rule.sort_unstable();
        let regions = plan.regions.iter().zip(0..);
        let regions = regions.map(|(region, at)| {
            let allowed = route.allowed.contains(RegionIdx(at));
            (region.name.clone(), allowed)
        });
        let mut regions: Vec<_> = regions.collect();
        regions.sort_unstable();
        Self {
            rule,
            regions,
            blocked: false,
        }
    }

    /// Whether two verdicts are the same: the same rule, the same word on every region that both know, and
    /// something or nothing left under both.
    pub fn agrees(&self, other: &Self) -> bool {
        let verdict = |(name, allowed): &(Arc<str>, bool)| {
            let found = other.regions.binary_search_by(|(other, _)| other.cmp(name));
            found.is_err() || found.is_ok_and(|at| other.regions[at].1 == *allowed)
        };
        self.rule == other.rule && self.blocked == other.blocked && self.regions.iter().all(verdict)
    }
}

impl fmt::Display for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.regions.iter().filter(|(_, allowed)| *allowed);
        let allowed: Vec<&str> = allowed.map(|(name, _)| &**name).collect();
        match (self.rule.is_empty(), allowed.is_empty()) {
            (true, _) => f.write_str("everywhere")?,
            (false, true) => write!(f, "[{}]: nowhere", self.rule.join(", "))?,
            (false, false) => write!(f, "[{}]: {}", self.rule.join(", "), allowed.join(", "))?,
        }
        match self.blocked {
            true => f.write_str(", blocked"),
            false => Ok(()),
        }
    }
}

impl Times {
    fn of(route: &Route, upstream: Option<&Upstream>) -> Self {
        Self {
            timeout: route.timeout,
            max_duration: route.max_duration,
            idle_timeout: route.idle_timeout,
            per_try: upstream.and_then(|upstream| upstream.retry.per_try),
            first_byte: upstream.and_then(|upstream| upstream.retry.first_byte),
        }
    }

    /// Each with the name that configurations give it.
    pub(super) fn each(&self) -> [(&'static str, Option<Duration>); 5] {
        [
            ("timeout", Some(self.timeout)),
            ("max_duration", self.max_duration),
            ("idle_timeout", Some(self.idle_timeout)),
            ("retry.per_try", self.per_try),
            ("retry.first_byte", self.first_byte),
        ]
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served => f.write_str("served"),
            Self::Ended(why) => f.write_str(why.as_str()),
        }
    }
}
