//! Text to a tree that knows the place of every key and value. YAML's own rules end here: aliases
//! and merge keys are resolved under a budget, and what is wrong with the syntax becomes a problem.

mod decode;
mod error;
mod field;
mod node;
mod parse;
mod paths;
mod pieces;
mod plain;
mod word_or;

pub(crate) use decode::decode;
pub(crate) use field::{Entries, Entry, Field};
pub(crate) use node::{Key, Kind, Node, Value};
pub(crate) use parse::parse;
pub(crate) use paths::fill_paths;
pub(crate) use pieces::{Pieces, pieces};
pub(crate) use plain::is_plain_text;
pub(crate) use word_or::{Off, WordOr};
