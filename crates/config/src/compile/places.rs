//! Countries and continents by their codes.

use tidegate_core::geo::{Code, continent_of, continents, is_continent};

use crate::compile::Context;
use crate::problem::{Problem, quoted};
use crate::suggest;
use crate::yaml::Field;

/// The code of a country; reported when it is none.
pub(crate) fn country(cx: &mut Context<'_>, field: &Field<String>) -> Option<Code> {
    code(cx, field, "country", |code| continent_of(code).is_some())
}

/// The code of a continent; reported when it is none.
pub(crate) fn continent(cx: &mut Context<'_>, field: &Field<String>) -> Option<Code> {
    code(cx, field, "continent", is_continent)
}

fn code(
    cx: &mut Context<'_>,
    field: &Field<String>,
    what: &str,
    known: fn(Code) -> bool,
) -> Option<Code> {
    let text = field.get()?.as_str();
    let as_written = text.as_bytes().try_into().ok();
    let found = as_written.filter(|code| known(*code));
    if found.is_none() {
        let message = format!("{} is no code of a {what}", quoted(text));
        let problem = Problem::error("unknown_place", message).at(field.span());
        cx.report(problem.help(hint(text, what, known)));
    }
    found
}

/// Two letters are near to too many others for a guess, but for their case and two habits.
fn hint(text: &str, what: &str, known: fn(Code) -> bool) -> String {
    let upper = text.to_ascii_uppercase();
    let meant = match upper.as_str() {
        "UK" => "GB",
        "EL" => "GR",
        other => other,
    };
    match meant.as_bytes().try_into() {
        Ok(code) if known(code) => format!("did you mean `{meant}`?"),
        _ if what == "continent" => suggest::one_of("", continents()),
        _ => "two capital letters of ISO 3166-1, like `DE`".to_owned(),
    }
}
