//! The one clock of the data plane.
//!
//! It is tokio's, so that a test that pauses tokio's time pauses every deadline, idle limit and
//! measured duration with it. Outside a paused test it is the system's monotonic clock.

use std::time::Instant;

/// The moment.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
