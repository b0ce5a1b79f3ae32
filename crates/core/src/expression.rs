//! Conditions that operators write in the Common Expression Language (CEL), over the facts of a request.
//!
//! `config` parses and checks the text; what arrives here is a tree of typed nodes over which evaluation
//! is one pass: it allocates nothing, borrows every text from the request or the plan, and knows no
//! types that could be wrong. How large a tree may be is bounded when it is made, and how many steps one
//! request may cost is bounded when it is asked, so that neither a file nor a client makes it slow.
//!
//! It is a subset of CEL: where both give a value, it is the same value. An evaluation that fails
//! (a field that is not there, an overflow) gives no value, and a condition without one does not hold.

mod cost;
mod maps;
mod node;
mod number;
mod run;
mod scratch;
mod value;

use std::fmt;
use std::sync::Arc;

use crate::route::RequestFacts;

pub use cost::{Cost, TooComplex};
pub use node::{
    Arithmetic, Comparison, Conversion, Fact, List, MapName, Node, Range, Search, TimePart,
};
pub use value::{Fault, Value};

use run::Run;
use scratch::SCRATCH;

/// Longest source, in bytes.
pub const MAX_SOURCE: usize = 4096;

/// Most nodes of a tree.
pub const MAX_NODES: usize = 256;

/// Deepest nesting of a tree.
pub const MAX_DEPTH: usize = 32;

/// Most loops that are inside each other.
pub const MAX_LOOPS: usize = 4;

/// Most elements of one list.
pub const MAX_LIST: usize = 1000;

/// Most steps that an evaluation may be estimated to take.
pub const MAX_COST: u32 = 4096;

/// Most steps that an evaluation does take: a step a node, and one more for each 64 bytes of a
/// client's text that are looked through. Then it fails ([`Fault::Budget`]).
pub const MAX_STEPS: u32 = 16_384;

/// A condition on requests, ready to be asked. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    root: Node,
    cost: Cost,
}

impl Expression {
    /// The expression of a tree, which was made of `source`.
    ///
    /// # Errors
    /// The tree is larger, deeper or dearer than one may be.
    pub fn new(source: Arc<str>, root: Node) -> Result<Self, TooComplex> {
        let cost = Cost::of(&root)?;
        Ok(Self { source, root, cost })
    }

    /// What was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it costs to evaluate it, as far as that can be told without a request.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether the condition holds. One that cannot be evaluated does not.
    pub fn holds(&self, request: &impl RequestFacts) -> bool {
        self.decide(request) == Ok(true)
    }

    /// Whether the condition holds, and why that cannot be told.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn decide(&self, request: &impl RequestFacts) -> Result<bool, Fault> {
        self.with_value(request, |value| value.and_then(Value::truth))
    }

    /// What `then` makes of the value, which lives no longer than that.
    pub fn with_value<R: RequestFacts, T>(
        &self,
        request: &R,
        then: impl FnOnce(Result<Value<'_>, Fault>) -> T,
    ) -> T {
        match self.cost.writes {
            false => then(Run::new(request, &mut []).value(&self.root)),
            true => then(Run::new(request, &mut [0; SCRATCH]).value(&self.root)),
        }
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

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests;
