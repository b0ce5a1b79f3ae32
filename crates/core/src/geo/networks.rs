//! Networks that a configuration lists, the longest prefix first.
//!
//! One group for each length of prefix, in which an address is found by bisection: a list of thousands
//! costs a look-up as many comparisons as it has lengths, times the logarithm of their sizes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::geo::Origin;
use crate::settings::Network;

/// Leading bits, and whether they are those of an IPv6 address.
type Kind = (Reverse<u8>, bool);

/// Networks of one kind, by their leading bits.
type Group = Box<[(u128, Origin)]>;

/// What is told of networks.
pub(super) struct Networks(Box<[(Kind, Group)]>);

impl Networks {
    /// A network that is listed twice counts as it is listed first.
    pub(super) fn new(listed: &[(Network, Origin)]) -> Self {
        let mut groups: BTreeMap<Kind, Vec<(u128, Origin)>> = BTreeMap::new();
        for (network, origin) in listed {
            let (v6, bits, prefix) = normal(*network);
            let group = groups.entry((Reverse(prefix), v6)).or_default();
            group.push((bits & mask(prefix), *origin));
        }
        let sorted = groups.into_iter().map(|(kind, mut group)| {
            group.sort_by_key(|(bits, _)| *bits);
            group.dedup_by_key(|(bits, _)| *bits);
            (kind, group.into())
        });
        Self(sorted.collect())
    }

    /// What is told of the smallest network that holds this address.
    pub(super) fn find(&self, address: IpAddr) -> Option<Origin> {
        let whole = Network {
            address,
            prefix: 128,
        };
        let (v6, bits, _) = normal(whole);
        let mut groups = self.0.iter();
        groups.find_map(|((Reverse(prefix), of_v6), group)| {
            if *of_v6 != v6 {
                return None;
            }
            let wanted = bits & mask(*prefix);
            let at = group.binary_search_by_key(&wanted, |(bits, _)| *bits);
            at.ok().map(|at| group[at].1)
        })
    }

    /// Every network with what is told of it, as leading bits, length and whether it is of IPv6.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u8, bool, &Origin)> {
        let groups = self.0.iter();
        groups.flat_map(|((Reverse(prefix), v6), group)| {
            let members = group.iter();
            members.map(|(bits, origin)| (*bits, *prefix, *v6, origin))
        })
    }
}

/// Whether it is of IPv6, the address's bits from the top, and how many count. IPv4 in IPv6 form is
/// IPv4.
fn normal(network: Network) -> (bool, u128, u8) {
    let Network { address, prefix } = network.canonical();
    match address {
        IpAddr::V4(v4) => (false, u128::from(v4.to_bits()) << 96, prefix),
        IpAddr::V6(v6) => (true, v6.to_bits(), prefix),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        let (address, prefix) = text.split_once('/').unwrap();
        Network {
            address: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        }
    }

    fn country(code: &[u8; 2]) -> Origin {
        Origin {
            country: Some(*code),
            ..Origin::default()
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let listed = [
            ("10.0.0.0/8", b"DE"),
            ("10.20.0.0/16", b"FR"),
            ("10.20.30.40/32", b"US"),
            ("10.20.99.0/16", b"JP"),
            ("::ffff:192.0.2.0/120", b"IN"),
            ("2001:db8::/32", b"BR"),
            ("2001:db8:1::/48", b"AU"),
        ]
        .map(|(text, code)| (network(text), country(code)));
        let networks = Networks::new(&listed);
        let check = |address: &str, expected: Option<&[u8; 2]>| {
            let found = networks.find(address.parse().unwrap());
            assert_eq!(found, expected.map(country), "{address}");
        };
        check("10.255.0.1", Some(b"DE"));
        check("10.20.255.1", Some(b"FR"));
        check("10.20.30.40", Some(b"US"));
        check("::ffff:10.20.30.40", Some(b"US"));
        check("10.20.30.41", Some(b"FR"));
        check("192.0.2.7", Some(b"IN"));
        check("192.0.3.7", None);
        check("2001:db8:2::1", Some(b"BR"));
        check("2001:db8:1::1", Some(b"AU"));
        check("2001:db9::1", None);
        check("::", None);
        assert_eq!(networks.iter().count(), 6, "one was listed twice");
        assert_eq!(Networks::new(&[]).find(IpAddr::from([1, 2, 3, 4])), None);
    }

    #[test]
    fn everything_of_a_family_is_a_network_as_well() {
        let listed = [(network("0.0.0.0/0"), country(b"DE"))];
        let networks = Networks::new(&listed);
        assert_eq!(networks.find(IpAddr::from([9, 9, 9, 9])), Some(listed[0].1));
        assert_eq!(networks.find("2001:db8::1".parse().unwrap()), None);
    }
}
