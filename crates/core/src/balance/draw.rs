//! Drawing endpoints at random by weight, and comparing what was drawn.

use fastrand::Rng;

use super::Seek;
use crate::endpoint::EndpointSet;
use crate::standing::Dial;

/// Draws before every endpoint is looked at: enough that a region where half are down is still
/// balanced by chance in 99 of 100 cases.
const DRAWS: u32 = 8;

/// The cheapest of `choices` that are drawn by weight; of those that cost the same, the first.
pub(super) fn cheapest_drawn(
    set: &EndpointSet,
    seek: &Seek<'_>,
    choices: u32,
    cost: impl Fn(usize) -> f64,
    rng: &mut Rng,
) -> Option<usize> {
    by_chance(set, seek, choices, &cost, rng).or_else(|| of_all(set, seek, &cost, rng))
}

/// One drawn by weight.
pub(super) fn drawn(set: &EndpointSet, seek: &Seek<'_>, rng: &mut Rng) -> Option<usize> {
    by_chance(set, seek, 1, &|_| 0.0, rng).or_else(|| left_over(set, seek, rng))
}

fn by_chance(
    set: &EndpointSet,
    seek: &Seek<'_>,
    choices: u32,
    cost: &impl Fn(usize) -> f64,
    rng: &mut Rng,
) -> Option<usize> {
    let (mut best, mut found) = (None, 0);
    for _ in 0..DRAWS.max(4 * choices) {
        let share = draw(set.total_weight(), best.map(|(share, _)| share), rng);
        let at = set.at_share(share);
        if !set.open(at, &seek.barred) || !passes(set, at, rng) {
            continue;
        }
        best = match best {
            Some((_, held)) if held == at || cost(at) >= cost(held) => best,
            _ => Some((share, at)),
        };
        found += 1;
        if found == choices {
            break;
        }
    }
    best.map(|(_, at)| at)
}

/// Whether a draw of the endpoint stands; drawn for only where it takes less than its share.
pub(super) fn passes(set: &EndpointSet, at: usize, rng: &mut Rng) -> bool {
    let part = set.endpoints[at].cell.share();
    part == Dial::FULL || part.passes(rng.f64())
}

/// For sets of which so little is open, or taken, that chance found none: the cheapest, or one drawn
/// by weight times part if there are parts.
fn of_all(
    set: &EndpointSet,
    seek: &Seek<'_>,
    cost: &impl Fn(usize) -> f64,
    rng: &mut Rng,
) -> Option<usize> {
    let thinned = |at: usize| set.endpoints[at].cell.share() != Dial::FULL;
    let drawn = open(set, seek)
        .any(thinned)
        .then(|| by_part(set, seek, rng));
    let cheapest = || open(set, seek).min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
    drawn.flatten().or_else(cheapest)
}

/// One of those that are open, drawn by weight times part.
pub(super) fn left_over(set: &EndpointSet, seek: &Seek<'_>, rng: &mut Rng) -> Option<usize> {
    by_part(set, seek, rng).or_else(|| open(set, seek).next())
}

pub(super) fn open(set: &EndpointSet, seek: &Seek<'_>) -> impl Iterator<Item = usize> {
    (0..set.endpoints.len()).filter(|&at| set.open(at, &seek.barred))
}

/// None if no open endpoint takes anything.
fn by_part(set: &EndpointSet, seek: &Seek<'_>, rng: &mut Rng) -> Option<usize> {
    let parts = || open(set, seek).map(|at| (at, effective_weight(set, at)));
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

/// Its weight times the part of it that it takes.
pub(super) fn effective_weight(set: &EndpointSet, at: usize) -> f64 {
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
