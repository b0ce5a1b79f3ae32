//! What a request asks for at first, by its route, its upstream and what is hashed of it.

use std::time::Instant;

use super::Ask;
use crate::hash::{Hashed, KeyFacts};
use crate::plan::{AffinityBy, AffinityScope, Policy, Route, Upstream};
use crate::route::RequestFacts;

impl Ask {
    /// The ask of `request`, which takes `route` to `upstream` and has tried nothing yet. Where its client
    /// is and what pins it to a place is for the caller to add.
    #[inline(always)]
    pub fn of(
        route: &Route,
        upstream: &Upstream,
        request: &impl RequestFacts,
        now: Instant,
    ) -> Self {
        let mut ask = Self::new(route.allowed, now);
        ask.isolation = route.isolation;
        let hashing = upstream.balance.hashing();
        ask.hash = hashing.and_then(|hashing| Some(hashing.of(request)?.hash));
        ask.stick(upstream, request);
        ask.prefer = upstream.steering.preference_of(request);
        ask
    }

    /// Affinity by hash goes before a policy that hashes. It keeps endpoints by the same hash, unless the
    /// upstream's policy for endpoints hashes something itself.
    fn stick(&mut self, upstream: &Upstream, request: &impl KeyFacts) {
        let hash = |keys| Hashed::first(keys, request).map(|hashed| hashed.hash);
        match (&upstream.steering.affinity, &upstream.steering.policy) {
            (Some(affinity), _) => {
                let AffinityBy::Hash(keys) = &affinity.by else {
                    return;
                };
                self.sticky = hash(keys);
                let by_endpoint = affinity.scope == AffinityScope::Endpoint;
                if by_endpoint && upstream.balance.hashing().is_none() {
                    self.hash = self.sticky;
                }
            }
            (None, Policy::Weighted { hash_on }) => self.sticky = hash(hash_on),
            (None, _) => {}
        }
    }
}
