//! Which upstream of a split a request goes to: weighted rendezvous hashing.
//!
//! Every target draws a number from the request's hash and its own name, and the best number for its
//! weight wins. Shares are those of the weights, and who changes a weight moves no request between two
//! targets whose weights stay as they are; between two targets, nothing but the difference moves at
//! all. Names count, not positions, so that neither order nor a new neighbour moves anybody. Cutting
//! the range of hashes into pieces would be cheaper and would move the pieces behind the one that grew.

use crate::hash::{Hashed, KeyFacts, xxh64};
use crate::ids::UpstreamIdx;
use crate::plan::{Plan, Route, Split};

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
        let hashed = Hashed::first(&split.hash_on, request).map(|hashed| hashed.hash);
        let picked = split.pick(hashed.unwrap_or_else(draw), |upstream| {
            &self.upstream(upstream).name
        });
        picked.or(route.upstream)
    }
}

impl Split {
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
            let drawn = xxh64(hash, name_of(target.upstream).as_bytes());
            (arrival(drawn) / f64::from(target.weight), target.upstream)
        });
        let first = drawn.min_by(|(a, _), (b, _)| a.total_cmp(b));
        first.map(|(_, upstream)| upstream)
    }
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
