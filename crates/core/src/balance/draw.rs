//! Drawing endpoints at random by weight, and comparing what was drawn.

use fastrand::Rng;

use super::among::{Among, Drawn};
use super::eyes::Eyes;

/// Draws before every endpoint is looked at. What is down is not drawn at all; these are for what was
/// tried or is full.
const DRAWS: u32 = 8;

/// The cheapest of `choices` that are drawn by weight; of those that cost the same, the first.
pub(super) fn cheapest_drawn(
    among: &Among<'_, impl Eyes>,
    choices: u32,
    cost: impl Fn(usize) -> f64,
    rng: &mut Rng,
) -> Option<usize> {
    by_chance(among, choices, &cost, rng).or_else(|| of_all(among, &cost, rng))
}

/// One drawn by weight.
pub(super) fn drawn(among: &Among<'_, impl Eyes>, rng: &mut Rng) -> Option<usize> {
    by_chance(among, 1, &|_| 0.0, rng).or_else(|| left_over(among, rng))
}

fn by_chance(
    among: &Among<'_, impl Eyes>,
    choices: u32,
    cost: &impl Fn(usize) -> f64,
    rng: &mut Rng,
) -> Option<usize> {
    let (mut best, mut found): (Option<Drawn>, _) = (None, 0);
    for _ in 0..DRAWS.max(4 * choices) {
        let Some(drawn) = among.draw(best, rng) else {
            break;
        };
        if !among.open(drawn.at) {
            continue;
        }
        best = match best {
            Some(held) if held.at == drawn.at || cost(drawn.at) >= cost(held.at) => best,
            _ => Some(drawn),
        };
        found += 1;
        if found == choices {
            break;
        }
    }
    best.map(|best| best.at)
}

/// For sets of which so little is open that chance found none: the cheapest, or one drawn by weight
/// times part if there are parts.
fn of_all(
    among: &Among<'_, impl Eyes>,
    cost: &impl Fn(usize) -> f64,
    rng: &mut Rng,
) -> Option<usize> {
    if among.all_open().any(|at| among.part(at) < 1.0) {
        return left_over(among, rng);
    }
    let costs = among.all_open().map(|at| (cost(at), at));
    let cheapest = costs.min_by(|a, b| a.0.total_cmp(&b.0));
    cheapest.map(|(_, at)| at)
}

/// One of those that are open, drawn by weight times part.
pub(super) fn left_over(among: &Among<'_, impl Eyes>, rng: &mut Rng) -> Option<usize> {
    let weights = || among.all_open().map(|at| (at, among.weight_of(at)));
    let total: f64 = weights().map(|(_, weight)| weight).sum();
    let mut share = rng.f64() * total;
    let mut last = None;
    for (at, weight) in weights() {
        last = Some(at);
        if share < weight {
            break;
        }
        share -= weight;
    }
    last
}
