//! The hash that puts requests and endpoints together: XXH64, seed 0 unless said otherwise.
//!
//! It has to be the same in every process, on every machine and after every restart, or a restart
//! would move every user to another endpoint. So it is a published function with published vectors,
//! and the one that Envoy uses for the same purpose. It is no secret and keeps nobody out: whoever
//! picks his own key can pick his endpoint, which is what a bound on load is for.

use std::net::IpAddr;

use http::{HeaderName, header};
use twox_hash::XxHash64;

use crate::plan::{HashKey, Hashing};

/// The parts of a request that may be hashed.
pub trait KeyFacts {
    /// The client's address; none if it is not known.
    fn client(&self) -> Option<IpAddr>;

    /// What `find` makes of the values of the fields of this name, in their order, until it makes
    /// something.
    fn find_field<'s, T>(
        &'s self,
        name: &HeaderName,
        find: impl FnMut(&'s [u8]) -> Option<T>,
    ) -> Option<T>;

    /// Path and query, as they are written.
    fn path_and_query(&self) -> &str;
}

/// What decides about a request's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed<'a> {
    /// The part of the request.
    pub key: &'a HashKey,
    /// Its hash.
    pub hash: u64,
}

/// XXH64 of `bytes`.
pub fn xxh64(seed: u64, bytes: &[u8]) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output's.
pub(crate) fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A number from 0 up to 1, 1 excluded, from the upper bits of `word`.
pub(crate) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

impl<'a> Hashed<'a> {
    /// The first of `keys` that the request has, with its hash; none if it has none of them. A value of
    /// no bytes is none.
    pub fn first(keys: &'a [HashKey], request: &impl KeyFacts) -> Option<Self> {
        let hashed = |key| hash_of(key, request).map(|hash| Hashed { key, hash });
        keys.iter().find_map(hashed)
    }
}

impl Hashing {
    /// As [`Hashed::first`], of the keys that the policy hashes.
    pub fn of(&self, request: &impl KeyFacts) -> Option<Hashed<'_>> {
        Hashed::first(&self.on, request)
    }
}

fn hash_of(key: &HashKey, request: &impl KeyFacts) -> Option<u64> {
    match key {
        HashKey::ClientAddress => request.client().map(of_address),
        HashKey::Header(name) => request.find_field(name, of_value),
        HashKey::Cookie(name) => {
            request.find_field(&header::COOKIE, |line| of_value(cookie(line, name)?))
        }
        HashKey::Path => of_value(split(request.path_and_query()).0.as_bytes()),
        HashKey::Query(name) => {
            of_value(parameter(split(request.path_and_query()).1, name)?.as_bytes())
        }
    }
}

fn of_value(value: &[u8]) -> Option<u64> {
    (!value.is_empty()).then(|| xxh64(0, value))
}

/// Of its bytes; of an IPv4 address that came as IPv6, of the IPv4 address.
fn of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => xxh64(0, &address.octets()),
        IpAddr::V6(address) => xxh64(0, &address.octets()),
    }
}

fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// The value of the first parameter of this name.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The value of the first cookie of this name in a `Cookie` field (RFC 6265 section 4.2.1).
pub(crate) fn cookie<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let pairs = line.split(|byte| *byte == b';');
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    struct Request(&'static str, HeaderMap, Option<IpAddr>);

    impl KeyFacts for Request {
        fn client(&self) -> Option<IpAddr> {
            self.2
        }
        fn find_field<'s, T>(
            &'s self,
            name: &HeaderName,
            mut find: impl FnMut(&'s [u8]) -> Option<T>,
        ) -> Option<T> {
            let values = self.1.get_all(name).iter();
            values.into_iter().find_map(|value| find(value.as_bytes()))
        }
        fn path_and_query(&self) -> &str {
            self.0
        }
    }

    fn request(target: &'static str, fields: &[(&'static str, &'static str)]) -> Request {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        Request(target, fields.collect(), Some([192, 0, 2, 1].into()))
    }

    fn hashing(on: &[HashKey]) -> Hashing {
        Hashing {
            on: on.into(),
            balance_factor: None,
        }
    }

    #[test]
    fn the_function_is_the_published_one() {
        assert_eq!(xxh64(0, b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(0, b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(0, b"abc"), 0x44BC_2CF5_AD77_0999);
        // A point of a ring in Envoy's own tests.
        assert_eq!(xxh64(0, b"127.0.0.1:94_0"), 15_516_499_411_664_133_160);
    }

    #[test]
    fn a_key_is_read_where_it_is_said_to_be() {
        let cookies = [
            ("cookie", "a=; user2=no"),
            ("cookie", "b=1;user=carol; user=dan"),
        ];
        let check = |key: HashKey, expected: Option<&str>| {
            let request = request("/shop/a?user=bob&x&user=eve&empty=", &cookies);
            let hashing = hashing(std::slice::from_ref(&key));
            let hash = hashing.of(&request).map(|hashed| hashed.hash);
            assert_eq!(
                hash,
                expected.map(|value| xxh64(0, value.as_bytes())),
                "{key}"
            );
        };
        check(HashKey::Path, Some("/shop/a"));
        check(HashKey::Query("user".into()), Some("bob"));
        check(HashKey::Query("x".into()), None);
        check(HashKey::Query("empty".into()), None);
        check(HashKey::Cookie("user".into()), Some("carol"));
        check(HashKey::Cookie("a".into()), None);
        check(HashKey::Cookie("use".into()), None);
        check(HashKey::Header(header::COOKIE), Some("a=; user2=no"));
        check(HashKey::Header(header::HOST), None);
    }

    #[test]
    fn the_first_key_that_is_there_decides() {
        let keys = [
            HashKey::Cookie("user".into()),
            HashKey::Header(HeaderName::from_static("x-user")),
            HashKey::ClientAddress,
        ];
        let hashing = hashing(&keys);
        let key = |fields: &[_]| {
            hashing
                .of(&request("/", fields))
                .map(|hashed| hashed.key.clone())
        };
        assert_eq!(
            key(&[("cookie", "user=1"), ("x-user", "2")]),
            Some(keys[0].clone())
        );
        assert_eq!(
            key(&[("cookie", "user="), ("x-user", "2")]),
            Some(keys[1].clone())
        );
        assert_eq!(key(&[("x-user", "")]), Some(keys[2].clone()));
        assert_eq!(Hashing::default().of(&request("/", &[])), None);
    }

    #[test]
    fn an_address_is_the_same_in_both_its_forms() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(of_address(v4), xxh64(0, &[192, 0, 2, 1]));
        assert_eq!(
            of_address(v4),
            of_address("::ffff:192.0.2.1".parse().unwrap())
        );
        assert_ne!(of_address(v4), of_address("2001:db8::1".parse().unwrap()));
    }
}
