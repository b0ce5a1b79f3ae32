//! Which upstream of a split a request goes to: weighted rendezvous hashing.
//!
//! Every target draws a number from the request's hash and its own name, and the best number for its
//! weight wins. Shares are those of the weights, and who changes a weight moves no request between two
//! targets whose weights stay as they are; between two targets, nothing but the difference moves at
//! all. Names count, not positions, so that neither order nor a new neighbour moves anybody. Cutting
//! the range of hashes into pieces would be cheaper and would move the pieces behind the one that grew.

use crate::hash::{Hashed, KeyFacts, xxh64};
use crate::ids::UpstreamIdx;
use crate::plan::{HashKey, Plan, Route, Split};

/// Values of a draw: with the half that is added, all that a double can tell apart below 1.
const DRAWS: f64 = (1_u64 << 52) as f64;

impl Plan {
    /// The upstream of `request`, which takes `route`: the route's, or the one that its split gives it, by
    /// what is hashed, if it has that, else by `draw`, a random number. None: the route answers by itself.
    pub fn upstream_for(
        &self,
        route: &Route,
        request: &impl KeyFacts,
        draw: impl FnOnce() -> u64,
    ) -> Option<UpstreamIdx> {
        let Some(split) = &route.split else {
            return route.upstream;
        };
        let (number, _) = split.number(request, draw);
        self.upstream_by(route, number)
    }

    /// The upstream of a request of `route` whose number this is, if the route is split.
    pub fn upstream_by(&self, route: &Route, number: u64) -> Option<UpstreamIdx> {
        let split = route.split.as_ref();
        let picked = split.and_then(|split| split.pick(number, |at| &self.upstream(at).name));
        picked.or(route.upstream)
    }
}

impl Split {
    /// The number that decides for `request`, and the part of it that this is the hash of; none if it
    /// has no such part, and the number is `draw`.
    pub fn number(
        &self,
        request: &impl KeyFacts,
        draw: impl FnOnce() -> u64,
    ) -> (u64, Option<&HashKey>) {
        match Hashed::first(&self.hash_on, request) {
            Some(Hashed { key, hash }) => (hash, Some(key)),
            None => (draw(), None),
        }
    }

    /// The upstream of the request that has `hash`, which is a random number for a request that may go
    /// anywhere. `name_of` gives an upstream's name. A weight of 0 gets nothing; none if all are 0, which
    /// no plan has.
    pub fn pick<'a>(
        &self,
        hash: u64,
        name_of: impl Fn(UpstreamIdx) -> &'a str,
    ) -> Option<UpstreamIdx> {
        let weighty = self.targets.iter().filter(|target| target.weight > 0);
        let drawn = weighty.map(|target| {
            let score = score(hash, name_of(target.upstream), target.weight);
            (score, target.upstream)
        });
        let first = drawn.min_by(|(a, _), (b, _)| a.total_cmp(b));
        first.map(|(_, upstream)| upstream)
    }
}

/// What an upstream of this name and weight draws by a request's number: the lowest wins.
pub(crate) fn score(number: u64, name: &str, weight: u32) -> f64 {
    arrival(xxh64(number, name.as_bytes())) / f64::from(weight)
}

/// When the first event of a process of rate 1 arrives: exponentially distributed, above 0 and finite.
/// Of processes of several rates each is the first as often as its rate is of their sum.
fn arrival(drawn: u64) -> f64 {
    let uniform = ((drawn >> 12) as f64 + 0.5) / DRAWS;
    -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_arrives_after_now_and_before_never() {
        for drawn in [0, 1, u64::MAX / 2, u64::MAX] {
            let time = arrival(drawn);
            assert!(time > 0.0 && time.is_finite(), "{drawn}: {time}");
        }
    }
}
