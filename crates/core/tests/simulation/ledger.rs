//! What is written down of a world's life: how requests ended, when what was noticed, who got how
//! much.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::decision::Because;
use tidegate_core::health::{Change, Stage};
use tidegate_core::retry::Idempotency;
use tidegate_core::{Dial, Health, LiveUpstream, Standing, Termination};

use crate::kind::Kind;
use crate::request::Request;
use crate::scenario::Scenario;

/// Answered later than this is late.
const LATE: Duration = Duration::from_secs(1);

/// How a request ended, as its client sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Answered(u16),
    Lost(Termination),
}

/// One world's records.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) seed: u64,
    pub(crate) requests: u64,
    pub(crate) attempts: u64,
    pub(crate) retries: u64,
    /// Requests that ended in an error, by how.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Those of them that could have been made again: safe to repeat, and not ended by an answer that
    /// the policy passes on.
    pub(crate) repeatable_lost: u64,
    /// When the last of them ended.
    pub(crate) last_failure: Option<Duration>,
    pub(crate) late: u64,
    /// Why what was safe to repeat was not.
    pub(crate) unsaved: BTreeMap<String, u64>,
    /// Nobody judged.
    pub(crate) blind: bool,
    /// Attempts that were given up for another elsewhere.
    pub(crate) redispatches: u64,
    /// Hedges of what was slow.
    pub(crate) hedges: u64,
    /// Attempts to continue an answer, and those that did.
    pub(crate) resumes: u64,
    pub(crate) resumed: u64,
    /// The most attempts for a request in any window.
    pub(crate) most: f64,
    /// How long answers took, in milliseconds, if hedges are about that.
    pub(crate) took: Vec<u32>,
    /// When the target was first avoided, after its fault began.
    pub(crate) noticed: Option<Duration>,
    /// When it was first out.
    pub(crate) down: Option<Duration>,
    /// When it took its whole share again, after its fault was over.
    pub(crate) whole: Option<Duration>,
    /// Promises that were broken, in order.
    pub(crate) broken: Vec<String>,
    /// Everything that the judge told.
    pub(crate) changes: Vec<(Duration, Change)>,
    /// Attempts per second and region.
    pub(crate) seconds: Vec<Vec<u64>>,
    /// Per second and region: it was coming back at some moment of it.
    pub(crate) returning: Vec<Vec<bool>>,
    /// Per second: at some moment of it no region was wholly well, or one ceased to be or was full, so
    /// that others had to stand in at once.
    pub(crate) pressed: Vec<bool>,
    /// Which regions were wholly well at the last look.
    well: Vec<bool>,
    /// Print what the judge tells as it happens.
    pub(crate) tell: bool,
    target: usize,
    timed: bool,
    onset: Duration,
    over: Duration,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let (seconds, regions) = (scenario.length.as_secs() as usize + 2, scenario.sites.len());
        Self {
            seed: scenario.seed,
            requests: 0,
            attempts: 0,
            retries: 0,
            failed: BTreeMap::new(),
            repeatable_lost: 0,
            last_failure: None,
            late: 0,
            unsaved: BTreeMap::new(),
            blind: scenario.blind,
            redispatches: 0,
            hedges: 0,
            resumes: 0,
            resumed: 0,
            most: 0.0,
            took: Vec::new(),
            noticed: None,
            down: None,
            whole: None,
            broken: Vec::new(),
            changes: Vec::new(),
            seconds: vec![vec![0; regions]; seconds],
            returning: vec![vec![false; regions]; seconds],
            pressed: vec![false; seconds],
            well: Vec::new(),
            tell: false,
            target: scenario.target,
            timed: scenario.kind == Kind::HedgedSlow,
            onset: scenario.kind.onset(),
            over: scenario.over(),
        }
    }

    pub(crate) fn attempted(&mut self, now: Duration, region: usize, _: Because, retry: bool) {
        self.attempts += 1;
        self.retries += u64::from(retry);
        self.seconds[now.as_secs() as usize][region] += 1;
    }

    pub(crate) fn ended(&mut self, request: &Request, end: End, now: Duration) {
        self.requests += 1;
        let word = match end {
            End::Answered(..500) => {
                return self.answered(request, now - request.began);
            }
            End::Answered(status) => status.to_string(),
            End::Lost(termination) => termination.as_str().to_owned(),
        };
        *self.failed.entry(word).or_default() += 1;
        self.last_failure = Some(now);
        let repeatable = matches!(
            request.idempotency,
            Idempotency::Safe | Idempotency::Idempotent
        );
        let passed_on = matches!(end, End::Answered(500));
        self.repeatable_lost += u64::from(repeatable && !passed_on);
        if self.tell && !passed_on {
            println!("{:8.3} s  lost as {end:?}: {request:?}", now.as_secs_f64());
        }
    }

    /// A long body is not late for being long.
    fn answered(&mut self, request: &Request, took: Duration) {
        if request.download.is_some() {
            return;
        }
        self.late += u64::from(took > LATE);
        if self.timed {
            self.took.push(took.as_millis() as u32);
        }
    }

    pub(crate) fn changed(&mut self, now: Duration, changes: Vec<Change>) {
        let changes = changes.into_iter().map(|change| (now, change));
        let known = self.changes.len();
        self.changes.extend(changes);
        if self.tell {
            self.changes[known..]
                .iter()
                .for_each(|change| println!("{}", told(change)));
        }
    }

    /// Looks at how the regions stand.
    pub(crate) fn standings(&mut self, now: Duration, live: &LiveUpstream) {
        let standings: Vec<_> = live
            .regions
            .iter()
            .map(|region| region.cell.standing())
            .collect();
        let second = now.as_secs() as usize;
        for (region, standing) in standings.iter().enumerate() {
            self.returning[second][region] |= comes_back(*standing);
        }
        let well = |standing: &Standing| {
            standing.health.usable() && !standing.suspected && !comes_back(*standing)
        };
        let well: Vec<_> = standings.iter().map(well).collect();
        let lost = self.well.iter().zip(&well).any(|(was, is)| *was && !*is);
        self.pressed[second] |= lost || !well.contains(&true);
        self.well = well;
        self.watch(now, standings[self.target]);
    }

    fn watch(&mut self, now: Duration, target: Standing) {
        let fit = matches!(target.health, Health::Healthy | Health::Unknown) && !target.suspected;
        if now >= self.onset && now < self.over {
            if !fit {
                self.noticed.get_or_insert(now);
            }
            if target.health == Health::Unhealthy {
                self.down.get_or_insert(now);
            }
        }
        if now >= self.over {
            let whole = fit && !comes_back(target);
            self.whole = whole.then(|| self.whole.unwrap_or(now));
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How often a region was suspected, taken out, or called degraded.
    pub(crate) fn alarms(&self) -> [u64; 3] {
        let regions = self.changes.iter().map(|(_, change)| change);
        let regions = regions.filter(|change| change.endpoint.is_none());
        let mut alarms = [0; 3];
        for change in regions {
            let turned = |to| change.to == to && change.from != to;
            alarms[0] += u64::from(change.stage == Stage::Suspected);
            alarms[1] += u64::from(turned(Health::Unhealthy));
            alarms[2] += u64::from(turned(Health::Degraded));
        }
        alarms
    }

    /// The figures of a single world.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} requests, {} attempts, {} retries, {} re-dispatches, {} hedges, {} resumes; failed {:?} (last {:?}), {} late; avoided {:?}, out {:?}, whole {:?}",
            self.requests,
            self.attempts,
            self.retries,
            self.redispatches,
            self.hedges,
            self.resumes,
            self.failed,
            self.last_failure,
            self.late,
            self.noticed,
            self.down,
            self.whole
        )
    }

    /// The judge's words.
    pub(crate) fn story(&self) -> Vec<String> {
        self.changes.iter().map(told).collect()
    }
}

fn told((at, change): &(Duration, Change)) -> String {
    format!(
        "{:8.3} s  r{} {}: {} -> {}, {}: {}",
        at.as_secs_f64(),
        change.position,
        change.endpoint.as_deref().unwrap_or("region"),
        change.from,
        change.to,
        change.stage,
        change.evidence
    )
}

fn comes_back(standing: Standing) -> bool {
    standing.probation || standing.dial != Dial::FULL
}
