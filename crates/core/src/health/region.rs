//! One region under judgement: what is observed of it, and the state it is in.
//!
//! A look has two halves. [`Region::observe`] reads the cells; nothing is concluded yet, because what
//! a region shows means little without its siblings. [`Region::next`] then says what follows, if
//! anything does; the judge enters it before it turns to the next region, so that two cannot go out
//! for each other's sake.

mod back;
mod going;
mod seeing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Health;
use super::baseline::Baseline;
use super::change::Stage;
use super::comeback::{self, Comeback};
use super::evidence::Evidence;
use super::roster::{EndpointChange, Rolled, Roster};
use super::sequential::Cusum;
use super::siblings::{Fall, Siblings, tested, worst};
use super::silence::Silence;
use super::slow::{Slow, Times};
use super::unanswered::Unanswered;
use super::window::{Counts, Window};
use crate::cell::{RegionCell, Tally};
use crate::handle::LiveRegion;
use crate::plan::{self, Upstream};
use crate::standing::{Dial, Standing};
use seeing::Probes;

/// How a region is, and since when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// It takes its share.
    Serving,
    /// It works, and worse than usual; `bad` is when that was last seen.
    Degraded { bad: Instant },
    /// It has been silent since then, and is suspected since `at`.
    Suspected {
        at: Instant,
        silent: Instant,
        threshold: Duration,
        heard: Option<Duration>,
        unmade: u64,
    },
    /// It is out; `hold` is the least time.
    Out {
        since: Instant,
        hold: Duration,
        soft: bool,
    },
    /// It waits for an operator.
    Waiting { since: Instant },
    /// It is tried; totals when that began.
    Probation { since: Instant, before: Counts },
    /// Its share grows; `held` is when it was last halved.
    Ramp {
        since: Instant,
        at: Instant,
        share: f64,
        halved: Option<Instant>,
    },
}

/// What follows from a look.
#[derive(Clone, Debug)]
pub(super) enum Move {
    /// To another state, because of what the region showed, if its requests did.
    To(State, Evidence, Option<Fall>),
    /// Nowhere: all regions fare alike. Those that fell for the same are taken back.
    Shared(Evidence, Fall),
}

/// A look at one upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) wanted: &'a Upstream,
    pub(super) now: Instant,
}

/// One region under judgement.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) cell: Arc<RegionCell>,
    tally: Tally,
    /// What ended since the last look, and whether anything was under way.
    met: Counts,
    busy: bool,
    window: Window,
    usual: Baseline,
    raised: Cusum,
    row: Unanswered,
    silence: Silence,
    slow: Slow,
    times: Option<Times>,
    comeback: Comeback,
    roster: Roster,
    rolled: Rolled,
    probes: Probes,
    pub(super) state: State,
    /// Whether it has ever worked, as far as this judge knows.
    served: bool,
    /// Answers since its last failure.
    row_of_answers: u64,
    /// When its requests were last seen to fare well.
    well: Instant,
    fall: Option<Fall>,
    /// What it showed when all regions fared alike.
    shown: Option<Fall>,
    pardoned: Option<Instant>,
    /// Until then a fault counts as shared.
    spared: Option<Instant>,
    doubt: Option<Instant>,
    /// Whether it is silent for longer than it should be.
    hushed: bool,
    /// Since when its endpoints, or a word, make it degraded, so that others are asked first.
    lesser: Option<Instant>,
}

/// What a region showed when all fared alike is held to be so for this long after that was last seen,
/// while nobody asks it.
const SHOWN_REMEMBERED: Duration = Duration::from_secs(60);
/// A region is taken back once within this time for sharing a fault.
const PARDON_ONCE: Duration = Duration::from_secs(50);

impl Region {
    pub(super) fn new(live: &LiveRegion, now: Instant) -> Self {
        let tally = live.cell.tally();
        live.cell.take_release();
        Self {
            cell: live.cell.clone(),
            met: Counts::default(),
            busy: false,
            window: Window::new(now, tally.latency.clone()),
            usual: Baseline::new(now),
            raised: Cusum::default(),
            row: Unanswered::default(),
            silence: Silence::new(now, &tally),
            slow: Slow::default(),
            times: None,
            comeback: Comeback::default(),
            roster: Roster::new(now),
            rolled: Rolled {
                health: Health::Unknown,
                usable: 0,
                total: 0,
                needed: 0.0,
            },
            probes: Probes::default(),
            state: State::Serving,
            served: false,
            well: now,
            fall: None,
            shown: None,
            row_of_answers: 0,
            pardoned: None,
            spared: None,
            doubt: None,
            hushed: false,
            lesser: None,
            tally,
        }
    }

