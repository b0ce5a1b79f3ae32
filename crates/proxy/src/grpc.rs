//! What is gRPC's own: which requests are its calls, the code that a call ends with before its first
//! message, and how its client is told in its own words that we could not serve it.
//!
//! A call that ends with a code and no message has produced nothing that a client could have seen,
//! so a code that `retry.on` lists is a failure like a listed status. It is no proof that nothing
//! was done: a call is a POST, and is made again only where its route says that twice is once.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tidegate_core::Termination;
use tidegate_core::retry::Failure;
use tidegate_http1::Known;

use crate::attempt::{Answered, Failed};
use crate::body::Piece;
use crate::download::Call;
use crate::exchange::Exchange;
use crate::head::{RequestHead, ResponseHead};
use crate::hold::Ahead;
use crate::pipeline::Serving;
use crate::said;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A wish to be asked later counts for no longer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The codes that we say or judge by.
mod code {
    pub(super) const OK: u8 = 0;
    pub(super) const CANCELLED: u8 = 1;
    pub(super) const UNKNOWN: u8 = 2;
    pub(super) const DEADLINE_EXCEEDED: u8 = 4;
    pub(super) const PERMISSION_DENIED: u8 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(super) const UNIMPLEMENTED: u8 = 12;
    pub(super) const INTERNAL: u8 = 13;
    pub(super) const UNAVAILABLE: u8 = 14;
    pub(super) const DATA_LOSS: u8 = 15;
    pub(super) const UNAUTHENTICATED: u8 = 16;
}

/// How a call is spoken; what it is answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `application/grpc`, with any message format.
    Grpc,
    /// `application/grpc-web`.
    Web,
    /// `application/grpc-web-text`.
    WebText,
}

/// A call's end as we tell it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallEnd {
    code: u8,
    /// Encoded for `grpc-message`.
    message: String,
    pushback: Option<Pushback>,
}

/// What is wanted of those who would make a call again by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushback {
    /// Not before so long.
    Wait(Duration),
    /// Not at all.
    Never,
}

impl Dialect {
    /// The dialect of a request that is a call of gRPC.
    pub(crate) fn of(head: &RequestHead) -> Option<Self> {
        if *head.method() != Method::POST {
            return None;
        }
        Self::named(head.field(Known::ContentType, &header::CONTENT_TYPE)?)
    }

    /// Whether an answer with this head ends in trailers that its client reads: that of gRPC-Web has
    /// them in its body.
    pub(crate) fn ends_in_trailers(head: &ResponseHead) -> bool {
        let kind = head.field(Known::ContentType);
        let kind = kind.and_then(|kind| std::str::from_utf8(kind).ok());
        kind.and_then(Self::named) == Some(Self::Grpc)
    }

    fn named(content_type: &str) -> Option<Self> {
        let format = content_type.strip_prefix("application/grpc")?;
        let end = format.find(['+', ';']).unwrap_or(format.len());
        match format[..end].trim_end() {
            "" => Some(Self::Grpc),
            "-web" => Some(Self::Web),
            "-web-text" => Some(Self::WebText),
            _ => None,
        }
    }

    /// The `Content-Type` of an answer without messages.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }
}

impl Serving {
    /// The status and whether `retry.on` lists it, as the cells are to hear them: of a call that
    /// ended before its first message those of its code, else the answer's own.
    pub(crate) fn judge(
        &self,
        head: &ResponseHead,
        ahead: &Ahead,
        exchange: &Exchange,
    ) -> (u16, bool) {
        let on = &self.upstream().0.retry.on;
        let status = head.status().as_u16();
        let call = self.admitted.dialect.is_some() && !on.lists(status);
        let code = call.then(|| early_code(head, ahead, exchange.is_ended()));
        match code.flatten() {
            Some(code) => (blamed_status(code), on.lists_grpc(code)),
            None => (status, on.lists(status)),
        }
    }

    /// The call that an answer with this head is given to, if its client reads trailers.
    pub(crate) fn call(&self, head: &ResponseHead) -> Option<Call> {
        let h2 = matches!(self.head, RequestHead::H2(_));
        let once = self.admitted.idempotency.is_once();
        (h2 && Dialect::ends_in_trailers(head)).then_some(Call { once })
    }

    /// The code of a call that ended before its first message, if it is to be made again for that.
    pub(crate) fn failed_code(&self, answered: &Answered) -> Option<u8> {
        self.admitted.dialect?;
        let Answered {
            head,
            ahead,
            exchange,
            ..
        } = answered;
        let code = early_code(head, ahead, exchange.is_ended())?;
        let listed = self.upstream().0.retry.on.lists_grpc(code);
        (listed && pushback(head, ahead) != Some(Pushback::Never)).then_some(code)
    }
}

