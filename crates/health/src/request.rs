//! One request, ready to be sent by either version of HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version, header};
use http_body_util::Full;
use tidegate_core::plan::{HttpProbe, UpstreamProtocol};
use tidegate_http1::RequestContext;

use crate::error::ProbeError;
use crate::expect::needs_content;

const WHO: HeaderValue =
    HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"), " probe"));

/// Fields that say how a message is framed or its connection used: not for a probe to set.
const OURS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// One request, as each protocol that may be agreed on has it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    http1: Option<Box<[u8]>>,
    http2: Option<Box<http::Request<Full<Bytes>>>>,
    /// What an HTTP/1.1 answer depends on.
    pub(crate) context: RequestContext,
    /// Whether the content of its answer matters.
    pub(crate) keep: bool,
}

/// What a request is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: &'static str,
    pub(crate) host: &'a str,
    pub(crate) path: Cow<'a, str>,
    pub(crate) fields: Vec<(&'a HeaderName, Cow<'a, str>)>,
    pub(crate) body: Option<Cow<'a, str>>,
    /// Whether the content of its answer matters.
    pub(crate) keep: bool,
}

impl<'a> Parts<'a> {
    /// What `probe` asks of `host`, as it stands there.
    pub(crate) fn of(probe: &'a HttpProbe, scheme: &'static str, host: &'a str) -> Self {
        let field = |(name, value): &'a (HeaderName, _)| {
            let value: &'a std::sync::Arc<str> = value;
            (name, Cow::Borrowed(&**value))
        };
        Self {
            method: &probe.method,
            scheme,
            host,
            path: Cow::Borrowed(&*probe.path),
            fields: probe.headers.iter().map(field).collect(),
            body: probe.body.as_deref().map(Cow::Borrowed),
            keep: needs_content(probe),
        }
    }
}

impl Request {
    /// The request of `parts`, for connections that speak `protocol`.
    ///
    /// # Errors
    /// When something of it cannot be sent.
    pub(crate) fn new(parts: &Parts<'_>, protocol: UpstreamProtocol) -> Result<Self, ProbeError> {
        let ours = |(name, _): &&(&HeaderName, _)| OURS.contains(name);
        if let Some((name, _)) = parts.fields.iter().find(ours) {
            let problem = format!("the field `{name}` is not a probe's to set");
            return Err(ProbeError::Request(problem));
        }
        let http1 = (protocol != UpstreamProtocol::Http2).then(|| on_the_wire(parts));
        let http2 = (protocol != UpstreamProtocol::Http1).then(|| http2(parts));
        Ok(Self {
            http1: http1.transpose()?,
            http2: http2.transpose()?.map(Box::new),
            context: RequestContext {
                head_request: parts.method == Method::HEAD,
                ..RequestContext::default()
            },
            keep: parts.keep,
        })
    }

    /// A request that exists by HTTP/2 only, whose answer's content matters.
    pub(crate) fn only_http2(request: http::Request<Full<Bytes>>) -> Self {
        Self {
            http1: None,
            http2: Some(Box::new(request)),
            context: RequestContext::default(),
            keep: true,
        }
    }

    /// The bytes to send by HTTP/1.1.
    ///
    /// # Errors
    /// When it was not made for that.
    pub(crate) fn http1(&self) -> Result<&[u8], ProbeError> {
        self.http1.as_deref().ok_or_else(|| not_for("HTTP/1.1"))
    }

    /// The request by HTTP/2, where scheme and host are pseudo-header fields.
    ///
    /// # Errors
    /// When it was not made for that.
    pub(crate) fn http2(&self) -> Result<http::Request<Full<Bytes>>, ProbeError> {
        self.http2
            .as_deref()
            .cloned()
            .ok_or_else(|| not_for("HTTP/2"))
    }
}

fn not_for(protocol: &str) -> ProbeError {
    ProbeError::Protocol(format!(
        "the endpoint chose {protocol}, which is not wanted"
    ))
}

fn http2(parts: &Parts<'_>) -> Result<http::Request<Full<Bytes>>, ProbeError> {
    let Parts {
        scheme, host, path, ..
    } = parts;
    let request = http::Request::builder()
        .uri(format!("{scheme}://{host}{path}"))
        .version(Version::HTTP_2);
    build(request, parts)
}

