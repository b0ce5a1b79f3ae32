//! Who chooses a region for the requests of one PoP: Tidegate's core, or a model of something else.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::InFlight;
use tidegate_core::cell::ErrorClass;
use tidegate_core::choose::Ask;

/// A request on its way.
pub(crate) struct Request {
    pub(crate) pop: usize,
    pub(crate) began: Duration,
    pub(crate) attempts: u32,
    /// What stands for the client, if it comes back.
    pub(crate) client: Option<u64>,
    /// What Tidegate remembers of it.
    pub(crate) ask: Option<Box<Ask>>,
    /// The region of the last attempt, for models that avoid it.
    pub(crate) left: Option<usize>,
}

/// Where an attempt goes.
pub(crate) struct Place {
    pub(crate) region: usize,
    pub(crate) endpoint: usize,
    /// What Tidegate counts while it lasts.
    pub(crate) in_flight: Option<InFlight>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Refused,
    /// It was turned away because the region is too full.
    TurnedAway,
    /// Nothing was heard.
    TimedOut,
    /// It was given up because its region went down.
    Left,
}

impl Failed {
    pub(crate) fn class(self) -> Option<ErrorClass> {
        match self {
            Self::Refused => Some(ErrorClass::Connect),
            Self::TimedOut => Some(ErrorClass::Timeout),
            Self::TurnedAway | Self::Left => None,
        }
    }
}

/// Chooses for the requests of one PoP.
pub(crate) trait Steerer {
    /// Where the next attempt of a request goes; none if it is lost.
    fn choose(&mut self, request: &mut Request, now: Instant, rng: &mut Rng) -> Option<Place>;

    /// An attempt failed; says whether another one is made.
    fn failed(&mut self, request: &mut Request, place: &Place, how: Failed, now: Instant) -> bool;

    /// Every 50 ms.
    fn look(&mut self, now: Instant, rng: &mut Rng);

    /// An active check of an endpoint ended.
    fn probed(&mut self, region: usize, endpoint: usize, well: bool, now: Instant);

    /// A round trip was measured.
    fn measured(&mut self, region: usize, rtt: Duration, now: Instant);

    /// Whether an attempt that waits there is given up now.
    fn leaves(&mut self, request: &Request, place: &Place, now: Instant) -> bool;

    /// So long an attempt may stay without an answer.
    fn patience(&self) -> Duration;

    /// So often each endpoint of a region is checked at this moment.
    fn probe_every(&self, region: usize, now: Instant) -> Duration;

    /// An operator dials a region.
    fn dial(&mut self, _region: usize, _to: f64) {}
}
