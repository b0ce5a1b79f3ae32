//! Which endpoint of the chosen region: power of two choices by peak EWMA (ALGORITHMS 5.3, 5.4).
//!
//! Two draws and the cheaper one. Always taking the cheapest of all would send every thread's
//! requests to the same endpoint until its figures catch up; two draws spread them and still avoid
//! whatever is slow. An endpoint of weight `w` counts as `w` equal servers that share its load: it
//! is drawn `w` times as often, and its attempts in flight count for a `w`-th. So shares follow
//! weights while idle, when costs are equal, as well as under load. An endpoint that takes only a part
//! of its share (slow start, a try after an ejection) counts as that part of its weight: its draws are
//! thinned, which costs nothing while nobody is thinned.

use std::time::Instant;

use fastrand::Rng;

use crate::choose::MAX_ATTEMPTS;
use crate::endpoint::EndpointSet;
use crate::limits::Bound;
use crate::standing::Dial;

/// The endpoints that a request has tried already, by position in the set of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    positions: [u16; MAX_ATTEMPTS],
    len: u8,
}

/// What keeps an attempt from endpoints of its region. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Barred {
    /// Tried already.
    pub tried: Tried,
    /// Beyond it, an endpoint is full.
    pub bound: Bound,
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

/// The position of the endpoint to use; none when no usable one is left that is neither tried nor
/// full. Of two that cost the same, the first drawn: shares then follow the weights exactly, each
/// times the part that its endpoint takes. Where all take a part only, the parts count in relation to
/// each other; an endpoint that is left alone takes everything.
pub fn pick(set: &EndpointSet, barred: &Barred, now: Instant, rng: &mut Rng) -> Option<usize> {
    match set.endpoints.len() {
        0 => None,
        1 => set.open(0, barred).then_some(0),
        _ => by_chance(set, barred, now, rng).or_else(|| of_all(set, barred, now, rng)),
    }
}

fn by_chance(set: &EndpointSet, barred: &Barred, now: Instant, rng: &mut Rng) -> Option<usize> {
    let mut first = None;
    for _ in 0..DRAWS {
        let share = draw(set.total_weight(), first.map(|(share, _)| share), rng);
        let at = set.at_share(share);
        match first {
            _ if !set.open(at, barred) || !passes(set, at, rng) => {}
            None => first = Some((share, at)),
            Some((_, first)) => return Some(cheaper(set, first, at, now)),
        }
    }
    first.map(|(_, at)| at)
}

/// Whether a draw of the endpoint stands; drawn for only where it takes less than its share.
fn passes(set: &EndpointSet, at: usize, rng: &mut Rng) -> bool {
    let part = set.endpoints[at].cell.share();
    part == Dial::FULL || part.passes(rng.f64())
}

/// For sets of which so little is open, or taken, that chance found none: the cheapest, or one drawn
/// by weight times part if there are parts.
fn of_all(set: &EndpointSet, barred: &Barred, now: Instant, rng: &mut Rng) -> Option<usize> {
    let thinned = |at: usize| set.endpoints[at].cell.share() != Dial::FULL;
    let drawn = open(set, barred)
        .any(thinned)
        .then(|| by_part(set, barred, rng));
    drawn.flatten().or_else(|| cheapest(set, barred, now))
}

fn open(set: &EndpointSet, barred: &Barred) -> impl Iterator<Item = usize> {
    (0..set.endpoints.len()).filter(|&at| set.open(at, barred))
}

/// None if no open endpoint takes anything.
fn by_part(set: &EndpointSet, barred: &Barred, rng: &mut Rng) -> Option<usize> {
    let parts = || open(set, barred).map(|at| (at, effective_weight(set, at)));
    let total: f64 = parts().map(|(_, part)| part).sum();
    let mut share = rng.f64() * total;
    let mut last = None;
    for (at, part) in parts().filter(|(_, part)| *part > 0.0) {
        last = Some(at);
        if share < part {
            break;
        }
        share -= part;
    }
    last
}

