//! `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2), without user information.

use std::net::Ipv6Addr;

use crate::grammar;

/// A valid authority, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAndPort<'a> {
    /// The host as sent, an IPv6 address in its brackets; compare it with
    /// `eq_ignore_ascii_case`. Never empty.
    pub host: &'a [u8],
    /// The port; `None` if there is none, or nothing after the colon.
    pub port: Option<u16>,
}

impl<'a> HostAndPort<'a> {
    /// Takes an authority apart. `None` if it is empty or invalid: user information, a port
    /// above 65535, an address in brackets that is no IPv6 address, odd characters.
    pub fn parse(authority: &'a [u8]) -> Option<Self> {
        let host_len = match authority.first()? {
            b'[' => memchr::memchr(b']', authority)? + 1,
            _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(host_len);
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        is_host(host).then_some(Self { host, port })
    }

    /// Whether both name the same host and, with `default_port` for a missing one, port.
    pub(crate) fn agrees_with(&self, other: &HostAndPort<'_>, default_port: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.or(default_port) == other.port.or(default_port)
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    let add = |port: u16, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    };
    digits.iter().try_fold(0, add)
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => is_ipv6(address),
        _ => is_registered_name(host),
    }
}

/// Only plain IPv6: `IPvFuture` has never been defined, and zones are local to a machine.
fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_registered_name(mut host: &[u8]) -> bool {
    if host.iter().all(|&b| grammar::is_host_byte(b)) {
        return true;
    }
    loop {
        host = match host {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [b, rest @ ..] if grammar::is_host_byte(*b) => rest,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authority: &str, expected: Option<(&str, Option<u16>)>) {
        let parsed = HostAndPort::parse(authority.as_bytes());
        let expected = expected.map(|(host, port)| HostAndPort {
            host: host.as_bytes(),
            port,
        });
        assert_eq!(parsed, expected, "{authority:?}");
    }

    #[test]
    fn valid_authorities_come_apart() {
        check("a", Some(("a", None)));
        check(
            "shop.example.com:8443",
            Some(("shop.example.com", Some(8443))),
        );
        check("a:", Some(("a", None)));
        check("a:0", Some(("a", Some(0))));
        check("a:00080", Some(("a", Some(80))));
        check("127.0.0.1:65535", Some(("127.0.0.1", Some(65535))));
        check("[::1]", Some(("[::1]", None)));
        check("[2001:db8::1]:80", Some(("[2001:db8::1]", Some(80))));
        check("a_b~c!$&'()*+,;=%41", Some(("a_b~c!$&'()*+,;=%41", None)));
    }

    #[test]
    fn invalid_authorities_are_refused() {
        let odd = [
            "", ":", ":80", "a b", "a\tb", "user@a", "a:b", "a:80:80", "a:65536", "a:-1",
        ];
        let more = [
            "a:+80",
            "[::1",
            "::1",
            "[]",
            "[a]",
            "[::1]80",
            "[::1%25lo]",
            "[v1.a]",
        ];
        let rest = [
            "a/b", "a?b", "a#b", "a\\b", "%4", "%zz", "\u{e4}", "a\"", "<a>", "a,b/c",
        ];
        for authority in odd.iter().chain(&more).chain(&rest) {
            check(authority, None);
        }
    }
}
