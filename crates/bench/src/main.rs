//! Compares what proxies cost, side by side in one run on one machine.
//!
//! Every proxy has core 0 to itself; load and upstream share core 1. Rounds are interleaved and the
//! result is a ratio to nginx in the same round, because absolute figures move with the machine.
//! A round in which anything went wrong gives no figure: it fails the run.

mod bench;
mod caller;
mod cell;
mod cores;
mod cost;
mod cpu;
mod drive;
mod endpoints;
mod error;
mod failover;
mod figures;
mod handshake;
mod idle;
mod latency;
mod load;
mod memory;
mod peer;
mod progress;
mod publish;
mod quiet;
mod reloads;
mod report;
mod routes;
mod sample;
mod size;
mod start;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use error::BenchError;

/// The core of the proxy under test.
const PROXY_CORE: u32 = 0;

/// The core of everything else.
const LOAD_CORE: u32 = 1;

/// Compare proxies side by side.
///
/// Exit status: 0 measured, 1 a proxy gave a wrong answer, 2 could not measure.
#[derive(Parser)]
#[command(name = "tidegate-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every dimension, one after the other
    All(Options),
    /// CPU per request by size of body and protocol
    Size(Options),
    /// Handshakes, full and resumed, and connections for one request each
    Handshake(Options),
    /// Memory of idle connections
    Idle(Options),
    /// Added latency at a given load, open loop
    Latency(Options),
    /// Many routes, and reloads under load
    Routes(Options),
    /// A thousand reloads of 10,000 routes under load: two minutes a round
    Reloads(reloads::Reloads),
    /// Many endpoints with active checks
    Endpoints(Options),
    /// One and two worker threads
    Cores(Options),
    /// A region dies and comes back: what clients meet, and how traffic returns
    Failover(failover::Failover),
    /// Write the figures of earlier runs into a page
    Publish(publish::Publish),
    /// The upstream, as a child of the other commands
    #[command(hide = true)]
    Upstream,
    /// The open loop of `latency`, as a child of it
    #[command(hide = true)]
    OpenLoop,
    /// The caller of `handshake` and `idle`, as a child of them
    #[command(hide = true)]
    Call(caller::Call),
    /// The raw TCP copy, as a child of the other commands
    #[command(hide = true)]
    Copy(peer::copy::Copy),
}

/// How to measure.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The release binary of Tidegate
    #[arg(long, default_value = "target/dist/tidegate")]
    tidegate: PathBuf,
    /// Rounds, interleaved; the figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Share of the usual number of requests, in per cent; below 100 the figures are coarse
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    percent: u64,
    /// How often a round is measured again that somebody else on the machine disturbed
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=99))]
    repeats: u32,
    /// Only the cells whose name contains this text
    #[arg(long, default_value = "")]
    only: String,
    /// Only this proxy, of those that are installed; may be given more than once
    #[arg(long)]
    proxy: Vec<peer::Kind>,
    /// Where the JSON and the picture go
    #[arg(long, default_value = "bench-results")]
    out: PathBuf,
    /// Where `make bench-install` put Envoy
    #[arg(long, default_value = "target/bench-peers")]
    peers: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = run(Cli::parse().command) => ended,
        error = told_to_end() => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-bench: {error}");
            ExitCode::from(error.status())
        }
    }
}

/// Comes back at SIGINT or SIGTERM, so that everything that was started is dropped and ends too.
async fn told_to_end() -> BenchError {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return BenchError::io("SIGTERM")(error),
    };
    tokio::select! {
        _ = terminate.recv() => BenchError::Interrupted,
        _ = tokio::signal::ctrl_c() => BenchError::Interrupted,
    }
}

async fn run(command: Command) -> Result<(), BenchError> {
    match command {
        Command::All(options) => all(&options).await,
        Command::Size(options) => size::run(&options).await,
        Command::Handshake(options) => handshake::run(&options).await,
        Command::Idle(options) => idle::run(&options).await,
        Command::Latency(options) => latency::run(&options).await,
        Command::Routes(options) => routes::run(&options).await,
        Command::Reloads(reloads) => reloads.run().await,
        Command::Endpoints(options) => endpoints::run(&options).await,
        Command::Cores(options) => cores::run(&options).await,
        Command::Failover(failover) => failover.run().await,
        Command::Publish(publish) => publish.run(),
        Command::Upstream => upstream::serve_as_child().await,
        Command::OpenLoop => latency::open_loop_as_child(),
        Command::Call(call) => call.serve_as_child().await,
        Command::Copy(copy) => copy.run().await,
    }
}

async fn all(options: &Options) -> Result<(), BenchError> {
    size::run(options).await?;
    handshake::run(options).await?;
    idle::run(options).await?;
    latency::run(options).await?;
    routes::run(options).await?;
    endpoints::run(options).await?;
    cores::run(options).await
}
