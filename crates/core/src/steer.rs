//! Which regions, in which order.
//!
//! Eligibility comes first and is never a matter of rank: a region that may not be used is not on
//! the list, whatever its latency. Then regions are grouped by how they stand, and each group is put
//! in order, first what the request prefers, then the rest by the policy: those that work, the
//! degraded, those that stand by, those of whose share this attempt is none (they come back, or are
//! dialed down, or it is beyond their capacity), those that have fallen silent, and in a panic those
//! that are out. A share is kept by a draw for each attempt, so that it is really kept; when in doubt a
//! region comes last rather than not at all, because an answer is worth more than a share. Nothing here
//! allocates or remembers.

mod draw;
mod eligible;
mod near;
mod pin;
mod prefer;
mod rank;
mod share;
mod tier;

use arrayvec::ArrayVec;
use fastrand::Rng;

use crate::decision::{
    Because, Candidate, Decision, Eligibility, Excluded, Exclusion, Pin, PinnedBy, RegionRow, View,
};
use crate::ids::MAX_REGIONS;
use crate::plan::{Isolation, Policy, Spread};
use draw::Draws;
use rank::{Open, RANKS, Rank};

pub use eligible::{Gate, exclusion};
pub use near::KM_PER_MS;

type Group<'a> = ArrayVec<&'a RegionRow, MAX_REGIONS>;

/// One decision in the making.
struct Round<'a> {
    view: &'a View<'a>,
    eligibility: &'a Eligibility,
    draws: Draws<'a>,
    /// Whether load may move the attempt to another region.
    spills: bool,
}

/// Orders the eligible regions of `view` for one attempt; every other one gets its reason.
///
/// * `latency`: ascending by round trip; those within the tolerance of the nearest are drawn by what
///   they could still take, or by weight. While nothing is measured: ascending by distance if every
///   region has one, else in the configured order. A region not measured yet among measured ones counts
///   with an estimate from its distance ([`KM_PER_MS`]), and comes last without one.
/// * `priority`: ascending by tier; those of one tier are drawn by weight. Where too little of a tier is
///   healthy, a part goes to the next ones ([`TierLoads`](crate::priority::TierLoads)).
/// * `weighted`: drawn by weight, without replacement. A region of weight 0 takes no first attempt
///   while one with weight works; it takes failovers, after the others.
/// * `capacity`: the nearest first, or drawn by capacity.
/// * `geo`: those that the client's rule names, in its order; then the nearest to the client.
/// * `least_load`: ascending by attempts under way against capacity and by what upstreams report.
///
/// Whatever the policy: regions that the request prefers come first of those that are as good as they,
/// and one that stands by is then as good as one that serves, one without weight as good as one with.
/// A region takes the part of the attempts that its ramp, an operator's dial and its capacity let pass,
/// and stands behind the others for the rest; one in probation is tried only by attempts that can be
/// repeated elsewhere. A pinned region comes first. Under isolation load moves no
/// first attempt, and under strict isolation nothing moves any. `rng` is drawn from only where something
/// is shared, and not at all for requests that stay together.
///
/// Ties keep the configured order. No eligible region: no candidate.
pub fn decide(view: &View<'_>, eligibility: &Eligibility, rng: &mut Rng) -> Decision {
    let mut decision = Decision::default();
    decide_into(&mut decision, view, eligibility, rng);
    decision
}

/// The same in the place of `decision`: there is room for many regions, and moving a decision copies all
/// of it.
pub(crate) fn decide_into(
    decision: &mut Decision,
    view: &View<'_>,
    eligibility: &Eligibility,
    rng: &mut Rng,
) {
    let mut round = Round {
        view,
        eligibility,
        draws: Draws::new(eligibility.sticky, rng),
        spills: eligibility.isolation == Isolation::Off || !eligibility.tried.is_empty(),
    };
    let confined;
    if eligibility.isolation == Isolation::Strict {
        confined = pin::confine(&mut round);
        round.eligibility = &confined;
    }
    decision.candidates.clear();
    decision.excluded.clear();
    let mut open = Open::default();
    sift(&mut round, &mut open, decision);
    rank(&mut open, &mut round, decision);
    if let Policy::Priority { overprovisioning } = view.steering.policy
        && round.spills
        && !prefer::decides(decision)
    {
        tier::spill(overprovisioning, &open, &mut round, decision);
    }
    let pinned = pin::prefer(view, round.eligibility, decision);
    if round.spills && !pinned {
        share::shed(&mut round, decision);
    }
}

