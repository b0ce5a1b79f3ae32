//! How many bytes a plan takes, estimated: what a generation costs while something holds it.

use std::mem::size_of;
use std::sync::Arc;

use super::{Plan, Route, Upstream};
use crate::route::{PathMatch, RouteMatch};

/// What an `Arc` adds to what it holds: two counts.
const COUNTS: usize = 16;
/// A regular expression with what it was compiled to, about.
const PATTERN: usize = 8 << 10;

impl RouteMatch {
    /// Bytes that it takes beyond itself, estimated. Lists of networks, times and expressions are left
    /// out: they are few, or shared.
    pub(crate) fn heap_bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| COUNTS + text.len());
        let path = self.path.as_ref().map_or(0, |path| match path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => COUNTS + path.len(),
            PathMatch::Template(template) => COUNTS + size_of_val(&**template),
            PathMatch::Regex(_) => PATTERN,
        });
        text(&self.host)
            + text(&self.server_name)
            + path
            + size_of_val(&*self.methods)
            + size_of_val(&*self.headers)
            + size_of_val(&*self.query)
            + size_of_val(&*self.cookies)
    }
}

impl Route {
    /// Bytes that it takes, estimated: itself, its names and what it matches. What it shares with other
    /// routes (its actions' texts, say) counts as its own.
    pub fn bytes(&self) -> usize {
        let words = self.residency.iter().map(|word| COUNTS * 2 + word.len());
        let split = self.split.as_ref().map_or(0, |split| {
            size_of_val(&**split) + size_of_val(&*split.targets) + size_of_val(&*split.hash_on)
        });
        let itself = COUNTS + size_of::<Self>() + COUNTS + self.name.len();
        itself + self.matches.heap_bytes() + words.sum::<usize>() + split
    }
}

impl Upstream {
    /// Bytes that it takes, estimated: itself, its regions and their endpoints.
    pub fn bytes(&self) -> usize {
        let endpoints = |region: &super::UpstreamRegion| {
            let addresses = region
                .endpoints
                .iter()
                .map(|one| COUNTS + one.address.len());
            size_of_val(&*region.endpoints) + addresses.sum::<usize>()
        };
        COUNTS
            + size_of::<Self>()
            + COUNTS
            + self.name.len()
            + size_of_val(&*self.regions)
            + self.regions.iter().map(endpoints).sum::<usize>()
    }
}

impl Plan {
    /// Bytes that it takes, estimated by what there is much of: routes, their index, upstreams. What it
    /// shares with the plan before it counts as well.
    pub fn bytes(&self) -> usize {
        let routes = self.routes.iter().map(|route| route.bytes());
        let upstreams = self.upstreams.iter().map(|upstream| upstream.bytes());
        size_of::<Self>()
            + size_of_val::<[Arc<Route>]>(&self.routes)
            + size_of_val::<[Arc<Upstream>]>(&self.upstreams)
            + size_of_val(&*self.regions)
            + self.table.bytes()
            + routes.sum::<usize>()
            + upstreams.sum::<usize>()
    }
}
