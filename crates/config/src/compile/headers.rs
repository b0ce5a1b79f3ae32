//! Header fields as they are written in matches and probes: names that ignore case, values of
//! visible ASCII.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::compile::Context;
use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::yaml::{Entries, Entry, Field};

/// A name and its value.
pub(crate) type Header = (HeaderName, Arc<str>);

/// Header fields by name, each once. `refused` gives the hint for a name that has no place among
/// those `to` do something with.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<Entries<String>>,
    to: &str,
    refused: fn(&HeaderName) -> Option<&'static str>,
) -> Box<[Header]> {
    let mut seen = HashMap::new();
    let mut headers = Vec::new();
    for entry in field.get().into_iter().flat_map(|entries| &entries.0) {
        let Some(header) = header(cx, entry) else {
            continue;
        };
        if let Some(help) = refused(&header.0) {
            let what = format!("a header to {to}");
            cx.invalid(entry.name_span, "header", &what, &entry.name, help);
            continue;
        }
        if let Some(first) = seen.insert(header.0.clone(), entry.name_span) {
            let message = format!("the header {} is listed twice", quoted(&entry.name));
            let problem = Problem::error("duplicate_key", message).at(entry.name_span);
            cx.report(
                problem
                    .label(first, "first here")
                    .help("names of headers ignore case".to_owned()),
            );
        }
        headers.push(header);
    }
    headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    headers.into()
}

/// The name of a header; reported when it is none.
pub(crate) fn name(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        let help = "letters, digits and `-`, without a colon";
        cx.invalid(span, "header", "a name of a header", text, help);
    }
    name
}

fn header(cx: &mut Context<'_>, entry: &Entry<String>) -> Option<Header> {
    let value = entry.value.get()?;
    let name = name(cx, &entry.name, entry.name_span)?;
    check_value(cx, value, entry.value.span()).then(|| (name, value.as_str().into()))
}

/// Whether a text can be the value of a header; reports it when it cannot.
pub(crate) fn check_value(cx: &mut Context<'_>, value: &str, span: Option<Span>) -> bool {
    let trimmed = value.trim_matches([' ', '\t']) == value;
    let fine = trimmed && value.is_ascii() && HeaderValue::from_str(value).is_ok();
    if !fine {
        let help = "visible ASCII, no spaces around it";
        cx.invalid(span, "header", "a value of a header", value, help);
    }
    fine
}
