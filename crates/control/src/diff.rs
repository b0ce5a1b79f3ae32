//! What another configuration would do differently: not which lines of the text differ, but which
//! routes, regions and settings do, and who gains or loses by it.
//!
//! Two views are put together. The resolved configurations say which keys have other values, in the
//! words of the file ([`fields`]). The plans say what follows: where the requests of each route may go
//! ([`eligible`]), and whose requests a route takes that comes or goes ([`requests`]). Nothing is
//! contacted, and nothing observed: `try` puts a candidate beside what really happens.

mod eligible;
mod fields;
pub(crate) mod requests;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_config::{Loaded, resolved_tree};
use tidegate_core::Plan;
use tidegate_core::plan::Route;

use crate::changes::same_content;
use crate::restart::differing;

pub use eligible::{Barred, Moved};
pub use fields::Field;

/// The parts of a configuration that are told apart by name.
const NAMED: [&str; 3] = ["regions", "upstreams", "routes"];

/// What only a restart changes: [`Diff::restart`] names it.
const SETTINGS: [&str; 6] = [
    "listeners",
    "admin",
    "threads",
    "shutdown_timeout",
    "access_log",
    "state",
];

/// The difference between two configurations. `Display` prints it for people, in lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Settings that only a restart changes, by name.
    pub restart: Vec<String>,
    /// Regions.
    pub regions: Vec<Change>,
    /// Upstreams.
    pub upstreams: Vec<Change>,
    /// Routes.
    pub routes: Vec<RouteChange>,
    /// Everything else that has a name in the file.
    pub other: Vec<Field>,
    /// Per region: the routes that gain it or lose it.
    pub eligibility: BTreeMap<Arc<str>, Shift>,
    /// Whether something differs that is not shown: certificates, secrets, values of the environment.
    pub hidden: bool,
}

/// One thing that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it came, went or stayed.
    pub what: What,
    /// What has another value, of one that stayed.
    pub fields: Vec<Field>,
}

/// Whether something came, went or stayed otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Only the new one has it.
    Added,
    /// Only the old one has it.
    Removed,
    /// Both have it, not alike.
    Changed,
}

/// A route, and what becomes of its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteChange {
    /// The route.
    #[serde(flatten)]
    pub change: Change,
    /// Regions that only the new one may use.
    pub gains: Vec<Moved>,
    /// Regions that only the old one may use.
    pub loses: Vec<Moved>,
    /// Who takes a request that fits it.
    pub requests: Option<Requests>,
}

/// Who takes the plainest request that fits a route; none: nobody, it is answered 404.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Under the old configuration.
    pub from: Option<Arc<str>>,
    /// Under the new one.
    pub to: Option<Arc<str>>,
}

/// The routes for which a region opens or shuts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Those that may use it now.
    pub gained_by: Vec<Arc<str>>,
    /// Those that may not any more.
    pub lost_by: Vec<Arc<str>>,
}

/// A resolved configuration, taken apart.
struct Parts {
    named: [HashMap<String, Value>; 3],
    rest: Value,
}

impl Diff {
    /// What `new` does otherwise than `old`.
    pub fn between(old: &Loaded, new: &Loaded) -> Self {
        let restart = differing(&old.settings, &new.settings);
        let (a, b) = (Parts::of(old), Parts::of(new));
        let regions = [old, new].map(|loaded| names(&loaded.plan.regions, |region| &region.name));
        let upstreams =
            [old, new].map(|loaded| names(&loaded.plan.upstreams, |upstream| &upstream.name));
        let mut diff = Self {
            restart,
            regions: changes(regions, (&a, &b), 0),
            upstreams: changes(upstreams, (&a, &b), 1),
            routes: routes((&old.plan, &a), (&new.plan, &b)),
            other: fields::between(&a.rest, &b.rest),
            ..Self::default()
        };
        diff.shift();
        diff.hidden = diff.shows_nothing() && !same_content(&old.plan, &new.plan);
        diff
    }

    /// Whether the two are the same.
    pub fn is_empty(&self) -> bool {
        self.shows_nothing() && !self.hidden
    }

    fn shows_nothing(&self) -> bool {
        let lists = [self.regions.len(), self.upstreams.len(), self.other.len()];
        lists == [0; 3] && self.restart.is_empty() && self.routes.is_empty()
    }

    /// Turns what routes gain and lose round: by region. A route that comes or goes as a whole is no
    /// shift of a region.
    fn shift(&mut self) {
        for route in self
            .routes
            .iter()
            .filter(|route| route.change.what == What::Changed)
        {
            for moved in &route.gains {
                let shift = self.eligibility.entry(moved.region.clone()).or_default();
                shift.gained_by.push(route.change.name.clone());
            }
            for moved in &route.loses {
                let shift = self.eligibility.entry(moved.region.clone()).or_default();
                shift.lost_by.push(route.change.name.clone());
            }
        }
    }
}

