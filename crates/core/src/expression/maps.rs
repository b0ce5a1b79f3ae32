//! The maps of a request: where in it their entries are. An entry that is there twice has its first
//! value.

use http::header;

use super::node::MapName;
use super::value::Fault;
use crate::hash::cookie;
use crate::route::RequestFacts;

/// A value that must be a text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::NotText)
}

/// The entry of this name in the query or among the cookies; headers are found by their own names.
pub(super) fn entry<'a>(
    request: &'a impl RequestFacts,
    map: MapName,
    name: &str,
) -> Option<&'a [u8]> {
    match map {
        MapName::Query => {
            let mut parameters = parameters(request.query());
            let found = parameters.find(|(key, _)| *key == name);
            found.map(|(_, value)| value.as_bytes())
        }
        MapName::Cookies => request.find_field(&header::COOKIE, |line| cookie(line, name)),
        MapName::Headers => None,
    }
}

/// How many bytes have to be looked through for an entry.
pub(super) fn extent(request: &impl RequestFacts, map: MapName) -> usize {
    match map {
        MapName::Query => request.query().len(),
        MapName::Cookies | MapName::Headers => 0,
    }
}

/// Name and value of each parameter, as they are written.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The name of each cookie of a `Cookie` field (RFC 6265 section 4.2.1).
pub(super) fn cookie_names(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        pair.get(..end)
    })
}
