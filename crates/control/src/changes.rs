//! What a new plan changes, by name: the part of a reload's answer that people read.
//!
//! Compared by what things mean, not by index: a route whose upstream merely moved within the file
//! has not changed. The types are taken apart field by field, so that a new field does not compile
//! until it is compared here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::plan::{
    GeoRule, Mirror, Policy, Preference, Region, Route, Split, SplitTarget, Steering, Upstream,
    UpstreamRegion,
};
use tidegate_core::{Plan, RegionIdx, RegionSet, UpstreamIdx};

/// Names listed of each kind; beyond it they are only counted.
const NAMED_MAX: usize = 20;

/// The difference between two plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Regions.
    pub regions: Difference,
    /// Upstreams.
    pub upstreams: Difference,
    /// Routes. Their order is part of the first that it matters to.
    pub routes: Difference,
    /// Whether `pop`, `replay`, `metrics` or `geo` changed.
    pub other: bool,
}

/// Names that came, went or stayed with another content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Only in the new plan.
    pub added: Names,
    /// Only in the old plan.
    pub removed: Names,
    /// In both, not alike.
    pub changed: Names,
}

/// The first names of a list, and how long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// How many there are.
    pub count: usize,
    /// At most 20 of them, in the plan's order.
    pub first: Vec<Arc<str>>,
}

impl Changes {
    /// What differs between `old` and `new`.
    pub fn between(old: &Plan, new: &Plan) -> Self {
        let same_route = |a: &Arc<Route>, b: &Arc<Route>| alike_route((old, a), (new, b));
        let same_upstream =
            |a: &Arc<Upstream>, b: &Arc<Upstream>| alike_upstream((old, a), (new, b));
        Self {
            regions: difference(&old.regions, &new.regions, |r| &r.name, same_region),
            upstreams: difference(&old.upstreams, &new.upstreams, |u| &u.name, same_upstream),
            routes: difference(&old.routes, &new.routes, |r| &r.name, same_route),
            other: old.metrics != new.metrics
                || old.rollback != new.rollback
                || old.pop.name != new.pop.name
                || !alike_around(old, new),
        }
    }
}

/// Whether what decides for requests of every route is the same: where this process is, what it keeps
/// of bodies, and where clients are.
pub(crate) fn alike_around(old: &Plan, new: &Plan) -> bool {
    old.replay == new.replay && old.pop.location == new.pop.location && edition(old) == edition(new)
}

/// Whether two routes of one name, each with its plan, are the same. What a plan has adopted is the
/// same object.
pub(crate) fn alike_route(old: (&Plan, &Arc<Route>), new: (&Plan, &Arc<Route>)) -> bool {
    Arc::ptr_eq(old.1, new.1) || same_route((old.0, old.1), (new.0, new.1))
}

/// The same of upstreams.
pub(crate) fn alike_upstream(old: (&Plan, &Arc<Upstream>), new: (&Plan, &Arc<Upstream>)) -> bool {
    Arc::ptr_eq(old.1, new.1) || same_upstream((old.0, old.1), (new.0, new.1))
}

/// The edition of what tells where clients are.
fn edition(plan: &Plan) -> Option<u64> {
    plan.atlas.as_ref().map(|atlas| atlas.edition())
}

/// Whether two plans of one content hash decide alike. The hash covers the configuration's text;
/// certificates of upstreams and of their probes, and secrets, come from files beside it.
pub(crate) fn same_content(old: &Plan, new: &Plan) -> bool {
    let same_files = |(old, new): (&Arc<Upstream>, &Arc<Upstream>)| {
        old.connection == new.connection && old.health == new.health && old.steering == new.steering
    };
    old.content_hash == new.content_hash
        && old.upstreams.len() == new.upstreams.len()
        && old.upstreams.iter().zip(&new.upstreams).all(same_files)
}

