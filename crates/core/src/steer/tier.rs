//! Tiers: the lowest that is usable, and a part to the next ones where it cannot carry everything.
//!
//! What a tier can carry follows from what of it is usable (ALGORITHMS 5.1). A region that is down, or
//! takes no part in this attempt because it comes back or is dialed down, counts with its size and with
//! nothing usable, so that its neighbours are not asked to carry all of its share. What an operator
//! forbids, and what the request may not use, is no part of a tier at all.

use arrayvec::ArrayVec;

use super::draw::Purpose;
use super::eligible::rule;
use super::rank::Open;
use super::share::size;
use super::{Group, Round, accept};
use crate::decision::{Because, Decision, RegionRow};
use crate::health::Health;
use crate::ids::{MAX_REGIONS, RegionSet};
use crate::priority::{Grade, Tier, TierLoads};
use crate::standing::Dial;

/// What sums of parts may miss of the whole by rounding.
const ROUNDING: f64 = 1e-9;

/// What tells tiers apart, best first: those that stand by come after all that serve.
type Level = (bool, u16);

fn level(row: &RegionRow) -> Level {
    (row.standby, row.tier)
}

/// Ascending by tier; those of one tier are drawn by the weight that is usable.
pub(super) fn by_tier(
    overprovisioning: f64,
    group: &mut Group<'_>,
    round: &mut Round<'_>,
    decision: &mut Decision,
) {
    group.sort_unstable_by_key(|row| (level(row), row.position));
    let share = |row: &RegionRow| {
        let usable = row.healthy.share() + row.degraded.share();
        f64::from(row.weight) * (usable * overprovisioning).min(1.0)
    };
    for tier in group.chunk_by_mut(|a, b| level(a) == level(b)) {
        round.draws.order(tier, share);
    }
    accept(group, decision, |_| Because::Tier);
}

/// Puts a region of the tier first that is drawn by what each can carry.
pub(super) fn spill(
    overprovisioning: f64,
    open: &Open<'_>,
    round: &mut Round<'_>,
    decision: &mut Decision,
) {
    if suffices(overprovisioning, open, decision) {
        return;
    }
    let tiers = Tiers::of(open, round);
    let loads = TierLoads::of(&tiers.sums, overprovisioning);
    let first = loads.as_slice().first();
    if first.is_none_or(|load| load.healthy >= 1.0 - ROUNDING) {
        return;
    }
    let Some((at, grade)) = loads.pick(round.draws.part(0, Purpose::Tier)) else {
        return;
    };
    let rows = &round.view.rows;
    let taken = decision.candidates.iter().position(|candidate| {
        let row = &rows[usize::from(candidate.position)];
        let (healthy, degraded) = parts(row);
        let part = match grade {
            Grade::Healthy => healthy,
            Grade::Degraded => degraded,
        };
        tiers.serving.contains(row.region) && level(row) == tiers.levels[at] && part > 0.0
    });
    if let Some(taken) = taken {
        decision.candidates[..=taken].rotate_right(1);
    }
}

/// Whether the first tier carries everything as it is plain to see: nothing is amiss with any region,
/// and of none of that tier more is unusable than the rest makes up for. The usual case, and the sums
/// would say the same.
fn suffices(overprovisioning: f64, open: &Open<'_>, decision: &Decision) -> bool {
    if !open.plain || !decision.excluded.is_empty() {
        return false;
    }
    let rows = &open.rows;
    let Some(first) = rows.iter().map(|row| level(row)).min() else {
        return false;
    };
    let mut tier = rows.iter().filter(|row| level(row) == first);
    tier.all(|row| row.weight > 0 && parts(row).0 * overprovisioning >= 1.0)
}

/// The tiers of an upstream, best first.
#[derive(Default)]
struct Tiers {
    levels: ArrayVec<Level, MAX_REGIONS>,
    sums: ArrayVec<Tier, MAX_REGIONS>,
    /// The regions that take part.
    serving: RegionSet,
}

