//! What became of regions and endpoints, and by what evidence.

use tidegate_core::Health;
use tidegate_core::health::{Evidence, Stage};

use super::Label;

labels! {
    /// What became of a region: its stage, or its health while it serves.
    RegionTurn {
        /// Nothing is known of it.
        Unknown = "unknown",
        /// It serves, and works.
        Healthy = "healthy",
        /// It serves, worse than it should.
        Degraded = "degraded",
        /// It was emptied.
        Draining = "draining",
        /// It has fallen silent.
        Suspected = "suspected",
        /// It is down, or held out.
        Out = "out",
        /// It waits for an operator.
        Waiting = "waiting",
        /// It is tried.
        Probation = "probation",
        /// Its share grows back.
        Ramp = "ramp",
    }
}

labels! {
    /// The evidence that changed a region's or an endpoint's state.
    Cause {
        /// How many of the region's endpoints are usable.
        Endpoints = "endpoints",
        /// It was said, by itself or an operator.
        Said = "said",
        /// Too many attempts failed.
        Errors = "errors",
        /// More attempts failed than is usual.
        Raised = "raised",
        /// No attempt was answered.
        Unanswered = "unanswered",
        /// No byte came.
        Silent = "silent",
        /// A probe failed after it had fallen silent.
        ProbeFailed = "probe_failed",
        /// Connections failed after it had fallen silent.
        ConnectFailed = "connect_failed",
        /// The silence did not end.
        StillSilent = "still_silent",
        /// A probe was well, and nobody waits any more.
        ProbeWell = "probe_well",
        /// A byte came.
        Heard = "heard",
        /// Answers take too long.
        Slow = "slow",
        /// All regions fail alike.
        Shared = "shared",
        /// It is no better without it.
        Pardoned = "pardoned",
        /// It was held out long enough.
        Held = "held",
        /// An operator let it come back.
        Released = "released",
        /// No other region is usable.
        NoOther = "no_other",
        /// It stood its trial.
        Tried = "tried",
        /// Errors while its share grew.
        Reversed = "reversed",
        /// Its share has grown to the whole.
        Whole = "whole",
        /// What spoke against it is gone.
        Calm = "calm",
        /// An endpoint failed in a row.
        InARow = "in_a_row",
        /// An endpoint's success rate stands out.
        SuccessRate = "success_rate",
        /// Too large a part of an endpoint's attempts failed.
        FailurePercentage = "failure_percentage",
        /// An endpoint failed when it was tried again.
        FailedTrial = "failed_trial",
        /// An endpoint's ejection is over.
        EjectionOver = "ejection_over",
    }
}

impl RegionTurn {
    /// The turn that a region of this health took when it came to this stage.
    pub fn of(health: Health, stage: Stage) -> Self {
        match (stage, health) {
            (Stage::Suspected, _) => Self::Suspected,
            (Stage::Out, _) => Self::Out,
            (Stage::Waiting, _) => Self::Waiting,
            (Stage::Probation, _) => Self::Probation,
            (Stage::Ramp, _) => Self::Ramp,
            (Stage::Serving, Health::Unknown) => Self::Unknown,
            (Stage::Serving, Health::Healthy) => Self::Healthy,
            (Stage::Serving, Health::Degraded) => Self::Degraded,
            (Stage::Serving, Health::Unhealthy) => Self::Out,
            (Stage::Serving, Health::Draining) => Self::Draining,
        }
    }
}

impl From<&Evidence> for Cause {
    fn from(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Endpoints { .. } => Self::Endpoints,
            Evidence::Said { .. } => Self::Said,
            Evidence::Errors(_) => Self::Errors,
            Evidence::Raised(_) => Self::Raised,
            Evidence::Unanswered(_) => Self::Unanswered,
            Evidence::Silent { .. } => Self::Silent,
            Evidence::ProbeFailed { .. } => Self::ProbeFailed,
            Evidence::ConnectFailed { .. } => Self::ConnectFailed,
            Evidence::StillSilent { .. } => Self::StillSilent,
            Evidence::ProbeWell { .. } => Self::ProbeWell,
            Evidence::Heard { .. } => Self::Heard,
            Evidence::Slow { .. } => Self::Slow,
            Evidence::Shared { .. } => Self::Shared,
            Evidence::Pardoned { .. } => Self::Pardoned,
            Evidence::Held { .. } => Self::Held,
            Evidence::Released { .. } => Self::Released,
            Evidence::NoOther => Self::NoOther,
            Evidence::Tried { .. } => Self::Tried,
            Evidence::Reversed { .. } => Self::Reversed,
            Evidence::Whole { .. } => Self::Whole,
            Evidence::Calm { .. } => Self::Calm,
            Evidence::InARow { .. } => Self::InARow,
            Evidence::SuccessRate { .. } => Self::SuccessRate,
            Evidence::FailurePercentage { .. } => Self::FailurePercentage,
            Evidence::FailedTrial => Self::FailedTrial,
            Evidence::EjectionOver { .. } => Self::EjectionOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_core::health::{Failures, Row};

    use super::*;

    #[test]
    fn a_cause_has_the_word_that_events_have() {
        let (lasted, failures) = (Duration::from_secs(1), failures());
        let (usable, total, needed) = (1, 2, 0.5);
        let (row, count) = (Row::Any, 5);
        for evidence in [
            Evidence::Endpoints {
                usable,
                total,
                needed,
            },
            Evidence::Errors(failures),
            Evidence::Raised(failures),
            Evidence::Unanswered(failures),
            Evidence::StillSilent { lasted },
            Evidence::Heard { silent: lasted },
            Evidence::ProbeWell { after: lasted },
            Evidence::Shared {
                why: Evidence::NoOther.into(),
            },
            Evidence::Reversed {
                share: 0.5,
                why: Evidence::NoOther.into(),
            },
            Evidence::Pardoned { out: lasted },
            Evidence::Released { out: lasted },
            Evidence::NoOther,
            Evidence::Whole { within: lasted },
            Evidence::Calm { lasted },
            Evidence::InARow { row, count },
            Evidence::FailurePercentage { failed: 9, of: 10 },
            Evidence::FailedTrial,
        ] {
            let facts = serde_json::to_value(&evidence).unwrap();
            assert_eq!(facts["kind"], Cause::from(&evidence).word());
        }
    }

    fn failures() -> Failures {
        Failures {
            failed: 1,
            of: 2,
            within: Duration::from_secs(1),
            by_class: Default::default(),
            usual: 0.0,
            others: None,
        }
    }
}
