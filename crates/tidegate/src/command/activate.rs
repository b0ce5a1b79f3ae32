//! `tidegate activate`: lets the candidate serve a part, or everything.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::candidate::Told;
use super::remote::Asking;
use super::signature::Signature;
use crate::exit::{Exit, Failure};

/// Let the configuration that was tried last serve a part of what comes, or everything.
///
/// A share is of connections: each stays with its plan. With --route the requests that take these
/// routes in the new configuration are its. A part is abandoned by itself when its requests fail more
/// often than those beside it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Activate {
    /// The part of the connections that it serves, like 10%. May be raised.
    #[arg(long, value_name = "PART", conflicts_with = "route")]
    share: Option<String>,
    /// A route of the new configuration whose requests it serves. May be repeated.
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// Abandon the part when the share of its requests that fail exceeds that of the others by so
    /// much; `off`: never. [default: +5%]
    #[arg(long, value_name = "POINTS")]
    max_error_rate: Option<String>,
    /// But not before so many of its requests have ended. [default: 100]
    #[arg(long, value_name = "NUMBER")]
    min_requests: Option<String>,
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate activate --share 10%
  tidegate activate --share 50% --max-error-rate +1%
  tidegate activate --route checkout --route cart
  tidegate activate                                 everything

Exit status: 0 done, 1 refused (no candidate, no such route), 2 the process could not be asked.";

impl Activate {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let mut parameters = Vec::new();
        let given = [
            ("share", &self.share),
            ("max_error_rate", &self.max_error_rate),
            ("min_requests", &self.min_requests),
        ];
        for (name, value) in given {
            parameters.extend(value.as_deref().map(|value| (name, value)));
        }
        parameters.extend(self.route.iter().map(|route| ("route", route.as_str())));
        let path = ["candidate", "activate"];
        self.asking
            .ask_as(&self.signature, Method::POST, &path, &parameters, words)
    }
}

/// What nobody should find out at the next reload.
const FILE_STAYS: &str = "\
The file is as it was: put this configuration in its place, or the next reload brings back what it says.
";

fn words(answer: &Value) -> Result<String, Failure> {
    let told = Told::of(answer)?;
    Ok(match (&told.stage, told.generation) {
        (Some(stage), _) => stage.words(),
        (None, Some(generation)) => {
            format!("Generation {generation} serves everything.\n{FILE_STAYS}")
        }
        (None, None) => "It serves nothing.\n".to_owned(),
    })
}
