//! The gRPC health protocol (`grpc.health.v1`), as far as a probe needs it.
//!
//! The request is one string and the answer one number, so both are written and read here, by the
//! wire format of protocol buffers, rather than by code that a compiler of its own would have to
//! generate.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version, header};
use http_body_util::Full;

use crate::answer::Answer;
use crate::error::ProbeError;
use crate::request::{Request, user_agent};
use crate::show::shown;

const PATH: &str = "/grpc.health.v1.Health/Check";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// A message is preceded by a flag and its length.
const PREFIX_BYTES: usize = 5;
/// The largest number of milliseconds that `grpc-timeout` can carry: eight digits.
const TIMEOUT_MS_MAX: u128 = 99_999_999;

/// The names of gRPC's status codes, by code.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const NOT_FOUND: usize = 5;
const UNIMPLEMENTED: usize = 12;

/// The call that asks `host` for the health of `service`; empty: of the server as a whole.
///
/// # Errors
/// When the host cannot be sent.
pub(crate) fn call(
    service: &str,
    scheme: &str,
    host: &str,
    timeout: Duration,
) -> Result<Request, ProbeError> {
    let millis = timeout.as_millis().clamp(1, TIMEOUT_MS_MAX);
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{host}{PATH}"))
        .version(Version::HTTP_2)
        .header(header::TE, HeaderValue::from_static("trailers"))
        .header(TIMEOUT, format!("{millis}m"))
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        )
        .header(header::USER_AGENT, user_agent())
        .body(Full::new(Bytes::from(framed(service))))
        .map_err(|error| ProbeError::Request(error.to_string()))?;
    Ok(Request::only_http2(request))
}

/// `HealthCheckRequest { service = 1 }` behind its prefix. An empty string is not written.
fn framed(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        write_varint(&mut message, service.len() as u64);
        message.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Whether `answer` says that `service` serves.
///
/// # Errors
/// What it says instead.
pub(crate) fn meets(service: &str, answer: &Answer) -> Result<(), ProbeError> {
    let trailers = answer.trailers.as_ref();
    // Without a message, the status stands among the first fields ("trailers-only").
    let field = |name: &HeaderName| {
        let last = trailers.and_then(|trailers| trailers.get(name));
        let last = last.map(|value| value.as_bytes().to_vec());
        last.or_else(|| answer.values(name).next().map(<[u8]>::to_vec))
    };
    let Some(status) = field(&STATUS) else {
        return Err(no_status(answer));
    };
    let code = str::from_utf8(&status)
        .ok()
        .and_then(|code| code.parse().ok());
    match code {
        Some(0) => serving(service, &answer.content),
        Some(code) => Err(refused(service, code, field(&MESSAGE))),
        None => Err(broken(format!("`grpc-status` is {}", shown(&status)))),
    }
}

fn no_status(answer: &Answer) -> ProbeError {
    match answer.status {
        200 if !answer.whole => broken("it does not end".to_owned()),
        200 => broken("it has no `grpc-status`; is this a gRPC server?".to_owned()),
        status => ProbeError::Status(status),
    }
}

fn refused(service: &str, code: usize, message: Option<Vec<u8>>) -> ProbeError {
    let service = shown(service.as_bytes());
    ProbeError::Grpc(match (code, message) {
        (UNIMPLEMENTED, _) => {
            "the server has no `grpc.health.v1.Health` (UNIMPLEMENTED)".to_owned()
        }
        (NOT_FOUND, _) => format!("the server does not know the service {service} (NOT_FOUND)"),
        (code, message) => {
            let name = CODES.get(code).copied().unwrap_or("not a known code");
            let words = message.filter(|message| !message.is_empty());
            let words = words.map(|words| format!(": {}", shown(&words)));
            format!("status {code} ({name}){}", words.unwrap_or_default())
        }
    })
}

fn serving(service: &str, content: &[u8]) -> Result<(), ProbeError> {
    let message = unframed(content).map_err(|problem| broken(problem.to_owned()))?;
    let status = status_of(message).ok_or_else(|| broken("its message is cut short".to_owned()))?;
    let name = match status {
        1 => return Ok(()),
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => {
            return Err(broken(format!(
                "serving status {status} is not a known one"
            )));
        }
    };
    let of = match service {
        "" => String::new(),
        service => format!(" of {}", shown(service.as_bytes())),
    };
    Err(ProbeError::Grpc(format!("the server says {name}{of}")))
}

/// The one message of `content`.
fn unframed(content: &[u8]) -> Result<&[u8], &'static str> {
    let (prefix, message) = content
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or("it has no message")?;
    let [flag, length @ ..] = *prefix;
    match u32::from_be_bytes(length) as usize {
        _ if flag != 0 => Err("its message is compressed, which was not offered"),
        length if length == message.len() => Ok(message),
        length if length > message.len() => Err("its message is cut short"),
        _ => Err("it has more than one message"),
    }
}

