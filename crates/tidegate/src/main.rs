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

/// A request over HTTP/2 allocates 17 times, mostly more than the system's allocator keeps at hand;
/// this one takes a tenth off its instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command::Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal::complain(&failure);
            failure.exit.into()
        }
    }
}
