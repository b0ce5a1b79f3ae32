//! Reloads in a row under load: each adds a route, or takes it away again.
//!
//! New connections probe that route all the time, in the calm before as during the reloads, and so
//! see when the new plan serves. Both configurations are written before, so that a reload costs
//! the core of the load no more than a rename and a signal.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::held::Held;
use super::{millis, shape};
use crate::bench::Bench;
use crate::cell::CONNECTIONS;
use crate::cost;
use crate::drive::{self, Asked, Beat, Connection, Open};
use crate::error::BenchError;
use crate::figures::{self, Round};
use crate::peer::{Peer, Process, Staged};
use crate::start;

/// The other figures of a round.
pub(crate) const ALSO: &[&str] = &[
    "slowest ms",
    "calm p99 ms",
    "p99 ms",
    "max ms",
    "lost",
    "idle cut",
    "MB before",
    "MB after",
];

/// Memory, read so often at equal distances.
const LOOKS: usize = 10;

/// The other figures of a round of many reloads: the same, and memory after each tenth of them.
pub(crate) const ALSO_OF_MANY: &[&str] = &[
    "slowest ms",
    "calm p99 ms",
    "p99 ms",
    "max ms",
    "lost",
    "idle cut",
    "MB before",
    "MB after",
    "calm p50 ms",
    "p50 ms",
    "MB 10 %",
    "MB 20 %",
    "MB 30 %",
    "MB 40 %",
    "MB 50 %",
    "MB 60 %",
    "MB 70 %",
    "MB 80 %",
    "MB 90 %",
    "MB 100 %",
];

/// How many reloads in a row, and what is told of them.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// With so many routes.
    pub(crate) routes: u32,
    /// So many reloads.
    pub(crate) reloads: u64,
    /// The calm before, measured after a while of the same load that is not.
    pub(crate) calm: Duration,
    /// Whether the median and memory on the way are told as well, and idle connections used now and then,
    /// because it takes longer than they may be idle.
    pub(crate) whole_story: bool,
}

impl Row {
    /// The usual row: what users do in a busy minute.
    pub(crate) fn short(routes: u32) -> Self {
        Self {
            routes,
            reloads: 20,
            calm: Duration::from_secs(2),
            whole_story: false,
        }
    }
}

/// Requests a second meanwhile.
const PER_SECOND: u32 = 1_000;

/// Idle connections that are held meanwhile.
const HELD: usize = 100;

/// The load before the calm, which is not measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// From the moment when a new plan serves to the next reload.
const PAUSE: Duration = Duration::from_millis(50);

/// How often new connections probe.
const PROBE_EVERY: Duration = Duration::from_millis(2);

/// How long a new plan may take to serve.
const PATIENCE: Duration = Duration::from_secs(20);

/// Before memory is read: old workers and old plans have gone by then.
const SETTLING: Duration = Duration::from_millis(500);

/// What happened, by the clock.
struct Timeline {
    calm: Instant,
    reloading: Instant,
    ended: Instant,
    /// Until each new plan served.
    took: Vec<Duration>,
    /// Probes without an answer.
    unanswered: u64,
    /// Bytes of memory after each tenth of the reloads.
    memory: Vec<u64>,
}

/// One proxy, from its start to its end.
pub(crate) async fn round(bench: &Bench<'_>, peer: &Peer, row: Row) -> Result<Round, BenchError> {
    let routes = row.routes;
    let process = bench.launch(peer, &shape(routes))?;
    let (mut process, _) = start::until_right(process, routes).await?;
    let staged = [
        process.stage("more", &shape(routes + 1))?,
        process.stage("fewer", &shape(routes))?,
    ];
    let reloads = (row.reloads * bench.options.percent / 100).clamp(2, row.reloads);
    let calm = row.calm * bench.options.percent.min(100) as u32 / 100;
    let before = process.memory()?;
    let counted = bench.upstream.count().await?;
    let row = Row {
        reloads,
        calm,
        ..row
    };
    let run = move || run(process, row, staged);
    let (process, open, timeline, gone) = drive::on_load_core(run).await?;
    let counted = bench.upstream.count().await?.saturating_sub(counted);
    check(&process, &open, counted)?;
    tokio::time::sleep(SETTLING).await;
    let memory = [before, process.memory()?].map(|bytes| bytes as f64 / 1e6);
    let mut round = figures(&open, &timeline, gone, memory);
    if row.whole_story {
        round.also.extend(story(&open, &timeline));
    }
    Ok(round)
}

