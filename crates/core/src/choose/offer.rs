//! What regions are told of an attempt's way to its place, once it begins there.
//!
//! A decision tells nobody anything: many are made that no attempt follows. So a choice carries along
//! which regions shed the attempt, and whether the one that takes it could have done so.

use crate::cell::InFlight;
use crate::choose::Ask;
use crate::decision::{Because, Decision};
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
    /// The offer of an attempt that is made by `decision` in the region at `position`, `because` of this.
    pub(super) fn of(decision: &Decision, ask: &Ask, position: u8, because: Because) -> Self {
        let pinned = matches!(
            because,
            Because::Affinity | Because::Override | Because::Stay
        );
        let isolated = ask.isolation != Isolation::Off && ask.tried_regions.is_empty();
        if pinned || isolated {
            return Self {
                shed: 0,
                bound: true,
            };
        }
        let candidates = decision.candidates.iter();
        let shed =
            candidates.filter(|one| one.because == Because::Shed && one.position != position);
        Self {
            shed: shed.fold(0, |shed, one| shed | 1 << one.position),
            bound: false,
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
