//! The demonstration: a world of three regions, Tidegate in front of it, traffic that accounts for
//! every request, and a script of what goes wrong.
//!
//! Everything is real but the distance: TLS, HTTP/1.1 and HTTP/2 over loopback, links that delay,
//! swallow and reset, bodies that are checked byte by byte. It ends with figures that could be
//! bad: a lost request or a wrong body is a failure of the command.

mod figures;
mod script;
mod stage;
mod summary;
mod timeline;
mod traffic;

use std::path::PathBuf;

use tidegate_control::{Signal, Signals};

use crate::exit::{Exit, Failure};
use crate::{serve, terminal};
use script::Script;
use stage::Stage;
use summary::Summary;
use timeline::Timeline;
use traffic::Traffic;

/// What the command line says.
pub(crate) struct DemoOptions {
    pub(crate) seconds: u64,
    pub(crate) rate: f64,
    pub(crate) json: Option<PathBuf>,
}

/// Plays the demonstration and tells its figures.
pub(crate) fn run(options: &DemoOptions) -> Result<Exit, Failure> {
    let summary = serve::control_runtime()?.block_on(async {
        let mut signals = Signals::install().map_err(Failure::no)?;
        tokio::select! {
            summary = perform(options) => summary,
            () = told_to_end(&mut signals) => Err(Failure::no("interrupted before the end")),
        }
    })?;
    if let Some(path) = &options.json {
        let written = std::fs::write(path, summary.to_json());
        let told =
            |error| Failure::could_not_ask(format!("cannot write {}: {error}", path.display()));
        written.map_err(told)?;
    }
    terminal::print(&summary.to_string())?;
    Ok(summary.exit())
}

async fn perform(options: &DemoOptions) -> Result<Summary, Failure> {
    let stage = Stage::build().await?;
    stage.warmed_up().await?;
    let mut timeline = Timeline::start(&stage.introduction())?;
    let traffic = Traffic::start(&stage, options.rate)?;
    let script = Script::scaled(options.seconds);
    let played = script.play(&stage, &traffic, &mut timeline).await?;
    let books = traffic.stop().await;
    Ok(Summary::new(&played, &books, &stage, options))
}

async fn told_to_end(signals: &mut Signals) {
    while signals.next().await == Signal::Reload {}
}
