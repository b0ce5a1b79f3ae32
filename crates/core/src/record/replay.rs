//! Decisions made again of what was recorded: with the same plan bit for bit, with another one to see
//! what it would have done.
//!
//! With the same plan everything comes from the record: rows, ask, chance, and every number that
//! balancing saw, in the order in which it saw them. So the same code has to come to the same end; if it
//! does not, either the record or the code is wrong, and the answer says where they part. With another
//! plan the request is matched again, rows are made of that plan's weights, tiers, capacities and rules,
//! and of what was observed of each region, found by its name. What cannot be known then is said.

use fastrand::Rng;
use serde::Serialize;

use super::again::ByName;
use super::{Inputs, Looked, Record};
use crate::balance::Again;
use crate::board::Board;
use crate::choose::{Ask, Choice, settle};
use crate::decision::{Decision, Eligibility, Pin, View};
use crate::explain::Explanation;
use crate::handle::LiveUpstream;
use crate::ids::{RegionIdx, RegionSet, RouteIdx, UpstreamIdx};
use crate::limits::Turn;
use crate::plan::{Plan, Upstream};
use crate::view;

/// What came of making the decisions of a record again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Whether everything that could be made again came out the same.
    pub same: bool,
    /// Whether the plan is the one that decided, by its content.
    pub same_plan: bool,
    /// What becomes of the request before a region is asked for, in words; none if nobody knows.
    pub outcome: Option<String>,
    /// What of the whole differs: the route, the upstream, an answer instead of them, a fault, a copy.
    pub differences: Vec<String>,
    /// What could not be known, and what was taken for it.
    pub uncertain: Vec<String>,
    /// The decisions, in their order.
    pub decisions: Vec<Retold>,
}

/// One decision, made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retold {
    /// Whether it came out the same.
    pub same: bool,
    /// Why it could not be made again; none if it was.
    pub missing: Option<&'static str>,
    /// What differs.
    pub differences: Vec<String>,
    /// What it came to now.
    pub decision: Option<Explanation>,
}

const NOT_KEPT: &str = "what it was made of was not kept: the request was recorded only when it had failed, and not by chance";
const TOO_MUCH: &str = "what it was made of was too much to keep";

/// Makes the decisions of `record` again with `plan`.
pub fn replay(record: &Record, plan: &Plan) -> Replayed {
    let again = Round::new(record, plan);
    let mut replayed = Replayed {
        same: true,
        same_plan: again.same_plan,
        outcome: None,
        differences: Vec::new(),
        uncertain: Vec::new(),
        decisions: Vec::new(),
    };
    if let Some((route, upstream)) = again.way(&mut replayed) {
        replayed.decisions = again.decisions((route, upstream), &mut replayed.uncertain);
    }
    let made = replayed.decisions.iter();
    replayed.same = replayed.differences.is_empty() && made.clone().all(|one| one.same);
    replayed
}

/// A record and the plan that decides of it again.
pub(super) struct Round<'a> {
    pub(super) record: &'a Record,
    pub(super) plan: &'a Plan,
    pub(super) same_plan: bool,
}

/// The way that a request takes with the plan.
struct Found<'a> {
    way: (RouteIdx, UpstreamIdx),
    wanted: &'a Upstream,
    bound: &'a LiveUpstream,
}

impl<'a> Found<'a> {
    fn upstream(&self) -> (&'a Upstream, &'a LiveUpstream) {
        (self.wanted, self.bound)
    }
}

