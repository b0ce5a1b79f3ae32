//! What of a new plan makes it go again.

use std::time::Duration;

/// Limits within which a new plan is kept; beyond them the one before serves again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollback {
    /// For so long after its activation a plan is watched, and so long before it is compared with.
    pub watch: Duration,
    /// By so much (0 to 1) the share of requests that fail may be above the share before. None: it
    /// does not matter.
    pub max_error_rate: Option<f64>,
    /// So many times as long as before requests may take, more than 1. None: it does not matter.
    pub max_latency: Option<f64>,
    /// Nothing is concluded from fewer requests than this, before and since. At least 1.
    pub min_requests: u64,
}
