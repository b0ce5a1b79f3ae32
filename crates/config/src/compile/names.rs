//! Names of things. They appear in metrics, logs and headers, so their characters are restricted.

use crate::compile::Context;
use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::suggest;
use crate::yaml::Field;

const NAME_MAX: usize = 63;

/// Problems after which references get no suggestion.
const SUGGESTED_MAX: usize = 200;

/// The name, if it is a valid one; `what` says whose.
pub(crate) fn checked<'f>(
    cx: &mut Context<'_>,
    what: &str,
    field: &'f Field<impl AsRef<str>>,
) -> Option<&'f str> {
    let name = field.get()?.as_ref();
    check(cx, what, name, field.span()).then_some(name)
}

/// Whether a name is valid; reports it when it is not.
pub(crate) fn check(cx: &mut Context<'_>, what: &str, name: &str, span: Option<Span>) -> bool {
    let valid = is_name(name);
    if !valid {
        let help = format!(
            "letters, digits, `.`, `_` and `-`, at most {NAME_MAX}, a letter or digit first"
        );
        cx.invalid(span, "name", &format!("a valid {what} name"), name, &help);
    }
    valid
}

fn is_name(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    name.len() <= NAME_MAX
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(inner)
}

/// Whether a name that people choose freely (of a listener or route) is valid: visible ASCII, at
/// most 128 characters.
pub(crate) fn check_label(cx: &mut Context<'_>, what: &str, field: &Field<String>) -> bool {
    let Some(name) = field.get() else {
        return false;
    };
    let valid = (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|c| c.is_ascii_graphic() && !b"\"\\".contains(&c));
    if !valid {
        let help = "visible ASCII without spaces, quotes and backslashes, at most 128 characters";
        cx.invalid(
            field.span(),
            "name",
            &format!("a valid {what} name"),
            name,
            help,
        );
    }
    valid
}

/// Reports a reference to something that is not defined, with the nearest that is.
pub(crate) fn unknown<'n>(
    cx: &mut Context<'_>,
    code: &'static str,
    what: &str,
    name: &str,
    span: Option<Span>,
    known: impl IntoIterator<Item = &'n str>,
) {
    let message = format!("there is no {what} {}", quoted(name));
    unknown_as(cx, code, message, name, span, known);
}

/// The same in words of the caller's.
pub(crate) fn unknown_as<'n>(
    cx: &mut Context<'_>,
    code: &'static str,
    message: String,
    name: &str,
    span: Option<Span>,
    known: impl IntoIterator<Item = &'n str>,
) {
    // Whoever has hundreds of problems reads the first; the rest must not cost an edit distance to
    // every name.
    let help = (cx.problems.len() < SUGGESTED_MAX).then(|| suggest::one_of(name, known));
    cx.report(Problem::error(code, message).at(span).help(help));
}