    /// What follows, if anything does.
    pub(super) fn next(&self, siblings: Siblings<'_>, look: &Look<'_>) -> Option<Move> {
        if let Some(evidence) = self.unusable()
            && !matches!(self.state, State::Out { .. })
        {
            let hold = Duration::ZERO;
            let since = match self.state {
                State::Waiting { since } => since,
                _ => look.now,
            };
            let soft = false;
            return Some(Move::To(State::Out { since, hold, soft }, evidence, None));
        }
        match self.state {
            State::Serving | State::Degraded { .. } | State::Suspected { .. }
                if self.cell.draining() =>
            {
                self.drained()
            }
            State::Serving => self.serving(siblings, look),
            State::Degraded { bad } => self.degraded(bad, siblings, look),
            State::Suspected { .. } => self.suspected(siblings, look),
            State::Out { .. } => self.out(siblings, look),
            State::Waiting { since } => self.waiting(since, look),
            State::Probation { .. } => self.probation(siblings, look),
            State::Ramp { .. } => self.ramp(siblings, look),
        }
    }

    /// Why it cannot be used whatever its requests say.
    fn unusable(&self) -> Option<Evidence> {
        match self.cell.said() {
            health @ (Health::Unhealthy | Health::Draining) => Some(Evidence::Said { health }),
            _ => (self.rolled.health == Health::Unhealthy).then(|| self.endpoints()),
        }
    }

    fn endpoints(&self) -> Evidence {
        let Rolled {
            usable,
            total,
            needed,
            ..
        } = self.rolled;
        Evidence::Endpoints {
            usable,
            total,
            needed,
        }
    }

    /// Whom an operator drains is not judged by silence or errors.
    fn drained(&self) -> Option<Move> {
        let State::Suspected { silent, .. } = self.state else {
            return None;
        };
        let lasted = self.well.saturating_duration_since(silent);
        Some(Move::To(State::Serving, Evidence::Calm { lasted }, None))
    }

    /// Enters a state.
    pub(super) fn go(&mut self, to: State, fall: Option<Fall>, look: &Look<'_>) {
        let (now, failback) = (look.now, &look.wanted.health.failback);
        let mut to = to;
        match &mut to {
            State::Out { hold, since, .. } if *since == now => {
                *hold = self.leave(failback, now);
            }
            State::Degraded { .. } => {
                self.comeback.out(failback, now);
                self.raised.reset();
                self.slow.reset();
            }
            State::Ramp {
                halved: Some(_), ..
            } => {
                self.window.restart(now);
                self.slow.reset();
            }
            State::Probation { .. } | State::Ramp { .. } => self.return_at(now),
            State::Serving => {
                self.comeback.serves(now);
                if self.is_out() {
                    self.return_at(now);
                }
            }
            _ => {}
        }
        if let State::Suspected { .. } = self.state
            && to == State::Serving
        {
            self.silence.was_false(now);
        }
        self.fall = fall;
        self.state = to;
    }

    /// It goes out: for how long at least.
    fn leave(&mut self, failback: &plan::Failback, now: Instant) -> Duration {
        self.cell.take_release();
        let said = matches!(self.cell.said(), Health::Unhealthy | Health::Draining);
        if said || !self.served {
            return Duration::ZERO;
        }
        self.comeback.out(failback, now);
        self.comeback.hold(failback)
    }

    /// It comes back, if only for a trial: what was met before is no evidence any more.
    fn return_at(&mut self, now: Instant) {
        self.comeback.back(now);
        self.window.restart(now);
        self.raised.reset();
        self.row.reset();
        self.slow.reset();
    }

    /// All regions fare alike: whatever requests show is not held against it for some time. Says
    /// whether it had fallen for that, and is taken back.
    pub(super) fn spare(&mut self, shown: &Fall, look: &Look<'_>) -> Option<Evidence> {
        let now = look.now;
        let window = look.wanted.health.region.window;
        self.spared = Some(now + window * 2);
        let mine = Fall {
            at: now,
            met: self.met(window, now),
            slower: self.slower(),
        };
        if (tested(&mine.met) || mine.slower > 0.0) && shown.resembles(&mine) {
            self.shown = Some(self.shown(now).map_or(mine, |before| mine.or_more(before)));
        } else if let Some(known) = self.shown.as_mut().filter(|known| shown.resembles(known)) {
            // Nobody asks it: as long as others share the fault, so does it.
            known.at = now;
        }
        let fall = self.fall(now).copied()?;
        if !shown.resembles(&fall) || !self.may_be_pardoned(now) {
            return None;
        }
        self.pardoned = Some(now);
        self.shown = Some(Fall { at: now, ..fall });
        self.go(State::Serving, None, look);
        self.raised.reset();
        Some(Evidence::Pardoned {
            out: now.saturating_duration_since(fall.at),
        })
    }

    /// Its requests fare well: whatever it showed with all others is over.
    fn is_well(&mut self, now: Instant) {
        self.well = now;
        self.shown = None;
    }

    /// Its endpoints must be usable for that, and it is done once within a time: if it is bad again
    /// while others are well, the fault is its own.
    fn may_be_pardoned(&self, now: Instant) -> bool {
        let recent = |at| now.saturating_duration_since(at) < PARDON_ONCE;
        self.unusable().is_none() && !self.pardoned.is_some_and(recent)
    }

