//! What is kept of decisions, so that they can be told and made again.

/// How many requests' decisions are recorded, and how many records are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explain {
    share: f64,
    /// The share of all values of a `u32`: from 0 to 2^32.
    threshold: u64,
    /// Records that are kept, by all workers together. At least 1.
    pub keep: u32,
}

impl Explain {
    /// Records this share of the requests (held between 0 and 1; what is no number is 0), beside every
    /// one that fails or needs more than one attempt, and keeps so many records.
    pub fn new(share: f64, keep: u32) -> Self {
        let share = if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        };
        Self {
            share,
            threshold: (share * 2f64.powi(32)).round() as u64,
            keep: keep.max(1),
        }
    }

    /// The share of requests that are recorded whatever becomes of them, 0 to 1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Whether a request is of that share, for which `draw` was drawn evenly from all of its values.
    pub fn takes(&self, draw: u32) -> bool {
        u64::from(draw) < self.threshold
    }
}

impl Default for Explain {
    /// One request in a thousand, and ten thousand records.
    fn default() -> Self {
        Self::new(0.001, 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_from_nothing_to_all() {
        let check = |share, draw, takes| {
            assert_eq!(Explain::new(share, 1).takes(draw), takes, "{share} {draw}");
        };
        check(0.0, 0, false);
        check(f64::NAN, 0, false);
        check(1.0, u32::MAX, true);
        check(7.0, u32::MAX, true);
        check(0.5, u32::MAX / 2, true);
        check(0.5, u32::MAX / 2 + 1, false);
        check(0.01, 42_949_672, true);
        check(0.01, 42_949_673, false);
    }
}
