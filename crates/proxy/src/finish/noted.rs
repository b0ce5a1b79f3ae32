//! What is noted of a request's decisions while it runs, and the record that is made of it.

use std::time::Instant;

use tidegate_core::Termination;
use tidegate_core::decision::Decision;
use tidegate_core::plan::{Explain, Region};
use tidegate_core::record::{End, Looked, Record, Then, Way};

use super::Finish;
use crate::clock::span;
use crate::context::Context;
use crate::head::RequestHead;
use crate::recorder::{First, Notes, ago, first, plain_attempt};

impl Finish {
    /// The request, whose head this is, begins: it is noted from now on if it is of the sample.
    pub(crate) fn sample(&mut self, context: &Context, head: &RequestHead) {
        let policy = self.recorded();
        self.notes = Notes::sample(context, head, policy.as_ref());
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
        let route = self.route.as_ref();
        let (facts, sampled, decisions) = match notes {
            Some(notes) => (Some(notes.facts), notes.sampled, notes.decisions),
            None => {
                let known = self.first.as_ref().map(|known| First {
                    seed: known.seed,
                    decision: known.decision.clone(),
                });
                let known = known.map(|known| first(known, self.tries.all().first()));
                (None, false, known.into_iter().collect())
            }
        };
        Record {
            id: self.id.as_str().into(),
            at: ago(took),
            generation: route.map_or_else(Default::default, |route| route.generation),
            content_hash: route.map_or_else(|| "".into(), |route| route.content_hash.clone()),
            regions: route.map_or_else(
                || [].into(),
                |route| -> std::sync::Arc<[Region]> { route.regions.clone() },
            ),
            facts,
            way: self.way(),
            sampled,
            decisions,
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

    fn way(&self) -> Option<Way> {
        let (route, upstream) = (self.route.as_ref()?, self.upstream.as_ref()?);
        let wanted = &upstream.wanted;
        Some(Way {
            route: route.route.name.clone(),
            upstream: wanted.name.clone(),
            steering: wanted.steering.policy.as_str(),
            balance: wanted.balance.as_str(),
            residency: route.route.residency.clone(),
        })
    }
}
