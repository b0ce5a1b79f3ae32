//! What a look sees of a region: counters since the last one, and what they say by themselves.

use std::time::{Duration, Instant};

use super::{Look, Region, State};
use crate::handle::LiveRegion;
use crate::health::roster::{EndpointChange, Rules};
use crate::health::slow::Times;
use crate::health::window::Counts;

/// When probes of the region were last well, and last not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probes {
    pub(super) well: Option<Instant>,
    pub(super) failed: Option<Instant>,
}

/// Attempts in a window from which a region can be seen to fare well, and the margin above what is
/// usual.
const WELL_ATTEMPTS: u64 = 5;
const WELL_MARGIN: f64 = 0.05;
/// With little traffic: answers in a row.
const WELL_ROW: u64 = 10;
/// And from which what it shows is not usual.
const FAILING_MARGIN: f64 = 0.2;
/// Answers from which times are compared.
const TIMES_MIN: u64 = 5;
/// Doubt that leads to nothing for so long becomes what is usual.
const DOUBT_MAX: Duration = Duration::from_secs(600);
impl Region {
    /// Reads the cells.
    pub(in crate::health) fn observe(
        &mut self,
        live: &LiveRegion,
        look: &Look<'_>,
        may_empty: bool,
        tell: &mut dyn FnMut(EndpointChange),
    ) {
        let (now, region) = (look.now, &look.wanted.health.region);
        self.cell.expire_said(now);
        let tally = self.cell.tally();
        let delta = tally.since(&self.tally);
        self.met = Counts::met(&delta);
        self.busy = self.met.ended() > 0 || delta.sent > 0 || self.cell.in_flight() > 0;
        self.probes.enter(delta.probes, now);
        self.window
            .enter(now, region.window, &self.met, &tally.latency);
        self.row.enter(&self.met, now);
        let origin = self.cell.origin();
        self.silence.enter(&tally, &delta.latency, origin, now);
        match self.learns(look) {
            true => self.usual.enter(now, &self.met, &delta.latency),
            false => self.usual.hold(now),
        }
        self.tally = tally;
        let policy = region.silence.filter(|_| self.busy);
        self.hushed = policy.is_some_and(|policy| self.silence.doubtful(policy, &self.tally, now));
        self.time(look);
        let rules = Rules {
            ejection: look.wanted.circuit_breaker.ejection.as_ref(),
            slow_start: look.wanted.slow_start.as_ref(),
            min_healthy: region.min_healthy,
            errors: self.met.failed() > 0 && !self.is_out(),
            may_empty,
            now,
        };
        self.rolled = self.roster.look(&live.endpoints.load_full(), &rules, tell);
    }

    /// Times of answers, and whether they are slow.
    fn time(&mut self, look: &Look<'_>) {
        let policy = &look.wanted.health.region;
        let Some(times) = policy.degraded_latency else {
            return;
        };
        let answers = self.window.latency(look.now, policy.window);
        self.times = Times::of(&answers, &self.usual, TIMES_MIN);
        let least = u64::from(policy.min_requests);
        let enough = self.times.as_ref().filter(|_| answers.total() >= least);
        self.slow
            .enter(enough.map(|measured| measured.slow(times)), look.now);
    }

    /// Whether what is met now becomes what is usual. Also notes how long there has been doubt.
    fn learns(&mut self, look: &Look<'_>) -> bool {
        let now = look.now;
        let recent = self.met(look.wanted.health.region.window, now);
        let seen = recent.ended() >= WELL_ATTEMPTS;
        self.row_of_answers = match self.met.failed() {
            0 => self.row_of_answers + self.met.answered,
            _ => 0,
        };
        let answers = self.row_of_answers >= WELL_ROW && self.met.answered > 0;
        if answers || seen && recent.share() < self.usual.share() + WELL_MARGIN {
            self.is_well(now);
        }
        let failing = recent.failed() >= 3 && recent.share() > self.usual.share() + FAILING_MARGIN;
        let doubt = failing
            || self.raised.doubtful()
            || self.row.doubtful()
            || self.slow.doubtful()
            || self.spared.is_some_and(|until| now < until);
        let since = match doubt {
            true => *self.doubt.get_or_insert(now),
            false => {
                self.doubt = None;
                now
            }
        };
        let lasting = now.saturating_duration_since(since) > DOUBT_MAX;
        self.state == State::Serving && (!doubt || lasting)
    }

    /// Compares errors with what is usual here, and at the best of the siblings.
    pub(in crate::health) fn compare(&mut self, least: Option<f64>, look: &Look<'_>) {
        if look.wanted.health.region.error_rate.is_none() || self.cell.draining() {
            return self.raised.reset();
        }
        let usual = least.map_or(self.usual(), |least| self.usual().max(least));
        let (failed, ended) = (self.met.failed(), self.met.ended());
        self.raised.enter(failed, ended, usual, look.now);
    }
}

impl Probes {
    fn enter(&mut self, [well, failed]: [u64; 2], now: Instant) {
        if well > 0 {
            self.well = Some(now);
        }
        if failed > 0 {
            self.failed = Some(now);
        }
    }

    /// Whether they were well after `since`, and not only failed since.
    pub(super) fn vouch(&self, since: Instant) -> bool {
        self.well > Some(since) && self.well >= self.failed
    }

    pub(super) fn failed_since(&self, since: Instant) -> bool {
        self.failed > Some(since)
    }
}
