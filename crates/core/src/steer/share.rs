//! By size: in proportion to capacity or weight, by load, and what is beyond a region's capacity.

use super::draw::{Draws, Purpose};
use super::{Group, Round, accept};
use crate::decision::{Because, Decision, RegionRow};

/// A utilization that counts as full: nothing is divided by nothing.
const FULL: f32 = 0.99;

/// What is degraded counts as so much of what is not.
const DEGRADED: f64 = 0.1;
/// So much of a region counts as usable at least.
const USABLE_LEAST: f64 = 0.01;

impl Round<'_> {
    /// Draws who comes first of regions that are equally good: by what each could still take if all of
    /// them have a capacity, else by weight. What is spare changes from moment to moment, so requests
    /// that stay together, or must not move for load, are drawn by capacity.
    pub(super) fn share(&mut self, band: &mut [&RegionRow]) {
        let told = band.iter().all(|row| row.capacity > 0.0);
        let spare = |row: &RegionRow| f64::from(row.spare.unwrap_or(row.capacity));
        let steady = self.draws.is_sticky() || !self.spills;
        match () {
            () if !told => self.draws.order(band, weight),
            () if !steady && band.iter().any(|row| spare(row) > 0.0) => {
                self.draws.order(band, spare);
            }
            () => self.draws.order(band, capacity),
        }
    }
}

/// Drawn by weight.
pub(super) fn by_weight(group: &mut Group<'_>, round: &mut Round<'_>, decision: &mut Decision) {
    round.draws.order(group, weight);
    let because = match round.draws {
        Draws::Sticky(_) => Because::Hash,
        Draws::Chance(_) => Because::Weight,
    };
    accept(group, decision, |_| because);
}

/// Drawn by capacity; by weight if one does not tell its own.
pub(super) fn by_capacity(group: &mut Group<'_>, round: &mut Round<'_>, decision: &mut Decision) {
    let size = size(group);
    round.draws.order(group, size);
    accept(group, decision, |_| Because::Capacity);
}

/// Ascending by load; those of equal load are drawn by size.
pub(super) fn by_load(group: &mut Group<'_>, round: &mut Round<'_>, decision: &mut Decision) {
    let size = size(group);
    let load = |row: &RegionRow| {
        let (under_way, utilization) = row.load;
        let idle = 1.0 - utilization.unwrap_or(0.0).clamp(0.0, FULL);
        let usable = row.healthy.share() + row.degraded.share() * DEGRADED;
        let usable = usable.max(USABLE_LEAST);
        (f64::from(under_way) + 1.0) / (size(row) * usable) / f64::from(idle)
    };
    group.sort_unstable_by(|a, b| {
        load(a)
            .total_cmp(&load(b))
            .then(a.position.cmp(&b.position))
    });
    for equals in group.chunk_by_mut(|a, b| load(a) == load(b)) {
        round.draws.order(equals, size);
    }
    accept(group, decision, |_| Because::LeastLoad);
}

/// Asks the candidates in their order whether the attempt is of the part that they take, until one
/// says yes. The others shed it and come after all that were not asked, but for those that are doubted.
/// Where all shed it, they share it by size.
pub(super) fn shed(round: &mut Round<'_>, decision: &mut Decision) {
    let rows = &round.view.rows;
    let row = |position: u8| &rows[usize::from(position)];
    let candidates = &mut decision.candidates;
    let doubted = |because| matches!(because, Because::Suspected | Because::Panic);
    let refused = candidates.iter().take_while(|candidate| {
        let row = row(candidate.position);
        !doubted(candidate.because) && !round.draws.passes(row.take, row, Purpose::Take)
    });
    let refused = refused.count();
    if refused == 0 {
        return;
    }
    let asked = candidates.iter().position(|one| doubted(one.because));
    let asked = asked.unwrap_or(candidates.len());
    let mut group: Group<'_> = candidates[..refused]
        .iter()
        .map(|one| row(one.position))
        .collect();
    let size = size(&group);
    round.draws.order(&mut group, size);
    for (candidate, row) in candidates.iter_mut().zip(group) {
        (candidate.region, candidate.position) = (row.region, row.position);
        candidate.because = Because::Shed;
    }
    candidates[..asked].rotate_left(refused);
}

/// What regions of `group` are weighed by: capacity, or weight if one does not tell its own.
pub(super) fn size(group: &[&RegionRow]) -> fn(&RegionRow) -> f64 {
    match group.iter().all(|row| row.capacity > 0.0) {
        true => capacity,
        false => weight,
    }
}

fn capacity(row: &RegionRow) -> f64 {
    f64::from(row.capacity)
}

fn weight(row: &RegionRow) -> f64 {
    f64::from(row.weight)
}
