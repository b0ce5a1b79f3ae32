//! Which endpoint of the chosen region: power of two choices by peak EWMA (ALGORITHMS 5.3, 5.4).
//!
//! Two draws and the cheaper one. Always taking the cheapest of all would send every thread's
//! requests to the same endpoint until its figures catch up; two draws spread them and still avoid
//! whatever is slow. An endpoint of weight `w` counts as `w` equal servers that share its load: it
//! is drawn `w` times as often, and its attempts in flight count for a `w`-th. So shares follow
//! weights while idle, when costs are equal, as well as under load.

use std::time::Instant;

use fastrand::Rng;

use crate::choose::MAX_ATTEMPTS;
use crate::endpoint::EndpointSet;

/// The endpoints that a request has tried already, by position in the set of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    positions: [u16; MAX_ATTEMPTS],
    len: u8,
}

/// Draws before every endpoint is looked at: enough that a region where half are down is still
/// balanced by chance in 99 of 100 cases.
const DRAWS: usize = 8;

impl Tried {
    /// Adds the endpoint at `position`. It is not remembered after [`MAX_ATTEMPTS`] others, nor
    /// beyond position 65,535: then it may be tried again.
    pub fn insert(&mut self, position: usize) {
        let slot = self.positions.get_mut(usize::from(self.len));
        if let (Some(slot), Ok(position)) = (slot, u16::try_from(position)) {
            *slot = position;
            self.len += 1;
        }
    }

    /// Whether the endpoint at `position` was tried.
    pub fn contains(self, position: usize) -> bool {
        let tried = &self.positions[..usize::from(self.len)];
        tried.iter().any(|&tried| usize::from(tried) == position)
    }
}

/// The position of the endpoint to use; none when no usable one is left that was not tried.
/// Of two that cost the same, the first drawn: shares then follow the weights exactly.
pub fn pick(set: &EndpointSet, tried: Tried, now: Instant, rng: &mut Rng) -> Option<usize> {
    match set.endpoints.len() {
        0 => None,
        1 => set.open(0, tried).then_some(0),
        _ => by_chance(set, tried, now, rng).or_else(|| cheapest(set, tried, now)),
    }
}

fn by_chance(set: &EndpointSet, tried: Tried, now: Instant, rng: &mut Rng) -> Option<usize> {
    let mut first = None;
    for _ in 0..DRAWS {
        let share = draw(set.total_weight(), first.map(|(share, _)| share), rng);
        let at = set.at_share(share);
        match first {
            _ if !set.open(at, tried) => {}
            None => first = Some((share, at)),
            Some((_, first)) => return Some(cheaper(set, first, at, now)),
        }
    }
    first.map(|(_, at)| at)
}

/// A share below `total`, which is at least 2, other than `held`.
fn draw(total: u32, held: Option<u32>, rng: &mut Rng) -> u32 {
    match held {
        None => rng.u32(..total),
        Some(held) => {
            let share = rng.u32(..total - 1);
            share + u32::from(share >= held)
        }
    }
}

fn cheaper(set: &EndpointSet, first: usize, second: usize, now: Instant) -> usize {
    if first != second && cost(set, second, now) < cost(set, first, now) {
        second
    } else {
        first
    }
}

fn cheapest(set: &EndpointSet, tried: Tried, now: Instant) -> Option<usize> {
    let open = (0..set.endpoints.len()).filter(|&at| set.open(at, tried));
    open.min_by(|&a, &b| cost(set, a, now).total_cmp(&cost(set, b, now)))
}

