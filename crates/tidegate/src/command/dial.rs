//! `tidegate dial`: how much of its share a region takes.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use tidegate_control::parse_dial;

use super::remote::{Asking, unexpected};
use super::terms::{Terms, kept};
use crate::exit::{Exit, Failure};
use crate::terminal::percent;

/// Dial a region of a running process: let it take at most a part of its share.
///
/// The rest goes to the other regions; while there are none, the region takes it all the same,
/// except at 0%, which excludes it. A dial survives reloads, and restarts if there is a state directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Dial {
    /// The region.
    region: String,
    /// The part: 0% to 100%, or a fraction like 0.25.
    #[arg(required_unless_present = "reset")]
    to: Option<String>,
    /// Of this upstream only.
    #[arg(long)]
    upstream: Option<String>,
    /// Leave the dial to the configuration again.
    #[arg(long, conflicts_with_all = ["to", "lasts"])]
    reset: bool,
    /// Do it even if it leaves an upstream, or a route, without any region.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    asking: Asking,
}

const EXAMPLES: &str = "\
Examples:
  tidegate dial eu-west 25%
  tidegate dial eu-west 25% --upstream shop
  tidegate dial eu-west 50% --for 1h --reason 'load test'
  tidegate dial eu-west --reset

Exit status: 0 done, 1 refused (no such region, or it is the last one), 2 the process could not be
asked.";

#[derive(Deserialize)]
struct Dialed {
    region: String,
    to: Option<f64>,
    upstreams: BTreeMap<String, f64>,
}

impl Dial {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        if let Some(to) = &self.to {
            parse_dial(to).map_err(Failure::could_not_ask)?;
        }
        let to = self.to.as_deref().unwrap_or("plan");
        let mut parameters = vec![("to", to)];
        if let Some(upstream) = &self.upstream {
            parameters.push(("upstream", upstream));
        }
        if self.force {
            parameters.push(("force", "true"));
        }
        self.terms.add_to(&mut parameters);
        let path = ["regions", &self.region, "dial"];
        let by = &self.terms.signature;
        self.asking
            .ask_as(by, Method::POST, &path, &parameters, words)
    }
}

fn words(answer: &Value) -> Result<String, Failure> {
    let Dialed {
        region,
        to,
        upstreams,
    } = Dialed::deserialize(answer).map_err(unexpected)?;
    let by = if to.is_some() {
        ""
    } else {
        ", as the configuration says"
    };
    let told = upstreams.iter().map(|(upstream, dial)| {
        let share = percent(*dial);
        format!("{region} takes at most {share} of its share of {upstream}{by}\n")
    });
    Ok(told.collect::<String>() + &kept(answer))
}
