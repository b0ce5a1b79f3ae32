//! The endpoints of one region, as the judge follows them: what they roll up to, which are ejected,
//! which start slowly.
//!
//! A look over a thousand endpoints reads one word each; what attempts met is read only when the
//! region met errors, or an interval is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::evidence::Evidence;
use super::outlier::{self, Volume};
use super::slow_start;
use super::{Health, roll_up};
use crate::cell::{EndpointCell, EndpointTally};
use crate::endpoint::{Endpoint, EndpointSet};
use crate::plan::{Ejection, SlowStart};
use crate::standing::Dial;

/// The share that an endpoint takes when its ejection is over, until it has stood its trial.
const TRIAL_SHARE: f64 = 0.1;
/// So many attempts without a failure, and the trial is over; so is it after an interval.
const TRIAL_ATTEMPTS: u64 = 5;

/// The endpoints of one region.
#[derive(Debug)]
pub(super) struct Roster {
    set: Option<Arc<EndpointSet>>,
    seats: Vec<Seat>,
    ejected: usize,
    /// Whether an endpoint starts slowly or is on trial.
    moving: bool,
    swept: Instant,
    rolled: Rolled,
}

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug)]
struct Seat {
    up: bool,
    starts: Option<Instant>,
    /// Since when, until when it is ejected.
    ejected: Option<(Instant, Instant)>,
    trial: Option<(Instant, EndpointTally)>,
    /// Ejections in a row.
    ejections: u32,
    /// At the last sweep.
    before: EndpointTally,
}

/// What the endpoints roll up to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rolled {
    pub(super) health: Health,
    pub(super) usable: u32,
    pub(super) total: u32,
    /// The share that must be usable.
    pub(super) needed: f64,
}

/// How a look treats endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) ejection: Option<&'a Ejection>,
    pub(super) slow_start: Option<&'a SlowStart>,
    pub(super) min_healthy: f64,
    /// Whether the region's attempts met errors since the last look.
    pub(super) errors: bool,
    /// Whether requests may take out what makes the region unusable: another one is.
    pub(super) may_empty: bool,
    pub(super) now: Instant,
}

/// A change of one endpoint: its address, health before and after, and why.
pub(super) type EndpointChange = (Arc<str>, Health, Health, Evidence);

