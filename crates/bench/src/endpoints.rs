//! The dimension `endpoints`: what many endpoints cost, idle under their checks and under load.
//!
//! The checks are HTTP requests, every two seconds, spread as each proxy does it. What a check costs
//! is the CPU of an idle proxy less that of the same proxy without checks. All idle processes of one
//! proxy wait beside each other: none of them takes a core's hundredth part.

use std::time::Duration;

use crate::Options;
use crate::bench::{Bench, Heading};
use crate::cost::{self, Load};
use crate::error::BenchError;
use crate::figures::Round;
use crate::peer::{Kind, Peer, Process, Shape};
use crate::start;

/// Endpoints of the preferred region.
const COUNTS: [u32; 3] = [10, 100, 1_000];

/// From one check of an endpoint to the next, as the templates have it.
const INTERVAL: Duration = Duration::from_secs(2);

/// After the start all endpoints are checked at once, in some proxies faster than later.
const SETTLING: Duration = Duration::from_secs(2);

/// How long an idle proxy is watched: three checks of each endpoint.
const IDLE: Duration = Duration::from_secs(6);

const ROUTES: u32 = 100;

/// Requests of a turn.
const REQUESTS: u64 = 10_000;

/// Enough that each endpoint has been chosen by chance, and has a connection.
const WARM_UP: u64 = 10_000;

/// Measures, prints and writes everything.
///
/// # Errors
/// The first thing that makes a figure worthless: nothing is written then.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    let headings = [idle_heading(), busy_heading()];
    let chosen = headings.map(|heading| heading.cell.contains(&options.only).then_some(heading));
    let cells = chosen.iter().flatten().count();
    if cells == 0 {
        return Err(BenchError::NoCell(options.only.clone()));
    }
    let what = "CPU of the proxy by number of endpoints, idle and per request";
    let mut bench = Bench::start("endpoints", what, options, &Kind::PROXIES, cells)?;
    let [idling, busy] = chosen;
    if let Some(heading) = idling {
        // nginx checks actively in its commercial version only.
        let checks = |peer: &Peer| peer.kind != Kind::Nginx;
        bench.cell(heading, checks, idle).await?;
    }
    if let Some(heading) = busy {
        bench.cell(heading, |_| true, requests).await?;
    }
    bench.finish()
}

fn idle_heading() -> Heading {
    Heading {
        cell: "idle, 1000 checked".to_owned(),
        unit: "us/check",
        also: &[
            "us/check, 100",
            "ms/s, 10",
            "ms/s, 100",
            "ms/s, 1000",
            "ms/s, none",
        ],
    }
}

fn busy_heading() -> Heading {
    Heading {
        cell: "requests, 1000 to 10".to_owned(),
        unit: "CPU ratio",
        also: &["us/req, 10", "us/req, 100", "us/req, 1000"],
    }
}

async fn launch(
    bench: &Bench<'_>,
    peer: &Peer,
    endpoints: u32,
    checks: bool,
) -> Result<Process, BenchError> {
    let shape = Shape {
        routes: ROUTES,
        endpoints,
        checks,
        ..Shape::default()
    };
    let process = bench.launch(peer, &shape)?;
    let (process, _) = start::until_right(process, ROUTES).await?;
    Ok(process)
}

/// With checks for each count, and without.
async fn idle(bench: &Bench<'_>, peer: &Peer) -> Result<Round, BenchError> {
    let (mut checked, mut unchecked) = (Vec::new(), Vec::new());
    for endpoints in COUNTS {
        checked.push(launch(bench, peer, endpoints, true).await?);
        unchecked.push(launch(bench, peer, endpoints, false).await?);
    }
    tokio::time::sleep(SETTLING).await;
    let all: Vec<_> = checked.iter().chain(&unchecked).collect();
    let share = watch(&all, at_percent(bench)).await?;
    let (on, off) = share.split_at(checked.len());
    let per_check = |at: usize| {
        let checks_per_second = f64::from(COUNTS[at]) / INTERVAL.as_secs_f64();
        (on[at] - off[at]) * 1e6 / checks_per_second
    };
    let millis = |share: f64| share * 1e3;
    Ok(Round {
        value: per_check(2),
        also: vec![
            per_check(1),
            millis(on[0]),
            millis(on[1]),
            millis(on[2]),
            millis(off[2]),
        ],
    })
}

fn at_percent(bench: &Bench<'_>) -> Duration {
    (IDLE * bench.options.percent.min(100) as u32 / 100).max(INTERVAL)
}

/// CPU seconds a second of each.
async fn watch(all: &[&Process], time: Duration) -> Result<Vec<f64>, BenchError> {
    let cpu = || -> Result<Vec<_>, _> { all.iter().map(|process| process.cpu_exact()).collect() };
    let (before, since) = (cpu()?, std::time::Instant::now());
    tokio::time::sleep(time).await;
    let (after, elapsed) = (cpu()?, since.elapsed());
    let share = |(after, before): (&Duration, &Duration)| {
        after.saturating_sub(*before).as_secs_f64() / elapsed.as_secs_f64()
    };
    Ok(after.iter().zip(&before).map(share).collect())
}

/// Few against many by turns; between them a count in the middle.
async fn requests(bench: &Bench<'_>, peer: &Peer) -> Result<Round, BenchError> {
    let checks = peer.kind != Kind::Nginx;
    let mut all = Vec::new();
    for endpoints in COUNTS {
        let process = launch(bench, peer, endpoints, checks).await?;
        load(&process, WARM_UP).run(bench).await?;
        all.push(process);
    }
    let middle = load(&all[1], REQUESTS).micros_each(bench).await?;
    let two = [load(&all[0], REQUESTS), load(&all[2], REQUESTS)];
    let [few, many] = cost::by_turns(bench, two).await?;
    Ok(Round {
        value: many / few,
        also: vec![few, middle, many],
    })
}

fn load(process: &Process, requests: u64) -> Load<'_> {
    Load {
        process,
        cell: "endpoints",
        routes: ROUTES,
        requests,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_name_the_counts() {
        for heading in [idle_heading(), busy_heading()] {
            assert!(heading.cell.contains(&COUNTS[2].to_string()));
            for count in COUNTS {
                let named = |also: &&str| also.ends_with(&format!(", {count}"));
                assert!(heading.also.iter().any(named), "{count}");
            }
        }
    }
}
