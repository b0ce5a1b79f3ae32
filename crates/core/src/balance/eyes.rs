//! How a pick looks at what is observed of endpoints.
//!
//! A pick is a function of the set, of what it sees of the set's endpoints and of chance. Everything
//! that threads change meanwhile it sees through here, one number at a time, so that what one pick saw
//! can be kept, in the order in which it saw it, and shown again to the same code: then it picks the
//! same endpoint, whatever has become of the endpoints. Who serves looks with [`Direct`], which costs
//! nothing.

use std::cell::{Cell, RefCell};

use smallvec::SmallVec;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Sight {
    /// The version of the set of the region at this position; what follows is of this set.
    Set,
    /// Whether sums over the set are current.
    Ground,
    /// Whether an endpoint may take the attempt.
    Room,
    /// Whether an endpoint is at its bound.
    Full,
    /// The part of its weight that an endpoint takes. Bits of `f64`.
    Part,
    /// Attempts under way at an endpoint.
    InFlight,
    /// What an attempt at an endpoint is expected to cost. Bits of `f64`.
    Cost,
    /// How long an answer of an endpoint is expected to take, in microseconds. Bits of `f64`.
    Expected,
    /// The weight that the endpoints before this one take.
    Sum,
    /// The endpoint that a part of the weight falls to.
    Holder,
    /// The weight that a zone takes. Bits of `f64`.
    Weight,
    /// The part of the load that a zone takes. Bits of `f64`.
    Load,
    /// The zone that a draw falls to.
    Zone,
    /// Attempts under way in the region.
    RegionInFlight,
    /// Whose turn is next.
    Turn,
    /// How many findings of probes there are; `u64::MAX` while somebody else looks at them.
    Found,
    /// The endpoint of a finding.
    FoundAt,
    /// Whether a finding is still fresh.
    FoundFresh,
    /// What a finding says is under way. Bits of `f64`.
    FoundInFlight,
    /// What a finding says of the latency, in microseconds. Bits of `f64`.
    FoundLatency,
    /// Whether it says nothing of it.
    FoundGuessed,
}

/// One number that a pick saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it looked at.
    pub sight: Sight,
    /// Of what: a position in the set for endpoints, a number otherwise.
    pub of: u32,
    /// What it saw.
    pub value: u64,
}

impl Sight {
    /// Whether it is of one endpoint, at a position of the set.
    pub fn is_of_endpoint(self) -> bool {
        matches!(
            self,
            Self::Room | Self::Full | Self::Part | Self::InFlight | Self::Cost | Self::Expected
        )
    }

    /// Whether the number is the bits of one with a fraction.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Part
                | Self::Cost
                | Self::Expected
                | Self::Weight
                | Self::Load
                | Self::FoundInFlight
                | Self::FoundLatency
        )
    }
}

/// Looks for a pick.
pub trait Eyes {
    /// What there is to see of the one numbered `of`; `live` looks at it now.
    fn see(&self, sight: Sight, of: usize, live: impl FnOnce() -> u64) -> u64;

    /// The same of what is true or false.
    fn is(&self, sight: Sight, of: usize, live: impl FnOnce() -> bool) -> bool {
        self.see(sight, of, || u64::from(live())) != 0
    }

    /// The same of a number with a fraction.
    fn part(&self, sight: Sight, of: usize, live: impl FnOnce() -> f64) -> f64 {
        f64::from_bits(self.see(sight, of, || live().to_bits()))
    }
}

/// Sees what is there now, and keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Eyes for Direct {
    #[inline(always)]
    fn see(&self, _: Sight, _: usize, live: impl FnOnce() -> u64) -> u64 {
        live()
    }
}

/// The most numbers that are kept of one choice. Sets of which hardly anything is open are looked at
/// as a whole; what was seen after that many is not kept, and such a choice cannot be made again.
pub const SEEN_MAX: usize = 512;

/// Sees what is there now, and keeps it.
#[derive(Debug, Default)]
pub struct Notes {
    seen: RefCell<SmallVec<[Seen; 16]>>,
    overflown: Cell<bool>,
}

impl Notes {
    /// What was seen, in its order; none if that was too much to keep.
    pub fn into_seen(self) -> Option<Box<[Seen]>> {
        let seen = self.seen.into_inner();
        (!self.overflown.get()).then(|| seen.as_slice().into())
    }
}

impl Eyes for Notes {
    fn see(&self, sight: Sight, of: usize, live: impl FnOnce() -> u64) -> u64 {
        let value = live();
        let mut seen = self.seen.borrow_mut();
        match seen.len() < SEEN_MAX {
            true => seen.push(Seen {
                sight,
                of: u32::try_from(of).unwrap_or(u32::MAX),
                value,
            }),
            false => self.overflown.set(true),
        }
        value
    }
}

/// Sees again what was seen, in the same order.
#[derive(Debug)]
pub struct Again<'a> {
    seen: &'a [Seen],
    next: Cell<usize>,
    strayed: Cell<bool>,
}

impl<'a> Again<'a> {
    /// Sees this.
    pub fn new(seen: &'a [Seen]) -> Self {
        Self {
            seen,
            next: Cell::new(0),
            strayed: Cell::new(false),
        }
    }

    /// Whether everything was looked at again, in its order, and nothing else.
    pub fn kept_to_it(&self) -> bool {
        !self.strayed.get() && self.next.get() == self.seen.len()
    }
}

impl Eyes for Again<'_> {
    fn see(&self, sight: Sight, of: usize, live: impl FnOnce() -> u64) -> u64 {
        let at = self.next.get();
        let same = |seen: &&Seen| seen.sight == sight && seen.of as usize == of;
        match self.seen.get(at).filter(same) {
            Some(seen) => {
                self.next.set(at + 1);
                seen.value
            }
            None => {
                self.strayed.set(true);
                live()
            }
        }
    }
}
