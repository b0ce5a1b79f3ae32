//! The subcommands, one file each: what they take, what they do, what they answer.

mod abandon;
mod activate;
mod candidate;
mod check;
mod completions;
mod demo;
mod dial;
mod diff;
mod drain;
mod explain;
mod fmt;
mod generations;
mod order;
mod orders;
mod regions;
mod reload;
mod remote;
mod rollback;
mod run;
mod schema;
mod signature;
mod terms;
mod r#try;

use clap::{Parser, Subcommand};

use crate::exit::{Exit, Failure};

/// A global load balancer: moves requests to another region when theirs fails, while they are
/// under way.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate demo                                     see a region fail without a lost request
  tidegate check tidegate.yaml                      is this configuration right?
  tidegate fmt tidegate.yaml                        write it in one way
  tidegate run tidegate.yaml                        serve
  tidegate diff live next.yaml                      what would it do otherwise?
  tidegate reload                                   serve what the file says now
  tidegate rollback                                 serve what served before
  tidegate explain tidegate.yaml GET https://shop.example.com/api/cart
  tidegate regions                                  how do the regions stand?
  tidegate drain eu-west --deadline 5m              empty one of them
  tidegate orders                                   what is ordered, by whom and why?

Exit status: 0 fine, 1 the answer is no, 2 the question could not be put.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Fmt(fmt::Fmt),
    Diff(diff::Diff),
    Explain(explain::Explain),
    Regions(regions::Regions),
    Drain(drain::Drain),
    Dial(dial::Dial),
    Order(order::Order),
    Orders(orders::Orders),
    Reload(reload::Reload),
    Rollback(rollback::Rollback),
    Generations(generations::Generations),
    Try(r#try::Try),
    Activate(activate::Activate),
    Abandon(abandon::Abandon),
    Schema(schema::Schema),
    Demo(demo::Demo),
    Completions(completions::Completions),
}

impl Cli {
    /// Does what the command line says.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Run(run) => run.run(),
            Command::Check(check) => check.run(),
            Command::Fmt(fmt) => fmt.run(),
            Command::Diff(diff) => diff.run(),
            Command::Explain(explain) => explain.run(),
            Command::Regions(regions) => regions.run(),
            Command::Drain(drain) => drain.run(),
            Command::Dial(dial) => dial.run(),
            Command::Order(order) => order.run(),
            Command::Orders(orders) => orders.run(),
            Command::Reload(reload) => reload.run(),
            Command::Rollback(rollback) => rollback.run(),
            Command::Generations(generations) => generations.run(),
            Command::Try(tried) => tried.run(),
            Command::Activate(activate) => activate.run(),
            Command::Abandon(abandon) => abandon.run(),
            Command::Schema(schema) => schema.run(),
            Command::Demo(demo) => demo.run(),
            Command::Completions(completions) => completions.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every subcommand explains itself with an example.
    #[test]
    fn every_subcommand_has_examples() {
        for subcommand in Cli::command().get_subcommands() {
            let help = subcommand.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(
                help.contains("Example") && help.contains("Exit status"),
                "{subcommand}"
            );
        }
    }
}
