//! Synthetic transactions: requests in a row, and the values that pass from answers to later
//! requests. A name that nothing provides is found here and not at the first probe.

use std::sync::Arc;

use tidegate_core::plan::{Extract, ExtractFrom, HttpProbe, ProbeKind};

use crate::compile::probe::request::{self, Parts};
use crate::compile::{Context, headers, matches, names};
use crate::environment::is_name;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::suggest;
use crate::yaml::{Entry, Field};

/// Most steps of a transaction.
const STEPS_MAX: usize = 16;

/// Most bytes of a JSON pointer.
const POINTER_MAX: usize = 256;

/// A value that a step extracts.
struct Value<'a> {
    name: &'a str,
    span: Option<Span>,
    /// The step, from 0.
    from: usize,
    used: bool,
}

/// Compiles the steps of a probe; as a TCP probe when there is none, which is reported.
pub(super) fn compile(cx: &mut Context<'_>, raw: &raw::Probe) -> ProbeKind {
    let Some(list) = raw.steps.get() else {
        return ProbeKind::Tcp;
    };
    if list.is_empty() {
        let problem = Problem::error("empty_list", "a transaction without steps asks nothing");
        cx.report(problem.at(raw.steps.span()));
    }
    if let Some(extra) = list.get(STEPS_MAX) {
        let message = format!("{} steps, at most {STEPS_MAX} are supported", list.len());
        cx.report(Problem::error("too_many_steps", message).at(extra.span()));
    }
    let list = &list[..list.len().min(STEPS_MAX)];
    let host = request::host(cx, &raw.host);
    let steps: Vec<HttpProbe> = list
        .iter()
        .filter_map(|field| Some(step(cx, field.get()?, field.span(), &host)))
        .collect();
    check_values(cx, list);
    match steps.is_empty() {
        true => ProbeKind::Tcp,
        false => ProbeKind::Steps(steps.into()),
    }
}

fn step(
    cx: &mut Context<'_>,
    raw: &raw::ProbeStep,
    span: Option<Span>,
    host: &Option<Arc<str>>,
) -> HttpProbe {
    let path = cx.required(&raw.path, span, "path");
    if let Some(path) = path {
        matches::check_target(cx, path, raw.path.span());
    }
    let parts = Parts {
        method: &raw.method,
        headers: &raw.headers,
        body: &raw.body,
        expect: &raw.expect,
        expect_body: &raw.expect_body,
        expect_headers: &raw.expect_headers,
    };
    let host = request::host(cx, &raw.host).or_else(|| host.clone());
    let request = request::compile(cx, path.map_or("/", String::as_str), host, &parts);
    let entries = raw.extract.get().map_or(&[][..], |entries| &entries.0);
    let extract: Vec<Extract> = entries
        .iter()
        .filter_map(|entry| extract(cx, entry, &request, &parts))
        .collect();
    HttpProbe {
        extract: extract.into(),
        ..request
    }
}

fn extract(
    cx: &mut Context<'_>,
    entry: &Entry<raw::Extract>,
    request: &HttpProbe,
    parts: &Parts<'_>,
) -> Option<Extract> {
    names::check(cx, "value", &entry.name, entry.name_span);
    let raw = entry.value.get()?;
    let from = match (raw.header.get(), raw.json.get()) {
        (Some(header), None) => ExtractFrom::Header(headers::name(cx, header, raw.header.span())?),
        (None, Some(pointer)) => {
            check_pointer(cx, pointer, raw.json.span());
            request::check_answer(cx, request, parts, &raw.json, "a value of the body");
            ExtractFrom::Json(pointer.as_str().into())
        }
        (Some(_), Some(_)) => {
            let message = "a value is found either in a `header` or in the `json` of the body";
            let problem = Problem::error("conflicting_keys", message).at(raw.json.span());
            let problem = problem.label(raw.header.span(), "and here");
            cx.report(problem.help("remove one".to_owned()));
            return None;
        }
        (None, None) => {
            if raw.header.is_absent() && raw.json.is_absent() {
                let message = "it is not said where the value is found";
                let problem = Problem::error("missing_key", message).at(entry.name_span);
                let help = "write `{ json: /path/to/it }` or `{ header: name }`";
                cx.report(problem.help(help.to_owned()));
            }
            return None;
        }
    };
    Some(Extract {
        name: entry.name.as_str().into(),
        from,
    })
}

