//! Grammars of hosts, endpoints, addresses and networks. Nothing is resolved: a name is only
//! looked at.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tidegate_core::settings::Network;

/// `host:port`, normalised: names in lower case, addresses in their shortest form. The error is a
/// hint.
pub(crate) fn endpoint(text: &str) -> Result<String, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let tls = if scheme == "https" {
            " and give the upstream `tls: {}`"
        } else {
            ""
        };
        return Err(format!("write `{}`{tls}", rest.trim_end_matches('/')));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("put an IPv6 address in brackets: `[{text}]:8080`"));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("add a port, like `{text}:8080`"));
    };
    let port = self::port(port)
        .filter(|port| *port != 0)
        .ok_or("ports are from 1 to 65535")?;
    Ok(format!("{}:{port}", endpoint_host(host)?))
}

fn endpoint_host(host: &str) -> Result<String, String> {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return address
            .map(|ip| format!("[{ip}]"))
            .ok_or_else(|| "brackets hold an IPv6 address".into());
    }
    if host.parse::<Ipv6Addr>().is_ok() || host.contains(':') {
        return Err(format!("put an IPv6 address in brackets: `[{host}]`"));
    }
    hostname(host)
}

/// A host name or IPv4 address in lower case. The error is a hint.
pub(crate) fn hostname(host: &str) -> Result<String, String> {
    let numeric = |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_digit());
    if !host.is_ascii() {
        return Err("write names beyond ASCII in their `xn--` form".to_owned());
    }
    if host.rsplit('.').next().is_some_and(numeric) && host.parse::<IpAddr>().is_err() {
        return Err("an IPv4 address has four numbers from 0 to 255".to_owned());
    }
    let valid = !host.is_empty() && host.len() <= 253 && host.split('.').all(is_label);
    valid.then(|| host.to_ascii_lowercase()).ok_or_else(|| {
        "a host is made of labels of letters, digits, `-` and `_`, joined by dots".to_owned()
    })
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The host of a match: a name, `*.name`, or an IP address, in lower case.
pub(crate) fn match_host(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains('/') {
        return Err("only the host, without scheme and path".to_owned());
    }
    if text.starts_with('[') {
        return endpoint_host(text);
    }
    if text.contains(':') {
        return Err("without a port; IPv6 addresses in brackets".to_owned());
    }
    match text.strip_prefix("*.") {
        Some(rest) if !rest.contains('*') => hostname(rest).map(|rest| format!("*.{rest}")),
        _ if text == "*" => Err("leave `host` out to match any host".to_owned()),
        _ if text.contains('*') => {
            Err("`*` stands only for the first labels: `*.example.com`".to_owned())
        }
        _ => hostname(text),
    }
}

/// An IP address and port to bind. The error is a hint.
pub(crate) fn bind(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let suggestion = match text.rsplit_once(':') {
        Some(("", port)) | Some(("*", port)) => {
            format!("for every address write `0.0.0.0:{port}` or `[::]:{port}`")
        }
        Some(("localhost", port)) => format!("did you mean `127.0.0.1:{port}`?"),
        None if text.parse::<u16>().is_ok() => format!("did you mean `0.0.0.0:{text}`?"),
        None if text.parse::<IpAddr>().is_ok() => format!("add a port, like `{text}:8080`"),
        _ => "an IP address and a port, like `0.0.0.0:8443` or `[::]:8443`".to_owned(),
    };
    Err(suggestion)
}

/// A network in CIDR form, or a single address. The error is a hint.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    let (address, prefix) = text
        .split_once('/')
        .map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address
        .parse()
        .map_err(|_| "write an IP network, like `10.0.0.0/8`".to_owned())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => width,
        Some(text) => number::<u8>(text)
            .filter(|prefix| *prefix <= width)
            .ok_or_else(|| format!("the prefix is from 0 to {width}"))?,
    };
    Ok(Network {
        address: masked(address, prefix),
        prefix,
    })
}

/// The address with everything after the prefix cleared, so that equal networks are equal.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn port(text: &str) -> Option<u16> {
    number(text)
}

/// Digits only: no sign, no space.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `204` or `200-299` as an inclusive range of statuses.
pub(crate) fn status_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some((first, last))
}

/// A status from 100 to 599.
pub(crate) fn status(text: &str) -> Option<u16> {
    number(text).filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(endpoint(text), expected, "{text}");
        };
        check("10.1.0.10:8080", Ok("10.1.0.10:8080"));
        check("Shop.Internal:80", Ok("shop.internal:80"));
        check("[2001:DB8::0:1]:80", Ok("[2001:db8::1]:80"));
        check("10.1.0.10", Err("add a port, like `10.1.0.10:8080`"));
        check("http://a:80/", Err("write `a:80`"));
        check(
            "https://a:443",
            Err("write `a:443` and give the upstream `tls: {}`"),
        );
        check(
            "2001:db8::1",
            Err("put an IPv6 address in brackets: `[2001:db8::1]:8080`"),
        );
        check("a:0", Err("ports are from 1 to 65535"));
        check("a:+80", Err("ports are from 1 to 65535"));
        check("a:99999", Err("ports are from 1 to 65535"));
        check(
            "10.1.0.300:80",
            Err("an IPv4 address has four numbers from 0 to 255"),
        );
        check("[x]:80", Err("brackets hold an IPv6 address"));
        check(
            "ex ample:80",
            Err("a host is made of labels of letters, digits, `-` and `_`, joined by dots"),
        );
    }

    #[test]
    fn hosts_of_matches_allow_one_leading_wildcard() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(match_host(text).ok().as_deref(), expected, "{text}");
        };
        check("Shop.Example.com", Some("shop.example.com"));
        check("*.example.com", Some("*.example.com"));
        check("10.0.0.1", Some("10.0.0.1"));
        check("[::1]", Some("[::1]"));
        check("*", None);
        check("a.*.com", None);
        check("*.*.com", None);
        check("shop.example.com:80", None);
        check("https://shop.example.com", None);
        check("", None);
        check("-a.com", None);
        check("a..b", None);
    }

    #[test]
    fn networks_are_masked() {
        let check = |text: &str, expected: Option<(&str, u8)>| {
            let expected = expected.map(|(ip, prefix)| Network {
                address: ip.parse().unwrap(),
                prefix,
            });
            assert_eq!(network(text).ok(), expected, "{text}");
        };
        check("10.1.2.3/8", Some(("10.0.0.0", 8)));
        check("10.1.2.3", Some(("10.1.2.3", 32)));
        check("0.0.0.0/0", Some(("0.0.0.0", 0)));
        check("2001:db8::1/32", Some(("2001:db8::", 32)));
        check("::/0", Some(("::", 0)));
        check("10.0.0.0/33", None);
        check("10.0.0.0/", None);
        check("ten/8", None);
    }

    #[test]
    fn statuses_are_from_100_to_599() {
        let check = |text: &str, expected| assert_eq!(status_range(text), expected, "{text}");
        check("204", Some((204, 204)));
        check("200-299", Some((200, 299)));
        check("299-200", None);
        check("600", None);
        check("99", None);
        check("2xx", None);
    }

    #[test]
    fn bind_takes_addresses_only() {
        assert_eq!(
            bind("[::]:443").unwrap(),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443)
        );
        assert_eq!(
            bind("localhost:80").unwrap_err(),
            "did you mean `127.0.0.1:80`?"
        );
        assert_eq!(bind("8080").unwrap_err(), "did you mean `0.0.0.0:8080`?");
        assert_eq!(
            bind(":80").unwrap_err(),
            "for every address write `0.0.0.0:80` or `[::]:80`"
        );
    }
}
