//! The task that probes, and that has judges look.
//!
//! One task holds every schedule and polls every check: no task and no timer per endpoint, and
//! nothing is locked. It looks at the plan a few times a second, or at once when told. Endpoints
//! that stay keep their schedule, whatever else a plan changes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tidegate_core::PlanHandle;
use tidegate_telemetry::{Events, Metrics};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::agenda::{Agenda, ById};
use crate::ask::Ask;
use crate::check::{Check, Seen};
use crate::followed::{Followed, fingerprint, followed};
use crate::judges::{Doubt, Judges};
use crate::kept::{Kept, Places};
use crate::link::Link;
use crate::pace::Pace;
use crate::report::Report;
use crate::target::{Checks, Group, Key, Target, checks, groups, targets};
use crate::verdict::{Streak, apply, forget};

/// Checks under way at the same time; each holds a socket. More wait for their turn.
const MAX_UNDER_WAY: usize = 512;
/// Checks of one endpoint under way at the same time, while it is late.
const MAX_OVERLAP: u32 = 8;
/// Doubt about a region, which may come and go, has an endpoint checked at once only if the last
/// check was so long ago.
const HURRY: Duration = Duration::from_millis(50);
/// Checks started before answers are looked at again: an answer that waits while others are asked
/// looks like one that took longer.
const STARTS: usize = 16;

/// Probes what the serving plan wants probed, and what a plan that serves a part has beside it, and has
/// one judge for each upstream look at what probes and requests left on the board, until it is dropped.
///
/// An endpoint is probed once per `interval`, jittered and then moved to the nearest of
/// at most twenty common moments of an interval; while there is doubt about it, faster: down to a
/// quarter of the interval, not below 250 ms, so that silence is noticed within about two
/// intervals. A probe that is late raises the doubt before it has failed.
///
/// The connection of a healthy endpoint stays between HTTP checks if the answer allows it. A check
/// that fails on it is made again on a new connection, within the same time, and only that counts.
/// One check in 32, or one a minute, connects anew in any case. All of them together keep at most a
/// quarter of the files that the process may open. Transactions and TCP checks always connect.
///
/// Judges look every 50 ms while anything is under way, every 250 ms when not, and at once after a
/// probe has changed an endpoint. The endpoints of a region that a judge doubts are checked at once
/// and then at the fast interval, over new connections. Upstreams without a probe are judged too.
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
        let work = Work::new(plan, Report { metrics, events }, Rng::new());
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
    ask: Arc<Ask>,
    kept: Kept<Link>,
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
    report: Report,
    rng: Rng,
    /// What is followed, and the fingerprint of the plans that it is of.
    followed: Vec<Followed>,
    seen: Vec<(u64, u64)>,
    judges: Judges,
    checks: Checks,
    groups: Vec<Arc<Group>>,
    ids: HashMap<Key, u64>,
    last_id: u64,
    entries: ById<Entry>,
    agenda: Agenda,
    /// From which the common moments of checks are counted.
    origin: Instant,
    running: Running,
    places: Places,
}

impl Work {
    fn new(plan: Arc<PlanHandle>, report: Report, rng: Rng) -> Self {
        Self {
            plan,
            report,
            rng,
            followed: Vec::new(),
            seen: Vec::new(),
            judges: Judges::new(Instant::now()),
            checks: Checks::new(),
            groups: Vec::new(),
            ids: HashMap::new(),
            last_id: 0,
            entries: ById::default(),
            agenda: Agenda::default(),
            origin: Instant::now(),
            running: Running::new(),
            places: Places::of_process(),
        }
    }

    async fn run(mut self, changed: Arc<Notify>) {
        let mut alarm = pin!(sleep_until(self.judges.next()));
        let mut told = pin!(changed.notified());
        loop {
            self.look_at_times();
            let (wake, more) = self.start_due();
            if alarm.deadline() != wake {
                alarm.as_mut().reset(wake);
            }
            tokio::select! {
                () = &mut told => {
                    told.set(changed.notified());
                    self.follow();
                }
                Some(done) = self.running.next() => self.finish_all(done),
                () = &mut alarm => {}
                () = yield_now(), if more => {}
            }
        }
    }

    /// Has the judges look who are due, at the plan that serves by then.
    fn look_at_times(&mut self) {
        let now = Instant::now();
        if now < self.judges.next() {
            return;
        }
        self.follow();
        if self.seen.is_empty() {
            return self.judges.rest(now);
        }
        for doubt in self.judges.look(&self.followed, now, &self.report) {
            self.doubt(doubt, now);
        }
    }

