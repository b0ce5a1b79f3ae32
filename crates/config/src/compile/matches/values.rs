//! Values of headers, query parameters, cookies and subjects: a text, or one of several forms.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use http::HeaderName;
use tidegate_core::route::ValueMatch;

use crate::compile::matches::paths;
use crate::compile::{Context, headers};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::{Entries, Entry, Field, WordOr};

/// Longest name or value.
const TEXT_MAX: usize = 4096;

/// What must be of things with names, each once, in order of their names.
type Values<N> = Box<[(N, ValueMatch)]>;

/// What a text that stands for a value must be like.
type Check = fn(&mut Context<'_>, &str, Option<Span>) -> bool;

pub(super) fn headers(
    cx: &mut Context<'_>,
    field: &Field<Entries<raw::ValueForm>>,
) -> Values<HeaderName> {
    compile(cx, field, header_name, headers::check_value)
}

pub(super) fn query(
    cx: &mut Context<'_>,
    field: &Field<Entries<raw::ValueForm>>,
) -> Values<Arc<str>> {
    let parameter = |cx: &mut Context<'_>, entry: &Entry<_>| name(cx, entry, "query", b"&=#+");
    compile(cx, field, parameter, parameter_value)
}

pub(super) fn cookies(
    cx: &mut Context<'_>,
    field: &Field<Entries<raw::ValueForm>>,
) -> Values<Arc<str>> {
    let cookie = |cx: &mut Context<'_>, entry: &Entry<_>| name(cx, entry, "cookie", b"=;,\"\\");
    compile(cx, field, cookie, cookie_value)
}

fn compile<N: Named>(
    cx: &mut Context<'_>,
    field: &Field<Entries<raw::ValueForm>>,
    name: impl Fn(&mut Context<'_>, &Entry<raw::ValueForm>) -> Option<N>,
    check: Check,
) -> Values<N> {
    let mut seen = HashMap::new();
    let mut values = Vec::new();
    for entry in field.get().into_iter().flat_map(|entries| &entries.0) {
        let Some(name) = name(cx, entry) else {
            continue;
        };
        if let Some(first) = seen.insert(name.clone(), entry.name_span) {
            report_twice(cx, entry, first);
        }
        let value = value(cx, &entry.value, check);
        values.extend(value.map(|value| (name, value)));
    }
    values.sort_by(|(a, _), (b, _)| a.text().cmp(b.text()));
    values.into()
}

/// A name that can be found again and be put in order.
trait Named: Clone + Eq + Hash {
    fn text(&self) -> &str;
}

impl Named for HeaderName {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Named for Arc<str> {
    fn text(&self) -> &str {
        self
    }
}

/// Only names of headers can be the same and yet be two keys for YAML.
fn report_twice(cx: &mut Context<'_>, entry: &Entry<raw::ValueForm>, first: Option<Span>) {
    let message = format!("the header {} is listed twice", quoted(&entry.name));
    let problem = Problem::error("duplicate_key", message).at(entry.name_span);
    let problem = problem.label(first, "first here");
    cx.report(problem.help("names of headers ignore case".to_owned()));
}

fn header_name(cx: &mut Context<'_>, entry: &Entry<raw::ValueForm>) -> Option<HeaderName> {
    let name = headers::name(cx, &entry.name, entry.name_span)?;
    let help = match name {
        http::header::HOST => "use `host` of the match",
        _ => return Some(name),
    };
    cx.invalid(
        entry.name_span,
        "header",
        "a header to match",
        &entry.name,
        help,
    );
    None
}

/// The name of a parameter or cookie, as clients write it.
fn name(
    cx: &mut Context<'_>,
    entry: &Entry<raw::ValueForm>,
    what: &'static str,
    never: &[u8],
) -> Option<Arc<str>> {
    let graphic = |byte: &u8| byte.is_ascii_graphic() && !never.contains(byte);
    let text = &entry.name;
    if (1..=TEXT_MAX).contains(&text.len()) && text.as_bytes().iter().all(graphic) {
        return Some(text.as_str().into());
    }
    let (kind, what) = match what {
        "cookie" => ("cookie", "a name of a cookie"),
        _ => ("parameter", "a name of a query parameter"),
    };
    let shown: String = never
        .iter()
        .map(|byte| format!(" `{}`", char::from(*byte)))
        .collect();
    let help = format!("as it is in the request, visible ASCII without{shown}");
    cx.invalid(entry.name_span, kind, what, text, &help);
    None
}

fn parameter_value(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> bool {
    let fine = text.len() <= TEXT_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&#".contains(&byte));
    if !fine {
        let help =
            "it is compared as it is in the request: percent-encoded, a space as `%20` or `+`";
        cx.invalid(
            span,
            "parameter",
            "a value of a query parameter",
            text,
            help,
        );
    }
    fine
}

fn cookie_value(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> bool {
    let inner = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    let fine = text.len() <= TEXT_MAX && text.bytes().all(inner);
    if !fine {
        let help = "it is compared as it is in the request: visible ASCII without spaces and `;`";
        cx.invalid(span, "cookie", "a value of a cookie", text, help);
    }
    fine
}

/// What a value must be; `check` says whether a text can be one.
pub(super) fn value(
    cx: &mut Context<'_>,
    field: &Field<raw::ValueForm>,
    check: Check,
) -> Option<ValueMatch> {
    let raw = match field.get()? {
        WordOr::Word(text) => {
            return check(cx, text, field.span()).then(|| ValueMatch::Exact(text.as_str().into()));
        }
        WordOr::Value(raw) => raw,
    };
    let given = [
        ("exact", raw.exact.span()),
        ("prefix", raw.prefix.span()),
        ("regex", raw.regex.span()),
        ("present", raw.present.span()),
        ("absent", raw.absent.span()),
    ];
    one_of(cx, &given, field.span())?;
    let fixed = |cx: &mut Context<'_>, field: &Field<String>| {
        let text = field.get()?;
        check(cx, text, field.span()).then(|| Arc::from(text.as_str()))
    };
    if !raw.exact.is_absent() {
        return fixed(cx, &raw.exact).map(ValueMatch::Exact);
    }
    if !raw.prefix.is_absent() {
        return prefix(cx, &raw.prefix, fixed);
    }
    if !raw.regex.is_absent() {
        let pattern = paths::regex(cx, raw.regex.get()?, raw.regex.span());
        return pattern.map(ValueMatch::Regex);
    }
    match raw.absent.is_absent() {
        true => truth(cx, &raw.present, "absent").then_some(ValueMatch::Present),
        false => truth(cx, &raw.absent, "present").then_some(ValueMatch::Absent),
    }
}

fn prefix(
    cx: &mut Context<'_>,
    field: &Field<String>,
    fixed: impl Fn(&mut Context<'_>, &Field<String>) -> Option<Arc<str>>,
) -> Option<ValueMatch> {
    if field.get().is_some_and(String::is_empty) {
        let help = "everything starts with nothing; write `present: true`";
        cx.invalid(field.span(), "value", "a prefix", "", help);
        return None;
    }
    fixed(cx, field).map(ValueMatch::Prefix)
}

/// Whether exactly one of some keys is given; reported otherwise.
fn one_of(cx: &mut Context<'_>, given: &[(&str, Option<Span>)], whole: Option<Span>) -> Option<()> {
    let mut there = given.iter().filter(|(_, span)| span.is_some());
    match (there.next(), there.next()) {
        (Some(_), None) => Some(()),
        (Some((one, at)), Some((other, and))) => {
            let message = format!("a value has either `{one}` or `{other}`");
            let problem = Problem::error("conflicting_keys", message).at(*and);
            let problem = problem.label(*at, "and here");
            cx.report(problem.help("remove one".to_owned()));
            None
        }
        (None, _) => {
            let message = "a value needs `exact`, `prefix`, `regex`, `present` or `absent`";
            let problem = Problem::error("one_of", message).at(whole);
            cx.report(problem.help("if any value will do, write `present: true`".to_owned()));
            None
        }
    }
}

/// Whether a key that has only one value has it.
fn truth(cx: &mut Context<'_>, field: &Field<bool>, opposite: &str) -> bool {
    let given = field.or(false);
    if field.get() == Some(&false) {
        let help = format!("write `{opposite}: true`");
        cx.invalid(
            field.span(),
            "value",
            "a value that this key takes",
            "false",
            &help,
        );
    }
    given
}
