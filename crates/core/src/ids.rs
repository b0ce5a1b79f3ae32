//! Indices into one [`Plan`](crate::Plan), and sets of them.
//!
//! Names are resolved once, when a plan is compiled. From then on a region is a small integer and
//! a set of regions is a bit mask, so that eligibility on the hot path is one `and`.

use std::fmt;

/// The most regions that one configuration may name: the width of a [`RegionSet`].
pub const MAX_REGIONS: usize = 32;

/// Index of a region in [`Plan::regions`](crate::Plan::regions). Below [`MAX_REGIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionIdx(pub u8);

/// Index of an upstream in [`Plan::upstreams`](crate::Plan::upstreams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamIdx(pub u16);

/// Index of a route, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteIdx(pub u32);

/// Number of an activated plan. Counts up from 1 within one process; 0 is "never activated".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl RegionIdx {
    /// The index as an array subscript.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl UpstreamIdx {
    /// The index as an array subscript.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl RouteIdx {
    /// The index as an array subscript.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// A set of regions of one plan. Empty by default.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RegionSet(u32);

impl RegionSet {
    /// Every region that a plan can have.
    pub const ALL: Self = Self(u32::MAX);
    /// No region.
    pub const EMPTY: Self = Self(0);

    /// Adds `region`; adding twice changes nothing.
    pub fn insert(&mut self, region: RegionIdx) {
        self.0 |= 1 << region.0;
    }

    /// Whether `region` is in the set.
    pub fn contains(self, region: RegionIdx) -> bool {
        self.0 & (1 << region.0) != 0
    }

    /// Whether the set has no region.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many regions the set has.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The members of both sets.
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members that `other` does not have.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// How many members have a lower index than `region`, which need not be one.
    pub fn rank(self, region: RegionIdx) -> usize {
        (self.0 & ((1 << region.0) - 1)).count_ones() as usize
    }

    /// The members, lowest index first.
    pub fn iter(self) -> impl Iterator<Item = RegionIdx> {
        (0..MAX_REGIONS as u8)
            .map(RegionIdx)
            .filter(move |region| self.contains(*region))
    }
}

impl FromIterator<RegionIdx> for RegionSet {
    fn from_iter<I: IntoIterator<Item = RegionIdx>>(regions: I) -> Self {
        regions.into_iter().fold(Self::EMPTY, |mut set, region| {
            set.insert(region);
            set
        })
    }
}

impl fmt::Debug for RegionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|region| region.0))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_inserted() {
        let set: RegionSet = [RegionIdx(0), RegionIdx(31), RegionIdx(0)]
            .into_iter()
            .collect();
        assert_eq!(set.len(), 2);
        assert!(set.contains(RegionIdx(31)) && !set.contains(RegionIdx(30)));
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [RegionIdx(0), RegionIdx(31)]
        );
        let rank = |region| set.rank(RegionIdx(region));
        assert_eq!([0, 1, 31].map(rank), [0, 1, 1]);
        assert!(RegionSet::EMPTY.is_empty() && RegionSet::ALL.len() == MAX_REGIONS);
    }
}
