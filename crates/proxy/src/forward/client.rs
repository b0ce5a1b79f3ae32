//! Who the client of a connection is, in the words in which upstreams are told.
//!
//! Made once a connection, since a request only adds its host. Put together and not formatted: a
//! connection for one request pays for all of it.

use std::net::IpAddr;

/// What is told of a client's connection to upstreams; made once per connection.
#[derive(Debug)]
pub(crate) struct ClientWords {
    /// `for=192.0.2.1;proto=https`, to be followed by `;host=`.
    pub(super) forwarded: String,
    pub(super) ip: String,
    pub(super) scheme: &'static str,
    trusted: bool,
    /// `X-Forwarded-For` and `X-Forwarded-Proto` as lines, then the name of `X-Forwarded-Host`.
    pub(super) before_host: Box<[u8]>,
    /// The line of `Forwarded` up to its host.
    pub(super) before_forwarded_host: Box<[u8]>,
}

impl ClientWords {
    /// The words for a client at `ip` that speaks `scheme`. `trusted`: what it says of earlier hops
    /// is believed.
    pub(crate) fn new(ip: IpAddr, scheme: &'static str, trusted: bool) -> Self {
        let address = ip.to_canonical();
        let ip = text(address);
        let (open, close) = match address {
            IpAddr::V4(_) => ("", ""),
            IpAddr::V6(_) => ("\"[", "]\""),
        };
        let forwarded = ["for=", open, &ip, close, ";proto=", scheme].concat();
        let before_host = [
            "x-forwarded-for: ",
            &ip,
            "\r\nx-forwarded-proto: ",
            scheme,
            "\r\nx-forwarded-host: ",
        ];
        let before_forwarded_host = ["forwarded: ", &forwarded, ";host=\""];
        Self {
            before_host: before_host.concat().into_bytes().into(),
            before_forwarded_host: before_forwarded_host.concat().into_bytes().into(),
            forwarded,
            ip,
            scheme,
            trusted,
        }
    }

    /// Its IP address as text.
    pub(crate) fn address(&self) -> &str {
        &self.ip
    }

    /// Whether the client is believed.
    pub(crate) fn trusted(&self) -> bool {
        self.trusted
    }
}

/// An address as text. Most are IPv4, of which `std` formats every octet with all that formatting can
/// do, for a thousand instructions an address.
fn text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for octet in address.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = usize::from(octet < 100) + usize::from(octet < 10);
        for digit in &digits[leading..] {
            text.push(char::from(b'0' + digit));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_client_is_told_of_in_both_spellings() {
        let words = ClientWords::new("2001:db8::1".parse().unwrap(), "https", false);
        assert_eq!(words.forwarded, "for=\"[2001:db8::1]\";proto=https");
        assert_eq!(words.ip, "2001:db8::1");
        let mapped = ClientWords::new("::ffff:192.0.2.1".parse().unwrap(), "http", true);
        assert_eq!(mapped.forwarded, "for=192.0.2.1;proto=http");
        let lines = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: ";
        assert_eq!(&*mapped.before_host, lines.as_bytes());
        let line = "forwarded: for=192.0.2.1;proto=http;host=\"";
        assert_eq!(&*mapped.before_forwarded_host, line.as_bytes());
    }

    #[test]
    fn every_octet_is_written_as_it_always_was() {
        for octet in 0..=u8::MAX {
            let address = Ipv4Addr::new(octet, 0, 255 - octet, octet);
            assert_eq!(text(address.into()), address.to_string());
        }
    }
}
