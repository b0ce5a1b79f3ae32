//! Sets of networks that are asked for single addresses.
//!
//! Kept as ranges that do not touch, in order, so that one search by halves answers whatever the
//! number of networks is. IPv4 in IPv6 form counts as IPv4, as everywhere.

use std::net::IpAddr;

use crate::settings::Network;

/// A set of networks. Two are equal if they hold the same addresses and were given alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    list: Box<[Network]>,
    v4: Ranges,
    v6: Ranges,
}

/// First and last address of each range.
type Ranges = Box<[(u128, u128)]>;

impl Networks {
    /// The set of all addresses of `networks`.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let mut list: Vec<Network> = networks.into_iter().map(Network::canonical).collect();
        list.sort_by_key(|network| (network.address, network.prefix));
        list.dedup();
        let ranges = |v4: bool| {
            let of_family = list.iter().filter(|net| net.address.is_ipv4() == v4);
            merged(of_family.map(range))
        };
        Self {
            v4: ranges(true),
            v6: ranges(false),
            list: list.into(),
        }
    }

    /// Whether it holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, bits) = match address.to_canonical() {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.v6, address.to_bits()),
        };
        within(ranges, (bits, bits))
    }

    /// Whether it holds every address of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        other.v4.iter().all(|range| within(&self.v4, *range))
            && other.v6.iter().all(|range| within(&self.v6, *range))
    }

    /// The networks, each once, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.list.iter()
    }

    /// Whether it holds no address.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self::new(networks)
    }
}

fn range(network: &Network) -> (u128, u128) {
    let (bits, width) = match network.address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let free = width - u32::from(network.prefix);
    let below = u128::MAX.checked_shr(128 - free).unwrap_or(0);
    (bits & !below, bits | below)
}

/// Ranges in order; those that overlap or touch as one.
fn merged(ranges: impl Iterator<Item = (u128, u128)>) -> Ranges {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn within(ranges: &Ranges, (first, last): (u128, u128)) -> bool {
    let after = ranges.partition_point(|range| range.0 <= first);
    let before = after.checked_sub(1).map(|at| ranges[at]);
    before.is_some_and(|range| last <= range.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        let parse = |text: &&str| {
            let (address, prefix) = text.split_once('/').expect("CIDR");
            let address = address.parse().expect("an address");
            let prefix = prefix.parse().expect("a number");
            Network { address, prefix }
        };
        texts.iter().map(parse).collect()
    }

    #[test]
    fn addresses_are_found_at_the_edges() {
        let set = networks(&[
            "10.1.2.3/8",
            "192.0.2.0/31",
            "192.0.2.2/32",
            "2001:db8::/32",
        ]);
        let check = |address: &str, expected| {
            assert_eq!(
                set.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        };
        check("9.255.255.255", false);
        check("10.0.0.0", true);
        check("10.255.255.255", true);
        check("11.0.0.0", false);
        check("192.0.2.2", true);
        check("192.0.2.3", false);
        check("::ffff:10.1.1.1", true);
        check("2001:db8:ffff::1", true);
        check("2001:db9::", false);
        let all = networks(&["0.0.0.0/0"]);
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        assert!(networks(&["::/0"]).contains("ffff::".parse().unwrap()));
        assert!(!networks(&[]).contains("::".parse().unwrap()));
    }

    #[test]
    fn a_set_covers_what_lies_in_it() {
        let check = |a: &[&str], b: &[&str], expected| {
            assert_eq!(networks(a).covers(&networks(b)), expected, "{a:?} {b:?}");
        };
        check(&["10.0.0.0/8"], &["10.1.0.0/16", "10.2.0.0/16"], true);
        check(&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"], true);
        check(&["10.0.0.0/9"], &["10.0.0.0/8"], false);
        check(&["10.0.0.0/8"], &["10.0.0.0/8", "::1/128"], false);
        check(&["10.0.0.0/8"], &[], true);
        check(&["::ffff:0:0/96"], &["1.2.3.4/32"], true);
    }
}