impl Roster {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            set: None,
            seats: Vec::new(),
            ejected: 0,
            moving: false,
            swept: now,
            rolled: Rolled {
                health: Health::Unknown,
                usable: 0,
                total: 0,
                needed: 0.0,
            },
        }
    }

    /// Looks at every endpoint of `set`; `tell` is called for each that changed.
    pub(super) fn look(
        &mut self,
        set: &Arc<EndpointSet>,
        rules: &Rules<'_>,
        tell: &mut dyn FnMut(EndpointChange),
    ) -> Rolled {
        self.follow(set, rules.now);
        self.walk(set, rules, tell);
        if let Some(policy) = rules.ejection {
            if rules.errors {
                self.rows(set, policy, rules, tell);
            }
            if rules.now >= self.swept + policy.interval {
                self.sweep(set, policy, rules, tell);
            }
        }
        self.rolled = roll(set, rules.min_healthy);
        self.rolled
    }

    /// Whether an endpoint starts slowly or is on trial, so that its share changes.
    pub(super) fn moving(&self) -> bool {
        self.moving
    }

    /// Whether endpoints are ejected.
    pub(super) fn any_ejected(&self) -> bool {
        self.ejected > 0
    }

    /// Takes back every ejected endpoint: nothing else is left.
    pub(super) fn release(&mut self, now: Instant, tell: &mut dyn FnMut(EndpointChange)) {
        let Some(set) = self.set.clone() else { return };
        for (endpoint, seat) in set.endpoints.iter().zip(&mut self.seats) {
            if seat.ejected.take().is_some() {
                let from = endpoint.cell.health();
                endpoint.cell.set_ejected(false);
                seat.trial = Some((now, endpoint.cell.tally()));
                let to = endpoint.cell.health();
                tell((endpoint.address.clone(), from, to, Evidence::NoOther));
            }
        }
        self.ejected = 0;
    }

    /// Takes over what is known of endpoints that stay. One that is new starts slowly, unless all
    /// are: then the region begins.
    fn follow(&mut self, set: &Arc<EndpointSet>, now: Instant) {
        if self.set.as_ref().is_some_and(|have| Arc::ptr_eq(have, set)) {
            return;
        }
        let mut known: HashMap<*const EndpointCell, Seat> = HashMap::new();
        if let Some(before) = &self.set {
            let cells = before.endpoints.iter().map(|one| Arc::as_ptr(&one.cell));
            known.extend(cells.zip(self.seats.drain(..)));
        }
        let first = known.is_empty();
        let seat = |endpoint: &Endpoint| {
            known
                .remove(&Arc::as_ptr(&endpoint.cell))
                .unwrap_or_else(|| Seat::new(endpoint, first))
        };
        self.seats = set.endpoints.iter().map(seat).collect();
        self.ejected = self
            .seats
            .iter()
            .filter(|seat| seat.ejected.is_some())
            .count();
        if first {
            self.swept = now;
        }
        self.set = Some(set.clone());
    }

    /// What time and probes change.
    fn walk(&mut self, set: &EndpointSet, rules: &Rules<'_>, tell: &mut dyn FnMut(EndpointChange)) {
        self.moving = false;
        for at in 0..self.seats.len() {
            let (endpoint, seat) = (&set.endpoints[at], &mut self.seats[at]);
            endpoint.cell.expire_said(rules.now);
            if seat.ejected.is_some_and(|(_, until)| rules.now >= until) {
                seat.try_again(endpoint, rules.now, tell);
                self.ejected -= 1;
            }
            seat.rise(endpoint, rules);
            if seat.still() {
                continue;
            }
            self.moving = true;
            if seat.on_trial(endpoint, rules, tell) {
                self.eject(at, set, Evidence::FailedTrial, rules, tell);
            }
        }
    }

    fn rows(
        &mut self,
        set: &EndpointSet,
        policy: &Ejection,
        rules: &Rules<'_>,
        tell: &mut dyn FnMut(EndpointChange),
    ) {
        for at in 0..self.seats.len() {
            if self.seats[at].ejected.is_none()
                && let Some(why) = outlier::in_a_row(policy, &set.endpoints[at].cell.tally())
            {
                self.eject(at, set, why, rules, tell);
            }
        }
    }

    /// At the end of an interval: who stands out goes, who was in all the time is forgiven a bit.
    fn sweep(
        &mut self,
        set: &EndpointSet,
        policy: &Ejection,
        rules: &Rules<'_>,
        tell: &mut dyn FnMut(EndpointChange),
    ) {
        let since = self.swept;
        self.swept = rules.now;
        let volumes = set.endpoints.iter().zip(&self.seats);
        let volumes = volumes.map(|(endpoint, seat)| {
            let now = endpoint.cell.tally();
            Volume::between(&seat.before, &now, policy)
        });
        let bounds = outlier::bounds(policy, volumes);
        for at in 0..self.seats.len() {
            let (now, seat) = (set.endpoints[at].cell.tally(), &mut self.seats[at]);
            let volume = Volume::between(&seat.before, &now, policy);
            seat.before = now;
            if seat.ejected.is_some() {
                continue;
            }
            match bounds.outlier(policy, volume) {
                Some(why) => self.eject(at, set, why, rules, tell),
                None if seat.trial.is_none_or(|(at, _)| at <= since) => {
                    seat.ejections = seat.ejections.saturating_sub(1);
                }
                None => {}
            }
        }
    }

    fn eject(
        &mut self,
        at: usize,
        set: &EndpointSet,
        why: Evidence,
        rules: &Rules<'_>,
        tell: &mut dyn FnMut(EndpointChange),
    ) {
        let Some(policy) = rules.ejection else { return };
        if !self.may_eject(set, policy, rules) {
            return;
        }
        let (endpoint, seat) = (&set.endpoints[at], &mut self.seats[at]);
        let from = endpoint.cell.health();
        seat.ejections = seat.ejections.saturating_add(1);
        seat.ejected = Some((
            rules.now,
            rules.now + outlier::lasts(policy, seat.ejections),
        ));
        seat.trial = None;
        endpoint.cell.forget_rows();
        endpoint.cell.set_ejected(true);
        self.ejected += 1;
        tell((endpoint.address.clone(), from, endpoint.cell.health(), why));
    }

    /// The region's own cap, and that the last region that is usable stays so.
    fn may_eject(&self, set: &EndpointSet, policy: &Ejection, rules: &Rules<'_>) -> bool {
        let total = set.endpoints.len();
        let left = || {
            let usable = set.endpoints.iter().filter(|one| one.cell.open()).count();
            usable as f64 - 1.0 >= (rules.min_healthy * total as f64).max(1.0) - 1e-9
        };
        outlier::may_eject(policy, self.ejected, total) && (rules.may_empty || left())
    }
}

