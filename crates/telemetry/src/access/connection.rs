//! What every line of one client's connection says of it.

use std::net::SocketAddr;

use super::json::{Json, key, text, word};
use super::record::{MAX_TEXT, TlsRecord};

/// A client, the listener that it came by and its TLS, as lines of the log have them. They are the same for
/// as long as the connection lasts, so they are rendered once and copied into every line.
#[derive(Clone, Debug)]
pub struct ConnectionWords {
    /// Members of a line, each with its comma.
    members: Box<[u8]>,
    /// How many bytes of them stand before the protocol.
    before_protocol: usize,
}

impl ConnectionWords {
    /// The words of a connection from `client` to the listener of this name. `tls`: none if it is plaintext.
    pub fn new(client: SocketAddr, listener: &str, tls: Option<TlsRecord<'_>>) -> Self {
        let mut members = Vec::new();
        let mut json = Json::inside(&mut members);
        word!(json, "client", client.to_string());
        text!(json, "listener", listener, MAX_TEXT);
        let before_protocol = members.len();
        if let Some(tls) = tls {
            let mut json = Json::inside(&mut members);
            key!(json, "tls").object(|json| tls.append(json));
        }
        Self {
            members: members.into(),
            before_protocol,
        }
    }

    /// Appends the members of the connection around that of the request's protocol, a word of ours.
    pub(super) fn append(&self, protocol: &str, json: &mut Json<'_>) {
        let (before, after) = self.members.split_at(self.before_protocol);
        json.members(before);
        word!(json, "protocol", protocol);
        json.members(after);
    }
}

impl TlsRecord<'_> {
    fn append(&self, json: &mut Json<'_>) {
        if let Some(sni) = self.sni {
            text!(json, "sni", sni, MAX_TEXT);
        }
        if let Some(alpn) = self.alpn {
            text!(json, "alpn", alpn, MAX_TEXT);
        }
        text!(json, "version", self.version, MAX_TEXT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_says_what_it_has() {
        let check = |listener, tls, expected: &str| {
            let words = ConnectionWords::new(([192, 0, 2, 7], 4_000).into(), listener, tls);
            let mut line = Vec::new();
            words.append("h2", &mut Json::inside(&mut line));
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        };
        check(
            "http",
            None,
            r#","client":"192.0.2.7:4000","listener":"http","protocol":"h2""#,
        );
        let mut tls = TlsRecord {
            sni: None,
            alpn: None,
            version: "TLSv1.2",
        };
        check(
            "a\"b",
            Some(tls),
            r#","client":"192.0.2.7:4000","listener":"a\"b","protocol":"h2","tls":{"version":"TLSv1.2"}"#,
        );
        tls.alpn = Some("h2");
        check(
            "",
            Some(tls),
            r#","client":"192.0.2.7:4000","listener":"","protocol":"h2","tls":{"alpn":"h2","version":"TLSv1.2"}"#,
        );
    }
}
