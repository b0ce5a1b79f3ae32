//! Who the client of a connection is, in the words in which upstreams are told.
//!
//! Made once a connection, since a request only adds its host.

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
    pub(crate) fn new(ip: std::net::IpAddr, scheme: &'static str, trusted: bool) -> Self {
        let ip = ip.to_canonical();
        let node = if ip.is_ipv6() {
            format!("\"[{ip}]\"")
        } else {
            ip.to_string()
        };
        let forwarded = format!("for={node};proto={scheme}");
        let before_host =
            format!("x-forwarded-for: {ip}\r\nx-forwarded-proto: {scheme}\r\nx-forwarded-host: ");
        Self {
            before_host: before_host.into_bytes().into(),
            before_forwarded_host: format!("forwarded: {forwarded};host=\"")
                .into_bytes()
                .into(),
            forwarded,
            ip: ip.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_of_in_both_spellings() {
        let words = ClientWords::new("2001:db8::1".parse().unwrap(), "https", false);
        assert_eq!(words.forwarded, "for=\"[2001:db8::1]\";proto=https");
        assert_eq!(words.ip, "2001:db8::1");
        let mapped = ClientWords::new("::ffff:192.0.2.1".parse().unwrap(), "http", true);
        assert_eq!(mapped.forwarded, "for=192.0.2.1;proto=http");
    }
}
