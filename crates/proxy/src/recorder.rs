//! What is noted of a request while it runs, so that its decisions can be told and made again.
//!
//! A request that is of the sample is noted from its beginning; any other one only once something goes
//! wrong with it: then what its first decision was made of is gone, and the record says so. So a request
//! to which nothing happens costs a look at its lot, and a copy of its decision. One that its route
//! answers, or that is refused before it has an upstream, is noted if it is of the sample: it costs the
//! look alone. What is noted becomes a record when the request ends, in the ring of its worker.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;
use tidegate_core::decision::Decision;
use tidegate_core::plan::{Explain, Region, Route};
use tidegate_core::record::{
    Attempt, Chosen, DECISIONS_MAX, Drawn, Early, Facts, Looked, Made, Then,
};
use tidegate_core::retry::NextTry;
use tidegate_core::{Choice, Generation, Lot, Termination, record};
use tidegate_telemetry::labels::Label;

use crate::clock::span;
use crate::context::Context;
use crate::finish::{Finish, Made as MadeFor, Try};
use crate::head::RequestHead;
use crate::held::HeldRoute;
use crate::keys::Parts;
use crate::mirror;
use crate::pipeline::Serving;
use crate::problem::Refusal;
use crate::worker::Bound;

/// What is noted of one request.
pub(crate) struct Notes {
    /// None: what came could not be read as a request.
    pub(crate) facts: Option<Facts>,
    /// It was drawn; nothing had gone wrong when this began.
    pub(crate) sampled: bool,
    pub(crate) drawn: Drawn,
    /// How it ended, if no region was looked at for it.
    pub(crate) early: Option<Early>,
    /// How far it got, if it was refused.
    pub(crate) met: Option<Refused>,
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

/// How far a request got that is refused.
pub(crate) enum Met {
    /// No route of this plan takes it.
    Plan(Rc<Bound>),
    /// This one takes it.
    Route(Rc<HeldRoute>),
}

/// The plan that refused a request, and the route that did. It does not keep the plan.
pub(crate) struct Refused {
    pub(crate) by: Decider,
    pub(crate) route: Option<Rc<HeldRoute>>,
}

/// The plan that decided, as a record names it.
pub(crate) struct Decider {
    pub(crate) generation: Generation,
    pub(crate) content_hash: Arc<str>,
    pub(crate) regions: Arc<[Region]>,
}

impl Met {
    /// What is recorded of the requests of its plan.
    pub(crate) fn policy(&self) -> Option<Explain> {
        match self {
            Self::Plan(bound) => bound.live.plan.explain,
            Self::Route(route) => route.explain,
        }
    }

    /// What is noted of a request that is refused so, in these words. `head`: none if it could not be
    /// read.
    pub(crate) fn notes(
        self,
        context: &Context,
        head: Option<&RequestHead>,
        lot: Lot,
        refusal: &Refusal,
    ) -> Box<Notes> {
        let route = match &self {
            Self::Plan(_) => None,
            Self::Route(route) => Some(&*route.route),
        };
        let nowhere = refusal.termination == Termination::NoRoute;
        let words = (!nowhere).then(|| Early::Refused(refusal.said().into()));
        let mut notes = match head {
            Some(head) => Notes::new(&Parts { context, head }, route, lot, false),
            None => Notes::late(Drawn::unseen(lot, None)),
        };
        notes.early = words;
        notes.met = Some(self.into());
        notes
    }
}

impl From<Met> for Refused {
    fn from(met: Met) -> Self {
        match met {
            Met::Plan(bound) => Self {
                by: Decider {
                    generation: bound.generation(),
                    content_hash: bound.live.plan.content_hash.clone(),
                    regions: bound.live.plan.regions.clone(),
                },
                route: None,
            },
            Met::Route(route) => Self {
                by: Decider::of(&route),
                route: Some(route),
            },
        }
    }
}

impl Decider {
    /// The plan of a route.
    pub(crate) fn of(route: &HeldRoute) -> Self {
        Self {
            generation: route.generation,
            content_hash: route.content_hash.clone(),
            regions: route.regions.clone(),
        }
    }

    /// There was none.
    pub(crate) fn nobody() -> Self {
        Self {
            generation: Generation::default(),
            content_hash: "".into(),
            regions: [].into(),
        }
    }
}

impl Notes {
    /// Begins with a request that takes this route, if any takes it.
    pub(crate) fn new(
        parts: &Parts<'_>,
        route: Option<&Route>,
        lot: Lot,
        sampled: bool,
    ) -> Box<Self> {
        let facts = Facts::of(parts);
        let copyable = mirror::may_be_copied(parts.head);
        let drawn = Drawn::of(lot, route, parts, copyable);
        let early = route.and_then(|route| Early::of(route, &facts));
        let mut notes = Self::with(Some(facts), drawn, sampled);
        notes.early = early;
        notes
    }

    /// Of a request whose head is gone.
    pub(crate) fn late(drawn: Drawn) -> Box<Self> {
        Self::with(None, drawn, false)
    }

    fn with(facts: Option<Facts>, drawn: Drawn, sampled: bool) -> Box<Self> {
        Box::new(Self {
            facts,
            sampled,
            drawn,
            early: None,
            met: None,
            // Most have one.
            decisions: Vec::with_capacity(1),
            looked: None,
            of: SmallVec::new(),
            then: SmallVec::new(),
        })
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
            let parts = Parts {
                context: &self.context,
                head: &self.head,
            };
            let route = Some(self.route());
            let notes = Notes::new(&parts, route, self.finish.lot(), false);
            self.finish.note(notes);
        }
    }

    /// What the next attempt would be, noted.
    #[cold]
    pub(crate) fn look_noting(&mut self, decision: &mut Decision) -> Option<Choice> {
        let mut rng = self.context.worker.rng.borrow_mut();
        let (decided, choice, looked) = record::look(self.upstream(), &self.ask, &mut rng);
        drop(rng);
        *decision = decided;
        self.finish.looked(looked);
        choice
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
