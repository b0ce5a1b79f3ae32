//! The four forms of a request target (RFC 9112 section 3.2).

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use http::uri::Scheme;
use memchr::memchr;

use crate::ascii::Ascii;
use crate::authority::HostAndPort;
use crate::error::RequestError;

/// What a request asks for. No form holds a fragment, a space, a control byte or a byte >= 0x80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`: starts with `/`.
    Origin(Ascii),
    /// `http://authority/path?query`
    Absolute {
        /// `http` or `https`.
        scheme: Scheme,
        /// Valid and not empty; agrees with `Host`.
        authority: Ascii,
        /// Starts with `/`, or is `*` for `OPTIONS` without path and query (section 3.2.4).
        path_and_query: Ascii,
    },
    /// `host:port`, with `CONNECT` only. The port is always there.
    Authority(Ascii),
    /// `*`, with `OPTIONS` only.
    Asterisk,
}

impl Target {
    /// Path and query as they go to an origin: `*` for the asterisk form, empty for `CONNECT`.
    pub fn path_and_query(&self) -> &str {
        match self {
            Self::Origin(path_and_query) | Self::Absolute { path_and_query, .. } => path_and_query,
            Self::Authority(_) => "",
            Self::Asterisk => "*",
        }
    }

    /// The same, for whoever copies it.
    pub fn path_and_query_bytes(&self) -> &[u8] {
        match self {
            Self::Origin(path_and_query) | Self::Absolute { path_and_query, .. } => {
                path_and_query.as_ref()
            }
            Self::Authority(_) => b"",
            Self::Asterisk => b"*",
        }
    }

    /// The path without the query; `*` and empty as in [`path_and_query`](Self::path_and_query).
    pub fn path_bytes(&self) -> &[u8] {
        let target = self.path_and_query_bytes();
        &target[..memchr(b'?', target).unwrap_or(target.len())]
    }

    /// The authority that the target itself names.
    pub fn authority(&self) -> Option<&Ascii> {
        match self {
            Self::Absolute { authority, .. } | Self::Authority(authority) => Some(authority),
            Self::Origin(_) | Self::Asterisk => None,
        }
    }

    /// The port that a missing one stands for.
    pub(crate) fn default_port(&self) -> Option<u16> {
        match self {
            Self::Absolute { scheme, .. } if *scheme == Scheme::HTTPS => Some(443),
            Self::Absolute { .. } => Some(80),
            _ => None,
        }
    }

    /// Reads `target`, whose bytes were found to be legal.
    pub(crate) fn parse(target: Bytes, method: &Method) -> Result<Self, RequestError> {
        if *method == Method::CONNECT {
            return connect(target);
        }
        match &target[..] {
            [b'/', ..] => Ok(Self::Origin(Ascii::trusted(target))),
            b"*" if *method == Method::OPTIONS => Ok(Self::Asterisk),
            _ => absolute(&target, method),
        }
    }
}

fn connect(target: Bytes) -> Result<Target, RequestError> {
    match HostAndPort::parse(&target) {
        Some(HostAndPort { port: Some(_), .. }) => Ok(Target::Authority(Ascii::trusted(target))),
        _ => Err(RequestError::TargetForm),
    }
}

fn absolute(target: &Bytes, method: &Method) -> Result<Target, RequestError> {
    let (scheme, start) = scheme(target)?;
    let rest = target.slice(start..);
    let path_start = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?'))
        .unwrap_or(rest.len());
    let authority = rest.slice(..path_start);
    if HostAndPort::parse(&authority).is_none() {
        return Err(RequestError::Authority);
    }
    let path_and_query = absolute_path(rest.slice(path_start..), method);
    Ok(Target::Absolute {
        scheme,
        authority: Ascii::trusted(authority),
        path_and_query,
    })
}

/// The scheme and where the authority starts.
fn scheme(target: &[u8]) -> Result<(Scheme, usize), RequestError> {
    let starts = |prefix: &[u8]| {
        target
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    match memchr::memmem::find(target, b"://") {
        _ if starts(b"http://") => Ok((Scheme::HTTP, "http://".len())),
        _ if starts(b"https://") => Ok((Scheme::HTTPS, "https://".len())),
        Some(end) if target[..end].iter().all(u8::is_ascii_alphanumeric) => {
            Err(RequestError::Scheme)
        }
        _ => Err(RequestError::TargetForm),
    }
}

/// An empty path is `/`, and for `OPTIONS` without a query `*` (RFC 9112 section 3.2.4).
fn absolute_path(rest: Bytes, method: &Method) -> Ascii {
    match &rest[..] {
        [] if *method == Method::OPTIONS => Ascii::from_static("*"),
        [] => Ascii::from_static("/"),
        [b'/', ..] => Ascii::trusted(rest),
        _ => {
            let mut rooted = BytesMut::with_capacity(rest.len() + 1);
            rooted.put_u8(b'/');
            rooted.put_slice(&rest);
            Ascii::trusted(rooted.freeze())
        }
    }
}
