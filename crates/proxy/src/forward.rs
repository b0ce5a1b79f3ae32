//! What of a head goes on, and what is added: requests to the upstream, responses to the client.
//!
//! One walk over the fields serves both protocols; a [`Sink`] writes them as HTTP/1.1 lines or into
//! a `HeaderMap`. Fields that belong to one hop (RFC 9110 section 7.6.1) stop here; who the client
//! is follows by `Forwarded` (RFC 7239) and `X-Forwarded-*`, appended for trusted clients and
//! replaced for everybody else.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tidegate_http1::{Known, encode};

use crate::head::{RequestHead, ResponseHead};
use crate::request_id::RequestId;

/// Takes fields, one at a time.
pub(crate) trait Sink {
    /// Adds a field.
    fn add(&mut self, name: &[u8], value: &[u8]);
}

impl Sink for BytesMut {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        encode::field(self, name, value);
    }
}

impl Sink for HeaderMap {
    /// What a `HeaderMap` cannot hold is left out: the codecs have let nothing else through.
    fn add(&mut self, name: &[u8], value: &[u8]) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            self.append(name, value);
        }
    }
}

/// What is told of a client's connection to upstreams; made once per connection.
#[derive(Debug)]
pub(crate) struct ClientWords {
    /// `for=192.0.2.1;proto=https`, to be followed by `;host=`.
    forwarded: String,
    ip: String,
    scheme: &'static str,
    trusted: bool,
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
        Self {
            forwarded: format!("for={node};proto={scheme}"),
            ip: ip.to_string(),
            scheme,
            trusted,
        }
    }

    /// Whether the client is believed.
    pub(crate) fn trusted(&self) -> bool {
        self.trusted
    }
}

/// What an upstream request needs besides the client's head.
pub(crate) struct RequestAdditions<'a> {
    pub(crate) client: &'a ClientWords,
    pub(crate) request_id: &'a RequestId,
    /// The name in `Via`.
    pub(crate) pop: &'a str,
    /// Leave `Expect` out: the client has been told to continue, or the upstream speaks HTTP/2.
    pub(crate) without_expect: bool,
}

/// Writes every field of an upstream request but `Host`, framing and upgrade.
pub(crate) fn request_fields(head: &RequestHead, add: &RequestAdditions<'_>, sink: &mut impl Sink) {
    let mut said = Said::default();
    each_request_field(head, |known, name, value| match known {
        Known::Host | Known::ContentLength | Known::TransferEncoding => {}
        Known::XForwardedFor => said.forwarded_for.push(value),
        Known::Forwarded => said.forwarded.push(value),
        Known::Via => said.via.push(value),
        Known::XRequestId => {}
        Known::Cookie if matches!(head, RequestHead::H2(_)) => said.cookies.push(value),
        Known::XForwardedProto | Known::XForwardedHost if !add.client.trusted => {}
        Known::XForwardedProto => {
            said.proto = true;
            sink.add(name, value);
        }
        Known::XForwardedHost => {
            said.host = true;
            sink.add(name, value);
        }
        Known::Expect if add.without_expect => {}
        _ => sink.add(name, value),
    });
    add_cookies(&said.cookies, sink);
    add_client_words(head, add, &said, sink);
    add_list(
        sink,
        b"via",
        &said.via,
        &[head.version().as_bytes(), b" ", add.pop.as_bytes()],
    );
    sink.add(b"x-request-id", add.request_id.as_bytes());
}