impl Failed {
    /// How long the answer that failed asks not to be repeated, if it does.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let answered = self.answered.as_deref()?;
        match pushback(&answered.head, &answered.ahead) {
            Some(Pushback::Wait(wait)) if matches!(self.failure, Failure::Grpc(_)) => Some(wait),
            _ => said::retry_after(&answered.head),
        }
    }
}

/// The code that a call ended with before its first message: in its only head, or in the trailers
/// that followed it at once.
fn early_code(head: &ResponseHead, ahead: &Ahead, ended: bool) -> Option<u8> {
    early_field(head, ahead, ended, Known::GrpcStatus)?
        .parse()
        .ok()
}

fn pushback(head: &ResponseHead, ahead: &Ahead) -> Option<Pushback> {
    let wait = early_field(head, ahead, true, Known::GrpcRetryPushbackMs)?;
    Some(match wait.parse().map(Duration::from_millis) {
        Ok(wait) => Pushback::Wait(wait.min(LONGEST_WAIT)),
        Err(_) => Pushback::Never,
    })
}

fn early_field<'a>(
    head: &'a ResponseHead,
    ahead: &'a Ahead,
    ended: bool,
    known: Known,
) -> Option<&'a str> {
    let value = match ahead.as_slice() {
        [] if ended => head.field(known)?,
        [Piece::Trailers(trailers)] => trailers.get(known.name())?.as_bytes(),
        _ => return None,
    };
    std::str::from_utf8(value).ok()
}

/// The status by which the cells judge who is at fault. What a client's own call can bring about
/// (its arguments, its deadline, a method that is not there) is nobody's failure.
fn blamed_status(code: u8) -> u16 {
    match code {
        code::UNAVAILABLE => 503,
        code::UNKNOWN | code::INTERNAL | code::DATA_LOSS => 500,
        _ => 200,
    }
}

/// The code that clients of gRPC make of a status themselves, if there is no code (its specification, "HTTP
/// to gRPC Status Code Mapping").
fn code_of_status(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

/// The code for a termination reason. Where nobody knows whether the call was executed it is never
/// UNAVAILABLE, which clients make anew by themselves: DEADLINE_EXCEEDED says of itself that the
/// call may have been done, UNKNOWN says nothing.
fn code_for(termination: Termination, outcome_unknown: bool) -> u8 {
    use Termination as T;
    match termination {
        T::Completed | T::Tunnelled | T::Responded => code::OK,
        T::ClientGone => code::CANCELLED,
        T::ClientTimeout | T::UpstreamTimeout | T::DeadlineExceeded | T::IdleTimeout => {
            code::DEADLINE_EXCEEDED
        }
        _ if outcome_unknown => code::UNKNOWN,
        T::BadRequest | T::BadResponse => code::INTERNAL,
        T::NoRoute => code::UNIMPLEMENTED,
        T::UpstreamFull | T::Overloaded | T::BodyTooLarge => code::RESOURCE_EXHAUSTED,
        T::ResidencyBlocked
        | T::NoHealthyRegion
        | T::AffinityLost
        | T::Isolated
        | T::ConnectFailed
        | T::UpstreamReset
        | T::UpstreamTruncated
        | T::BudgetExhausted
        | T::DrainedHome
        | T::ShuttingDown
        | T::FaultInjected => code::UNAVAILABLE,
        T::StatusPassed | T::Redirected => code::UNKNOWN,
    }
}

impl CallEnd {
    /// The end of a call for this reason, told in these words.
    pub(crate) fn new(termination: Termination, outcome_unknown: bool, words: &str) -> Self {
        Self {
            code: code_for(termination, outcome_unknown),
            message: encode_message(words),
            pushback: outcome_unknown.then_some(Pushback::Never),
        }
    }

    /// The end of a call that would be answered with this status, told in these words.
    pub(crate) fn of_status(status: StatusCode, words: &str) -> Self {
        Self {
            code: code_of_status(status),
            message: encode_message(words),
            pushback: None,
        }
    }

    /// The client may make the call again after so long.
    pub(crate) fn again_after(mut self, wait: Duration) -> Self {
        self.pushback = Some(Pushback::Wait(wait));
        self
    }

    /// Its fields, for a head without a body or for trailers.
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(3);
        fields.insert(STATUS, HeaderValue::from(u16::from(self.code)));
        if let Ok(message) = HeaderValue::from_maybe_shared(Bytes::from(self.message.clone())) {
            fields.insert(MESSAGE, message);
        }
        match self.pushback {
            Some(Pushback::Wait(wait)) => {
                let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                fields.insert(PUSHBACK, HeaderValue::from(milliseconds));
            }
            Some(Pushback::Never) => {
                fields.insert(PUSHBACK, HeaderValue::from_static("-1"));
            }
            None => {}
        }
        fields
    }
}

