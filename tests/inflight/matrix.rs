//! The whole matrix at once, and three ledgers that must agree on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::case::{self, Kind};
use super::oracle::End;
use super::stage::{Played, Stage};
use crate::harness::{Metrics, Tidegate, until};

/// Weight of the cases that run at a time: what waits for a busy machine must not look silent.
const AT_A_TIME: usize = 144;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_meets_every_request() {
    let stage = Arc::new(Stage::set(case::all()).await);
    let tidegate = stage.open().await;
    let played = play_all(&stage, &tidegate).await;
    let complaints: Vec<_> = played.iter().filter_map(Played::complaint).collect();
    let (wrong, all) = (complaints.len(), played.len());
    assert!(
        complaints.is_empty(),
        "{wrong} of {all}:\n{}",
        complaints.join("\n")
    );
    ledgers_agree(&tidegate, &played).await;
    nothing_is_left(&tidegate).await;
}

/// Plays what waits beside what works.
async fn play_all(stage: &Arc<Stage>, tidegate: &Tidegate) -> Vec<Played> {
    let all = 0..stage.cases.len();
    let (waiting, working): (Vec<_>, Vec<_>) = all.partition(|at| stage.cases[*at].waits());
    let http = tidegate.http();
    let played = tokio::join!(play(stage, http, waiting), play(stage, http, working));
    [played.0, played.1].concat()
}

async fn play(stage: &Arc<Stage>, http: SocketAddr, cases: Vec<usize>) -> Vec<Played> {
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    let mut running = JoinSet::new();
    for at in cases {
        let weight = stage.cases[at].weight();
        let slot = Arc::clone(&slots).acquire_many_owned(weight);
        let slot = slot.await.unwrap();
        let stage = Arc::clone(stage);
        running.spawn(async move {
            let played = stage.play(at, http).await;
            drop(slot);
            played
        });
    }
    running.join_all().await
}

/// What the clients got, what the process counted and logged, what the regions saw.
async fn ledgers_agree(tidegate: &Tidegate, played: &[Played]) {
    let sent = played.len() as u64;
    until("every request is counted", || async {
        tidegate.metrics().await.sum("tidegate_requests_total", &[]) == sent
    })
    .await;
    let metrics = tidegate.metrics().await;
    let saved = count(played, |one| one.end == End::Saved);
    let lost = metrics.sum("tidegate_requests_lost_total", &[]);
    assert_eq!(lost, sent - saved, "lost");
    let ends = metrics.by("tidegate_request_terminations_total", "reason");
    assert_eq!(ends["completed"], saved, "{ends:?}");
    let log = by_route(tidegate.logged(sent).await);
    for one in played {
        agrees(one, &log[&one.name]);
    }
    let rescued = log.values().filter(|line| line["rescued"] == true).count();
    let counted = metrics.sum("tidegate_requests_rescued_total", &[]);
    assert_eq!(counted, rescued as u64, "rescued");
    continued(&metrics, played);
    attempts_add_up(&metrics, &log, played);
}

/// One request, as its client and its log line tell it.
fn agrees(one: &Played, line: &Value) {
    let completed = line["reason"] == "completed";
    let told = format!(
        "{}: {line}",
        one.complaint().unwrap_or_else(|| one.name.clone())
    );
    assert_eq!(completed, one.end == End::Saved, "{told}");
    let elsewhere = one.region.as_deref() == Some("far") && completed;
    assert!(!elsewhere || line["rescued"] == true, "{told}");
}

/// Heads of the near region with whole bodies behind them: each was continued in the far one.
fn continued(metrics: &Metrics, played: &[Played]) {
    let spliced = |one: &Played| {
        let near = one.region.as_deref() == Some("near");
        one.case.kind == Kind::Get && one.end == End::Saved && near
    };
    let resumed = [("from", "near"), ("to", "far"), ("result", "resumed")];
    let resumed = metrics.sum("tidegate_resumes_total", &resumed);
    assert_eq!(resumed, count(played, spliced), "resumed");
    assert!(resumed > 0, "no answer was continued");
}

fn attempts_add_up(metrics: &Metrics, log: &BTreeMap<String, Value>, played: &[Played]) {
    let attempts = metrics.sum("tidegate_attempts_total", &[]);
    let made = |line: &Value| line["attempts"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(attempts, log.values().map(made).sum::<u64>(), "attempts");
    for (at, region) in ["near", "far"].into_iter().enumerate() {
        let seen: u64 = played.iter().map(|one| one.seen[at]).sum();
        let made = metrics.sum("tidegate_attempts_total", &[("region", region)]);
        assert!(seen <= made, "{region}: {seen} seen, {made} made");
    }
}

/// No body is kept and no file is open once all requests have ended.
async fn nothing_is_left(tidegate: &Tidegate) {
    until("every kept body is freed", || async {
        let metrics = tidegate.metrics().await;
        metrics.sum("tidegate_replay_bytes", &[]) == 0
    })
    .await;
    assert!(
        tidegate
            .metrics()
            .await
            .sum("tidegate_replay_spooled_bytes_total", &[])
            > 0
    );
    let spool = tidegate.directory().join("spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0);
}

fn by_route(log: Vec<Value>) -> BTreeMap<String, Value> {
    let route = |line: &Value| line["route"].as_str().unwrap_or_default().to_owned();
    log.into_iter().map(|line| (route(&line), line)).collect()
}

fn count(played: &[Played], fits: impl Fn(&Played) -> bool) -> u64 {
    played.iter().filter(|one| fits(one)).count() as u64
}
