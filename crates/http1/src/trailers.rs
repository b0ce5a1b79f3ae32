//! The trailer section after the last chunk (RFC 9112 section 7.1.2).
//!
//! Trailers are merged into heads by careless readers, so fields that frame, route or authorise
//! are refused here, not dropped.

use bytes::Bytes;

use crate::diagnose::diagnose;
use crate::error::BodyError;
use crate::fields::{Fields, Lines};
use crate::limits::Limits;

/// Reads `section`: complete lines in CRLF, the empty line last.
pub(crate) fn parse(section: &[u8], limits: &Limits) -> Result<Fields, BodyError> {
    let mut lines = Lines::default();
    if lines.read(section, 0, limits.fields_max()) != Some(section.len()) {
        return Err(BodyError::Trailers(diagnose(section, limits)));
    }
    let fields = Fields::new(Bytes::copy_from_slice(section), lines);
    if fields
        .iter()
        .any(|field| field.known.is_forbidden_in_trailers())
    {
        return Err(BodyError::TrailerForbidden);
    }
    Ok(fields)
}
