//! Request heads, read by a server.
//!
//! A head that arrives whole and clean is tokenised once, in place. Anything else takes the
//! careful way: find the end without looking at a byte twice, and say exactly what is wrong, in
//! the order of the bytes.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::Method;

use crate::authority::HostAndPort;
use crate::connection::{self, Options};
use crate::diagnose::diagnose;
use crate::error::RequestError;
use crate::fields::{Fields, Lines, ends_line};
use crate::framing::{self, Framing};
use crate::grammar::{self, list_members};
use crate::known::Known;
use crate::limits::Limits;
use crate::message::Version;
use crate::request_line;
use crate::scan::Scanner;
use crate::target::Target;

/// A request head that passed every rule.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Case-sensitive, any token of up to 32 bytes.
    pub method: Method,
    /// What is asked for.
    pub target: Target,
    /// The version of the message.
    pub version: Version,
    /// Every field line, hop-by-hop ones marked.
    pub fields: Fields,
    /// How the body ends. Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client will take another answer on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body. Only with a body.
    pub expect_continue: bool,
    /// The protocols of `Upgrade`, if `Connection` announces it.
    pub upgrade: Option<Bytes>,
    /// Whether `TE` says that trailers are understood.
    pub te_trailers: bool,
}

impl RequestHead {
    /// The effective authority (RFC 9110 section 7.1): that of the target, else `Host`, valid
    /// either way. Empty if HTTP/1.0 sent none or `Host` is empty.
    pub fn authority(&self) -> &[u8] {
        match self.target.authority() {
            Some(authority) => authority.as_ref(),
            None => self.fields.get(Known::Host).unwrap_or_default(),
        }
    }

    /// See [`Target::path_and_query`].
    pub fn path_and_query(&self) -> &str {
        self.target.path_and_query()
    }
}

/// Reads the request heads of one connection, one after the other.
#[derive(Clone, Debug, Default)]
pub struct RequestParser {
    /// `None` until two bytes have arrived.
    scan: Option<Scanner>,
    start: usize,
    line_checked: bool,
}

/// What the tokeniser found, as positions.
struct Skeleton {
    method: Method,
    target: Range<usize>,
    version: Version,
    lines: Lines,
    end: usize,
}

