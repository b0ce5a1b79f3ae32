//! The task that probes.
//!
//! One task holds every schedule and polls every check: no task and no timer per endpoint, and
//! nothing is locked. It looks at the plan a few times a second, or at once when told. Endpoints
//! that stay keep their schedule, whatever else a plan changes.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tidegate_core::PlanHandle;
use tidegate_telemetry::{Events, Metrics};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::agenda::Agenda;
use crate::check::{Check, Seen};
use crate::pace::Pace;
use crate::target::{Checks, Group, Key, Target, checks, fingerprint, groups, targets};
use crate::verdict::{Streak, apply, forget, forget_region, settle};

/// How often the plan is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Checks under way at the same time; each holds a socket. More wait for their turn.
const MAX_UNDER_WAY: usize = 512;
/// Checks of one endpoint under way at the same time, while it is late.
const MAX_OVERLAP: u32 = 8;
/// Checks start in batches so far apart: a thread that wakes for ten checks pays for one waking.
const ROUND: Duration = Duration::from_millis(10);

/// Probes what the serving plan wants probed, until it is dropped.
///
/// An endpoint is probed once per `interval`, jittered by a tenth; while there is doubt about it,
/// faster: down to a quarter of the interval, not below 250 ms, so that silence is noticed within
/// about two intervals. A probe that is late raises the doubt before it has failed.
#[derive(Debug)]
pub struct Prober {
    task: JoinHandle<()>,
    changed: Arc<Notify>,
}

