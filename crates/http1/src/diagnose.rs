//! Says what exactly is wrong with a field section that the tokeniser refused.
//!
//! Cold: it runs once per refused connection, so that the label and the sentence in the log name
//! the trick or the bug.

use crate::error::FieldError;
use crate::grammar;
use crate::limits::Limits;

/// The first fault in `section`: complete field lines in CRLF, then an empty line.
pub(crate) fn diagnose(section: &[u8], limits: &Limits) -> FieldError {
    let lines = section
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    for (index, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if index == limits.fields_max() {
            return FieldError::TooMany;
        }
        if let Err(error) = check_line(line) {
            return error;
        }
    }
    // Not reached while this knows every rule of the tokeniser.
    FieldError::Name
}

fn check_line(line: &[u8]) -> Result<(), FieldError> {
    if line.first().is_some_and(|&b| grammar::is_ows(b)) {
        return Err(FieldError::Folded);
    }
    let colon = line.iter().position(|&b| b == b':');
    let (name, value) = line.split_at(colon.unwrap_or(line.len()));
    check_name(name)?;
    if colon.is_none() {
        return Err(FieldError::MissingColon);
    }
    check_value(&value[1..])
}

fn check_name(name: &[u8]) -> Result<(), FieldError> {
    match name {
        [] => Err(FieldError::Name),
        [start @ .., b' ' | b'\t'] if grammar::is_token(grammar::trim_ows(start)) => {
            Err(FieldError::SpaceBeforeColon)
        }
        _ if name.contains(&b'\r') => Err(FieldError::BareCr),
        _ if !grammar::is_token(name) => Err(FieldError::Name),
        _ if name.len() > usize::from(u16::MAX) => Err(FieldError::NameTooLong),
        _ => Ok(()),
    }
}

fn check_value(value: &[u8]) -> Result<(), FieldError> {
    match value.iter().find(|&&b| !grammar::is_value_byte(b)) {
        Some(b'\r') => Err(FieldError::BareCr),
        Some(_) => Err(FieldError::Value),
        None => Ok(()),
    }
}