/// Reads one head from the front of `buf`; for callers that keep no [`RequestParser`], at the
/// price of looking at an incomplete head again with each call.
pub fn parse_request(
    buf: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<RequestHead>, RequestError> {
    RequestParser::new().parse(buf, limits)
}

impl RequestParser {
    /// A parser at the start of a head.
    pub const fn new() -> Self {
        Self {
            scan: None,
            start: 0,
            line_checked: false,
        }
    }

    /// Splits the next head off the front of `buf`. `None`: more bytes are needed, and `buf` must
    /// only grow until the next call. One empty line before the head is tolerated
    /// (RFC 9112 section 2.2). After an error `buf` is in no defined state.
    pub fn parse(
        &mut self,
        buf: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, RequestError> {
        let window = &buf[..buf.len().min(limits.head_bytes)];
        let skeleton = match self.at_once(window, limits) {
            Some(skeleton) => skeleton,
            None => match self.carefully(window, limits)? {
                Some(skeleton) => skeleton,
                None => return Ok(None),
            },
        };
        *self = Self::new();
        let head = buf.split_to(skeleton.end).freeze();
        skeleton.assemble(head).map(Some)
    }

    /// The common case: the first read holds the whole head.
    fn at_once(&self, window: &[u8], limits: &Limits) -> Option<Skeleton> {
        let fresh = self.scan.is_none() && window.first().is_some_and(|&b| grammar::is_tchar(b));
        if fresh {
            Skeleton::tokenise(window, 0, limits)
        } else {
            None
        }
    }

    fn carefully(
        &mut self,
        window: &[u8],
        limits: &Limits,
    ) -> Result<Option<Skeleton>, RequestError> {
        let Some(end) = self.find_end(window, limits)? else {
            return Ok(None);
        };
        match Skeleton::tokenise(&window[..end], self.start, limits) {
            Some(skeleton) => Ok(Some(skeleton)),
            None => Err(diagnose(&window[self.first_line_end()..end], limits).into()),
        }
    }

    fn find_end(&mut self, window: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        let full = window.len() == limits.head_bytes;
        let found = self.scan(window);
        let undecided = matches!(found, Ok(None));
        if !undecided || full || self.line_is_due(window, limits) {
            request_line::check(&window[self.start..], limits)?;
            self.line_checked |= self.first_line_end() > 0;
        }
        match found? {
            None if full => Err(crate::FieldError::TooLarge.into()),
            found => Ok(found),
        }
    }

    fn scan(&mut self, window: &[u8]) -> Result<Option<usize>, crate::FieldError> {
        if window.len() < 2 {
            return Ok(None);
        }
        if self.scan.is_none() && window.starts_with(b"\r\n") {
            self.start = 2;
        }
        self.scan
            .get_or_insert(Scanner::starting_at(self.start))
            .advance(window)
    }

    /// Whether the request line can be judged before the head is complete: it has ended, it
    /// cannot be one, or it is too long to become one.
    fn line_is_due(&self, window: &[u8], limits: &Limits) -> bool {
        let line = &window[self.start.min(window.len())..];
        let impossible = line
            .first()
            .is_some_and(|&b| b != b'\r' && !grammar::is_tchar(b));
        let endless = line.len() > limits.request_line_max() + 2;
        match self.first_line_end() {
            0 => impossible || endless,
            _ => !self.line_checked,
        }
    }

    /// 0 while the request line is incomplete.
    fn first_line_end(&self) -> usize {
        self.scan
            .and_then(|scan| scan.first_line_end())
            .unwrap_or_default()
    }
}

impl Skeleton {
    /// Tokenises the head that starts at `start`. `None` if it is incomplete or anything about
    /// its bytes is wrong.
    fn tokenise(window: &[u8], start: usize, limits: &Limits) -> Option<Self> {
        let mut headers = [const { MaybeUninit::uninit() }; Limits::FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let headers = &mut headers[..limits.fields_max()];
        let parsed = request.parse_with_uninit_headers(&window[start..], headers);
        let Ok(httparse::Status::Complete(len)) = parsed else {
            return None;
        };
        let (method, target) = (request.method?, request.path?);
        let end = start + len;
        if !request_line::is_clean(method, target, limits) || !ends_clean(&window[..end]) {
            return None;
        }
        let target_start = start + method.len() + 1;
        Some(Self {
            method: Method::from_bytes(method.as_bytes()).ok()?,
            target: target_start..target_start + target.len(),
            version: Version::from_minor(request.version),
            lines: Lines::collect(window, request.headers)?,
            end,
        })
    }

    fn assemble(self, head: Bytes) -> Result<RequestHead, RequestError> {
        let target = Target::parse(head.slice(self.target), &self.method)?;
        let mut fields = Fields::new(head, self.lines);
        check_host(&target, &fields, self.version)?;
        let framing = framing(&self.method, &fields, self.version)?;
        let options = Options::read(&mut fields)?;
        Ok(RequestHead {
            upgrade: connection::upgrade(&fields, options, self.version)?,
            expect_continue: expects_continue(&fields, self.version)? && framing.has_body(),
            keep_alive: options.persists(self.version),
            te_trailers: te_trailers(&fields),
            method: self.method,
            version: self.version,
            target,
            framing,
            fields,
        })
    }
}

/// Whether a complete head ends in an empty line and the line before it in CRLF.
pub(crate) fn ends_clean(head: &[u8]) -> bool {
    head.strip_suffix(b"\r\n")
        .is_some_and(|lines| !lines.is_empty() && ends_line(lines))
}

/// Exactly one valid `Host` that agrees with the target (RFC 9112 section 3.2); HTTP/1.0 may
/// leave it out. Empty is valid unless the target names an authority.
fn check_host(target: &Target, fields: &Fields, version: Version) -> Result<(), RequestError> {
    let host = match fields.sole(Known::Host) {
        Ok(host) => host,
        Err(0) if version == Version::Http10 => return Ok(()),
        Err(0) => return Err(RequestError::HostMissing),
        Err(_) => return Err(RequestError::HostRepeated),
    };
    let parsed = HostAndPort::parse(host);
    if parsed.is_none() && !host.is_empty() {
        return Err(RequestError::HostInvalid);
    }
    match target.authority() {
        Some(authority) if !agree(authority.as_ref(), parsed, target) => {
            Err(RequestError::HostMismatch)
        }
        _ => Ok(()),
    }
}

/// `CONNECT` names a port that `Host` may leave out (RFC 9112 section 3.2.3).
fn agree(authority: &[u8], host: Option<HostAndPort<'_>>, target: &Target) -> bool {
    let (Some(authority), Some(host)) = (HostAndPort::parse(authority), host) else {
        return false;
    };
    let default_port = match target {
        Target::Authority(_) => authority.port,
        _ => target.default_port(),
    };
    authority.agrees_with(&host, default_port)
}

/// No length means no body. `CONNECT` and `TRACE` have none (RFC 9110 sections 9.3.6, 9.3.8).
fn framing(method: &Method, fields: &Fields, version: Version) -> Result<Framing, RequestError> {
    let framing = framing::declared(fields, version)?.unwrap_or(Framing::None);
    let bodiless = matches!(*method, Method::CONNECT | Method::TRACE);
    if bodiless && framing.has_body() {
        return Err(crate::FramingError::BodyForbidden.into());
    }
    Ok(framing)
}

/// HTTP/1.0 cannot wait for a 100, so its expectations are ignored (RFC 9110 section 10.1.1).
fn expects_continue(fields: &Fields, version: Version) -> Result<bool, RequestError> {
    if version == Version::Http10 || !fields.contains(Known::Expect) {
        return Ok(false);
    }
    let fits = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    match fields.get_all(Known::Expect).all(fits) {
        true => Ok(true),
        false => Err(RequestError::Expectation),
    }
}

fn te_trailers(fields: &Fields) -> bool {
    fields.contains(Known::Te)
        && fields
            .get_all(Known::Te)
            .flat_map(list_members)
            .any(|member| member.eq_ignore_ascii_case(b"trailers"))
}
