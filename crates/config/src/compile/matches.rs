//! What a route matches, in one canonical form, so that two ways to write the same are the same.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use tidegate_core::route::{PathMatch, RouteMatch};

use crate::compile::{Context, syntax};
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::yaml::{Entries, Entry, Field};

pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Match) -> RouteMatch {
    RouteMatch {
        host: host(cx, &raw.host).map(Into::into),
        path: path(cx, &raw.path),
        methods: methods(cx, &raw.methods),
        headers: headers(cx, &raw.headers),
    }
}

/// A name for a route that has none: what it matches, as far as that fits into a label.
pub(crate) fn describe(matches: &RouteMatch) -> String {
    let path = match &matches.path {
        Some(PathMatch::Exact(path)) => path.to_string(),
        Some(PathMatch::Prefix(prefix)) => format!("{}/**", prefix.trim_end_matches('/')),
        None => String::new(),
    };
    let methods: Vec<&str> = matches.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() {
        String::new()
    } else {
        format!(":{}", methods.join(","))
    };
    let name = format!("{}{path}{methods}", matches.host.as_deref().unwrap_or(""));
    let safe = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    let name: String = name.chars().filter(|c| safe(*c)).take(100).collect();
    if name.is_empty() {
        "any".to_owned()
    } else {
        name
    }
}

fn host(cx: &mut Context<'_>, field: &Field<raw::Host>) -> Option<String> {
    let text = field.get()?.as_ref();
    let report = |help: String| cx.invalid(field.span(), "host", "a host to match", text, &help);
    syntax::match_host(text).map_err(report).ok()
}

fn path(cx: &mut Context<'_>, field: &Field<raw::PathPattern>) -> Option<PathMatch> {
    let text = field.get()?.as_ref();
    let Some(prefix) = text.strip_suffix("/**") else {
        return check_literal_path(cx, text, field.span()).then(|| PathMatch::Exact(text.into()));
    };
    let prefix = if prefix.is_empty() { "/" } else { prefix };
    check_literal_path(cx, prefix, field.span()).then(|| PathMatch::Prefix(prefix.into()))
}

/// Whether a path can be the path of a request as it arrives; reports it when it cannot.
pub(crate) fn check_literal_path(cx: &mut Context<'_>, path: &str, span: Option<Span>) -> bool {
    let start = path
        .split("/*")
        .next()
        .unwrap_or_default()
        .trim_start_matches('/');
    let wild = format!("/{start}{}**", if start.is_empty() { "" } else { "/" });
    let help = match path {
        _ if !path.starts_with('/') && !path.contains('*') => format!("did you mean `/{path}`?"),
        _ if path.contains('*') => {
            format!("`**` only stands at the end, for everything below: `{wild}`")
        }
        _ if path.contains(['?', '#']) => "only the path, without query and fragment".to_owned(),
        _ if !path.is_ascii() => "write characters beyond ASCII percent-encoded".to_owned(),
        _ if path.bytes().any(|c| c <= b' ' || c == 0x7f) => {
            "write spaces and controls percent-encoded".to_owned()
        }
        _ => return true,
    };
    cx.invalid(span, "path", "a path", path, &help);
    false
}

fn methods(cx: &mut Context<'_>, field: &Field<Vec<Field<String>>>) -> Box<[Method]> {
    let mut methods: Vec<Method> = field
        .get()
        .into_iter()
        .flatten()
        .filter_map(|field| method(cx, field))
        .collect();
    methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    methods.dedup();
    methods.into()
}

fn method(cx: &mut Context<'_>, field: &Field<String>) -> Option<Method> {
    let text = field.get()?;
    let upper = text.to_ascii_uppercase();
    let help = match Method::from_bytes(text.as_bytes()) {
        Ok(_) if *text != upper && is_standard(&upper) => {
            format!("methods are case-sensitive; did you mean `{upper}`?")
        }
        Ok(method) if text.len() <= 32 => return Some(method),
        _ => "a method is one word, like `GET`".to_owned(),
    };
    cx.invalid(field.span(), "method", "a method", text, &help);
    None
}

fn is_standard(method: &str) -> bool {
    let standard = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    standard.contains(&method)
}

type Header = (HeaderName, Arc<str>);

fn headers(cx: &mut Context<'_>, field: &Field<Entries<String>>) -> Box<[Header]> {
    let mut seen = HashMap::new();
    let mut headers = Vec::new();
    for entry in field.get().into_iter().flat_map(|entries| &entries.0) {
        let Some(header) = header(cx, entry) else {
            continue;
        };
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

fn header(cx: &mut Context<'_>, entry: &Entry<String>) -> Option<Header> {
    let value = entry.value.get()?;
    let Ok(name) = HeaderName::from_bytes(entry.name.as_bytes()) else {
        let help = "letters, digits and `-`, without a colon";
        cx.invalid(
            entry.name_span,
            "header",
            "a name of a header",
            &entry.name,
            help,
        );
        return None;
    };
    if name == http::header::HOST {
        cx.invalid(
            entry.name_span,
            "header",
            "a header to match",
            &entry.name,
            "use `host` of the match",
        );
        return None;
    }
    let trimmed = value.trim_matches([' ', '\t']) == value;
    if !trimmed || !value.is_ascii() || HeaderValue::from_str(value).is_err() {
        let help = "visible ASCII, no spaces around it";
        cx.invalid(
            entry.value.span(),
            "header",
            "a value of a header",
            value,
            help,
        );
        return None;
    }
    Some((name, value.as_str().into()))
}