fn difference<T>(
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &Arc<str>,
    same: impl Fn(&T, &T) -> bool,
) -> Difference {
    let by_name = |all| -> HashMap<&Arc<str>, &T> { index(all, &name) };
    let (before, after) = (by_name(old), by_name(new));
    let mut difference = Difference::default();
    for item in new {
        match before.get(name(item)) {
            None => difference.added.push(name(item)),
            Some(was) if !same(was, item) => difference.changed.push(name(item)),
            Some(_) => {}
        }
    }
    for item in old.iter().filter(|item| !after.contains_key(name(item))) {
        difference.removed.push(name(item));
    }
    difference
}

fn index<'a, T>(
    all: &'a [T],
    name: impl Fn(&'a T) -> &'a Arc<str>,
) -> HashMap<&'a Arc<str>, &'a T> {
    all.iter().map(|item| (name(item), item)).collect()
}

impl Names {
    fn push(&mut self, name: &Arc<str>) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(name.clone());
        }
    }
}

pub(crate) fn same_region(old: &Region, new: &Region) -> bool {
    let Region {
        name: _,
        location,
        jurisdictions,
    } = old;
    *location == new.location && *jurisdictions == new.jurisdictions
}

fn same_upstream((a, old): (&Plan, &Upstream), (b, new): (&Plan, &Upstream)) -> bool {
    let Upstream {
        name: _,
        regions,
        steering,
        balance,
        health,
        circuit_breaker,
        slow_start,
        retry,
        connection,
        body,
    } = old;
    let same_region = |(x, y)| same_upstream_region((a, x), (b, y));
    same_steering((a, steering), (b, &new.steering))
        && *balance == new.balance
        && *health == new.health
        && *circuit_breaker == new.circuit_breaker
        && *slow_start == new.slow_start
        && *retry == new.retry
        && *connection == new.connection
        && *body == new.body
        && regions.len() == new.regions.len()
        && regions.iter().zip(&new.regions).all(same_region)
}

fn same_steering((a, old): (&Plan, &Steering), (b, new): (&Plan, &Steering)) -> bool {
    let Steering {
        policy,
        spill,
        panic,
        affinity,
        prefer,
    } = old;
    let same = |(x, y)| same_preference((a, x), (b, y));
    same_policy((a, policy), (b, &new.policy))
        && *spill == new.spill
        && *panic == new.panic
        && *affinity == new.affinity
        && prefer.len() == new.prefer.len()
        && prefer.iter().zip(&new.prefer).all(same)
}

fn same_preference((a, old): (&Plan, &Preference), (b, new): (&Plan, &Preference)) -> bool {
    let Preference { when, regions } = old;
    *when == new.when && same_regions((a, regions), (b, &new.regions))
}

/// The same regions by name, in the same order.
fn same_regions((a, old): (&Plan, &[RegionIdx]), (b, new): (&Plan, &[RegionIdx])) -> bool {
    let same = |(x, y): (&RegionIdx, &RegionIdx)| a.region(*x).name == b.region(*y).name;
    old.len() == new.len() && old.iter().zip(new).all(same)
}

fn same_policy((a, old): (&Plan, &Policy), (b, new): (&Plan, &Policy)) -> bool {
    match (old, new) {
        (Policy::Geo { rules: old }, Policy::Geo { rules: new }) => {
            let same = |(old, new)| same_rule((a, old), (b, new));
            old.len() == new.len() && old.iter().zip(new).all(same)
        }
        (old, new) => old == new,
    }
}

fn same_rule((a, old): (&Plan, &GeoRule), (b, new): (&Plan, &GeoRule)) -> bool {
    let GeoRule {
        countries,
        continents,
        regions,
    } = old;
    *countries == new.countries
        && *continents == new.continents
        && same_regions((a, regions), (b, &new.regions))
}

fn same_split((a, old): (&Plan, Option<&Split>), (b, new): (&Plan, Option<&Split>)) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return old.is_none() && new.is_none();
    };
    let Split { targets, hash_on } = old;
    let same = |(x, y): (&SplitTarget, &SplitTarget)| {
        x.weight == y.weight && a.upstream(x.upstream).name == b.upstream(y.upstream).name
    };
    *hash_on == new.hash_on
        && targets.len() == new.targets.len()
        && targets.iter().zip(&new.targets).all(same)
}

