//! Which regions, in which order.

use fastrand::Rng;

use crate::decision::{Because, Candidate, Decision, Eligibility, Excluded, Exclusion, View};

/// Orders the eligible regions of `view` for one attempt; every other one gets its reason.
pub fn decide(view: &View<'_>, eligibility: &Eligibility, _rng: &mut Rng) -> Decision {
    let mut decision = Decision::default();
    for row in &view.rows {
        let region = row.region;
        let why = if !eligibility.allowed.contains(region) {
            Some(Exclusion::Residency)
        } else if eligibility.tried.contains(region) {
            Some(Exclusion::Tried)
        } else if row.draining {
            Some(Exclusion::Draining)
        } else if !row.health.usable() {
            Some(Exclusion::Unhealthy)
        } else {
            None
        };
        match why {
            Some(why) => decision.excluded.push(Excluded { region, why }),
            None => decision.candidates.push(Candidate { region, position: row.position, because: Because::Nearest }),
        }
    }
    decision
}
