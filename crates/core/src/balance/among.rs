//! The endpoints of one group as one attempt sees them: who is open to it, and by how much.

use std::ops::Range;

use fastrand::Rng;

use super::Seek;
use super::eyes::{Eyes, Sight};
use super::group::Group;
use crate::endpoint::EndpointSet;
use crate::limits::{Bound, Room};

/// The endpoints of one group as one attempt sees them.
pub(super) struct Among<'a, E> {
    pub(super) set: &'a EndpointSet,
    pub(super) group: &'a Group,
    pub(super) seek: &'a Seek<'a>,
    pub(super) eyes: &'a E,
    ground: Ground,
    number: usize,
}

/// What a pick goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// All are open and take all of their weight.
    Plain,
    /// Who takes how much is added up; nothing has changed since.
    Current,
    /// The same, but it is being made anew this moment.
    Old,
    /// Nobody's health counts.
    Blind,
}

impl Ground {
    /// The ground with this number in the order of the declaration; beyond it, the last.
    pub(super) fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Plain,
            1 => Self::Current,
            2 => Self::Old,
            _ => Self::Blind,
        }
    }
}

/// An endpoint that was drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    pub(super) at: usize,
    /// The parts of all that are one server's of it: those must not be drawn again.
    from: u64,
    parts: u64,
}

impl<'a, E: Eyes> Among<'a, E> {
    pub(super) fn new(
        set: &'a EndpointSet,
        number: usize,
        seek: &'a Seek<'a>,
        ground: Ground,
        eyes: &'a E,
    ) -> Self {
        Self {
            set,
            group: &set.groups()[number],
            seek,
            eyes,
            ground,
            number,
        }
    }

    /// Their positions in the set.
    pub(super) fn range(&self) -> Range<usize> {
        self.group.range()
    }

    /// Whether the one at `at` may take the attempt.
    pub(super) fn open(&self, at: usize) -> bool {
        let barred = &self.seek.barred;
        match self.ground {
            Ground::Plain => !barred.tried.contains(at) && !self.full(at),
            _ => {
                let open = || self.set.room(at, barred) == Room::Open;
                self.eyes.is(Sight::Room, at, open)
            }
        }
    }

    fn full(&self, at: usize) -> bool {
        let bound = self.seek.barred.bound;
        let fills = || bound.fills(&self.set.endpoints[at].cell);
        bound != Bound::NONE && self.eyes.is(Sight::Full, at, fills)
    }

    pub(super) fn all_open(&self) -> impl Iterator<Item = usize> {
        self.range().filter(|&at| self.open(at))
    }

    /// Whether for certain nobody is open.
    pub(super) fn is_empty(&self) -> bool {
        self.ground == Ground::Current && self.weight() == 0.0
    }

    fn weighs_whole(&self) -> bool {
        matches!(self.ground, Ground::Plain | Ground::Blind)
    }

    /// The part of its weight that the one at `at` takes, 0 to 1.
    pub(super) fn part(&self, at: usize) -> f64 {
        if self.weighs_whole() {
            return 1.0;
        }
        self.eyes.part(Sight::Part, at, || {
            let cell = &self.set.endpoints[at].cell;
            let share = cell.share().share();
            match cell.health() {
                crate::Health::Degraded => share * self.set.roll().fade(self.number),
                _ => share,
            }
        })
    }

    /// Its weight times that part; something, even if that is nothing: it is better than nobody.
    pub(super) fn weight_of(&self, at: usize) -> f64 {
        f64::from(self.set.endpoints[at].weight) * self.part(at).max(1e-6)
    }

    /// The sum of what all take that are well.
    pub(super) fn weight(&self) -> f64 {
        match self.weighs_whole() {
            true => f64::from(self.group.total_weight()),
            false => self.eyes.part(Sight::Weight, self.number, || {
                self.set.roll().weight(self.range())
            }),
        }
    }

    /// The part of all load that is theirs.
    pub(super) fn load(&self) -> f64 {
        match self.set.groups().len() {
            1 => 1.0,
            _ => self.eyes.part(Sight::Load, self.number, || {
                self.set.roll().load(self.number)
            }),
        }
    }

    /// Whether a draw by weight of the one at `at` stands; drawn for only where it takes a part.
    pub(super) fn passes(&self, at: usize, rng: &mut Rng) -> bool {
        let part = self.part(at);
        part >= 1.0 || rng.f64() < part
    }

    /// One drawn by the weight that each takes, but not the server of `held` again. None if there is no
    /// other.
    pub(super) fn draw(&self, held: Option<Drawn>, rng: &mut Rng) -> Option<Drawn> {
        match self.weighs_whole() {
            true => self.draw_whole(held, rng),
            false => self.draw_part(held, rng),
        }
    }

    fn draw_whole(&self, held: Option<Drawn>, rng: &mut Rng) -> Option<Drawn> {
        let total = self.group.total_weight();
        let share = match held {
            None => rng.u32(..total),
            Some(_) if total < 2 => return None,
            Some(held) => {
                let share = rng.u32(..total - 1);
                share + u32::from(u64::from(share) >= held.from)
            }
        };
        Some(Drawn {
            at: self.group.at_share(share),
            from: share.into(),
            parts: 1,
        })
    }

    fn draw_part(&self, held: Option<Drawn>, rng: &mut Rng) -> Option<Drawn> {
        let range = self.range();
        let (first, end) = (self.sum(range.start), self.sum(range.end));
        let held = held.unwrap_or(Drawn {
            at: 0,
            from: end,
            parts: 0,
        });
        let total = end.checked_sub(first)?.checked_sub(held.parts)?;
        if total == 0 {
            return None;
        }
        let mut part = first + rng.u64(..total);
        if part >= held.from {
            part += held.parts;
        }
        let holder = || self.set.roll().at(range, part) as u64;
        let at = self.eyes.see(Sight::Holder, 0, holder) as usize;
        let from = self.sum(at);
        let parts =
            self.sum(at + 1).saturating_sub(from) / u64::from(self.set.endpoints[at].weight);
        Some(Drawn { at, from, parts })
    }

    fn sum(&self, at: usize) -> u64 {
        self.eyes.see(Sight::Sum, at, || self.set.roll().sum(at))
    }

    /// Attempts under way at the one at `at`.
    pub(super) fn in_flight(&self, at: usize) -> u32 {
        let in_flight = || self.set.endpoints[at].cell.in_flight().into();
        self.eyes.see(Sight::InFlight, at, in_flight) as u32
    }

    /// What an attempt at the one at `at` is expected to cost, for each unit of its weight.
    pub(super) fn cost(&self, at: usize) -> f64 {
        let endpoint = &self.set.endpoints[at];
        let cost = || {
            endpoint
                .cell
                .cost_per_weight(endpoint.weight, self.seek.now)
        };
        self.eyes.part(Sight::Cost, at, cost)
    }
}