/// What earlier hops said; lists are inline because there are rarely any.
#[derive(Default)]
struct Said<'a> {
    forwarded_for: smallvec::SmallVec<[&'a [u8]; 2]>,
    forwarded: smallvec::SmallVec<[&'a [u8]; 2]>,
    via: smallvec::SmallVec<[&'a [u8]; 2]>,
    cookies: smallvec::SmallVec<[&'a [u8]; 2]>,
    proto: bool,
    host: bool,
}

/// HTTP/2 clients may split `Cookie`; what leaves again is one field (RFC 9113 section 8.2.3).
fn add_cookies(cookies: &[&[u8]], sink: &mut impl Sink) {
    match cookies {
        [] => {}
        [only] => sink.add(b"cookie", only),
        split => sink.add(b"cookie", &split.join(&b"; "[..])),
    }
}

fn add_client_words(
    head: &RequestHead,
    add: &RequestAdditions<'_>,
    said: &Said<'_>,
    sink: &mut impl Sink,
) {
    let client = add.client;
    let none: &[&[u8]] = &[];
    let (earlier_for, earlier_forwarded) = if client.trusted {
        (&said.forwarded_for[..], &said.forwarded[..])
    } else {
        (none, none)
    };
    add_list(
        sink,
        b"x-forwarded-for",
        earlier_for,
        &[client.ip.as_bytes()],
    );
    if !said.proto {
        sink.add(b"x-forwarded-proto", client.scheme.as_bytes());
    }
    let authority = head.authority().as_bytes();
    if !said.host && !authority.is_empty() {
        sink.add(b"x-forwarded-host", authority);
    }
    let host: [&[u8]; 4] = [client.forwarded.as_bytes(), b";host=\"", authority, b"\""];
    let own = if authority.is_empty() {
        &host[..1]
    } else {
        &host[..]
    };
    add_list(sink, b"forwarded", earlier_forwarded, own);
}

/// One field that lists what `earlier` hops said and then, as one member, the parts of `own`.
fn add_list(sink: &mut impl Sink, name: &[u8], earlier: &[&[u8]], own: &[&[u8]]) {
    let mut value: smallvec::SmallVec<[u8; 256]> = smallvec::SmallVec::new();
    for member in earlier {
        value.extend_from_slice(member);
        value.extend_from_slice(b", ");
    }
    for part in own {
        value.extend_from_slice(part);
    }
    sink.add(name, &value);
}

fn each_request_field<'a>(head: &'a RequestHead, mut take: impl FnMut(Known, &'a [u8], &'a [u8])) {
    match head {
        RequestHead::H1(head) => {
            for field in head.fields.iter().filter(|field| !field.hop_by_hop) {
                if !poses_as_known(field.known, field.name) {
                    take(field.known, field.name, field.value);
                }
            }
        }
        RequestHead::H2(parts) => {
            let forwarded = parts.headers.iter().filter(|(name, _)| {
                !is_hop_by_hop(name) && !poses_as_known(Known::Other, name.as_str().as_bytes())
            });
            for (name, value) in forwarded {
                take(
                    Known::of(name.as_str().as_bytes()),
                    name.as_str().as_bytes(),
                    value.as_bytes(),
                );
            }
        }
    }
}

/// Whether a name becomes one that we vouch for once underscores are read as hyphens, as CGI-like
/// upstreams do: `X_Forwarded_For` must not slip past us.
fn poses_as_known(known: Known, name: &[u8]) -> bool {
    if known != Known::Other || !name.contains(&b'_') {
        return false;
    }
    let folded: smallvec::SmallVec<[u8; 64]> = name
        .iter()
        .map(|&byte| if byte == b'_' { b'-' } else { byte })
        .collect();
    Known::of(&folded) != Known::Other
}

/// What an answer needs besides the upstream's head.
pub(crate) struct ResponseAdditions<'a> {
    pub(crate) request_id: &'a RequestId,
    pub(crate) pop: &'a str,
    /// `tidegate-region`, if the route reveals it.
    pub(crate) region: Option<&'a str>,
    /// `tidegate-attempts`, if the route reveals it.
    pub(crate) attempts: Option<u8>,
    /// `server-timing` metrics, if the route reveals them.
    pub(crate) server_timing: Option<&'a str>,
}

/// Writes every field of an answer but its framing (`Content-Length` is written by the caller too).
pub(crate) fn response_fields(
    head: &ResponseHead,
    add: &ResponseAdditions<'_>,
    sink: &mut impl Sink,
) {
    let mut via: smallvec::SmallVec<[&[u8]; 2]> = smallvec::SmallVec::new();
    each_response_field(head, |known, name, value| match known {
        Known::ContentLength | Known::TransferEncoding | Known::XRequestId => {}
        Known::Via => via.push(value),
        _ => sink.add(name, value),
    });
    let version: &[u8] = match head.version() {
        http::Version::HTTP_2 => b"2",
        http::Version::HTTP_10 => b"1.0",
        _ => b"1.1",
    };
    add_list(sink, b"via", &via, &[version, b" ", add.pop.as_bytes()]);
    local_fields(add, sink);
}

/// The fields that an answer of our own carries, too.
pub(crate) fn local_fields(add: &ResponseAdditions<'_>, sink: &mut impl Sink) {
    sink.add(b"x-request-id", add.request_id.as_bytes());
    if let Some(region) = add.region {
        sink.add(b"tidegate-region", region.as_bytes());
    }
    if let Some(attempts) = add.attempts {
        sink.add(b"tidegate-attempts", attempts.to_string().as_bytes());
    }
    if let Some(timing) = add.server_timing {
        sink.add(b"server-timing", timing.as_bytes());
    }
}

/// Writes the fields of an interim (1xx) answer.
pub(crate) fn interim_fields(head: &ResponseHead, sink: &mut impl Sink) {
    each_response_field(head, |known, name, value| match known {
        Known::ContentLength | Known::TransferEncoding => {}
        _ => sink.add(name, value),
    });
}

fn each_response_field<'a>(
    head: &'a ResponseHead,
    mut take: impl FnMut(Known, &'a [u8], &'a [u8]),
) {
    match head {
        ResponseHead::H1(head) => {
            for field in head.fields.iter().filter(|field| !field.hop_by_hop) {
                take(field.known, field.name, field.value);
            }
        }
        ResponseHead::H2(parts) => {
            for (name, value) in parts
                .headers
                .iter()
                .filter(|(name, _)| !is_hop_by_hop(name))
            {
                take(
                    Known::of(name.as_str().as_bytes()),
                    name.as_str().as_bytes(),
                    value.as_bytes(),
                );
            }
        }
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(
        name.as_str(),
        "keep-alive" | "proxy-connection" | "http2-settings"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_do_not_hide_a_known_name() {
        let check = |name: &str, poses| {
            assert_eq!(
                poses_as_known(Known::of(name.as_bytes()), name.as_bytes()),
                poses,
                "{name}"
            );
        };
        check("x_forwarded_for", true);
        check("Content_Length", true);
        check("x-forwarded-for", false);
        check("my_header", false);
        check("plain", false);
    }

    #[test]
    fn a_client_is_told_of_in_both_spellings() {
        let words = ClientWords::new("2001:db8::1".parse().unwrap(), "https", false);
        assert_eq!(words.forwarded, "for=\"[2001:db8::1]\";proto=https");
        assert_eq!(words.ip, "2001:db8::1");
        let mapped = ClientWords::new("::ffff:192.0.2.1".parse().unwrap(), "http", true);
        assert_eq!(mapped.forwarded, "for=192.0.2.1;proto=http");
    }
}
