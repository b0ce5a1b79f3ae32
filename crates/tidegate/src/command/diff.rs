//! `tidegate diff`: what another configuration would do differently.

use std::path::Path;

use clap::Args;
use serde_json::json;
use tidegate_config::{Bundle, Loaded, load_bundle};
use tidegate_control::Diff as Difference;

use super::remote::{Process, unexpected};
use crate::exit::{Exit, Failure};
use crate::terminal;

/// Tell what another configuration would do differently.
///
/// In terms of behaviour, not of text: routes that come, go or change, regions that they gain or lose,
/// whose requests a new route takes, keys that have another value, defaults included. Order and
/// comments make no difference. Contacts nobody, unless one side is `live`: the plan that a running
/// process serves; files that it names are looked up from the other side's directory. Variables have the
/// values of this command's environment, on both sides.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    /// What is compared with: a configuration, or `live`.
    old: String,
    /// What is compared: a configuration, or `live`.
    new: String,
    #[command(flatten)]
    process: Process,
    /// Print the difference as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tidegate diff tidegate.yaml next.yaml
  tidegate diff live next.yaml
  tidegate diff live next.yaml --json | jq '.routes[] | select(.loses != [])'

Exit status: 0 they do the same, 1 they differ or one is invalid, 2 one cannot be read.";

impl Diff {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let (old, new) = (
            self.load(&self.old, &self.new)?,
            self.load(&self.new, &self.old)?,
        );
        let diff = Difference::between(&old, &new);
        match self.json {
            true => {
                let mut document = serde_json::to_value(&diff).map_err(unexpected)?;
                document["same"] = json!(diff.is_empty());
                terminal::print(&format!("{document:#}\n"))?;
            }
            false => terminal::print(&diff.to_string())?,
        }
        Ok(if diff.is_empty() {
            Exit::Fine
        } else {
            Exit::No
        })
    }

    /// What serves names its files from its own directory, which is taken to be that of the file that
    /// it is compared with.
    fn load(&self, side: &str, beside: &str) -> Result<Loaded, Failure> {
        let loaded = match side {
            "live" => {
                let text = self.process.text(&["plan"])?;
                let name = Path::new(beside).with_file_name("live");
                load_bundle(&Bundle::of(name, text), None)
            }
            path => tidegate_config::load(Path::new(path)),
        };
        loaded.map_err(|report| terminal::refused(&report))
    }
}
