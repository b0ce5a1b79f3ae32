//! The endpoint that a request's hash keeps where the policy itself hashes nothing: that of clients
//! who are bound to endpoints by what they are known by.
//!
//! Every open endpoint draws a number from the hash and its own address, and the best for its weight
//! has the request (weighted rendezvous). So an endpoint that goes moves its own requests and no
//! others, and they come back with it; one whose part grows takes the same requests all the time, and
//! more of them. That is one look at each endpoint of a zone, which only such clients cost.

use super::among::Among;
use super::eyes::Eyes;
use crate::hash::{mixed, unit};

/// The endpoint that `hash` keeps; none if none is open.
pub(super) fn kept(among: &Among<'_, impl Eyes>, hash: u64) -> Option<usize> {
    let draw = |at: usize| drawn(hash, among.set.name_at(at));
    let open = among.all_open();
    heaviest(open.map(|at| (draw(at), among.weight_of(at), at)))
}

/// The best, for its weight, of those that have drawn (draws from 0 to 1, both excluded): the share of
/// each is its weight's. None if there is none.
pub(super) fn heaviest(drawn: impl Iterator<Item = (f64, f64, usize)>) -> Option<usize> {
    // The logarithms order equal weights as the draws do, so most need none.
    let better =
        |(draw, weight, _): &(f64, f64, usize), (than, its, _): &(f64, f64, usize)| match weight
            == its
        {
            true => draw.total_cmp(than),
            false => (draw.ln() / weight).total_cmp(&(than.ln() / its)),
        };
    drawn.max_by(better).map(|(_, _, at)| at)
}

/// A number between 0 and 1 that belongs to this hash and name.
pub(super) fn drawn(hash: u64, name: u64) -> f64 {
    unit(mixed(hash ^ name.rotate_left(32))).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use fastrand::Rng;

    use super::super::{Barred, Seek, pick};
    use crate::board::Board;
    use crate::cell::RegionCell;
    use crate::endpoint::{Endpoint, EndpointSet};
    use crate::health::Health;
    use crate::plan::{Balance, EndpointSpec};
    use crate::standing::Dial;

    const HASHES: u64 = 20_000;

    fn set(balance: &Balance, weights: &[u32], now: Instant) -> EndpointSet {
        let board = Board::new(now);
        let endpoint = |(at, &weight): (usize, &u32)| {
            let spec = EndpointSpec::new(format!("10.0.0.{at}:80"));
            Endpoint {
                cell: board.endpoint("u", "r", &spec.address),
                address: spec.address,
                weight,
                zone: None,
            }
        };
        let endpoints = weights.iter().enumerate().map(endpoint).collect();
        EndpointSet::new(1, endpoints, balance)
    }

    /// Where each hash goes; chance, which is another one each time, decides nothing.
    fn homes(set: &EndpointSet, now: Instant) -> Vec<usize> {
        let region = RegionCell::new(now);
        let home = |hash| {
            let seek = Seek {
                barred: Barred::default(),
                hash: Some(hash),
                named: None,
                region: &region,
                now,
            };
            let picked = pick(set, &seek, &mut Rng::new()).expect("one is open");
            set.taken(picked);
            picked.at
        };
        (0..HASHES).map(home).collect()
    }

    #[test]
    fn a_hash_has_an_endpoint_by_weight_and_only_who_must_moves() {
        let now = Instant::now();
        for balance in [
            Balance::PeakEwma,
            Balance::LeastRequest { choice_count: 2 },
            Balance::RoundRobin,
            Balance::Random,
        ] {
            let set = set(&balance, &[1, 2, 5], now);
            let (first, word) = (homes(&set, now), balance.as_str());
            for (at, weight) in [1.0, 2.0, 5.0].into_iter().enumerate() {
                let share = first.iter().filter(|home| **home == at).count() as f64;
                let expected = HASHES as f64 * weight / 8.0;
                assert!((share - expected).abs() < 400.0, "{word} {at}: {share}");
            }
            let moved = |what: &str, from: usize| {
                let after = homes(&set, now);
                let mut pairs = first.iter().zip(&after);
                assert!(pairs.clone().any(|(a, b)| a != b), "{word} {what}");
                assert!(pairs.all(|(a, b)| a == b || *a == from), "{word} {what}");
            };
            let last = &set.endpoints[2].cell;
            last.set_share(Dial::new(0.5));
            moved("half", 2);
            last.set_share(Dial::FULL);
            last.set_health(Health::Unhealthy);
            moved("out", 2);
            last.set_health(Health::Healthy);
            assert_eq!(homes(&set, now), first, "{word}: they come back");
        }
    }
}