impl Prober {
    /// Starts to probe on the tokio runtime of the caller, which should not be one that serves
    /// requests. Results go to the cells of the plan's board, to `metrics` and to `events`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(plan: Arc<PlanHandle>, metrics: Arc<Metrics>, events: Events) -> Self {
        let changed = Arc::new(Notify::new());
        let work = Work::new(plan, metrics, events, Rng::new());
        let task = tokio::spawn(work.run(changed.clone()));
        Self { task, changed }
    }

    /// Makes it look at the plan at once.
    pub fn plan_changed(&self) {
        self.changed.notify_one();
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One endpoint's schedule.
struct Entry {
    target: Target,
    pace: Pace,
    started: Instant,
    under_way: u32,
    streak: Streak,
}

/// A check that has ended.
struct Done {
    id: u64,
    check: Arc<Check>,
    seen: Seen,
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>;

struct Work {
    plan: Arc<PlanHandle>,
    metrics: Arc<Metrics>,
    events: Events,
    rng: Rng,
    seen: Option<(u64, u64)>,
    checks: Checks,
    groups: Vec<Arc<Group>>,
    ids: HashMap<Key, u64>,
    last_id: u64,
    entries: HashMap<u64, Entry>,
    agenda: Agenda,
    round: Instant,
    running: Running,
}

impl Work {
    fn new(plan: Arc<PlanHandle>, metrics: Arc<Metrics>, events: Events, rng: Rng) -> Self {
        Self {
            plan,
            metrics,
            events,
            rng,
            seen: None,
            checks: Checks::new(),
            groups: Vec::new(),
            ids: HashMap::new(),
            last_id: 0,
            entries: HashMap::new(),
            agenda: Agenda::default(),
            round: Instant::now(),
            running: Running::new(),
        }
    }

    async fn run(mut self, changed: Arc<Notify>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_due();
            let due = self.next_start();
            tokio::select! {
                _ = look.tick() => self.follow(),
                () = changed.notified() => self.follow(),
                Some(done) = self.running.next() => self.finish(&done),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// When to start checks again; none while there is nothing to start, or no room for it.
    fn next_start(&mut self) -> Option<Instant> {
        let room = self.running.len() < MAX_UNDER_WAY;
        let due = self.agenda.next().filter(|_| room)?;
        Some(due.max(self.round))
    }

    /// Starts the checks whose time has come, as far as there is room.
    fn start_due(&mut self) {
        let now = Instant::now();
        if self.next_start().is_none_or(|start| start > now) {
            return;
        }
        self.round = now + ROUND;
        while self.running.len() < MAX_UNDER_WAY {
            let Some(id) = self.agenda.take_due(now) else {
                return;
            };
            self.start(id, now);
        }
    }

    fn start(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.started = now;
        entry.under_way += 1;
        let (check, address) = (
            entry.target.group.check.clone(),
            entry.target.address.clone(),
        );
        // Of an endpoint that is down, nobody needs to know sooner that it still is.
        let doubtful = entry.target.cell.health().usable();
        if doubtful && entry.under_way < check.probe().fall.min(MAX_OVERLAP) {
            self.agenda.set(id, now + entry.pace.late());
        }
        self.running.push(Box::pin(async move {
            let seen = check.run(&address).await;
            Done { id, check, seen }
        }));
    }

    /// Enters a result and sets the time of the next check. Results of checks that the plan no
    /// longer wants are nobody's.
    fn finish(&mut self, done: &Done) {
        let Some(entry) = self.entries.get_mut(&done.id) else {
            return;
        };
        if !Arc::ptr_eq(&entry.target.group.check, &done.check) {
            return;
        }
        entry.under_way -= 1;
        let now = Instant::now();
        let doubt = apply(
            &entry.target,
            &mut entry.streak,
            &done.seen,
            now.into_std(),
            &self.events,
        );
        let next = entry.started + entry.pace.next(doubt, &mut self.rng);
        self.agenda.set(done.id, next.max(now));
    }

    /// Brings the schedules in line with the serving plan, if anything has changed.
    fn follow(&mut self) {
        let Some(live) = self.plan.newest() else {
            return;
        };
        let seen = fingerprint(&live);
        if self.seen.replace(seen) == Some(seen) {
            return;
        }
        self.checks = checks(&live.plan, &self.checks);
        let groups = groups(&live, &self.checks, &self.metrics);
        let mut wanted = targets(&groups);
        self.drop_unwanted(&wanted);
        self.keep_wanted(&mut wanted);
        self.add(wanted);
        self.settle_all(groups);
    }

    fn settle_all(&mut self, groups: Vec<Arc<Group>>) {
        let probed: HashSet<_> = groups
            .iter()
            .map(|group| Arc::as_ptr(&group.cell))
            .collect();
        let before = std::mem::replace(&mut self.groups, groups);
        let gone = before
            .iter()
            .filter(|group| !probed.contains(&Arc::as_ptr(&group.cell)));
        gone.for_each(|group| forget_region(group));
        self.groups
            .iter()
            .for_each(|group| settle(group, None, &self.events));
    }

    fn drop_unwanted(&mut self, wanted: &HashMap<Key, Target>) {
        let gone: Vec<(Key, u64)> = self
            .ids
            .extract_if(|key, _| !wanted.contains_key(key))
            .collect();
        for (_, id) in gone {
            self.agenda.remove(id);
            if let Some(entry) = self.entries.remove(&id) {
                forget(&entry.target);
            }
        }
    }

    /// Takes out of `wanted` what is probed already, in the same way.
    fn keep_wanted(&mut self, wanted: &mut HashMap<Key, Target>) {
        for (key, id) in &self.ids {
            let (Some(target), Some(entry)) = (wanted.get(key), self.entries.get_mut(id)) else {
                continue;
            };
            if Arc::ptr_eq(&target.group.check, &entry.target.group.check) {
                entry.target = target.clone();
                wanted.remove(key);
            }
        }
    }

    fn add(&mut self, wanted: HashMap<Key, Target>) {
        let (now, endpoints) = (Instant::now(), wanted.len());
        for (key, target) in wanted {
            let id = *self.ids.entry(key).or_insert_with(|| {
                self.last_id += 1;
                self.last_id
            });
            let pace = Pace::new(target.group.check.probe());
            self.agenda
                .set(id, now + pace.first(endpoints, &mut self.rng));
            let streak = Streak::default();
            self.entries.insert(
                id,
                Entry {
                    target,
                    pace,
                    started: now,
                    under_way: 0,
                    streak,
                },
            );
        }
    }
}
