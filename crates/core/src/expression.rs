//! Conditions that operators write, over the facts of a request.

use std::fmt;
use std::sync::Arc;

use crate::route::RequestFacts;

/// A condition on requests. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
}

impl Expression {
    /// What was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the condition holds. One that cannot be evaluated does not.
    pub fn holds(&self, _request: &impl RequestFacts) -> bool {
        false
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}
