//! Which endpoint of the chosen region (ALGORITHMS 5.3, 5.4, 5.10).
//!
//! Each policy of [`Balance`] has a module; this one says what holds for all of them. An endpoint of
//! weight `w` counts as `w` equal servers that share its load. One that is not open (down, ejected,
//! full, tried by this request) is passed over as its policy says, and something open is always found
//! if there is anything. One that takes only a part of its weight (slow start, a try after an ejection,
//! degraded while others suffice) is drawn by that part, or gives up what falls to it by that part
//! (where keys are hashed, it keeps that part of its own keys). Where a region has zones, the first
//! takes everything as long as what is well of it, overprovisioned, suffices, and what it lacks goes to
//! the next (`priority`). Tables are made when the set of endpoints changes, sums when the health of
//! one does; a decision allocates nothing and decides nothing for the next.
//!
//! The default draws two and takes the one with the lower peak EWMA. Always taking the cheapest of all
//! would send every thread's requests to the same endpoint until its figures catch up; two draws
//! spread them and still avoid whatever is slow.

mod among;
mod draw;
mod eyes;
mod group;
mod hashed;
mod kept;
mod maglev;
pub mod prequal;
mod probing;
mod ring;
mod roll;
mod stride;

use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;

use crate::cell::RegionCell;
use crate::choose::MAX_ATTEMPTS;
use crate::endpoint::EndpointSet;
use crate::ids::MAX_REGIONS;
use crate::limits::Bound;
use crate::plan::Balance;
use among::Among;
use draw::{cheapest_drawn, drawn};
pub use eyes::{Again, Direct, Eyes, Notes, SEEN_MAX, Seen, Sight};
use group::Tables;
use kept::kept;

pub(crate) use among::Ground;
pub(crate) use group::Group;
pub(crate) use roll::Roll;

/// How an endpoint of a set is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preference {
    /// The policy.
    pub balance: Balance,
    /// Zones of the endpoints, best first; those not named, and endpoints without one, come last.
    /// Empty: zones do not matter. Beyond the 31st they count as one.
    pub zones: Box<[Arc<str>]>,
}

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
    /// Whether what is believed of endpoints counts for nothing (panic): whoever is unhealthy or
    /// ejected may be taken like the others. Who drains may not.
    pub any_health: bool,
}

/// What one attempt needs of its region's endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Seek<'a> {
    /// What it must not take.
    pub barred: Barred,
    /// The hash of its request, for policies that hash, and for clients who are bound to endpoints by
    /// what they are known by: then it decides whatever the policy. None: the policy's own way, which
    /// is by chance where it hashes.
    pub hash: Option<u64>,
    /// [`EndpointSet::name_of`] the endpoint that is taken if it may be, whatever the policy says
    /// (affinity). None, or one that is not there or not open: the policy decides.
    pub named: Option<u64>,
    /// The region.
    pub region: &'a RegionCell,
    /// The moment of the attempt.
    pub now: Instant,
}

/// An endpoint that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Its position in the set.
    pub at: usize,
    /// Under `round_robin`, the turn after this one: [`EndpointSet::taken`] wants it once an attempt
    /// is made.
    pub after: u64,
}

impl From<&Balance> for Preference {
    fn from(balance: &Balance) -> Self {
        Self {
            balance: balance.clone(),
            zones: Box::default(),
        }
    }
}

impl Preference {
    /// How far down `zone` stands, from 0.
    pub(crate) fn rank(&self, zone: Option<&str>) -> usize {
        let named = |zone: &str| self.zones.iter().position(|name| **name == *zone);
        let rank = zone.and_then(named).unwrap_or(self.zones.len());
        rank.min(MAX_REGIONS - 1)
    }
}

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

    /// How many were entered.
    pub fn len(self) -> usize {
        self.len.into()
    }

    /// Whether none was.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// The endpoint to use, by the set's policy; none when no usable one is left that is neither tried nor