fn cost(set: &EndpointSet, at: usize, now: Instant) -> f64 {
    let endpoint = &set.endpoints[at];
    endpoint.cell.cost_per_weight(endpoint.weight, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::board::Board;
    use crate::cell::{ErrorClass, InFlight, Outcome};
    use crate::endpoint::Endpoint;
    use crate::health::Health;

    fn set(weights: &[u32], origin: Instant) -> EndpointSet {
        let board = Board::new(origin);
        let endpoint = |(at, &weight): (usize, &u32)| {
            let address = format!("10.0.0.{at}:80");
            Endpoint {
                cell: board.endpoint("u", "r", &address),
                address: address.into(),
                weight,
            }
        };
        EndpointSet::new(1, weights.iter().enumerate().map(endpoint).collect())
    }

    fn shares(set: &EndpointSet, tried: Tried, now: Instant) -> Vec<u32> {
        let (mut rng, mut counts) = (Rng::with_seed(7), vec![0; set.endpoints.len()]);
        for _ in 0..40_000 {
            counts[pick(set, tried, now, &mut rng).expect("one is open")] += 1;
        }
        counts
    }

    fn check_shares(weights: &[u32]) {
        let now = Instant::now();
        let counts = shares(&set(weights, now), Tried::default(), now);
        let total: u32 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            let expected = f64::from(40_000 * weight) / f64::from(total);
            let off = (f64::from(*count) - expected).abs();
            assert!(off < 0.05 * expected + 60.0, "{weights:?} -> {counts:?}");
        }
    }

    #[test]
    fn idle_endpoints_share_by_weight() {
        check_shares(&[1]);
        check_shares(&[1, 1]);
        check_shares(&[1, 3]);
        check_shares(&[5, 1, 1, 1]);
        check_shares(&[1000, 1000, 500]);
        check_shares(&[2; 30]);
    }

    #[test]
    fn busy_endpoints_hold_attempts_by_weight() {
        let now = Instant::now();
        let set = set(&[1, 2, 5], now);
        let region = std::sync::Arc::new(crate::cell::RegionCell::new(now));
        let mut rng = Rng::with_seed(3);
        let _guards: Vec<_> = (0..800)
            .map(|_| {
                let at = pick(&set, Tried::default(), now, &mut rng).expect("one is open");
                InFlight::begin(set.endpoints[at].cell.clone(), region.clone())
            })
            .collect();
        for (endpoint, expected) in set.endpoints.iter().zip([100u32, 200, 500]) {
            let held = endpoint.cell.in_flight();
            assert!(
                held.abs_diff(expected) <= expected / 10,
                "{held} of {expected}"
            );
        }
    }

    #[test]
    fn the_slower_of_two_is_never_taken_and_the_slowest_of_many_hardly() {
        let now = Instant::now();
        for (weights, most) in [(&[1, 1][..], 0), (&[1, 1, 1, 1, 1], 0)] {
            let set = set(weights, now);
            for (at, endpoint) in set.endpoints.iter().enumerate() {
                let took = Duration::from_millis(if at == 0 { 100 } else { 10 });
                endpoint.cell.record(Outcome::Answered(took), now);
            }
            let slow = shares(&set, Tried::default(), now)[0];
            assert!(slow <= most, "{slow} of {most} to the slow one");
        }
    }

    #[test]
    fn failing_fast_attracts_nobody() {
        let now = Instant::now();
        let set = set(&[1, 1, 1], now);
        for _ in 0..100 {
            set.endpoints[0]
                .cell
                .record(Outcome::failed(ErrorClass::Reset), now);
            set.endpoints[0]
                .cell
                .record(Outcome::Answered(Duration::from_micros(50)), now);
            set.endpoints[1]
                .cell
                .record(Outcome::Answered(Duration::from_millis(80)), now);
            set.endpoints[2]
                .cell
                .record(Outcome::Answered(Duration::from_millis(80)), now);
        }
        assert_eq!(shares(&set, Tried::default(), now)[0], 0);
    }

    #[test]
    fn what_is_down_or_tried_is_left_out_and_the_rest_found() {
        let now = Instant::now();
        let set = set(&[1; 100], now);
        let mut tried = Tried::default();
        for at in 0..98 {
            set.endpoints[at].cell.set_health(Health::Unhealthy);
        }
        let counts = shares(&set, tried, now);
        assert!(counts[98] > 0 && counts[99] > 0 && counts[98] + counts[99] == 40_000);
        tried.insert(99);
        assert_eq!(shares(&set, tried, now)[98], 40_000);
        tried.insert(98);
        assert_eq!(pick(&set, tried, now, &mut Rng::with_seed(1)), None);
        assert_eq!(
            pick(&EndpointSet::default(), tried, now, &mut Rng::with_seed(1)),
            None
        );
    }

    #[test]
    fn tries_are_remembered_up_to_the_bound() {
        let mut tried = Tried::default();
        for position in [0, 99, 65_535, 65_536] {
            tried.insert(position);
        }
        assert!(
            [0, 99, 65_535]
                .into_iter()
                .all(|position| tried.contains(position))
        );
        assert!(!tried.contains(65_536) && !tried.contains(1));
        (200..300).for_each(|position| tried.insert(position));
        assert!(tried.contains(212) && !tried.contains(213));
    }
}
