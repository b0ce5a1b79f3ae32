//! Requests that are under way when a region dies: what becomes of them, and of those that come while
//! it is dead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate_lab::client::{Incident, Outcome};
use tidegate_lab::{Client, ClientSpec, Leaf, Link, LinkSpec, Pace, Snapshot};
use tokio::task::JoinSet;

use super::burden::Burden;
use super::fault::Fault;
use super::lane::{millis, said, until_near};
use super::sites::{REGIONS, Sites};
use crate::error::BenchError;
use crate::peer::failover::Regions;
use crate::peer::{HOST, Peer, Process};

/// The ways to die in which something is under way: connections break, or fall silent.
const FAULTS: [Fault; 2] = [Fault::Reset, Fault::BlackHole];

const PER_SECOND: f64 = 40.0;
const CALM: Duration = Duration::from_secs(6);
const LASTS: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(4);

/// A client waits so long for an answer's end.
const DEADLINE: Duration = Duration::from_secs(30);

/// More than usual by this counts as affected.
const AFFECTED_MS: u64 = 500;

/// One burden under one fault, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Catch {
    pub(super) burden: Burden,
    pub(super) fault: Fault,
    pub(super) rows: Vec<Row>,
}

/// What became of the requests of one proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) peer: String,
    /// Requests under way when the region died, in all regions.
    pub(super) caught: u64,
    /// Of them, those that failed.
    pub(super) lost: u64,
    /// Requests that came while it was dead, and failed.
    pub(super) lost_later: u64,
    /// Requests that more than one endpoint got whole or in part, where that is one too many.
    pub(super) twice: u64,
    /// What those that were caught and answered right took more than usual, in milliseconds: the middle
    /// one and the 99th of a hundred. None if all were lost.
    pub(super) added_ms: Option<[u64; 2]>,
    /// From the death to the end of the last that failed or took half a second more than usual.
    pub(super) last_s: Option<f64>,
    /// Failures by how.
    pub(super) kinds: BTreeMap<String, u64>,
    /// Failed before the fault: 0, or something else is wrong.
    pub(super) before: u64,
}

/// Plays all of them. `tell` hears what happens now.
///
/// # Errors
/// When something cannot be started, or a proxy does not survive.
pub(super) async fn measure(
    peers: &[Peer],
    leaf: &Leaf,
    mut tell: impl FnMut(&str),
) -> Result<Vec<Catch>, BenchError> {
    let mut all = Vec::new();
    for burden in Burden::ALL {
        for fault in FAULTS {
            tell(&format!("{}: {}", burden.name(), fault.name()));
            let rows = play(burden, fault, peers, leaf).await?;
            all.push(Catch {
                burden,
                fault,
                rows,
            });
        }
    }
    Ok(all)
}

/// A proxy with its regions and its load.
struct Stage {
    peer: &'static str,
    sites: Sites,
    process: Process,
    client: Client,
    began: Instant,
    _way: Option<Link>,
}

