//! Which way a plan gives a recorded request, before any region is asked for: what differs from the way
//! that it took, and what cannot be known.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::fate::Fate;
use super::replay::{Replayed, Round, note};
use super::{Chances, Early, Facts, Way};
use crate::hash::Hashed;
use crate::ids::{RouteIdx, UpstreamIdx};
use crate::plan::Route;

const NOT_LOOKED_AT: &str =
    "to which region it would go: none was looked at then; ask by method and URL what holds now";
const NOT_ASKED_AGAIN: &str = "why it was refused is not looked at again: it is taken as it was";

/// Where the plan sends a request.
enum Lead {
    Way(RouteIdx, UpstreamIdx),
    /// It goes nowhere: this becomes of it.
    Ends(Fate),
    /// The way that it took is not there any more, and nobody knows another.
    Unknown,
}

impl Round<'_> {
    /// The route and the upstream that the plan gives the request, if it goes to one; enters what differs.
    pub(super) fn way(&self, replayed: &mut Replayed) -> Option<(RouteIdx, UpstreamIdx)> {
        let then = Fate::of(self.record);
        let (now, way) = match self.lead(replayed) {
            Lead::Way(route, upstream) => (Fate::Sent, Some((route, upstream))),
            Lead::Ends(fate) => (fate, None),
            Lead::Unknown => return None,
        };
        let outcome = self.outcome(&now, way);
        if !now.is(&then) {
            let text = match (&then, &self.record.way) {
                (Fate::Sent, Some(way)) => format!("{outcome}; it took `{}`", way.route),
                _ => format!("{outcome}; then: {then}"),
            };
            replayed.differences.push(text);
        }
        replayed.outcome = Some(outcome);
        let (route, upstream) = way?;
        match then {
            Fate::Sent => self.compare_ways((route, upstream), &mut replayed.differences),
            _ => replayed.uncertain.push(NOT_LOOKED_AT.to_owned()),
        }
        self.compare_chances(route, &mut replayed.differences);
        Some((route, upstream))
    }

    /// What becomes of the request, in words.
    fn outcome(&self, now: &Fate, way: Option<(RouteIdx, UpstreamIdx)>) -> String {
        way.map_or_else(
            || now.to_string(),
            |(route, upstream)| {
                let (route, upstream) = (self.plan.route(route), self.plan.upstream(upstream));
                format!(
                    "it goes to upstream `{}` by route `{}`",
                    upstream.name, route.name
                )
            },
        )
    }

    /// In what the way differs from the one that was taken.
    fn compare_ways(
        &self,
        (route, upstream): (RouteIdx, UpstreamIdx),
        differences: &mut Vec<String>,
    ) {
        let then = self.record.way.as_ref();
        let through = self.record.through();
        let (route, upstream) = (self.plan.route(route), self.plan.upstream(upstream));
        let names = [
            ("route", &route.name, then.map(|way| &way.route)),
            ("upstream", &upstream.name, through.map(|to| &to.upstream)),
        ];
        differences.extend(
            names
                .into_iter()
                .filter_map(|(what, now, then)| match then {
                    Some(then) if then == now => None,
                    Some(then) => Some(format!("{what} `{now}` instead of `{then}`")),
                    None => Some(format!("{what} `{now}` instead of none")),
                }),
        );
    }

    /// In what chance, as the route lets it, goes another way for the request that is sent on.
    fn compare_chances(&self, route: RouteIdx, differences: &mut Vec<String>) {
        let drawn = &self.record.drawn;
        let chances = Chances::of(self.plan, self.plan.route(route));
        let (then, now) = (self.record.chances.as_deref(), chances.as_deref());
        let (waited, waits) = (drawn.injected(then).delay, drawn.injected(now).delay);
        if waited != waits {
            let told = |time: Option<Duration>| {
                time.map_or("not at all".to_owned(), |time| format!("{time:?}"))
            };
            let (waits, waited) = (told(waits), told(waited));
            differences.push(format!("is made to wait {waits} instead of {waited}"));
        }
        let (was, is) = (drawn.copied_to(then), drawn.copied_to(now));
        if was != is {
            let told =
                |to: Option<&Arc<str>>| to.map_or("nobody".to_owned(), |to| format!("`{to}`"));
            let (is, was) = (told(is), told(was));
            differences.push(format!("is copied to {is} instead of {was}"));
        }
    }

    /// The way that is certain, or the one that was taken where it is not.
    fn lead(&self, replayed: &mut Replayed) -> Lead {
        let way = self.record.way.as_ref();
        let by_name = way.and_then(|way| self.named(way));
        let Some(facts) = &self.record.facts else {
            return self.lead_unseen(by_name, replayed);
        };
        let request = facts.recall();
        let mut route = self.plan.table.find(&request);
        let missed = request.missed();
        if !missed.is_empty() {
            let what = missed.join(", ");
            let taken = by_name.map_or("", |_| ": it is taken as it was");
            let text = format!("the route depends on {what}, which was not kept{taken}");
            replayed.uncertain.push(text);
            if let Some((taken, through)) = by_name {
                match through {
                    Some(upstream) => return Lead::Way(taken, upstream),
                    None => route = Some(taken),
                }
            }
        }
        match route {
            None => Lead::Ends(Fate::NoRoute),
            Some(route) => self.lead_by(route, facts, replayed),
        }
    }

    /// The way of a request of which nothing was kept.
    fn lead_unseen(
        &self,
        by_name: Option<(RouteIdx, Option<UpstreamIdx>)>,
        replayed: &mut Replayed,
    ) -> Lead {
        if let Some(Early::Refused(words)) = &self.record.early {
            // What nobody could read no plan reads.
            return Lead::Ends(Fate::Refused(words.clone()));
        }
        let text = "the request itself was not kept: its route is taken as it was".to_owned();
        replayed.uncertain.push(text);
        match by_name {
            Some((route, Some(upstream))) => Lead::Way(route, upstream),
            _ => Lead::Unknown,
        }
    }

    /// What becomes of the request on this route.
    fn lead_by(&self, route: RouteIdx, facts: &Facts, replayed: &mut Replayed) -> Lead {
        let (index, route) = (route, self.plan.route(route));
        let request = facts.recall();
        if let Some(fate) = Fate::by_itself(route, &request) {
            return Lead::Ends(fate);
        }
        let Some(upstream) = self.upstream(route, facts, &mut replayed.uncertain) else {
            return Lead::Unknown;
        };
        let wanted = self.plan.upstream(upstream);
        let then = Fate::of(self.record);
        let was_refused = matches!(then, Fate::Refused(_));
        if let Some(fate) = Fate::refusal((self.plan, route, wanted), &request, was_refused) {
            return Lead::Ends(fate);
        }
        if was_refused && (self.same_plan || *facts.method() == Method::CONNECT) {
            replayed.uncertain.push(NOT_ASKED_AGAIN.to_owned());
            return Lead::Ends(then);
        }
        let fault = route.actions.as_ref().map(|actions| actions.fault);
        let injected = fault.unwrap_or_default().draw(self.record.drawn.lot);
        match injected.abort {
            Some(status) => Lead::Ends(Fate::Aborted(status.as_u16())),
            None => Lead::Way(index, upstream),
        }
    }

    /// The upstream of a request that takes `route`: by the number that it went by, where that is known.
    fn upstream(
        &self,
        route: &Route,
        facts: &Facts,
        uncertain: &mut Vec<String>,
    ) -> Option<UpstreamIdx> {
        let Some(split) = &route.split else {
            return route.upstream;
        };
        let drawn = &self.record.drawn;
        let hashed = drawn.split.as_ref();
        let hashed = hashed.and_then(|number| Some((number.of.as_ref()?, number.value)));
        for key in &split.hash_on {
            if let Some((_, number)) = hashed.filter(|(of, _)| *of == key) {
                return self.plan.upstream_by(route, number);
            }
            let request = facts.recall();
            let found = Hashed::first(std::slice::from_ref(key), &request);
            if !request.missed().is_empty() {
                let text = format!(
                    "the route is split by the hash of {key}, which was not kept: its upstream is                      taken as it was, or by chance"
                );
                note(uncertain, text);
                return self
                    .taken(route)
                    .or_else(|| self.plan.upstream_by(route, drawn.lot.split()));
            }
            if let Some(found) = found {
                return self.plan.upstream_by(route, found.hash);
            }
        }
        self.plan.upstream_by(route, drawn.lot.split())
    }

    /// The upstream that the request went to, if `route` has it.
    fn taken(&self, route: &Route) -> Option<UpstreamIdx> {
        let through = self.record.through()?;
        let is_it = |at: &UpstreamIdx| self.plan.upstream(*at).name == through.upstream;
        route.upstreams().find(is_it)
    }

    /// The way of this name in the plan; without an upstream if it had none.
    fn named(&self, way: &Way) -> Option<(RouteIdx, Option<UpstreamIdx>)> {
        let mut routes = self.plan.routes.iter();
        let route = routes.position(|one| one.name == way.route)?;
        let route = RouteIdx(route as u32);
        let Some(through) = &way.through else {
            return Some((route, None));
        };
        let mut upstreams = self.plan.upstreams.iter();
        let upstream = upstreams.position(|one| one.name == through.upstream)?;
        Some((route, Some(UpstreamIdx(upstream as u16))))
    }
}
