//! Request heads, read by a server.
//!
//! A head that arrives whole and clean is tokenised once, in place. Anything else takes the
//! careful way: find the end without looking at a byte twice, and say exactly what is wrong, in
//! the order of the bytes.

use std::ops::Range;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::Method;

use crate::authority::HostAndPort;
use crate::connection::{self, Options};
use crate::diagnose::diagnose;
use crate::error::RequestError;
use crate::fields::{Fields, Lines};
use crate::framing::{self, Framing};
use crate::grammar::{self, list_members};
use crate::known::Known;
use crate::limits::Limits;
use crate::message::Version;
use crate::request_line;
use crate::scan::Scanner;
use crate::target::Target;

/// A request head that passed every rule. It has a quarter of a kilobyte, so it is handed out boxed.
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
    /// The value of `Host`; none if that is missing or empty.
    host: Option<Rc<str>>,
}

impl RequestHead {
    /// One that says nothing yet: a constant, which is copied into its box. What is put together first has to be
    /// moved there before the processor has it all together.
    const EMPTY: Self = Self {
        method: Method::GET,
        target: Target::Asterisk,
        version: Version::Http11,
        fields: Fields::empty(),
        framing: Framing::None,
        keep_alive: false,
        expect_continue: false,
        upgrade: None,
        te_trailers: false,
        host: None,
    };

    /// One that says nothing yet. What is read is put into its place, for it is too large to be moved.
    fn boxed() -> Box<Self> {
        let mut head = Box::new(Self::EMPTY);
        head.fields.make_room();
        head
    }

    /// The effective authority (RFC 9110 section 7.1): that of the target, else `Host`, valid
    /// either way. Empty if HTTP/1.0 sent none or `Host` is empty.
    pub fn authority(&self) -> &str {
        match self.target.authority() {
            Some(authority) => authority.as_str(),
            None => self.host.as_deref().unwrap_or_default(),
        }
    }

    /// See [`Target::path_and_query`].
    pub fn path_and_query(&self) -> &str {
        self.target.path_and_query()
    }

    /// See [`Target::path_and_query_bytes`].
    pub fn path_and_query_bytes(&self) -> &[u8] {
        self.target.path_and_query_bytes()
    }
}

/// Reads the request heads of one connection, one after the other.
#[derive(Clone, Debug, Default)]
pub struct RequestParser {
    /// `None` until two bytes have arrived.
    scan: Option<Scanner>,
    start: usize,
    line_checked: bool,
    /// The `Host` of the last head, which was valid: most connections are to one host.
    host: Option<Rc<str>>,
}

/// What the tokeniser found, as positions.
struct Skeleton {
    method: Method,
    target: Range<usize>,
    version: Version,
    end: usize,
}

