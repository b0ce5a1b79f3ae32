//! Paths: exact, prefix, template, regular expression; and the paths of probes.

use std::ops::Range;
use std::sync::Arc;

use tidegate_core::route::{InvalidPattern, InvalidTemplate, PathMatch, Pattern, Template};

use crate::compile::Context;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

pub(super) fn compile(cx: &mut Context<'_>, field: &Field<raw::PathPattern>) -> Option<PathMatch> {
    let text = field.get()?.as_ref();
    if let Some(pattern) = text.strip_prefix('~') {
        let shifted = part(field.span(), text, 1..text.len());
        return regex(cx, pattern, shifted.or(field.span())).map(PathMatch::Regex);
    }
    let fault = match text.starts_with('/') {
        true if text.contains(['?', '#']) => path_fault(text),
        true if text.contains(['{', '}']) => return template(cx, text, field.span()),
        true => path_fault(plain(text).0),
        false => Some(format!("did you mean `/{text}`?")),
    };
    if let Some(help) = fault {
        cx.invalid(field.span(), "path", "a path", text, &help);
        return None;
    }
    Some(match plain(text) {
        ("", true) => PathMatch::Prefix("/".into()),
        (path, true) => PathMatch::Prefix(path.into()),
        (path, false) => PathMatch::Exact(path.into()),
    })
}

/// A path without the `/**` at its end, and whether there is one.
fn plain(text: &str) -> (&str, bool) {
    let prefix = text.strip_suffix("/**");
    prefix.map_or((text, false), |path| (path, true))
}

fn template(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> Option<PathMatch> {
    match Template::new(text) {
        Ok(template) => {
            // The stars of a rest are fine, all others are not.
            let path = plain(text).0.replacen("=**}", "}", 1);
            if let Some(help) = path_fault(&path) {
                cx.invalid(span, "path", "a path", text, &help);
                return None;
            }
            Some(PathMatch::Template(Arc::new(template)))
        }
        Err(error) => {
            let message = format!("{} is not a template: {error}", quoted(text));
            let problem = Problem::error("invalid_path", message);
            let place = part(span, text, error.at()).or(span);
            cx.report(problem.at(place).help(template_help(&error)));
            None
        }
    }
}

fn template_help(error: &InvalidTemplate) -> String {
    match error {
        InvalidTemplate::Unclosed(_) => {
            "write `{id}`; a brace that is meant as such is written `%7B` or `%7D`".to_owned()
        }
        InvalidTemplate::NotWhole(_) => {
            "for a part of a segment write a regular expression: `~^/files/([^/]+)\\.json$`"
                .to_owned()
        }
        InvalidTemplate::Name(_) => "like `{id}`, or `{rest=**}` at the end".to_owned(),
        InvalidTemplate::NotLast(_) => "move `{...=**}` to the end, or write `{...}`".to_owned(),
        InvalidTemplate::Twice(_) => "give each its own name".to_owned(),
        InvalidTemplate::TooMany(_) => "write a regular expression instead".to_owned(),
    }
}

/// A regular expression; reported, with the place in it, when it is none.
pub(super) fn regex(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> Option<Arc<Pattern>> {
    let error = match Pattern::new(text) {
        Ok(pattern) => return Some(Arc::new(pattern)),
        Err(error) => error,
    };
    let message = format!("{} is not a regular expression: {error}", quoted(text));
    let problem = Problem::error("invalid_regex", message);
    let (place, help) = match &error {
        InvalidPattern::Syntax { at, reason } => {
            (part(span, text, at.clone()), syntax_help(reason))
        }
        InvalidPattern::TooLarge => (None, "repeat less: `+` instead of `{1,1000}`"),
        InvalidPattern::TooLong => (None, "split it into several routes"),
        InvalidPattern::TooManyGroups => (None, "write groups that nobody asks for as `(?:...)`"),
    };
    cx.report(problem.at(place.or(span)).help(help.to_owned()));
    None
}

/// What to do about an error of the grammar, by how the parser tells it.
fn syntax_help(reason: &str) -> &'static str {
    match reason {
        _ if reason.starts_with("Unicode") => {
            "bytes are looked at, not characters: write a class of ASCII, like `[A-Za-z]`"
        }
        _ if reason.starts_with("look-around") || reason.starts_with("backreferences") => {
            "what takes more than one look at each byte is left out; write it as several conditions"
        }
        _ if reason.contains("range") => "from the lower to the higher: `[0-9]`",
        _ => {
            "a special character that is meant as such has a backslash before it: `\\(`; in double \
             quotes YAML takes one of two: `\\\\(`"
        }
    }
}

/// The place of a part of a text that is at `span`, quotes or not; none where escapes are in between.
pub(super) fn part(span: Option<Span>, text: &str, range: Range<usize>) -> Option<Span> {
    let span = span?;
    let quotes = span.len.checked_sub(text.len())?;
    let start = match quotes {
        0 => span.start,
        2 => span.start + 1,
        _ => return None,
    };
    Some(Span {
        start: start + range.start,
        len: range.len(),
    })
}

/// Whether a text can be the target of a probe, path and query; reports it when it cannot.
pub(crate) fn check_target(cx: &mut Context<'_>, target: &str, span: Option<Span>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fault = match target.starts_with('/') {
        true => path_fault(path).or_else(|| character_fault(query)),
        false => Some(format!("did you mean `/{target}`?")),
    };
    if let Some(help) = fault {
        cx.invalid(span, "path", "a path", target, &help);
    }
}

/// Why a text that starts with `/` cannot be the path of a request as it arrives; the hint.
fn path_fault(path: &str) -> Option<String> {
    match path {
        _ if path.contains('?') => {
            Some("the query is matched by a key of its own: `query`".to_owned())
        }
        _ if path.contains('#') => Some("only the path, without a fragment".to_owned()),
        _ if path.contains('*') => {
            let start = path.split("/*").next().unwrap_or_default();
            Some(format!(
                "`**` only stands at the end, for everything below: `{start}/**`"
            ))
        }
        _ => character_fault(path),
    }
}

fn character_fault(text: &str) -> Option<String> {
    let escape = |what| Some(format!("write {what} percent-encoded"));
    match text {
        _ if !text.is_ascii() => escape("characters beyond ASCII"),
        _ if text.bytes().any(|c| c <= b' ' || c == 0x7f || c == b'#') => {
            escape("spaces, controls and `#`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_placed_within_quotes_or_without() {
        let check = |len, range, expected: Option<(usize, usize)>| {
            let found = part(Some(Span { start: 10, len }), "/a/{b", range);
            assert_eq!(found.map(|span| (span.start, span.len)), expected);
        };
        check(5, 3..5, Some((13, 2)));
        check(7, 3..5, Some((14, 2)));
        check(9, 3..5, None);
        check(4, 3..5, None);
    }
}