async fn play(
    burden: Burden,
    fault: Fault,
    peers: &[Peer],
    leaf: &Leaf,
) -> Result<Vec<Row>, BenchError> {
    let mut stages = Vec::new();
    for peer in peers {
        stages.push(Stage::start(burden, peer, leaf).await?);
    }
    tokio::time::sleep(CALM).await;
    let died = Instant::now();
    change(&stages, &fault.start()).await?;
    tokio::time::sleep_until((died + LASTS).into()).await;
    change(&stages, &fault.end()).await?;
    let healed = Instant::now();
    tokio::time::sleep(WATCH).await;
    let mut ending = JoinSet::new();
    for (n, stage) in stages.into_iter().enumerate() {
        ending.spawn(async move { (n, stage.end(burden, died, healed).await) });
    }
    let mut rows = Vec::new();
    while let Some(ended) = ending.join_next().await {
        let (n, row) = ended.map_err(|error| BenchError::Load(error.to_string()))?;
        rows.push((n, row?));
    }
    rows.sort_by_key(|(n, _)| *n);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

impl Stage {
    async fn start(burden: Burden, peer: &Peer, leaf: &Leaf) -> Result<Self, BenchError> {
        let sites = Sites::start(&REGIONS, 2, None, &burden.behaviour()).await?;
        let regions = Regions {
            all: sites.addresses(),
            secured: None,
            demands: burden.demands(),
        };
        let mut process = peer.start_among(&regions, leaf)?;
        until_near(&mut process).await?;
        let mut target = process.address(false);
        let way = match burden.way() {
            Some((shape, buffer_bytes)) => {
                let spec = LinkSpec {
                    shape,
                    buffer_bytes,
                    ..LinkSpec::default()
                };
                Some(Link::start(target, spec).await?)
            }
            None => None,
        };
        target = way.as_ref().map_or(target, Link::addr);
        let spec = ClientSpec {
            concurrency: (PER_SECOND * DEADLINE.as_secs_f64()).ceil() as usize + 64,
            pace: Pace::Open {
                per_second: PER_SECOND,
            },
            timeout: DEADLINE,
            // Every answer is remembered, however quick.
            slow_after: Duration::ZERO,
            mix: vec![burden.request()],
            ..ClientSpec::new(target, HOST)
        };
        let client = Client::start(spec).map_err(|error| BenchError::Load(error.to_string()))?;
        Ok(Self {
            peer: peer.kind.name(),
            sites,
            process,
            client,
            began: Instant::now(),
            _way: way,
        })
    }

    async fn end(
        mut self,
        burden: Burden,
        died: Instant,
        healed: Instant,
    ) -> Result<Row, BenchError> {
        let wrong = |why: String| BenchError::Wrong {
            peer: self.peer,
            cell: "failover",
            why,
        };
        let own = self.client.id_of(0);
        let books = self.client.stop().await;
        books
            .check_balance()
            .map_err(|error| wrong(error.to_string()))?;
        if self.process.has_ended() {
            return Err(wrong(format!("it has ended: {}", self.process.words())));
        }
        let twice = match burden.is_post() {
            true => self.sites.twice(&own),
            false => 0,
        };
        let since = |moment: Instant| moment.saturating_duration_since(self.began);
        Ok(row(self.peer, &books, since(died), since(healed), twice))
    }
}

async fn change(stages: &[Stage], change: &super::fault::Change) -> Result<(), BenchError> {
    let mut switching = JoinSet::new();
    for stage in stages {
        stage.sites.change(change, &mut switching);
    }
    while let Some(switched) = switching.join_next().await {
        switched.map_err(|error| BenchError::Load(error.to_string()))??;
    }
    Ok(())
}

fn row(peer: &str, books: &Snapshot, died: Duration, healed: Duration, twice: u64) -> Row {
    let incidents = &books.incidents;
    let before = |incident: &&Incident| incident.finished_at() < died;
    let failed = |incident: &Incident| incident.outcome != Outcome::Ok;
    let usual = usual(incidents.iter().filter(before));
    let added = |incident: &Incident| millis(incident.latency.saturating_sub(usual));
    let caught = |incident: &&Incident| incident.at < died && incident.finished_at() >= died;
    let later = |incident: &&Incident| (died..healed).contains(&incident.at);
    let mut saved: Vec<_> = incidents
        .iter()
        .filter(caught)
        .filter(|incident| !failed(incident))
        .map(added)
        .collect();
    saved.sort_unstable();
    let affected = incidents
        .iter()
        .filter(|incident| caught(incident) || later(incident))
        .filter(|incident| failed(incident) || added(incident) > AFFECTED_MS);
    let last = affected.map(Incident::finished_at).max();
    let mut kinds = BTreeMap::new();
    for incident in incidents {
        if let Some(kind) = said(incident.outcome) {
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let count = |of: &dyn Fn(&&Incident) -> bool| incidents.iter().filter(of).count() as u64;
    Row {
        peer: peer.to_owned(),
        caught: count(&caught),
        lost: count(&|incident| caught(incident) && failed(incident)),
        lost_later: count(&|incident| later(incident) && failed(incident)),
        twice,
        added_ms: at(&saved, 0.5)
            .zip(at(&saved, 0.99))
            .map(|(p50, p99)| [p50, p99]),
        last_s: last.map(|last| last.saturating_sub(died).as_secs_f64()),
        kinds,
        before: count(&|incident| before(incident) && failed(incident)),
    }
}

/// The middle of what right answers took.
fn usual<'a>(incidents: impl Iterator<Item = &'a Incident>) -> Duration {
    let right = incidents.filter(|incident| incident.outcome == Outcome::Ok);
    let mut took: Vec<_> = right.map(|incident| incident.latency).collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// Of sorted values the one that this part is not above; none of none.
fn at(sorted: &[u64], part: f64) -> Option<u64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The columns of a table, in their order.
pub(super) const COLUMNS: [&str; 7] = [
    "caught",
    "lost",
    "lost later",
    "twice",
    "added p50",
    "added p99",
    "last s",
];

impl Catch {
    /// What is under way, and what happens.
    pub(super) fn name(&self) -> String {
        format!("{}: {}", self.burden.name(), self.fault.name())
    }

    /// Prints its table.
    pub(super) fn print(&self) {
        let heads: String = COLUMNS.iter().map(|name| format!("{name:>12}")).collect();
        println!("\n{}\n  {:<10}{heads}", self.name(), "");
        for row in &self.rows {
            let cells: String = row
                .cells()
                .iter()
                .map(|cell| format!("{cell:>12}"))
                .collect();
            println!("  {:<10}{cells}", row.peer);
        }
        self.remarks()
            .iter()
            .for_each(|remark| println!("  {remark}"));
    }

    /// How requests failed.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for row in &self.rows {
            let kinds = row
                .kinds
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"));
            let kinds: Vec<_> = kinds.collect();
            if !kinds.is_empty() {
                remarks.push(format!("{} failed: {}", row.peer, kinds.join(", ")));
            }
            if row.before > 0 {
                remarks.push(format!(
                    "{}: {} of them before the fault",
                    row.peer, row.before
                ));
            }
        }
        remarks
    }
}

impl Row {
    /// The cells of its line, one a column.
    pub(super) fn cells(&self) -> [String; 7] {
        let added = |n: usize| {
            self.added_ms
                .map_or("-".to_owned(), |ms| format!("{} ms", ms[n]))
        };
        [
            self.caught.to_string(),
            self.lost.to_string(),
            self.lost_later.to_string(),
            self.twice.to_string(),
            added(0),
            added(1),
            self.last_s.map_or("-".to_owned(), |s| format!("{s:.1}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn incident(at: u32, took: u32, outcome: Outcome) -> Incident {
        Incident {
            number: 0,
            at: at * MS,
            latency: took * MS,
            outcome,
            region: None,
            wrong_at: None,
            problem: None,
        }
    }

    #[test]
    fn the_middle_and_the_99th_of_a_hundred() {
        let all: Vec<u64> = (1..=100).collect();
        assert_eq!((at(&all, 0.5), at(&all, 0.99)), (Some(50), Some(99)));
        assert_eq!((at(&[7], 0.99), at(&[], 0.5)), (Some(7), None));
    }

    #[test]
    fn what_is_usual_is_what_right_answers_took() {
        let all = [
            incident(0, 10, Outcome::Ok),
            incident(0, 30, Outcome::Ok),
            incident(0, 20, Outcome::Ok),
            incident(0, 900, Outcome::TimedOut),
        ];
        assert_eq!(usual(all.iter()), 20 * MS);
        assert_eq!(usual([].iter()), Duration::ZERO);
    }
}
