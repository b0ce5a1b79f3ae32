//! Warm standby: what the first requests that fail over pay, with and without kept connections.
//!
//! Tidegate alone. Its standby region is an ocean away (160 ms there and back) and speaks HTTP/2 over
//! TLS 1.3, so that a new connection costs two round trips before the request has its own. The near
//! region's ports close under load; what counts is the first answer from the standby, less what an
//! answer from there takes once all is quiet.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_lab::client::Outcome;
use tidegate_lab::tls::Alpn;
use tidegate_lab::{Authority, Client, ClientSpec, Mode, Pace, RequestSpec, Snapshot};
use tokio::task::JoinSet;

use super::fault::{Change, well};
use super::lane::until_near;
use super::sites::Sites;
use crate::error::BenchError;
use crate::figures::median;
use crate::peer::failover::{Demands, Regions, Secured};
use crate::peer::{HOST, Peer};

/// The regions and their round trips.
const REGIONS: [(&str, Duration); 2] = [
    ("near", Duration::from_millis(2)),
    (STANDBY, Duration::from_millis(160)),
];

/// The one in line.
const STANDBY: &str = "far";

/// Connections kept: none, and two.
const KEPT: [u32; 2] = [0, 2];

/// Rounds of each; the figures are medians.
const ROUNDS: usize = 5;

const PER_SECOND: f64 = 50.0;

/// Before the fault and after it.
const CALM: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(4);

/// An answer that took this much more than usual paid for a connection.
const DEAR_MS: f64 = 100.0;

/// What keeping so many connections comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// `connection.warm_standby`.
    pub(super) kept: u32,
    /// What an answer from the standby region usually takes.
    pub(super) usual_ms: f64,
    /// What the first one took more than that.
    pub(super) added_ms: f64,
    /// Answers that took 100 ms more than usual, or longer.
    pub(super) dear: f64,
    /// Requests that failed, in all rounds.
    pub(super) errors: u64,
}

/// One round: milliseconds of each answer of the standby region, in the order of their requests.
#[derive(Debug, Default)]
struct Round {
    took_ms: Vec<f64>,
    errors: u64,
}

/// Measures both, round by round in turn. `tell` hears what happens now.
///
/// # Errors
/// When something cannot be started, or this Tidegate does not know the key.
pub(super) async fn measure(
    peer: &Peer,
    authority: &Authority,
    mut tell: impl FnMut(&str),
) -> Result<Vec<Row>, BenchError> {
    let mut rounds = KEPT.map(|kept| (kept, Vec::new()));
    for number in 1..=ROUNDS {
        for (kept, own) in &mut rounds {
            tell(&format!("warm standby: {kept} kept, round {number}"));
            own.push(round(peer, authority, *kept).await?);
        }
    }
    Ok(rounds
        .iter()
        .map(|(kept, rounds)| row(*kept, rounds))
        .collect())
}

async fn round(peer: &Peer, authority: &Authority, kept: u32) -> Result<Round, BenchError> {
    let directory = tempfile::tempdir().map_err(BenchError::io("a directory"))?;
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).map_err(BenchError::io("the authority's file"))?;
    let leaf = authority.issue(&[HOST])?;
    let tls = leaf.server_config(Alpn::H2)?;
    let sites = Sites::start(&REGIONS, 1, Some(&tls), &well()).await?;
    let regions = Regions {
        all: sites.addresses(),
        secured: Some(Secured {
            ca,
            warm_standby: Some(kept),
        }),
        demands: Demands::default(),
    };
    let mut process = peer.start_among(&regions, &leaf)?;
    until_near(&mut process).await?;
    let spec = ClientSpec {
        concurrency: 256,
        pace: Pace::Open {
            per_second: PER_SECOND,
        },
        // Every answer is remembered, however quick.
        slow_after: Duration::ZERO,
        mix: vec![RequestSpec::content(1_024)],
        ..ClientSpec::new(process.address(false), HOST)
    };
    let client = Client::start(spec).map_err(|error| BenchError::Load(error.to_string()))?;
    tokio::time::sleep(CALM).await;
    let mut switching = JoinSet::new();
    sites.change(&Change::Link(Mode::Refuse), &mut switching);
    while let Some(switched) = switching.join_next().await {
        switched.map_err(|error| BenchError::Load(error.to_string()))??;
    }
    tokio::time::sleep(AFTER).await;
    let round = read(&client.stop().await);
    match round.took_ms.is_empty() {
        true => Err(BenchError::Wrong {
            peer: process.name(),
            cell: "warm standby",
            why: format!("no answer from the standby region; {}", process.words()),
        }),
        false => Ok(round),
    }
}

/// What a client's books say of the standby region.
fn read(books: &Snapshot) -> Round {
    let right = books
        .incidents
        .iter()
        .filter(|one| one.outcome == Outcome::Ok);
    let standby = right.filter(|one| one.region.as_deref() == Some(STANDBY));
    let mut standby: Vec<_> = standby.collect();
    // The books are in the order of ending: those who waited together ended together.
    standby.sort_by_key(|one| one.number);
    Round {
        took_ms: standby
            .iter()
            .map(|one| 1_000.0 * one.latency.as_secs_f64())
            .collect(),
        errors: books.failed(),
    }
}

fn row(kept: u32, rounds: &[Round]) -> Row {
    let usual = rounds.iter().filter_map(usual).collect::<Vec<_>>();
    let usual_ms = median(usual.into_iter()).unwrap_or(f64::NAN);
    let added = rounds.iter().filter_map(|round| round.took_ms.first());
    let dear = rounds.iter().map(|round| {
        let dear = round
            .took_ms
            .iter()
            .filter(|took| **took >= usual_ms + DEAR_MS);
        dear.count() as f64
    });
    Row {
        kept,
        usual_ms,
        added_ms: median(added.map(|took| took - usual_ms)).unwrap_or(f64::NAN),
        dear: median(dear).unwrap_or(0.0),
        errors: rounds.iter().map(|round| round.errors).sum(),
    }
}

/// The middle of the later half.
fn usual(round: &Round) -> Option<f64> {
    median(round.took_ms.iter().skip(round.took_ms.len() / 2).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_is_compared_with_the_usual_one() {
        let round = |first: f64| Round {
            took_ms: [first, first - 20.0]
                .into_iter()
                .chain([180.0; 20])
                .collect(),
            errors: 1,
        };
        let row = row(2, &[round(500.0), round(520.0), round(190.0)]);
        assert_eq!((row.usual_ms, row.added_ms), (180.0, 320.0));
        assert_eq!((row.dear, row.errors), (2.0, 3));
        let nothing = super::row(0, &[]);
        assert!(nothing.added_ms.is_nan() && nothing.errors == 0);
    }
}
