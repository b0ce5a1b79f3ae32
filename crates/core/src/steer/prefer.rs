//! What a request prefers, before the policy orders the rest.
//!
//! Where the preference comes from is not known here: a rule of the plan or an operator's order gives a
//! region its place, and this puts it there. It is an order and no permission: a region that may not be
//! used is not in the group, and one that is worse than others (degraded, coming back, beyond its
//! capacity) stands behind them as ever.

use super::{Group, accept};
use crate::decision::{Because, Decision};

/// Takes the preferred regions out of a group of one rank, in their order. Nothing is drawn. By itself:
/// most groups have none, and their ordering is not to pay for it.
#[cold]
#[inline(never)]
pub(super) fn first(group: &mut Group<'_>, decision: &mut Decision) {
    let preferred = group.iter().filter(|row| row.preferred.is_some());
    let mut preferred: Group<'_> = preferred.copied().collect();
    preferred.sort_unstable_by_key(|row| (!row.ordered, row.preferred, row.position));
    accept(&preferred, decision, |row| match row.ordered {
        true => Because::Ordered,
        false => Because::Preferred,
    });
    group.retain(|row| row.preferred.is_none());
}

/// Whether the first candidate is there because it is preferred.
pub(super) fn decides(decision: &Decision) -> bool {
    let first = decision.candidates.first();
    first.is_some_and(|first| matches!(first.because, Because::Ordered | Because::Preferred))
}
