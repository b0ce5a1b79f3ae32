//! `tidegate explain`: one hypothetical request, asked of a configuration.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use fastrand::Rng;
use tidegate_control::{Question, Told};
use tidegate_core::{Board, PlanHandle};

use crate::exit::{Exit, Failure};
use crate::terminal;

/// Tell what would happen to a request, and why.
///
/// Which route, which regions in which order, which endpoint. Sends nothing. Nothing is measured
/// yet, so every region counts as usable; ask a running process
/// by GET /explain on its admin listener for what it would do now.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// The configuration.
    config: PathBuf,
    /// The method: GET, POST and so on.
    method: String,
    /// The URL: absolute, or a path.
    url: String,
    /// A header field, as `Name: value`. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tidegate explain tidegate.yaml GET https://shop.example.com/api/cart
  tidegate explain tidegate.yaml POST /orders -H 'Host: shop.example.com' --json

Exit status: 0 there is somewhere to go, 1 no route, no region, or an invalid configuration,
2 the question could not be put.";

/// Draws among equals, alike in every run.
const SEED: u64 = 1;

impl Explain {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let question = Question::new(&self.method, &self.url, &self.headers);
        let question = question.map_err(Failure::could_not_ask)?;
        let loaded = tidegate_config::load(&self.config).map_err(|r| terminal::refused(&r))?;
        let now = Instant::now();
        let live = PlanHandle::new().activate(loaded.plan, &Board::new(now));
        let told = question.ask(&live, now, &mut Rng::with_seed(SEED));
        terminal::print(&self.rendered(&told)?)?;
        match told.termination {
            None => Ok(Exit::Fine),
            Some(_) => Ok(Exit::No),
        }
    }

    fn rendered(&self, told: &Told) -> Result<String, Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(told).map_err(Failure::could_not_ask)?;
            return Ok(json + "\n");
        }
        let request = format!("{} {}", self.method, self.url);
        let explanation = match &told.explanation {
            Some(explanation) => explanation.to_string(),
            None => "no route matches".to_owned(),
        };
        let end = told.termination.map_or(String::new(), |termination| {
            format!(
                "\nends      {} ({})",
                termination.status(),
                termination.as_str()
            )
        });
        Ok(format!("request   {request}\n{explanation}{end}\n"))
    }
}
