//! Where a message ends (RFC 9112 section 6), and the refusal of every message that does not say
//! so exactly once.
//!
//! Smuggling is two parties that disagree about this. So nothing is repaired here: two lengths
//! are refused even if they are equal, and so is a coding that only looks like `chunked`.

use crate::error::FramingError;
use crate::fields::Fields;
use crate::grammar;
use crate::known::Known;
use crate::message::Version;

/// How long the body that follows a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body, and no `Content-Length` either, or none that counts.
    None,
    /// So many bytes; 0 if `Content-Length: 0` was sent.
    Length(u64),
    /// Chunks, then trailers (RFC 9112 section 7.1).
    Chunked,
    /// Everything until the connection ends. Responses only.
    UntilClose,
}

impl Framing {
    /// Whether at least one byte of framing or data may follow the head.
    pub const fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// The framing that the fields ask for; `None` if they do not speak of it.
pub(crate) fn declared(fields: &Fields, version: Version) -> Result<Option<Framing>, FramingError> {
    let length = fields.contains(Known::ContentLength);
    match (fields.contains(Known::TransferEncoding), length) {
        (true, true) => Err(FramingError::ContentLengthAndTransferEncoding),
        (true, false) => transfer_encoding(fields, version).map(Some),
        (false, true) => content_length(fields).map(|length| Some(Framing::Length(length))),
        (false, false) => Ok(None),
    }
}

/// The one decimal number, at most 2^63 - 1: above that, signed and unsigned readers differ.
fn content_length(fields: &Fields) -> Result<u64, FramingError> {
    let value = fields
        .sole(Known::ContentLength)
        .map_err(|_| FramingError::ContentLengthRepeated)?;
    decimal(value).ok_or_else(|| length_fault(value))
}

/// None if it is no number, or too large.
fn decimal(digits: &[u8]) -> Option<u64> {
    let step = |sum: i64, b: &u8| {
        let digit = b.wrapping_sub(b'0');
        let sum = sum.checked_mul(10)?.checked_add(i64::from(digit))?;
        (digit < 10).then_some(sum)
    };
    let number = digits.iter().try_fold(0, step)?;
    u64::try_from(number).ok().filter(|_| !digits.is_empty())
}

#[cold]
fn length_fault(value: &[u8]) -> FramingError {
    match value {
        _ if value.contains(&b',') => FramingError::ContentLengthRepeated,
        [] => FramingError::ContentLengthInvalid,
        _ if value.iter().all(u8::is_ascii_digit) => FramingError::ContentLengthTooLarge,
        _ => FramingError::ContentLengthInvalid,
    }
}

fn transfer_encoding(fields: &Fields, version: Version) -> Result<Framing, FramingError> {
    if version == Version::Http10 {
        return Err(FramingError::TransferEncodingInHttp10);
    }
    match fields.sole(Known::TransferEncoding) {
        Ok(value) if value.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => Err(coding_fault(fields)),
    }
}

/// 501 if every coding is well formed, `chunked` is at most the last of them, and one is unknown.
fn coding_fault(fields: &Fields) -> FramingError {
    let mut codings = Vec::new();
    for value in fields.get_all(Known::TransferEncoding) {
        codings.extend(value.split(|&b| b == b',').map(grammar::trim_ows));
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let (last, before) = match codings.split_last() {
        Some((last, before)) => (*last, before),
        None => return FramingError::TransferEncodingInvalid,
    };
    let unknown = |c: &[u8]| grammar::is_token(c) && !c.eq_ignore_ascii_case(b"identity");
    let well_formed = before.iter().all(|&c| unknown(c) && !is_chunked(c)) && unknown(last);
    if well_formed && (!before.is_empty() || !is_chunked(last)) {
        FramingError::TransferEncodingUnsupported
    } else {
        FramingError::TransferEncodingInvalid
    }
}
