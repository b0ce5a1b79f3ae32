//! `tidegate order`: which regions of an upstream come first.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Asking, unexpected};
use super::terms::{Terms, kept};
use crate::exit::{Exit, Failure};

/// Put regions of an upstream first, in this order, in a running process.
///
/// They come before what the configuration says, as far as they may be used: residency, drains, a dial at
/// 0% and health exclude as always, and what is degraded or full stands behind what is not. The
/// others follow as the configuration has them. The order survives reloads, and restarts if there is a
/// state directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Order {
    /// The upstream.
    upstream: String,
    /// Its regions, the first first.
    #[arg(required_unless_present = "undo", value_name = "REGION")]
    regions: Vec<String>,
    /// Take the order back.
    #[arg(long, conflicts_with_all = ["regions", "lasts"])]
    undo: bool,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate order shop us-east eu-west
  tidegate order shop us-east --for 2h --reason 'eu-west has no database'
  tidegate order shop --undo
  tidegate orders                                   which are there?

Exit status: 0 done, 1 refused (no such upstream or region), 2 the process could not be asked.";

#[derive(Deserialize)]
struct Ordered {
    upstream: String,
    order: Option<Regions>,
    taken_back: Option<Regions>,
}

#[derive(Deserialize)]
struct Regions {
    regions: Vec<String>,
    author: String,
}

impl Order {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let regions = self.regions.join(",");
        let mut parameters = Vec::new();
        let method = if self.undo {
            Method::DELETE
        } else {
            parameters.push(("regions", regions.as_str()));
            self.terms.add_to(&mut parameters);
            Method::POST
        };
        let path = ["upstreams", &self.upstream, "order"];
        let by = &self.terms.signature;
        self.asking.ask_as(by, method, &path, &parameters, words)
    }
}

fn words(answer: &Value) -> Result<String, Failure> {
    let told = Ordered::deserialize(answer).map_err(unexpected)?;
    let upstream = &told.upstream;
    let done = match (told.order, told.taken_back) {
        (Some(order), _) => {
            let first = order.regions.join(", then ");
            format!("{upstream} goes to {first} first\n")
        }
        (None, Some(Regions { author, .. })) => {
            format!("{upstream} goes where the configuration says; the order was of {author}\n")
        }
        (None, None) => return Ok(format!("there is no order for {upstream}\n")),
    };
    Ok(done + &kept(answer))
}
