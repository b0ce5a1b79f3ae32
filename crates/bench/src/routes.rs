//! The dimension `routes`: what many routes cost, from the start to the reload.
//!
//! Three kinds of cells: start-up, memory and CPU per request by number of routes; how much more a
//! request costs among many routes than among few, measured by turns on two processes of the same
//! proxy; and reloads in a row under load.

mod held;
pub(crate) mod reload;

use std::time::Duration;

use crate::bench::{Bench, Heading};
use crate::cost::{self, Load};
use crate::error::BenchError;
use crate::figures::Round;
use crate::peer::{Kind, Peer, Process, Shape};
use crate::{Options, start};

/// Routes beside the catch-all.
const COUNTS: [u32; 4] = [100, 1_000, 10_000, 100_000];

/// Between these the cost of a request should not differ.
const FEW: u32 = 100;
const MANY: u32 = 10_000;

/// More routes than this may be more than a proxy is made for: whether it starts is tried first.
const TRIED_ABOVE: u32 = 10_000;

/// Requests of a round and of a turn.
const REQUESTS: u64 = 20_000;
const TURN_REQUESTS: u64 = 10_000;

/// Requests before, which are not measured but for how many may follow.
const WARM_UP: u64 = 1_000;

/// A round does not take more CPU than this: among 100,000 routes a request may cost milliseconds.
const MICROS_MAX: f64 = 2e6;

/// A cell.
#[derive(Clone, Copy)]
enum Cell {
    /// So many routes.
    Routes(u32),
    /// A request among many routes against one among few.
    Growth,
    /// Reloads with so many routes.
    Reloads(u32),
}

impl Cell {
    fn all() -> Vec<Self> {
        let counts = COUNTS.map(Self::Routes);
        let rest = [Self::Growth, Self::Reloads(FEW), Self::Reloads(MANY)];
        counts.into_iter().chain(rest).collect()
    }

    fn routes(self) -> u32 {
        match self {
            Self::Routes(routes) | Self::Reloads(routes) => routes,
            Self::Growth => MANY,
        }
    }

    fn heading(self) -> Heading {
        let cell = match self {
            Self::Routes(routes) => format!("{routes} routes"),
            Self::Growth => format!("{MANY} to {FEW} routes"),
            Self::Reloads(routes) => format!("reloads, {routes} routes"),
        };
        let (unit, also): (_, &'static [_]) = match self {
            Self::Routes(_) => ("us/req", &["start ms", "MB"]),
            Self::Growth => ("CPU ratio", &["us/req, few", "us/req, many"]),
            Self::Reloads(_) => ("ms to serve", reload::ALSO),
        };
        Heading { cell, unit, also }
    }

    async fn measure(self, bench: &Bench<'_>, peer: &Peer) -> Result<Round, BenchError> {
        match self {
            Self::Routes(routes) => by_count(bench, peer, routes).await,
            Self::Growth => growth(bench, peer).await,
            Self::Reloads(routes) => reload::round(bench, peer, reload::Row::short(routes)).await,
        }
    }
}

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let mut cells = Cell::all();
    cells.retain(|cell| cell.heading().cell.contains(&options.only));
    if cells.is_empty() {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "start-up, memory and CPU of the proxy by number of routes, and reloads";
    let mut bench = Bench::start("routes", what, options, &Kind::PROXIES, cells.len())?;
    for cell in cells {
        let able = able(&bench, cell.routes()).await?;
        let is_able = |peer: &Peer| able.contains(&peer.kind);
        let measure = async |bench: &Bench<'_>, peer: &Peer| cell.measure(bench, peer).await;
        bench.cell(cell.heading(), is_able, measure).await?;
    }
    bench.finish()
}

fn shape(routes: u32) -> Shape {
    Shape {
        routes,
        ..Shape::default()
    }
}

/// Who starts with so many routes; those who do not are named.
async fn able(bench: &Bench<'_>, routes: u32) -> Result<Vec<Kind>, BenchError> {
    let mut able = Vec::new();
    for peer in &bench.peers {
        if routes > TRIED_ABOVE {
            let process = bench.launch(peer, &shape(routes))?;
            if let Err(error) = start::until_right(process, routes).await {
                println!("\n{routes} routes: skipped: {error}");
                continue;
            }
        }
        able.push(peer.kind);
    }
    Ok(able)
}

/// One proxy, from its start to its end.
async fn by_count(bench: &Bench<'_>, peer: &Peer, routes: u32) -> Result<Round, BenchError> {
    let process = bench.launch(peer, &shape(routes))?;
    let (process, took) = start::until_right(process, routes).await?;
    let memory = process.memory()?;
    let about = warm_up(&process, routes).micros_each(bench).await?;
    let requests = (MICROS_MAX / about.max(1.0)) as u64;
    let load = load(&process, routes, requests.clamp(WARM_UP, REQUESTS));
    Ok(Round {
        value: load.micros_each(bench).await?,
        also: vec![millis(took), memory as f64 / 1e6],
    })
}

/// Two processes of one proxy, with few and with many routes, asked by turns.
async fn growth(bench: &Bench<'_>, peer: &Peer) -> Result<Round, BenchError> {
    let mut processes = Vec::new();
    for routes in [FEW, MANY] {
        let process = bench.launch(peer, &shape(routes))?;
        let (process, _) = start::until_right(process, routes).await?;
        warm_up(&process, routes).run(bench).await?;
        processes.push(process);
    }
    let two = [
        load(&processes[0], FEW, TURN_REQUESTS),
        load(&processes[1], MANY, TURN_REQUESTS),
    ];
    let [few, many] = cost::by_turns(bench, two).await?;
    Ok(Round {
        value: many / few,
        also: vec![few, many],
    })
}

fn warm_up(process: &Process, routes: u32) -> Load<'_> {
    load(process, routes, WARM_UP)
}

fn load(process: &Process, routes: u32, requests: u64) -> Load<'_> {
    Load {
        process,
        cell: "routes",
        routes,
        requests,
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn cells_have_names_of_their_own() {
        let all = Cell::all();
        let names: BTreeSet<_> = all.iter().map(|cell| cell.heading().cell).collect();
        assert_eq!(names.len(), all.len());
    }
}
