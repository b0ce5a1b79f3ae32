//! What is noted of a request's decisions while it runs, and the record that is made of it.

use std::time::Instant;

use tidegate_core::Termination;
use tidegate_core::decision::Decision;
use tidegate_core::plan::Explain;
use tidegate_core::record::{Drawn, End, Looked, Record, Then, Through, Way};

use super::Finish;
use crate::clock::span;
use crate::context::Context;
use crate::head::RequestHead;
use crate::held::HeldRoute;
use crate::keys::Parts;
use crate::problem::Refusal;
use crate::recorder::{Decider, First, Met, Notes, ago, first, plain_attempt};

impl Finish {
    /// The request, whose head this is, begins on its route: it is noted from now on if it is of the sample.
    #[inline]
    pub(crate) fn sample(&mut self, context: &Context, head: &RequestHead) {
        let policy = self.recorded();
        if policy.is_some_and(|policy| policy.takes(self.lot.sample())) {
            self.begin_sample(context, head);
        }
    }

    #[cold]
    fn begin_sample(&mut self, context: &Context, head: &RequestHead) {
        let route = self.route.as_ref().map(|held| &*held.route);
        let parts = Parts { context, head };
        self.notes = Some(Notes::new(&parts, route, self.lot, true));
    }

    /// The request is refused before it has an upstream. It is noted if it is of the sample, like any other
    /// one: who is refused can ask as often as he likes, and would have the room of those who were owed an
    /// answer, so only what was owed is always noted. `head`: none if it could not be read.
    pub(crate) fn refused(
        &mut self,
        head: Option<&RequestHead>,
        refusal: &Refusal,
        met: Option<Met>,
    ) {
        self.failed(refusal.termination);
        let Some(met) = met.or_else(|| self.context.worker.bound().map(Met::Plan)) else {
            return;
        };
        let Some(policy) = met.policy() else { return };
        let sampled = policy.takes(self.lot.sample());
        if sampled || refusal.termination.lost() {
            let mut notes = met.notes(&self.context, head, self.lot, refusal);
            notes.sampled = sampled;
            self.notes = Some(notes);
        }
    }

    /// What is recorded of the requests of its plan; nothing of copies, and of what has ended.
    fn recorded(&self) -> Option<Explain> {
        let route = self.route.as_ref()?;
        route.explain.filter(|_| !self.is_copy && !self.ended)
    }

    /// Whether decisions are noted.
    pub(crate) fn is_noted(&self) -> bool {
        self.notes.is_some()
    }

    /// Whether decisions may be noted, and are not yet.
    pub(crate) fn may_note(&self) -> bool {
        self.notes.is_none() && self.recorded().is_some()
    }

    /// Notes from now on. What is known of the decision before comes first.
    pub(crate) fn note(&mut self, mut notes: Box<Notes>) {
        let tried = self.tries.all();
        if let Some(before) = self.first.take() {
            notes.looked(first(before, tried.first()));
            notes.decided();
        }
        for nth in 0..tried.len() {
            notes.begins(nth);
        }
        self.notes = Some(notes);
    }

    /// A look was taken, and is noted.
    pub(crate) fn looked(&mut self, looked: Looked) {
        if let Some(notes) = &mut self.notes {
            notes.looked(looked);
        }
    }

    /// A look was taken of which is not noted what it was made of, from this state of chance.
    pub(crate) fn drew(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Notes that it was decided.
    #[inline(always)]
    pub(super) fn note_decided(&mut self, decision: Decision) {
        if let Some(notes) = &mut self.notes {
            return notes.decided();
        }
        if self.first.is_none() && self.recorded().is_some() {
            self.first = Some(First {
                seed: self.seed,
                decision,
            });
        }
    }

    /// Notes what follows the attempt that is told of.
    pub(crate) fn note_then(&mut self, then: Then) {
        let nth = self.tries.number();
        if let Some(notes) = &mut self.notes {
            notes.then(nth, then);
        }
    }

    /// Records the request, if it is to be: of the sample, or with more than one attempt, or without the
    /// answer that it was owed.
    pub(super) fn record(&mut self, reason: Termination, at: Instant) {
        let notes = self.notes.take();
        let wanted = notes.is_some() || reason.lost() || self.tries.all().len() > 1;
        if !wanted {
            return;
        }
        let Some(policy) = self.policy() else {
            return;
        };
        let record = self.record_of(notes, reason, at);
        self.context.worker.ring.write(record, &policy);
    }

    /// What is recorded by the plan of the request; of one without a route, by the one that serves.
    fn policy(&self) -> Option<Explain> {
        match &self.route {
            Some(route) => route.explain,
            None => self.context.worker.bound()?.live.plan.explain,
        }
    }

    fn record_of(&self, notes: Option<Box<Notes>>, reason: Termination, at: Instant) -> Record {
        let took = span(self.started, at);
        let tries = self.tries.all().iter().enumerate();
        let attempts = tries.map(|(nth, tried)| {
            let began = span(self.started, tried.began);
            match &notes {
                Some(notes) => notes.attempt(nth, tried, began),
                None => plain_attempt(tried, began),
            }
        });
        let attempts = attempts.collect();
        let notes = notes.unwrap_or_else(|| self.late_notes());
        let refused = notes.met;
        let held = refused.as_ref().and_then(|refused| refused.route.as_ref());
        let held = held.or(self.route.as_ref()).cloned();
        let by = refused.map(|refused| refused.by);
        let by = by.or_else(|| held.as_deref().map(Decider::of));
        let by = by.unwrap_or_else(Decider::nobody);
        Record {
            id: self.id.as_str().into(),
            at: ago(took),
            generation: by.generation,
            content_hash: by.content_hash,
            regions: by.regions,
            facts: notes.facts,
            way: held.as_deref().map(|route| self.way(route)),
            chances: held.and_then(|route| route.chances.clone()),
            drawn: notes.drawn,
            early: notes.early,
            sampled: notes.sampled,
            decisions: notes.decisions,
            attempts,
            end: End {
                reason,
                status: self.status.map(|status| status.as_u16()),
                took,
                first_byte: self.first_byte.map(|at| span(self.started, at)),
                rescued: self.rescue(reason).is_some(),
                why_not: self.why_not.or_else(|| self.why_not_after_head(reason)),
            },
        }
    }

    /// What is known of a request of which nothing was noted: its head is gone.
    fn late_notes(&self) -> Box<Notes> {
        let route = self.route.as_ref().map(|held| &*held.route);
        let mut notes = Notes::late(Drawn::unseen(self.lot, route));
        let known = self.first.as_ref().map(|known| First {
            seed: known.seed,
            decision: known.decision.clone(),
        });
        let known = known.map(|known| first(known, self.tries.all().first()));
        notes.decisions.extend(known);
        notes
    }

    fn way(&self, route: &HeldRoute) -> Way {
        let through = self.upstream.as_ref().map(|upstream| Through {
            upstream: upstream.wanted.name.clone(),
            steering: upstream.wanted.steering.policy.as_str(),
            balance: upstream.wanted.balance.as_str(),
        });
        Way {
            route: route.route.name.clone(),
            through,
            residency: route.route.residency.clone(),
        }
    }
}
