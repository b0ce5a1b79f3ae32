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

impl RequestId {
    /// Of what is no request of its own.
    pub(crate) const NONE: Self = Self::Made([b'0'; 32]);

    /// A new one.
    pub(crate) fn make(rng: &mut Rng) -> Self {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half & 15)];
        let mut digits = [0; 32];
        for (two, byte) in digits.chunks_exact_mut(2).zip(rng.u128(..).to_le_bytes()) {
            two[0] = digit(byte);
            two[1] = digit(byte >> 4);
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
