//! How a region goes: out, degraded, or under suspicion, and back from the latter two.

use std::time::{Duration, Instant};

use super::{Look, Move, Region, State};
use crate::cell::ErrorClass;
use crate::health::Health;
use crate::health::evidence::Evidence;
use crate::health::siblings::{Fall, Siblings, Verdict};
use crate::health::window::Span;

/// Errors are more than is usual if so much more fails.
const RISE_MIN: f64 = 0.05;
/// A region is degraded at least for so long after that was last seen.
const DEGRADED_MIN: Duration = Duration::from_secs(5);
/// A row of broken attempts waits no longer than this for siblings that are about to show the same.
const PATIENCE: Duration = Duration::from_millis(300);
/// A region that was degraded for longer by its endpoints takes its share again little by little.
const LESSER_MIN: Duration = Duration::from_secs(1);
/// Connections that fail after a region fell silent confirm it.
const UNMADE: u64 = 2;

impl Region {
    pub(super) fn serving(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        self.failing(siblings, look)
            .or_else(|| self.silent(siblings, look))
            .or_else(|| self.worsening(siblings, look))
            .or_else(|| self.mended(siblings, look))
    }

    /// Whole again after its endpoints, or a word, had made it degraded: others were asked first
    /// meanwhile, so that its share has to grow back like any other's.
    fn mended(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let lasted = look.now.saturating_duration_since(self.lesser?);
        let whole = self.believed() != Health::Degraded && self.served;
        let missed = lasted >= LESSER_MIN && siblings.any_takes_over();
        let to = self.share_again(look);
        (whole && missed && to != State::Serving).then(|| Move::To(to, self.ground(), None))
    }

    pub(super) fn degraded(
        &self,
        bad: Instant,
        siblings: Siblings<'_>,
        look: &Look<'_>,
    ) -> Option<Move> {
        let lasted = look.now.saturating_duration_since(bad);
        let calm = || {
            let failback = &look.wanted.health.failback;
            let hold = self.comeback.hold(failback).max(DEGRADED_MIN);
            let alone = !siblings.any_takes_over();
            let over = lasted >= if alone { DEGRADED_MIN } else { hold };
            let to = match alone {
                true => State::Serving,
                false => self.share_again(look),
            };
            over.then_some(Move::To(to, Evidence::Calm { lasted }, None))
        };
        self.failing(siblings, look)
            .or_else(|| self.silent(siblings, look))
            .or_else(calm)
    }

    /// Whether what is held against a degraded region is still to be seen.
    pub(super) fn is_bad(&self, look: &Look<'_>) -> bool {
        let recent = self.met(look.wanted.health.region.window, look.now);
        let failing = recent.failed() >= 2 && recent.share() > self.usual() + RISE_MIN;
        self.met.ended() > 0 && (failing || self.raised.doubtful() || self.slow.doubtful())
    }

    /// Out because of errors: none answered, or too many failed.
    pub(super) fn failing(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let policy = &look.wanted.health.region;
        let rate = policy.error_rate?;
        if let Some(span) = self.row.alarm(look.now) {
            if span.within < PATIENCE && siblings.unsettled(span.within) {
                return None;
            }
            let unreachable = self.row.is_unreachable() && look.wanted.health.probe.is_some();
            return self.fails(span, unreachable, Evidence::Unanswered, siblings, look);
        }
        let span = self.window.over(look.now, policy.window);
        let enough = span.counts.ended() >= u64::from(policy.min_requests);
        let share = span.counts.share();
        let failing = enough && share >= rate && share > self.usual() + RISE_MIN;
        failing.then(|| self.fails(span, false, Evidence::Errors, siblings, look))?
    }

    /// Out if others do better. What cannot be reached goes out even if it is the last one, if
    /// probes can tell when it is back.
    fn fails(
        &self,
        span: Span,
        unreachable: bool,
        evidence: impl Fn(crate::health::Failures) -> Evidence,
        siblings: Siblings<'_>,
        look: &Look<'_>,
    ) -> Option<Move> {
        let why = || evidence(span.failures(self.usual(), siblings.share(span.within)));
        match siblings.failing(&span.counts, span.within, self.well) {
            Verdict::Shared => Some(Move::Shared(why(), self.fall_of(&span, look))),
            _ if self.is_spared(look) => None,
            Verdict::Alone if !unreachable || siblings.any_up() => None,
            Verdict::Alone | Verdict::Worse => Some(self.falls(why(), Some(&span), look)),
        }
    }

    fn is_spared(&self, look: &Look<'_>) -> bool {
        self.spared.is_some_and(|until| look.now < until)
    }

