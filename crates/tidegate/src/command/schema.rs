//! `tidegate schema`: for editors.

use clap::Args;

use crate::exit::{Exit, Failure};
use crate::terminal;

/// Print the JSON schema of configurations, for editors.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {}

const EXAMPLES: &str = "\
Example:
  tidegate schema > tidegate.schema.json
  # then, as the first line of a configuration:
  # yaml-language-server: $schema=tidegate.schema.json

Exit status: 0.";

impl Schema {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        terminal::print(&format!("{:#}\n", tidegate_config::schema()))?;
        Ok(Exit::Fine)
    }
}
