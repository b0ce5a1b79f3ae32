//! What must hold at every step, whatever the weather.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_core::budget::{Purse, RESERVE, WINDOW_S};
use tidegate_core::decision::Because;
use tidegate_core::steer::exclusion;
use tidegate_core::{Ask, Choice, Exclusion, Live, View};

use crate::ledger::Ledger;
use crate::scenario::Scenario;
use crate::support::UPSTREAM;

/// Watches over one world.
pub(crate) struct Promises {
    /// Requests, retries within a region, retries across regions: per second of the budget's window.
    window: VecDeque<(u64, [u64; 3])>,
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
            dead: scenario.kind.is_total().then_some(dead),
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

    /// No storm: counted back one window from any retry.
    pub(crate) fn retried(&mut self, now: Duration, purse: Purse) {
        let (at, share) = match purse {
            Purse::InRegion => (1, 0.2),
            Purse::CrossRegion => (2, 1.0),
        };
        self.at(now)[at] += 1;
        let sum = |at: usize| {
            self.window
                .iter()
                .map(|(_, counts)| counts[at])
                .sum::<u64>()
        };
        let (retries, most) = (sum(at), share * sum(0) as f64 + f64::from(RESERVE));
        self.expect(retries as f64 <= most, || {
            format!("a storm: {retries} retries of {most} at {now:?}")
        });
    }

    fn at(&mut self, now: Duration) -> &mut [u64; 3] {
        let second = now.as_secs();
        if self.window.back().is_none_or(|(last, _)| *last != second) {
            self.window.push_back((second, [0; 3]));
        }
        while self
            .window
            .front()
            .is_some_and(|(first, _)| first + u64::from(WINDOW_S) < second)
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
        let eligibility = ask.eligibility();
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
