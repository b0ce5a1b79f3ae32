//! What came of the comparisons: how many requests would change, in what, on which routes, and a few of
//! them to look at. What is kept is bounded, whatever requests come.
//!
//! A sample shows the method, host and path of a request and what both plans decide; never its query or
//! the value of a field, because that is where secrets are.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::Snapshot;
use tidegate_core::route::RequestFacts;
use tidegate_core::shadow::{Aspect, Comparison, Outlook};

/// Routes that are counted by name; requests of the others count as a whole only.
const ROUTES_MAX: usize = 2_000;
/// Different reasons that are counted for a route.
const REASONS_MAX: usize = 16;
/// Samples of a route, and of those that differ in the same aspects.
const SAMPLES_MAX: usize = 4;
const ALIKE_MAX: usize = 2;
/// A path or a host is shown no longer.
const TEXT_MAX: usize = 200;
/// Where requests are counted that no route takes now.
const NO_ROUTE: &str = "(none)";
/// Routes that a report shows, those with the most changes first.
const REPORTED_MAX: usize = 50;

/// Comparisons, counted.
#[derive(Debug, Default)]
pub struct Tally {
    requests: u64,
    differing: u64,
    missed: u64,
    errors: u64,
    aspects: [u64; Aspect::ALL.len()],
    routes: HashMap<Arc<str>, Route>,
    unlisted: u64,
}

#[derive(Debug, Default)]
struct Route {
    requests: u64,
    differing: u64,
    aspects: [u64; Aspect::ALL.len()],
    reasons: HashMap<(Aspect, String), u64>,
    samples: Vec<(u16, Sample)>,
}

/// One request that would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    method: String,
    host: String,
    path: String,
    reasons: Vec<Reason>,
    before: Decided,
    after: Decided,
}

/// What of a request would change, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Reason {
    aspect: Aspect,
    change: String,
    /// How many requests of the route have it; none in a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
}

/// What a plan decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Decided {
    route: Option<Arc<str>>,
    action: String,
    upstream: Option<Arc<str>>,
    regions: Vec<Arc<str>>,
    end: String,
}

/// How many requests would change in one aspect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Count {
    aspect: Aspect,
    requests: u64,
    share: f64,
}

/// What came of it, by route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ByRoute {
    route: Arc<str>,
    requests: u64,
    differ: u64,
    share: f64,
    aspects: Vec<Count>,
    reasons: Vec<Reason>,
    samples: Vec<Sample>,
}

/// What came of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Requests that were compared.
    requests: u64,
    /// Requests that came too fast to be compared as well.
    missed: u64,
    /// Requests whose comparison failed.
    errors: u64,
    /// Those that would change.
    differ: u64,
    /// The part of all that is.
    share: f64,
    /// By what would change; without those in which nothing would.
    aspects: Vec<Count>,
    /// The routes on which something would change, most changes first.
    routes: Vec<ByRoute>,
    /// How many such routes besides are not shown.
    more_routes: usize,
    /// Requests of routes beyond those that are counted by name.
    unlisted: u64,
}

impl Tally {
    /// Enters what two plans do with a request. It is counted at the route that takes it now.
    pub(super) fn enter(&mut self, request: &Snapshot, found: Comparison) {
        self.requests += 1;
        self.differing += u64::from(found.differs());
        add(&mut self.aspects, &found);
        let name = found
            .before
            .route
            .clone()
            .unwrap_or_else(|| NO_ROUTE.into());
        if self.routes.len() < ROUTES_MAX || self.routes.contains_key(&name) {
            self.routes.entry(name).or_default().enter(request, found);
        } else {
            self.unlisted += 1;
        }
    }

    /// Enters requests that were left out.
    pub(super) fn miss(&mut self, requests: u64) {
        self.missed += requests;
    }

    /// Enters a request whose comparison failed.
    pub(super) fn fail(&mut self) {
        self.requests += 1;
        self.errors += 1;
    }

    /// Requests that were compared.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Those that would change.
    pub fn differing(&self) -> u64 {
        self.differing
    }

    /// Those whose comparison failed.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Those that would change in this.
    pub fn of(&self, aspect: Aspect) -> u64 {
        self.aspects[place(aspect)]
    }

    /// The part that so many are of all; 0 of none.
    pub fn part(&self, requests: u64) -> f64 {
        part(requests, self.requests)
    }

    /// What came of all.
    pub fn compared(&self) -> Compared {
        let mut differing: Vec<_> = self.routes.iter().collect();
        differing.retain(|(_, route)| route.differing > 0);
        differing.sort_by(|(a_name, a), (b_name, b)| {
            let by_count = b.differing.cmp(&a.differing);
            by_count.then_with(|| a_name.cmp(b_name))
        });
        let shown = differing.iter().take(REPORTED_MAX);
        Compared {
            requests: self.requests,
            missed: self.missed,
            errors: self.errors,
            differ: self.differing,
            share: self.part(self.differing),
            aspects: counts(&self.aspects, self.requests),
            routes: shown.map(|(name, route)| route.told(name)).collect(),
            more_routes: differing.len().saturating_sub(REPORTED_MAX),
            unlisted: self.unlisted,
        }
    }
}

