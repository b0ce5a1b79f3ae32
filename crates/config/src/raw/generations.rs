//! Generations: where they are kept, and when a new one goes again.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{Duration, OffOrFactor, OffOrRise};
use crate::yaml::Field;

/// Where the process keeps what must outlive it: its generations, orders.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// A directory for this process alone; it is made if there is none. Absent: `$STATE_DIRECTORY` as systemd sets it, else nothing is kept beyond the end of the process. Relative to the configuration.
    pub(crate) dir: Field<String>,
    /// How many generations are kept to go back to, 2 to 1000.
    #[schemars(extend("default" = defaults::STATE_KEEP))]
    pub(crate) keep: Field<u64>,
}

/// When a new plan does so much worse than the one before that that one serves again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rollback {
    /// For so long a new plan is watched, and so long before it is what it is compared with. 1s to 1h.
    #[schemars(extend("default" = defaults::ROLLBACK_WATCH))]
    pub(crate) watch: Field<Duration>,
    /// By how much the share of requests that fail may rise, in points of a per cent: answers of 5xx, and answers that were owed and not delivered.
    #[schemars(extend("default" = defaults::ROLLBACK_ERROR_RATE))]
    pub(crate) max_error_rate: Field<OffOrRise>,
    /// How many times as long requests may take on average.
    #[schemars(extend("default" = defaults::ROLLBACK_LATENCY))]
    pub(crate) max_latency: Field<OffOrFactor>,
    /// Fewer requests than this, before or since, say nothing. 10 to 1000000.
    #[schemars(extend("default" = defaults::ROLLBACK_MIN_REQUESTS))]
    pub(crate) min_requests: Field<u64>,
}
