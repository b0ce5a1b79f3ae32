//! Where requests come from to try a candidate on. The data plane is not known here; whoever composes the
//! process says how it is asked.

use tidegate_core::shadow::Case;

/// What shows requests while a candidate is tried. Nothing that it does may make a request wait.
pub trait Traffic: Send + Sync {
    /// From now on requests are shown.
    fn open(&self);

    /// No more are shown, and those that were are forgotten.
    fn close(&self);

    /// Moves what was shown since the last time to the end of `cases`; says how many requests besides
    /// were not, for want of room.
    fn take(&self, cases: &mut Vec<Case>) -> u64;
}

/// Shows nothing: for a process that serves nobody.
pub struct NoTraffic;

impl Traffic for NoTraffic {
    fn open(&self) {}

    fn close(&self) {}

    fn take(&self, _cases: &mut Vec<Case>) -> u64 {
        0
    }
}
