//! What a plan leaves as it was, and what of it went down by itself: for these failures the plan is not
//! to blame.
//!
//! A route is untouched when it is the same in both plans, so are the upstreams that it needs, and no
//! requests come to it that another route took before. An upstream that gets requests which it did not
//! get before is not untouched: its regions may have gone down under them. All of this is found from
//! the two plans alone, once for each activation; what happens since is read from the regions' cells.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_core::plan::{Route, Upstream, UpstreamRegion};
use tidegate_core::{Dial, Live, Plan, RegionCell, Snapshot, UpstreamIdx};
use tidegate_telemetry::metrics::OTHER;

use crate::changes::{alike_around, alike_route, alike_upstream, same_region};
use crate::diff::requests::{example, taken_by};

type Name = Arc<str>;

/// What two plans have in common.
#[derive(Debug, Default)]
pub(super) struct Untouched {
    /// By name, the positions of the regions that its requests may go to.
    routes: HashMap<Name, Box<[usize]>>,
    regions: Vec<Kept>,
}

/// A region of an untouched upstream.
#[derive(Debug)]
struct Kept {
    upstream: Name,
    region: Name,
    cell: Arc<RegionCell>,
    /// Whether it took requests when the comparison began.
    was_up: bool,
    /// Whether it did not at any look since.
    fell: bool,
}

impl Untouched {
    /// What `new` leaves as it is in `old`, as its regions stand now.
    pub(super) fn between(old: &Live, new: &Live) -> Self {
        let pair = Pair::of(&old.plan, &new.plan);
        let mut all = Self::default();
        if !alike_around(&old.plan, &new.plan) {
            return all;
        }
        let touched = pair.touched();
        let places = all.keep(&pair, &touched.upstreams, new);
        for route in &new.plan.routes {
            if touched.routes.contains(&route.name) {
                continue;
            }
            let lives_in = |upstream: UpstreamIdx| places.get(upstream.get())?.as_ref();
            let regions: Option<Vec<_>> = route.upstreams().map(lives_in).collect();
            // One that needs something touched as well is judged like any.
            let Some(regions) = regions.filter(|regions| !regions.is_empty()) else {
                continue;
            };
            let usable = |(spec, _): &&(&UpstreamRegion, usize)| {
                route.allowed.contains(spec.region) && spec.dial != Dial::NONE
            };
            let usable = regions.into_iter().flatten().filter(usable);
            let usable = usable.map(|(_, position)| *position).collect();
            all.routes.insert(route.name.clone(), usable);
        }
        all
    }

