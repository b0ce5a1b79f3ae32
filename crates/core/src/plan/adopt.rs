//! What a new plan has in common with the one before it is the same object.
//!
//! A reload that changes one of 10,000 routes then costs the memory of one route, however many
//! generations streams still hold parts of, and whoever compares the two sees at once what is the same.
//! Positions are meant by their own plan, so that a part is adopted only if every position in it means
//! the same in both.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Plan, Route};

impl Plan {
    /// Takes over from `before` what is equal: the list of regions, upstreams and routes, by name. Without
    /// the same regions nothing is. Compares everything once, so it is nothing for a thread that serves.
    pub fn adopt(&mut self, before: &Self) {
        if self.regions != before.regions {
            return;
        }
        self.regions = before.regions.clone();
        adopt(&mut self.upstreams, &before.upstreams, |upstream| {
            &upstream.name
        });
        let same_place: Vec<bool> = self
            .upstreams
            .iter()
            .enumerate()
            .map(|(at, upstream)| {
                let there = before.upstreams.get(at);
                there.is_some_and(|there| there.name == upstream.name)
            })
            .collect();
        let means_the_same = |route: &Route| {
            let mirror = route.mirror.as_ref().map(|mirror| mirror.upstream);
            let mut upstreams = route.upstreams().chain(route.upstream).chain(mirror);
            upstreams.all(|upstream| same_place[upstream.get()])
        };
        let before = before.routes.iter();
        let by_name: HashMap<&str, &Arc<Route>> =
            before.map(|route| (&*route.name, route)).collect();
        for route in &mut self.routes {
            if let Some(known) = by_name.get(&*route.name)
                && means_the_same(route)
                && *known == route
            {
                *route = (*known).clone();
            }
        }
    }
}

/// Takes over what has the same name and is equal.
fn adopt<T: PartialEq>(new: &mut [Arc<T>], before: &[Arc<T>], name: impl Fn(&T) -> &Arc<str>) {
    let by_name: HashMap<&str, &Arc<T>> = before.iter().map(|one| (&**name(one), one)).collect();
    for one in new {
        if let Some(known) = by_name.get(&**name(one))
            && *known == one
        {
            *one = (*known).clone();
        }
    }
}