/// As `grpc-message` has it: visible ASCII but `%` as it is, every other byte of the text as `%XX`.
fn encode_message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        let check = |value, expected| assert_eq!(Dialect::named(value), expected, "{value}");
        check("application/grpc", Some(Dialect::Grpc));
        check("application/grpc+proto", Some(Dialect::Grpc));
        check("application/grpc;charset=utf-8", Some(Dialect::Grpc));
        check("application/grpc-web+proto", Some(Dialect::Web));
        check("application/grpc-web-text", Some(Dialect::WebText));
        check("application/grpcs", None);
        check("application/json", None);
        check("", None);
    }

    fn head(fields: &[(&str, &str)]) -> ResponseHead {
        let mut response = http::Response::builder();
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        ResponseHead::H2(Box::new(response.body(()).unwrap().into_parts().0))
    }

    fn trailers(fields: &[(&'static str, &'static str)]) -> Piece {
        let field = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        Piece::Trailers(Box::new(fields.iter().map(field).collect()))
    }

    #[test]
    fn a_code_counts_only_without_a_message() {
        let unavailable = [("grpc-status", "14")];
        let check = |fields: &[(&str, &str)], pieces: Vec<Piece>, ended, expected| {
            let ahead = Ahead::from_vec(pieces);
            assert_eq!(
                early_code(&head(fields), &ahead, ended),
                expected,
                "{ahead:?}"
            );
        };
        let message = || Piece::Data(Bytes::from_static(b"\0\0\0\0\0"));
        check(&unavailable, vec![], true, Some(14));
        check(&unavailable, vec![], false, None);
        check(&[("grpc-status", "1O")], vec![], true, None);
        check(&[("grpc-status", "256")], vec![], true, None);
        check(&[], vec![], true, None);
        check(&[], vec![trailers(&unavailable)], true, Some(14));
        check(&[], vec![trailers(&[("grpc-status", "0")])], true, Some(0));
        check(&unavailable, vec![trailers(&[])], true, None);
        check(&unavailable, vec![message()], true, None);
        check(&[], vec![message(), trailers(&unavailable)], true, None);
    }

    #[test]
    fn a_server_may_ask_for_a_wait_or_for_none_at_all() {
        let check = |value, expected| {
            let head = head(&[("grpc-retry-pushback-ms", value)]);
            assert_eq!(pushback(&head, &Ahead::new()), Some(expected), "{value}");
        };
        check("250", Pushback::Wait(Duration::from_millis(250)));
        check("0", Pushback::Wait(Duration::ZERO));
        check("99999999999", Pushback::Wait(LONGEST_WAIT));
        check("-1", Pushback::Never);
        check("soon", Pushback::Never);
        assert_eq!(pushback(&head(&[]), &Ahead::new()), None);
    }

    #[test]
    fn every_reason_has_a_code() {
        use Termination as T;
        let check = |reason, codes| {
            let found = (code_for(reason, false), code_for(reason, true));
            assert_eq!(found, codes, "{reason:?}");
        };
        check(T::DeadlineExceeded, (4, 4));
        check(T::UpstreamTimeout, (4, 4));
        check(T::NoHealthyRegion, (14, 2));
        check(T::UpstreamReset, (14, 2));
        check(T::BadResponse, (13, 2));
        check(T::UpstreamFull, (8, 2));
        check(T::NoRoute, (12, 2));
        check(T::ClientGone, (1, 1));
        for reason in tidegate_core::termination::ALL {
            // Clients make UNAVAILABLE anew by themselves.
            assert_ne!(code_for(reason, true), code::UNAVAILABLE, "{reason:?}");
            assert!(code_for(reason, false) <= 16);
        }
    }

    #[test]
    fn only_what_a_server_did_is_held_against_it() {
        let check = |codes: &[u8], status| {
            for code in codes {
                assert_eq!(blamed_status(*code), status, "{code}");
            }
        };
        check(&[14], 503);
        check(&[2, 13, 15], 500);
        check(&[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 255], 200);
    }

    #[test]
    fn a_message_is_one_line_of_visible_ascii() {
        let check = |text, expected| assert_eq!(encode_message(text), expected);
        check("plain: text; ok", "plain: text; ok");
        check("100 %\r\n", "100 %25%0D%0A");
        check("é~\u{7f}", "%C3%A9~%7F");
    }

    #[test]
    fn an_end_is_told_in_fields() {
        let fields = |end: CallEnd| {
            let fields = end.fields();
            let value = |name| {
                fields
                    .get(name)
                    .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
            };
            [value(STATUS), value(MESSAGE), value(PUSHBACK)]
        };
        let some = |text: &str| Some(text.to_owned());
        let plain = CallEnd::new(Termination::DeadlineExceeded, false, "50 %");
        assert_eq!(fields(plain), [some("4"), some("50 %25"), None]);
        let unknown = CallEnd::new(Termination::UpstreamReset, true, "x");
        assert_eq!(fields(unknown), [some("2"), some("x"), some("-1")]);
        let later = CallEnd::new(Termination::Overloaded, false, "x");
        let later = later.again_after(Duration::from_secs(1));
        assert_eq!(fields(later), [some("8"), some("x"), some("1000")]);
    }
}
