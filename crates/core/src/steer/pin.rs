//! What speaks for one region before the policy does: a trusted peer, affinity, isolation.

use super::eligible::exclusion;
use super::{Group, Round, order};
use crate::decision::{Because, Decision, Eligibility, PinnedBy, RegionRow, View};
use crate::ids::{RegionIdx, RegionSet};
use crate::plan::{Policy, WhenGone};

/// Puts the region first that the request is pinned to, if it is a candidate and not worse than that;
/// says whether it did.
///
/// No share moves it: neither dial nor capacity. A client that another region serves for a time stays
/// away while its own comes back, or all of them would return at once; one that was bound to it all
/// the time does not, but for what must not be repeated, which tries nothing out.
pub(super) fn prefer(view: &View<'_>, eligibility: &Eligibility, decision: &mut Decision) -> bool {
    let Some(pin) = eligibility.pin else {
        return false;
    };
    let candidates = &mut decision.candidates;
    let Some(at) = candidates.iter().position(|one| one.region == pin.region) else {
        return false;
    };
    let row = &view.rows[usize::from(candidates[at].position)];
    let tries_out = row.standing.probation && !eligibility.repeatable;
    let is_tried = candidates[at].because == Because::HeldBack && tries_out;
    let yields = is_tried && pin.by == PinnedBy::Affinity(WhenGone::Rebind)
        || matches!(
            (candidates[at].because, pin.by),
            (Because::Panic, _)
                | (Because::Suspected, PinnedBy::Affinity(_))
                | (Because::HeldBack, PinnedBy::Affinity(WhenGone::Temporary))
        );
    if !yields {
        candidates[at].because = match pin.by {
            PinnedBy::Override => Because::Override,
            PinnedBy::Affinity(_) => Because::Affinity,
        };
        candidates[..=at].rotate_right(1);
    }
    !yields
}

/// The same without any region but the one that steering prefers, whatever its health. A request that
/// must stay in one region already stays there.
pub(super) fn confine(round: &mut Round<'_>) -> Eligibility {
    let eligibility = *round.eligibility;
    let within = match home(round) {
        Some(home) => RegionSet::from_iter([home]),
        None => eligibility.within,
    };
    Eligibility {
        within,
        ..eligibility
    }
}

/// The region that steering prefers of those that the request may use, as if nothing ever failed.
fn home(round: &mut Round<'_>) -> Option<RegionIdx> {
    let (view, eligibility) = (round.view, round.eligibility);
    let usable = |row: &&RegionRow| {
        eligibility.allowed.contains(row.region) && eligibility.within.contains(row.region)
    };
    if let Some(home) = pinned(view, eligibility) {
        return Some(home);
    }
    let by_weight = matches!(view.steering.policy, Policy::Weighted { .. });
    let takes = |row: &RegionRow| !row.standby && (row.weight > 0 || !by_weight);
    let serves = |row: &&RegionRow| row.preferred.is_some() || takes(row);
    let mut group: Group<'_> = view.rows.iter().filter(usable).filter(serves).collect();
    if group.is_empty() {
        group = view.rows.iter().filter(usable).collect();
    }
    let mut preferred = Decision::default();
    order(round, &mut group, &mut preferred);
    preferred.candidates.first().map(|first| first.region)
}

/// The region that the request is pinned to, if it may be: a trusted peer's word only holds for a
/// region that is in order.
fn pinned(view: &View<'_>, eligibility: &Eligibility) -> Option<RegionIdx> {
    let pin = eligibility.pin?;
    let row = view.rows.iter().find(|row| row.region == pin.region)?;
    let holds = match pin.by {
        PinnedBy::Override => exclusion(row, eligibility).is_none(),
        PinnedBy::Affinity(_) => {
            eligibility.allowed.contains(row.region) && eligibility.within.contains(row.region)
        }
    };
    holds.then_some(pin.region)
}
