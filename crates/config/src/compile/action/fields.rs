//! Edits of header fields. What a connection, its framing or a protocol needs is nobody's to edit, nor
//! is what we vouch for.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};
use tidegate_core::action::{InvalidTemplate, Template, Word};
use tidegate_core::plan::{Edit, FieldEdits};

use crate::compile::{Context, headers, names};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::{Entries, Entry, Field};

/// Longest value of a field, in bytes.
const VALUE_MAX: usize = 4096;

/// Most fields that are set, and most that are added.
const FIELDS_MAX: usize = 64;

/// Whose fields are edited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// Those of requests.
    Upstreams,
    /// Those of answers.
    Clients,
}

/// What is done with a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Write,
    Remove,
}

/// Edits of one head.
pub(super) fn edits(cx: &mut Context<'_>, field: &Field<raw::HeaderEdits>, to: To) -> FieldEdits {
    let Some(raw) = field.get() else {
        return FieldEdits::default();
    };
    let set = listed(cx, &raw.set, to);
    let given = raw.remove.get().into_iter().flatten();
    let mut remove: Vec<HeaderName> = Vec::new();
    for field in given {
        let Some(name) = removed(cx, field, to) else {
            continue;
        };
        if set.iter().any(|edit| edit.name == name) {
            let message = format!(
                "{} is set, which leaves nothing of it",
                quoted(name.as_str())
            );
            let problem = Problem::warning("no_effect", message).at(field.span());
            cx.report(problem.help("remove it here".to_owned()));
        }
        remove.push(name);
    }
    remove.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    remove.dedup();
    FieldEdits {
        remove: remove.into(),
        set,
        append: listed(cx, &raw.append, to),
    }
}

fn removed(cx: &mut Context<'_>, field: &Field<String>, to: To) -> Option<HeaderName> {
    let text = field.get()?;
    let name = headers::name(cx, text, field.span())?;
    allowed(cx, name, (text, field.span()), to, Deed::Remove)
}

/// Fields and their values, in the order of their names; each name once.
pub(super) fn listed(cx: &mut Context<'_>, field: &Field<Entries<String>>, to: To) -> Box<[Edit]> {
    let entries = field.get().map_or(&[][..], |entries| &entries.0);
    if entries.len() > FIELDS_MAX {
        let message = format!("{} headers are too many", entries.len());
        let problem = Problem::error("out_of_range", message).at(field.span());
        cx.report(problem.help(format!("at most {FIELDS_MAX}")));
        return Box::default();
    }
    let mut seen: HashMap<HeaderName, Option<Span>> = HashMap::new();
    let mut edits = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(edit) = edit(cx, entry, to) else {
            continue;
        };
        if let Some(first) = seen.insert(edit.name.clone(), entry.name_span) {
            let message = format!("the header {} is listed twice", quoted(&entry.name));
            let problem = Problem::error("duplicate_key", message).at(entry.name_span);
            let problem = problem.label(first, "first here");
            cx.report(problem.help("names of headers ignore case".to_owned()));
        }
        edits.push(edit);
    }
    edits.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    edits.into()
}

fn edit(cx: &mut Context<'_>, entry: &Entry<String>, to: To) -> Option<Edit> {
    let name = headers::name(cx, &entry.name, entry.name_span)?;
    let name = allowed(cx, name, (&entry.name, entry.name_span), to, Deed::Write)?;
    let value = value(cx, entry.value.get()?, entry.value.span())?;
    Some(Edit { name, value })
}

fn value(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> Option<Template<Word>> {
    let trimmed = text.trim_matches([' ', '\t']) == text;
    let valid = trimmed && text.is_ascii() && text.len() <= VALUE_MAX;
    if !valid || HeaderValue::from_str(text).is_err() {
        let help = format!("visible ASCII, no spaces around it, at most {VALUE_MAX} bytes");
        cx.invalid(span, "header", "a value of a header", text, &help);
        return None;
    }
    match Template::parse(text, Word::named) {
        Ok(template) => Some(template),
        Err(InvalidTemplate::Unknown(name)) => {
            let message = format!("there is no placeholder {}", quoted(&format!("{{{name}}}")));
            let known = Word::ALL.map(Word::as_str);
            names::unknown_as(cx, "unknown_placeholder", message, &name, span, known);
            None
        }
        Err(error) => {
            let help = format!("{error}; write `{{{{` and `}}}}` for single braces");
            cx.invalid(span, "header", "a value of a header", text, &help);
            None
        }
    }
}

/// The name, if this may be done with fields of it; reported when not.
fn allowed(
    cx: &mut Context<'_>,
    name: HeaderName,
    (text, span): (&str, Option<Span>),
    to: To,
    deed: Deed,
) -> Option<HeaderName> {
    let Some(help) = guarded(name.as_str(), to, deed) else {
        return Some(name);
    };
    let what = match deed {
        Deed::Write => "a header to be set or added",
        Deed::Remove => "a header to be removed",
    };
    cx.invalid(span, "header", what, text, help);
    None
}

/// Why a field of this name is nobody's to edit, as a hint. Underscores count as hyphens, because
/// CGI-like services read them so.
fn guarded(name: &str, to: To, deed: Deed) -> Option<&'static str> {
    let name = name.replace('_', "-");
    let writes_request = to == To::Upstreams && deed == Deed::Write;
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "te"
        | "upgrade"
        | "http2-settings"
        | "proxy-authenticate"
        | "proxy-authorization" => Some("it belongs to one connection"),
        "content-length" | "transfer-encoding" | "trailer" | "expect" => {
            Some("it says how the body is sent")
        }
        "host" if to == To::Upstreams => Some("write `rewrite: { host: .. }`"),
        "host" => Some("answers have none"),
        "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "via"
        | "x-request-id" => Some("the proxy vouches for it"),
        "range"
        | "if-range"
        | "if-match"
        | "if-none-match"
        | "if-modified-since"
        | "if-unmodified-since"
            if writes_request =>
        {
            Some("it says which answer the client can use")
        }
        name if name.starts_with("tidegate-") => Some("the proxy vouches for it"),
        name if name.starts_with("grpc-") => Some("it belongs to calls of gRPC"),
        name if name.starts_with("sec-websocket-") => Some("it belongs to a WebSocket's handshake"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_message_together_is_guarded() {
        let check = |name: &str, to, deed, expected: bool| {
            assert_eq!(guarded(name, to, deed).is_some(), expected, "{name}");
        };
        for name in [
            "connection",
            "content-length",
            "content_length",
            "host",
            "x_forwarded_for",
            "tidegate-region",
            "grpc-status",
            "te",
        ] {
            for to in [To::Upstreams, To::Clients] {
                check(name, to, Deed::Write, true);
                check(name, to, Deed::Remove, true);
            }
        }
        check("range", To::Upstreams, Deed::Write, true);
        check("range", To::Upstreams, Deed::Remove, false);
        check("range", To::Clients, Deed::Write, false);
        check("x-real-ip", To::Upstreams, Deed::Write, false);
        check("server", To::Clients, Deed::Remove, false);
    }
}