impl Tiers {
    fn of(open: &Open<'_>, round: &Round<'_>) -> Self {
        let rows = round.view.rows.iter();
        let mut group: Group<'_> = rows
            .filter(|row| rule(row, round.eligibility).is_none())
            .collect();
        group.sort_unstable_by_key(|row| level(row));
        let ranked = open.rows.iter().zip(&open.ranks);
        let serving = ranked.filter(|(_, rank)| rank.serves());
        let mut tiers = Self {
            serving: serving.map(|(row, _)| row.region).collect(),
            ..Self::default()
        };
        let told = group.iter().all(|row| row.capacity > 0.0);
        let size = size(&group);
        for tier in group.chunk_by(|a, b| level(a) == level(b)) {
            tiers.levels.push(level(tier[0]));
            tiers.sums.push(sum(tier, size, told, tiers.serving));
        }
        tiers
    }
}

fn sum(tier: &[&RegionRow], size: fn(&RegionRow) -> f64, told: bool, serving: RegionSet) -> Tier {
    let (mut healthy, mut degraded, mut all) = (0.0, 0.0, 0.0);
    for row in tier {
        all += size(row);
        if serving.contains(row.region) {
            let parts = parts(row);
            healthy += size(row) * parts.0;
            degraded += size(row) * parts.1;
        }
    }
    let part = |of: f64| if all > 0.0 { of / all } else { 0.0 };
    Tier {
        healthy: part(healthy),
        degraded: part(degraded),
        capacity: if told { all } else { 0.0 },
    }
}

/// The parts of a region that are usable: those that are not degraded, and those that are. A look tells
/// them of a degraded region too: most are so because some of their endpoints are out, and the rest is
/// well. Before the first look, all of it is degraded.
fn parts(row: &RegionRow) -> (f64, f64) {
    match (row.standing.health, row.healthy) {
        (Health::Degraded, Dial::FULL) => (0.0, 1.0),
        (_, healthy) => (healthy.share(), row.degraded.share()),
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::decision::View;
    use crate::ids::RegionIdx;
    use crate::plan::{Policy, Steering};
    use crate::steer::draw::Draws;
    use crate::steer::rank::Rank;

    fn row(at: u8, tier: u16, weight: u32, healthy: f64) -> RegionRow {
        RegionRow {
            tier,
            weight,
            healthy: Dial::new(healthy),
            ..RegionRow::new(RegionIdx(at), at)
        }
    }

    /// Whether it is plain to see that the first of two tiers, of two regions and one, suffices; never
    /// where the sums say otherwise.
    fn check(weights: [u32; 2], healthy: [f64; 2], expected: bool) {
        let steering = Steering::from(Policy::priority());
        let first = (0..2).map(|at| row(at, 0, weights[usize::from(at)], healthy[usize::from(at)]));
        let rows = first.chain([row(2, 1, 1, 1.0)]).collect();
        let view = View {
            steering: &steering,
            rows,
        };
        let mut open = Open::default();
        view.rows.iter().for_each(|row| open.push(row, Rank::Fit));
        let plain = suffices(1.4, &open, &Decision::default());
        assert_eq!(plain, expected, "{weights:?} {healthy:?}");
        let mut rng = Rng::with_seed(1);
        let round = Round {
            view: &view,
            eligibility: &crate::decision::Eligibility::ANY,
            draws: Draws::new(None, &mut rng),
            spills: true,
        };
        let loads = TierLoads::of(&Tiers::of(&open, &round).sums, 1.4);
        let carried = loads.as_slice()[0].healthy;
        assert!(
            !plain || carried >= 1.0 - ROUNDING,
            "{weights:?} {healthy:?}: {carried}"
        );
    }

    #[test]
    fn what_is_plain_to_see_is_what_the_sums_say() {
        check([1, 1], [1.0, 1.0], true);
        check([3, 1], [0.72, 0.9], true);
        check([1, 1], [1.0, 0.71], false);
        check([1, 1], [0.5, 0.5], false);
        check([0, 1], [1.0, 1.0], false);
        check([0, 0], [1.0, 1.0], false);
    }
}
