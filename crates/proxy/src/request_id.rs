//! The identity of a request, on its way through everything.

use std::rc::Rc;

use fastrand::Rng;

/// The longest identity that is taken over from a trusted client, in bytes.
const LONGEST: usize = 128;

/// The value of `X-Request-Id`: 32 lower-case hexadecimal digits, or what a trusted client gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// Drawn here.
    Made([u8; 32]),
    /// Taken over.
    Given(Rc<str>),
}

/// The lower half of every byte.
const HALVES: u64 = 0x0F0F_0F0F_0F0F_0F0F;
const ONES: u64 = 0x0101_0101_0101_0101;

/// Eight numbers below 16, one in each byte, as digits.
fn hexadecimal(numbers: u64) -> u64 {
    const BEFORE_LETTERS: u64 = (b'a' - b'0' - 10) as u64;
    let letters = (numbers + ONES * 6) >> 4 & ONES;
    numbers + ONES * u64::from(b'0') + letters * BEFORE_LETTERS
}

impl RequestId {
    /// Of what is no request of its own.
    pub(crate) const NONE: Self = Self::Made([b'0'; 32]);

    /// A new one.
    pub(crate) fn make(rng: &mut Rng) -> Self {
        let (first, second) = (rng.u64(..), rng.u64(..));
        let mut digits = [0; 32];
        let eights = digits.as_chunks_mut().0.iter_mut();
        for (eight, drawn) in eights.zip([first, first >> 4, second, second >> 4]) {
            *eight = hexadecimal(drawn & HALVES).to_le_bytes();
        }
        Self::Made(digits)
    }

    /// What a trusted client gave, if it is of a form that can be logged: 1 to 128 visible
    /// characters.
    pub(crate) fn given(value: &str) -> Option<Self> {
        let fits = (1..=LONGEST).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self::Given(value.into()))
    }

    /// The identity as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Made(digits) => digits,
            Self::Given(given) => given.as_bytes(),
        }
    }

    /// The identity as text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Made(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Self::Given(given) => given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_digit() {
        for number in 0..16 {
            let digit = char::from_digit(number, 16).expect("a digit");
            let eight = hexadecimal(ONES * u64::from(number)).to_le_bytes();
            assert_eq!(eight, [digit as u8; 8]);
        }
    }

    #[test]
    fn identities_are_made_or_taken_over_if_they_can_be_logged() {
        let mut rng = Rng::with_seed(1);
        let (a, b) = (RequestId::make(&mut rng), RequestId::make(&mut rng));
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 32);
        assert_eq!(RequestId::given("abc-1").unwrap().as_str(), "abc-1");
        for bad in ["", "a b", "a\nb", "é", &"x".repeat(129)] {
            assert_eq!(RequestId::given(bad), None, "{bad:?}");
        }
    }
}
