//! Response heads, read by a client: the proxy towards an upstream.
//!
//! Upstreams are held to the rules that clients are held to. A half-understood answer is a 502
//! with a reason, never something passed on.

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

/// A response head that passed every rule. It is large, so it is handed out boxed. With a 1xx status other
/// than 101, another head follows.
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
    /// Whether the connection may take another request after this answer. Of no meaning with an
    /// interim answer: the final one decides.
    pub keep_alive: bool,
    /// With 101, the protocol that the connection switches to.
    pub upgrade: Option<Bytes>,
}

impl ResponseHead {
    /// One that says nothing yet: a constant, for the reason that a request's is.
    const EMPTY: Self = Self {
        status: StatusCode::OK,
        version: Version::Http11,
        reason: Bytes::new(),
        fields: Fields::empty(),
        framing: Framing::None,
        keep_alive: false,
        upgrade: None,
    };

    /// One that says nothing yet. What is read is put into its place, for it is too large to be moved.
    fn boxed() -> Box<Self> {
        let mut head = Box::new(Self::EMPTY);
        head.fields.make_room();
        head
    }

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
    end: usize,
}

/// Reads one head from the front of `buf`; for callers that keep no [`ResponseParser`], at the
/// price of looking at an incomplete head again with each call.
pub fn parse_response(
    buf: &mut BytesMut,
    context: RequestContext,
    limits: &Limits,
) -> Result<Option<Box<ResponseHead>>, ResponseError> {
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
    ) -> Result<Option<Box<ResponseHead>>, ResponseError> {
        let window = &buf[..buf.len().min(limits.head_bytes)];
        let mut head = ResponseHead::boxed();
        let lines = head.fields.lines_mut();
        let skeleton = match self.at_once(window, limits, lines) {
            Some(skeleton) => skeleton,
            None => match self.carefully(window, limits, lines)? {
                Some(skeleton) => skeleton,
                None => return Ok(None),
            },
        };
        *self = Self::new();
        let bytes = buf.split_to(skeleton.end).freeze();
        skeleton.assemble(bytes, context, &mut head)?;
        Ok(Some(head))
    }

    /// The common case: the first read holds the whole head.
    fn at_once(&self, window: &[u8], limits: &Limits, lines: &mut Lines) -> Option<Skeleton> {
        let fresh = self.scan.is_none() && window.first() == Some(&b'H');
        if fresh {
            Skeleton::tokenise(window, limits, lines)
        } else {
            None
        }
    }

    fn carefully(
        &mut self,
        window: &[u8],
        limits: &Limits,
        lines: &mut Lines,
    ) -> Result<Option<Skeleton>, ResponseError> {
        let Some(end) = self.find_end(window, limits)? else {
            return Ok(None);
        };
        match Skeleton::tokenise(&window[..end], limits, lines) {
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
    /// Fills `lines` too. `None` if the head is incomplete or anything about its bytes is wrong.
    fn tokenise(window: &[u8], limits: &Limits, lines: &mut Lines) -> Option<Self> {
        let line = status_line::read(window)?;
        Some(Self {
            code: line.code,
            version: line.version,
            reason: line.reason,
            end: lines.read(window, line.len, limits.fields_max())?,
        })
    }

    /// Fills `head`, which has its lines, by the rules for all of it.
    fn assemble(
        self,
        bytes: Bytes,
        context: RequestContext,
        head: &mut ResponseHead,
    ) -> Result<(), ResponseError> {
        head.status = status(self.code)?;
        head.version = self.version;
        head.reason = reason(head.status, &bytes, self.reason);
        head.fields.lie_in(bytes);
        head.framing = framing(head.status, &mut head.fields, self.version, context)?;
        let options = Options::read(&mut head.fields)?;
        let upgrade = connection::upgrade(&head.fields, options, self.version)?;
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if switches && (!context.upgrade || upgrade.is_none()) {
            return Err(ResponseError::SwitchUnasked);
        }
        let tunnels = switches || (context.connect && head.status.is_success());
        let ends_by_closing = head.framing == Framing::UntilClose;
        head.keep_alive = options.persists(self.version) && !ends_by_closing && !tunnels;
        head.upgrade = upgrade.filter(|_| switches);
        Ok(())
    }
}

/// The usual phrase is not held on to where it was read: it is known.
fn reason(status: StatusCode, bytes: &Bytes, at: Range<usize>) -> Bytes {
    let usual = status.canonical_reason().map(str::as_bytes);
    match usual.filter(|usual| *usual == &bytes[at.clone()]) {
        Some(usual) => Bytes::from_static(usual),
        None => bytes.slice(at),
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RequestContext = RequestContext {
        head_request: false,
        connect: false,
        upgrade: false,
    };
    const HEAD: RequestContext = RequestContext {
        head_request: true,
        ..PLAIN
    };
    const CONNECT: RequestContext = RequestContext {
        connect: true,
        ..PLAIN
    };
    const UPGRADE: RequestContext = RequestContext {
        upgrade: true,
        ..PLAIN
    };

    #[track_caller]
    fn accept(input: impl AsRef<[u8]>, context: RequestContext) -> ResponseHead {
        let shown = String::from_utf8_lossy(input.as_ref()).into_owned();
        let mut buf = BytesMut::from(input.as_ref());
        buf.extend_from_slice(b"REST");
        let head = parse_response(&mut buf, context, &Limits::default());
        let head = head.unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(&buf[..], b"REST", "exactly the head of {shown:?} is taken");
        *head.unwrap_or_else(|| panic!("{shown:?} is incomplete"))
    }

    /// Expects a refusal, whole and byte by byte.
    #[track_caller]
    fn refuse_in(context: RequestContext, input: impl AsRef<[u8]>, reason: &str) {
        let input = input.as_ref();
        let shown = String::from_utf8_lossy(input);
        let error = match parse_response(&mut BytesMut::from(input), context, &Limits::default()) {
            Err(error) => error,
            Ok(head) => panic!("{shown:?} was taken: {head:?}"),
        };
        assert_eq!(error.reason(), reason, "{shown:?}");
        assert_eq!(
            trickle(input, context),
            Some(error),
            "{shown:?} byte by byte"
        );
    }

    #[track_caller]
    fn refuse(input: impl AsRef<[u8]>, reason: &str) {
        refuse_in(PLAIN, input, reason);
    }

    fn trickle(input: &[u8], context: RequestContext) -> Option<ResponseError> {
        let mut parser = ResponseParser::new();
        let mut buf = BytesMut::new();
        input.iter().find_map(|b| {
            buf.extend_from_slice(&[*b]);
            parser.parse(&mut buf, context, &Limits::default()).err()
        })
    }

    fn with(status: u16, lines: &str) -> String {
        format!("HTTP/1.1 {status} X\r\n{lines}\r\n")
    }

    #[test]
    fn a_common_head_is_understood() {
        let head = accept(
            "HTTP/1.1 200 Very  OK \r\nETag: \"a\"\r\nContent-Length: 3\r\nConnection: x, y\r\nX: 1\r\n\r\n",
            PLAIN,
        );
        assert_eq!(
            (head.status, head.version),
            (StatusCode::OK, Version::Http11)
        );
        assert_eq!(&head.reason[..], b"Very  OK");
        assert_eq!(head.framing, Framing::Length(3));
        assert!(head.keep_alive && !head.is_interim());
        let forwarded = head.fields.iter().filter(|field| !field.hop_by_hop);
        assert!(
            forwarded
                .map(|field| field.name)
                .eq([&b"ETag"[..], b"Content-Length"])
        );
    }

    #[test]
    fn reasons_may_be_missing_or_odd() {
        let check = |line: &str, reason: &[u8]| {
            assert_eq!(
                &accept(format!("{line}\r\n\r\n"), PLAIN).reason[..],
                reason,
                "{line:?}"
            );
        };
        check("HTTP/1.1 200", b"");
        check("HTTP/1.1 200 ", b"");
        check("HTTP/1.1 200 \t ", b"");
        check("HTTP/1.1 200   Very well ", b"Very well");
        check("HTTP/1.1 200 caf\u{e9}\t!", "caf\u{e9}\t!".as_bytes());
    }

    #[test]
    fn the_status_line_is_held_to_its_grammar() {
        let odd = [
            "HTTP/1.2 200 X",
            "HTTP/2.0 200 X",
            "http/1.1 200 X",
            "HTTP/1.1  200 X",
            "ICY 200 X",
        ];
        let more = [
            "HTTP/1.1 20 X",
            "HTTP/1.1 2000 X",
            "HTTP/1.1 +20 X",
            "HTTP/1.1\t200 X",
            "X",
        ];
        let rest = [
            "",
            "HTTP/1.1 200\tX",
            "HTTP/1.1 200 X\0",
            "HTTP/1.1 200 \x7f",
            " HTTP/1.1 200 X",
        ];
        for line in odd.iter().chain(&more).chain(&rest) {
            refuse(format!("{line}\r\n\r\n"), "status_line_invalid");
        }
        for status in ["099", "000", "600", "999"] {
            refuse(format!("HTTP/1.1 {status} X\r\n\r\n"), "status_invalid");
        }
        refuse("\r\nHTTP/1.1 200 X\r\n\r\n", "status_line_invalid");
        refuse("\nHTTP/1.1 200 X\r\n\r\n", "bare_lf");
        refuse("HTTP/1.1 200 X\n\r\n", "bare_lf");
        refuse("HTTP/1.1 200 X\rY\r\n\r\n", "bare_cr");
        refuse("SSH-2.0-x", "status_line_invalid");
    }

    #[test]
    fn field_lines_are_held_to_their_grammar() {
        refuse(with(200, "A : b\r\n"), "space_before_colon");
        refuse(with(200, "A: b\r\n c\r\n"), "field_folded");
        refuse(with(200, " A: b\r\n"), "field_folded");
        refuse(with(200, "A: b\nC: d\r\n"), "bare_lf");
        refuse(with(200, "A: b\0\r\n"), "field_value_invalid");
        refuse(with(200, "A b\r\n"), "field_name_invalid");
        refuse(with(200, "A\r\n"), "field_colon_missing");
        refuse(with(200, &"a: b\r\n".repeat(129)), "fields_too_many");
        refuse(
            with(200, &format!("a: {}\r\n", "v".repeat(64 * 1024))),
            "head_too_large",
        );
        refuse("H".repeat(64 * 1024), "status_line_invalid");
    }

    #[test]
    fn a_body_has_one_unmistakable_end() {
        let both = "content_length_and_transfer_encoding";
        refuse(
            with(200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            both,
        );
        refuse(
            with(200, "Content-Length: 5\r\nContent-Length: 5\r\n"),
            "content_length_repeated",
        );
        refuse(
            with(200, "Content-Length: 5,5\r\n"),
            "content_length_repeated",
        );
        refuse(
            with(200, "Content-Length: -1\r\n"),
            "content_length_invalid",
        );
        refuse(
            with(200, "Transfer-Encoding: gzip\r\n"),
            "transfer_encoding_unsupported",
        );
        refuse(
            with(200, "Transfer-Encoding: chunked, chunked\r\n"),
            "transfer_encoding_invalid",
        );
        refuse(
            "HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer_encoding_in_http10",
        );
        refuse(with(204, "Content-Length: 1\r\n"), "body_forbidden");
        refuse(
            with(204, "Transfer-Encoding: chunked\r\n"),
            "body_forbidden",
        );
        refuse(with(103, "Content-Length: 1\r\n"), "body_forbidden");
        refuse_in(
            CONNECT,
            with(200, "Transfer-Encoding: chunked\r\n"),
            "body_forbidden",
        );
        refuse_in(
            HEAD,
            with(200, "Content-Length: x\r\n"),
            "content_length_invalid",
        );
    }

    #[test]
    fn framing_follows_status_and_method() {
        let length = "Content-Length: 3\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        let check = |context, status, lines, framing, keep_alive| {
            let head = accept(with(status, lines), context);
            assert_eq!(
                (head.framing, head.keep_alive),
                (framing, keep_alive),
                "{status} {lines}"
            );
        };
        check(PLAIN, 200, length, Framing::Length(3), true);
        check(PLAIN, 200, chunked, Framing::Chunked, true);
        check(PLAIN, 200, "", Framing::UntilClose, false);
        check(
            PLAIN,
            205,
            "Content-Length: 0\r\n",
            Framing::Length(0),
            true,
        );
        check(
            PLAIN,
            200,
            "Connection: close\r\nContent-Length: 3\r\n",
            Framing::Length(3),
            false,
        );
        check(PLAIN, 204, "", Framing::None, true);
        check(PLAIN, 304, length, Framing::None, true);
        check(PLAIN, 304, chunked, Framing::None, true);
        check(PLAIN, 100, "", Framing::None, true);
        check(PLAIN, 103, "Link: a\r\n", Framing::None, true);
        check(HEAD, 200, length, Framing::None, true);
        check(HEAD, 200, chunked, Framing::None, true);
        check(HEAD, 200, "", Framing::None, true);
        check(CONNECT, 200, "", Framing::None, false);
        check(CONNECT, 200, "Content-Length: 0\r\n", Framing::None, false);
        check(CONNECT, 403, length, Framing::Length(3), true);
        let old = accept("HTTP/1.0 200 X\r\nContent-Length: 3\r\n\r\n", PLAIN);
        assert!(!old.keep_alive);
    }

    #[test]
    fn a_length_that_must_not_be_sent_is_not_forwarded() {
        for (context, status) in [(PLAIN, 204), (PLAIN, 103), (CONNECT, 200)] {
            let head = accept(with(status, "Content-Length: 0\r\n"), context);
            assert!(head.fields.iter().all(|field| field.hop_by_hop), "{status}");
        }
        let head = accept(with(304, "Content-Length: 9\r\n"), PLAIN);
        assert!(head.fields.iter().all(|field| !field.hop_by_hop));
    }

    #[test]
    fn a_switch_of_protocols_must_be_asked_for() {
        let full = "Connection: upgrade\r\nUpgrade: websocket\r\n";
        let head = accept(with(101, full), UPGRADE);
        assert_eq!(head.upgrade.as_deref(), Some(&b"websocket"[..]));
        assert!(!head.keep_alive && !head.is_interim());
        refuse(with(101, full), "switch_unasked");
        refuse_in(UPGRADE, with(101, ""), "switch_unasked");
        refuse_in(
            UPGRADE,
            with(101, "Upgrade: websocket\r\n"),
            "switch_unasked",
        );
        refuse_in(
            UPGRADE,
            format!("HTTP/1.0 101 X\r\n{full}\r\n"),
            "switch_unasked",
        );
        assert_eq!(accept(with(200, full), UPGRADE).upgrade, None);
        assert!(accept(with(103, ""), PLAIN).is_interim());
    }
}