fn same_mirror((a, old): (&Plan, Option<Mirror>), (b, new): (&Plan, Option<Mirror>)) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return old.is_none() && new.is_none();
    };
    let Mirror {
        upstream,
        share,
        max_body,
    } = old;
    a.upstream(upstream).name == b.upstream(new.upstream).name
        && share == new.share
        && max_body == new.max_body
}

fn same_upstream_region(
    (a, old): (&Plan, &UpstreamRegion),
    (b, new): (&Plan, &UpstreamRegion),
) -> bool {
    let UpstreamRegion {
        region,
        endpoints,
        weight,
        tier,
        capacity_rps,
        pop_share,
        standby,
        dial,
        zones,
    } = old;
    a.region(*region).name == b.region(new.region).name
        && *endpoints == new.endpoints
        && *weight == new.weight
        && *tier == new.tier
        && *capacity_rps == new.capacity_rps
        && *pop_share == new.pop_share
        && *standby == new.standby
        && *dial == new.dial
        && *zones == new.zones
}

fn same_route((a, old): (&Plan, &Route), (b, new): (&Plan, &Route)) -> bool {
    let Route {
        name: _,
        matches,
        upstream,
        split,
        mirror,
        timeout,
        max_duration,
        idle_timeout,
        allowed,
        residency,
        isolation,
        idempotent,
        idempotency_key,
        replay_scope,
        deadline_header,
        resume,
        hedge,
        reveal,
        actions,
    } = old;
    fn name(plan: &Plan, upstream: Option<UpstreamIdx>) -> Option<&str> {
        upstream.map(|upstream| &*plan.upstream(upstream).name)
    }
    *matches == new.matches
        && name(a, *upstream) == name(b, new.upstream)
        && same_split((a, split.as_deref()), (b, new.split.as_deref()))
        && same_mirror((a, *mirror), (b, new.mirror))
        && *isolation == new.isolation
        && *timeout == new.timeout
        && *idle_timeout == new.idle_timeout
        && *residency == new.residency
        && same_set((a, *allowed), (b, new.allowed))
        && *max_duration == new.max_duration
        && *idempotent == new.idempotent
        && *idempotency_key == new.idempotency_key
        && *replay_scope == new.replay_scope
        && *deadline_header == new.deadline_header
        && *resume == new.resume
        && *hedge == new.hedge
        && *reveal == new.reveal
        && *actions == new.actions
}

fn same_set((a, old): (&Plan, RegionSet), (b, new): (&Plan, RegionSet)) -> bool {
    let names = |plan: &Plan, set: RegionSet| -> Vec<Arc<str>> {
        let members = (0..plan.regions.len()).map(|at| RegionIdx(at as u8));
        let mut names: Vec<_> = members
            .filter(|region| set.contains(*region))
            .map(|region| plan.region(region).name.clone())
            .collect();
        names.sort();
        names
    };
    match (old == RegionSet::ALL, new == RegionSet::ALL) {
        (false, false) => names(a, old) == names(b, new),
        (old_all, new_all) => old_all == new_all,
    }
}

