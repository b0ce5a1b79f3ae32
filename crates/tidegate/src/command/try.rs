//! `tidegate try`: another configuration on what comes, before it serves.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;
use tidegate_config::Bundle;

use super::candidate::{Told, thousands};
use super::remote::Process;
use super::signature::Signature;
use crate::exit::{Exit, Failure};
use crate::terminal::{self, percent, seconds};

/// How often is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// Try another configuration on the requests of a running process, before it serves.
///
/// What comes is shown to it beside the plan that serves: which route, region, order, residency and
/// timeout would change, for how many requests. Nothing is sent anywhere. With --activate it serves
/// afterwards, if its limits hold; else `tidegate activate` lets it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Try {
    /// The configuration; it is judged as if it stood in the place of the one that serves.
    config: PathBuf,
    /// How long it is tried.
    #[arg(long = "for", value_name = "DURATION", default_value = "1m")]
    lasts: String,
    /// Let it serve afterwards, if its limits hold.
    #[arg(long)]
    activate: bool,
    /// At most this part of the requests may change in anything.
    #[arg(long, value_name = "PART")]
    max_change: Option<String>,
    /// ... take another route.
    #[arg(long, value_name = "PART")]
    max_route_change: Option<String>,
    /// ... be answered or sent in another way.
    #[arg(long, value_name = "PART")]
    max_action_change: Option<String>,
    /// ... go to another upstream.
    #[arg(long, value_name = "PART")]
    max_upstream_change: Option<String>,
    /// ... be allowed elsewhere by residency. [default: 0]
    #[arg(long, value_name = "PART")]
    max_residency_change: Option<String>,
    /// ... go to another region first.
    #[arg(long, value_name = "PART")]
    max_region_change: Option<String>,
    /// ... have another order of regions.
    #[arg(long, value_name = "PART")]
    max_order_change: Option<String>,
    /// ... have another timeout.
    #[arg(long, value_name = "PART")]
    max_timeout_change: Option<String>,
    /// ... end at once, or not any more. [default: 0]
    #[arg(long, value_name = "PART")]
    max_end_change: Option<String>,
    /// So many requests must have been compared.
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    min_requests: String,
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    process: Process,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

const REPLACED: &str = "somebody tries another candidate, which took the place of this one";

const EXAMPLES: &str = "\
Examples:
  tidegate try new.yaml
  tidegate try new.yaml --for 5m --max-region-change 5%
  tidegate try new.yaml --activate --max-change 1% --min-requests 1000
  tidegate try new.yaml --json

Exit status: 0 its limits hold (with --activate: it serves), 1 they do not, or the configuration is
refused, 2 the process could not be asked.";

impl Try {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let bundle = Bundle::read(&self.config).map_err(|report| terminal::refused(&report))?;
        let json = serde_json::to_string(&bundle).map_err(Failure::could_not_ask)?;
        let process = self.process.reached(&self.signature)?;
        let mut answer = process.send(Method::POST, &["candidate"], &self.parameters(), json)?;
        let own = Told::of(&answer)?.candidate;
        let ask = || of_own(process.ask(Method::GET, &["candidate"], &[])?, own);
        let shown = std::io::stderr().is_terminal();
        while !is_done(&answer)? {
            process.wait(LOOK);
            answer = ask()?;
            if shown {
                progress(&answer)?;
            }
        }
        // What is asked for at the end of its time happens a moment after it.
        while self.activate && Told::of(&answer)?.state == "tried" {
            process.wait(LOOK / 5);
            answer = ask()?;
        }
        self.end(&answer)
    }

    fn end(&self, answer: &Value) -> Result<Exit, Failure> {
        let told = Told::of(answer)?;
        match self.json {
            true => terminal::print(&format!("{answer:#}\n"))?,
            false => terminal::print(&told.report())?,
        }
        let fine = match self.activate {
            true => told.state == "activated",
            false => told.limits.hold,
        };
        Ok(if fine { Exit::Fine } else { Exit::No })
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let limits = [
            ("max_change", &self.max_change),
            ("max_route_change", &self.max_route_change),
            ("max_action_change", &self.max_action_change),
            ("max_upstream_change", &self.max_upstream_change),
            ("max_residency_change", &self.max_residency_change),
            ("max_region_change", &self.max_region_change),
            ("max_order_change", &self.max_order_change),
            ("max_timeout_change", &self.max_timeout_change),
            ("max_end_change", &self.max_end_change),
        ];
        let given = limits.into_iter();
        let given = given.filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let mut parameters: Vec<_> = given.collect();
        parameters.push(("for", &self.lasts));
        parameters.push(("min_requests", &self.min_requests));
        parameters.push(("activate", if self.activate { "true" } else { "false" }));
        parameters
    }
}

/// What comes of somebody else's candidate says nothing of this one.
fn of_own(answer: Value, own: u64) -> Result<Value, Failure> {
    match Told::of(&answer)?.candidate == own {
        true => Ok(answer),
        false => Err(Failure::no(REPLACED)),
    }
}

fn is_done(answer: &Value) -> Result<bool, Failure> {
    let told = Told::of(answer)?;
    Ok(told.over || told.state != "tried")
}

/// One line that is written over and over.
fn progress(answer: &Value) -> Result<(), Failure> {
    let told = Told::of(answer)?;
    let requests = thousands(told.compared.requests);
    let (share, left) = (
        percent(told.compared.share),
        seconds(told.left_s.ceil() as u64),
    );
    let end = if told.over { "\r\x1b[K" } else { "" };
    terminal::tell(&format!(
        "\r\x1b[K{requests} requests compared, {share} would change, {left} left{end}"
    ));
    Ok(())
}
