//! What is recorded of decisions.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::Percent;
use crate::yaml::Field;

/// What is recorded of decisions, for `tidegate explain REQUEST-ID`. Records stay in the memory of this process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Explain {
    /// The share of requests whose decisions are recorded whatever becomes of them. Those that lose the answer that they are owed, or need more than one attempt, always are.
    #[schemars(extend("default" = defaults::EXPLAIN_SAMPLE))]
    pub(crate) sample: Field<Percent>,
    /// How many records are kept; new ones take the place of the oldest. 1 to 1000000.
    #[schemars(extend("default" = defaults::EXPLAIN_KEEP))]
    pub(crate) keep: Field<u64>,
}