/// full. Of two that cost the same, the first drawn: shares then follow the weights exactly, each
/// times the part that its endpoint takes. Where all take a part only, the parts count in relation to
/// each other; an endpoint that is left alone takes everything.
pub fn pick(set: &EndpointSet, seek: &Seek<'_>, rng: &mut Rng) -> Option<Picked> {
    pick_seeing(set, seek, rng, &Direct)
}

/// The same for whoever looks at endpoints with these `eyes`.
#[inline(always)]
pub fn pick_seeing(
    set: &EndpointSet,
    seek: &Seek<'_>,
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> Option<Picked> {
    let named = seek.named.and_then(|name| set.named(name));
    let open = |at| eyes.is(Sight::Room, at, || set.open(at, &seek.barred));
    if let Some(at) = named.filter(|&at| open(at)) {
        return Some(Picked { at, after: 0 });
    }
    let ground = || set.ground(&seek.barred) as u64;
    let ground = Ground::from_number(eyes.see(Sight::Ground, 0, ground));
    match set.groups().len() {
        0 => None,
        1 => of_group(&Among::new(set, 0, seek, ground, eyes), rng),
        _ => of_zones(set, (seek, ground), rng, eyes),
    }
}

/// From the zone that a draw by load says; from the nearest that has something if that has nothing.
fn of_zones(
    set: &EndpointSet,
    (seek, ground): (&Seek<'_>, Ground),
    rng: &mut Rng,
    eyes: &impl Eyes,
) -> Option<Picked> {
    let draw = seek.hash.map_or_else(|| rng.f64(), hashed::zone_draw);
    let first = match ground {
        Ground::Blind => by_weight(set.groups(), draw),
        _ => eyes.see(Sight::Zone, 0, || set.roll().group(draw) as u64) as usize,
    };
    let others = (0..set.groups().len()).filter(|at| *at != first);
    let mut zones = std::iter::once(first).chain(others);
    zones.find_map(|at| of_group(&Among::new(set, at, seek, ground, eyes), rng))
}

fn by_weight(groups: &[Group], draw: f64) -> usize {
    let weight = |group: &Group| f64::from(group.total_weight());
    let mut left = draw * groups.iter().map(weight).sum::<f64>();
    let holds = |group: &Group| {
        left -= weight(group);
        left < 0.0
    };
    groups.iter().position(holds).unwrap_or(0)
}

#[inline(always)]
fn of_group(among: &Among<'_, impl Eyes>, rng: &mut Rng) -> Option<Picked> {
    if among.is_empty() {
        return None;
    }
    let hashes = matches!(among.group.tables, Tables::Hashed(_));
    if let Some(hash) = among.seek.hash.filter(|_| !hashes) {
        return kept(among, hash).map(|at| Picked { at, after: 0 });
    }
    let at = match (
        among.range().len(),
        &among.group.tables,
        among.set.balance(),
    ) {
        (1, ..) => Some(among.range().start).filter(|&at| among.open(at)),
        (_, Tables::Stride(stride), _) => return stride.pick(among, rng),
        (_, Tables::Hashed(hashed), _) => {
            let hash = among.seek.hash.unwrap_or_else(|| rng.u64(..));
            hashed.pick(among, hash)
        }
        (_, Tables::Probed(prober), _) => {
            let best = prober.pick(among, rng);
            best.or_else(|| drawn(among, rng))
        }
        (_, Tables::None, Balance::LeastRequest { choice_count }) => {
            cheapest_drawn(among, *choice_count, |at| load(among, at), rng)
        }
        (_, Tables::None, Balance::Random) => drawn(among, rng),
        (_, Tables::None, _) => cheapest_drawn(among, 2, |at| cost(among, at), rng),
    };
    at.map(|at| Picked { at, after: 0 })
}

/// Attempts under way for each unit of the weight that the endpoint takes.
fn load(among: &Among<'_, impl Eyes>, at: usize) -> f64 {
    let endpoint = &among.set.endpoints[at];
    let load = f64::from(among.in_flight(at)) / f64::from(endpoint.weight);
    load / among.part(at).max(1e-3)
}

fn cost(among: &Among<'_, impl Eyes>, at: usize) -> f64 {
    let (endpoint, part) = (&among.set.endpoints[at], among.part(at));
    let cost = among.cost(at);
    if part >= 1.0 {
        return cost;
    }
    // The same attempts weigh more on a part of the server.
    let queue = f64::from(among.in_flight(at)) / f64::from(endpoint.weight);
    cost * (queue / part.max(1e-3) + 1.0) / (queue + 1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::board::Board;
    use crate::cell::{ErrorClass, InFlight, Outcome};
    use crate::endpoint::Endpoint;
    use crate::health::Health;
    use crate::plan::{Hashing, Maglev, RingHash, TableSize};
    use crate::standing::Dial;

    fn set(weights: &[u32], origin: Instant) -> EndpointSet {
        balanced(&Balance::PeakEwma, weights, origin)
    }

    fn balanced(balance: &Balance, weights: &[u32], origin: Instant) -> EndpointSet {
        let board = Board::new(origin);
        let endpoint = |(at, &weight): (usize, &u32)| {
            let address = format!("10.0.0.{at}:80");
            Endpoint {
                cell: board.endpoint("u", "r", &address),
                address: address.into(),
                weight,
                zone: None,
            }
        };
        let endpoints = weights.iter().enumerate().map(endpoint).collect();
        EndpointSet::new(1, endpoints, balance)
    }

    fn picked(set: &EndpointSet, barred: &Barred, now: Instant, rng: &mut Rng) -> Option<usize> {
        let region = RegionCell::new(now);
        let seek = Seek {
            barred: *barred,
            hash: None,
            named: None,
            region: &region,
            now,
        };
        pick(set, &seek, rng).map(|picked| {
            set.taken(picked);
            picked.at
        })
    }

    /// Each policy, hashing what is drawn for it.
    fn policies() -> [Balance; 7] {
        let hashing = |balance_factor| Hashing {
            on: Box::default(),
            balance_factor,
        };
        let ring = |factor| {
            Balance::RingHash(RingHash {
                minimum_ring_size: 1,
                maximum_ring_size: 262_144,
                hashing: hashing(factor),
            })
        };
        [
            Balance::PeakEwma,
            Balance::LeastRequest { choice_count: 3 },
            Balance::RoundRobin,
            Balance::Random,
            ring(None),
            ring(Some(1.25)),
            Balance::Maglev(Maglev {
                table_size: TableSize::DEFAULT,
                hashing: hashing(None),
            }),
        ]
    }

    fn shares(set: &EndpointSet, barred: &Barred, now: Instant) -> Vec<u32> {
        let (mut rng, mut counts) = (Rng::with_seed(7), vec![0; set.endpoints.len()]);
        for _ in 0..40_000 {
            counts[picked(set, barred, now, &mut rng).expect("one is open")] += 1;
        }
        counts
    }

    fn check_shares(weights: &[u32]) {
        let now = Instant::now();
        for balance in policies() {
            let set = balanced(&balance, weights, now);
            let counts = shares(&set, &Barred::default(), now);
            let total: u32 = weights.iter().sum();
            // Points of a ring lie where they lie.
            let within = if matches!(balance, Balance::RingHash(_)) {
                0.3
            } else {
                0.05
            };
            for (count, weight) in counts.iter().zip(weights) {
                let expected = f64::from(40_000 * weight) / f64::from(total);
                let off = (f64::from(*count) - expected).abs();
                let word = balance.as_str();
                assert!(
                    off < within * expected + 60.0,
                    "{word} {weights:?} -> {counts:?}"
                );
            }
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
                let at = picked(&set, &Barred::default(), now, &mut rng).expect("one is open");
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
        for balance in policies() {
            let set = balanced(&balance, &[1; 30], now);
            let mut barred = Barred::default();
            for at in 0..28 {
                set.endpoints[at].cell.set_health(Health::Unhealthy);
            }
            let word = balance.as_str();
            let counts = shares(&set, &barred, now);
            assert_eq!(counts[28] + counts[29], 40_000, "{word}");
            assert!(counts[28].min(counts[29]) > 1_000, "{word} {counts:?}");
            barred.tried.insert(29);
            assert_eq!(shares(&set, &barred, now)[28], 40_000, "{word}");
            barred.tried.insert(28);
            assert_eq!(picked(&set, &barred, now, &mut Rng::with_seed(1)), None);
            let none = balanced(&balance, &[], now);
            assert_eq!(picked(&none, &barred, now, &mut Rng::with_seed(1)), None);
        }
    }

    #[test]
    fn in_panic_health_counts_for_nothing_and_a_drain_does() {
        let now = Instant::now();
        for balance in policies() {
            let set = balanced(&balance, &[1; 4], now);
            set.endpoints[0].cell.set_health(Health::Unhealthy);
            set.endpoints[1].cell.set_ejected(true);
            set.endpoints[2].cell.set_health(Health::Draining);
            let mut barred = Barred {
                any_health: true,
                ..Barred::default()
            };
            let counts = shares(&set, &barred, now);
            let word = balance.as_str();
            assert!(
                counts[0].min(counts[1]).min(counts[3]) > 1_000,
                "{word} {counts:?}"
            );
            assert_eq!(counts[2], 0, "{word}");
            [0, 1, 3].into_iter().for_each(|at| barred.tried.insert(at));
            assert_eq!(picked(&set, &barred, now, &mut Rng::with_seed(1)), None);
        }
    }

    #[test]
    fn who_is_named_is_taken_while_he_may_be() {
        let now = Instant::now();
        for balance in policies() {
            let (set, region) = (balanced(&balance, &[1; 9], now), RegionCell::new(now));
            let name = EndpointSet::name_of("10.0.0.7:80");
            let times = |named, barred| {
                let seek = Seek {
                    barred,
                    hash: None,
                    named: Some(named),
                    region: &region,
                    now,
                };
                let mut rng = Rng::with_seed(5);
                let picks = (0..900).map(|_| pick(&set, &seek, &mut rng).expect("open").at);
                picks.filter(|at| *at == 7).count()
            };
            let (mut tried, word) = (Barred::default(), balance.as_str());
            tried.tried.insert(7);
            assert_eq!(times(name, Barred::default()), 900, "{word}");
            assert_eq!(times(name, tried), 0, "{word}");
            set.endpoints[7].cell.set_health(Health::Unhealthy);
            assert_eq!(times(name, Barred::default()), 0, "{word}");
            set.endpoints[7].cell.set_health(Health::Healthy);
            assert!(times(name ^ 1, Barred::default()) < 900, "{word}");
        }
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
        for balance in policies()
            .iter()
            .filter(|policy| policy.hashing().is_none())
        {
            let set = balanced(balance, weights, now);
            for (endpoint, part) in set.endpoints.iter().zip(parts) {
                endpoint.cell.set_share(Dial::new(*part));
            }
            let counts = shares(&set, &Barred::default(), now);
            for (count, percent) in counts.iter().zip(expected) {
                let off = count.abs_diff(percent * 400);
                let word = balance.as_str();
                assert!(off < 500, "{word} {weights:?} {parts:?} -> {counts:?}");
            }
        }
    }

    #[test]
    fn endpoints_take_their_part_of_their_share() {
        check_parts(&[1, 1], &[1.0, 0.25], &[80, 20]);
        check_parts(&[3, 1, 1], &[1.0, 0.5, 0.5], &[75, 12, 12]);
        check_parts(&[1, 1], &[0.1, 0.1], &[50, 50]);
        check_parts(&[1, 1, 2], &[0.01, 0.02, 0.01], &[20, 40, 40]);
        check_parts(&[1, 1], &[0.0, 0.1], &[0, 100]);
        check_parts(&[1, 1], &[0.0, 0.0], &[50, 50]);
        check_parts(&[1], &[0.0], &[100]);
    }

    #[test]
    fn what_is_full_is_passed_over() {
        policies().iter().for_each(check_full);
    }

    fn check_full(balance: &Balance) {
        let now = Instant::now();
        let (set, mut rng) = (balanced(balance, &[1, 1, 1], now), Rng::with_seed(3));
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
            let at = picked(&set, &barred, now, &mut rng)?;
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

    fn turns(weights: &[u32], count: usize, down: &[usize]) -> String {
        let now = Instant::now();
        let set = balanced(&Balance::RoundRobin, weights, now);
        for &at in down {
            set.endpoints[at].cell.set_health(Health::Unhealthy);
        }
        let (mut rng, barred) = (Rng::with_seed(1), Barred::default());
        let mut next = || picked(&set, &barred, now, &mut rng).expect("one is open");
        (0..count)
            .map(|_| char::from(b'a' + next() as u8))
            .collect()
    }

    #[test]
    fn turns_go_round_and_are_spread_by_weight() {
        assert_eq!(turns(&[1, 1, 1], 7, &[]), "abcabca");
        assert_eq!(turns(&[7, 7], 5, &[]), "ababa");
        assert_eq!(turns(&[5, 1, 1], 14, &[]), "aabaacaaabaaca");
        assert_eq!(turns(&[2, 1], 6, &[]), "abaaba");
        // Who is out hands its turns to nobody.
        assert_eq!(turns(&[1, 1, 1, 1], 6, &[1]), "acdacd");
        assert_eq!(turns(&[3, 1], 3, &[0]), "bbb");
    }

    #[test]
    fn a_decision_that_nobody_acts_on_takes_no_turn() {
        let now = Instant::now();
        let (set, region) = (
            balanced(&Balance::RoundRobin, &[1; 3], now),
            RegionCell::new(now),
        );
        let seek = Seek {
            barred: Barred::default(),
            hash: None,
            named: None,
            region: &region,
            now,
        };
        let look = || pick(&set, &seek, &mut Rng::with_seed(1)).expect("all are open");
        let first = look();
        assert_eq!((first.at, look()), (0, first));
        set.taken(first);
        set.taken(first);
        assert_eq!(look().at, 1, "two threads with one turn take one turn");
    }

    #[test]
    fn the_one_with_the_fewest_under_way_is_taken() {
        let now = Instant::now();
        let set = balanced(&Balance::LeastRequest { choice_count: 16 }, &[1, 4, 1], now);
        let region = std::sync::Arc::new(RegionCell::new(now));
        let begin = |at: usize| InFlight::begin(set.endpoints[at].cell.clone(), region.clone());
        let _two_each = [begin(0), begin(1), begin(0), begin(1), begin(2), begin(2)];
        // 2, 2 / 4 and 2; how fast they are does not count.
        set.endpoints[1]
            .cell
            .record(Outcome::Answered(Duration::from_secs(9)), now);
        assert_eq!(shares(&set, &Barred::default(), now), [0, 40_000, 0]);
    }

    /// Where `keys` go by hash.
    fn homes(set: &EndpointSet, region: &RegionCell, keys: u64, barred: Barred) -> Vec<usize> {
        let (now, mut rng) = (Instant::now(), Rng::with_seed(1));
        let home = |key: u64| {
            let seek = Seek {
                barred,
                hash: Some(crate::hash::xxh64(0, &key.to_le_bytes())),
                named: None,
                region,
                now,
            };
            pick(set, &seek, &mut rng).expect("one is open").at
        };
        (0..keys).map(home).collect()
    }

    fn hashing() -> impl Iterator<Item = Balance> {
        policies()
            .into_iter()
            .filter(|policy| policy.hashing().is_some())
    }

    #[test]
    fn an_outage_moves_the_keys_of_what_is_out_and_its_end_moves_them_back() {
        let now = Instant::now();
        for balance in hashing() {
            let (set, region) = (balanced(&balance, &[1; 20], now), RegionCell::new(now));
            let before = homes(&set, &region, 20_000, Barred::default());
            set.endpoints[7].cell.set_ejected(true);
            let during = homes(&set, &region, 20_000, Barred::default());
            let moved: Vec<_> = before.iter().zip(&during).filter(|(a, b)| a != b).collect();
            assert!(
                moved.iter().all(|(from, _)| **from == 7),
                "{}",
                balance.as_str()
            );
            let to: std::collections::BTreeSet<_> = moved.iter().map(|(_, to)| **to).collect();
            assert!(to.len() > 10 && !to.contains(&7), "they spread: {to:?}");
            set.endpoints[7].cell.set_ejected(false);
            assert_eq!(homes(&set, &region, 20_000, Barred::default()), before);
        }
    }

    #[test]
    fn a_part_that_grows_takes_more_keys_and_gives_none_back() {
        let now = Instant::now();
        for balance in hashing() {
            let (set, region) = (balanced(&balance, &[1; 5], now), RegionCell::new(now));
            let mut held: Vec<bool> = vec![false; 10_000];
            for part in [0.1, 0.4, 0.8, 1.0] {
                set.endpoints[2].cell.set_share(Dial::new(part));
                let homes = homes(&set, &region, 10_000, Barred::default());
                let now_held: Vec<_> = homes.iter().map(|at| *at == 2).collect();
                let kept = held.iter().zip(&now_held).all(|(was, is)| !was || *is);
                assert!(kept, "{} {part}", balance.as_str());
                let share = now_held.iter().filter(|is| **is).count() as f64 / 10_000.0;
                assert!((share - part / 5.0).abs() < 0.05, "{share} of {part}");
                held = now_held;
            }
        }
    }

    #[test]
    fn a_tried_endpoint_is_followed_by_the_same_next_one() {
        let now = Instant::now();
        for balance in hashing() {
            let (set, region) = (balanced(&balance, &[1; 10], now), RegionCell::new(now));
            let first = homes(&set, &region, 500, Barred::default());
            for at in 0..10 {
                let mut barred = Barred::default();
                barred.tried.insert(at);
                let once = homes(&set, &region, 500, barred);
                assert_eq!(once, homes(&set, &region, 500, barred));
                let others = first.iter().zip(&once).filter(|(first, _)| **first != at);
                assert!(others.into_iter().all(|(first, then)| first == then));
            }
        }
    }

    #[test]
    fn no_endpoint_has_more_than_its_factor_of_the_average() {
        let now = Instant::now();
        let check = |balance: &Balance, weights: &[u32], down: usize| {
            let set = balanced(balance, weights, now);
            let region = std::sync::Arc::new(RegionCell::new(now));
            for endpoint in &set.endpoints[..down] {
                endpoint.cell.set_health(Health::Unhealthy);
            }
            // All with the same key.
            let seek = |region| Seek {
                barred: Barred::default(),
                hash: Some(4_711),
                named: None,
                region,
                now,
            };
            let mut rng = Rng::with_seed(1);
            let guards: Vec<_> = (0..1_000)
                .map(|_| {
                    let at = pick(&set, &seek(&region), &mut rng).expect("open").at;
                    InFlight::begin(set.endpoints[at].cell.clone(), region.clone())
                })
                .collect();
            let open: u32 = weights[down..].iter().sum();
            for (endpoint, weight) in set.endpoints[down..].iter().zip(&weights[down..]) {
                let average = f64::from(1_000 * weight) / f64::from(open);
                let held = f64::from(endpoint.cell.in_flight());
                assert!(held <= (average * 1.25).ceil(), "{held} of {average}");
            }
            drop(guards);
        };
        for balance in hashing() {
            let balance = match balance {
                Balance::RingHash(mut policy) => {
                    policy.hashing.balance_factor = Some(1.25);
                    Balance::RingHash(policy)
                }
                Balance::Maglev(mut policy) => {
                    policy.hashing.balance_factor = Some(1.25);
                    Balance::Maglev(policy)
                }
                other => other,
            };
            check(&balance, &[1; 10], 0);
            check(&balance, &[1, 2, 3, 10], 0);
            check(&balance, &[1; 10], 6);
            check(&balance, &[5, 1, 1], 1);
        }
    }
}