impl Parts {
    fn of(loaded: &Loaded) -> Self {
        let mut all = match resolved_tree(loaded) {
            Value::Object(all) => all,
            _ => Map::new(),
        };
        all.retain(|key, _| !SETTINGS.contains(&key.as_str()));
        let named = NAMED.map(|part| by_name(all.remove(part)));
        let rest = Value::Object(all);
        Self { named, rest }
    }
}

/// A mapping as it is; a list by the names of its members.
fn by_name(part: Option<Value>) -> HashMap<String, Value> {
    match part {
        Some(Value::Object(entries)) => entries.into_iter().collect(),
        Some(Value::Array(items)) => {
            let name = |item: &Value| item["name"].as_str().map(str::to_owned);
            let named = items.into_iter().map(|item| (name(&item), item));
            named
                .filter_map(|(name, item)| Some((name?, item)))
                .collect()
        }
        _ => HashMap::new(),
    }
}

fn names<T>(all: &[T], name: impl Fn(&T) -> &Arc<str>) -> Vec<Arc<str>> {
    all.iter().map(|one| name(one).clone()).collect()
}

fn changes([old, new]: [Vec<Arc<str>>; 2], parts: (&Parts, &Parts), part: usize) -> Vec<Change> {
    let (a, b) = (&parts.0.named[part], &parts.1.named[part]);
    let came = |name: &Arc<str>| !a.contains_key(&**name);
    let went = old.iter().filter(|name| !b.contains_key(&***name));
    let there = new.iter().filter_map(|name| match came(name) {
        true => Some(Change::of(name, What::Added)),
        false => Change::changed(name, (a, b)),
    });
    there
        .chain(went.map(|name| Change::of(name, What::Removed)))
        .collect()
}

impl Change {
    fn of(name: &Arc<str>, what: What) -> Self {
        Self {
            name: name.clone(),
            what,
            fields: Vec::new(),
        }
    }

    fn changed(
        name: &Arc<str>,
        (a, b): (&HashMap<String, Value>, &HashMap<String, Value>),
    ) -> Option<Self> {
        let fields = fields::between(a.get(&**name)?, b.get(&**name)?);
        let change = Self {
            fields,
            ..Self::of(name, What::Changed)
        };
        (!change.fields.is_empty()).then_some(change)
    }
}

fn routes((old, a): (&Plan, &Parts), (new, b): (&Plan, &Parts)) -> Vec<RouteChange> {
    let (before, after) = (routes_of(old), routes_of(new));
    let parts = (&a.named[2], &b.named[2]);
    let there = new
        .routes
        .iter()
        .filter_map(|route| match before.get(&route.name) {
            None => Some(RouteChange::alone((old, new), &before, route, What::Added)),
            Some(was) => RouteChange::between((old, was), (new, route), parts),
        });
    let gone = old
        .routes
        .iter()
        .filter(|route| !after.contains_key(&route.name));
    let gone = gone.map(|route| RouteChange::alone((old, new), &after, route, What::Removed));
    there.chain(gone).collect()
}

fn routes_of(plan: &Plan) -> HashMap<&Arc<str>, &Route> {
    let routes = plan.routes.iter().map(|route| -> &Route { route });
    routes.map(|route| (&route.name, route)).collect()
}

impl RouteChange {
    /// A route that only one of the two has; `others` are those of the other one. Its requests are theirs
    /// there: what these may use is held against that.
    fn alone(
        (old, new): (&Plan, &Plan),
        others: &HashMap<&Arc<str>, &Route>,
        route: &Route,
        what: What,
    ) -> Self {
        let (within, beside) = match what {
            What::Removed => (old, new),
            _ => (new, old),
        };
        let requests = Requests::of((old, new), (within, route));
        let other = requests.as_ref().and_then(|told| match what {
            What::Removed => told.to.as_ref(),
            _ => told.from.as_ref(),
        });
        let other = other.and_then(|name| others.get(name));
        let other = other.map(|other| eligible::eligible(beside, other));
        let (own, other) = (eligible::eligible(within, route), other.unwrap_or_default());
        let (before, after) = match what {
            What::Removed => (own, other),
            _ => (other, own),
        };
        Self {
            change: Change::of(&route.name, what),
            gains: eligible::only(&after, &before),
            loses: eligible::only(&before, &after),
            requests,
        }
    }

    fn between(
        (old, was): (&Plan, &Route),
        (new, is): (&Plan, &Route),
        parts: (&HashMap<String, Value>, &HashMap<String, Value>),
    ) -> Option<Self> {
        let (a, b) = (eligible::eligible(old, was), eligible::eligible(new, is));
        let requests = Requests::of((old, new), (new, is));
        let change = Self {
            change: Change::changed(&is.name, parts)
                .unwrap_or_else(|| Change::of(&is.name, What::Changed)),
            gains: eligible::only(&b, &a),
            loses: eligible::only(&a, &b),
            requests: requests.filter(|requests| requests.from != requests.to),
        };
        (!change.is_same()).then_some(change)
    }

