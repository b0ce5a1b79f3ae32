//! How regions stand for one attempt, best first.
//!
//! A rank is no exclusion: an answer is worth more than a share, so whoever is held back, dialed down
//! or full still serves when nobody better does.

use arrayvec::ArrayVec;

use super::draw::Purpose;
use super::{Group, Round};
use crate::decision::{Because, RegionRow};
use crate::health::Health;
use crate::ids::MAX_REGIONS;
use crate::standing::{Dial, Standing};

/// How a region stands for one attempt, best first. What is beyond its capacity is found out later, as
/// regions are asked in their order, and ranks behind `DialedDown`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Fit,
    Degraded,
    /// Before what is held back: while the first region ramps up, its standby carries the rest.
    Standby,
    HeldBack,
    DialedDown,
    Suspected,
    Panic,
}

pub(super) const RANKS: [Rank; 7] = [
    Rank::Fit,
    Rank::Degraded,
    Rank::Standby,
    Rank::HeldBack,
    Rank::DialedDown,
    Rank::Suspected,
    Rank::Panic,
];

impl Rank {
    /// The rank of a region that may take the attempt.
    pub(super) fn of(row: &RegionRow, round: &mut Round<'_>) -> Self {
        let standing = row.standing;
        match () {
            () if !standing.health.usable() || row.endpoints == 0 => Self::Panic,
            () if standing.suspected => Self::Suspected,
            // The worse of two reasons counts, or to be held back would be worth something.
            () if round.spills && !round.draws.passes(row.dial, row, Purpose::Dial) => {
                Self::DialedDown
            }
            () if standing.probation && !round.eligibility.repeatable => Self::HeldBack,
            () if !round.draws.passes(standing.dial, row, Purpose::Ramp) => Self::HeldBack,
            () if row.standby && row.preferred.is_none() => Self::Standby,
            () if standing.health == Health::Degraded && !is_lesser(row) => Self::Degraded,
            () => Self::Fit,
        }
    }

    /// Whether a region of this rank takes part in what a tier carries.
    pub(super) fn serves(self) -> bool {
        self <= Self::Standby
    }

    /// What is told of a candidate of this rank that stands thus; `policy` is what the policy says.
    pub(super) fn because(self, standing: Standing, policy: Because) -> Because {
        match self {
            Self::Panic => Because::Panic,
            Self::Suspected => Because::Suspected,
            Self::HeldBack => Because::HeldBack,
            Self::DialedDown => Because::DialedDown,
            _ if standing.probation => Because::Probation,
            _ if standing.dial != Dial::FULL => Because::Ramp,
            Self::Standby => Because::Standby,
            Self::Degraded => Because::Degraded,
            Self::Fit => policy,
        }
    }
}

/// Whether a degraded region takes a part all the same: some of its endpoints are well, or it is only
/// being left. What is not of that part is shed.
fn is_lesser(row: &RegionRow) -> bool {
    row.healthy > Dial::NONE && row.healthy < Dial::FULL
}

/// The eligible regions of one attempt, in the plan's order.
pub(super) struct Open<'a> {
    pub(super) rows: Group<'a>,
    pub(super) ranks: ArrayVec<Rank, MAX_REGIONS>,
    /// Nothing is to be said of any of them but what the policy says: the usual case.
    pub(super) plain: bool,
}

impl Default for Open<'_> {
    fn default() -> Self {
        Self {
            rows: Group::new(),
            ranks: ArrayVec::new(),
            plain: true,
        }
    }
}

impl<'a> Open<'a> {
    pub(super) fn push(&mut self, row: &'a RegionRow, rank: Rank) {
        self.rows.push(row);
        self.ranks.push(rank);
        let Standing {
            probation, dial, ..
        } = row.standing;
        self.plain &= rank == Rank::Fit && !probation && dial == Dial::FULL;
    }

    pub(super) fn of(&self, rank: Rank) -> impl Iterator<Item = &'a RegionRow> {
        let ranked = self.rows.iter().zip(&self.ranks);
        ranked.filter_map(move |(row, its)| (*its == rank).then_some(*row))
    }
}
