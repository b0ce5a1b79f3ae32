//! What must hold at every step, whatever the weather.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_core::budget::{Purse, RESERVE, WINDOW_S};
use tidegate_core::decision::{Because, Eligibility};
use tidegate_core::hedge::HEDGE_RESERVE;
use tidegate_core::limits::Turn;
use tidegate_core::retry::{Idempotency, WhyNot};
use tidegate_core::steer::exclusion;
use tidegate_core::{Ask, Choice, Exclusion, Live, RegionSet, TriedEndpoints, View};

use crate::ledger::Ledger;
use crate::request::Request;
use crate::scenario::Scenario;
use crate::support::UPSTREAM;

/// Watches over one world.
pub(crate) struct Promises {
    /// Requests, retries within a region, retries across regions, and those of both that are hedges of
    /// what is slow: per second of the budget's window.
    window: VecDeque<(u64, [u64; 4])>,
    /// Attempts that were paid for and have not begun.
    paid: u64,
    /// The most attempts, as a part of the requests of their window, beyond what reserves allow.
    pub(crate) most: f64,
    /// The region that serves nobody, from when until when.
    dead: Option<(usize, Duration, Duration)>,
    /// What was broken, in order.
    pub(crate) broken: Vec<String>,
}

/// A dead region gets nothing new after this.
const DETECTED: Duration = Duration::from_secs(1);
/// If so many requests a second would be its own.
const ENOUGH: f64 = 50.0;

