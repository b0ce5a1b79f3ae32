//! The request line: of good heads at once, and byte by byte for heads that are incomplete or refused.
//!
//! The latter looks at the first line as soon as it is there, so that
//! HTTP/0.9, a TLS hello on a plaintext port or an endless target are answered at once, and says
//! what exactly is wrong with it.

use crate::error::{FieldError, RequestError};
use crate::grammar;
use crate::limits::Limits;
use crate::message::Version;
use crate::words;

/// The longest method that is looked at. The longest registered one has 17 bytes.
pub(crate) const METHOD_BYTES_MAX: usize = 32;

/// The first fault in the line that starts `bytes`, in the order of the bytes. A line that has
/// not ended yet is fine as far as it goes.
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> Result<(), RequestError> {
    if bytes.starts_with(b"\r\n") {
        return Err(RequestError::LeadingLines);
    }
    let Some(method_len) = method_len(bytes)? else {
        return Ok(());
    };
    let rest = &bytes[method_len + 1..];
    let Some(target_len) = target_len(rest, limits)? else {
        return Ok(());
    };
    version(&rest[target_len + 1..])
}

/// A whole request line, by the lengths of its parts.
pub(crate) struct RequestLine {
    pub(crate) method_len: usize,
    pub(crate) target_len: usize,
    pub(crate) version: Version,
    /// Of the whole line with its CRLF.
    pub(crate) len: usize,
}

/// The line that starts `bytes`. `None` if it has not ended or [`check`] would not pass it.
#[inline]
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Option<RequestLine> {
    let methods = &bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)];
    let method_len = methods.iter().position(|&b| !grammar::is_tchar(b))?;
    let target = bytes.get(method_len + 1..)?;
    let target_len = words::target_end(target)?;
    let spaced = bytes[method_len] == b' ' && target[target_len] == b' ';
    if !spaced || method_len == 0 || target_len == 0 || target_len > limits.target_bytes {
        return None;
    }
    let version = match target[target_len + 1..].first_chunk::<10>()? {
        b"HTTP/1.1\r\n" => Version::Http11,
        b"HTTP/1.0\r\n" => Version::Http10,
        _ => return None,
    };
    Some(RequestLine {
        method_len,
        target_len,
        version,
        len: method_len + target_len + VERSION_LINE_MAX + 2,
    })
}

/// Visible ASCII without `#`: a fragment never belongs to a request (RFC 9112 section 3.2).
fn is_target_byte(b: u8) -> bool {
    (b != b'#') & b.is_ascii_graphic()
}

fn method_len(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    let odd = bytes
        .iter()
        .take(METHOD_BYTES_MAX + 1)
        .position(|&b| !grammar::is_tchar(b));
    match odd {
        None if bytes.len() > METHOD_BYTES_MAX => Err(RequestError::MethodTooLong),
        None => Ok(None),
        Some(at) if at > 0 && bytes[at] == b' ' => Ok(Some(at)),
        Some(at) => line_break_fault(&bytes[at..], RequestError::Method),
    }
}

fn target_len(rest: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
    let odd = rest
        .iter()
        .take(limits.target_bytes + 1)
        .position(|&b| !is_target_byte(b));
    match odd {
        None if rest.len() > limits.target_bytes => Err(RequestError::TargetTooLong),
        None => Ok(None),
        Some(at) if at > 0 && rest[at] == b' ' => Ok(Some(at)),
        Some(at) if at > 0 && rest[at..].starts_with(b"\r\n") => Err(RequestError::VersionMissing),
        Some(at) => line_break_fault(&rest[at..], RequestError::Target),
    }
}

/// Names the fault at the first byte of `at`: one of line ends, or `otherwise`. A CR whose
/// successor has not arrived is no fault yet.
fn line_break_fault(at: &[u8], otherwise: RequestError) -> Result<Option<usize>, RequestError> {
    match at {
        [b'\n', ..] => Err(FieldError::BareLf.into()),
        [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Err(otherwise),
        [b'\r', ..] => Err(FieldError::BareCr.into()),
        _ => Err(otherwise),
    }
}

/// Judges what follows the second space.
fn version(rest: &[u8]) -> Result<(), RequestError> {
    const GOOD: [&[u8]; 2] = [b"HTTP/1.1\r\n", b"HTTP/1.0\r\n"];
    if GOOD
        .iter()
        .any(|good| rest.starts_with(good) || good.starts_with(rest))
    {
        return Ok(());
    }
    match rest {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            major,
            b'.',
            minor,
            b'\r',
            b'\n',
            ..,
        ] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(RequestError::VersionUnsupported)
        }
        _ => version_fault(rest),
    }
}

/// Tells a bad line end after a good version from a bad version; incomplete ones pass.
fn version_fault(rest: &[u8]) -> Result<(), RequestError> {
    // Only so far, so that bytes that arrive later cannot change the verdict.
    let near = &rest[..rest.len().min(VERSION_LINE_MAX + 1)];
    let Some(lf) = memchr::memchr(b'\n', near) else {
        return if rest.len() > VERSION_LINE_MAX {
            Err(RequestError::Version)
        } else {
            Ok(())
        };
    };
    match &near[..lf] {
        [.., b'\r'] => Err(RequestError::Version),
        _ => Err(FieldError::BareLf.into()),
    }
}

/// Nothing longer can become `HTTP/1.1` and CRLF.
const VERSION_LINE_MAX: usize = 10;
