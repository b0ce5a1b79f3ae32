//! What an affinity cookie says, signed: which region its client is bound to, or which endpoint there.
//!
//! A token is a version, which tells what follows and how long it is; XXH64 of the region's name; of
//! the endpoint's address, where that is bound too; and the first half of HMAC-SHA256 (RFC 4868
//! section 2.3 cuts it so) over all of that and the name of the upstream, so that what one upstream gave
//! is worth nothing to another. In base64url without padding (RFC 4648 section 5) that is 34 or 44
//! characters; nothing else is even looked at. Hashes are stable, so that a bond outlives restarts and
//! reloads. They are masked, as addresses of one's own network are few enough to be guessed from
//! theirs: with HMAC-SHA256 over the signature, so that no two places have the same mask (the way of
//! RFC 5297, synthetic initialisation vectors). Nobody but us reads where a client is bound.
//!
//! A token is no secret of its client: whoever copies it is bound to the same place, and whatever keeps
//! requests from a place keeps his from it too.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The kinds of tokens, by their first byte, which is never 0.
const REGION: u8 = 1;
const ENDPOINT: u8 = 2;
const HASH: usize = 8;
const TAG: usize = 16;
/// The longest token before it is base64.
const LONGEST: usize = 1 + 2 * HASH + TAG;
/// The longest token as it stands in a cookie.
pub(super) const LONGEST_TEXT: usize = (LONGEST * 8).div_ceil(6);

/// A place as a token names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// XXH64 of the region's name.
    pub(super) region: u64,
    /// XXH64 of the endpoint's address, if it is bound too.
    pub(super) endpoint: Option<u64>,
}

/// Signs and reads the tokens of one upstream.
#[derive(Debug)]
pub(super) struct Seal {
    /// The first signs, all are accepted. Never empty.
    keys: Box<[hmac::Key]>,
    upstream: Box<[u8]>,
}

impl Seal {
    /// The seal of the upstream of this name; none without a secret.
    pub(super) fn new<'a>(upstream: &str, secrets: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let keys: Box<[_]> = secrets
            .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret))
            .collect();
        (!keys.is_empty()).then(|| Self {
            keys,
            upstream: upstream.as_bytes().into(),
        })
    }

    /// The token that names this place.
    pub(super) fn sign(&self, named: Named) -> String {
        let mut token = Vec::with_capacity(LONGEST);
        token.push(named.endpoint.map_or(REGION, |_| ENDPOINT));
        token.extend_from_slice(&named.region.to_be_bytes());
        if let Some(endpoint) = named.endpoint {
            token.extend_from_slice(&endpoint.to_be_bytes());
        }
        let key = &self.keys[0];
        let tag = self.mac(key, &[&token]);
        self.mask(key, &tag.as_ref()[..TAG], &mut token[1..]);
        token.extend_from_slice(&tag.as_ref()[..TAG]);
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// What a cookie's value names; none if it is no token of this upstream.
    pub(super) fn read(&self, text: &[u8]) -> Option<Named> {
        if text.len() > LONGEST_TEXT {
            return None;
        }
        let mut bytes = [0; LONGEST];
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (masked, tag) = bytes[..length].split_at_checked(length.checked_sub(TAG)?)?;
        parse(masked)?;
        let mut keys = self.keys.iter();
        keys.find_map(|key| self.open(key, masked, tag))
    }

    /// What was said, if the tag is by this key. How long that takes tells nothing of the tag.
    fn open(&self, key: &hmac::Key, masked: &[u8], tag: &[u8]) -> Option<Named> {
        let mut said = [0; LONGEST - TAG];
        let said = &mut said[..masked.len()];
        said.copy_from_slice(masked);
        self.mask(key, tag, &mut said[1..]);
        let own = self.mac(key, &[said]);
        verify_slices_are_equal(&own.as_ref()[..TAG], tag).ok()?;
        parse(said)
    }

    /// Masks, or takes the mask off. No version is 0, so that no mask is a signature.
    fn mask(&self, key: &hmac::Key, tag: &[u8], hashes: &mut [u8]) {
        let mask = self.mac(key, &[&[0], tag]);
        let pairs = hashes.iter_mut().zip(mask.as_ref());
        pairs.for_each(|(byte, mask)| *byte ^= mask);
    }

    fn mac(&self, key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(key);
        parts.iter().for_each(|part| context.update(part));
        context.update(&self.upstream);
        context.sign()
    }
}

