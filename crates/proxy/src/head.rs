//! Heads of requests and responses, whichever protocol they came by.
//!
//! An HTTP/1.1 head stays the bytes that were read (names and values are slices of them) and is
//! rewritten slice by slice; an HTTP/2 head stays its `HeaderMap`. Nothing is converted unless the
//! two sides differ. Both kinds are boxed: a head has some 200 bytes and is handed on a dozen times.

use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use tidegate_http1::{self as http1, Framing, Known};

/// A request's head.
#[derive(Clone)]
pub(crate) enum RequestHead {
    /// From an HTTP/1.1 client.
    H1(Box<http1::RequestHead>),
    /// From an HTTP/2 client.
    H2(Box<http::request::Parts>),
}

/// A response's head.
pub(crate) enum ResponseHead {
    /// From an HTTP/1.1 upstream.
    H1(Box<http1::ResponseHead>),
    /// From an HTTP/2 upstream.
    H2(Box<http::response::Parts>),
}

impl RequestHead {
    /// Method.
    pub(crate) fn method(&self) -> &Method {
        match self {
            Self::H1(head) => &head.method,
            Self::H2(parts) => &parts.method,
        }
    }

    /// Host and port as the client gave them; empty when it gave none (HTTP/1.0).
    pub(crate) fn authority(&self) -> &str {
        match self {
            Self::H1(head) => head.authority(),
            Self::H2(parts) => h2_authority(parts),
        }
    }

    /// Path and query; `*` for a server-wide OPTIONS, empty for CONNECT.
    pub(crate) fn path_and_query(&self) -> &str {
        match self {
            Self::H1(head) => head.path_and_query(),
            Self::H2(parts) => parts
                .uri
                .path_and_query()
                .map_or("", |target| target.as_str()),
        }
    }

    /// The same, for whoever copies it.
    pub(crate) fn path_and_query_bytes(&self) -> &[u8] {
        match self {
            Self::H1(head) => head.path_and_query_bytes(),
            Self::H2(_) => self.path_and_query().as_bytes(),
        }
    }

    /// The path without the query.
    pub(crate) fn path_bytes(&self) -> &[u8] {
        match self {
            Self::H1(head) => head.target.path_bytes(),
            Self::H2(parts) => parts
                .uri
                .path_and_query()
                .map_or(b"", |target| target.path().as_bytes()),
        }
    }

    /// The version that the client spoke.
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::H1(head) if head.version == http1::Version::Http10 => Version::HTTP_10,
            Self::H1(_) => Version::HTTP_11,
            Self::H2(_) => Version::HTTP_2,
        }
    }

    /// Value of the first field with this name; none if absent or not visible ASCII.
    pub(crate) fn field(&self, known: Known, name: &HeaderName) -> Option<&str> {
        match self {
            Self::H1(head) => head
                .fields
                .get(known)
                .and_then(|value| std::str::from_utf8(value).ok()),
            Self::H2(parts) => parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok()),
        }
    }

    /// Value of the first field with this name, which is none of the well-known ones.
    pub(crate) fn field_named(&self, name: &HeaderName) -> Option<&str> {
        match self {
            Self::H1(head) => std::str::from_utf8(head.fields.get_named(name.as_str())?).ok(),
            Self::H2(parts) => parts.headers.get(name)?.to_str().ok(),
        }
    }

    /// Whether the client waits for `100 Continue` before it sends its body.
    pub(crate) fn expects_continue(&self) -> bool {
        match self {
            Self::H1(head) => head.expect_continue,
            Self::H2(parts) => parts
                .headers
                .get(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
        }
    }

    /// How the body is announced. `has_body` says whether an HTTP/2 stream stays open after its head.
    pub(crate) fn framing(&self, has_body: bool) -> Framing {
        match self {
            Self::H1(head) => head.framing,
            Self::H2(_) if !has_body => Framing::None,
            Self::H2(parts) => {
                content_length(&parts.headers).map_or(Framing::Chunked, Framing::Length)
            }
        }
    }

    /// The protocol that the client wants to switch to: `websocket` by `Upgrade`, or what extended
    /// CONNECT names. None for an ordinary request.
    pub(crate) fn upgrade(&self) -> Option<&str> {
        match self {
            Self::H1(head) => asks_for_websocket(head).then_some("websocket"),
            Self::H2(parts) => parts
                .extensions
                .get::<h2::ext::Protocol>()
                .map(|protocol| protocol.as_str()),
        }
    }

    /// Whether the client takes trailers (`TE: trailers`), as gRPC's do.
    pub(crate) fn te_trailers(&self) -> bool {
        match self {
            Self::H1(head) => head.te_trailers,
            Self::H2(parts) => parts
                .headers
                .get(header::TE)
                .is_some_and(|te| te.as_bytes() == b"trailers"),
        }
    }
}

/// Whether a WebSocket is asked for and nothing else, as RFC 6455 section 4.1 wants it. Any other
/// `Upgrade` may be ignored (RFC 9110 section 7.8) and must be: passed on, `h2c` would be a tunnel
/// around every rule of ours, and a body would follow a GET that its client never made.
fn asks_for_websocket(head: &http1::RequestHead) -> bool {
    let websocket = head
        .upgrade
        .as_deref()
        .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    websocket && head.method == Method::GET && !head.framing.has_body()
}

fn h2_authority(parts: &http::request::Parts) -> &str {
    parts
        .uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| {
            parts
                .headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
        })
        .unwrap_or("")
}

/// `Content-Length` of an HTTP/2 head; none if absent or not a number (h2 has refused those).
pub(crate) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Whether an answer to `method` with this status has no body, whatever its fields say (RFC 9110
/// section 6.4.1).
pub(crate) fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The host of an authority, without port and without the brackets' neighbours: `[::1]:80` -> `[::1]`.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

impl ResponseHead {
    /// Status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::H1(head) => head.status,
            Self::H2(parts) => parts.status,
        }
    }

    /// Value of the first field with this well-known name.
    pub(crate) fn field(&self, known: Known) -> Option<&[u8]> {
        match self {
            Self::H1(head) => head.fields.get(known),
            Self::H2(parts) => parts.headers.get(known.name()).map(HeaderValue::as_bytes),
        }
    }

    /// Whether any value of this well-known field is so.
    pub(crate) fn any_value(&self, known: Known, is: impl Fn(&[u8]) -> bool) -> bool {
        match self {
            Self::H1(head) => head.fields.get_all(known).any(is),
            Self::H2(parts) => {
                let mut values = parts.headers.get_all(known.name()).iter();
                values.any(|value| is(value.as_bytes()))
            }
        }
    }

    /// The length that the body has, or would have had (HEAD, 304).
    pub(crate) fn announced_length(&self) -> Option<u64> {
        match self {
            Self::H1(head) => match head.framing {
                Framing::Length(length) => Some(length),
                _ => std::str::from_utf8(head.fields.get(Known::ContentLength)?)
                    .ok()?
                    .parse()
                    .ok(),
            },
            Self::H2(parts) => content_length(&parts.headers),
        }
    }

    /// Whether the body is gRPC's.
    pub(crate) fn is_grpc(&self) -> bool {
        let kind = self.field(Known::ContentType);
        kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
    }

    /// The version that the upstream spoke.
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::H1(head) if head.version == http1::Version::Http10 => Version::HTTP_10,
            Self::H1(_) => Version::HTTP_11,
            Self::H2(_) => Version::HTTP_2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_of_an_authority_has_no_port() {
        for (authority, host) in [
            ("a.b:80", "a.b"),
            ("a.b:x", "a.b"),
            ("a.b:", "a.b"),
            ("a.b", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
    }
}