/// Wrong answers make everything worthless; lost requests are a figure. What the upstream counted
/// has to agree: those without an answer may or may not have got there.
fn check(process: &Process, open: &Open, counted: u64) -> Result<(), BenchError> {
    let tally = &open.tally;
    let may = tally.right..=tally.right + tally.lost;
    let miscounted = || format!("the upstream saw {counted} requests, {may:?} were answered");
    match tally.wrong > 0 {
        true => Err(wrong(process, tally.words.join(", "))),
        false if !may.contains(&counted) => Err(wrong(process, miscounted())),
        false => Ok(()),
    }
}

/// Everything that happens on the core of the load.
async fn run(
    process: Process,
    row: Row,
    staged: [Staged; 2],
) -> Result<(Process, Open, Timeline, usize), BenchError> {
    let target = process.address(false);
    let mut held = Held::open(target, HELD).await?;
    let prober = Prober::new(&process, row.routes);
    let reloading = reload(prober, &mut held, staged, row);
    let asked = Asked {
        target,
        routes: row.routes,
    };
    let (open, timeline) = drive::open(asked, CONNECTIONS, PER_SECOND, reloading).await?;
    let gone = held.gone().await;
    Ok((process, open, timeline, gone))
}

async fn reload(
    mut prober: Prober<'_>,
    held: &mut Held,
    staged: [Staged; 2],
    row: Row,
) -> Result<Timeline, BenchError> {
    let reloads = row.reloads as usize;
    prober.during(WARM_UP).await?;
    let calm_since = Instant::now();
    prober.during(row.calm).await?;
    let reloading = Instant::now();
    let mut took = Vec::with_capacity(reloads);
    let mut memory = Vec::new();
    for (staged, is_there) in staged.iter().zip([true, false]).cycle().take(reloads) {
        let began = Instant::now();
        prober.process.enter(staged)?;
        prober.until(is_there).await?;
        took.push(began.elapsed());
        prober.during(PAUSE).await?;
        if !row.whole_story {
            continue;
        }
        held.touch(took.len()).await;
        // A look takes two milliseconds of the load's core: too much for p99 where there are few reloads.
        if took.len() * LOOKS >= reloads * (memory.len() + 1) {
            memory.push(prober.process.memory()?);
        }
    }
    Ok(Timeline {
        calm: calm_since,
        reloading,
        ended: Instant::now(),
        took,
        unanswered: prober.unanswered,
        memory,
    })
}

/// Asks for the route that comes and goes, each time on a new connection.
struct Prober<'a> {
    process: &'a Process,
    request: Bytes,
    beat: Beat,
    /// Probes without an answer.
    unanswered: u64,
}

impl<'a> Prober<'a> {
    fn new(process: &'a Process, routes: u32) -> Self {
        Self {
            process,
            request: drive::request(&format!("/r/{routes}/healthz")),
            beat: Beat::start(PROBE_EVERY),
            unanswered: 0,
        }
    }

    /// Probes for so long.
    async fn during(&mut self, time: Duration) -> Result<(), BenchError> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.probe().await?;
        }
        Ok(())
    }

    /// Probes until the route is there, or is not.
    async fn until(&mut self, is_there: bool) -> Result<(), BenchError> {
        let until = Instant::now() + PATIENCE;
        while self.probe().await? != Some(is_there) {
            if Instant::now() > until {
                let words = self.process.words();
                let why = format!("the new plan does not serve after {PATIENCE:?}: {words}");
                return Err(wrong(self.process, why));
            }
        }
        Ok(())
    }

    /// Whether the route is there; `None` when there is no answer.
    async fn probe(&mut self) -> Result<Option<bool>, BenchError> {
        self.beat.catch_up();
        self.beat.next().await;
        match ask(self.process.address(false), &self.request).await {
            Ok(200) => Ok(Some(true)),
            Ok(404) => Ok(Some(false)),
            Ok(status) => Err(wrong(self.process, format!("a probe is answered {status}"))),
            Err(_) => {
                self.unanswered += 1;
                Ok(None)
            }
        }
    }
}