fn parse(said: &[u8]) -> Option<Named> {
    let (version, hashes) = said.split_first()?;
    let (hashes, rest) = hashes.as_chunks::<HASH>();
    match (*version, hashes, rest) {
        (REGION, [region], []) => Some(Named {
            region: u64::from_be_bytes(*region),
            endpoint: None,
        }),
        (ENDPOINT, [region, endpoint], []) => Some(Named {
            region: u64::from_be_bytes(*region),
            endpoint: Some(u64::from_be_bytes(*endpoint)),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &[u8] = &[7; 32];
    const NEW: &[u8] = &[9; 32];

    fn seal(upstream: &str, secrets: &[&[u8]]) -> Seal {
        Seal::new(upstream, secrets.iter().copied()).unwrap()
    }

    const REGION_ONLY: Named = Named {
        region: 0x0123_4567_89AB_CDEF,
        endpoint: None,
    };
    const BOTH: Named = Named {
        endpoint: Some(u64::MAX),
        ..REGION_ONLY
    };

    /// Made by other implementations of RFC 2104 and RFC 4648: tokens must outlive versions of us.
    #[test]
    fn tokens_are_what_they_have_always_been() {
        let seal = seal("shop", &[OLD]);
        let check = |named, text: &str| {
            assert_eq!(seal.sign(named), text);
            assert_eq!(seal.read(text.as_bytes()), Some(named));
        };
        check(REGION_ONLY, "AZ657NKjWhTCXbxN7EAyGgUEymaJZ8f4YA");
        check(BOTH, "AlxLuYllg5Newo_3KAmIpP6K5TwNbFwhf9Gdz5phnTWV");
    }

    #[test]
    fn nobody_reads_where_a_client_is_bound() {
        let seal = seal("shop", &[OLD]);
        let token = BASE64_URL_SAFE_NO_PAD.decode(seal.sign(BOTH)).unwrap();
        let hashes = [BOTH.region, u64::MAX].map(u64::to_be_bytes);
        for hash in hashes {
            assert!(!token.windows(HASH).any(|window| window == hash));
        }
    }

    #[test]
    fn a_change_of_secrets_unbinds_nobody_until_the_old_one_is_gone() {
        let check = |signed: &[&[u8]], read: &[&[u8]], expected| {
            let token = seal("shop", signed).sign(BOTH);
            let read = seal("shop", read).read(token.as_bytes());
            assert_eq!(read, expected);
        };
        check(&[OLD], &[OLD], Some(BOTH));
        check(&[OLD], &[OLD, NEW], Some(BOTH));
        check(&[OLD], &[NEW, OLD], Some(BOTH));
        check(&[NEW, OLD], &[NEW], Some(BOTH));
        check(&[OLD], &[NEW], None);
        check(&[NEW, OLD], &[OLD], None);
    }

    #[test]
    fn only_whole_tokens_of_the_same_upstream_are_read() {
        let ours = seal("shop", &[NEW, OLD]);
        let token = seal("shop", &[OLD]).sign(REGION_ONLY);
        let other = seal("shop2", &[OLD]).sign(REGION_ONLY);
        // The name of an upstream is no continuation of what a token says.
        let endpoint = seal("shop", &[OLD]).sign(BOTH);
        let check = |text: &str| assert_eq!(ours.read(text.as_bytes()), None, "{text}");
        check(&other);
        check("");
        check("A");
        check(&token[..token.len() - 1]);
        check(&token[1..]);
        check(&endpoint[..token.len()]);
        check(&format!("{token}="));
        check(&format!("{token}A"));
        check(&format!(" {token}"));
        check(&format!("\"{token}\""));
        check(&"A".repeat(LONGEST_TEXT));
        check(&"A".repeat(LONGEST_TEXT + 1));
        check(&"A".repeat(1 << 16));
        check(&token.replace(char::is_alphanumeric, "+"));
        assert_eq!(ours.read(&[0xFF; 34]), None);
    }

    proptest! {
        #[test]
        fn what_is_signed_is_read(region: u64, endpoint: Option<u64>, secret: [u8; 32]) {
            let named = Named { region, endpoint };
            let seal = seal("shop", &[NEW, &secret]);
            let token = seal.sign(named);
            prop_assert!(token.len() <= LONGEST_TEXT);
            prop_assert_eq!(seal.read(token.as_bytes()), Some(named));
        }

        /// No two texts are one token: a changed character, the unused bits of the last one included,
        /// is another signature.
        #[test]
        fn no_changed_character_passes(
            endpoint: Option<u64>,
            at in 0..LONGEST_TEXT,
            other in "[A-Za-z0-9_=+/ -]",
        ) {
            let seal = seal("shop", &[NEW]);
            let mut token = seal.sign(Named { endpoint, ..REGION_ONLY });
            let at = at % token.len();
            prop_assume!(token[at..=at] != other);
            token.replace_range(at..=at, &other);
            prop_assert_eq!(seal.read(token.as_bytes()), None);
        }

        #[test]
        fn nothing_that_was_not_signed_passes(text in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(seal("shop", &[NEW]).read(&text), None);
        }

        #[test]
        fn no_characters_of_the_alphabet_pass(text in "[A-Za-z0-9_-]{34}|[A-Za-z0-9_-]{44}") {
            prop_assert_eq!(seal("shop", &[NEW]).read(text.as_bytes()), None);
        }
    }
}
