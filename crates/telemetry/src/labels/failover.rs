//! What was done to save a request, and what came of it.

use tidegate_core::budget::Purse;

use super::Label;

labels! {
    /// Where a body is kept so that it can be sent again.
    ReplayStore {
        /// Memory.
        Memory = "memory",
        /// Disk.
        Spool = "spool",
    }
}

labels! {
    /// Why a body is no longer kept.
    ReplayLost {
        /// It is longer than one request may keep.
        RequestLimit = "request_limit",
        /// All requests together keep as much as they may.
        TotalLimit = "total_limit",
        /// The disk failed.
        SpoolFailed = "spool_failed",
    }
}

labels! {
    /// Why a hedge was sent.
    HedgeCause {
        /// The region had fallen silent.
        Silent = "silent",
        /// The answer took longer than `hedge.after`.
        Slow = "slow",
    }
}

labels! {
    /// What came of a hedge.
    HedgeResult {
        /// Its answer was the one that the client got.
        Won = "won",
        /// The first attempt's was, or the client went away.
        Lost = "lost",
        /// It failed.
        Failed = "failed",
    }
}

labels! {
    /// What came of an answer's continuation from another place.
    ResumeResult {
        /// It goes on.
        Resumed = "resumed",
        /// The place was there, and did not have the same representation or not the asked range.
        Refused = "refused",
        /// No place gave an answer.
        Failed = "failed",
    }
}

impl Label for Purse {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        match self {
            Self::InRegion => "in_region",
            Self::CrossRegion => "cross_region",
        }
    }
}
