//! The status line: of good heads at once, and byte by byte for heads that are incomplete or refused.
//!
//! An upstream that speaks something else is found out at its first bytes, not at a time-out.

use std::ops::Range;

use crate::error::{FieldError, ResponseError};
use crate::fields::value_len;
use crate::grammar;
use crate::message::Version;

/// `HTTP/1.x nnn`, all that an incomplete line is judged by.
pub(crate) const FIXED_BYTES: usize = 12;

/// The first fault in the line that starts `bytes`, in the order of the bytes. A line that has
/// not ended yet is fine as far as it goes.
pub(crate) fn check(bytes: &[u8]) -> Result<(), ResponseError> {
    if let Some(at) = bytes.iter().enumerate().position(|(at, &b)| !fits(at, b)) {
        return fault(&bytes[at..]);
    }
    let rest = bytes.get(FIXED_BYTES..).unwrap_or_default();
    let end = match rest {
        [] | [b' ', ..] => rest.iter().position(|&b| !grammar::is_value_byte(b)),
        _ => Some(0),
    };
    match end.map(|at| &rest[at..]) {
        None | Some([b'\r', b'\n', ..]) => Ok(()),
        Some(at) => fault(at),
    }
}

/// A whole status line.
pub(crate) struct StatusLine {
    pub(crate) version: Version,
    /// Three digits, whatever they are.
    pub(crate) code: u16,
    /// Where the reason phrase is, without the whitespace around it.
    pub(crate) reason: Range<usize>,
    /// Of the whole line with its CRLF.
    pub(crate) len: usize,
}

/// The line that starts `bytes`. `None` if it has not ended or [`check`] would not pass it.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<StatusLine> {
    let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>()?;
    let (version, code) = fixed.split_first_chunk::<9>()?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return None,
    };
    if !code.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), Some(b' ' | b'\r')) {
        return None;
    }
    let end = value_len(rest)?;
    if rest.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    let reason = grammar::trim_ows_end(&rest[..end]);
    let before = reason.iter().take_while(|b| grammar::is_ows(**b)).count();
    Some(StatusLine {
        version,
        code: code
            .iter()
            .fold(0, |code, b| code * 10 + u16::from(b - b'0')),
        reason: FIXED_BYTES + before..FIXED_BYTES + reason.len(),
        len: FIXED_BYTES + end + 2,
    })
}

/// Whether byte `at` of a status line may be `b`, as far as the line is fixed.
fn fits(at: usize, b: u8) -> bool {
    match at {
        0..7 => b == b"HTTP/1."[at],
        7 => matches!(b, b'0' | b'1'),
        8 => b == b' ',
        9..12 => b.is_ascii_digit(),
        _ => true,
    }
}

/// Names the fault at the first byte of `at`. A CR whose successor has not arrived is none yet.
fn fault(at: &[u8]) -> Result<(), ResponseError> {
    match at {
        [b'\r'] => Ok(()),
        [b'\n', ..] => Err(FieldError::BareLf.into()),
        [b'\r', b, ..] if *b != b'\n' => Err(FieldError::BareCr.into()),
        _ => Err(ResponseError::StatusLine),
    }
}
