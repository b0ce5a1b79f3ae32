//! How a region comes back: held out, waiting for an operator, on trial, growing.

use std::time::{Duration, Instant};

use super::{Look, Move, Region, State};
use crate::health::comeback::first_share;
use crate::health::evidence::Evidence;
use crate::health::siblings::{Siblings, Verdict};
use crate::health::window::Span;

/// With no other region usable, one that went out because of its requests stays so for so long at
/// most.
const ALONE_HOLD: Duration = Duration::from_secs(1);
/// Probes that are to vouch for a region and say nothing at all are not waited for longer than so
/// many intervals after the hold.
const MUTE_INTERVALS: u32 = 3;
/// Answers that end a trial; for each failure, so many more.
const TRIAL_ANSWERS: u64 = 5;
const TRIAL_ANSWERS_PER_FAILURE: u64 = 20;
/// Without enough traffic a trial ends after so long without a failure.
const TRIAL_LASTS: Duration = Duration::from_secs(2);
/// Failures, and the share of them, that fail a trial.
const TRIAL_FAILURES: u64 = 3;
const TRIAL_FAILING: f64 = 0.3;
/// Failures and their share (or times the usual share) at which a growing share stays as it is.
const HELD_FAILURES: u64 = 2;
const HELD_FAILING: f64 = 0.03;
const HELD_USUAL: f64 = 2.0;
/// The same at which it is halved.
const HALVED_FAILURES: u64 = 3;
const HALVED_FAILING: f64 = 0.10;
const HALVED_USUAL: f64 = 4.0;

impl Region {
    pub(super) fn out(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let State::Out { since, hold, soft } = self.state else {
            return None;
        };
        let failback = &look.wanted.health.failback;
        let out = look.now.saturating_duration_since(since);
        if self.unusable().is_some() || soft && !self.vouched(since, hold, look) {
            return None;
        }
        let held = Evidence::Held {
            out,
            relapses: self.comeback.relapses(),
            probed: self.probes.vouch(since),
        };
        if failback.manual && self.served {
            let to = State::Waiting { since };
            return (out >= hold).then_some(Move::To(to, held, None));
        }
        let alone_hold = if soft {
            hold.min(ALONE_HOLD)
        } else {
            Duration::ZERO
        };
        if !siblings.any_up() && out >= alone_hold {
            return Some(Move::To(State::Serving, Evidence::NoOther, None));
        }
        (out >= hold).then(|| Move::To(self.tried(look), held, None))
    }

    /// Whether probes, if there are any, say that it is well again.
    fn vouched(&self, since: Instant, hold: Duration, look: &Look<'_>) -> bool {
        let Some(probe) = &look.wanted.health.probe else {
            return true;
        };
        let mute = look.now.saturating_duration_since(since)
            > hold + probe.interval * MUTE_INTERVALS
            && !self.probes.failed_since(since);
        mute || self.probes.vouch(since)
    }

    pub(super) fn waiting(&self, since: Instant, look: &Look<'_>) -> Option<Move> {
        let released = self.cell.take_release();
        let go = released || !look.wanted.health.failback.manual;
        let out = look.now.saturating_duration_since(since);
        go.then(|| Move::To(self.tried(look), Evidence::Released { out }, None))
    }

    /// What comes after it was out.
    fn tried(&self, look: &Look<'_>) -> State {
        if first_share(&look.wanted.health.failback) >= 1.0 {
            return State::Serving;
        }
        State::Probation {
            since: look.now,
            before: self.window.total(),
        }
    }

    /// What comes after its trial, and after it was degraded.
    pub(super) fn share_again(&self, look: &Look<'_>) -> State {
        let failback = &look.wanted.health.failback;
        let share = first_share(failback);
        if share >= 1.0 || failback.ramp.is_zero() {
            return State::Serving;
        }
        State::Ramp {
            since: look.now,
            at: look.now,
            share,
            halved: None,
        }
    }