/// The regions that may take the attempt; the others get their reasons.
fn sift<'a>(round: &mut Round<'a>, open: &mut Open<'a>, decision: &mut Decision) {
    let gate = Gate::new(round.view, round.eligibility);
    decision.panic = gate.panic;
    for row in &round.view.rows {
        match gate.exclusion(row) {
            Some(why) => decision.excluded.push(Excluded {
                region: row.region,
                why,
            }),
            None => open.push(row, Rank::of(row, round)),
        }
    }
    let by_weight = matches!(round.view.steering.policy, Policy::Weighted { .. });
    if by_weight && round.eligibility.tried.is_empty() {
        keep_weighted(open, round.eligibility.pin, decision);
    }
}

fn rank(open: &mut Open<'_>, round: &mut Round<'_>, decision: &mut Decision) {
    if open.plain {
        // All of them have the same rank, so it is still theirs in any order.
        return order(round, &mut open.rows, decision);
    }
    for rank in RANKS {
        let mut group: Group<'_> = open.of(rank).collect();
        if group.is_empty() {
            continue;
        }
        let first = decision.candidates.len();
        order(round, &mut group, decision);
        for candidate in &mut decision.candidates[first..] {
            let row = &round.view.rows[usize::from(candidate.position)];
            candidate.because = rank.because(row.standing, candidate.because);
        }
    }
}

/// Leaves out the regions of weight 0 as long as one with weight works, be it degraded or standing by.
/// One that is held back or doubted is no reason: standing in for it is what they are there for. Nor is
/// one left out that a trusted peer names.
#[inline(never)]
fn keep_weighted(open: &mut Open<'_>, pin: Option<Pin>, decision: &mut Decision) {
    let named = pin.filter(|pin| pin.by == PinnedBy::Override);
    let named = named.map(|pin| pin.region);
    let weightless = |rank| open.of(rank).all(|row| row.weight == 0);
    if RANKS
        .into_iter()
        .filter(|rank| rank.serves())
        .all(weightless)
    {
        return;
    }
    let mut kept = Open::default();
    for (row, rank) in open.rows.drain(..).zip(open.ranks.drain(..)) {
        match row.weight {
            0 if named != Some(row.region) && row.preferred.is_none() => {
                decision.excluded.push(Excluded {
                    region: row.region,
                    why: Exclusion::NoWeight,
                })
            }
            _ => kept.push(row, rank),
        }
    }
    *open = kept;
}

/// Puts a group of one rank into the order of the policy.
fn order(round: &mut Round<'_>, group: &mut Group<'_>, decision: &mut Decision) {
    if group.iter().any(|row| row.preferred.is_some()) {
        prefer::first(group, decision);
        if group.is_empty() {
            return;
        }
    }
    match round.view.steering.policy {
        Policy::Latency { tolerance, .. } => near::by_latency(tolerance, group, round, decision),
        Policy::Priority { overprovisioning } => {
            tier::by_tier(overprovisioning, group, round, decision);
        }
        Policy::Weighted { .. } => share::by_weight(group, round, decision),
        Policy::Capacity {
            spread: Spread::Waterfall,
        } => near::by_latency(near::NO_BAND, group, round, decision),
        Policy::Capacity {
            spread: Spread::Spray,
        } => share::by_capacity(group, round, decision),
        Policy::Geo { .. } => near::by_place(group, round, decision),
        Policy::LeastLoad => share::by_load(group, round, decision),
    }
}

fn accept(group: &[&RegionRow], decision: &mut Decision, because: impl Fn(&RegionRow) -> Because) {
    for row in group {
        let because = because(row);
        decision.candidates.push(Candidate {
            region: row.region,
            position: row.position,
            because,
        });
    }
}

#[cfg(test)]
mod tests;
