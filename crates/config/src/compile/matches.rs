//! What a route matches, in one canonical form, so that two ways to write the same are the same.

mod describe;
mod paths;
mod unseen;
mod values;
mod windows;

use std::sync::Arc;

use http::Method;
use tidegate_core::route::{Networks, PathMatch, RouteMatch, ValueMatch};

use crate::compile::{Context, expression, syntax};
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

pub(crate) use describe::describe;
pub(crate) use paths::check_target;
pub(crate) use unseen::check as check_unseen;

/// Most networks of one match.
const NETWORKS_MAX: usize = 10_000;

pub(crate) fn compile(cx: &mut Context<'_>, raw: &raw::Match) -> RouteMatch {
    let certificate = raw.client_certificate.get();
    RouteMatch {
        host: host(cx, &raw.host).map(Into::into),
        path: paths::compile(cx, &raw.path),
        methods: methods(cx, &raw.methods),
        headers: values::headers(cx, &raw.headers),
        query: values::query(cx, &raw.query),
        cookies: values::cookies(cx, &raw.cookies),
        clients: clients(cx, &raw.clients),
        server_name: host(cx, &raw.server_name).map(Into::into),
        client_subject: certificate
            .and_then(|certificate| subject(cx, certificate, raw.client_certificate.span())),
        time: windows::compile(cx, &raw.time),
        when: expression::condition(cx, &raw.when, "`when`"),
    }
}

/// A path as a file has it.
pub(crate) fn path_text(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => path.to_string(),
        PathMatch::Prefix(prefix) => format!("{}/**", prefix.trim_end_matches('/')),
        PathMatch::Template(template) => template.text().to_owned(),
        PathMatch::Regex(pattern) => format!("~{}", pattern.text()),
    }
}

fn host(cx: &mut Context<'_>, field: &Field<raw::Host>) -> Option<String> {
    let text = field.get()?.as_ref();
    let report = |help: String| cx.invalid(field.span(), "host", "a host to match", text, &help);
    syntax::match_host(text).map_err(report).ok()
}

fn clients(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::Network>>>) -> Option<Arc<Networks>> {
    let list = field.get().filter(|list| !list.is_empty())?;
    if list.len() > NETWORKS_MAX {
        let message = format!("{} networks are too many", list.len());
        let help = format!("at most {NETWORKS_MAX}; write larger networks");
        cx.report(
            Problem::error("out_of_range", message)
                .at(field.span())
                .help(help),
        );
        return None;
    }
    let mut networks = Vec::with_capacity(list.len());
    for field in list {
        let Some(text) = field.get().map(AsRef::as_ref) else {
            continue;
        };
        match syntax::network(text) {
            Ok(network) => networks.push(network),
            Err(help) => cx.invalid(field.span(), "network", "a network", text, &help),
        }
    }
    Some(Arc::new(Networks::new(networks)))
}

/// What the subject of a client's certificate must be.
fn subject(
    cx: &mut Context<'_>,
    raw: &raw::ClientCertificate,
    span: Option<Span>,
) -> Option<ValueMatch> {
    cx.required(&raw.subject, span, "subject")?;
    values::value(cx, &raw.subject, subject_text)
}

/// A whole name or its beginning. What looks like another tool's way to write names never matches.
fn subject_text(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> bool {
    let help = match text {
        _ if text.starts_with('/') => "parts are joined by commas: `CN=billing,O=Example`",
        _ if !text.contains('=') => "a name is made of types and values: `CN=billing,O=Example`",
        _ if text.contains(", ") && !text.contains("\\, ") => {
            "without spaces after commas; a comma that is part of a value is written `\\,`"
        }
        _ if text.len() > 4096 || text.chars().any(char::is_control) => {
            "at most 4096 bytes, without control characters"
        }
        _ => return true,
    };
    cx.invalid(
        span,
        "subject",
        "a subject as RFC 4514 writes it",
        text,
        help,
    );
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