    /// Enters the regions of untouched upstreams; where they are, by the upstream's index in the new
    /// plan.
    fn keep<'a>(
        &mut self,
        pair: &Pair<'_>,
        touched: &HashSet<Name>,
        live: &'a Live,
    ) -> Vec<Option<Vec<(&'a UpstreamRegion, usize)>>> {
        let bound = live.plan.upstreams.iter().zip(&live.upstreams);
        let places = bound.map(|(upstream, bound)| {
            if touched.contains(&upstream.name) || !pair.has_upstream(upstream) {
                return None;
            }
            let regions = upstream.regions.iter().zip(&bound.regions);
            let entered = regions.map(|(spec, bound)| {
                self.regions.push(Kept {
                    upstream: upstream.name.clone(),
                    region: live.plan.region(spec.region).name.clone(),
                    was_up: takes_requests(&bound.cell),
                    fell: false,
                    cell: bound.cell.clone(),
                });
                (spec, self.regions.len() - 1)
            });
            Some(entered.collect())
        });
        places.collect()
    }

    /// Begins where `earlier` began: a region that took requests then has fallen since if it takes
    /// none now. To be called before the first look.
    pub(super) fn begin_with(&mut self, earlier: &Self) {
        let known: HashMap<_, _> = earlier
            .regions
            .iter()
            .map(|kept| (kept.id(), kept))
            .collect();
        for kept in &mut self.regions {
            if let Some(earlier) = known.get(&kept.id()) {
                (kept.was_up, kept.fell) = (earlier.was_up, earlier.fell);
            }
        }
    }

    /// Leaves out what `earlier` does not have: what was touched before still is.
    pub(super) fn within(&mut self, earlier: &Self) {
        self.begin_with(earlier);
        self.routes
            .retain(|name, _| earlier.routes.contains_key(name));
    }

    /// Looks which regions take no requests any more.
    pub(super) fn look(&mut self) {
        for kept in &mut self.regions {
            let takes = takes_requests(&kept.cell);
            kept.fell |= kept.was_up && !takes;
            // One that comes back may fall again.
            kept.was_up |= takes;
        }
    }

    /// The regions that went down since it began, as `upstream/region`, if a route needs them.
    pub(super) fn fallen(&self) -> Vec<String> {
        let needed: HashSet<usize> = self.routes.values().flatten().copied().collect();
        let regions = self.regions.iter().enumerate();
        let fallen = regions.filter(|(at, kept)| kept.fell && needed.contains(at));
        fallen
            .map(|(_, kept)| format!("{}/{}", kept.upstream, kept.region))
            .collect()
    }

    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether the route of this name is, and could so be excused.
    pub(super) fn has(&self, route: &str) -> bool {
        self.routes.contains_key(route) || route == OTHER
    }

    /// Whether failures on the route of this name are no fault of the plan: it is untouched, and a
    /// region that it may use went down. Of [`OTHER`] nobody knows the route: it is excused like most.
    pub(super) fn excuses(&self, route: &str) -> bool {
        let fell = |at: &usize| self.regions[*at].fell;
        match self.routes.get(route) {
            Some(regions) => regions.iter().any(fell),
            None => route == OTHER && self.regions.iter().any(|kept| kept.fell),
        }
    }
}

impl Kept {
    fn id(&self) -> (Name, Name) {
        (self.upstream.clone(), self.region.clone())
    }
}

fn takes_requests(cell: &RegionCell) -> bool {
    cell.health().usable() && !cell.draining()
}

/// Names of what a plan touches.
#[derive(Default)]
struct Touched {
    routes: HashSet<Name>,
    upstreams: HashSet<Name>,
}

/// Two plans, with what is looked up by name.
struct Pair<'a> {
    old: &'a Plan,
    new: &'a Plan,
    old_routes: HashMap<&'a Name, &'a Arc<Route>>,
    new_routes: HashMap<&'a Name, &'a Arc<Route>>,
    old_upstreams: HashMap<&'a Name, &'a Arc<Upstream>>,
}

impl<'a> Pair<'a> {
    fn of(old: &'a Plan, new: &'a Plan) -> Self {
        let upstreams = old.upstreams.iter();
        Self {
            old,
            new,
            old_routes: by_name(old),
            new_routes: by_name(new),
            old_upstreams: upstreams.map(|one| (&one.name, one)).collect(),
        }
    }

    /// Whether the old plan has this upstream of the new one, with the same regions.
    fn has_upstream(&self, upstream: &Arc<Upstream>) -> bool {
        let Some(was) = self.old_upstreams.get(&upstream.name) else {
            return false;
        };
        let regions = was.regions.iter().zip(&upstream.regions);
        alike_upstream((self.old, was), (self.new, upstream))
            && regions
                .map(|(a, b)| (self.old.region(a.region), self.new.region(b.region)))
                .all(|(a, b)| same_region(a, b))
    }

    fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        let moved = !self.keeps_order();
        for is in &self.new.routes {
            let was = self.old_routes.get(&is.name);
            let same = was.is_some_and(|was| alike_route((self.old, was), (self.new, is)));
            if !same {
                touched.routes.insert(is.name.clone());
            }
            if !same || moved {
                self.takes_more(is, &mut touched);
            }
        }
        for was in &self.old.routes {
            let is = self.new_routes.get(&was.name);
            let gives = is.is_none_or(|is| is.matches != was.matches);
            if gives || moved {
                self.gives_away(was, &mut touched);
            }
        }
        touched
    }

    /// Whether the routes that both have stand in the same order.
    fn keeps_order(&self) -> bool {
        let old = self.old.routes.iter().map(|route| &route.name);
        let new = self.new.routes.iter().map(|route| &route.name);
        let old = old.filter(|name| self.new_routes.contains_key(name));
        let new = new.filter(|name| self.old_routes.contains_key(name));
        old.eq(new)
    }

    /// A route of the new plan sends its requests where they may not have gone before.
    fn takes_more(&self, is: &Route, touched: &mut Touched) {
        let asked = example(self.new, is);
        let before = asked.and_then(|asked| taken_by(self.old, &asked));
        let sources = before.and_then(|name| self.old_routes.get(&name));
        let known = sources.map_or_else(HashSet::new, |route| fed_by(self.old, route));
        let more = fed_by(self.new, is);
        touched.upstreams.extend(more.difference(&known).cloned());
    }

    /// A route of the old plan leaves requests to another one.
    fn gives_away(&self, was: &Route, touched: &mut Touched) {
        let asked: Option<Snapshot> = example(self.old, was);
        let Some(heir) = asked.and_then(|asked| taken_by(self.new, &asked)) else {
            return;
        };
        if let Some(route) = self.new_routes.get(&heir).filter(|_| heir != was.name) {
            let more = fed_by(self.new, route);
            let known = fed_by(self.old, was);
            touched.upstreams.extend(more.difference(&known).cloned());
            touched.routes.insert(heir);
        }
    }
}

fn by_name(plan: &Plan) -> HashMap<&Name, &Arc<Route>> {
    let routes = plan.routes.iter();
    routes.map(|route| (&route.name, route)).collect()
}