fn effective_weight(set: &EndpointSet, at: usize) -> f64 {
    let endpoint = &set.endpoints[at];
    f64::from(endpoint.weight) * endpoint.cell.share().share()
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

fn cheapest(set: &EndpointSet, barred: &Barred, now: Instant) -> Option<usize> {
    open(set, barred).min_by(|&a, &b| cost(set, a, now).total_cmp(&cost(set, b, now)))
}

fn cost(set: &EndpointSet, at: usize, now: Instant) -> f64 {
    let (endpoint, part) = (&set.endpoints[at], set.endpoints[at].cell.share());
    let cost = endpoint.cell.cost_per_weight(endpoint.weight, now);
    if part == Dial::FULL {
        return cost;
    }
    // The same attempts weigh more on a part of the server.
    let queue = f64::from(endpoint.cell.in_flight()) / f64::from(endpoint.weight);
    cost * (queue / part.share().max(1e-3) + 1.0) / (queue + 1.0)
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

    fn shares(set: &EndpointSet, barred: &Barred, now: Instant) -> Vec<u32> {
        let (mut rng, mut counts) = (Rng::with_seed(7), vec![0; set.endpoints.len()]);
        for _ in 0..40_000 {
            counts[pick(set, barred, now, &mut rng).expect("one is open")] += 1;
        }
        counts
    }

    fn check_shares(weights: &[u32]) {
        let now = Instant::now();
        let counts = shares(&set(weights, now), &Barred::default(), now);
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
                let at = pick(&set, &Barred::default(), now, &mut rng).expect("one is open");
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
            let slow = shares(&set, &Barred::default(), now)[0];
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
        assert_eq!(shares(&set, &Barred::default(), now)[0], 0);
    }

    #[test]
    fn what_is_down_or_tried_is_left_out_and_the_rest_found() {
        let now = Instant::now();
        let set = set(&[1; 100], now);
        let mut barred = Barred::default();
        for at in 0..98 {
            set.endpoints[at].cell.set_health(Health::Unhealthy);
        }
        let counts = shares(&set, &barred, now);
        assert!(counts[98] > 0 && counts[99] > 0 && counts[98] + counts[99] == 40_000);
        barred.tried.insert(99);
        assert_eq!(shares(&set, &barred, now)[98], 40_000);
        barred.tried.insert(98);
        assert_eq!(pick(&set, &barred, now, &mut Rng::with_seed(1)), None);
        assert_eq!(
            pick(
                &EndpointSet::default(),
                &barred,
                now,
                &mut Rng::with_seed(1)
            ),
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

    /// `parts` are what each endpoint takes of its share.
    fn check_parts(weights: &[u32], parts: &[f64], expected: &[u32]) {
        let now = Instant::now();
        let set = set(weights, now);
        for (endpoint, part) in set.endpoints.iter().zip(parts) {
            endpoint.cell.set_share(Dial::new(*part));
        }
        let counts = shares(&set, &Barred::default(), now);
        for (count, percent) in counts.iter().zip(expected) {
            let off = count.abs_diff(percent * 400);
            assert!(off < 500, "{weights:?} {parts:?} -> {counts:?}");
        }
    }

    #[test]
    fn endpoints_take_their_part_of_their_share() {
        check_parts(&[1, 1], &[1.0, 0.25], &[80, 20]);
        check_parts(&[3, 1, 1], &[1.0, 0.5, 0.5], &[75, 12, 12]);
        check_parts(&[1, 1], &[0.1, 0.1], &[50, 50]);
        check_parts(&[1, 1, 2], &[0.01, 0.02, 0.01], &[20, 40, 40]);
        check_parts(&[1, 1], &[0.0, 0.1], &[0, 100]);
        check_parts(&[1, 1], &[0.0, 0.0], &[100, 0]);
        check_parts(&[1], &[0.0], &[100]);
    }

    #[test]
    fn what_is_full_is_passed_over() {
        let now = Instant::now();
        let (set, mut rng) = (set(&[1, 1, 1], now), Rng::with_seed(3));
        let region = std::sync::Arc::new(crate::cell::RegionCell::new(now));
        let breaker = crate::plan::CircuitBreaker {
            endpoint: crate::plan::Limits {
                max_requests: Some(2),
                ..Default::default()
            },
            ..Default::default()
        };
        let barred = Barred {
            bound: crate::limits::Bounds::of(&breaker, crate::limits::Turn::First).endpoint,
            ..Barred::default()
        };
        let mut begin = || {
            let at = pick(&set, &barred, now, &mut rng)?;
            Some(InFlight::begin(
                set.endpoints[at].cell.clone(),
                region.clone(),
            ))
        };
        let mut guards: Vec<_> = std::iter::from_fn(&mut begin).take(100).collect();
        assert_eq!(guards.len(), 6, "two each");
        guards.pop();
        assert!(begin().is_some());
    }
}