    /// Has the endpoints of a region that is in doubt now checked at once.
    fn doubt(&mut self, doubt: Doubt, now: Instant) {
        let cell = &self.followed[doubt.upstream].bound.regions[doubt.region].cell;
        let of_region = |group: &Arc<Group>| Arc::ptr_eq(&group.cell, cell);
        for group in self.groups.iter().filter(|group| of_region(group)) {
            group.doubted.store(doubt.began, Ordering::Relaxed);
        }
        for (id, entry) in &self.entries {
            let concerned = of_region(&entry.target.group) && entry.target.doubted();
            if concerned && entry.under_way < MAX_OVERLAP {
                self.agenda.set(*id, (entry.started + HURRY).max(now));
            }
        }
    }

    /// Starts the checks whose time has come, as far as there is room. Says until when there is
    /// nothing to do, and whether there is more to start at once.
    fn start_due(&mut self) -> (Instant, bool) {
        let (now, look) = (Instant::now(), self.judges.next());
        for _ in 0..STARTS {
            if self.running.len() >= MAX_UNDER_WAY {
                return (look, false);
            }
            match self.agenda.take_due(now) {
                Some(id) => self.start(id, now),
                None => {
                    let next = self.agenda.next();
                    return (next.map_or(look, |next| next.min(look)), false);
                }
            }
        }
        (look, true)
    }

    fn start(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.started = now;
        entry.under_way += 1;
        let (check, ask) = (entry.target.group.check.clone(), entry.ask.clone());
        // A region in doubt shows by new connections what it is.
        let doubted = entry.target.doubted();
        let kept = entry.kept.take().filter(|_| !doubted);
        // Of an endpoint that is down, nobody needs to know sooner that it still is.
        let doubtful = entry.target.cell.probed_health().usable();
        if doubtful && entry.under_way < check.probe().fall.min(MAX_OVERLAP) {
            self.agenda.set(id, now + entry.pace.late());
        }
        self.running.push(Box::pin(async move {
            let seen = check.run(&ask, kept).await;
            Done { id, check, seen }
        }));
    }

    /// Enters `done` and what else has ended by now.
    fn finish_all(&mut self, done: Done) {
        let mut next = Some(done);
        while let Some(done) = next {
            self.finish(done);
            next = self.running.next().now_or_never().flatten();
        }
    }

    /// Enters a result and sets the time of the next check. Results of checks that the plan no
    /// longer wants are nobody's.
    fn finish(&mut self, done: Done) {
        let Some(entry) = self.entries.get_mut(&done.id) else {
            return;
        };
        if !Arc::ptr_eq(&entry.target.group.check, &done.check) {
            return;
        }
        entry.under_way -= 1;
        let now = Instant::now();
        let target = &entry.target;
        let streak = &mut entry.streak;
        let verdict = apply(target, streak, &done.seen, now.into_std(), &self.report);
        if let Some(cause) = verdict.change {
            let group = &target.group;
            self.judges.urge(group.position, &group.region, cause, now);
        }
        let doubt = verdict.doubt || target.doubted();
        // While there is doubt, what counts is that new connections are accepted.
        let link = done.seen.link.filter(|_| !doubt);
        entry.kept.put(link, &self.places);
        let next = entry.started + entry.pace.next(doubt, &mut self.rng);
        let moment = entry.pace.moment(next - self.origin, doubt);
        self.agenda.set(done.id, (self.origin + moment).max(now));
    }

    /// Brings the schedules in line with the plans that serve, if anything has changed.
    fn follow(&mut self) {
        let alive = self.plan.alive();
        let seen = fingerprint(&alive);
        if seen == self.seen {
            return;
        }
        self.followed = followed(&alive);
        self.seen = seen;
        self.checks = checks(&self.followed, &self.checks);
        self.groups = groups(&self.followed, &self.checks, &self.report.metrics);
        let mut wanted = targets(&self.groups);
        self.drop_unwanted(&wanted);
        self.keep_wanted(&mut wanted);
        self.add(wanted);
        self.judges.follow(&self.followed, Instant::now());
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
            let first = now + pace.first(endpoints, &mut self.rng);
            let moment = pace.moment(first - self.origin, true);
            self.agenda.set(id, self.origin + moment);
            let check = &target.group.check;
            let entry = Entry {
                pace,
                started: now,
                under_way: 0,
                streak: Streak::default(),
                ask: Arc::new(check.ask(&target.address)),
                kept: Kept::new(check.probe().interval, &mut self.rng),
                target,
            };
            self.entries.insert(id, entry);
        }
    }
}
