//! A request's lot: the one number that chance gives it before any region is looked at.
//!
//! Whatever is left to chance until then is reckoned from it, each thing apart from the others: whether
//! the request is of the sample, which upstream of a split it goes to, whether it meets a fault, whether
//! it is copied. So a record keeps one number to make all of it again, and a plan that leaves one thing
//! more to chance decides the others as before. Regions and endpoints have a generator of their own, as
//! they may draw any number of times.

use fastrand::Rng;

use crate::hash::{mixed, unit};

/// The step of SplitMix64: the golden ratio in 64 bits. Its outputs from any state on are as good as drawn
/// one by one.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The number that a request drew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lot(u64);

impl Lot {
    /// Draws one.
    #[inline]
    pub fn draw(rng: &mut Rng) -> Self {
        Self(rng.u64(..))
    }

    /// The lot of this number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Decides whether the request is of the sample: evenly from all values.
    #[inline]
    pub fn sample(self) -> u32 {
        (self.nth(1) >> 32) as u32
    }

    /// Decides which upstream of a split it goes to, unless a part of the request does.
    pub fn split(self) -> u64 {
        self.nth(2)
    }

    /// Decides whether it is made to wait: evenly from 0 up to 1, 1 excluded.
    pub fn delay(self) -> f64 {
        unit(self.nth(3))
    }

    /// Decides whether it is answered with an injected error: evenly from 0 up to 1, 1 excluded.
    pub fn abort(self) -> f64 {
        unit(self.nth(4))
    }

    /// Decides whether it is copied: evenly from 0 up to 1, 1 excluded.
    pub fn mirror(self) -> f64 {
        unit(self.nth(5))
    }

    #[inline]
    fn nth(self, nth: u64) -> u64 {
        mixed(self.0.wrapping_add(STEP.wrapping_mul(nth)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        // SplitMix64 from state 1234567, its first outputs.
        let lot = Lot::new(1_234_567);
        assert_eq!(lot.nth(1), 6_457_827_717_110_365_317);
        assert_eq!(lot.nth(2), 3_203_168_211_198_807_973);
        assert_eq!(lot.nth(3), 9_817_491_932_198_370_423);
        assert_eq!(lot.split(), lot.nth(2));
    }

    #[test]
    fn one_thing_says_nothing_of_another() {
        let mut rng = Rng::with_seed(7);
        let sampled = |lot: &Lot| lot.sample() < u32::MAX / 100;
        let lots = std::iter::repeat_with(|| Lot::draw(&mut rng)).filter(sampled);
        let lots: Vec<Lot> = lots.take(4_000).collect();
        let check = |what: &str, is: &dyn Fn(&Lot) -> bool| {
            let count = lots.iter().filter(|lot| is(lot)).count();
            assert!(count.abs_diff(2_000) < 200, "{what}: {count}");
        };
        check("split", &|lot| lot.split() < u64::MAX / 2);
        check("delay", &|lot| lot.delay() < 0.5);
        check("abort", &|lot| lot.abort() < 0.5);
        check("mirror", &|lot| lot.mirror() < 0.5);
        check("two", &|lot| (lot.delay() < 0.5) == (lot.abort() < 0.5));
    }
}