    /// Out because of its requests.
    pub(super) fn falls(&self, why: Evidence, span: Option<&Span>, look: &Look<'_>) -> Move {
        let to = State::Out {
            since: look.now,
            hold: Duration::ZERO,
            soft: true,
        };
        Move::To(to, why, span.map(|span| self.fall_of(span, look)))
    }

    fn fall_of(&self, span: &Span, look: &Look<'_>) -> Fall {
        Fall {
            at: look.now,
            met: span.counts,
            slower: self.slower(),
        }
    }

    /// Under suspicion because no byte comes. While its share is small it goes out at once: there
    /// is little to lose.
    pub(super) fn silent(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let policy = look.wanted.health.region.silence?;
        let alarm = self.silence.alarm(policy, &self.tally, look.now)?;
        if !siblings.any_takes_over() || siblings.silent(alarm.lasted) {
            return None;
        }
        let why = Evidence::Silent {
            lasted: alarm.lasted,
            waiting: alarm.waiting,
            usual: alarm.usual,
        };
        if let State::Probation { .. } | State::Ramp { .. } = self.state {
            return Some(self.falls(why, None, look));
        }
        let to = State::Suspected {
            at: look.now,
            silent: look.now.checked_sub(alarm.lasted).unwrap_or(look.now),
            threshold: alarm.threshold,
            heard: self.tally.heard,
            unmade: self.unmade(),
        };
        Some(Move::To(to, why, None))
    }

    /// Connections that were not made since the cell's beginning.
    fn unmade(&self) -> u64 {
        let of = |class| self.tally.errors[class as usize];
        of(ErrorClass::Connect) + of(ErrorClass::Tls)
    }

    pub(super) fn suspected(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let State::Suspected {
            at, silent, heard, ..
        } = self.state
        else {
            return None;
        };
        let after = look.now.saturating_duration_since(silent);
        let back = |why| Some(Move::To(State::Serving, why, None));
        if self.tally.heard != heard {
            return back(Evidence::Heard { silent: after });
        }
        if !siblings.any_takes_over() {
            return back(Evidence::NoOther);
        }
        if self.probes.vouch(at) && self.tally.waiting() == 0 {
            return back(Evidence::ProbeWell { after });
        }
        if siblings.silent(after) {
            return None;
        }
        self.confirmed(after, look.now)
            .map(|why| self.falls(why, None, look))
    }

    /// What confirms a suspicion that is `after` old, counted from the last byte.
    fn confirmed(&self, after: Duration, now: Instant) -> Option<Evidence> {
        let State::Suspected {
            at,
            threshold,
            unmade,
            ..
        } = self.state
        else {
            return None;
        };
        let vouched = self.probes.vouch(at);
        let failed = self.unmade() - unmade;
        // The suspicion itself must have had its time, however late it came up.
        let long = now.saturating_duration_since(at) >= threshold / 2;
        match () {
            () if self.probes.failed_since(at) && !vouched => Some(Evidence::ProbeFailed { after }),
            () if failed >= UNMADE => Some(Evidence::ConnectFailed { failed, after }),
            () if long && after >= self.silence.confirmed_after(threshold, vouched) => {
                Some(Evidence::StillSilent { lasted: after })
            }
            () => None,
        }
    }

    /// Degraded because more fails than is usual, or answers take longer.
    pub(super) fn worsening(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        self.raised(siblings, look)
            .or_else(|| self.slowing(siblings, look))
    }

    fn raised(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let window = look.wanted.health.region.window;
        let span = self.window.over(look.now, window);
        if !self.raised.alarm(window, look.now) {
            return None;
        }
        let why = Evidence::Raised(span.failures(self.usual(), siblings.share(window)));
        match siblings.failing(&span.counts, window, self.well) {
            Verdict::Shared => Some(Move::Shared(why, self.fall_of(&span, look))),
            Verdict::Worse if !self.is_spared(look) => Some(self.degrades(why, &span, look)),
            _ => None,
        }
    }

    fn slowing(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let policy = &look.wanted.health.region;
        let (times, measured) = (policy.degraded_latency?, self.times?);
        if !self.slow.alarm(policy.window * 2, look.now) {
            return None;
        }
        let span = self.window.over(look.now, policy.window);
        let why = measured.evidence();
        match siblings.slow(times, self.slow.since()) {
            Verdict::Shared => Some(Move::Shared(why, self.fall_of(&span, look))),
            Verdict::Worse if !self.is_spared(look) => Some(self.degrades(why, &span, look)),
            _ => None,
        }
    }

    fn degrades(&self, why: Evidence, span: &Span, look: &Look<'_>) -> Move {
        let to = State::Degraded { bad: look.now };
        Move::To(to, why, Some(self.fall_of(span, look)))
    }
}