impl Round<'_> {
    fn new<'a>(record: &'a Record, plan: &'a Plan) -> Round<'a> {
        Round {
            record,
            plan,
            same_plan: record.content_hash == plan.content_hash,
        }
    }

    /// The decisions of a request that goes this way. Without anything to make them of, none is made.
    fn decisions(
        &self,
        (route, upstream): (RouteIdx, UpstreamIdx),
        uncertain: &mut Vec<String>,
    ) -> Vec<Retold> {
        let decisions = &self.record.decisions;
        let Some(first) = decisions.iter().find_map(|looked| looked.inputs.as_ref()) else {
            return decisions
                .iter()
                .map(|_| Retold::missing(NOT_KEPT))
                .collect();
        };
        // Nothing reads how old the board is.
        let board = Board::new(first.ask.now);
        let wanted = self.plan.upstream(upstream);
        let bound = LiveUpstream::alone(self.plan, wanted, &board);
        let way = Found {
            way: (route, upstream),
            wanted,
            bound: &bound,
        };
        let retold = decisions.iter().map(|looked| match self.same_plan {
            true => self.exactly(looked, &way),
            false => self.otherwise(looked, &way, uncertain),
        });
        retold.collect()
    }

    /// The same decision, of everything that was kept.
    fn exactly(&self, looked: &Looked, way: &Found<'_>) -> Retold {
        let Some(inputs) = &looked.inputs else {
            return Retold::missing(NOT_KEPT);
        };
        let Some(seen) = &inputs.seen else {
            return Retold::missing(TOO_MUCH);
        };
        let mut view = View {
            steering: &way.wanted.steering,
            rows: inputs.rows.iter().copied().collect(),
        };
        let eligibility = Eligibility {
            too_slow: inputs.too_slow,
            ..inputs.ask.eligibility()
        };
        let (ask, eyes, mut rng) = (&inputs.ask, Again::new(seen), Rng::with_seed(looked.seed));
        let (decision, choice) =
            settle(&mut view, eligibility, way.upstream(), ask, &mut rng, &eyes);
        let mut differences = self.differences(looked, &decision, choice.as_ref(), true);
        if decision != looked.decision && differences.is_empty() {
            differences.push("the decision is another one".to_owned());
        }
        if !eyes.kept_to_it() {
            differences.push("balancing looked at other endpoints".to_owned());
        }
        self.retold(way, differences, (&decision, choice.as_ref()))
    }

    /// The decision of another plan, of what was observed.
    fn otherwise(&self, looked: &Looked, way: &Found<'_>, uncertain: &mut Vec<String>) -> Retold {
        let Some(inputs) = &looked.inputs else {
            return Retold::missing(NOT_KEPT);
        };
        let ask = self.ask(inputs, way, uncertain);
        self.restore(inputs, way, uncertain);
        let mut view = View::by(way.wanted, way.bound, &view::Look::of(&ask));
        for row in &mut view.rows {
            if let Some(then) = self.row_of(inputs, row.region) {
                (row.endpoints, row.full, row.ailing) = (then.endpoints, then.full, then.ailing);
                row.load = then.load;
            }
        }
        let eligibility = Eligibility {
            too_slow: self.new_set(inputs.too_slow),
            ..ask.eligibility()
        };
        let old = |region| self.in_old(region);
        let eyes = ByName::new(self.record, inputs, way.upstream(), old);
        let mut rng = Rng::with_seed(looked.seed);
        let (decision, choice) = settle(
            &mut view,
            eligibility,
            way.upstream(),
            &ask,
            &mut rng,
            &eyes,
        );
        let certain = !eyes.guessed();
        let differences = self.differences(looked, &decision, choice.as_ref(), certain);
        self.retold(way, differences, (&decision, choice.as_ref()))
    }

    /// What the request asks for under the plan, where it stood then.
    fn ask(&self, inputs: &Inputs, way: &Found<'_>, uncertain: &mut Vec<String>) -> Ask {
        let then = &inputs.ask;
        let route = self.plan.route(way.way.0);
        let mut ask = match &self.record.facts {
            None => Ask {
                allowed: route.allowed,
                isolation: route.isolation,
                ..then.clone()
            },
            Some(facts) => {
                let request = facts.recall();
                let ask = Ask::of(route, way.wanted, &request, then.now);
                let missed = request.missed();
                if missed.is_empty() {
                    ask
                } else {
                    let text = format!(
                        "it is kept together by {}, which was not kept: by the same hash",
                        missed.join(", ")
                    );
                    note(uncertain, text);
                    Ask {
                        hash: ask.hash.or(then.hash),
                        sticky: ask.sticky.or(then.sticky),
                        ..ask
                    }
                }
            }
        };
        ask.within = self.new_set(then.within);
        ask.tried_regions = self.new_set(then.tried_regions);
        ask.stay = then.stay.and_then(|region| self.in_new(region));
        ask.left = then.left.and_then(|region| self.in_new(region));
        ask.tried_endpoints = Default::default();
        ask.repeatable = then.repeatable;
        ask.deadline = then.deadline;
        ask.turn = then.turn;
        ask.pin = then.pin.and_then(|pin| {
            let region = self.in_new(pin.region)?;
            Some(Pin { region, ..pin })
        });
        ask.origin = then.origin.or_else(|| {
            let client = self.record.facts.as_ref()?.client()?;
            self.plan.atlas.as_ref()?.find(client)
        });
        if then.turn == Turn::Retry && !then.tried_endpoints.is_empty() {
            let text = "which endpoints it had tried is not looked at".to_owned();
            note(uncertain, text);
        }
        ask
    }

    /// Puts what was observed of each region into the cells of the binding.
    fn restore(&self, inputs: &Inputs, way: &Found<'_>, uncertain: &mut Vec<String>) {
        for (spec, observed) in way.wanted.regions.iter().zip(&way.bound.regions) {
            let name = &self.plan.region(spec.region).name;
            let Some(row) = self.row_of(inputs, spec.region) else {
                let text = format!("nothing was known of {name} then: it counts as new");
                note(uncertain, text);
                continue;
            };
            let cell = &observed.cell;
            cell.set_standing(row.standing);
            cell.set_draining(row.draining);
            cell.set_dial(inputs.dialed.contains(row.region).then_some(row.dial));
            if let Some(allotment) = inputs.allotments.get(usize::from(row.position)) {
                cell.set_allotment(*allotment);
            }
        }
    }

    /// What was seen of a region of the plan.
    fn row_of<'i>(
        &self,
        inputs: &'i Inputs,
        region: RegionIdx,
    ) -> Option<&'i crate::decision::RegionRow> {
        let old = self.in_old(region)?;
        inputs.rows.iter().find(|row| row.region == old)
    }

    /// The region of the record's plan that has the name of this one.
    fn in_old(&self, region: RegionIdx) -> Option<RegionIdx> {
        let name = &self.plan.region(region).name;
        let at = self
            .record
            .regions
            .iter()
            .position(|old| old.name == *name)?;
        Some(RegionIdx(at as u8))
    }

    /// The region of the plan that has the name of this one of the record's.
    fn in_new(&self, region: RegionIdx) -> Option<RegionIdx> {
        let name = &self.record.regions.get(region.get())?.name;
        let at = self.plan.regions.iter().position(|new| new.name == *name)?;
        Some(RegionIdx(at as u8))
    }

    fn new_set(&self, set: RegionSet) -> RegionSet {
        match set == RegionSet::ALL {
            true => set,
            false => set
                .iter()
                .filter_map(|region| self.in_new(region))
                .collect(),
        }
    }

    fn retold(
        &self,
        way: &Found<'_>,
        differences: Vec<String>,
        (decision, choice): (&Decision, Option<&Choice>),
    ) -> Retold {
        Retold {
            same: differences.is_empty(),
            missing: None,
            differences,
            decision: Some(Explanation::within(self.plan, way.way, decision, choice)),
        }
    }
}

impl Retold {
    /// One that cannot be made again counts as the same: nothing speaks against it.
    fn missing(why: &'static str) -> Self {
        Self {
            same: true,
            missing: Some(why),
            differences: Vec::new(),
            decision: None,
        }
    }
}

pub(super) fn note(uncertain: &mut Vec<String>, text: String) {
    if !uncertain.contains(&text) {
        uncertain.push(text);
    }
}
