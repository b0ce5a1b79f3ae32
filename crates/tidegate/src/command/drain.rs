//! `tidegate drain`: empties a region, for every upstream that lives there.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::remote::{Asking, unexpected};
use super::terms::{Terms, kept};
use crate::exit::{Exit, Failure};
use crate::terminal::seconds;

/// Empty a region of a running process, or end that.
///
/// No new attempt goes there, even when nothing else is left. What is under way may end; with
/// --now, or when the deadline comes, what waits there for an answer and may be repeated is made
/// elsewhere. A drain survives reloads, and restarts if there is a state directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Drain {
    /// The region.
    region: String,
    /// Make what waits there elsewhere after so long.
    #[arg(long, value_name = "DURATION", conflicts_with = "now")]
    deadline: Option<String>,
    /// Make what waits there elsewhere at once.
    #[arg(long)]
    now: bool,
    /// End the drain.
    #[arg(long, conflicts_with_all = ["deadline", "now", "force", "lasts"])]
    undo: bool,
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
  tidegate drain eu-west
  tidegate drain eu-west --deadline 5m
  tidegate drain eu-west --now
  tidegate drain eu-west --for 2h --reason 'power works'
  tidegate drain eu-west --undo

Exit status: 0 done, 1 refused (no such region, or it is the last one), 2 the process could not be
asked.";

#[derive(Deserialize)]
struct Drained {
    region: String,
    draining: bool,
    now: bool,
    deadline_s: Option<u64>,
    upstreams: Vec<String>,
    in_flight: u32,
    waiting: u32,
}

impl Drain {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let method = if self.undo {
            Method::DELETE
        } else {
            Method::POST
        };
        let mut parameters = Vec::new();
        if let Some(deadline) = &self.deadline {
            parameters.push(("deadline", deadline.as_str()));
        }
        if self.now {
            parameters.push(("now", "true"));
        }
        if self.force {
            parameters.push(("force", "true"));
        }
        self.terms.add_to(&mut parameters);
        let path = ["regions", &self.region, "drain"];
        let by = &self.terms.signature;
        self.asking.ask_as(by, method, &path, &parameters, words)
    }
}

fn words(answer: &Value) -> Result<String, Failure> {
    let drained = Drained::deserialize(answer).map_err(unexpected)?;
    let Drained {
        region,
        upstreams,
        in_flight,
        waiting,
        ..
    } = &drained;
    let of = upstreams.join(", ");
    if !drained.draining {
        let done = format!("{region} is not drained any more ({of})\n");
        return Ok(done + &kept(answer));
    }
    let pace = match drained.deadline_s {
        _ if drained.now => "; what waits there is made elsewhere".to_owned(),
        Some(left) => format!("; in {} what waits there is made elsewhere", seconds(left)),
        None => String::new(),
    };
    Ok(format!(
        "{region} is drained ({of}){pace}\n{in_flight} in flight, {waiting} of them wait for an answer\n"
    ) + &kept(answer))
}