/// The status on a new connection.
async fn ask(target: SocketAddr, request: &[u8]) -> std::io::Result<u16> {
    let mut connection = Connection::open(target).await?;
    Ok(connection.ask(request).await?.status)
}

fn wrong(process: &Process, why: String) -> BenchError {
    cost::wrong(process, "reloads", why)
}

/// The latencies of what was asked then, in milliseconds, sorted.
fn between(open: &Open, from: Instant, to: Instant) -> Vec<f64> {
    let within = |at: &Instant| (from..to).contains(at);
    let samples = open.samples.iter().filter(|(at, _)| within(at));
    let mut latencies: Vec<_> = samples.map(|(_, took)| millis(*took)).collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}

/// The medians, and memory on the way.
fn story(open: &Open, timeline: &Timeline) -> Vec<f64> {
    let median =
        |from, to| figures::median(between(open, from, to).into_iter()).unwrap_or(f64::NAN);
    let mut story = vec![
        median(timeline.calm, timeline.reloading),
        median(timeline.reloading, timeline.ended),
    ];
    let memory = timeline.memory.iter().map(|bytes| *bytes as f64 / 1e6);
    story.extend(memory.chain(std::iter::repeat(f64::NAN)).take(LOOKS));
    story
}

fn figures(open: &Open, timeline: &Timeline, gone: usize, memory: [f64; 2]) -> Round {
    let took = || timeline.took.iter().map(|took| millis(*took));
    let calm = between(open, timeline.calm, timeline.reloading);
    let reloading = between(open, timeline.reloading, timeline.ended);
    Round {
        value: figures::median(took()).unwrap_or(f64::NAN),
        also: vec![
            took().fold(0.0, f64::max),
            p99(&calm),
            p99(&reloading),
            reloading.last().copied().unwrap_or(f64::NAN),
            (open.tally.lost + timeline.unanswered) as f64,
            gone as f64,
            memory[0],
            memory[1],
        ],
    }
}

/// The 99th percentile of what is sorted; not a number when there is nothing.
fn p99(sorted: &[f64]) -> f64 {
    let rank = (sorted.len() * 99).div_ceil(100);
    let value = rank.checked_sub(1).and_then(|at| sorted.get(at));
    value.copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_leaves_one_in_a_hundred_above() {
        let sorted: Vec<_> = (1..=200).map(f64::from).collect();
        assert_eq!(p99(&sorted), 198.0);
        assert_eq!(p99(&sorted[..1]), 1.0);
        assert!(p99(&[]).is_nan());
    }

    #[test]
    fn samples_belong_to_the_calm_or_to_the_reloads() {
        let calm = Instant::now();
        let at = |ms| calm + Duration::from_millis(ms);
        let took = Duration::from_millis;
        let open = Open {
            samples: vec![(at(1), took(2)), (at(5), took(9)), (at(11), took(7))],
            ..Open::default()
        };
        let timeline = Timeline {
            calm,
            reloading: at(5),
            ended: at(10),
            took: vec![took(30), took(50), took(40)],
            unanswered: 1,
            memory: vec![3_000_000, 4_000_000],
        };
        let round = figures(&open, &timeline, 3, [1.0, 2.0]);
        assert_eq!(round.value, 40.0);
        assert_eq!(round.also, [50.0, 2.0, 9.0, 9.0, 1.0, 3.0, 1.0, 2.0]);
        assert_eq!(round.also.len(), ALSO.len());
        let story = story(&open, &timeline);
        assert_eq!(story[..4], [2.0, 9.0, 3.0, 4.0]);
        assert_eq!(ALSO.len() + story.len(), ALSO_OF_MANY.len());
    }
}