impl Promises {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let dead = (scenario.target, scenario.kind.onset(), scenario.over());
        Self {
            window: VecDeque::new(),
            paid: 0,
            most: 1.0,
            dead: (scenario.kind.is_total() && !scenario.blind).then_some(dead),
            broken: Vec::new(),
        }
    }

    fn expect(&mut self, kept: bool, told: impl FnOnce() -> String) {
        if !kept {
            self.broken.push(told());
        }
    }

    pub(crate) fn requested(&mut self, now: Duration) {
        self.at(now)[0] += 1;
    }

    /// No storm: counted back one window from any retry, be it a hedge, a re-dispatch or a resume. Of
    /// both purses together, the requests of the window before have paid as well.
    pub(crate) fn retried(&mut self, now: Duration, purse: Purse) {
        let (at, share) = match purse {
            Purse::InRegion => (1, 0.2),
            Purse::CrossRegion => (2, 1.0),
        };
        self.at(now)[at] += 1;
        self.paid += 1;
        let (retries, requests) = (self.sum(at, WINDOW_S), self.sum(0, WINDOW_S));
        let most = share * requests as f64 + f64::from(RESERVE);
        self.expect(retries as f64 <= most, || {
            format!("a storm: {retries} retries of {most} at {now:?}")
        });
        let both = self.sum(1, WINDOW_S) + self.sum(2, WINDOW_S);
        let most = self.sum(0, 2 * WINDOW_S) as f64 * (0.2 + 1.0) + 2.0 * f64::from(RESERVE);
        self.expect(both as f64 <= most, || {
            format!("a storm: {both} retries of {most} at {now:?}")
        });
        let attempts = (requests + both) as f64 / requests.max(1) as f64;
        self.most = self.most.max(attempts);
    }

    /// A hedge of what is slow, paid for as any retry, has the purse of its route besides.
    pub(crate) fn hedged(&mut self, now: Duration) {
        self.at(now)[3] += 1;
        let most = 0.05 * self.sum(0, WINDOW_S) as f64 + f64::from(HEDGE_RESERVE);
        let hedges = self.sum(3, WINDOW_S);
        self.expect(hedges as f64 <= most, || {
            format!("{hedges} hedges of {most} at {now:?}")
        });
    }

    /// Nothing is sent twice that must not be, and nothing abroad whose key only one region knows.
    pub(crate) fn processed(&mut self, idempotency: Idempotency, regions: &[u8]) {
        let (first, again) = (regions[0], regions.len() > 1);
        let kept = match idempotency {
            Idempotency::No => !again,
            Idempotency::Keyed => regions.iter().all(|region| *region == first),
            Idempotency::Safe | Idempotency::Idempotent => true,
        };
        self.expect(kept, || format!("{idempotency:?} was sent to {regions:?}"));
    }

    /// What may be sent again is lost only when its attempts, its time, the budget or the room are used
    /// up, or when nothing is left that could take it.
    pub(crate) fn lost(&mut self, live: &Live, request: &Request, why: WhyNot, now: Duration) {
        use WhyNot::{Attempts, Budget, Deadline, NoCandidate, RetriesFull};
        if matches!(request.idempotency, Idempotency::No | Idempotency::Keyed) {
            return;
        }
        let kept = match why {
            Attempts | Budget | Deadline | RetriesFull => true,
            NoCandidate => nothing_is_open(live, &request.ask),
            _ => false,
        };
        self.expect(kept, || {
            format!("lost for {why:?} at {now:?}, and could be saved: {request:?}")
        });
    }

    /// Of the last seconds, so many before the current one.
    fn sum(&self, at: usize, seconds: u32) -> u64 {
        let last = self.window.back().map_or(0, |(second, _)| *second);
        let window = self.window.iter().rev();
        window
            .take_while(|(second, _)| second + u64::from(seconds) >= last)
            .map(|(_, counts)| counts[at])
            .sum()
    }

    fn at(&mut self, now: Duration) -> &mut [u64; 4] {
        let second = now.as_secs();
        if self.window.back().is_none_or(|(last, _)| *last != second) {
            self.window.push_back((second, [0; 4]));
        }
        while self
            .window
            .front()
            .is_some_and(|(first, _)| first + u64::from(2 * WINDOW_S) < second)
        {
            self.window.pop_front();
        }
        &mut self.window.back_mut().expect("just entered").1
    }

    /// Nothing unusable is picked while something usable is there, and nothing doubtful while there
    /// is something better.
    pub(crate) fn chosen(&mut self, live: &Live, ask: &Ask, choice: Option<&Choice>) {
        let (wanted, observed) = live.upstream(UPSTREAM);
        let view = View::of(wanted, observed, &ask.tried_endpoints, ask.turn);
        let eligibility = Eligibility {
            too_slow: too_slow(live, ask),
            ..ask.eligibility()
        };
        let rows = view.rows.iter();
        let mut open = rows.filter(|row| exclusion(row, &eligibility).is_none());
        let Some(choice) = choice else {
            return self.expect(open.next().is_none(), || "turned away in vain".into());
        };
        let row = &view.rows[usize::from(choice.position)];
        // A region that was left is gone back to if no other is open.
        let why = exclusion(row, &eligibility);
        let back = why == Some(Exclusion::Tried) && ask.left != Some(choice.region);
        let usable = why.is_none() || back && open.clone().next().is_none();
        let usable = usable && choice.endpoint().cell.open();
        self.expect(usable, || format!("not usable: {row:?}"));
        let better = row.standing.suspected && open.any(|row| !row.standing.suspected);
        self.expect(!better, || format!("silent, and there is another: {row:?}"));
        let tried_out = choice.because == Because::Probation;
        self.expect(!tried_out || ask.repeatable, || {
            "what cannot be repeated tries out a region".into()
        });
    }

    /// No attempt but those that come first is made without a token.
    pub(crate) fn begun(&mut self, retry: bool) {
        let paid = !retry || self.paid > 0;
        self.paid = self.paid.saturating_sub(u64::from(retry));
        self.expect(paid, || "a retry that nobody has paid for".into());
    }

    /// A dead region gets nothing new once there was time to notice, but what tries it out.
    pub(crate) fn attempted(
        &mut self,
        ledger: &Ledger,
        now: Duration,
        region: usize,
        because: Because,
    ) {
        // What is held back takes an attempt only if nothing else is left for it, and what must not be
        // repeated elsewhere stays where it was tried.
        use Because::{HeldBack, Probation, Ramp, Stay};
        let tried_out = matches!(because, Probation | Ramp | HeldBack | Stay);
        let dead = self.dead.filter(|(dead, from, until)| {
            *dead == region && now > *from + DETECTED && now < *until && !tried_out
        });
        let Some((_, from, _)) = dead else {
            return;
        };
        let onset = from.as_secs() as usize;
        let before = ledger.seconds[onset - 5..onset].iter();
        let own = before.map(|regions| regions[region]).sum::<u64>() as f64 / 5.0;
        let kept = own < ENOUGH || ledger.pressed[now.as_secs() as usize];
        self.expect(kept, || {
            let after = now - from;
            format!("{after:?} after its end, a region of {own} requests a second still gets one")
        });
    }

    /// Who comes back takes no more than twice what it took the second before.
    pub(crate) fn second(&mut self, ledger: &Ledger, now: Duration) {
        let this = now.as_secs() as usize - 1;
        if this < 1 || ledger.pressed[this - 1..=this].contains(&true) {
            return;
        }
        for region in 0..ledger.seconds[this].len() {
            let returns = ledger.returning[this][region] && ledger.returning[this - 1][region];
            let [before, after] = [this - 1, this].map(|at| ledger.seconds[at][region] as f64);
            // Requests come at random: what chance explains is no jump.
            let chance = 4.5 * (4.0 * before + after).sqrt() + 4.0;
            self.expect(!returns || after <= 2.0 * before + chance, || {
                format!("r{region} came back too fast at {this} s: {before}, then {after}")
            });
        }
    }
}

/// The regions where a retry could not end in time.
fn too_slow(live: &Live, ask: &Ask) -> RegionSet {
    let (wanted, observed) = live.upstream(UPSTREAM);
    let deadline = ask.deadline.filter(|_| ask.turn == Turn::Retry);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(ask.now));
    let regions = wanted.regions.iter().zip(&observed.regions);
    let slow = regions.filter(|(_, observed)| {
        let usual = observed.cell.usual(ask.now);
        usual.zip(left).is_some_and(|(usual, left)| usual > left)
    });
    slow.map(|(wanted, _)| wanted.region).collect()
}

/// Whether no region can take an attempt, whatever was tried before.
fn nothing_is_open(live: &Live, ask: &Ask) -> bool {
    let (wanted, observed) = live.upstream(UPSTREAM);
    let view = View::of(wanted, observed, &TriedEndpoints::default(), Turn::Retry);
    let eligibility = Eligibility {
        tried: RegionSet::EMPTY,
        ..ask.eligibility()
    };
    let mut rows = view.rows.iter();
    rows.all(|row| exclusion(row, &eligibility).is_some())
}
