//! Values that one step of a transaction takes from its answer, for the steps after it.

use serde_json::Value;
use tidegate_core::plan::{Extract, ExtractFrom};

use crate::answer::Answer;
use crate::error::ProbeError;

/// A value has at most so many bytes; it becomes part of a request.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// Whether any of `extracts` is taken from the content of an answer.
pub(crate) fn needs_content(extracts: &[Extract]) -> bool {
    let json = |extract: &Extract| matches!(extract.from, ExtractFrom::Json(_));
    extracts.iter().any(json)
}

/// The values that `extracts` want of `answer`, in their order.
///
/// # Errors
/// The first value that is not there.
pub(crate) fn values(extracts: &[Extract], answer: &Answer) -> Result<Vec<String>, ProbeError> {
    let json = match needs_content(extracts) {
        true => parse(answer)?,
        false => Value::Null,
    };
    let value = |extract: &Extract| {
        let value = match &extract.from {
            ExtractFrom::Header(name) => {
                let first = answer.values(name).next().map(<[u8]>::to_vec);
                first.and_then(|value| String::from_utf8(value).ok())
            }
            ExtractFrom::Json(pointer) => json.pointer(pointer).and_then(scalar),
        };
        value.ok_or_else(|| missing(extract)).and_then(bounded)
    };
    extracts.iter().map(value).collect()
}

fn parse(answer: &Answer) -> Result<Value, ProbeError> {
    if !answer.whole {
        let problem = "its body is too long to take values from".to_owned();
        return Err(ProbeError::Content(problem));
    }
    serde_json::from_slice(&answer.content)
        .map_err(|error| ProbeError::Content(format!("its body is not valid JSON: {error}")))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn missing(extract: &Extract) -> ProbeError {
    let name = &extract.name;
    ProbeError::Content(match &extract.from {
        ExtractFrom::Header(field) => format!("it has no field `{field}` to take `{name}` from"),
        ExtractFrom::Json(pointer) => {
            format!("there is no string or number at `{pointer}` to take `{name}` from")
        }
    })
}

fn bounded(value: String) -> Result<String, ProbeError> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(value);
    }
    let problem = format!("a value of {} bytes is too long to use", value.len());
    Err(ProbeError::Content(problem))
}
