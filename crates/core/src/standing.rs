//! How a region stands: what is believed of it, and how much of its share it takes.
//!
//! Health says whether a region works. A region that comes back works, and still must not take
//! everything at once; one that has fallen silent may work, and still gets nothing new while that is
//! found out. Both are told by its standing, which is one word, so that a decision never sees half of
//! a change.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

use crate::health::Health;

/// The standing of one region of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What is believed of it.
    pub health: Health,
    /// It has fallen silent, and whether it is down is being found out: new attempts go there only
    /// if nothing else is left.
    pub suspected: bool,
    /// It comes back and is being tried: only attempts that may be repeated elsewhere go there, as
    /// many as the dial lets.
    pub probation: bool,
    /// The part of its share that it takes.
    pub dial: Dial,
}

/// A part of a region's share, 0 to 1, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dial(u32);

impl Dial {
    /// The whole share.
    pub const FULL: Self = Self(Self::PARTS);
    /// Nothing.
    pub const NONE: Self = Self(0);

    const PARTS: u32 = 1_000_000;

    /// The dial at `share`, which is held between 0 and 1; what is no number is 0.
    pub fn new(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * f64::from(Self::PARTS)).round() as u32)
    }

    /// 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(Self::PARTS)
    }

    /// From millionths; more than all of them is all.
    pub(crate) fn from_parts(parts: u32) -> Self {
        Self(parts.min(Self::PARTS))
    }

    /// In millionths.
    pub(crate) fn parts(self) -> u32 {
        self.0
    }

    /// Whether an attempt passes for which `draw` was drawn evenly from 0 to 1, 1 excluded.
    pub fn passes(self, draw: f64) -> bool {
        self == Self::FULL || draw < self.share()
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dial({})", self.share())
    }
}

impl Serialize for Dial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.share())
    }
}

impl Standing {
    /// Nothing is known of it, and nothing speaks against it.
    pub const UNKNOWN: Self = Self::full(Health::Unknown);

    /// It takes all of its share, as far as its health lets it.
    pub const fn full(health: Health) -> Self {
        Self {
            health,
            suspected: false,
            probation: false,
            dial: Dial::FULL,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.dial.0)
            | u64::from(self.health as u8) << 32
            | u64::from(self.suspected) << 40
            | u64::from(self.probation) << 41
    }

    fn unpack(word: u64) -> Self {
        Self {
            health: Health::from_u8((word >> 32) as u8),
            suspected: word & 1 << 40 != 0,
            probation: word & 1 << 41 != 0,
            dial: Dial(word as u32),
        }
    }
}

/// A [`Standing`] that threads share.
#[derive(Debug)]
pub(crate) struct AtomicStanding(AtomicU64);

impl Default for AtomicStanding {
    fn default() -> Self {
        Self(AtomicU64::new(Standing::UNKNOWN.pack()))
    }
}

impl AtomicStanding {
    pub(crate) fn load(&self) -> Standing {
        Standing::unpack(self.0.load(Ordering::Relaxed))
    }

    /// Puts `standing` in place; returns what was there.
    pub(crate) fn swap(&self, standing: Standing) -> Standing {
        Standing::unpack(self.0.swap(standing.pack(), Ordering::Relaxed))
    }

    /// Changes the health alone; returns what it was.
    pub(crate) fn swap_health(&self, health: Health) -> Health {
        let change = |word| {
            let standing = Standing::unpack(word);
            Some(Standing { health, ..standing }.pack())
        };
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        Standing::unpack(before.unwrap_or_else(|word| word)).health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_survives_its_word() {
        let check = |health, suspected, probation, dial| {
            let standing = Standing {
                health,
                suspected,
                probation,
                dial: Dial::new(dial),
            };
            let cell = AtomicStanding::default();
            assert_eq!(cell.swap(standing), Standing::UNKNOWN);
            assert_eq!(cell.load(), standing);
            assert_eq!(cell.swap_health(Health::Draining), health);
            let health = Health::Draining;
            assert_eq!(cell.load(), Standing { health, ..standing });
        };
        check(Health::Healthy, false, false, 1.0);
        check(Health::Unhealthy, true, false, 0.0);
        check(Health::Degraded, false, true, 0.01);
        check(Health::Unknown, true, true, 0.123_456);
    }

    #[test]
    fn a_dial_passes_its_share() {
        let check = |share, draw, passes| {
            assert_eq!(Dial::new(share).passes(draw), passes, "{share} {draw}");
        };
        check(1.0, 0.999_999_999, true);
        check(0.0, 0.0, false);
        check(0.01, 0.009_9, true);
        check(0.01, 0.01, false);
        check(7.0, 0.999, true);
        check(f64::NAN, 0.0, false);
        assert!(Dial::new(1e-4).share() > 0.9e-4);
    }
}
