//! The command line of Tidegate. Each subcommand has a file under `command`; `serve` puts the
//! parts of the process together; `demo` does so with a laboratory around it.
//!
//! Composition only: whatever decides something lives in a crate of its own. No other place of the
//! code sees both the data plane and what controls it.

mod command;
mod demo;
mod exit;
mod serve;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match command::Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal::complain(&failure);
            failure.exit.into()
        }
    }
}