/// `HealthCheckResponse { status = 1 }`: 0 when absent, the last when repeated, other fields
/// skipped. None if the message is not valid.
fn status_of(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = read_varint(&mut message)?,
            (_, 0) => drop(read_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn broken(how: String) -> ProbeError {
    ProbeError::Protocol(how)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::answer::Head;

    #[test]
    fn requests_are_encoded() {
        assert_eq!(framed(""), [0, 0, 0, 0, 0]);
        assert_eq!(framed("shop"), *b"\0\0\0\0\x06\x0a\x04shop");
        let long = "x".repeat(300);
        assert_eq!(framed(&long)[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    fn answer(status: &'static str, content: &[u8], trailing: bool) -> Answer {
        let mut fields = HeaderMap::new();
        fields.insert(STATUS, HeaderValue::from_static(status));
        fields.insert(MESSAGE, HeaderValue::from_static("so it is"));
        let (head, trailers) = match trailing {
            true => (HeaderMap::new(), Some(fields)),
            false => (fields, None),
        };
        Answer {
            status: 200,
            head: Head::Http2(head),
            content: content.to_vec(),
            whole: true,
            trailers,
            reusable: true,
        }
    }

    /// What is found wrong; empty if nothing is.
    fn check(status: &'static str, content: &[u8], problem: &str) {
        for trailing in [true, false] {
            let found = meets("shop", &answer(status, content, trailing));
            let found = found
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert_eq!(found, problem, "{status} {content:?}");
        }
    }

    #[test]
    fn answers_say_whether_the_service_serves() {
        check("0", b"\0\0\0\0\x02\x08\x01", "");
        let says = |word| format!("gRPC health: the server says {word} of `shop`");
        check("0", b"\0\0\0\0\0", &says("UNKNOWN"));
        check("0", b"\0\0\0\0\x02\x08\x02", &says("NOT_SERVING"));
        check("0", b"\0\0\0\0\x02\x08\x03", &says("SERVICE_UNKNOWN"));
        // Fields that came later than this program, of every wire type, around the status.
        let later = b"\0\0\0\0\x19\x10\x07\x19abcdefgh\x08\x01\x22\x02hi\x2dabcd\x30\x80\x01";
        check("0", later, "");
    }

    #[test]
    fn refusals_have_clear_words() {
        let no_service = "gRPC health: the server has no `grpc.health.v1.Health` (UNIMPLEMENTED)";
        check("12", b"", no_service);
        let unknown = "gRPC health: the server does not know the service `shop` (NOT_FOUND)";
        check("5", b"", unknown);
        check(
            "14",
            b"",
            "gRPC health: status 14 (UNAVAILABLE): `so it is`",
        );
        check(
            "99",
            b"",
            "gRPC health: status 99 (not a known code): `so it is`",
        );
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let check = |status, content: &[u8], problem: &str| {
            check(status, content, &format!("no valid answer: {problem}"));
        };
        check("x", b"", "`grpc-status` is `x`");
        check("0", b"", "it has no message");
        check(
            "0",
            b"\x01\0\0\0\0",
            "its message is compressed, which was not offered",
        );
        check("0", b"\0\0\0\0\x02\x08", "its message is cut short");
        check("0", b"\0\0\0\0\x01\x08", "its message is cut short");
        check("0", b"\0\0\0\0\0\0\0\0\0\0", "it has more than one message");
        check(
            "0",
            b"\0\0\0\0\x02\x08\x09",
            "serving status 9 is not a known one",
        );
        let endless = [b"\0\0\0\0\x0c\x08".as_slice(), &[0xff; 11]].concat();
        check("0", &endless, "its message is cut short");
        check("0", b"\0\0\0\0\x03\x12\xff\x01", "its message is cut short");
    }
}
