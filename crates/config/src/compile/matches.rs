//! What a route matches, in one canonical form, so that two ways to write the same are the same.

use http::{HeaderName, Method};
use tidegate_core::route::{PathMatch, RouteMatch};

use crate::compile::{Context, headers, syntax};
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Match) -> RouteMatch {
    RouteMatch {
        host: host(cx, &raw.host).map(Into::into),
        path: path(cx, &raw.path),
        methods: methods(cx, &raw.methods),
        headers: headers::compile(cx, &raw.headers, "match", refused),
        when: None,
    }
}

fn refused(name: &HeaderName) -> Option<&'static str> {
    (name == http::header::HOST).then_some("use `host` of the match")
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
    let (path, is_prefix) = text
        .strip_suffix("/**")
        .map_or((text, false), |path| (path, true));
    let path = if path.is_empty() && is_prefix {
        "/"
    } else {
        path
    };
    let fault = match text.starts_with('/') {
        true => path_fault(path),
        false => Some(format!("did you mean `/{text}`?")),
    };
    if let Some(help) = fault {
        cx.invalid(field.span(), "path", "a path", text, &help);
        return None;
    }
    Some(if is_prefix {
        PathMatch::Prefix(path.into())
    } else {
        PathMatch::Exact(path.into())
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
    if path.contains('*') {
        let start = path.split("/*").next().unwrap_or_default();
        return Some(format!(
            "`**` only stands at the end, for everything below: `{start}/**`"
        ));
    }
    let has_query = path.contains(['?', '#']);
    let query = has_query.then(|| "only the path, without query and fragment".to_owned());
    query.or_else(|| character_fault(path))
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

/// A method; reported when it is none.
pub(crate) fn method(cx: &mut Context<'_>, field: &Field<String>) -> Option<Method> {
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
