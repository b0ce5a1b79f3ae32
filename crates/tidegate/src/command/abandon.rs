//! `tidegate abandon`: the candidate serves nothing any more.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::candidate::Told;
use super::remote::Asking;
use super::signature::Signature;
use crate::exit::{Exit, Failure};

/// Give what a configuration serves in part back to the one beside it.
///
/// Requests under way end under their plan; the next ones are the other plan's. The configuration stays
/// as a candidate; with --forget it does not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Abandon {
    /// Forget the candidate, whether it serves a part or not.
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate abandon
  tidegate abandon --forget

Exit status: 0 done, 1 refused (there is nothing to abandon), 2 the process could not be asked.";

impl Abandon {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let (asking, signature) = (&self.asking, &self.signature);
        let candidate = ["candidate", "abandon"];
        match self.forget {
            true => asking.ask_as(signature, Method::DELETE, &candidate[..1], &[], forgotten),
            false => asking.ask_as(signature, Method::POST, &candidate, &[], abandoned),
        }
    }
}

fn abandoned(answer: &Value) -> Result<String, Failure> {
    Ok(Told::of(answer)?.report())
}

fn forgotten(_: &Value) -> Result<String, Failure> {
    Ok("The candidate is forgotten.\n".to_owned())
}