    fn is_same(&self) -> bool {
        self.change.fields.is_empty()
            && self.gains.is_empty()
            && self.loses.is_empty()
            && self.requests.is_none()
    }
}

impl Requests {
    fn of((old, new): (&Plan, &Plan), (within, route): (&Plan, &Route)) -> Option<Self> {
        let example = requests::example(within, route)?;
        Some(Self {
            from: requests::taken_by(old, &example),
            to: requests::taken_by(new, &example),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tidegate_config::{Memory, compile};

    use super::*;

    const OLD: &str = "
regions: { eu: { jurisdictions: [eu] }, us: { jurisdictions: [us] } }
upstreams:
  shop: { regions: { eu: { endpoints: ['e:1'] }, us: { endpoints: ['u:1'] } } }
routes:
  - { name: api, match: { host: a.example, path: /api/** }, upstream: shop }
  - { name: all, match: { host: a.example }, upstream: shop }
";

    fn loaded(text: &str) -> Loaded {
        let text = format!("listeners: [{{ bind: '127.0.0.1:0' }}]{text}");
        let loaded = compile("t.yaml", &text, &Memory::new(), SystemTime::now());
        loaded.unwrap_or_else(|report| panic!("{report}"))
    }

    fn check(edit: (&str, &str), expected: &str) {
        let new = OLD.replace(edit.0, edit.1);
        assert_ne!(new, OLD);
        let diff = Diff::between(&loaded(OLD), &loaded(&new));
        assert_eq!(diff.to_string(), expected.trim_start_matches('\n'));
    }

    #[test]
    fn the_same_in_other_words_is_the_same() {
        let new = "
# another order of keys and regions, and defaults written out
upstreams: { shop: { balance: peak_ewma, regions: { eu: { endpoints: ['e:1'] }, us: { endpoints: ['u:1'] } } } }
regions: { eu: { jurisdictions: [eu] }, us: { jurisdictions: [us] } }
routes:
  - { upstream: shop, name: api, match: { path: /api/**, host: a.example }, timeout: 30000ms }
  - { name: all, match: { host: a.example }, upstream: shop }
";
        let diff = Diff::between(&loaded(OLD), &loaded(new));
        assert!(diff.is_empty(), "{diff}");
        assert_eq!(diff.to_string(), "nothing differs\n");
    }

    #[test]
    fn a_route_that_goes_leaves_its_requests_to_another() {
        let gone = "  - { name: api, match: { host: a.example, path: /api/** }, upstream: shop }\n";
        check(
            (gone, ""),
            "
routes
  - api
    its requests take `all`
",
        );
        let gone = "  - { name: all, match: { host: a.example }, upstream: shop }\n";
        check(
            (gone, ""),
            "
routes
  - all
    its requests take no route (404)
",
        );
    }

    #[test]
    fn a_route_that_comes_takes_requests_from_another() {
        let login = "routes:\n  - { name: login, match: { host: a.example, path: /api/login }, upstream: shop }";
        check(
            ("routes:", login),
            "
routes
  + login
    takes requests that took `api`
",
        );
    }

    #[test]
    fn a_route_that_comes_takes_regions_from_the_requests_it_takes() {
        let login = "routes:\n  - { name: login, match: { host: a.example, path: /api/login }, \
                     upstream: shop, residency: { allow: [eu] } }";
        check(
            ("routes:", login),
            "
routes
  + login
    takes requests that took `api`
    they lose us (residency)
",
        );
    }

    #[test]
    fn residency_takes_regions_from_a_route() {
        let kept = "path: /api/** }, upstream: shop, timeout: 5s, residency: { allow: [eu] } }";
        check(
            ("path: /api/** }, upstream: shop }", kept),
            "
routes
  ~ api
    residency: nothing -> {allow: [eu]}
    timeout: 30s -> 5s
    loses us (residency)
who may use which region
    us: lost by 1 route (api)
",
        );
    }

    #[test]
    fn a_region_less_of_an_upstream_is_a_region_less_of_its_routes() {
        check(
            (", us: { endpoints: ['u:1'] } }", " }"),
            "
routes
  ~ api
    loses us (its upstream does not live there)
  ~ all
    loses us (its upstream does not live there)
upstreams
  ~ shop
    connection.warm_standby: 1 -> 0
    regions.us: {dial: 100%, endpoints: [{address: u:1, weight: 1}], standby: hot, weight: 1, zones: []} -> nothing
who may use which region
    us: lost by 2 routes (api, all)
",
        );
    }
}