/// The upstreams that get requests of the route, copies included.
fn fed_by(plan: &Plan, route: &Route) -> HashSet<Name> {
    let copies = route.mirror.map(|mirror| mirror.upstream);
    let fed = route.drawn_upstreams().chain(copies);
    fed.map(|index| plan.upstream(index).name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use tidegate_config::{Memory, compile};
    use tidegate_core::{Board, Health, PlanHandle};

    use super::*;

    const ROUTES: &str = "
  - { name: api, match: { path: /api/** }, upstream: shop }
  - { name: eu, match: { path: /eu/** }, upstream: shop, residency: { allow: [eu] } }
  - { name: both, match: { path: /both/** }, split: [{ upstream: shop }, { upstream: pay }] }
  - { name: own, match: { path: /own }, respond: { status: 503 } }
  - { name: all, upstream: pay }
";

    fn plan(routes: &str, shop: &str) -> Plan {
        let text = format!(
            "listeners: [{{ bind: '127.0.0.1:0' }}]
regions: {{ eu: {{ jurisdictions: [eu] }}, us: {{}} }}
upstreams:
  shop: {{ regions: {{ eu: {{ endpoints: ['e:1'] }}, us: {{ endpoints: ['u:1'] }} }}{shop} }}
  pay: {{ regions: {{ us: {{ endpoints: ['p:1'] }} }} }}
routes:{routes}"
        );
        let loaded = compile("t.yaml", &text, &Memory::new(), SystemTime::now());
        loaded.unwrap_or_else(|report| panic!("{report}")).plan
    }

    struct Scene {
        board: Board,
        handle: PlanHandle,
        old: Arc<Live>,
    }

    impl Scene {
        fn new() -> Self {
            let (board, handle) = (Board::new(Instant::now()), PlanHandle::new());
            let old = handle.activate(plan(ROUTES, ""), &board);
            Self { board, handle, old }
        }

        fn becomes(&self, routes: &str, shop: &str) -> Untouched {
            let new = self.handle.activate(plan(routes, shop), &self.board);
            Untouched::between(&self.old, &new)
        }

        fn fells(&self, upstream: &str, region: &str) {
            let cell = self.board.region(upstream, region);
            cell.set_health(Health::Unhealthy);
        }
    }

    fn names(untouched: &Untouched) -> Vec<&str> {
        let mut names: Vec<&str> = untouched.routes.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// An edit of the routes, and those that are untouched by it.
    fn check(edit: (&str, &str), expected: &[&str]) {
        let routes = ROUTES.replacen(edit.0, edit.1, 1);
        assert_ne!(routes, ROUTES);
        assert_eq!(
            names(&Scene::new().becomes(&routes, "")),
            expected,
            "{edit:?}"
        );
    }

    #[test]
    fn what_is_the_same_is_untouched() {
        let all = ["all", "api", "both", "eu"];
        let scene = Scene::new();
        assert_eq!(names(&scene.becomes(ROUTES, "")), all);
        // Another upstream, and every route that needs it.
        let other = scene.becomes(ROUTES, ", retry: { attempts: 2 }");
        assert_eq!(names(&other), ["all"]);
        check(
            ("/api/** }", "/api/** }, timeout: 5s"),
            &["all", "both", "eu"],
        );
        check(("status: 503", "status: 500"), &all);
    }

    #[test]
    fn who_gets_more_requests_is_not() {
        // A new route takes from one of the same upstream, or of another.
        let new = |upstream: &str| {
            format!("  - {{ name: new, match: {{ path: /api/new }}, upstream: {upstream} }}\n")
        };
        let first = "\n  - { name: api";
        check(
            (first, &format!("\n{}{}", new("shop"), &first[1..])),
            &["all", "api", "both", "eu"],
        );
        check(
            (first, &format!("\n{}{}", new("pay"), &first[1..])),
            &["api", "eu"],
        );
        // What goes leaves its requests to the last one.
        let eu = "  - { name: eu, match: { path: /eu/** }, upstream: shop, residency: { allow: [eu] } }\n";
        check((eu, ""), &["api"]);
        check(("/eu/**", "/eu/more/**"), &["api"]);
        // One changes sides.
        check(
            ("/api/** }, upstream: shop", "/api/** }, upstream: pay"),
            &["eu"],
        );
        check(
            (
                "/api/** }, upstream: shop",
                "/api/** }, upstream: shop, mirror: { upstream: pay }",
            ),
            &["eu"],
        );
    }

    #[test]
    fn routes_are_excused_whose_region_fell_since() {
        let scene = Scene::new();
        scene.fells("pay", "us");
        let mut untouched = scene.becomes(ROUTES, "");
        untouched.look();
        assert_eq!(untouched.fallen(), [""; 0], "it was down before");
        scene.fells("shop", "us");
        untouched.look();
        assert_eq!(untouched.fallen(), ["shop/us"]);
        let excused = |route: &str| untouched.excuses(route);
        assert!(excused("api") && excused("both") && excused(OTHER));
        assert!(!excused("eu"), "it never goes there");
        assert!(!excused("all") && !excused("own") && !excused("none"));
    }

    #[test]
    fn what_follows_begins_where_the_first_began() {
        let scene = Scene::new();
        let first = scene.becomes(&ROUTES.replace("/own }", "/own2 }"), "");
        scene.fells("shop", "us");
        let mut second = scene.becomes(ROUTES, "");
        second.within(&first);
        second.look();
        assert_eq!(second.fallen(), ["shop/us"]);
        let mut third = scene.becomes(ROUTES, "");
        let fewer = scene.becomes(&ROUTES.replace("/api/** }", "/api/** }, timeout: 5s"), "");
        third.within(&fewer);
        assert_eq!(names(&third), ["all", "both", "eu"]);
    }
}
