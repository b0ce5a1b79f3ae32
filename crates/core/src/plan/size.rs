//! How many bytes a plan takes, estimated: what a generation costs while something holds it.

use std::mem::size_of;
use std::sync::Arc;

use super::{Plan, Route, Upstream};

/// What an `Arc` adds to what it holds: two counts.
const COUNTS: usize = 16;

impl Route {
    /// Bytes that it takes, estimated: itself, its names and what it matches. What it shares with other
    /// routes (its actions' texts, say) counts as its own.
    pub fn bytes(&self) -> usize {
        let words = self.residency.iter().map(|word| COUNTS * 2 + word.len());
        let split = self.split.as_ref().map_or(0, |split| {
            size_of_val(&**split) + size_of_val(&*split.targets) + size_of_val(&*split.hash_on)
        });
        COUNTS + size_of::<Self>()
            + COUNTS
            + self.name.len()
            + words.sum::<usize>()
            + split
    }
}

impl Upstream {
    /// Bytes that it takes, estimated: itself, its regions and their endpoints.
    pub fn bytes(&self) -> usize {
        let endpoints = |region: &super::UpstreamRegion| {
            let addresses = region.endpoints.iter().map(|one| COUNTS + one.address.len());
            size_of_val(&*region.endpoints) + addresses.sum::<usize>()
        };
        COUNTS + size_of::<Self>()
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
            + routes.sum::<usize>()
            + upstreams.sum::<usize>()
    }
}