/// Reads one head from the front of `buf`; for callers that keep no [`RequestParser`], at the
/// price of looking at an incomplete head again with each call.
pub fn parse_request(
    buf: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<Box<RequestHead>>, RequestError> {
    RequestParser::new().parse(buf, limits)
}

impl RequestParser {
    /// A parser at the start of a head.
    pub const fn new() -> Self {
        Self {
            scan: None,
            start: 0,
            line_checked: false,
            host: None,
        }
    }

    /// Stands at the start of the next head.
    fn next(&mut self) {
        *self = Self {
            host: self.host.take(),
            ..Self::new()
        };
    }

    /// Splits the next head off the front of `buf`. `None`: more bytes are needed, and `buf` must
    /// only grow until the next call. One empty line before the head is tolerated
    /// (RFC 9112 section 2.2). After an error `buf` is in no defined state.
    pub fn parse(
        &mut self,
        buf: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Box<RequestHead>>, RequestError> {
        let window = &buf[..buf.len().min(limits.head_bytes)];
        let mut head = RequestHead::boxed();
        let lines = head.fields.lines_mut();
        let skeleton = match self.at_once(window, limits, lines) {
            Some(skeleton) => skeleton,
            None => match self.carefully(window, limits, lines)? {
                Some(skeleton) => skeleton,
                None => return Ok(None),
            },
        };
        self.next();
        let bytes = buf.split_to(skeleton.end).freeze();
        skeleton.assemble(bytes, &mut self.host, &mut head)?;
        Ok(Some(head))
    }

    /// The common case: the first read holds the whole head.
    fn at_once(&self, window: &[u8], limits: &Limits, lines: &mut Lines) -> Option<Skeleton> {
        let fresh = self.scan.is_none() && window.first().is_some_and(|&b| grammar::is_tchar(b));
        if fresh {
            Skeleton::tokenise(window, 0, limits, lines)
        } else {
            None
        }
    }

    fn carefully(
        &mut self,
        window: &[u8],
        limits: &Limits,
        lines: &mut Lines,
    ) -> Result<Option<Skeleton>, RequestError> {
        let Some(end) = self.find_end(window, limits)? else {
            return Ok(None);
        };
        match Skeleton::tokenise(&window[..end], self.start, limits, lines) {
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
    /// Tokenises the head that starts at `start`, into `lines` too. `None` if it is incomplete or anything about
    /// its bytes is wrong.
    fn tokenise(window: &[u8], start: usize, limits: &Limits, lines: &mut Lines) -> Option<Self> {
        let line = request_line::read(&window[start..], limits)?;
        let end = lines.read(window, start + line.len, limits.fields_max())?;
        let target_start = start + line.method_len + 1;
        Some(Self {
            method: Method::from_bytes(&window[start..start + line.method_len]).ok()?,
            target: target_start..target_start + line.target_len,
            version: line.version,
            end,
        })
    }

    /// Fills `head`, which has its lines, by the rules for all of it; `last` is the last valid `Host`.
    fn assemble(
        self,
        bytes: Bytes,
        last: &mut Option<Rc<str>>,
        head: &mut RequestHead,
    ) -> Result<(), RequestError> {
        head.target = Target::parse(bytes.slice(self.target), &self.method)?;
        head.fields.lie_in(bytes);
        check_host(&head.target, &head.fields, self.version, last)?;
        if head.fields.contains(Known::Host) {
            head.host.clone_from(last);
        }
        head.framing = framing(&self.method, &head.fields, self.version)?;
        let options = Options::read(&mut head.fields)?;
        head.upgrade = connection::upgrade(&head.fields, options, self.version)?;
        let expects = expects_continue(&head.fields, self.version)?;
        head.expect_continue = expects && head.framing.has_body();
        head.keep_alive = options.persists(self.version);
        head.te_trailers = te_trailers(&head.fields);
        head.method = self.method;
        head.version = self.version;
        Ok(())
    }
}

/// Exactly one valid `Host` that agrees with the target (RFC 9112 section 3.2); HTTP/1.0 may
/// leave it out. Empty is valid unless the target names an authority. `last` is the last one that was
/// found to be valid, and then this one.
fn check_host(
    target: &Target,
    fields: &Fields,
    version: Version,
    last: &mut Option<Rc<str>>,
) -> Result<(), RequestError> {
    let host = match fields.sole(Known::Host) {
        Ok(host) => host,
        Err(0) if version == Version::Http10 => return Ok(()),
        Err(0) => return Err(RequestError::HostMissing),
        Err(_) => return Err(RequestError::HostRepeated),
    };
    let authority = target.authority();
    let again = last.as_deref().is_some_and(|last| last.as_bytes() == host);
    if again && authority.is_none() {
        return Ok(());
    }
    let parsed = HostAndPort::parse(host);
    if parsed.is_none() && !host.is_empty() {
        return Err(RequestError::HostInvalid);
    }
    match authority {
        Some(authority) if !agree(authority.as_ref(), parsed, target) => {
            return Err(RequestError::HostMismatch);
        }
        _ => {}
    }
    *last = parsed.and(std::str::from_utf8(host).ok()).map(Rc::from);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> Result<Option<Box<RequestHead>>, RequestError> {
        parse_request(&mut BytesMut::from(input), &Limits::default())
    }

    #[track_caller]
    fn accept(input: &str) -> RequestHead {
        let mut buf = BytesMut::from(input);
        buf.extend_from_slice(b"REST");
        let head = parse_request(&mut buf, &Limits::default());
        let head = head.unwrap_or_else(|error| panic!("{input:?}: {error}"));
        assert_eq!(&buf[..], b"REST", "exactly the head of {input:?} is taken");
        *head.unwrap_or_else(|| panic!("{input:?} is incomplete"))
    }

    /// Expects a refusal, whole and byte by byte.
    #[track_caller]
    fn refuse(input: impl AsRef<[u8]>, status: u16, reason: &str) {
        let input = input.as_ref();
        let shown = String::from_utf8_lossy(input);
        let error = match parse(input) {
            Err(error) => error,
            Ok(head) => panic!("{shown:?} was taken: {head:?}"),
        };
        assert_eq!(
            (error.status().as_u16(), error.reason()),
            (status, reason),
            "{shown:?}"
        );
        assert_eq!(trickle(input), Some(error), "{shown:?} byte by byte");
    }

    fn trickle(input: &[u8]) -> Option<RequestError> {
        let mut parser = RequestParser::new();
        let mut buf = BytesMut::new();
        input.iter().find_map(|b| {
            buf.extend_from_slice(&[*b]);
            parser.parse(&mut buf, &Limits::default()).err()
        })
    }

    /// A GET with these field lines after `Host`.
    fn with(lines: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    }

    fn line(request_line: &str) -> String {
        format!("{request_line}\r\nHost: a\r\n\r\n")
    }

    #[test]
    fn a_common_head_is_understood() {
        let head = accept(concat!(
            "POST /cart?item=7 HTTP/1.1\r\nhost: Shop.Example:8443\r\nX-Odd:\t caf\u{e9} \t\r\n",
            "Content-Length: 12\r\nExpect: 100-Continue\r\nTE: trailers, deflate;q=0.5\r\n",
            "empty:\r\ncookie: a=1\r\nCookie: b=2\r\n\r\n"
        ));
        assert_eq!(head.method, Method::POST);
        assert_eq!(head.path_and_query(), "/cart?item=7");
        assert_eq!(head.authority(), "Shop.Example:8443");
        assert_eq!(
            (head.version, head.framing),
            (Version::Http11, Framing::Length(12))
        );
        assert!(head.keep_alive && head.expect_continue && head.te_trailers);
        assert_eq!(head.upgrade, None);
        assert_eq!(head.fields.len(), 8);
        assert_eq!(head.fields.get_named("x-oDD"), Some("caf\u{e9}".as_bytes()));
        assert_eq!(head.fields.get_named("Empty"), Some(&b""[..]));
        assert_eq!(head.fields.get_named("none"), None);
        assert!(head.fields.get_all(Known::Cookie).eq([b"a=1", b"b=2"]));
        assert_eq!(
            head.fields.value_bytes(0).as_deref(),
            Some(&b"Shop.Example:8443"[..])
        );
        assert_eq!(head.fields.value_bytes(8), None);
        let names: Vec<_> = head.fields.iter().map(|field| field.name).collect();
        assert_eq!(names[0], b"host");
        assert_eq!(names[1], b"X-Odd");
    }

    /// A parser that has seen a host judges the next head as one that has seen none.
    #[test]
    fn what_is_remembered_of_a_host_changes_nothing() {
        let hosts = ["a", "b:1", "a:", "[::1]", "", "a,b", "a:x", "[::1", "%zz"];
        let heads = || {
            let lines = hosts.iter().map(|host| format!("Host: {host}\r\n"));
            let none = [String::new(), "Host: a\r\nHost: a\r\n".to_owned()];
            let targets = ["/", "http://a/", "http://b:1/"];
            lines.chain(none).flat_map(move |lines| {
                targets.map(|target| format!("GET {target} HTTP/1.1\r\n{lines}\r\n"))
            })
        };
        let versions = || heads().chain(heads().map(|head| head.replace("HTTP/1.1", "HTTP/1.0")));
        let said = |parsed: Result<Option<Box<RequestHead>>, RequestError>| {
            parsed.map(|head| head.map(|head| head.authority().to_owned()))
        };
        for first in versions() {
            for second in versions() {
                let mut parser = RequestParser::new();
                let mut parse =
                    |head: &str| said(parser.parse(&mut BytesMut::from(head), &Limits::default()));
                if parse(&first).is_ok() {
                    let alone = said(self::parse(second.as_bytes()));
                    assert_eq!(parse(&second), alone, "{first:?} {second:?}");
                }
            }
        }
    }

    #[test]
    fn incomplete_heads_wait_without_taking_anything() {
        let whole = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            let mut buf = BytesMut::from(&whole[..end]);
            let head = parse_request(&mut buf, &Limits::default()).expect("no fault so far");
            assert!(head.is_none(), "{end} bytes");
            assert_eq!(buf.len(), end);
        }
        assert!(parse(whole).is_ok_and(|head| head.is_some()));
    }

    #[test]
    fn the_request_line_is_held_to_its_grammar() {
        refuse(line("GET / HTTP/1.1 "), 400, "version_invalid");
        refuse(line("GET / http/1.1"), 400, "version_invalid");
        refuse(line("GET / HTTP/1.10"), 400, "version_invalid");
        refuse(line("GET / HTTP/11"), 400, "version_invalid");
        refuse(line("GET / HTTP/1.1\t"), 400, "version_invalid");
        refuse(line("GET / XTTP/1.1"), 400, "version_invalid");
        refuse(line("GET /  HTTP/1.1"), 400, "version_invalid");
        refuse(line("GET / HTTP/2.0"), 505, "version_unsupported");
        refuse(line("GET / HTTP/1.2"), 505, "version_unsupported");
        refuse(line("GET / HTTP/0.9"), 505, "version_unsupported");
        refuse("GET /\r\n", 400, "version_missing");
        refuse("GET / \r\n", 400, "version_invalid");
        refuse("GET\r\n", 400, "method_invalid");
        refuse(line("GET  / HTTP/1.1"), 400, "target_invalid");
        refuse(line("GET\t/ HTTP/1.1"), 400, "method_invalid");
        refuse(line(" GET / HTTP/1.1"), 400, "method_invalid");
        refuse(line("G\u{e9}T / HTTP/1.1"), 400, "method_invalid");
        refuse(line("G(T / HTTP/1.1"), 400, "method_invalid");
        refuse("\x16\x03\x01", 400, "method_invalid");
        refuse(
            line(&format!("{} / HTTP/1.1", "M".repeat(33))),
            501,
            "method_too_long",
        );
        refuse("M".repeat(33 + 8 * 1024 + 12), 501, "method_too_long");
        refuse(
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            505,
            "version_unsupported",
        );
        refuse("\r\n\r\nGET / HTTP/1.1\r\n", 400, "leading_lines");
        refuse("\nGET / HTTP/1.1\r\n", 400, "bare_lf");
        refuse("\rGET / HTTP/1.1\r\n", 400, "bare_cr");
        assert_eq!(
            accept(&line(&format!("{} / HTTP/1.1", "M".repeat(32))))
                .method
                .as_str()
                .len(),
            32
        );
        assert_eq!(
            accept(&line("\r\nm!#$%&'*+-.^_`|~9 / HTTP/1.1"))
                .method
                .as_str()
                .len(),
            17
        );
    }

    #[test]
    fn the_target_has_the_form_that_the_method_takes() {
        let form = |target: &str| line(&format!("GET {target} HTTP/1.1"));
        refuse(form("/a#b"), 400, "target_invalid");
        refuse(form("/a\x01"), 400, "target_invalid");
        refuse(form("/a\x7f"), 400, "target_invalid");
        refuse(form("/a\0"), 400, "target_invalid");
        refuse(form("/caf\u{e9}"), 400, "target_invalid");
        refuse(form("/a\rb"), 400, "bare_cr");
        refuse(form("/a\nb"), 400, "bare_lf");
        refuse(form("a"), 400, "target_form");
        refuse(form("?a"), 400, "target_form");
        refuse(form("*"), 400, "target_form");
        refuse(form("a:80"), 400, "target_form");
        refuse(form("ftp://a/"), 400, "scheme_unsupported");
        refuse(form("http:///"), 400, "authority_invalid");
        refuse(form("http://u@a/"), 400, "authority_invalid");
        refuse(form("http://b/"), 400, "host_mismatch");
        refuse(form("http://a:81/"), 400, "host_mismatch");
        refuse(form("https://a:80/"), 400, "host_mismatch");
        refuse(line("OPTIONS ** HTTP/1.1"), 400, "target_form");
        refuse(line("CONNECT / HTTP/1.1"), 400, "target_form");
        refuse(line("CONNECT a HTTP/1.1"), 400, "target_form");
        refuse(line("CONNECT a: HTTP/1.1"), 400, "target_form");
        refuse(line("CONNECT http://a/ HTTP/1.1"), 400, "target_form");
        refuse(line("CONNECT b:443 HTTP/1.1"), 400, "host_mismatch");
    }

    #[test]
    fn targets_give_authority_and_path() {
        let check = |request_line: &str, authority: &str, path_and_query: &str| {
            let head = accept(&line(request_line));
            assert_eq!(head.authority(), authority, "{request_line}");
            assert_eq!(head.path_and_query(), path_and_query, "{request_line}");
        };
        check("GET / HTTP/1.1", "a", "/");
        check(
            "GET //x/../y?q=|{}\"<>\\^` HTTP/1.1",
            "a",
            "//x/../y?q=|{}\"<>\\^`",
        );
        check("GET http://A/x?y HTTP/1.1", "A", "/x?y");
        check("GET HTTPS://a:443/ HTTP/1.1", "a:443", "/");
        check("GET http://a HTTP/1.1", "a", "/");
        check("GET http://a?x=/ HTTP/1.1", "a", "/?x=/");
        check("OPTIONS http://a HTTP/1.1", "a", "*");
        check("OPTIONS http://a/ HTTP/1.1", "a", "/");
        check("OPTIONS * HTTP/1.1", "a", "*");
        check("OPTIONS /x HTTP/1.1", "a", "/x");
        check("CONNECT a:443 HTTP/1.1", "a:443", "");
    }

    #[test]
    fn there_is_one_valid_host() {
        let hosts = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n");
        refuse(hosts(""), 400, "host_missing");
        refuse(hosts("Host: a\r\nHost: a\r\n"), 400, "host_repeated");
        refuse(hosts("Host: a\r\nhOST: b\r\n"), 400, "host_repeated");
        refuse(
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            400,
            "host_repeated",
        );
        for host in [
            "a b", "u@a", "a/b", "a:b", "http://a", "[::1", "a?", "\u{e9}",
        ] {
            refuse(hosts(&format!("Host: {host}\r\n")), 400, "host_invalid");
        }
        refuse(
            "GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n",
            400,
            "host_mismatch",
        );
        assert_eq!(accept(&hosts("Host:\r\n")).authority(), "");
        assert_eq!(accept("GET / HTTP/1.0\r\n\r\n").authority(), "");
        assert_eq!(accept("GET http://b/ HTTP/1.0\r\n\r\n").authority(), "b");
    }

    #[test]
    fn field_lines_are_held_to_their_grammar() {
        refuse(with("A : b\r\n"), 400, "space_before_colon");
        refuse(
            with("Transfer-Encoding\t: chunked\r\n"),
            400,
            "space_before_colon",
        );
        refuse(with("A: b\r\n c: d\r\n"), 400, "field_folded");
        refuse(with("A: b\r\n\tc\r\n"), 400, "field_folded");
        refuse("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "field_folded");
        refuse(with("A\r\n"), 400, "field_colon_missing");
        refuse(with(": b\r\n"), 400, "field_name_invalid");
        refuse(with("A b: c\r\n"), 400, "field_name_invalid");
        refuse(with("A\u{e9}: c\r\n"), 400, "field_name_invalid");
        refuse(with("A\0: c\r\n"), 400, "field_name_invalid");
        refuse(with("A(: c\r\n"), 400, "field_name_invalid");
        refuse(with("A: b\0c\r\n"), 400, "field_value_invalid");
        refuse(with("A: b\x0bc\r\n"), 400, "field_value_invalid");
        refuse(with("A: b\x7f\r\n"), 400, "field_value_invalid");
        refuse(with("A: b\rc\r\n"), 400, "bare_cr");
        refuse(with("A: b\r\r\n"), 400, "bare_cr");
        refuse(with("A\r: b\r\n"), 400, "bare_cr");
        refuse(with("A: b\nC: d\r\n"), 400, "bare_lf");
        refuse(with("A:\n"), 400, "bare_lf");
        refuse("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare_lf");
        refuse("GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "bare_lf");
        refuse("GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare_lf");
        refuse("GET / HTTP/1.1\r\n\n", 400, "bare_lf");
        accept(&with("A:\tb\tc\t\r\nA_b!: \"x\"\r\n"));
    }

    #[test]
    fn sizes_are_bounded() {
        let limits = Limits::default();
        let path = |len: usize| line(&format!("GET /{} HTTP/1.1", "p".repeat(len - 1)));
        accept(&path(limits.target_bytes));
        refuse(path(limits.target_bytes + 1), 414, "target_too_long");
        refuse(
            format!("GET /{}", "p".repeat(limits.target_bytes + 100)),
            414,
            "target_too_long",
        );
        let lines = |count: usize| with(&"a: b\r\n".repeat(count - 1));
        accept(&lines(limits.fields));
        refuse(lines(limits.fields + 1), 431, "fields_too_many");
        let head = |len: usize| {
            let rest = with("a: \r\n").len();
            with(&format!("a: {}\r\n", "v".repeat(len - rest)))
        };
        accept(&head(limits.head_bytes));
        refuse(head(limits.head_bytes + 1), 431, "head_too_large");
    }

    #[test]
    fn long_field_names_are_refused_even_with_generous_limits() {
        let limits = Limits {
            head_bytes: 1 << 20,
            ..Limits::default()
        };
        let input = with(&format!("{}: b\r\n", "n".repeat(1 << 16)));
        let error = parse_request(&mut BytesMut::from(&input[..]), &limits).map(|_| ());
        assert_eq!(error, Err(crate::FieldError::NameTooLong.into()));
    }

    #[test]
    fn a_body_has_one_unmistakable_end() {
        let check = |lines: &str, status: u16, reason: &str| refuse(with(lines), status, reason);
        let both = "content_length_and_transfer_encoding";
        check(
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            400,
            both,
        );
        check(
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            400,
            both,
        );
        check("Transfer-Encoding: x\r\nContent-Length: y\r\n", 400, both);
        check(
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            400,
            "content_length_repeated",
        );
        check(
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            400,
            "content_length_repeated",
        );
        check("Content-Length: 5, 5\r\n", 400, "content_length_repeated");
        for value in [
            "", "+5", "-5", "5 5", "0x5", "a", "5.0", "5;", "\"5\"", "\u{ff15}", "1e3",
        ] {
            check(
                &format!("Content-Length: {value}\r\n"),
                400,
                "content_length_invalid",
            );
        }
        for value in [
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            check(
                &format!("Content-Length: {value}\r\n"),
                400,
                "content_length_too_large",
            );
        }
        let codings = [
            "gzip",
            "gzip, chunked",
            "xchunked",
            "chunked-x",
            "GZIP,deflate, chunked",
        ];
        for value in codings {
            let line = format!("Transfer-Encoding: {value}\r\n");
            check(&line, 501, "transfer_encoding_unsupported");
        }
        check(
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            501,
            "transfer_encoding_unsupported",
        );
        let odd = [
            "",
            "identity",
            "chunked, chunked",
            "chunked,",
            ",chunked",
            "\"chunked\"",
        ];
        let more = [
            "chunked, gzip",
            "chunked;q=1",
            "chunked chunked",
            "identity, chunked",
            "c\u{e9}",
        ];
        for value in odd.iter().chain(&more) {
            let line = format!("Transfer-Encoding: {value}\r\n");
            check(&line, 400, "transfer_encoding_invalid");
        }
        check(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
            "transfer_encoding_invalid",
        );
        refuse(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "transfer_encoding_in_http10",
        );
        refuse(
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
            400,
            "body_forbidden",
        );
        refuse(
            "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "body_forbidden",
        );
    }

    #[test]
    fn good_framing_is_taken() {
        let check = |lines: &str, framing: Framing| {
            assert_eq!(accept(&with(lines)).framing, framing, "{lines:?}");
        };
        check("", Framing::None);
        check("Content-Length: 0\r\n", Framing::Length(0));
        check("Content-Length:  007 \r\n", Framing::Length(7));
        check(
            "Content-Length: 9223372036854775807\r\n",
            Framing::Length(i64::MAX as u64),
        );
        check("Transfer-Encoding: chunked\r\n", Framing::Chunked);
        check("transfer-encoding:\tChUnKeD \r\n", Framing::Chunked);
    }

    #[test]
    fn connections_persist_unless_told_otherwise() {
        let check = |version: &str, lines: &str, expected: bool| {
            let head = accept(&format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n"));
            assert_eq!(head.keep_alive, expected, "{version} {lines:?}");
        };
        check("1.1", "", true);
        check("1.1", "Connection: close\r\n", false);
        check("1.1", "Connection: x-a, CLOSE\r\n", false);
        check(
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        );
        check("1.1", "Connection: keep-alive\r\n", true);
        check("1.0", "", false);
        check("1.0", "Connection: Keep-Alive\r\n", true);
        check("1.0", "Connection: keep-alive, close\r\n", false);
        check("1.0", "Keep-Alive: timeout=5\r\n", false);
    }

    #[test]
    fn connection_options_withhold_fields_but_not_those_that_matter() {
        let withheld = |lines: &str| {
            let head = accept(&with(lines));
            let names = head.fields.iter().filter(|field| field.hop_by_hop);
            names
                .map(|field| String::from_utf8_lossy(field.name).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(withheld("A: b\r\nTrailer: x\r\n"), [""; 0]);
        assert_eq!(
            withheld("X-A: 1\r\nConnection: x-a, close\r\nx-A: 2\r\nX-Ab: 3\r\n"),
            ["X-A", "Connection", "x-A"]
        );
        assert_eq!(
            withheld("Connection: trailer\r\nTrailer: x\r\n"),
            ["Connection", "Trailer"]
        );
        let own = [
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authorization",
            "TE",
            "Upgrade",
        ];
        for name in own {
            assert_eq!(withheld(&format!("{name}: x\r\n")), [name]);
        }
        let protected = [
            "host",
            "content-length",
            "transfer-encoding",
            "x-forwarded-for",
        ];
        let more = [
            "forwarded",
            "cookie",
            "authorization",
            "x-request-id",
            "via",
            "expect",
        ];
        for name in protected.iter().chain(&more) {
            refuse(
                with(&format!("Connection: {name}\r\n")),
                400,
                "connection_nominates_protected",
            );
        }
        refuse(
            with("Connection: close, \"a\"\r\n"),
            400,
            "connection_invalid",
        );
        refuse(with("Connection: a b\r\n"), 400, "connection_invalid");
        refuse(
            with(&format!("Connection: {}\r\n", "a,".repeat(33))),
            400,
            "connection_invalid",
        );
        accept(&with(&format!("Connection: {}\r\n", "a,".repeat(32))));
    }

    #[test]
    fn an_upgrade_needs_its_connection_option() {
        let check = |lines: &str, expected: Option<&str>| {
            let upgrade = accept(&with(lines)).upgrade;
            assert_eq!(upgrade.as_deref(), expected.map(str::as_bytes), "{lines:?}");
        };
        check(
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Some("websocket"),
        );
        check(
            "Connection: upgrade\r\nUpgrade: h2c, a/1\r\n",
            Some("h2c, a/1"),
        );
        check("Upgrade: websocket\r\n", None);
        check("Connection: upgrade\r\n", None);
        check("Connection: upgrade\r\nUpgrade:\r\n", None);
        check("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", None);
        for value in ["a b", "a/", "/a", "a/b/c", "a;b"] {
            let lines = format!("Connection: upgrade\r\nUpgrade: {value}\r\n");
            refuse(with(&lines), 400, "upgrade_invalid");
        }
        let old = accept("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n");
        assert_eq!(old.upgrade, None);
    }

    #[test]
    fn only_a_100_can_be_expected() {
        let check = |version: &str, lines: &str, expected: bool| {
            let head = accept(&format!("PUT / HTTP/{version}\r\nHost: a\r\n{lines}\r\n"));
            assert_eq!(head.expect_continue, expected, "{lines:?}");
        };
        check("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true);
        check(
            "1.1",
            "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n",
            true,
        );
        check("1.1", "Expect: 100-continue\r\n", false);
        check(
            "1.1",
            "Expect: 100-continue\r\nContent-Length: 0\r\n",
            false,
        );
        check(
            "1.0",
            "Expect: 100-continue\r\nContent-Length: 1\r\n",
            false,
        );
        check("1.0", "Expect: anything\r\n", false);
        for value in [
            "",
            "200-ok",
            "100-continue, 100-continue",
            "100-continue;a=b",
        ] {
            refuse(
                with(&format!("Expect: {value}\r\n")),
                417,
                "expectation_unsupported",
            );
        }
    }

    #[test]
    fn pipelined_heads_are_read_one_by_one() {
        let mut parser = RequestParser::new();
        let mut buf = BytesMut::from("GET /1 HTTP/1.0\r\n\r\n\r\nGET /2 HTTP/1.0\r\n\r\nGET /3");
        let mut next = || parser.parse(&mut buf, &Limits::default()).expect("valid");
        assert_eq!(next().expect("complete").path_and_query(), "/1");
        assert_eq!(next().expect("complete").path_and_query(), "/2");
        assert!(next().is_none());
        buf.extend_from_slice(b" HTTP/1.0\r\n\r\n");
        let head = parser.parse(&mut buf, &Limits::default()).expect("valid");
        assert_eq!(head.expect("complete").path_and_query(), "/3");
        assert!(buf.is_empty());
    }

    #[test]
    fn debug_output_holds_no_field_values() {
        let shown = format!("{:?}", accept(&with("Authorization: secret\r\n")));
        assert!(
            shown.contains("Authorization") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