    pub(super) fn probation(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let State::Probation { since, before } = self.state else {
            return None;
        };
        if !siblings.any_up() {
            return Some(Move::To(State::Serving, Evidence::NoOther, None));
        }
        let within = look.now.saturating_duration_since(since);
        let counts = self.window.total() - before;
        let (answered, failed) = (counts.answered, counts.failed());
        let failing =
            failed as f64 >= TRIAL_FAILING.max(self.usual() * HALVED_USUAL) * counts.ended() as f64;
        let alone = || siblings.failing(&counts, within, self.well) != Verdict::Shared;
        if failed >= TRIAL_FAILURES && failing && alone() {
            let span = Span { counts, within };
            let why = span.failures(self.usual(), siblings.share(within));
            return Some(self.falls(Evidence::Errors(why), Some(&span), look));
        }
        let stood = answered >= TRIAL_ANSWERS + failed * TRIAL_ANSWERS_PER_FAILURE;
        if stood || within >= TRIAL_LASTS && self.is_quiet(look) {
            let why = Evidence::Tried { answered, within };
            return Some(Move::To(self.share_again(look), why, None));
        }
        self.silent(siblings, look)
    }

    /// Nothing failed lately, nobody waits for long, and probes have no complaint.
    fn is_quiet(&self, look: &Look<'_>) -> bool {
        let recent = self.met(TRIAL_LASTS, look.now);
        let probed = look.wanted.health.probe.is_none()
            || self.probes.failed.is_none()
            || self.probes.well >= self.probes.failed;
        let waits = self.anybody_waits() > Some(TRIAL_LASTS / 2);
        recent.failed() == 0 && probed && !waits
    }

    pub(super) fn ramp(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let State::Ramp {
            since, share, at, ..
        } = self.state
        else {
            return None;
        };
        let within = look.now.saturating_duration_since(since);
        let serving = |why| Some(Move::To(State::Serving, why, None));
        if !siblings.any_up() {
            return serving(Evidence::NoOther);
        }
        if share >= 1.0 && at > since {
            return serving(Evidence::Whole { within });
        }
        self.failing(siblings, look)
            .or_else(|| self.silent(siblings, look))
            .or_else(|| self.halved(siblings, look))
            .or_else(|| self.worsening(siblings, look))
    }

    /// Half of its share, because of errors or slowness; out if there is nothing left to halve.
    fn halved(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        let State::Ramp {
            since, at, share, ..
        } = self.state
        else {
            return None;
        };
        if self.halved_just_now(look) {
            return None;
        }
        let span = self.window.over(look.now, look.wanted.health.region.window);
        let why = self.presses(&span, siblings, look)?;
        let first = first_share(&look.wanted.health.failback);
        if share <= first {
            return Some(self.falls(why, Some(&span), look));
        }
        let share = (share / 2.0).max(first);
        let to = State::Ramp {
            since,
            at,
            share,
            halved: Some(look.now),
        };
        let why = Box::new(why);
        Some(Move::To(to, Evidence::Reversed { share, why }, None))
    }

    /// What speaks against the share that it has, and not of its siblings.
    fn presses(&self, span: &Span, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Evidence> {
        let times = look.wanted.health.region.degraded_latency;
        if let (true, Some(measured), Some(times)) = (self.slow.doubtful(), self.times, times) {
            let alone = siblings.slow(times, self.slow.since()) == Verdict::Worse;
            return alone.then(|| measured.evidence());
        }
        if !self.fails_more(span, HALVED_FAILURES, HALVED_FAILING, HALVED_USUAL) {
            return None;
        }
        let verdict = siblings.failing(&span.counts, span.within, self.well);
        (verdict == Verdict::Worse)
            .then(|| Evidence::Errors(span.failures(self.usual(), siblings.share(span.within))))
    }

    fn halved_just_now(&self, look: &Look<'_>) -> bool {
        let State::Ramp { halved, .. } = self.state else {
            return false;
        };
        let window = look.wanted.health.region.window;
        halved.is_some_and(|at| look.now.saturating_duration_since(at) < window)
    }

    fn fails_more(&self, span: &Span, failures: u64, failing: f64, times_usual: f64) -> bool {
        let bound = failing.max(self.usual() * times_usual);
        span.counts.failed() >= failures && span.counts.share() >= bound
    }

    /// Whether its share may grow: no more fails than usual, and it was not halved just now.
    pub(super) fn grows(&self, look: &Look<'_>) -> bool {
        let span = self.window.over(look.now, look.wanted.health.region.window);
        let held = self.fails_more(&span, HELD_FAILURES, HELD_FAILING, HELD_USUAL);
        !held && !self.halved_just_now(look) && !self.slow.doubtful()
    }
}