impl Changes {
    /// Whether nothing that can be named differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `routes +1 -0 ~2 (api, ...)`, or `nothing that serves`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("regions", &self.regions),
            ("upstreams", &self.upstreams),
            ("routes", &self.routes),
        ];
        let mut parts: Vec<String> = kinds
            .iter()
            .filter(|(_, difference)| **difference != Difference::default())
            .map(|(kind, difference)| format!("{kind} {difference}"))
            .collect();
        if self.other {
            parts.push("pop, replay, metrics or geo".to_owned());
        }
        match parts.is_empty() {
            true => f.write_str("nothing that serves"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ('+', &self.added),
            ('-', &self.removed),
            ('~', &self.changed),
        ];
        let mut between = "";
        for (sign, names) in kinds.iter().filter(|(_, names)| names.count > 0) {
            write!(f, "{between}{sign}{}", names.count)?;
            between = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tidegate_config::{Memory, compile};

    use super::*;

    /// Two orders of the same regions and upstreams: what routes and rules refer to has other indices.
    const REGIONS: [&str; 2] = ["eu: {}, us: {}", "us: {}, eu: {}"];
    const UPSTREAMS: [&str; 2] = ["  a: *a\n  b: *b\n", "  b: *b\n  a: *a\n"];

    fn plan(regions: &str, upstreams: &str, steering: &str, route: &str) -> Plan {
        let text = format!(
            "listeners: [{{ bind: '127.0.0.1:0' }}]
regions: {{ {regions} }}
geo: {{ networks: {{ '10.0.0.0/8': {{ country: DE }} }} }}
upstreams:
  first: &a {{ regions: {{ eu: {{ endpoints: ['e:1'] }}, us: {{ endpoints: ['u:1'] }} }}, steering: {{ {steering} }} }}
  second: &b {{ regions: {{ eu: {{ endpoints: ['e:2'] }} }} }}
{upstreams}routes: [{{ name: all, {route} }}]
"
        );
        let secret = |byte: &str| format!("{}{byte}", "0123456789abcdef".repeat(2));
        let files = Memory::new()
            .with("one", secret("1"))
            .with("two", secret("2"));
        let loaded = compile("t.yaml", &text, &files, SystemTime::now());
        loaded.unwrap_or_else(|report| panic!("{report}")).plan
    }

    const GEO: &str = "policy: geo, rules: [{ countries: [DE], regions: [us, eu] }]";
    const ROUTE: &str =
        "split: [{ upstream: a, weight: 2 }, { upstream: b }], mirror: { upstream: second }";

    #[test]
    fn what_merely_moved_within_the_file_has_not_changed() {
        let old = plan(REGIONS[0], UPSTREAMS[0], GEO, ROUTE);
        let new = plan(REGIONS[1], UPSTREAMS[1], GEO, ROUTE);
        assert_ne!(old.routes[0].split, new.routes[0].split);
        assert_eq!(Changes::between(&old, &new), Changes::default());
    }

    #[test]
    fn rules_splits_and_mirrors_are_compared_by_name() {
        let check = |steering: [&str; 2], route: [&str; 2], expected: &str| {
            let old = plan(REGIONS[0], UPSTREAMS[0], steering[0], route[0]);
            let new = plan(REGIONS[0], UPSTREAMS[0], steering[1], route[1]);
            let shown = Changes::between(&old, &new).to_string();
            assert_eq!(shown, expected, "{steering:?} {route:?}");
        };
        let rules = |to: &str| {
            check(
                [GEO, &GEO.replace("[us, eu]", to)],
                [ROUTE; 2],
                "upstreams ~2",
            )
        };
        rules("[eu, us]");
        rules("[us]");
        check([GEO, &GEO.replace("DE", "FR")], [ROUTE; 2], "upstreams ~2");
        check([GEO, "policy: geo"], [ROUTE; 2], "upstreams ~2");
        let route = |from: &str, to: &str| {
            let changed = ROUTE.replace(from, to);
            assert_ne!(changed, ROUTE);
            check([GEO; 2], [ROUTE, &changed], "routes ~1");
        };
        route("weight: 2", "weight: 3");
        route("upstream: b }", "upstream: first }");
        route("], mirror", ", { upstream: first }], mirror");
        route("], mirror", "], split_on: [path], mirror");
        route("upstream: second", "upstream: first");
        route("upstream: second", "upstream: second, share: 10%");
        route("upstream: second", "upstream: second, max_body: 1KiB");
        route(", mirror: { upstream: second }", "");
        check([GEO; 2], [ROUTE, "upstream: a"], "routes ~1");
    }

    #[test]
    fn another_secret_is_another_plan() {
        let with = |file: &str| {
            let steering = format!(
                "affinity: {{ by: cookie, cookie: {{ name: c, secret_files: [{file}] }} }}"
            );
            plan(REGIONS[0], UPSTREAMS[0], &steering, ROUTE)
        };
        let (old, new) = (with("one"), with("two"));
        assert!(same_content(&old, &with("one")));
        assert!(!same_content(&old, &new));
        assert_eq!(Changes::between(&old, &new).to_string(), "upstreams ~2");
    }
}
