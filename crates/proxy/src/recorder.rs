//! What is noted of a request while it runs, so that its decisions can be told and made again.
//!
//! A request that is of the sample is noted from its beginning; any other one only once something goes
//! wrong with it: then what its first decision was made of is gone, and the record says so. So a request
//! to which nothing happens costs a draw, and a copy of its decision. What is noted becomes a record
//! when the request ends, in the ring of its worker.

use std::time::{Duration, SystemTime};

use smallvec::SmallVec;
use tidegate_core::decision::Decision;
use tidegate_core::plan::Explain;
use tidegate_core::record::{Attempt, Chosen, DECISIONS_MAX, Facts, Looked, Made, Then};
use tidegate_core::retry::NextTry;
use tidegate_core::{Choice, record};
use tidegate_telemetry::labels::Label;

use crate::clock::span;
use crate::context::Context;
use crate::finish::{Finish, Made as MadeFor, Try};
use crate::head::RequestHead;
use crate::keys::Parts;
use crate::pipeline::Serving;

/// What is noted of one request.
pub(crate) struct Notes {
    pub(crate) facts: Facts,
    /// It was drawn; nothing had gone wrong when this began.
    pub(crate) sampled: bool,
    pub(crate) decisions: Vec<Looked>,
    /// Looked at, and not decided yet.
    looked: Option<Looked>,
    /// By number of the attempt: its decision.
    of: SmallVec<[Option<u8>; 4]>,
    /// By number of the attempt: what followed.
    then: SmallVec<[(usize, Then); 2]>,
}

/// The first decision of a request of which nothing is noted yet.
pub(crate) struct First {
    pub(crate) seed: u64,
    pub(crate) decision: Decision,
}

impl Notes {
    fn new(context: &Context, head: &RequestHead, sampled: bool) -> Box<Self> {
        Box::new(Self {
            facts: Facts::of(&Parts { context, head }),
            sampled,
            // Most have one.
            decisions: Vec::with_capacity(1),
            looked: None,
            of: SmallVec::new(),
            then: SmallVec::new(),
        })
    }

    /// Begins with a request of the sample; none of any other one.
    #[inline]
    pub(crate) fn sample(
        context: &Context,
        head: &RequestHead,
        policy: Option<&Explain>,
    ) -> Option<Box<Self>> {
        let policy = policy?;
        let draw = context.worker.rng.borrow_mut().u32(..);
        policy.takes(draw).then(|| Self::new(context, head, true))
    }

    /// A look was taken.
    pub(crate) fn looked(&mut self, looked: Looked) {
        self.looked = Some(looked);
    }

    /// It was decided by the last look.
    pub(crate) fn decided(&mut self) {
        if let Some(looked) = self.looked.take()
            && self.decisions.len() < DECISIONS_MAX
        {
            self.decisions.push(looked);
        }
    }

    /// An attempt begins by the last decision.
    pub(crate) fn begins(&mut self, nth: usize) {
        let last = self.decisions.len().checked_sub(1);
        let last = last.and_then(|last| u8::try_from(last).ok());
        self.of.resize(nth, None);
        self.of.push(last);
    }

    /// What follows the attempt.
    pub(crate) fn then(&mut self, nth: usize, then: Then) {
        self.then.push((nth, then));
    }

    /// What is told of the attempt with this number, which began so long after its request.
    pub(crate) fn attempt(&self, nth: usize, tried: &Try, began: Duration) -> Attempt {
        let then = self.then.iter().rev().find(|(of, _)| *of == nth);
        Attempt {
            decision: self.of.get(nth).copied().flatten(),
            then: then.map(|(_, then)| *then),
            ..plain_attempt(tried, began)
        }
    }
}

/// An attempt of which nothing was noted.
pub(crate) fn plain_attempt(tried: &Try, began: Duration) -> Attempt {
    Attempt {
        decision: None,
        region: tried.place.region,
        endpoint: tried.endpoint.clone(),
        because: tried.place.because,
        made: match tried.made {
            MadeFor::Alone => Made::Alone,
            MadeFor::Beside(cause) => Made::Beside(cause.word()),
            MadeFor::ToResume => Made::ToResume,
        },
        began,
        connect: tried.connect,
        reused: tried.reused,
        sent: tried.sent_at.map(|sent| span(tried.began, sent)),
        took: tried.took(),
        phase: tried.phase,
        outcome: tried.outcome.map_or("abandoned", Label::word),
        status: tried.status.map(|status| status.as_u16()),
        grpc: tried.grpc,
        detail: tried.detail.as_deref().map(Into::into),
        then: None,
    }
}

impl Serving {
    /// Notes what follows: something has gone wrong.
    #[cold]
    pub(crate) fn take_notes(&mut self) {
        if self.finish.may_note() {
            let notes = Notes::new(&self.context, &self.head, false);
            self.finish.note(notes);
        }
    }

    /// What the next attempt would be, noted.
    #[cold]
    pub(crate) fn look_noting(&mut self) -> (Decision, Option<Choice>) {
        let mut rng = self.context.worker.rng.borrow_mut();
        let (decision, choice, looked) = record::look(self.upstream(), &self.ask, &mut rng);
        drop(rng);
        self.finish.looked(looked);
        (decision, choice)
    }
}

impl Finish {
    /// Notes the way on from the attempt that is told of.
    pub(crate) fn note_next(&mut self, next: &NextTry) {
        self.note_then(Then::Next(*next));
    }
}

/// The first decision as it is known, with the place to which it led.
pub(crate) fn first(first: First, tried: Option<&Try>) -> Looked {
    Looked {
        chosen: tried.map(|tried| Chosen {
            region: tried.place.region,
            because: tried.place.because,
            at: u32::try_from(tried.place.at).unwrap_or(u32::MAX),
            endpoint: tried.endpoint.clone(),
        }),
        ..Looked::unseen(first.seed, first.decision, None)
    }
}

/// The moment of the wall clock so long ago.
pub(crate) fn ago(took: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(took).unwrap_or(now)
}
