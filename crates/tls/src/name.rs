//! Names that certificates are checked against.

use rustls::pki_types::ServerName;

use crate::InvalidTls;

/// The name to expect in the certificate of `host`, and to send as SNI (RFC 6066) unless it is an
/// address. An IPv6 address may be in brackets. A port is no part of it.
///
/// # Errors
/// [`InvalidTls::ServerName`] for what is neither a host name nor an IP address, nothing included.
pub fn server_name(host: &str) -> Result<ServerName<'static>, InvalidTls> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| InvalidTls::ServerName {
        name: host.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let check = |host: &str, is_address: bool, expected: &str| {
            let name = server_name(host).unwrap();
            assert_eq!(matches!(name, ServerName::IpAddress(_)), is_address);
            assert_eq!(name.to_str(), expected);
        };
        check("shop.internal", false, "shop.internal");
        check("10.0.0.1", true, "10.0.0.1");
        check("2001:db8::1", true, "2001:db8::1");
        check("[2001:db8::1]", true, "2001:db8::1");
    }

    #[test]
    fn other_words_are_refused_and_shown_without_harm() {
        let check = |host: &str, shown: &str| {
            let problem = server_name(host).unwrap_err().to_string();
            let expected = format!("`{shown}` is neither a host name nor an IP address");
            assert_eq!(problem, expected);
        };
        check("", "");
        check("a b", "a b");
        check("a\nb", "a\\nb");
        check("shop.internal:443", "shop.internal:443");
        check("[2001:db8::1", "[2001:db8::1");
        check("[2001:db8::1]:443", "[2001:db8::1]:443");
    }
}