    /// After a look: its share grows, and takes back endpoints if nothing else is left.
    pub(super) fn settle(
        &mut self,
        alone: bool,
        look: &Look<'_>,
        tell: &mut dyn FnMut(EndpointChange),
    ) {
        let grows = self.grows(look);
        self.lesser = match self.believed() {
            Health::Degraded => self.lesser.or(Some(look.now)),
            _ => None,
        };
        match &mut self.state {
            State::Ramp { at, share, .. } => {
                let since = look.now.saturating_duration_since(*at);
                *at = look.now;
                if grows {
                    *share = comeback::grown(*share, &look.wanted.health.failback, since);
                }
            }
            State::Out { .. } if alone && self.roster.any_ejected() => {
                self.roster.release(look.now, tell);
            }
            State::Serving => self.served |= self.rolled.health != Health::Unknown || self.busy,
            _ => {}
        }
        if let State::Degraded { bad } = self.state
            && self.is_bad(look)
        {
            self.state = State::Degraded {
                bad: look.now.max(bad),
            };
        }
    }

    /// How it stands, for decisions to read.
    pub(super) fn standing(&self, look: &Look<'_>) -> Standing {
        let believed = self.believed();
        let whole = Standing::full(believed);
        match self.state {
            State::Serving => whole,
            State::Degraded { .. } => Standing::full(worst(believed, Health::Degraded)),
            State::Suspected { .. } => Standing {
                suspected: true,
                ..whole
            },
            State::Out { .. } | State::Waiting { .. } => Standing {
                dial: Dial::NONE,
                ..Standing::full(self.down())
            },
            State::Probation { .. } => Standing {
                probation: true,
                dial: Dial::new(comeback::first_share(&look.wanted.health.failback)),
                ..whole
            },
            State::Ramp { share, .. } => Standing {
                dial: Dial::new(share),
                ..whole
            },
        }
    }

    /// What its endpoints and words make of it.
    fn believed(&self) -> Health {
        worst(self.rolled.health, self.cell.said())
    }

    fn down(&self) -> Health {
        match self.cell.said() {
            Health::Draining => Health::Draining,
            _ => Health::Unhealthy,
        }
    }

    /// Why its health follows from its endpoints, or from what was said.
    pub(super) fn ground(&self) -> Evidence {
        match self.cell.said() {
            Health::Degraded => Evidence::Said {
                health: Health::Degraded,
            },
            _ => self.endpoints(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.state {
            State::Serving | State::Degraded { .. } => Stage::Serving,
            State::Suspected { .. } => Stage::Suspected,
            State::Out { .. } => Stage::Out,
            State::Waiting { .. } => Stage::Waiting,
            State::Probation { .. } => Stage::Probation,
            State::Ramp { .. } => Stage::Ramp,
        }
    }

    fn is_out(&self) -> bool {
        matches!(self.stage(), Stage::Out | Stage::Waiting)
    }

    /// Whether it is usable, if only on trial or as the last resort.
    pub(super) fn up(&self) -> bool {
        !self.is_out() && self.unusable().is_none() && !self.cell.draining()
    }

    /// What ended within the last `span`.
    pub(super) fn met(&self, span: Duration, now: Instant) -> Counts {
        self.window.over(now, span).counts
    }

    /// The share that usually fails.
    pub(super) fn usual(&self) -> f64 {
        self.usual.share()
    }

    /// How many times as long as usual answers take; 0 when too few tell.
    pub(super) fn slower(&self) -> f64 {
        self.times.map_or(0.0, |times| times.ratio())
    }

    /// What it showed when it fell, if that was lately.
    pub(super) fn fall(&self, now: Instant) -> Option<&Fall> {
        self.fall.as_ref().filter(|fall| fall.remembered(now))
    }

    /// What it showed when all regions fared alike, if that was lately.
    pub(super) fn shown(&self, now: Instant) -> Option<&Fall> {
        let held = |shown: &&Fall| now.saturating_duration_since(shown.at) <= SHOWN_REMEMBERED;
        self.shown.as_ref().filter(held)
    }

    /// When a byte last came from it.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.tally.heard.map(|heard| self.cell.origin() + heard)
    }

    /// For how long nothing was heard while somebody waited; none if nobody waits.
    pub(super) fn anybody_waits(&self) -> Option<Duration> {
        self.silence.anybody_waits(&self.tally)
    }

    /// Whether something is under way there, so that looks must come often.
    pub(super) fn busy(&self) -> bool {
        let waits = matches!(self.state, State::Out { .. } | State::Waiting { .. });
        self.busy || self.roster.moving() || !waits && self.state != State::Serving
    }

    /// Whether its endpoints should be probed at once, and often.
    pub(super) fn in_doubt(&self) -> bool {
        match self.state {
            State::Suspected { .. } | State::Probation { .. } => true,
            State::Serving | State::Degraded { .. } | State::Ramp { .. } => {
                self.raised.doubtful() || self.row.doubtful() || self.hushed
            }
            State::Out { .. } | State::Waiting { .. } => false,
        }
    }
}
