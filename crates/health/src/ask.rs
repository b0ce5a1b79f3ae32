//! What is asked of one endpoint.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use http_body_util::Empty;
use tidegate_core::plan::{HttpProbe, ProbeKind};

use crate::error::ProbeError;

const WHO: HeaderValue =
    HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"), " probe"));

/// Who is asked, and for what; made once for all checks of the endpoint.
pub(crate) struct Ask {
    address: Arc<str>,
    scheme: &'static str,
    path: Arc<str>,
    host: Arc<str>,
    /// The request as HTTP/1.1 has it on the wire.
    http1: Result<Box<[u8]>, ProbeError>,
}

impl Ask {
    /// What a probe of `kind` asks the endpoint at `address` (`host:port`); of no meaning for TCP
    /// probes, which ask nothing.
    pub(crate) fn new(address: Arc<str>, kind: &ProbeKind, scheme: &'static str) -> Self {
        let (path, host) = match kind {
            ProbeKind::Http(HttpProbe { path, host, .. }) => (path.clone(), host.clone()),
            _ => ("/".into(), None),
        };
        let host = host.unwrap_or_else(|| address.clone());
        Self {
            http1: on_the_wire(&path, &host),
            address,
            scheme,
            path,
            host,
        }
    }

    /// `host:port` of the endpoint.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// When path or host cannot be sent.
    pub(crate) fn http1(&self) -> Result<&[u8], ProbeError> {
        self.http1.as_deref().map_err(Clone::clone)
    }

    /// The request by HTTP/2, where scheme and host are pseudo-header fields.
    ///
    /// # Errors
    /// When path or host cannot be sent.
    pub(crate) fn http2(&self) -> Result<Request<Empty<Bytes>>, ProbeError> {
        let Self {
            scheme, path, host, ..
        } = self;
        build(Request::get(format!("{scheme}://{host}{path}")).version(Version::HTTP_2))
    }
}

fn on_the_wire(path: &str, host: &str) -> Result<Box<[u8]>, ProbeError> {
    let request = build(Request::get(path).header(header::HOST, host))?;
    let mut bytes = format!("GET {} HTTP/1.1\r\n", request.uri()).into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend(part);
        }
    }
    bytes.extend(b"\r\n");
    Ok(bytes.into())
}

fn build(builder: http::request::Builder) -> Result<Request<Empty<Bytes>>, ProbeError> {
    builder
        .header(header::USER_AGENT, WHO)
        .body(Empty::new())
        .map_err(|error| ProbeError::Protocol(format!("the request cannot be made: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, host: Option<&str>) -> Ask {
        let kind = ProbeKind::Http(HttpProbe {
            path: path.into(),
            host: host.map(Into::into),
            ..HttpProbe::default()
        });
        Ask::new("10.0.0.1:80".into(), &kind, "http")
    }

    #[test]
    fn the_request_is_on_the_wire_what_it_should_be() {
        let request = ask("/healthz?deep=1", None).http1().unwrap().to_vec();
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /healthz?deep=1 HTTP/1.1\r\nhost: 10.0.0.1:80\r\n\
             user-agent: tidegate/{version} probe\r\n\r\n"
        );
        assert_eq!(str::from_utf8(&request).unwrap(), expected);
    }

    #[test]
    fn nothing_gets_into_the_request_that_would_be_another() {
        for (path, host) in [
            ("/a b", "h"),
            ("/a\r\nx: y", "h"),
            ("/", "h\r\nx: y"),
            ("/", "h\0"),
        ] {
            let ask = ask(path, Some(host));
            for refused in [ask.http1().err(), ask.http2().err()] {
                let refused = refused.expect("refused").to_string();
                assert!(refused.contains("the request cannot be made"), "{refused}");
            }
        }
    }
}
