//! Response heads, read by a client: the proxy towards an upstream.
//!
//! Upstreams are held to the rules that clients are held to. A half-understood answer is a 502
//! with a reason, never something passed on.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use crate::connection::{self, Options};
use crate::diagnose::diagnose;
use crate::error::{FieldError, FramingError, ResponseError};
use crate::fields::{Fields, Lines};
use crate::framing::{self, Framing};
use crate::known::Known;
use crate::limits::Limits;
use crate::message::Version;
use crate::request::ends_clean;
use crate::scan::Scanner;
use crate::status_line;

/// What was asked, as far as it decides how the answer is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The method was `HEAD`: no answer has a body.
    pub head_request: bool,
    /// The method was `CONNECT`: a 2xx has no body and starts a tunnel.
    pub connect: bool,
    /// `Upgrade` was sent: a 101 may come.
    pub upgrade: bool,
}

/// A response head that passed every rule. With a 1xx status other than 101, another head follows.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: StatusCode,
    /// The version of the message.
    pub version: Version,
    /// The reason phrase, often empty. May hold bytes >= 0x80.
    pub reason: Bytes,
    /// Every field line; those that must not be forwarded are marked.
    pub fields: Fields,
    /// How the body ends: [`Framing::None`] for 1xx, 204, 304, to `HEAD`, and a 2xx to `CONNECT`.
    pub framing: Framing,
    /// Whether the connection may take another request after this answer.
    pub keep_alive: bool,
    /// With 101, the protocol that the connection switches to.
    pub upgrade: Option<Bytes>,
}

impl ResponseHead {
    /// Whether the final answer is yet to come (RFC 9110 section 15.2).
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Reads the response heads of one connection, one after the other.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    scan: Option<Scanner>,
    line_checked: bool,
}

/// What the tokeniser found, as positions.
struct Skeleton {
    code: u16,
    version: Version,
    reason: Range<usize>,
    lines: Lines,
    end: usize,
}

/// Reads one head from the front of `buf`; for callers that keep no [`ResponseParser`], at the
/// price of looking at an incomplete head again with each call.
pub fn parse_response(
    buf: &mut BytesMut,
    context: RequestContext,
    limits: &Limits,
) -> Result<Option<ResponseHead>, ResponseError> {
    ResponseParser::new().parse(buf, context, limits)
}

impl ResponseParser {
    /// A parser at the start of a head.
    pub const fn new() -> Self {
        Self {
            scan: None,
            line_checked: false,
        }
    }

    /// Splits the next head off the front of `buf`. `None`: more bytes are needed, and `buf` must
    /// only grow until the next call. Nothing may precede the status line. After an error `buf`
    /// is in no defined state.
    pub fn parse(
        &mut self,
        buf: &mut BytesMut,
        context: RequestContext,
        limits: &Limits,
    ) -> Result<Option<ResponseHead>, ResponseError> {
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
        skeleton.assemble(head, context).map(Some)
    }

    /// The common case: the first read holds the whole head.
    fn at_once(&self, window: &[u8], limits: &Limits) -> Option<Skeleton> {
        let fresh = self.scan.is_none() && window.first() == Some(&b'H');
        if fresh {
            Skeleton::tokenise(window, limits)
        } else {
            None
        }
    }

    fn carefully(
        &mut self,
        window: &[u8],
        limits: &Limits,
    ) -> Result<Option<Skeleton>, ResponseError> {
        let Some(end) = self.find_end(window, limits)? else {
            return Ok(None);
        };
        match Skeleton::tokenise(&window[..end], limits) {
            Some(skeleton) => Ok(Some(skeleton)),
            None => Err(diagnose(&window[self.first_line_end()..end], limits).into()),
        }
    }

    fn find_end(&mut self, window: &[u8], limits: &Limits) -> Result<Option<usize>, ResponseError> {
        let full = window.len() == limits.head_bytes;
        let found = self.scan.get_or_insert_default().advance(window);
        self.check_line(window, full || !matches!(found, Ok(None)))?;
        match found? {
            None if full => Err(FieldError::TooLarge.into()),
            found => Ok(found),
        }
    }

    /// Judges the whole line once it has ended or nothing more will be looked at, else its start.
    fn check_line(&mut self, window: &[u8], last_chance: bool) -> Result<(), ResponseError> {
        let ended = self.first_line_end() > 0;
        if last_chance || (ended && !self.line_checked) {
            self.line_checked = ended;
            status_line::check(window)
        } else if !ended {
            status_line::check(&window[..window.len().min(status_line::FIXED_BYTES)])
        } else {
            Ok(())
        }
    }

    /// 0 while the status line is incomplete.
    fn first_line_end(&self) -> usize {
        self.scan
            .and_then(|scan| scan.first_line_end())
            .unwrap_or_default()
    }
}

impl Skeleton {
    /// `None` if the head is incomplete or anything about its bytes is wrong.
    fn tokenise(window: &[u8], limits: &Limits) -> Option<Self> {
        let mut headers = [const { MaybeUninit::uninit() }; Limits::FIELDS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let headers = &mut headers[..limits.fields_max()];
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            window,
            headers,
        );
        let Ok(httparse::Status::Complete(end)) = parsed else {
            return None;
        };
        if !ends_clean(&window[..end]) {
            return None;
        }
        Some(Self {
            code: response.code?,
            version: Version::from_minor(response.version),
            reason: status_line::reason_range(&window[..end]),
            lines: Lines::collect(window, response.headers)?,
            end,
        })
    }

    fn assemble(self, head: Bytes, context: RequestContext) -> Result<ResponseHead, ResponseError> {
        let status = status(self.code)?;
        let reason = head.slice(self.reason);
        let mut fields = Fields::new(head, self.lines);
        let framing = framing(status, &mut fields, self.version, context)?;
        let options = Options::read(&mut fields)?;
        let upgrade = connection::upgrade(&fields, options, self.version)?;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if switches && (!context.upgrade || upgrade.is_none()) {
            return Err(ResponseError::SwitchUnasked);
        }
        let tunnels = switches || (context.connect && status.is_success());
        Ok(ResponseHead {
            keep_alive: options.persists(self.version)
                && framing != Framing::UntilClose
                && !tunnels,
            upgrade: upgrade.filter(|_| switches),
            version: self.version,
            status,
            reason,
            fields,
            framing,
        })
    }
}

fn status(code: u16) -> Result<StatusCode, ResponseError> {
    match StatusCode::from_u16(code) {
        Ok(status) if code < 600 => Ok(status),
        _ => Err(ResponseError::Status),
    }
}

/// RFC 9112 section 6.3. The fields are judged even where they do not count, since they are
/// forwarded to HEAD and with 304.
fn framing(
    status: StatusCode,
    fields: &mut Fields,
    version: Version,
    context: RequestContext,
) -> Result<Framing, ResponseError> {
    let declared = framing::declared(fields, version)?;
    let empty = status.is_informational() || status == StatusCode::NO_CONTENT;
    if empty || (context.connect && status.is_success()) {
        // A server must not send the field with these, so it is not forwarded either.
        fields.withhold(Known::ContentLength);
        let announced = declared.is_some_and(Framing::has_body);
        return if announced {
            Err(FramingError::BodyForbidden.into())
        } else {
            Ok(Framing::None)
        };
    }
    if context.head_request || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}
