//! `tidegate rollback`: a running process goes back to a generation that has served before.

use clap::Args;
use http::Method;

use super::reload::words;
use super::remote::Asking;
use super::signature::Signature;
use crate::exit::{Exit, Failure};

/// Let a generation serve again that has served before.
///
/// Without a number: the one before. It is compiled again from its texts as they were; certificates and
/// the environment are read as they are now. The file stays as it is, and is not served until it changes
/// or `tidegate reload` asks for it, not even by a restart if there is a state directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rollback {
    /// The generation, as `tidegate generations` lists them.
    #[arg(value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate rollback --reason 'checkout fails'
  tidegate rollback 41
  tidegate generations                              which are there?

Exit status: 0 it serves, 1 refused (not kept, or it does not compile any more), 2 the process
could not be asked.";

impl Rollback {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let to = self.to.map(|number| number.to_string());
        let parameters: Vec<_> = to.iter().map(|to| ("to", to.as_str())).collect();
        let asking = &self.asking;
        asking.ask_as(
            &self.signature,
            Method::POST,
            &["rollback"],
            &parameters,
            words,
        )
    }
}
