//! Warm standby: connections to the region that is next in line, opened before anybody needs them, so
//! that the first request that fails over finds one instead of shaking hands over an ocean.
//!
//! Each upstream is looked after by one worker. What it opens lies on its shelf like any connection
//! that idles, and whoever needs one takes it; the keeper only sees that there are enough again. It
//! replaces what will soon have idled too long, opens one at a time, and tries the harder to reach
//! a region the less often. It ignores routes: next in line is whoever would be if residency allowed
//! every region. What it meets is no evidence about anybody's health: no request was harmed.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::choose::{Ask, choose};
use tidegate_core::{Endpoint, Generation, Live, RegionSet, UpstreamIdx};
use tokio::sync::Notify;

use super::connect::{ConnectError, ConnectErrorKind};
use super::gate::Allowed;
use super::pool::{Pool, land};
use super::target::Target;
use crate::clock::now;
use crate::worker::{Bound, Worker};

/// Standbys are counted so often, as long as any are wanted.
const LOOK: Duration = Duration::from_millis(250);
/// Without any, only a new plan can change that.
const CALM: Duration = Duration::from_secs(1);
/// After a failure the next attempt waits for about this, twice as long after each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// But not for longer.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Keeps the standbys of the upstreams that this worker looks after, until the process is told to
/// stop.
pub(crate) async fn keep(worker: Rc<Worker>) {
    let mut shutdown = worker.shared.shutdown.clone();
    let mut keeper = Keeper::default();
    loop {
        let pause = keeper.look(&worker);
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = keeper.opened.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[derive(Default)]
struct Keeper {
    generation: Option<Generation>,
    /// What is looked after under the plan of that number.
    wanted: Vec<Wanted>,
    /// An attempt to open one has ended.
    opened: Rc<Notify>,
}

/// An upstream that wants standbys.
struct Wanted {
    name: Arc<str>,
    upstream: UpstreamIdx,
    pace: Rc<Pace>,
}

/// How eagerly standbys of one upstream are opened.
#[derive(Debug, Default)]
struct Pace {
    busy: Cell<bool>,
    /// Towards the region at this position.
    position: Cell<u8>,
    failures: Cell<u32>,
    not_before: Cell<Option<Instant>>,
}

/// A connection that is missing.
struct Missing {
    position: u8,
    endpoint: Endpoint,
}

impl Keeper {
    /// Opens what is missing and can be opened now; says when to look again.
    fn look(&mut self, worker: &Rc<Worker>) -> Duration {
        let Some(bound) = worker.bound() else {
            return CALM;
        };
        if self.generation != Some(bound.generation()) {
            self.take(worker, &bound);
        }
        for wanted in &self.wanted {
            let missing = missing(worker, &bound, wanted.upstream);
            let allowed = |missing: &Missing| wanted.pace.allows(missing.position, now());
            if let Some(missing) = missing.filter(allowed) {
                self.open(worker, &bound, wanted, missing);
            }
        }
        if self.wanted.is_empty() { CALM } else { LOOK }
    }

    /// A new plan serves: its bounds on connections hold from now on, whether requests come or not.
    fn take(&mut self, worker: &Worker, bound: &Bound) {
        let before = std::mem::take(&mut self.wanted).into_iter();
        let mut paces: HashMap<_, _> = before.map(|one| (one.name, one.pace)).collect();
        let threads = worker.shared.directory.threads();
        let upstreams = bound.live.plan.upstreams.iter().enumerate();
        let mine = upstreams.filter(|(at, _)| at % threads == worker.pool.index());
        for (at, wanted) in mine {
            let upstream = UpstreamIdx(at as u16);
            let allowed = Allowed::new(bound.generation().0, &wanted.circuit_breaker);
            for region in &bound.live.upstream(upstream).1.regions {
                worker.shared.directory.allow(&region.cell, allowed);
            }
            if wanted.connection.warm_standby > 0 {
                self.wanted.push(Wanted {
                    name: wanted.name.clone(),
                    upstream,
                    pace: paces.remove(&wanted.name).unwrap_or_default(),
                });
            }
        }
        self.generation = Some(bound.generation());
    }

    fn open(&self, worker: &Rc<Worker>, bound: &Rc<Bound>, wanted: &Wanted, missing: Missing) {
        let (worker, bound, opened) = (worker.clone(), bound.clone(), self.opened.clone());
        let (upstream, pace) = (wanted.upstream, wanted.pace.clone());
        pace.busy.set(true);
        tokio::task::spawn_local(async move {
            let target = bound.target(upstream, missing.position, &missing.endpoint);
            let outcome = worker.pool.open_standby(&target).await;
            if let Err(error) = &outcome {
                tracing::debug!(%error, "no connection in reserve");
            }
            pace.ended(outcome.is_ok(), now(), worker.rng.borrow_mut().f64());
            opened.notify_one();
        });
    }
}

impl Pace {
    /// Whether a connection to the region at `position` may be opened now.
    fn allows(&self, position: u8, now: Instant) -> bool {
        if self.position.replace(position) != position {
            self.failures.set(0);
            self.not_before.set(None);
        }
        !self.busy.get() && self.not_before.get().is_none_or(|moment| moment <= now)
    }

    /// An attempt ended; `draw` is drawn evenly from 0 to 1.
    fn ended(&self, success: bool, now: Instant, draw: f64) {
        self.busy.set(false);
        if success {
            self.failures.set(0);
            return self.not_before.set(None);
        }
        let doublings = self.failures.replace(self.failures.get().saturating_add(1));
        let backoff = BACKOFF.saturating_mul(2u32.saturating_pow(doublings));
        let wait = backoff.min(BACKOFF_MAX).mul_f64(0.5 + draw / 2.0);
        self.not_before.set(Some(now + wait));
    }
}

/// The connection that is to be opened next for this upstream, if one is missing.
fn missing(worker: &Worker, bound: &Bound, upstream: UpstreamIdx) -> Option<Missing> {
    let at = now();
    let position = next_in_line(&bound.live, upstream, at)?;
    let (wanted, live) = bound.live.upstream(upstream);
    let set = live.regions[usize::from(position)].endpoints.load_full();
    let open: Vec<_> = set.endpoints.iter().filter(|one| one.cell.open()).collect();
    let count = wanted.connection.warm_standby;
    let share = count.div_ceil(open.len().max(1) as u32);
    let share = share.min(wanted.connection.idle_max);
    // What has little time left is replaced before it goes.
    let soon = at + wanted.connection.idle_timeout / 4;
    let warm = |endpoint: &&Endpoint| {
        let target = bound.target(upstream, position, endpoint);
        worker.shared.directory.warm(&target, soon, share)
    };
    let warm: Vec<_> = open.iter().map(warm).collect();
    if warm.iter().sum::<u32>() >= count {
        return None;
    }
    let least = warm.iter().copied().min().filter(|least| *least < share)?;
    let coldest = open.iter().zip(&warm).filter(|(_, warm)| **warm == least);
    let coldest: Vec<_> = coldest.map(|(endpoint, _)| *endpoint).collect();
    let endpoint = worker.rng.borrow_mut().choice(coldest)?.clone();
    Some(Missing { position, endpoint })
}

/// Where requests would go if the region that they go to now were gone.
fn next_in_line(live: &Live, upstream: UpstreamIdx, now: Instant) -> Option<u8> {
    // The same draws at every look: of regions that share by weight, one stays the next.
    let mut rng = Rng::with_seed(0);
    let mut ask = Ask::new(RegionSet::ALL, now);
    let (_, first) = choose(live, upstream, &ask, &mut rng);
    ask.tried_regions.insert(first?.region);
    let (_, next) = choose(live, upstream, &ask, &mut rng);
    Some(next?.position)
}

impl Pool {
    /// Opens a connection and lays it down for whoever will need it.
    async fn open_standby(&self, target: &Target<'_>) -> Result<(), ConnectError> {
        let Some(ticket) = self.gate(target).enter(target) else {
            let why = "circuit_breaker allows no more connections";
            return Err(ConnectError::new(ConnectErrorKind::Full, why));
        };
        land(self.flight(target, ticket)).await.map(|_took| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_slow_it_down_and_another_region_starts_anew() {
        let (pace, start) = (Pace::default(), Instant::now());
        let ms = |ms| start + Duration::from_millis(ms);
        assert!(pace.allows(1, start));
        pace.busy.set(true);
        assert!(!pace.allows(1, start), "one at a time");
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.ended(false, start, 1.0);
            let until = pace.not_before.get().expect("a wait");
            waits.push((until - start).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(!pace.allows(1, ms(29_999)) && pace.allows(1, ms(30_000)));
        assert!(pace.allows(2, start));
        pace.ended(false, start, 0.0);
        assert!(!pace.allows(2, ms(499)) && pace.allows(2, ms(500)));
        pace.ended(true, start, 0.0);
        assert!(pace.allows(2, start));
    }
}