/// RFC 6901: empty, or parts that start with `/`, in which `~` is written `~0` and `/` `~1`.
fn check_pointer(cx: &mut Context<'_>, pointer: &str, span: Option<Span>) {
    let escaped = |rest: &str| rest.starts_with(['0', '1']);
    let help = match pointer {
        _ if pointer.len() > POINTER_MAX => format!("at most {POINTER_MAX} bytes"),
        "" => return,
        _ if !pointer.starts_with('/') => {
            format!("did you mean `/{}`?", pointer.replace('.', "/"))
        }
        _ if !pointer.split('~').skip(1).all(escaped) => {
            "inside a name `~` is written `~0`, and `/` is written `~1`".to_owned()
        }
        _ => return,
    };
    cx.invalid(span, "value", "a JSON pointer", pointer, &help);
}

/// Every name that is used must come from an earlier step, and every value should be used.
fn check_values(cx: &mut Context<'_>, steps: &[Field<raw::ProbeStep>]) {
    let mut values = extracted(cx, steps);
    for (at, step) in steps.iter().enumerate() {
        let Some(step) = step.get() else { continue };
        let headers = step
            .headers
            .get()
            .into_iter()
            .flat_map(|entries| &entries.0);
        let fields = headers.map(|entry| &entry.value);
        for field in [&step.path, &step.body].into_iter().chain(fields) {
            for name in references(field.get().map_or("", String::as_str)) {
                check_reference(cx, name, at, field.span(), &mut values);
            }
        }
    }
    for value in values.iter().filter(|value| !value.used) {
        let message = format!("no later step uses the value {}", quoted(value.name));
        let problem = Problem::warning("unused_value", message).at(value.span);
        let help = format!(
            "write `${{{}}}` where it is meant, or remove it",
            value.name
        );
        cx.report(problem.help(help));
    }
}

/// What all steps extract, each name once.
fn extracted<'a>(cx: &mut Context<'_>, steps: &'a [Field<raw::ProbeStep>]) -> Vec<Value<'a>> {
    let entries = steps.iter().enumerate().flat_map(|(from, step)| {
        let entries = step.get().and_then(|step| step.extract.get());
        let entries = entries.into_iter().flat_map(|entries| &entries.0);
        entries.map(move |entry| (from, entry))
    });
    let mut values: Vec<Value<'a>> = Vec::new();
    for (from, entry) in entries {
        if let Some(first) = values.iter().find(|value| value.name == entry.name) {
            let message = format!("the value {} is extracted twice", quoted(&entry.name));
            let problem = Problem::error("duplicate_name", message).at(entry.name_span);
            let problem = problem.label(first.span, "first here");
            cx.report(problem.help("give each its own name".to_owned()));
            continue;
        }
        values.push(Value {
            name: &entry.name,
            span: entry.name_span,
            from,
            used: false,
        });
    }
    values
}

/// What stands in each `${...}` of a text; none for one that does not end.
fn references(text: &str) -> impl Iterator<Item = Option<&str>> {
    let rests = text.split("${").skip(1);
    rests.map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn check_reference(
    cx: &mut Context<'_>,
    name: Option<&str>,
    at: usize,
    span: Option<Span>,
    values: &mut [Value<'_>],
) {
    let Some(name) = name else {
        let help = "`${` starts the name of a value, which ends with `}`".to_owned();
        let problem = Problem::error("unknown_variable", "a `${` does not end");
        return cx.report(problem.at(span).help(help));
    };
    let earlier = |value: &Value<'_>| value.from < at;
    let (message, help) = match values.iter_mut().find(|value| value.name == name) {
        Some(value) if earlier(value) => return value.used = true,
        Some(value) => {
            value.used = true;
            let message = format!("{} is not known yet in this step", quoted(name));
            let help = format!(
                "step {} extracts it, and only later ones can use it",
                value.from + 1
            );
            (message, help)
        }
        None => {
            let known = values.iter().filter(|value| earlier(value));
            let neither = match is_name(name) {
                true => ", and the environment has no such variable",
                false => "",
            };
            let message = format!("no earlier step extracts {}{neither}", quoted(name));
            (
                message,
                suggest::one_of(name, known.map(|value| value.name)),
            )
        }
    };
    let problem = Problem::error("unknown_variable", message).at(span);
    cx.report(problem.help(help));
}
