//! The status line, byte by byte, for heads that are incomplete or refused.
//!
//! An upstream that speaks something else is found out at its first bytes, not at a time-out.

use crate::error::{FieldError, ResponseError};
use crate::grammar;

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

/// The reason phrase in the status line that starts `line`, without the whitespace around it.
pub(crate) fn reason_range(line: &[u8]) -> std::ops::Range<usize> {
    let end = memchr::memchr(b'\r', line).unwrap_or(line.len());
    let start = (FIXED_BYTES + 1).min(end);
    start..start + grammar::trim_ows(&line[start..end]).len()
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