impl Route {
    fn enter(&mut self, request: &Snapshot, found: Comparison) {
        self.requests += 1;
        if !found.differs() {
            return;
        }
        self.differing += 1;
        add(&mut self.aspects, &found);
        for (aspect, change) in &found.reasons {
            let key = (*aspect, change.clone());
            if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&key) {
                *self.reasons.entry(key).or_default() += 1;
            }
        }
        let kind = found.reasons.iter().map(|(aspect, _)| 1 << place(*aspect));
        let kind = kind.fold(0, |all: u16, one: u16| all | one);
        let alike = self.samples.iter().filter(|(has, _)| *has == kind).count();
        if self.samples.len() < SAMPLES_MAX && alike < ALIKE_MAX {
            self.samples.push((kind, Sample::of(request, found)));
        }
    }

    fn told(&self, name: &Arc<str>) -> ByRoute {
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|((aspect, change), requests)| Reason {
            aspect: *aspect,
            change: change.clone(),
            requests: Some(*requests),
        });
        let mut reasons: Vec<_> = reasons.collect();
        reasons.sort_by(|a, b| {
            let by_count = b.requests.cmp(&a.requests);
            by_count.then_with(|| (a.aspect, &a.change).cmp(&(b.aspect, &b.change)))
        });
        ByRoute {
            route: name.clone(),
            requests: self.requests,
            differ: self.differing,
            share: part(self.differing, self.requests),
            aspects: counts(&self.aspects, self.requests),
            reasons,
            samples: self.samples.iter().map(|(_, it)| it.clone()).collect(),
        }
    }
}

impl Sample {
    fn of(request: &Snapshot, found: Comparison) -> Self {
        let reasons = found.reasons.into_iter();
        Self {
            method: request.method.to_string(),
            host: short(&request.host),
            path: short(request.path()),
            reasons: reasons
                .map(|(aspect, change)| Reason {
                    aspect,
                    change,
                    requests: None,
                })
                .collect(),
            before: Decided::of(found.before),
            after: Decided::of(found.after),
        }
    }
}

impl Decided {
    fn of(outlook: Outlook) -> Self {
        Self {
            end: outlook.ending.to_string(),
            route: outlook.route,
            action: outlook.action.to_string(),
            upstream: outlook.upstream,
            regions: outlook.regions,
        }
    }
}

fn add(aspects: &mut [u64; Aspect::ALL.len()], found: &Comparison) {
    for (aspect, _) in &found.reasons {
        aspects[place(*aspect)] += 1;
    }
}

fn counts(aspects: &[u64; Aspect::ALL.len()], all: u64) -> Vec<Count> {
    let each = Aspect::ALL.into_iter().zip(aspects);
    let some = each.filter(|(_, requests)| **requests > 0);
    let told = some.map(|(aspect, requests)| Count {
        aspect,
        requests: *requests,
        share: part(*requests, all),
    });
    told.collect()
}

fn part(some: u64, all: u64) -> f64 {
    match all {
        0 => 0.0,
        all => some as f64 / all as f64,
    }
}

/// Its position in [`Aspect::ALL`], which has them in their order.
fn place(aspect: Aspect) -> usize {
    aspect as usize
}

fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::COOKIE;
    use tidegate_core::shadow::{Action, Ending, Residency};

    use super::*;

    #[test]
    fn aspects_are_at_their_places() {
        for (at, aspect) in Aspect::ALL.into_iter().enumerate() {
            assert_eq!(place(aspect), at);
        }
    }

    /// What a request of this route comes to, with or without a change of its region.
    fn found(route: &str, change: Option<&str>) -> Comparison {
        let outlook = Outlook {
            route: Some(route.into()),
            action: Action::default(),
            upstream: None,
            regions: Vec::new(),
            because: None,
            excluded: Vec::new(),
            residency: Residency::default(),
            times: None,
            ending: Ending::Served,
        };
        let reasons = change.map(|change| (Aspect::Region, change.to_owned()));
        Comparison {
            before: outlook.clone(),
            after: outlook,
            reasons: reasons.into_iter().collect(),
        }
    }

    fn request(target: &str) -> Snapshot {
        Snapshot::new(Method::GET, "a.test", target)
            .with_fields([(COOKIE, "session=hidden".to_owned())])
    }

    #[test]
    fn no_sample_tells_a_secret() {
        let mut tally = Tally::default();
        tally.enter(
            &request("/cart?token=hidden"),
            found("shop", Some("a -> b")),
        );
        let told = serde_json::to_string(&tally.compared()).unwrap();
        assert!(told.contains("/cart") && !told.contains("hidden"), "{told}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut tally = Tally::default();
        for n in 0..3_000_u32 {
            let path = format!("/{}", "x".repeat(n as usize));
            let change = format!("a -> {n}");
            tally.enter(&request(&path), found("shop", Some(&change)));
            let route = format!("route-{n}");
            tally.enter(&request("/"), found(&route, Some("a -> b")));
        }
        let told = tally.compared();
        assert_eq!(
            (told.requests, told.differ, told.unlisted),
            (6_000, 6_000, 1_001)
        );
        assert_eq!((told.routes.len(), told.more_routes), (50, 1_950));
        let shop = &told.routes[0];
        assert_eq!((&*shop.route, shop.requests), ("shop", 3_000));
        assert_eq!((shop.reasons.len(), shop.samples.len()), (16, 2));
        let longest = shop.samples.iter().map(|sample| sample.path.len()).max();
        assert!(longest < Some(TEXT_MAX + 4));
    }

    #[test]
    fn shares_are_of_what_was_compared() {
        let mut tally = Tally::default();
        assert_eq!(tally.part(0), 0.0);
        for n in 0..8 {
            tally.enter(&request("/"), found("shop", (n == 0).then_some("a -> b")));
        }
        tally.miss(100);
        let told = tally.compared();
        assert_eq!((told.share, told.missed), (0.125, 100));
        assert_eq!(told.aspects[0].share, 0.125);
    }
}
