//! What was decided for one request, kept so that it can be told and made again.
//!
//! A decision is a function of what steering and balancing saw, of the request's ask and of chance. A
//! record keeps all three as they were ([`Looked`]): so [`replay`] makes the same decision bit for bit
//! with the same plan, and shows what another plan would have done of the same. What came of it, attempt
//! by attempt, stands beside; and so does what came before: what the request drew, and how it ended if
//! its route answered it, or it was refused. A record names regions by the list of its plan, which it
//! shares, and pins nothing else of it. It keeps no secrets of the request ([`Facts`]), no body, and never
//! leaves the memory of its process but as the answer to who asks there: so what residency says of a
//! request holds for what is kept of it.

mod again;
mod chance;
mod chance_told;
mod differs;
mod facts;
mod fate;
mod keep;
mod lead;
mod look;
mod replay;
mod story;
mod told;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::decision::Because;
use crate::ids::{Generation, RegionIdx};
use crate::plan::Region;
use crate::retry::{NextTry, Phase, WhyNot};
use crate::termination::Termination;

pub use chance::{Chances, Drawn, Number, Share};
pub use facts::{Facts, Recalled};
pub use fate::{Answered, Early};
pub use keep::{Records, Ring};
pub use look::{Chosen, Inputs, Looked, look};
pub use replay::{Replayed, Retold, replay};
pub use told::{Summary, Told};

/// Bytes that a record of usual size takes at most; a ring that holds so many records may hold so
/// many times this.
pub const USUAL_BYTES: usize = 4096;

/// The most decisions of one request that are kept with what they were made of, and the most at all.
pub const DECISIONS_MAX: usize = 24;

/// What was decided for one request, and what came of it.
#[derive(Debug)]
pub struct Record {
    /// The request's identity.
    pub id: Box<str>,
    /// When it came.
    pub at: SystemTime,
    /// The plan that decided; 0 if there was none.
    pub generation: Generation,
    /// The hash of that plan's content.
    pub content_hash: Arc<str>,
    /// The regions of that plan.
    pub regions: Arc<[Region]>,
    /// What is known of the request; none if it failed when its head had been let go of already.
    pub facts: Option<Facts>,
    /// Which route it took, to which upstream; none if it came to neither.
    pub way: Option<Way>,
    /// What its route leaves to chance, and the numbers by which that went. None: nothing.
    pub chances: Option<Arc<Chances>>,
    /// The numbers that it drew.
    pub drawn: Drawn,
    /// How it ended before any region was looked at; none of a request that was sent on, given an
    /// injected error, or that no route matches.
    pub early: Option<Early>,
    /// Whether it was recorded by chance, not for how it ended.
    pub sampled: bool,
    /// Its decisions, in their order.
    pub decisions: Vec<Looked>,
    /// Its attempts, in the order in which they began.
    pub attempts: Box<[Attempt]>,
    /// How it ended.
    pub end: End,
}

/// Which way a request took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The route's name.
    pub route: Arc<str>,
    /// The upstream; none if the route answered by itself, or refused the request.
    pub through: Option<Through>,
    /// The jurisdictions that the route allows; empty without a rule.
    pub residency: Box<[Arc<str>]>,
}

/// The upstream that a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// Its name.
    pub upstream: Arc<str>,
    /// The policy by which its regions are ordered.
    pub steering: &'static str,
    /// The policy by which an endpoint is chosen.
    pub balance: &'static str,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The number of its decision in the record; none if that was not kept.
    pub decision: Option<u8>,
    /// Its region.
    pub region: RegionIdx,
    /// Its endpoint's address.
    pub endpoint: Arc<str>,
    /// Why there.
    pub because: Because,
    /// What it was made for.
    pub made: Made,
    /// When it began, from the request's arrival.
    pub began: Duration,
    /// How long it took to connect; none if it used a connection that was there, or got none.
    pub connect: Option<Duration>,
    /// Whether its connection had been used before.
    pub reused: bool,
    /// When it had sent the whole request, from its beginning.
    pub sent: Option<Duration>,
    /// How long it took until its head arrived or it failed.
    pub took: Duration,
    /// How far it got.
    pub phase: Phase,
    /// How it ended, in one word.
    pub outcome: &'static str,
    /// The status that it answered with.
    pub status: Option<u16>,
    /// The code of gRPC that it failed with.
    pub grpc: Option<u8>,
    /// What went wrong, in words.
    pub detail: Option<Box<str>>,
    /// What followed from its failure.
    pub then: Option<Then>,
}

/// What an attempt is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// To be the only one.
    #[default]
    Alone,
    /// To run beside another: a hedge, for this reason.
    Beside(&'static str),
    /// To continue an answer that broke.
    ToResume,
}

/// What follows from an attempt's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another one, that way.
    Next(NextTry),
    /// None.
    Stop(WhyNot),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its termination reason.
    pub reason: Termination,
    /// The status that its client got.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// When the answer's head went to the client, from the arrival.
    pub first_byte: Option<Duration>,
    /// Whether it was answered because of a later attempt.
    pub rescued: bool,
    /// Why no other attempt was made.
    pub why_not: Option<&'static str>,
}

impl Record {
    /// Whether its client did not get what it had asked for: an answer that was owed did not arrive, or
    /// the request was refused, or given an injected error.
    pub fn failed(&self) -> bool {
        !matches!(
            self.end.reason,
            Termination::Completed
                | Termination::Tunnelled
                | Termination::DrainedHome
                | Termination::Redirected
                | Termination::Responded
        )
    }

    /// Bytes that it takes, but for what it shares with its plan.
    pub fn bytes(&self) -> usize {
        let decisions: usize = self.decisions.iter().map(Looked::heap_bytes).sum();
        let details = self.attempts.iter().filter_map(|one| one.detail.as_ref());
        let details: usize = details.map(|detail| detail.len()).sum();
        size_of::<Self>()
            + self.id.len()
            + self.facts.as_ref().map_or(0, Facts::heap_bytes)
            + self.early.as_ref().map_or(0, Early::heap_bytes)
            + self.decisions.capacity() * size_of::<Looked>()
            + decisions
            + size_of_val(&*self.attempts)
            + details
    }

    /// The upstream that it went to.
    pub fn through(&self) -> Option<&Through> {
        self.way.as_ref()?.through.as_ref()
    }

    /// The name of a region of its plan; `?` of one that it did not have.
    pub fn region(&self, region: RegionIdx) -> &str {
        self.regions
            .get(region.get())
            .map_or("?", |region| &region.name)
    }
}
