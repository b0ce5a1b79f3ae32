//! How values of other types are written into an event.

use std::time::SystemTime;

use serde::Serializer;

use crate::labels::Label;

pub(super) fn maybe_rfc3339<S: Serializer>(
    at: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}

pub(super) fn maybe_word<S: Serializer>(
    label: &Option<impl Label>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match label {
        Some(label) => serializer.serialize_some(label.word()),
        None => serializer.serialize_none(),
    }
}

pub(super) fn word<S: Serializer>(label: &impl Label, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(label.word())
}

pub(super) fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::access::rfc3339(*at))
}
