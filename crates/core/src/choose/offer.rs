//! What regions are told of an attempt's way to its place, once it begins there.
//!
//! A decision tells nobody anything: many are made that no attempt follows. So a choice carries along
//! which regions shed the attempt, and whether the one that takes it could have done so.

use crate::cell::InFlight;
use crate::choose::Ask;
use crate::decision::Decision;
use crate::handle::LiveUpstream;
use crate::plan::Isolation;

/// How an attempt was offered to regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// Who shed it: a bit for each position. Not the region that took it in the end.
    shed: u32,
    /// Nobody was asked: it has to be where it is.
    bound: bool,
}

impl Offer {
    /// The offer of the attempt that the first candidate of `decision` takes.
    pub(super) fn of(decision: &Decision, ask: &Ask) -> Self {
        let first = decision.candidates.first();
        let isolated = ask.isolation != Isolation::Off && ask.tried_regions.is_empty();
        Self {
            shed: decision
                .shed()
                .fold(0, |shed, one| shed | 1 << one.position),
            bound: isolated || first.is_some_and(|first| first.because.is_bound()),
        }
    }

    /// Tells the regions of `upstream`, the one that takes `attempt` included.
    pub(super) fn tell(self, attempt: InFlight, upstream: &LiveUpstream) -> InFlight {
        if self == Self::default() {
            return attempt;
        }
        for (position, region) in upstream.regions.iter().enumerate() {
            if self.shed & 1 << position != 0 {
                region.cell.shed();
            }
        }
        match self.bound {
            true => attempt.bound(),
            false => attempt,
        }
    }
}