impl Seat {
    fn new(endpoint: &Endpoint, first: bool) -> Self {
        endpoint.cell.set_ejected(false);
        endpoint.cell.set_share(Dial::FULL);
        Self {
            up: first,
            starts: None,
            ejected: None,
            trial: None,
            ejections: 0,
            before: endpoint.cell.tally(),
        }
    }

    /// Its ejection is over: it is half open.
    fn try_again(
        &mut self,
        endpoint: &Endpoint,
        now: Instant,
        tell: &mut dyn FnMut(EndpointChange),
    ) {
        let since = self.ejected.take().map_or(now, |(since, _)| since);
        let from = endpoint.cell.health();
        endpoint.cell.set_share(Dial::new(TRIAL_SHARE));
        endpoint.cell.set_ejected(false);
        self.trial = Some((now, endpoint.cell.tally()));
        let over = Evidence::EjectionOver {
            lasted: now.saturating_duration_since(since),
            ejections: self.ejections,
        };
        tell((endpoint.address.clone(), from, endpoint.cell.health(), over));
    }

    /// Notices that it comes up.
    fn rise(&mut self, endpoint: &Endpoint, rules: &Rules<'_>) {
        let up = endpoint.cell.open();
        if up && !self.up && rules.slow_start.is_some() {
            self.starts = Some(rules.now);
        }
        self.up = up;
    }

    /// Whether its share is whole and stays so.
    fn still(&self) -> bool {
        self.starts.is_none() && self.trial.is_none()
    }

    /// Sets its share by trial and slow start; says whether it failed its trial.
    fn on_trial(
        &mut self,
        endpoint: &Endpoint,
        rules: &Rules<'_>,
        tell: &mut dyn FnMut(EndpointChange),
    ) -> bool {
        let trial = self.tries(endpoint, rules);
        if let Trial::Stood(why) = &trial {
            let health = endpoint.cell.health();
            tell((endpoint.address.clone(), health, health, why.clone()));
        }
        let slow = match (rules.slow_start, self.starts) {
            (Some(policy), Some(at)) => {
                slow_start::share(policy, rules.now.saturating_duration_since(at))
            }
            _ => 1.0,
        };
        if slow >= 1.0 {
            self.starts = None;
        }
        let share = match self.trial {
            Some(_) => slow.min(TRIAL_SHARE),
            None => slow,
        };
        endpoint.cell.set_share(Dial::new(share));
        matches!(trial, Trial::Failed)
    }

    /// Ends its trial, if it is on one that is over.
    fn tries(&mut self, endpoint: &Endpoint, rules: &Rules<'_>) -> Trial {
        let Some((since, before)) = self.trial else {
            return Trial::GoesOn;
        };
        let now = endpoint.cell.tally();
        let errors = |tally: &EndpointTally| tally.server_errors + tally.local_errors;
        let answered = now.attempts - before.attempts;
        let within = rules.now.saturating_duration_since(since);
        let interval = (rules.ejection).map_or(Duration::ZERO, |policy| policy.interval);
        match () {
            () if errors(&now) > errors(&before) => {
                self.trial = None;
                Trial::Failed
            }
            () if answered >= TRIAL_ATTEMPTS || within >= interval => {
                self.trial = None;
                Trial::Stood(Evidence::Tried { answered, within })
            }
            () => Trial::GoesOn,
        }
    }
}

/// How an endpoint's trial goes.
enum Trial {
    GoesOn,
    Stood(Evidence),
    Failed,
}

fn roll(set: &EndpointSet, min_healthy: f64) -> Rolled {
    let mut usable = 0;
    let healths = set.endpoints.iter().map(|endpoint| {
        let health = endpoint.cell.health();
        usable += u32::from(health.usable());
        health
    });
    let health = roll_up(healths, min_healthy);
    Rolled {
        health,
        usable,
        total: set.endpoints.len() as u32,
        needed: min_healthy,
    }
}
