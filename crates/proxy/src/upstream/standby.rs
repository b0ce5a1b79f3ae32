//! Warm standby: connections to the region that is next in line, and to every region that stands by,
//! opened before anybody needs them, so that the first request that goes there finds one instead of
//! shaking hands over an ocean.
//!
//! Each upstream is looked after by one worker. What it opens lies on its shelf like any connection
//! that idles, and whoever needs one takes it; the keeper only sees that there are enough again. It
//! replaces what will soon have idled too long, opens one at a time in each region, and tries the
//! harder to reach a region the less often. It ignores routes: next in line is whoever would be if residency allowed
//! every region. What it meets is no evidence about anybody's health: no request was harmed.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::choose::{Ask, choose};
use tidegate_core::plan::{Standby, Upstream, UpstreamRegion};
use tidegate_core::{
    Dial, Endpoint, Generation, Health, Live, Plan, RegionCell, RegionSet, UpstreamIdx,
};
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
    /// Towards each of its regions.
    paces: Vec<Towards>,
}

/// A region by its name, which outlives plans, and how eagerly connections to it are opened.
type Towards = (Arc<str>, Rc<Pace>);

/// How eagerly standbys are opened in one region of one upstream.
#[derive(Debug, Default)]
struct Pace {
    busy: Cell<bool>,
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
        let at = now();
        for wanted in &self.wanted {
            for position in reserves(&bound.live, wanted.upstream, at) {
                let pace = &wanted.paces[usize::from(position)].1;
                let missing = || missing(worker, &bound, wanted.upstream, position, at);
                if let Some(endpoint) = pace.allows(at).then(missing).flatten() {
                    let missing = Missing { position, endpoint };
                    self.open(worker, &bound, wanted.upstream, pace.clone(), missing);
                }
            }
        }
        if self.wanted.is_empty() { CALM } else { LOOK }
    }

    /// A new plan serves: its bounds on connections hold from now on, whether requests come or not.
    fn take(&mut self, worker: &Worker, bound: &Bound) {
        let before = std::mem::take(&mut self.wanted).into_iter();
        let mut paces: HashMap<_, _> = before.map(|one| (one.name, one.paces)).collect();
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
                let before = paces.remove(&wanted.name).unwrap_or_default();
                self.wanted.push(Wanted {
                    name: wanted.name.clone(),
                    upstream,
                    paces: carried(&bound.live.plan, wanted, &before),
                });
            }
        }
        self.generation = Some(bound.generation());
    }

    fn open(
        &self,
        worker: &Rc<Worker>,
        bound: &Bound,
        upstream: UpstreamIdx,
        pace: Rc<Pace>,
        missing: Missing,
    ) {
        let (worker, opened) = (worker.clone(), self.opened.clone());
        let upstream = bound.upstream(upstream).clone();
        pace.busy.set(true);
        tokio::task::spawn_local(async move {
            let target = upstream.target(missing.position, &missing.endpoint);
            let outcome = worker.pool.open_standby(&target).await;
            if let Err(error) = &outcome {
                tracing::debug!(%error, "no connection in reserve");
            }
            pace.ended(outcome.is_ok(), now(), worker.rng.borrow_mut().f64());
            opened.notify_one();
        });
    }
}

/// The paces towards the regions of `wanted`, as they were `before` where there was one.
fn carried(plan: &Plan, wanted: &Upstream, before: &[Towards]) -> Vec<Towards> {
    let regions = wanted
        .regions
        .iter()
        .map(|spec| &plan.region(spec.region).name);
    let carried = regions.map(|region| {
        let mut known = before.iter().filter(|(name, _)| name == region);
        let pace = known.next().map(|(_, pace)| pace.clone());
        (region.clone(), pace.unwrap_or_default())
    });
    carried.collect()
}

impl Pace {
    /// Whether a connection may be opened now.
    fn allows(&self, now: Instant) -> bool {
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

/// The endpoint to which a connection is to be opened next in the region at `position`, if one is
/// missing there.
fn missing(
    worker: &Worker,
    bound: &Bound,
    upstream: UpstreamIdx,
    position: u8,
    at: Instant,
) -> Option<Endpoint> {
    let upstream = bound.upstream(upstream);
    let (wanted, live) = upstream.parts();
    let set = live.regions[usize::from(position)].endpoints.load_full();
    let open: Vec<_> = set.endpoints.iter().filter(|one| one.cell.open()).collect();
    let count = wanted.connection.warm_standby;
    let share = count.div_ceil(open.len().max(1) as u32);
    let share = share.min(wanted.connection.idle_max);
    // What has little time left is replaced before it goes.
    let soon = at + wanted.connection.idle_timeout / 4;
    let warm = |endpoint: &&Endpoint| {
        let target = upstream.target(position, endpoint);
        worker.shared.directory.warm(&target, soon, share)
    };
    let warm: Vec<_> = open.iter().map(warm).collect();
    if warm.iter().sum::<u32>() >= count {
        return None;
    }
    let least = warm.iter().copied().min().filter(|least| *least < share)?;
    let coldest = open.iter().zip(&warm).filter(|(_, warm)| **warm == least);
    let coldest: Vec<_> = coldest.map(|(endpoint, _)| *endpoint).collect();
    worker.rng.borrow_mut().choice(coldest).cloned()
}

/// The regions, by position, to which connections are kept: where requests would go if the region that
/// they go to now were gone, and those that stand by and could serve. Who serves needs no reserve.
fn reserves(live: &Live, upstream: UpstreamIdx, now: Instant) -> Vec<u8> {
    // The same draws at every look: of regions that share by weight, one stays the next.
    let mut rng = Rng::with_seed(0);
    let mut ask = Ask::new(RegionSet::ALL, now);
    let (_, first) = choose(live.upstream(upstream), &ask, &mut rng);
    let Some(first) = first else {
        return Vec::new();
    };
    ask.tried_regions.insert(first.region);
    let (_, next) = choose(live.upstream(upstream), &ask, &mut rng);
    let mut reserves: Vec<_> = next.iter().map(|next| next.position).collect();
    let (wanted, observed) = live.upstream(upstream);
    let places = (0..).zip(wanted.regions.iter().zip(&observed.regions));
    for (position, (spec, region)) in places {
        let known = position == first.position || reserves.contains(&position);
        if !known && stands_by(spec, &region.cell) {
            reserves.push(position);
        }
    }
    reserves
}

/// Whether the region serves only when the others do not suffice, and could now.
fn stands_by(spec: &UpstreamRegion, cell: &RegionCell) -> bool {
    let well = match spec.standby {
        Standby::Hot => return false,
        Standby::Warm => cell.health().usable(),
        Standby::Cold(_) => cell.health() == Health::Healthy,
    };
    well && !cell.draining() && cell.dial().unwrap_or(spec.dial) != Dial::NONE
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
    fn failures_slow_it_down_and_success_starts_anew() {
        let (pace, start) = (Pace::default(), Instant::now());
        let ms = |ms| start + Duration::from_millis(ms);
        assert!(pace.allows(start));
        pace.busy.set(true);
        assert!(!pace.allows(start), "one at a time");
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.ended(false, start, 1.0);
            let until = pace.not_before.get().expect("a wait");
            waits.push((until - start).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(!pace.allows(ms(29_999)) && pace.allows(ms(30_000)));
        pace.ended(true, start, 0.0);
        assert!(pace.allows(start));
        pace.ended(false, start, 0.0);
        assert!(!pace.allows(ms(499)) && pace.allows(ms(500)));
    }
}