fn on_the_wire(parts: &Parts<'_>) -> Result<Box<[u8]>, ProbeError> {
    let request = http::Request::builder()
        .uri(&*parts.path)
        .header(header::HOST, parts.host);
    let request = build(request, parts)?;
    let mut bytes = format!("{} {} HTTP/1.1\r\n", parts.method, request.uri()).into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend(part);
        }
    }
    if let Some(length) = content_length(parts) {
        bytes.extend(format!("content-length: {length}\r\n").as_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(parts.body.as_deref().unwrap_or_default().as_bytes());
    Ok(bytes.into())
}

/// The length to tell: that of a body, or that a method which usually has one has none (RFC 9110
/// section 8.6).
fn content_length(parts: &Parts<'_>) -> Option<usize> {
    let usual = [Method::POST, Method::PUT, Method::PATCH].contains(parts.method);
    let length = parts.body.as_deref().map(str::len);
    length.or(usual.then_some(0))
}

fn build(
    builder: http::request::Builder,
    parts: &Parts<'_>,
) -> Result<http::Request<Full<Bytes>>, ProbeError> {
    let mut builder = builder.method(parts.method.clone());
    if !parts
        .fields
        .iter()
        .any(|(name, _)| *name == header::USER_AGENT)
    {
        builder = builder.header(header::USER_AGENT, WHO);
    }
    for (name, value) in &parts.fields {
        builder = builder.header(*name, &**value);
    }
    let body = parts.body.as_deref().unwrap_or_default();
    builder
        .body(Full::from(body.to_owned()))
        .map_err(|error| ProbeError::Request(error.to_string()))
}

/// The User-Agent of probes.
pub(crate) fn user_agent() -> HeaderValue {
    WHO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(probe: &HttpProbe, host: &str) -> Result<Request, ProbeError> {
        Request::new(&Parts::of(probe, "http", host), UpstreamProtocol::Auto)
    }

    fn get(path: &str) -> HttpProbe {
        HttpProbe {
            path: path.into(),
            ..HttpProbe::default()
        }
    }

    fn check(probe: &HttpProbe, expected: &str) {
        let request = request(probe, "10.0.0.1:80").unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let expected = expected.replace("WHO", &format!("tidegate/{version} probe"));
        assert_eq!(str::from_utf8(request.http1().unwrap()).unwrap(), expected);
    }

    #[test]
    fn the_request_is_on_the_wire_what_it_should_be() {
        check(
            &get("/healthz?deep=1"),
            "GET /healthz?deep=1 HTTP/1.1\r\nhost: 10.0.0.1:80\r\nuser-agent: WHO\r\n\r\n",
        );
        let fields = [
            ("x-probe", "deep"),
            ("user-agent", "curl"),
            ("content-type", "text/plain"),
        ];
        let fields = fields.map(|(name, value)| (HeaderName::from_static(name), value.into()));
        let post = HttpProbe {
            method: Method::POST,
            headers: fields.into(),
            body: Some("\u{e9}=1".into()),
            ..get("/")
        };
        check(
            &post,
            "POST / HTTP/1.1\r\nhost: 10.0.0.1:80\r\nx-probe: deep\r\nuser-agent: curl\r\n\
             content-type: text/plain\r\ncontent-length: 4\r\n\r\n\u{e9}=1",
        );
        let put = HttpProbe {
            method: Method::PUT,
            ..get("/")
        };
        check(
            &put,
            "PUT / HTTP/1.1\r\nhost: 10.0.0.1:80\r\nuser-agent: WHO\r\ncontent-length: 0\r\n\r\n",
        );
    }

    #[test]
    fn nothing_gets_into_the_request_that_would_be_another() {
        let refused = |probe: &HttpProbe, host: &str| {
            let problem = request(probe, host).expect_err("refused").to_string();
            let expected = "the request cannot be made: ";
            assert!(problem.starts_with(expected), "{problem}");
        };
        for (path, host) in [
            ("/a b", "h"),
            ("/a\r\nx: y", "h"),
            ("/", "h\r\nx: y"),
            ("/", "h\0"),
        ] {
            refused(&get(path), host);
        }
        for (name, value) in [
            (HeaderName::from_static("x"), "a\r\ny: b"),
            (header::HOST, "other.test"),
            (header::TRANSFER_ENCODING, "chunked"),
            (header::CONTENT_LENGTH, "7"),
            (header::CONNECTION, "close"),
        ] {
            let headers = [(name, value.into())].into();
            refused(
                &HttpProbe {
                    headers,
                    ..get("/")
                },
                "h",
            );
        }
    }
}
